"""GPUs that pods ask for by resource claims (dynamic resource allocation): who asks by which, and how many each is for.

Owns the layouts of the API's versions, and which classes of devices are no GPUs. A count is the least that it can be:
what is not known is at least one, since nobody's GPUs shall go unguarded for want of a right.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import cast

from collectors.kube_json import JsonObject, child, children, number, text
from controller.scaling.kind import Kind
from controller.scaling.model import Claimed, Ref

CLAIM, CLAIM_TEMPLATE = "ResourceClaim", "ResourceClaimTemplate"
DROPPED_OF_CLAIMS = frozenset({"managedFields", "status", "config", "constraints", "selectors"})
NOT_KNOWN = 1
"""Devices of a claim that cannot be read."""
_GPU = "nvidia.com/gpu"
_GPU_CLASSES = ("*gpu*", "*mig*")
_OTHER_CLASSES = (
    "compute-domain*",
    "*rdma*",
    "*roce*",
    "*sriov*",
    "*infiniband*",
    "*network*",
    "*dranet*",
    "nic",
    "nics",
    "nic[-.]*",
    "*[-.]nic",
    "*[-.]nics",
    "*tpu*",
    "*fpga*",
)
_ASKING = frozenset({"containers", "initContainers", "resources"})


@dataclass(frozen=True, slots=True)
class ClaimKind:
    """A kind by which devices are asked for."""

    name: str
    plural: str
    group: str = "resource.k8s.io"
    versions: tuple[str, ...] = ("v1", "v1beta2", "v1beta1")


CLAIM_KINDS = (ClaimKind(CLAIM_TEMPLATE, "resourceclaimtemplates"), ClaimKind(CLAIM, "resourceclaims"))


@dataclass(frozen=True, slots=True)
class ClaimSeen:
    """A claim, or a template of claims."""

    ref: Ref
    gpus: int


def claim_seen(kind: str) -> Callable[[JsonObject], ClaimSeen]:
    """What is kept of each object of a kind."""

    def keep(item: JsonObject) -> ClaimSeen:
        meta, spec = child(item, "metadata"), child(item, "spec")
        spec = child(spec, "spec") if kind == CLAIM_TEMPLATE else spec
        gpus = sum(map(_gpus, children(spec, "devices", "requests")))
        return ClaimSeen(Ref(kind, text(meta, "namespace"), text(meta, "name")), gpus)

    return keep


def claimed_by_pod(spec: JsonObject) -> tuple[Claimed, ...]:
    """By which claims a pod of this spec asks for devices."""
    named = (
        (CLAIM_TEMPLATE, text(each, "resourceClaimTemplateName"))
        if text(each, "resourceClaimTemplateName")
        else (CLAIM, text(each, "resourceClaimName"))
        for each in children(spec, "resourceClaims")
    )
    found = Counter(each for each in named if each[1])
    return tuple(Claimed(kind, name, times) for (kind, name), times in sorted(found.items()))


def claimed_by(kind: Kind, item: JsonObject, pods: Sequence[JsonObject] | None = None) -> tuple[Claimed, ...]:
    """By which claims, and how often, the pods of an object ask that its ``gpus_per_pod`` speaks of.

    The kind itself tells how often: it is given the object as if its pods asked for a GPU instead of a claim.
    """
    pods = pods_within(item) if pods is None else pods
    names = {(each.kind, each.name) for spec in pods for each in claimed_by_pod(spec)}
    often = ((*name, kind.seen(cast("JsonObject", _asking(item, name))).gpus_per_pod) for name in sorted(names))
    return tuple(Claimed(*each) for each in often if each[2])


def pods_within(item: JsonObject) -> list[JsonObject]:
    """The specs of pods within an object that ask by claims, or have volumes."""
    return list(_pods(item.get("spec")))


def _pods(value: object) -> Iterator[JsonObject]:
    waiting = [value]
    while waiting:  # of every object that is read: not a generator in each other
        each = waiting.pop()
        if isinstance(each, dict):
            found = cast("dict[str, object]", each)
            if "resourceClaims" in found or "volumes" in found:
                yield found
            waiting.extend(found.values())
        elif isinstance(each, list):
            waiting.extend(cast("list[object]", each))


def _asking(value: object, name: tuple[str, str]) -> object:
    """A copy whose pods ask for a GPU where they asked by this claim, and for nothing else."""
    if isinstance(value, dict):
        found = cast("dict[str, object]", value)
        made: dict[str, object] = {key: _asking(each, name) for key, each in found.items() if key not in _ASKING}
        times = sum(each.times for each in claimed_by_pod(found) if (each.kind, each.name) == name)
        return made | {"containers": [{"resources": {"limits": {_GPU: times}}}]} if times else made
    if isinstance(value, list):
        return [_asking(each, name) for each in cast("Sequence[object]", value)]
    return value


def _gpus(request: JsonObject) -> int:
    """Of one request; of alternatives that are GPUs the least."""
    if alternatives := children(request, "firstAvailable"):
        return min((found for each in alternatives if (found := _devices(each))), default=0)
    return _devices(child(request, "exactly") or request)


def _devices(asked: JsonObject) -> int:
    if asked.get("adminAccess") is True or not _is_gpu(text(asked, "deviceClassName")):
        return 0
    if text(asked, "allocationMode") == "All":
        return NOT_KNOWN
    return number(asked, "count") or 1


def _is_gpu(device_class: str) -> bool:
    """Whether a class may be one of GPUs: anybody may name one as they like, so only what says otherwise is none."""
    name = device_class.lower()
    says = any(fnmatchcase(name, pattern) for pattern in _GPU_CLASSES)
    return says or not any(fnmatchcase(name, pattern) for pattern in _OTHER_CLASSES)
