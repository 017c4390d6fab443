"""KEDA's ScaledObject: paused at a count of replicas; a pause that its user had set comes back as it was.

One that is paused where it is (``paused: "true"`` without a count) does nothing: what it scales is then scaled by
itself, since KEDA would not bring it back once a count of ours is taken away.
"""

from dataclasses import dataclass

from collectors.kube_errors import Malformed
from collectors.kube_json import JsonObject
from controller.scaling.kinds.by_patch import ByPatch, annotation_lever
from controller.scaling.kinds.reading import Traits, annotation, count, is_true, levers, readiness, target
from controller.scaling.model import Levers, Seen, Size

PAUSED_REPLICAS = "autoscaling.keda.sh/paused-replicas"
PAUSED = "autoscaling.keda.sh/paused"
_MOST_BY_DEFAULT = 100


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

    def patch(self, levers: Levers) -> JsonObject:
        """The merge patch of the object."""
        return {"metadata": {"annotations": {PAUSED_REPLICAS: levers["pausedReplicas"]}}}


def _read(item: JsonObject) -> Traits:
    paused = annotation(item, PAUSED_REPLICAS)
    if paused is not None and not (paused.isascii() and paused.isdecimal()):
        raise Malformed(f"the annotation {PAUSED_REPLICAS} is {paused[:60]!r}, which is no count")
    least, most = count(item, "spec", "minReplicaCount"), count(item, "spec", "maxReplicaCount")
    stands_still = paused is None and is_true(annotation(item, PAUSED))
    return Traits(
        annotation_lever(item, "pausedReplicas", PAUSED_REPLICAS),
        readiness(0, 0),
        scales=None if stands_still else target(item, "Deployment"),
        bounds=(least or 0, _MOST_BY_DEFAULT if most is None else most),
    )


SCALED_OBJECT = ScaledObject(
    "ScaledObject", "keda.sh", ("v1alpha1",), "scaledobjects", ("HorizontalPodAutoscaler",), _read, sizes="any"
)
