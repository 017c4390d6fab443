"""What kube-state-metrics tells of nodes: where they are, when they existed, whether they have GPUs.

Owns these queries. Where kube-state-metrics does not run, nothing is known of nodes beyond their names; what a node's
labels do not tell is absent.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from collectors.kube_node import capacity_type, instance_of
from collectors.prometheus_api import Series
from ledger.hours import NodeNote

HOUR_SECONDS = 3600
STEPS = "[59m59s:1m]"
"""Sixty instants: the hour's full minutes, its end among them, its beginning not."""
_STEPS_BEYOND, _BEYOND_SECONDS = "[1h2m:1m]", 180
"""Some minutes more: a node that is told of after the hour existed to its end, one before it from its beginning."""
_GPUS = 'kube_node_status_capacity{resource=~"nvidia_com_(gpu|mig_.*)"}'
_COUNT = "nvidia.com/gpu.count"
_KNOWN_LABELS: Sequence[str] = (
    "karpenter.sh/capacity-type",
    "eks.amazonaws.com/capacityType",
    "cloud.google.com/gke-provisioning",
    "cloud.google.com/gke-spot",
    "cloud.google.com/gke-preemptible",
    "cloud.google.com/gke-nodepool",
    "kubernetes.azure.com/scalesetpriority",
    "kubernetes.azure.com/cluster",
)


class Query(Protocol):
    """Answers instant queries; see :class:`collectors.prometheus_api.PrometheusApi`."""

    def query(self, expression: str, at: float) -> list[Series]:
        """The series at a time."""
        ...


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node of which the API server told within an hour."""

    note: NodeNote
    """``gpu_count`` where the node is labelled with it."""
    began: float
    """When it was created, or was first told of, Unix seconds."""
    seen: float
    """When it was last told of."""
    has_gpus: bool
    """Whether its kubelet offers any."""


def node_notes(api: Query, end: int, cluster: str) -> list[NodeNote]:
    """Every node of the hour that ends at ``end``, by name.

    Raises:
        Unavailable: no whole answer.
    """
    ids = _by_node(api.query("last_over_time(kube_node_info[1h])", end))
    labels = _by_node(api.query("last_over_time(kube_node_labels[1h])", end))
    return [
        _node_note(name, ids[name].labels.get("provider_id", "") if name in ids else "", labels.get(name), cluster)
        for name in sorted(ids.keys() | labels.keys())
    ]


def nodes_seen(api: Query, hour_s: int, notes: Iterable[NodeNote]) -> list[NodeSeen]:
    """Those of ``notes`` that existed within the hour, with when.

    Raises:
        Unavailable: no whole answer.
    """
    end = hour_s + HOUR_SECONDS
    told = "timestamp(kube_node_info)"
    last = _by_node(api.query(f"max by (node) (max_over_time({told}{_STEPS_BEYOND}))", end + _BEYOND_SECONDS))
    first = _by_node(api.query(f"min by (node) (min_over_time({told}{_STEPS_BEYOND}))", end))
    created = _by_node(api.query("max by (node) (last_over_time(kube_node_created[1h]))", end))
    offering = _by_node(api.query(f"max_over_time({_GPUS}[1h]) > 0", end))
    return [
        NodeSeen(
            note=note,
            began=created[note.node].value if note.node in created else max(first[note.node].value, hour_s),
            seen=min(last[note.node].value, end),
            has_gpus=note.node in offering or bool(note.gpu_count),
        )
        for note in notes
        if note.node in last and note.node in first
    ]


def _by_node(series: Iterable[Series]) -> dict[str, Series]:
    return {each.labels.get("node", ""): each for each in series}


def _node_note(name: str, provider_id: str, series: Series | None, cluster: str) -> NodeNote:
    labels: Mapping[str, str] = {} if series is None else series.labels

    def said(label: str) -> str:
        return labels.get("label_" + re.sub(r"[^a-zA-Z0-9_]", "_", label), "")

    provider, instance_id = instance_of(provider_id)
    known = {label: value for label in _KNOWN_LABELS if (value := said(label))}
    count = said(_COUNT)
    return NodeNote(
        node=name,
        cluster=cluster,
        provider=provider or "",
        region=said("topology.kubernetes.io/region"),
        zone=said("topology.kubernetes.io/zone"),
        instance_id=instance_id or "",
        instance_type=said("node.kubernetes.io/instance-type"),
        capacity_type=capacity_type(known) or "",
        gpu_count=int(count) if count.isdecimal() and int(count) else None,
    )
