"""What schedule windows are: sets of moments, each of which knows what it holds and when that may turn.

Weekly windows and dates are read off the wall clock of their zone. Where the clock skips an hour, that hour is in no
window. Where it repeats one, nothing happens twice: a window that began or ended in the first has done so, and stays as
it is through the second. Owns no grammar; :mod:`controller.time_windows` does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from controller.window_edges import last_turn, latest_wall, midnights, next_turn, wall_moments

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_A_DAY = 24 * 60
LONGEST_STRETCH = timedelta(days=30)
"""Weekly windows that do not turn for so long never do: a week, or two where the clock skips the one gap that they
leave."""


class Window(Protocol):
    """A set of moments."""

    def has(self, moment: datetime) -> bool:
        """Whether a moment lies in it."""
        ...

    def explain(self) -> str:
        """The window in words."""
        ...

    def edges(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """Moments of a span at which it may turn; see :mod:`controller.window_edges`."""
        ...

    @property
    def first_edge(self) -> datetime | None:
        """Before it there is none; ``None``: it has none, or has them at all times."""
        ...


@dataclass(frozen=True, slots=True)
class Always:
    """Every moment, or none."""

    holds: bool

    def has(self, moment: datetime) -> bool:
        """Whether it is ``always``."""
        del moment
        return self.holds

    def explain(self) -> str:
        """One word."""
        return "always" if self.holds else "never"

    def edges(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """None."""
        del begin, end
        return iter(())

    @property
    def first_edge(self) -> datetime | None:
        """None."""
        return None


@dataclass(frozen=True, slots=True)
class Weekly:
    """Minutes of some days of each week, by the wall clock of a zone."""

    days: frozenset[int]
    """0 is Monday; the days on which the window begins."""
    begin: int
    """Minutes since midnight."""
    end: int
    """Exclusive; at most ``begin``: it ends on the next day. 1440 is the day's end."""
    zone: ZoneInfo

    def has(self, moment: datetime) -> bool:
        """By the wall clock's day and minute."""
        local = latest_wall(self.zone, moment)
        minute = local.hour * 60 + local.minute
        today = local.weekday() in self.days
        if self.begin < self.end:
            return today and self.begin <= minute < self.end
        yesterday = (local.weekday() - 1) % 7 in self.days
        return (today and minute >= self.begin) or (yesterday and minute < self.end)

    def explain(self) -> str:
        """Days, times, zone."""
        days = "every day" if len(self.days) == len(WEEKDAYS) else ", ".join(WEEKDAYS[day] for day in sorted(self.days))
        over = " of the next day" if self.end <= self.begin else ""
        return f"{days} from {_clock(self.begin)} to before {_clock(self.end)}{over}, {self.zone.key}"

    def edges(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """When the wall clock shows its begin or its end."""
        return wall_moments(self.zone, begin, end, (self.begin, self.end % MINUTES_A_DAY))

    @property
    def first_edge(self) -> datetime | None:
        """At all times."""
        return None


@dataclass(frozen=True, slots=True)
class Dates:
    """Whole days, the last one included, by the wall clock of a zone."""

    first: date
    last: date
    zone: ZoneInfo

    def has(self, moment: datetime) -> bool:
        """By the wall clock's date."""
        return self.first <= latest_wall(self.zone, moment).date() <= self.last

    def explain(self) -> str:
        """Dates and zone."""
        if self.first == self.last:
            return f"on {self.first}, {self.zone.key}"
        return f"from {self.first} to {self.last}, both included, {self.zone.key}"

    def edges(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """When its first day begins, and the day after its last."""
        return midnights(self.zone, begin, end, (self.first, self.last + timedelta(days=1)))

    @property
    def first_edge(self) -> datetime | None:
        """A day before the first, which is so in every zone."""
        return datetime(self.first.year, self.first.month, self.first.day, tzinfo=UTC) - timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """Between two moments, the second excluded."""

    begin: datetime
    end: datetime

    def has(self, moment: datetime) -> bool:
        """Half open."""
        return self.begin <= moment < self.end

    def explain(self) -> str:
        """Both moments."""
        return f"from {self.begin.isoformat()} to before {self.end.isoformat()}"

    def edges(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """Its two moments."""
        return (moment for moment in (self.begin, self.end) if begin <= moment <= end)

    @property
    def first_edge(self) -> datetime | None:
        """Its begin."""
        return self.begin


@dataclass(frozen=True, slots=True)
class Windows:
    """A spec."""

    spec: str
    windows: tuple[Window, ...]

    def holding(self, moment: datetime) -> Window | None:
        """The first window that has the moment.

        Raises:
            ValueError: the moment has no zone.
        """
        if moment.tzinfo is None:
            raise ValueError(f"{moment.isoformat()} has no time zone")
        return next((window for window in self.windows if window.has(moment)), None)

    def has(self, moment: datetime) -> bool:
        """Whether any window has the moment."""
        return self.holding(moment) is not None

    def next_change(self, moment: datetime, within: timedelta = timedelta(days=8)) -> datetime | None:
        """The next moment at which inside becomes outside or back; ``None``: not ``within`` that time."""
        # in UTC, where a minute later is a minute later
        change = next_turn(self.has, self.edges, moment.astimezone(UTC), within)
        return change and change.astimezone(moment.tzinfo)

    def began(self, moment: datetime) -> datetime | None:
        """Since when it has been inside, or outside, without a break; ``None``: always was."""
        change = last_turn(self.has, self.edges, moment.astimezone(UTC), self.reach(moment))
        return change and change.astimezone(moment.tzinfo)

    def edges(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """Those of all windows."""
        return (edge for window in self.windows for edge in window.edges(begin, end))

    def reach(self, moment: datetime) -> datetime:
        """What has not turned from here to the moment never did before."""
        firsts = [window.first_edge for window in self.windows]
        return min([moment, *(first for first in firsts if first is not None)]).astimezone(UTC) - LONGEST_STRETCH


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
