"""When an answer that depends on the clock can turn, and when it does: exact, and without asking minute by minute.

A window tells the few moments at which its answer may turn (its edges); between two of them it stays. What is sought is
therefore found by asking at edges alone, over hours that the wall clock skips or repeats as well. All moments that go
in or come out are in UTC. Owns no grammar.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

Holds = Callable[[datetime], object]
"""An answer at a moment."""
Edges = Callable[[datetime, datetime], Iterable[datetime]]
"""All moments in a span, begin and end included, at which an answer may turn; more than those do no harm."""

_DAY, _NONE = timedelta(days=1), timedelta()
_LOOK = timedelta(hours=6)
"""No zone changes its offset twice within so little."""
_SECOND = timedelta(seconds=1)


def wall_moments(zone: ZoneInfo, begin: datetime, end: datetime, minutes: Iterable[int]) -> Iterator[datetime]:
    """When the wall clock of a zone shows those minutes of a day, and when it is put forward or back."""
    changes = tuple(clock_changes(zone, begin - _DAY, end + _DAY))
    around = _DAY if changes else _NONE  # only a clock that is put back shows a day again
    day, last = begin.astimezone(zone).date() - around, end.astimezone(zone).date() + around
    steps = [timedelta(minutes=minute) for minute in minutes]
    while day <= last:
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
        for step in steps:
            wall = midnight + step
            yield from _between(begin, end, _both(wall) if changes else (wall.astimezone(UTC),))
        day += _DAY
    yield from _between(begin, end, changes)


def midnights(zone: ZoneInfo, begin: datetime, end: datetime, days: Iterable[date]) -> Iterator[datetime]:
    """When those days begin by the wall clock of a zone, and changes of the clock around them."""
    for day in days:
        for moment in _both(datetime(day.year, day.month, day.day, tzinfo=zone)):
            near = [moment, *clock_changes(zone, moment - _DAY, moment + _DAY)]
            yield from _between(begin, end, near)


def clock_changes(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[datetime]:
    """When the offset of a zone changes."""
    for ordinal in range(begin.toordinal() - 1, end.toordinal() + 1):
        yield from _between(begin, end, _changes_of_day(zone, ordinal))


def latest_wall(zone: ZoneInfo, moment: datetime) -> datetime:
    """The latest time that the wall clock of a zone has shown up to a moment.

    It never goes back: in an hour that comes a second time it stands just before the time at which the clock was put
    back.
    """
    local = moment.astimezone(zone)
    if not local.fold:
        return local
    changes = tuple(clock_changes(zone, moment - 2 * _DAY, moment))
    if not changes:
        return local
    before = (changes[-1] - _SECOND).astimezone(zone)
    return before + (_SECOND - datetime.resolution)


def next_turn(holds: Holds, edges: Edges, moment: datetime, within: timedelta) -> datetime | None:
    """The first moment after one at which an answer is another; ``None``: not ``within`` that time."""
    now = holds(moment)
    begin, limit, step = moment, moment + within, _DAY
    while begin < limit:
        end = min(begin + step, limit)
        for edge in sorted(set(edges(begin, end))):
            if edge > moment and holds(edge) != now:
                return edge
        begin, step = end, step * 2
    return None


def last_turn(holds: Holds, edges: Edges, moment: datetime, reach: datetime) -> datetime | None:
    """Since when an answer has been what it is at a moment; ``None``: since before ``reach``."""
    now = holds(moment)
    found: datetime | None = None
    end, step = moment, _DAY
    while end > reach:
        begin = max(end - step, reach)
        for edge in sorted(set(edges(begin, end)), reverse=True):
            if holds(edge) != now:
                return found
            found = edge
        end, step = begin, step * 2
    return found if holds(reach) != now else None


@lru_cache(maxsize=4096)
def _changes_of_day(zone: ZoneInfo, ordinal: int) -> tuple[datetime, ...]:
    begin = datetime.fromordinal(ordinal).replace(tzinfo=UTC)
    looks = [begin + _LOOK * number for number in range(_DAY // _LOOK + 1)]
    return tuple(_change(zone, *pair) for pair in pairwise(looks) if _offset(zone, pair[0]) != _offset(zone, pair[1]))


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    offset = _offset(zone, before)
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        if _offset(zone, middle) == offset:
            before = middle
        else:
            after = middle
    return after


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()


def _both(wall: datetime) -> tuple[datetime, ...]:
    """The moments that a wall clock's time may be: two where an hour is repeated or skipped."""
    first, second = wall.astimezone(UTC), wall.replace(fold=1).astimezone(UTC)
    return (first,) if first == second else (first, second)


def _between(begin: datetime, end: datetime, moments: Iterable[datetime]) -> Iterator[datetime]:
    return (moment for moment in moments if begin <= moment <= end)
