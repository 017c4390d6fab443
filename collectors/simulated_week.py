"""The simulated week: times of the week, windows in it, and step functions over it that are integrated exactly.

A scenario repeats every week, so what a counter shows at any instant follows from one week's table, without a history.
Scenario time is nanoseconds since the Unix epoch in the scenario's own time zone.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from collectors.clock import NS_PER_HOUR, NS_PER_SECOND

STEP_SECONDS = 10
STEP_NS = STEP_SECONDS * NS_PER_SECOND
STEPS_PER_HOUR = 3600 // STEP_SECONDS
STEPS_PER_DAY = 24 * STEPS_PER_HOUR
STEPS_PER_WEEK = 7 * STEPS_PER_DAY
MINUTE_NS = 60 * NS_PER_SECOND
DAY_NS = 24 * NS_PER_HOUR
WEEK_NS = 7 * DAY_NS
ANCHOR_NS = -3 * DAY_NS
"""A Monday, 00:00, from which weeks are counted (1969-12-29)."""

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = "|".join(DAYS)
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d"
_INSTANT = re.compile(rf"(?P<days>daily|{_DAY}) (?P<at>{_CLOCK})")
_DAILY = re.compile(rf"(?P<days>daily|(?:{_DAY})(?:[,-](?:{_DAY}))*) (?P<start>{_CLOCK})-(?P<end>{_CLOCK}|24:00)")
_LONG = re.compile(rf"(?P<start>(?:{_DAY}) {_CLOCK}) - (?P<end>(?:{_DAY}) {_CLOCK})")
INSTANT_FORM = "a day and a time such as 'Wed 03:10', or 'daily 03:10'"
WINDOW_FORM = (
    "'always', days and hours such as 'Mon-Fri 08:30-18:00', 'Sat,Sun 10:00-12:00' or 'daily 22:00-04:00', "
    "or one long span such as 'Mon 08:00 - Thu 20:00'"
)


@dataclass(frozen=True, slots=True)
class Window:
    """A span that comes back every week; ``start_ns`` counts from Monday 00:00, ``length_ns`` may run over Sunday."""

    start_ns: int
    length_ns: int

    @property
    def always(self) -> bool:
        """The whole week: it never ends."""
        return self.length_ns >= WEEK_NS

    def covers(self, week_ns: int) -> bool:
        """Whether it holds the instant that lies ``week_ns`` after a Monday 00:00."""
        return (week_ns - self.start_ns) % WEEK_NS < self.length_ns

    def started(self, time_ns: int) -> int | None:
        """The start of the occurrence that ``time_ns`` lies in, ``None`` between two."""
        into_ns = (time_ns - ANCHOR_NS - self.start_ns) % WEEK_NS
        return time_ns - into_ns if into_ns < self.length_ns else None

    def last_start(self, time_ns: int) -> int:
        """The start of the last occurrence that had begun at ``time_ns``."""
        return time_ns - (time_ns - ANCHOR_NS - self.start_ns) % WEEK_NS

    def last_end(self, time_ns: int) -> int:
        """The end of the last occurrence that was over at ``time_ns``."""
        return time_ns - (time_ns - ANCHOR_NS - self.start_ns - self.length_ns) % WEEK_NS

    def starts_between(self, after_ns: int, until_ns: int) -> Iterator[int]:
        """Starts in ``(after_ns, until_ns]``, in order."""
        first_ns = after_ns + WEEK_NS - (after_ns - ANCHOR_NS - self.start_ns) % WEEK_NS
        yield from range(first_ns, until_ns + 1, WEEK_NS)

    def spans(self, after_ns: int, until_ns: int) -> Iterator[tuple[int, int]]:
        """Starts and ends of the occurrences within ``after_ns`` to ``until_ns``, cut to it."""
        for start_ns in range(self.last_start(after_ns), until_ns, WEEK_NS):
            if start_ns + self.length_ns > after_ns:
                yield max(start_ns, after_ns), min(start_ns + self.length_ns, until_ns)

    def week_of(self, start_ns: int) -> int:
        """The number of the week, counted from the anchor, in which an occurrence started."""
        return (start_ns - ANCHOR_NS) // WEEK_NS

    def steps(self) -> Iterator[range]:
        """The steps of the week that it covers: one range, or two where it runs over Sunday's end."""
        start, end = self.start_ns // STEP_NS, (self.start_ns + self.length_ns) // STEP_NS
        yield range(start, min(end, STEPS_PER_WEEK))
        if end > STEPS_PER_WEEK:
            yield range(end - STEPS_PER_WEEK)


