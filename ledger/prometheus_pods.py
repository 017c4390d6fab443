"""What kube-state-metrics tells of pods: workload, run, team and environment, for hours made from a Prometheus."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from collectors.kube_owners import DEFAULT_DIMENSIONS, Dimension, Owner, dimensions_of, label_keys, run_of, workload_of
from collectors.prometheus_api import Series
from ledger.hours import HolderNote

_PARTS = 3


class _Query(Protocol):
    def query(self, expression: str, at: float) -> list[Series]: ...


@dataclass(slots=True)
class PodFacts:
    """Pods by namespace and name."""

    owners: dict[tuple[str, str], Owner] = field(default_factory=dict[tuple[str, str], Owner])
    parents: dict[tuple[str, str, str], Owner] = field(default_factory=dict[tuple[str, str, str], Owner])
    """(namespace, kind, name) of a ReplicaSet or Job to what owns it."""
    labels: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict[tuple[str, str], Mapping[str, str]])
    dimensions: Sequence[Dimension] = DEFAULT_DIMENSIONS
    """What costs are grouped by, from pod labels; ``team`` and ``environment`` have columns of their own."""

    def note(self, holder: str) -> HolderNote:
        """The facts of ``namespace/pod/container``."""
        parts = holder.split("/")
        if len(parts) != _PARTS:
            return HolderNote()
        namespace, pod, container = parts
        owner = self.owners.get((namespace, pod))
        workload = workload_of(pod, owner, {})
        if owner is not None and (parent := self.parents.get((namespace, owner.kind, owner.name))):
            workload = workload_of(pod, parent, {})
        labels = self.labels.get((namespace, pod), {})
        told = {key: labels.get(_as_series_label(key), "") for key in label_keys(self.dimensions)}
        values = dimensions_of(self.dimensions, told, namespace)
        return HolderNote(
            workload_kind=workload.kind,
            workload=workload.name,
            namespace=namespace,
            pod=pod,
            container=container,
            team=values.pop("team", ""),
            environment=values.pop("environment", ""),
            run=run_of(workload, owner, {}),
            dimensions=values,
        )


def pod_facts(api: _Query, end: int, dimensions: Sequence[Dimension] = DEFAULT_DIMENSIONS) -> PodFacts:
    """What is known of the pods of the hour that ends at ``end``; nothing where kube-state-metrics does not run.

    Pod labels are there only where kube-state-metrics was told to show them (``--metric-labels-allowlist``).

    Raises:
        Unavailable: no whole answer.
    """
    facts = PodFacts(dimensions=dimensions)
    for each in api.query('last_over_time(kube_pod_owner{owner_is_controller="true"}[1h])', end):
        labels = _own(each.labels)
        facts.owners[labels["namespace"], labels["pod"]] = Owner(labels["owner_kind"], labels["owner_name"])
    for metric, kind, name in (
        ("kube_replicaset_owner", "ReplicaSet", "replicaset"),
        ("kube_job_owner", "Job", "job_name"),
    ):
        for each in api.query(f'last_over_time({metric}{{owner_is_controller="true"}}[1h])', end):
            labels = _own(each.labels)
            owner = Owner(labels["owner_kind"], labels["owner_name"])
            facts.parents[labels["namespace"], kind, labels[name]] = owner
    for each in api.query("last_over_time(kube_pod_labels[1h])", end):
        labels = _own(each.labels)
        facts.labels[labels["namespace"], labels["pod"]] = labels
    return facts


def _own(labels: Mapping[str, str]) -> Mapping[str, str]:
    """The metric's own labels where the scrape renamed them."""
    prefix = "exported_"
    return {**labels, **{name.removeprefix(prefix): value for name, value in labels.items() if name.startswith(prefix)}}


def _as_series_label(label: str) -> str:
    return "label_" + re.sub(r"[^a-zA-Z0-9_]", "_", label)
