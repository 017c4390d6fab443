"""What counters gained within a span of time, from the raw samples that a Prometheus kept of them.

Owns the rules that ``increase()`` does not know, which stretches what it saw over what it did not:

- a counter that the page did not show at the scrape before began since that scrape, at 0;
- at the first scrape that is known, all of the page's counters began when its time says so; where that is before the
  samples begin nobody knows when its amounts came, and they are left out;
- a reset is when a device's whole time fell to what can have passed since: then what is shown came since; any other
  fall is a fault of the scrape and counts nothing;
- a step that straddles an end of the span counts by the part of its time that lies within.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

Points = Sequence[tuple[float, float]]
"""Unix seconds and value, ascending, each time once."""

_SLACK_SECONDS = 60.0
"""A clock may have been set meanwhile."""
_BEHIND_SECONDS = 60.0
"""A page tells what the last sweep saw, and no two sweeps are further apart by their settings. What comes later than
that cannot be said to have passed within the span."""


class Span(NamedTuple):
    """The time from ``begin`` to ``end``, Unix seconds."""

    begin: float
    end: float
    known_from: float
    """Samples are known from here on; at most ``begin``."""


@dataclass(frozen=True, slots=True)
class Page:
    """When a page of counters was scraped, and when its counters began."""

    times: Sequence[float]
    """Ascending."""
    began: float
    """When those of the first scrape began."""
    resets: frozenset[float]
    """Scrapes before which they began anew."""
    behind: Mapping[float, float] = field(default_factory=dict[float, float])
    """By scrape, seconds that had passed and were not on the page yet."""

    @classmethod
    def of(cls, totals: Mapping[float, float]) -> "Page":
        """From all time that a device's counters add up to, by scrape: they began so long before."""
        times = sorted(totals)
        falls = frozenset(
            now
            for before, now in pairwise(times)
            if totals[now] < totals[before] and totals[now] <= now - before + _SLACK_SECONDS
        )
        behind = {times[0]: 0.0}
        for before, now in pairwise(times):
            lacking = behind[before] + now - before - (totals[now] - totals[before])
            behind[now] = 0.0 if now in falls else min(max(lacking, 0.0), _BEHIND_SECONDS)
        return cls(times, times[0] - totals[times[0]], falls, behind)

    @classmethod
    def together(cls, pages: Iterable["Page"]) -> "Page":
        """One page that shows several devices."""
        every = list(pages)
        times = sorted({when for page in every for when in page.times})
        began = min(page.began for page in every if page.times[0] == times[0])
        return cls(times, began, frozenset(when for page in every for when in page.resets))

    def before(self, when: float) -> float | None:
        """The scrape before that one."""
        at = bisect_left(self.times, when)
        return self.times[at - 1] if at else None


def gained(points: Points, page: Page, span: Span, *, clock: bool = False) -> float:
    """What a counter gained within the span, in its own unit.

    Args:
        points: the counter's samples, all of them at ``page.times``.
        page: what shows it.
        span: see there.
        clock: the counter counts seconds of a clock: it gains no more than passed and the page was behind.
    """
    total = 0.0
    for begin, end, told in _steps(points, page, span.known_from):
        within = min(end, span.end) - max(begin, span.begin)
        if within > 0:
            amount = min(told, end - begin + page.behind.get(begin, 0.0)) if clock else told
            total += amount * within / (end - begin)
    return total


def _steps(points: Points, page: Page, known_from: float) -> Iterator[tuple[float, float, float]]:
    """Begin, end and amount."""
    last: tuple[float, float] | None = None
    for when, value in points:
        before = page.before(when)
        if before is None:
            if page.began >= known_from:
                yield page.began, when, value
        elif last is None or last[0] != before or when in page.resets:
            yield before, when, value
        else:
            yield before, when, max(0.0, value - last[1])
        last = when, value
