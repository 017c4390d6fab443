"""The workload behind a pod, by its owner reference, labels and name alone: no call is made for it.

Owns the table of labels by which operators mark their pods. Must never guess: where the name does not tell that a
ReplicaSet has a Deployment, a Job a CronJob or a RayCluster a RayService, the owner itself is the workload.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Owner:
    """What a pod's controller reference names."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Workload:
    """What a person deployed, stable over the pods that come and go for it."""

    kind: str
    """As its API spells it: ``Deployment``, ``StatefulSet``, ``CronJob``, ``RayCluster``, ..., ``Pod`` for a bare pod,
    ``StaticPod`` for one of the kubelet's own files."""
    name: str


_TRAINING_JOB = "training.kubeflow.org/job-name"
_TRAINING_OPERATOR = "training.kubeflow.org/operator-name"
_TEMPLATE_HASH = "pod-template-hash"
_ROLLOUT_HASH = "rollouts-pod-template-hash"

RAY_CLUSTER_LABEL = "ray.io/cluster"
_MARKS: Mapping[str, str] = MappingProxyType(
    {
        "leaderworkerset.sigs.k8s.io/name": "LeaderWorkerSet",
        RAY_CLUSTER_LABEL: "RayCluster",
        "jobset.sigs.k8s.io/jobset-name": "JobSet",
        "serving.kserve.io/inferenceservice": "InferenceService",
        "notebook-name": "Notebook",
    }
)
"""Label that holds the workload's name, to the workload's kind; the first that a pod bears counts."""

_TRAINING_KINDS: Mapping[str, str] = MappingProxyType(
    {kind.lower(): kind for kind in ("PyTorchJob", "MPIJob", "TFJob", "XGBoostJob", "PaddleJob", "JAXJob", "MXJob")}
)

_RAY_KIND, _RAY_NAME = "ray.io/originated-from-crd", "ray.io/originated-from-cr-name"
"""What a Ray cluster was made for, such as a RayJob, where the pods bear it."""
_RAY_SERVES = "ray.io/serve"
"""KubeRay gives it to the pods of a RayService's clusters, and to no others."""
_RAY_MADE = re.compile(r"(?P<of>.+?)(?:-raycluster)?-[bcdfghjklmnpqrstvwxz2456789]{5}")
"""A RayCluster whose name KubeRay made, of a RayService or RayJob."""
_RUN_KINDS = frozenset({*_TRAINING_KINDS.values(), "TrainingJob", "JobSet", "Job"})

WORKLOAD_LABELS = frozenset(
    {*_MARKS, _RAY_KIND, _RAY_NAME, _RAY_SERVES, _TRAINING_JOB, _TRAINING_OPERATOR, _TEMPLATE_HASH, _ROLLOUT_HASH}
)
"""The labels that :func:`workload_of` and :func:`run_of` look at."""

_CRONJOB_DIGITS = 8
_CRONJOB_MINUTES = range(28_400_000, 42_080_000)
"""Minutes since 1970 that a CronJob's controller appends: from 2024 to 2049. A date such as 20260131 is none, nor is
28112026; of those that are written so the last three days of a month cannot be told from minutes."""


def workload_of(pod_name: str, owner: Owner | None, labels: Mapping[str, str], node: str = "") -> Workload:
    """The workload of a pod.

    Args:
        pod_name: the pod's own name, for one that nobody owns.
        owner: its controller.
        labels: all its labels, or at least those of ``WORKLOAD_LABELS``.
        node: the node's name, which the name of a static pod ends with.
    """
    marked = _by_label(owner, labels)
    if marked is not None:
        return marked
    if owner is None:
        return Workload("Pod", pod_name)
    if owner.kind == "ReplicaSet":
        return _of_replica_set(owner, labels)
    if owner.kind == "Job":
        return _of_job(owner)
    if owner.kind == "Node":
        return Workload("StaticPod", pod_name.removesuffix(f"-{node or owner.name}"))
    return Workload(owner.kind, owner.name)


