"""The kinds that can be scaled, one line each, and what belongs to another.

Owns which objects are never scaled by themselves because something else of ours, or of a known operator's, made them.
"""

from collections.abc import Iterable
from dataclasses import replace

from controller.scaling.kind import Kind
from controller.scaling.kinds.cron_job import CRON_JOB
from controller.scaling.kinds.deployment import DEPLOYMENT
from controller.scaling.kinds.horizontal_pod_autoscaler import HORIZONTAL_POD_AUTOSCALER
from controller.scaling.kinds.inference_service import INFERENCE_SERVICE
from controller.scaling.kinds.job import JOB
from controller.scaling.kinds.leader_worker_set import LEADER_WORKER_SET
from controller.scaling.kinds.notebook import NOTEBOOK
from controller.scaling.kinds.pytorch_job import PYTORCH_JOB
from controller.scaling.kinds.ray_cluster import RAY_CLUSTER
from controller.scaling.kinds.ray_service import RAY_SERVICE
from controller.scaling.kinds.rollout import ROLLOUT
from controller.scaling.kinds.scaled_job import SCALED_JOB
from controller.scaling.kinds.scaled_object import SCALED_OBJECT
from controller.scaling.kinds.stateful_set import STATEFUL_SET
from controller.scaling.model import Levers, Ref, Seen, Size

KINDS: tuple[Kind, ...] = (
    DEPLOYMENT,
    STATEFUL_SET,
    CRON_JOB,
    JOB,
    HORIZONTAL_POD_AUTOSCALER,
    SCALED_OBJECT,
    SCALED_JOB,
    ROLLOUT,
    LEADER_WORKER_SET,
    NOTEBOOK,
    RAY_CLUSTER,
    RAY_SERVICE,
    PYTORCH_JOB,
    INFERENCE_SERVICE,
)

_BY_NAME = {kind.name: kind for kind in KINDS}
_OTHER_OWNERS = frozenset(
    {
        ("", "Pod"),
        ("apps.nvidia.com", "NIMService"),
        ("argoproj.io", "Workflow"),
        ("jobset.x-k8s.io", "JobSet"),
        ("kubeflow.org", "MPIJob"),
        ("kubeflow.org", "TFJob"),
        ("kubeflow.org", "XGBoostJob"),
        ("ray.io", "RayCronJob"),
        ("ray.io", "RayJob"),
        ("serving.knative.dev", "Revision"),
        ("serving.kserve.io", "LLMInferenceService"),
        ("trainer.kubeflow.org", "TrainJob"),
        ("workload.codeflare.dev", "AppWrapper"),
    }
)
"""Operators' kinds that put back what is changed on the objects that they made."""
_OWNERS = _OTHER_OWNERS | {(kind.group, kind.name) for kind in KINDS}
_QUEUE = "kueue.x-k8s.io/queue-name"
_QUEUED = frozenset({"Job", "PyTorchJob", "RayCluster", "RayService"})
_GROUPED_BY = "leaderworkerset.sigs.k8s.io/name"
"""A StatefulSet with this label is of a LeaderWorkerSet: of its leaders, or of a group's workers."""


def kind_of(name: str) -> Kind | None:
    """The kind by its name, such as ``Deployment``; ``None``: it cannot be scaled."""
    return _BY_NAME.get(name)


def can_stand(kind: str, levers: Levers) -> bool:
    """Whether an object of a kind can stand at levers, which have the names of its own; of another kind any can."""
    known = _BY_NAME.get(kind)
    return known is None or known.stands(levers)


def managed_by(seen: Seen, described: frozenset[Ref] = frozenset()) -> str | None:
    """What an object belongs to, so that it is not scaled by itself; ``None``: it is its own.

    Args:
        seen: the object.
        described: objects that others run the pod template of, see :func:`described_elsewhere`.
    """
    for owner in seen.owners:
        if (owner.group, owner.kind) in _OWNERS:
            return f"{owner.kind} {seen.ref.namespace}/{owner.name}"
    if seen.ref.kind == "StatefulSet" and seen.labels.get(_GROUPED_BY):
        return f"LeaderWorkerSet {seen.ref.namespace}/{seen.labels[_GROUPED_BY]}"
    if seen.ref in described:
        return f"the Rollout that runs the pod template of {seen.ref}"
    if seen.ref.kind in _QUEUED and seen.labels.get(_QUEUE):
        return f"Kueue, which suspends and resumes what waits in the queue {seen.labels[_QUEUE]!r}"
    return None


def described_elsewhere(seen: Iterable[Seen]) -> frozenset[Ref]:
    """The objects whose pod template a Rollout runs."""
    found = ((each.ref.namespace, each.template_of) for each in seen)
    return frozenset(Ref(of[0], namespace, of[1]) for namespace, of in found if of is not None)


def with_template(seen: Seen, described: Seen | None) -> Seen:
    """A Rollout with the GPUs and losses of the object whose pod template it runs.

    Where that one is not seen its losses are not known, and that is one.
    """
    if seen.template_of is None:
        return seen
    if described is None:
        kind, name = seen.template_of
        return replace(seen, losses=(*seen.losses, f"the volumes of {kind} {name!r}, which cannot be read"))
    return replace(seen, gpus_per_pod=described.gpus_per_pod, losses=described.losses)


def size_refused(kind: Kind, size: Size) -> str | None:
    """Why a kind cannot be put to a size; ``None``: it can."""
    if kind.sizes == "zero" and not size.is_zero:
        return f"a {kind.name} runs or does not: it can go down to 0, and to nothing between"
    if kind.sizes == "above_zero" and size.is_zero:
        return f"a {kind.name} cannot hold what it scales at 0: the replicas of that are set instead"
    return None
