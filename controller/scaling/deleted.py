"""What was deleted while it was down; and workloads that lost the autoscaler through which they were put down."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from controller.scaling.decide import Step
from controller.scaling.engine import Report, Tick
from controller.scaling.model import Ref, Seen
from controller.scaling.record import RECORD

_WHY = "it was deleted while it was down"


class View(Protocol):
    """The cluster as it is seen."""

    def get(self, ref: Ref, /) -> Seen | None:
        """One object."""
        ...

    def synced(self, kind: str, /) -> bool:
        """Whether all objects of a kind have been listed."""
        ...

    @property
    def unreadable(self) -> Mapping[Ref, str]:
        """Objects that are there and are not understood, and why."""
        ...

    @property
    def forbidden(self) -> Mapping[str, str]:
        """Kinds of which what is seen may be old, or nothing."""
        ...


def is_deleted(ref: Ref, uid: str, view: View) -> bool:
    """Whether an object is gone for certain; another of its name may be there."""
    if not view.synced(ref.kind) or ref.kind in view.forbidden or ref in view.unreadable:
        return False
    seen = view.get(ref)
    return seen is None or seen.uid != uid


@dataclass(frozen=True, slots=True)
class Deleted:
    """An object that is gone."""

    report: Report
    """As it was seen last, with the step that closes it."""
    left: Seen | None = None
    """The workload, where it is there still: nobody brings it back, since what it stood at was its autoscaler's."""


class Deletions:
    """Follows what bears a record from look to look, until it is seen without one or is gone.

    What is not seen, and for all that is known may be there, waits for the look that can tell.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._marked: dict[tuple[Ref, str], Report] = {}

    def take(self, tick: Tick) -> Iterator[Deleted]:
        """What is gone for certain since it bore a record, each once."""
        for key, report in tuple(self._marked.items()):
            ref, uid = key
            seen = self._view.get(ref)
            if seen is not None and seen.uid == uid:
                del self._marked[key]
            elif is_deleted(ref, uid, self._view):
                del self._marked[key]
                yield self._gone(report)
        for report in tick.reports:
            if RECORD in report.workload.lever.annotations:
                self._marked[report.ref, report.workload.lever.uid] = report

    def _gone(self, report: Report) -> Deleted:
        left = None if report.subject == report.ref else self._view.get(report.subject)
        why = _WHY if left is None else f"{report.ref.kind} {report.ref.name}: {_WHY}; {left_alone(left)}"
        return Deleted(replace(report, step=Step("give_way", why)), left)


def left_alone(left: Seen) -> str:
    """What is to be told of a workload without its autoscaler."""
    stands = ", ".join(f"{name}={value}" for name, value in left.levers.items())
    return f"{left.ref} stays at {stands}, which it was put to: set what it shall be"
