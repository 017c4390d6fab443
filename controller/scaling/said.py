"""What annotations of one object say about its schedule, whichever words they used.

Each topic is a field, ``None`` where nothing is said. Owns the topics and how two sets of them are put together; the
words are those of :mod:`controller.scaling.policy_annotations` and :mod:`controller.scaling.downscaler_words`.
"""

from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Literal

from controller.scaling.down_times import Timeline
from controller.scaling.model import Size


@dataclass(frozen=True, slots=True)
class Timed:
    """A schedule with its wording."""

    timeline: Timeline
    wording: str
    """Such as ``down Mon-Fri 20:00-07:00``."""
    keys: tuple[str, ...] = ()
    """The annotations that say so."""


@dataclass(frozen=True, slots=True)
class Force:
    """Up or down inside windows, whatever the schedule says."""

    direction: Literal["up", "down"]
    timed: Timed


@dataclass(frozen=True, slots=True)
class Said:
    """By topic."""

    times: Timed | None = None
    """When it is down."""
    exclude: Timed | None = None
    """Inside these windows nothing is scaled. Windows that never hold say that it is not excluded."""
    exclude_until: datetime | None = None
    """Until then nothing is scaled."""
    forces: tuple[Force, ...] | None = None
    """The first whose windows hold decides. None of them: nothing is forced."""
    size: Size | None = None
    grace_seconds: int | None = None
    timezone: str | None = None
    priority: int | None = None
    allow_state_loss: bool | None = None
    unclear: tuple[str, ...] = ()
    """What is not understood: the annotation, why, and the place marked."""
    disagree: tuple[str, ...] = ()
    """Annotations that another one on the same object stands above."""

    def above(self, other: "Said", keys: dict[str, tuple[str, ...]]) -> "Said":
        """The same, and what ``other`` says where this says nothing.

        Args:
            other: what stands below.
            keys: by topic, the annotations of ``other``; those that lose are told in ``disagree``.
        """
        taken: dict[str, object] = {}
        lost: list[str] = []
        for topic in _TOPICS:
            below = getattr(other, topic)
            if below is None:
                continue
            if getattr(self, topic) is None:
                taken[topic] = below
            else:
                lost += keys.get(topic, ())
        return replace(
            self,
            **taken,  # type: ignore[arg-type]  # each value comes out of the same field
            unclear=self.unclear + other.unclear,
            disagree=self.disagree + other.disagree + tuple(lost),
        )


NOTHING_SAID = Said()
_TOPICS = tuple(each.name for each in fields(Said) if each.name not in {"unclear", "disagree"})
