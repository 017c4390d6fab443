"""What is known of a pod, from its object in the API: identity, owner, containers, ports.

Owns which parts of a pod are kept; the rest is dropped as soon as it is read. A label or annotation is kept only where
somebody asked for it, so a pod with a thousand of them costs no more than one with none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from collectors.kube_errors import Malformed
from collectors.kube_json import JsonObject, child, children, number, strings, text
from collectors.kube_owners import Owner, Workload, run_of, workload_of

ContainerKind = Literal["main", "init", "ephemeral"]

DROPPED = frozenset(
    {
        "managedFields",
        "env",
        "envFrom",
        "volumes",
        "volumeMounts",
        "tolerations",
        "affinity",
        "conditions",
        "command",
        "args",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    }
)
"""Keys of objects and lists inside a pod that nothing here reads."""

MAX_KEPT = 64
"""Most labels, and most annotations, that are kept of one pod."""
MAX_VALUE_CHARS = 4096
"""A longer annotation is not kept; labels are never as long."""

CONFIG_HASH = "kubernetes.io/config.hash"
"""Annotation of a static pod's mirror: the UID that the kubelet itself, and so the cgroup, knows the pod by."""

_STATUS_LISTS: tuple[tuple[str, str, ContainerKind], ...] = (
    ("containers", "containerStatuses", "main"),
    ("initContainers", "initContainerStatuses", "init"),
    ("ephemeralContainers", "ephemeralContainerStatuses", "ephemeral"),
)


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a container declares."""

    number: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """One container of a pod."""

    name: str
    kind: ContainerKind = "main"
    ids: tuple[str, ...] = ()
    """Container ids without their runtime's scheme (64 hex digits), the present one first, then its forerunner's."""
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod of this node."""

    uid: str
    namespace: str
    name: str
    owner: Owner | None
    """Its controller, as its owner reference names it."""
    workload: Workload
    phase: str
    """``Pending``, ``Running``, ``Succeeded``, ``Failed`` or ``Unknown``."""
    labels: Mapping[str, str]
    """Those that were asked for."""
    annotations: Mapping[str, str]
    """Those that were asked for."""
    containers: Mapping[str, ContainerFacts]
    """By name."""
    host_network: bool = False
    pod_ip: str | None = None
    static_uid: str | None = None
    """Of a static pod, the UID that its cgroup bears."""
    run: str = ""
    """The job that it is of, as :func:`collectors.kube_owners.run_of` tells it."""

    @property
    def finished(self) -> bool:
        """Whether all its containers have ended for good."""
        return self.phase in {"Succeeded", "Failed"}


@dataclass(frozen=True, slots=True)
class Kept:
    """Which labels and annotations are kept; a key that ends with ``*`` stands for all that begin so."""

    labels: frozenset[str] = frozenset()
    annotations: frozenset[str] = frozenset()


def pod_facts(pod: JsonObject, kept: Kept) -> PodFacts:
    """The facts of one pod object.

    Raises:
        Malformed: it has no UID, namespace or name, so it is no pod.
    """
    metadata = child(pod, "metadata")
    uid, namespace, name = (text(metadata, key) for key in ("uid", "namespace", "name"))
    if not (uid and namespace and name):
        raise Malformed(f"the API server gave a pod without UID, namespace or name: {dict(metadata)!r:.120}")
    labels, annotations = strings(metadata, "labels"), strings(metadata, "annotations")
    owner = _controller(metadata)
    workload = workload_of(name, owner, labels, text(pod, "spec", "nodeName"))
    return PodFacts(
        uid=uid,
        namespace=namespace,
        name=name,
        owner=owner,
        workload=workload,
        phase=text(pod, "status", "phase") or "Unknown",
        labels=_keep(labels, kept.labels),
        annotations=_keep(annotations, kept.annotations),
        containers={container.name: container for container in _containers(pod)},
        host_network=child(pod, "spec").get("hostNetwork") is True,
        pod_ip=text(pod, "status", "podIP") or None,
        static_uid=annotations.get(CONFIG_HASH) or None,
        run=run_of(workload, owner, labels),
    )


def bare_id(container_id: str) -> str:
    """``containerd://ID`` as ``ID``."""
    return container_id.rpartition("://")[2]


def _keep(found: Mapping[str, str], wanted: frozenset[str]) -> dict[str, str]:
    beginnings = tuple(key[:-1] for key in wanted if key.endswith("*"))
    exact = [key for key in wanted if key in found]
    begun = sorted(key for key in found if key.startswith(beginnings)) if beginnings else []
    keys = list(dict.fromkeys([*exact, *begun]))[:MAX_KEPT]
    return {key: found[key] for key in keys if len(found[key]) <= MAX_VALUE_CHARS}


def _controller(metadata: JsonObject) -> Owner | None:
    owners = children(metadata, "ownerReferences")
    controlling = next((owner for owner in owners if owner.get("controller") is True), None)
    if controlling is None or not text(controlling, "kind"):
        return None
    return Owner(text(controlling, "kind"), text(controlling, "name"))


def _containers(pod: JsonObject) -> Iterator[ContainerFacts]:
    for in_spec, in_status, kind in _STATUS_LISTS:
        statuses = {text(status, "name"): status for status in children(pod, "status", in_status)}
        for container in children(pod, "spec", in_spec):
            name = text(container, "name")
            yield ContainerFacts(name, kind, _ids(statuses.get(name, {})), tuple(_ports(container)))


def _ids(status: JsonObject) -> tuple[str, ...]:
    said = (
        text(status, "containerID"),
        text(status, "state", "terminated", "containerID"),
        text(status, "lastState", "terminated", "containerID"),
    )
    return tuple(dict.fromkeys(bare_id(container_id) for container_id in said if container_id))


def _ports(container: JsonObject) -> Iterator[Port]:
    for port in children(container, "ports"):
        chosen = number(port, "containerPort")
        if chosen is not None:
            yield Port(chosen, text(port, "name") or None)
