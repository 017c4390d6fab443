"""What a pod template says of its pods: the GPUs that one requests, and what is lost when it goes.

Owns the sum over containers as the scheduler makes it, and which volumes do not outlive a pod. GPUs that are asked for
by a resource claim are not in the template, so they are not counted here: the claim's own object states them.
"""

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from collectors.device_ids import GPU_RESOURCES
from collectors.kube_errors import Malformed
from collectors.kube_json import JsonObject, child, children, text

_NO_STATE = frozenset({"Socket", "CharDevice", "BlockDevice"})


def gpus_of(pod: JsonObject) -> int:
    """GPUs, and slices of them, that a pod of this spec requests.

    Containers together, and not less than what any init container needs beside those init containers that stay.

    Raises:
        Malformed: a request is no whole number.
    """
    staying = most = 0
    for container in children(pod, "initContainers"):
        own = container_gpus(container)
        if text(container, "restartPolicy") == "Always":
            staying += own
            most = max(most, staying)
        else:
            most = max(most, staying + own)
    return max(most, staying + sum(container_gpus(container) for container in children(pod, "containers")))


def container_gpus(container: JsonObject) -> int:
    """GPUs and slices that one container is given; its limits say so, and its requests where it has no limits.

    Raises:
        Malformed: a request is no whole number.
    """
    said = {**child(container, "resources", "requests"), **child(container, "resources", "limits")}
    return sum(_whole(name, value) for name, value in said.items() if _is_gpu(name))


def losses_of(pod: JsonObject) -> tuple[str, ...]:
    """Which volumes of a pod of this spec lose what is on them, or leave it behind on a node.

    Memory (``emptyDir`` of that medium) is not named: like the memory of its processes it holds no state that a pod
    could count on. Nor is a host's folder that every container mounts for reading.
    """
    return tuple(_losses(children(pod, "volumes"), [*children(pod, "containers"), *children(pod, "initContainers")]))


def written_claims_of(pod: JsonObject) -> tuple[str, ...]:
    """The claims of volumes that a pod of this spec names, but for those that it only reads."""
    containers = [*children(pod, "containers"), *children(pod, "initContainers")]
    named = (
        text(claim, "claimName")
        for volume in children(pod, "volumes")
        for claim in (child(volume, "persistentVolumeClaim"),)
        if claim.get("readOnly") is not True and _is_written(text(volume, "name"), containers)
    )
    return tuple(name for name in named if name)


def _losses(volumes: Sequence[JsonObject], containers: Sequence[JsonObject]) -> Iterator[str]:
    for volume in volumes:
        name = text(volume, "name")
        if "emptyDir" in volume and text(volume, "emptyDir", "medium") != "Memory":
            yield f"emptyDir volume {name!r} loses what is on it"
        elif "ephemeral" in volume:
            yield f"the claim of ephemeral volume {name!r} is deleted with its pod"
        elif "csi" in volume and child(volume, "csi").get("readOnly") is not True and _is_written(name, containers):
            yield f"csi volume {name!r} goes with its pod"
        elif "hostPath" in volume and _holds_state(volume) and _is_written(name, containers):
            yield f"hostPath volume {name!r} stays on its node, and the pod may come back on another"


def _holds_state(volume: JsonObject) -> bool:
    return text(volume, "hostPath", "type") not in _NO_STATE


def _is_written(name: str, containers: Iterable[JsonObject]) -> bool:
    mounts = [mount for each in containers for mount in children(each, "volumeMounts") if mount.get("name") == name]
    return not mounts or any(mount.get("readOnly") is not True for mount in mounts)


def _is_gpu(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in GPU_RESOURCES)


def _whole(name: str, value: object) -> int:
    said = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (said.isascii() and said.isdecimal()) or len(said) > 6:  # noqa: PLR2004  (no pod holds a million GPUs)
        raise Malformed(f"{name} is {value!r:.60}, which is no whole number")
    return int(said)