ALWAYS = Window(0, WEEK_NS)


def parse_instants(text: str) -> Sequence[int]:
    """Nanoseconds from Monday 00:00 of a time such as ``Wed 03:10``; seven of them for ``daily 03:10``.

    Raises:
        ValueError: it is no such time; the message says what is allowed.
    """
    if (match := _INSTANT.fullmatch(text)) is None:
        raise ValueError(INSTANT_FORM)
    return [day * DAY_NS + _minutes(match["at"]) * MINUTE_NS for day in _days(match["days"])]


def parse_windows(text: str) -> Sequence[Window]:
    """The windows of a span such as ``Mon-Fri 08:30-18:00``; an end at or before its start lies on the next day.

    Raises:
        ValueError: it is no such span; the message says what is allowed.
    """
    if text == "always":
        return (ALWAYS,)
    if match := _LONG.fullmatch(text):
        (start_ns,), (end_ns,) = parse_instants(match["start"]), parse_instants(match["end"])
        return (Window(start_ns, (end_ns - start_ns) % WEEK_NS or WEEK_NS),)
    if (match := _DAILY.fullmatch(text)) is None:
        raise ValueError(WINDOW_FORM)
    start, end = _minutes(match["start"]), _minutes(match["end"])
    length_ns = (end - start if end > start else end + 24 * 60 - start) * MINUTE_NS
    return [Window(day * DAY_NS + start * MINUTE_NS, length_ns) for day in _days(match["days"])]


def overlap(windows: Sequence[Window]) -> bool:
    """Whether any two of them share an instant."""
    return sum(window.length_ns for window in windows) > WEEK_NS or any(
        (other.start_ns - window.start_ns) % WEEK_NS < window.length_ns
        for window in windows
        for other in windows
        if other is not window
    )


def _minutes(clock: str) -> int:
    hour, minute = clock.split(":")
    return int(hour) * 60 + int(minute)


def _days(text: str) -> list[int]:
    if text == "daily":
        return list(range(7))
    days: set[int] = set()
    for part in text.split(","):
        ends = [DAYS.index(day) for day in part.split("-")]
        days.update((ends[0] + offset) % 7 for offset in range((ends[-1] - ends[0]) % 7 + 1))
    return sorted(days)


class WeekTable:
    """A step function of integers over the week, ten seconds a step, that repeats and is integrated exactly.

    Args:
        steps: one value for each of the ``STEPS_PER_WEEK`` steps.
    """

    __slots__ = ("_before_hour", "_steps", "_week")

    def __init__(self, steps: Iterable[int]) -> None:
        self._steps = array("i", steps)
        if len(self._steps) != STEPS_PER_WEEK:
            raise ValueError(f"a week has {STEPS_PER_WEEK} steps, not {len(self._steps)}")
        hours = range(0, STEPS_PER_WEEK, STEPS_PER_HOUR)
        sums = list(accumulate((sum(self._steps[hour : hour + STEPS_PER_HOUR]) for hour in hours), initial=0))
        self._week = sums.pop()
        self._before_hour = array("q", sums)

    @property
    def steps(self) -> Sequence[int]:
        """The values, from Monday 00:00 on."""
        return self._steps

    def at(self, time_ns: int) -> int:
        """The value in force at ``time_ns``."""
        return self._steps[(time_ns - ANCHOR_NS) % WEEK_NS // STEP_NS]

    def integral(self, time_ns: int) -> int:
        """Value times nanoseconds from the anchor to ``time_ns``, exact."""
        week, into_week_ns = divmod(time_ns - ANCHOR_NS, WEEK_NS)
        step, into_step_ns = divmod(into_week_ns, STEP_NS)
        hour = step // STEPS_PER_HOUR
        whole = week * self._week + self._before_hour[hour] + sum(self._steps[hour * STEPS_PER_HOUR : step])
        return whole * STEP_NS + self._steps[step] * into_step_ns