def run_of(workload: Workload, owner: Owner | None, labels: Mapping[str, str]) -> str:
    """The name of the job that a pod is of, which ends where the job ends; empty for what runs on.

    Args:
        workload: the pod's workload.
        owner: its controller; a CronJob's pods are of the Job of that time.
        labels: all its labels, or at least those of ``WORKLOAD_LABELS``.
    """
    if labels.get(_RAY_KIND) == "RayJob":
        return labels.get(_RAY_NAME, "")
    if workload.kind in _RUN_KINDS:
        return workload.name
    return owner.name if owner is not None and owner.kind == "Job" else ""


def _by_label(owner: Owner | None, labels: Mapping[str, str]) -> Workload | None:
    for label, marked in _MARKS.items():
        if labels.get(label):
            return _of_ray(labels) if label == RAY_CLUSTER_LABEL else Workload(marked, labels[label])
    if not labels.get(_TRAINING_JOB):
        return None
    if owner is not None and owner.kind.lower() in _TRAINING_KINDS:
        return Workload(owner.kind, labels[_TRAINING_JOB])
    # "pytorchjob-controller"; the MPI operator of its own calls itself "mpi-operator"
    operator = labels.get(_TRAINING_OPERATOR, "").partition("-")[0]
    kind = _TRAINING_KINDS.get(operator) or _TRAINING_KINDS.get(f"{operator}job")
    return Workload(kind or "TrainingJob", labels[_TRAINING_JOB])


def _of_ray(labels: Mapping[str, str]) -> Workload:
    """A RayService makes a new cluster for each upgrade; what is deployed is the service."""
    if labels.get(_RAY_KIND) == "RayService" and labels.get(_RAY_NAME):
        return Workload("RayService", labels[_RAY_NAME])
    cluster = labels[RAY_CLUSTER_LABEL]
    made = _RAY_MADE.fullmatch(cluster) if _RAY_SERVES in labels else None
    return Workload("RayCluster", cluster) if made is None else Workload("RayService", made["of"])


def _of_replica_set(owner: Owner, labels: Mapping[str, str]) -> Workload:
    for label, kind in ((_ROLLOUT_HASH, "Rollout"), (_TEMPLATE_HASH, "Deployment")):
        suffix = f"-{labels[label]}" if labels.get(label) else ""
        if suffix and owner.name.endswith(suffix) and owner.name != suffix:
            return Workload(kind, owner.name.removesuffix(suffix))
    return Workload(owner.kind, owner.name)


def _of_job(owner: Owner) -> Workload:
    """A CronJob names its Jobs ``NAME-MINUTES``; people name theirs by second or day, so no other digits count."""
    name, _, digits = owner.name.rpartition("-")
    scheduled = len(digits) == _CRONJOB_DIGITS and digits.isascii() and digits.isdecimal()
    if name and scheduled and int(digits) in _CRONJOB_MINUTES:
        return Workload("CronJob", name)
    return Workload(owner.kind, owner.name)


@dataclass(frozen=True, slots=True)
class Dimension:
    """One thing that costs are grouped by, such as team or environment."""

    name: str
    label_keys: tuple[str, ...]
    """Pod labels that may hold it; the first that is there counts."""
    else_namespace: bool = False
    """Whether the namespace stands in where no label is there."""


DEFAULT_DIMENSIONS = (
    Dimension("team", ("wattledger.io/team", "team"), else_namespace=True),
    Dimension("environment", ("wattledger.io/environment", "environment", "env")),
)


def dimensions_of(dimensions: Iterable[Dimension], labels: Mapping[str, str], namespace: str) -> dict[str, str]:
    """Each dimension's value; one that is not known is not in the answer."""
    found: dict[str, str] = {}
    for dimension in dimensions:
        values = (labels[key] for key in dimension.label_keys if labels.get(key))
        value = next(values, namespace if dimension.else_namespace else "")
        if value:
            found[dimension.name] = value
    return found


def label_keys(dimensions: Iterable[Dimension]) -> frozenset[str]:
    """The pod labels that ``dimensions`` need kept."""
    return frozenset(key for dimension in dimensions for key in dimension.label_keys)
