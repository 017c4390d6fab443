"""KEDA's ScaledObject: paused at a count of replicas; a pause that its user had set comes back as it was.

One that is paused where it is (``paused`` without a count), or that may not scale out, does not bring back what it
scales once a count of ours is taken away: what it scales is then scaled by itself.
"""

from dataclasses import dataclass

from collectors.kube_errors import Malformed
from collectors.kube_json import JsonObject
from controller.scaling.kinds.by_patch import ByPatch, annotation_lever
from controller.scaling.kinds.reading import Traits, annotation, count, levers, readiness, target
from controller.scaling.model import Levers, Seen, Size

PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"
PAUSED = "autoscaling.keda.sh/paused"
PAUSED_OUT = "autoscaling.keda.sh/paused-scale-out"
_NO = frozenset({"0", "f", "F", "false", "FALSE", "False"})
"""KEDA takes every other word of a pause as yes."""
_MOST_BY_DEFAULT = 100
_MOST_DIGITS = 10
"""Of a count that KEDA understands."""


@dataclass(frozen=True, slots=True)
class ScaledObject(ByPatch):
    """Lever ``pausedReplicas``: the annotation's text, or that there is none."""

    def down(self, seen: Seen, size: Size) -> Levers | None:
        """Paused at the size: a number, or a part of the fewest replicas that it keeps.

        ``None``: it never has more than that, or is paused at no more.
        """
        least, most = seen.bounds or (0, _MOST_BY_DEFAULT)
        paused = seen.levers["pausedReplicas"]
        if isinstance(paused, str):
            least = most = int(paused)
        wanted = size.of(most if size.percent is None else least)
        wanted = 0 if size.is_zero else max(1, wanted)  # half of a thing that may be at nothing is not nothing
        is_there = wanted >= most and (most > 0 or paused is not None)
        return None if is_there else levers(pausedReplicas=str(wanted))

    def stands(self, levers: Levers) -> bool:
        """At a count in digits, or at none."""
        paused = levers["pausedReplicas"]
        return paused is None or (isinstance(paused, str) and _is_count(paused))

    def patch(self, levers: Levers) -> JsonObject:
        """The merge patch of the object."""
        return {"metadata": {"annotations": {PAUSED_REPLICAS: levers["pausedReplicas"]}}}


def _is_count(said: str) -> bool:
    return said.isascii() and said.isdecimal() and len(said) <= _MOST_DIGITS


def _says_yes(item: JsonObject, key: str) -> bool:
    said = annotation(item, key)
    return said is not None and said not in _NO


def _read(item: JsonObject) -> Traits:
    paused = annotation(item, PAUSED_REPLICAS)
    if paused is not None and not _is_count(paused):
        raise Malformed(f"the annotation {PAUSED_REPLICAS} is {paused[:60]!r}, which is no count")
    least, most = count(item, "spec", "minReplicaCount"), count(item, "spec", "maxReplicaCount")
    stands_still = (paused is None and _says_yes(item, PAUSED)) or _says_yes(item, PAUSED_OUT)
    return Traits(
        annotation_lever(item, "pausedReplicas", PAUSED_REPLICAS),
        readiness(0, 0),
        scales=None if stands_still else target(item, "Deployment"),
        bounds=(least or 0, _MOST_BY_DEFAULT if most is None else most),
    )


SCALED_OBJECT = ScaledObject(
    "ScaledObject", "keda.sh", ("v1alpha1",), "scaledobjects", ("HorizontalPodAutoscaler",), _read, sizes="any"
)
