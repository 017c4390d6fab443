"""Which hour a nanosecond belongs to: the monotonic clock measures, the wall clock only names.

Owns the trajectory (at which monotonic time which wall clock offset held). A deviation of the wall clock of more than
the tolerance is a step: it is recorded, and from there on hours are named by the new offset. Below it the offset stays,
so that an hour without steps is 3600 s of the monotonic clock exactly.
"""

from bisect import bisect_right
from typing import NamedTuple

from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from ledger.hours import ClockStep

STEP_TOLERANCE_NS = NS_PER_SECOND
_KEPT_SEGMENTS = 64


class Slice(NamedTuple):
    """Part of an interval that lies in one hour."""

    hour_s: int
    duration_ns: int


def split_wall(from_ns: int, to_ns: int) -> list[Slice]:
    """Cut a stretch of wall time at full hours; empty when it is not positive."""
    slices: list[Slice] = []
    while from_ns < to_ns:
        hour = from_ns // NS_PER_HOUR
        end = min(to_ns, (hour + 1) * NS_PER_HOUR)
        slices.append(Slice(hour * 3600, end - from_ns))
        from_ns = end
    return slices


class HourClock:
    """Maps monotonic time to wall hours along the recorded trajectory."""

    def __init__(self, segments: list[tuple[int, int]]) -> None:
        """``segments``: (monotonic start, wall minus monotonic), ascending and not empty."""
        self._segments = [(start, offset) for start, offset in segments]

    @classmethod
    def starting(cls, monotonic_ns: int, wall_ns: int) -> "HourClock":
        """A trajectory that begins now."""
        return cls([(monotonic_ns, wall_ns - monotonic_ns)])

    @property
    def segments(self) -> list[tuple[int, int]]:
        """For saving."""
        return list(self._segments)

    def wall_at(self, monotonic_ns: int) -> int:
        """The wall clock by the trajectory."""
        return monotonic_ns + self._segments[self._segment_of(monotonic_ns)][1]

    def observe(self, monotonic_ns: int, wall_ns: int) -> ClockStep | None:
        """Compare with the wall clock; on a step take the new offset from ``monotonic_ns`` on and return it."""
        expected = monotonic_ns + self._segments[-1][1]
        if abs(wall_ns - expected) < STEP_TOLERANCE_NS:
            return None
        self.turn(monotonic_ns, wall_ns - monotonic_ns)
        return ClockStep(expected, wall_ns)

    def turn(self, monotonic_ns: int, offset_ns: int) -> None:
        """From ``monotonic_ns`` on the offset is ``offset_ns``."""
        self._segments.append((monotonic_ns, offset_ns))
        del self._segments[:-_KEPT_SEGMENTS]

    def split(self, from_ns: int, to_ns: int) -> list[Slice]:
        """Cut a monotonic interval at full hours and at steps; the durations add up to the interval."""
        slices: list[Slice] = []
        place = self._segment_of(from_ns)
        while from_ns < to_ns:
            offset = self._segments[place][1]
            last = place + 1 == len(self._segments)
            end = to_ns if last else min(to_ns, self._segments[place + 1][0])
            slices.extend(split_wall(from_ns + offset, end + offset))
            from_ns = max(from_ns, end)
            place += 1
        return slices

    def _segment_of(self, monotonic_ns: int) -> int:
        return max(0, bisect_right(self._segments, (monotonic_ns, 1 << 80)) - 1)
