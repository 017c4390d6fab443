"""HorizontalPodAutoscaler: its bounds, both at the size that is wished.

It cannot hold its target at nothing: for that the target's own replicas are set to 0, and it stands still.
"""

from dataclasses import dataclass

from collectors.kube_errors import Malformed
from collectors.kube_json import JsonObject
from controller.scaling.kinds.by_patch import ByPatch
from controller.scaling.kinds.reading import Traits, all_are, count, levers, readiness, target
from controller.scaling.model import Levers, Seen, Size


@dataclass(frozen=True, slots=True)
class HorizontalPodAutoscaler(ByPatch):
    """Levers ``minReplicas`` and ``maxReplicas``."""

    def down(self, seen: Seen, size: Size) -> Levers | None:
        """Both bounds at the size: a number, or a part of the fewest that it keeps, so never more than those.

        ``None``: it never has more than that, or the size is 0.
        """
        least, most = _bound(seen.levers["minReplicas"]), _bound(seen.levers["maxReplicas"])
        if size.is_zero:
            return None
        wanted = max(1, size.of(most if size.percent is None else least))
        return None if wanted >= most else levers(minReplicas=wanted, maxReplicas=wanted)

    def stands(self, levers: Levers) -> bool:
        """At counts, of which only the lower may be missing."""
        return all_are(int, levers) and levers["maxReplicas"] is not None

    def patch(self, levers: Levers) -> JsonObject:
        """The merge patch of the object."""
        return {"spec": {"minReplicas": levers["minReplicas"], "maxReplicas": levers["maxReplicas"]}}


def _bound(value: object) -> int:
    return value if isinstance(value, int) else 1  # an absent minReplicas is 1


def _read(item: JsonObject) -> Traits:
    most = count(item, "spec", "maxReplicas")
    if most is None:
        raise Malformed("spec.maxReplicas is missing")
    least = count(item, "spec", "minReplicas")
    return Traits(levers(minReplicas=least, maxReplicas=most), readiness(0, 0), scales=target(item))


HORIZONTAL_POD_AUTOSCALER = HorizontalPodAutoscaler(
    "HorizontalPodAutoscaler", "autoscaling", ("v2",), "horizontalpodautoscalers", (), _read, sizes="above_zero"
)
