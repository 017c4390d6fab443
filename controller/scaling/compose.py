"""Which objects are scaled, and which object is written for each.

Owns peace among autoscalers: a workload that KEDA scales is paused at its ScaledObject; one under a
HorizontalPodAutoscaler goes to nothing by its own replicas, where that autoscaler stands still, and to a smaller size
by the autoscaler's bounds. What another managed object made is never scaled by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from controller.scaling.model import NamespaceSeen, PodSeen, Ref, Seen, Size, Workload
from controller.scaling.record import COMMAND, RECORD

AUTOSCALER = "HorizontalPodAutoscaler"
SCALED_OBJECT = "ScaledObject"
_SCALERS = frozenset({AUTOSCALER, SCALED_OBJECT})
_OURS = ("wattledger.io/schedule-", "downscaler/")


class View(Protocol):
    """The cluster as it was last seen."""

    def objects(self, kind: str, /) -> Sequence[Seen]:
        """All of one kind of the registry."""
        ...

    def get(self, ref: Ref, /) -> Seen | None:
        """One object."""
        ...

    def namespace(self, name: str, /) -> NamespaceSeen:
        """A namespace; one without labels where it is not seen yet."""
        ...

    def pods_of(self, ref: Ref, /) -> Sequence[PodSeen]:
        """The pods of a workload."""
        ...

    def scalers_of(self, kind: str, subject: Ref, /) -> Sequence[Seen]:
        """Objects of an autoscaling kind that scale a workload."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """A workload with what scales it."""

    seen: Seen
    namespace: NamespaceSeen
    pods: tuple[PodSeen, ...]
    autoscaler: Seen | None
    scaled_object: Seen | None

    @property
    def asked(self) -> Seen:
        """As policies look at it: annotations on what scales it count as its own."""
        scaler = self.scaled_object or self.autoscaler
        if scaler is None:
            return self.seen
        said = {
            key: value
            for key, value in scaler.annotations.items()
            if key.startswith(_OURS) and key not in {RECORD, COMMAND}
        }
        return replace(self.seen, annotations={**self.seen.annotations, **said}) if said else self.seen

    def workload(self, size: Size) -> Workload:
        """What is written for it, where it is to go down to ``size``."""
        lever = self.scaled_object or (None if size.is_zero else self.autoscaler) or self.seen
        return Workload(self.seen, lever, self.namespace, self.pods)


def is_back(workload: Workload) -> bool:
    """Whether its pods are Ready; of what is scaled by another object, once that one has done its part.

    An autoscaler that was given back its bounds or its pause needs some seconds to raise what it scales. A
    HorizontalPodAutoscaler leaves what stands at nothing.
    """
    subject, lever = workload.subject, workload.lever
    if lever.ref == subject.ref or not subject.readiness.done:
        return subject.readiness.done
    replicas = subject.levers.get("replicas")
    if not isinstance(replicas, int) or (lever.ref.kind == AUTOSCALER and replicas == 0):
        return True
    return replicas >= _fewest(lever)


def _fewest(scaler: Seen) -> int:
    """Replicas that a scaler keeps at least."""
    said = scaler.levers.get("minReplicas", scaler.levers.get("pausedReplicas"))
    if said is not None:
        return int(said)
    return 1 if scaler.bounds is None else scaler.bounds[0]


def subjects(
    view: View,
    kinds: Sequence[str],
    managed: Callable[[Seen], str | None],
    complete: Callable[[Seen], Seen] = lambda seen: seen,
) -> Iterator[Subject]:
    """All that may be scaled.

    Args:
        view: the cluster.
        kinds: names of the registry.
        managed: which managed kind made an object; ``None``: none did.
        complete: an object with what others describe of it.
    """
    for kind in kinds:
        for seen in map(complete, view.objects(kind)):
            if managed(seen) is not None or (kind in _SCALERS and _is_left(view, seen, kinds)):
                continue
            autoscalers = [each for each in view.scalers_of(AUTOSCALER, seen.ref) if managed(each) is None]
            yield Subject(
                seen=seen,
                namespace=view.namespace(seen.ref.namespace),
                pods=tuple(view.pods_of(seen.ref)),
                autoscaler=_first(autoscalers),
                scaled_object=_first(view.scalers_of(SCALED_OBJECT, seen.ref)),
            )


def _is_left(view: View, scaler: Seen, kinds: Sequence[str]) -> bool:
    """Whether a scaler is no workload of its own: it scales one, or stands still; one whose target is not seen is."""
    if scaler.scales is None:
        return True
    kind, name = scaler.scales
    return kind in kinds and view.get(Ref(kind, scaler.ref.namespace, name)) is not None


def _first(found: Sequence[Seen]) -> Seen | None:
    """The first by name, so that two that scale one workload are told apart the same way each time."""
    return min(found, key=lambda seen: seen.ref.name, default=None)
