"""Namespaces, pods and nodes as scaling keeps them, from their objects; and objects of a kind that cannot be read.

Owns what is read of a pod's state. Texts that many objects have alike are kept once.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from collectors.device_ids import GPU_RESOURCES
from collectors.kube_errors import Malformed
from collectors.kube_json import JsonObject, child, children, strings, text
from collectors.kube_node import capacity_type
from collectors.kube_owners import RAY_CLUSTER_LABEL, Owner, workload_of
from collectors.serving_targets import announces
from controller.scaling.claims import claimed_by, claimed_by_pod, pods_within
from controller.scaling.down_label import believed
from controller.scaling.kind import Kind
from controller.scaling.kinds.pod_template import gpus_of
from controller.scaling.kinds.reading import MOST_CHARS, UNREAD, moment
from controller.scaling.local_volumes import volumes_of
from controller.scaling.model import KEPT_ANNOTATIONS, NamespaceSeen, NodeSeen, PodSeen, Ref, Seen
from controller.scaling.pod_index import TOLD_BY_MAKERS

DROPPED_OF_KINDS = frozenset(UNREAD)
DROPPED_OF_PODS = DROPPED_OF_KINDS | {"volumes", "volumeMounts", "imagePullSecrets", "ports"}
DROPPED_OF_NODES = DROPPED_OF_KINDS | {"images", "conditions", "addresses", "volumesAttached", "volumesInUse"}
_INSTANCE_TYPE = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object of a kind that is not understood; it is left alone, and reported."""

    ref: Ref
    why: str


def kept(kind: Kind) -> Callable[[JsonObject], Seen | Unreadable]:
    """What is kept of each object of a kind; one that cannot be read does not take the others with it."""

    def keep(item: JsonObject) -> Seen | Unreadable:
        try:
            seen, pods = believed(kind.seen(item)), pods_within(item)
            claims, volumes = claimed_by(kind, item, pods), volumes_of(kind, item, pods)
            return replace(seen, claims=claims, volumes=volumes) if claims or volumes else seen
        except Exception as error:  # noqa: BLE001  (whatever it is, it is this object's alone)
            meta = child(item, "metadata")
            why = str(error) if isinstance(error, Malformed) else f"{type(error).__name__}: {error!s:.200}"
            return Unreadable(Ref(kind.name, text(meta, "namespace"), text(meta, "name")), why)

    return keep


def namespace_seen(item: JsonObject) -> NamespaceSeen:
    """A namespace."""
    meta = child(item, "metadata")
    annotations = {
        key: value for key, value in strings(meta, "annotations").items() if key.startswith(KEPT_ANNOTATIONS)
    }
    return NamespaceSeen(sys.intern(text(meta, "name")), strings(meta, "labels"), annotations)


def node_seen(item: JsonObject) -> NodeSeen:
    """A node."""
    labels = strings(item, "metadata", "labels")
    gpus = sum(
        int(amount)
        for name, amount in strings(item, "status", "allocatable").items()
        if any(fnmatchcase(name, pattern) for pattern in GPU_RESOURCES) and amount.isdecimal()
    )
    instance_type = next((labels[key] for key in _INSTANCE_TYPE if labels.get(key)), "")
    return NodeSeen(
        name=sys.intern(text(item, "metadata", "name")),
        instance_type=sys.intern(instance_type),
        capacity_type=capacity_type(labels) or "",
        gpus=gpus,
    )


def pod_seen(item: JsonObject) -> PodSeen:
    """A pod; one whose requests cannot be read counts as without GPUs.

    Raises:
        Malformed: it has no time of creation.
    """
    meta, spec = child(item, "metadata"), child(item, "spec")
    namespace, name, node = sys.intern(text(meta, "namespace")), text(meta, "name"), text(spec, "nodeName")
    owner, labels = _controller(meta), strings(meta, "labels")
    workload = workload_of(name, owner, labels, node)
    phase = sys.intern(text(item, "status", "phase") or "Unknown")
    ready = phase not in _ENDED and any(
        each.get("type") == "Ready" and each.get("status") == "True" for each in children(item, "status", "conditions")
    )
    return PodSeen(
        namespace=namespace,
        name=name,
        uid=text(meta, "uid"),
        workload=Ref(sys.intern(workload.kind), namespace, workload.name),
        node=sys.intern(node),
        phase=phase,
        ready=ready,
        gpus=_gpus(spec),
        created=moment(text(meta, "creationTimestamp"), "metadata.creationTimestamp"),
        waiting="" if ready else _waiting(item)[:MOST_CHARS],
        claims=claimed_by_pod(spec),
        announces=announces(strings(meta, "annotations")),
        maker=_maker(namespace, owner, labels) if workload.kind in TOLD_BY_MAKERS else None,
    )


def counts(pod: PodSeen) -> bool:
    """Whether a pod is kept: it may hold GPUs, announces an engine, or is still to be Ready; what has ended is over."""
    return pod.phase not in _ENDED and (pod.gpus > 0 or bool(pod.claims) or pod.announces or not pod.ready)


def _gpus(spec: JsonObject) -> int:
    try:
        return gpus_of(spec)
    except Malformed:
        return 0


def _controller(meta: JsonObject) -> Owner | None:
    controlling = next((o for o in children(meta, "ownerReferences") if o.get("controller") is True), None)
    return None if controlling is None else Owner(text(controlling, "kind"), text(controlling, "name"))


def _maker(namespace: str, owner: Owner | None, labels: Mapping[str, str]) -> Ref | None:
    if cluster := labels.get(RAY_CLUSTER_LABEL):
        return Ref("RayCluster", namespace, cluster)
    return None if owner is None else Ref(sys.intern(owner.kind), namespace, owner.name)


def _waiting(item: JsonObject) -> str:
    """Why it does not run, the scheduler's word first, then a container's."""
    for each in children(item, "status", "conditions"):
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return f"{text(each, 'reason') or 'Unschedulable'}: {text(each, 'message')}"
    for key in ("initContainerStatuses", "containerStatuses"):
        for status in children(item, "status", key):
            reason = text(status, "state", "waiting", "reason")
            if reason:
                return f"{reason}: {text(status, 'state', 'waiting', 'message')}".rstrip(": ")
    return ""
