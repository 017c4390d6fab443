"""When: the grammar of schedule windows, and whether a moment lies in them.

A spec is one or more windows, separated by commas or semicolons; a moment is inside when any of them has it::

    Mon-Fri 07:30-20:30 Europe/Berlin     weekly; days may wrap (Fri-Mon), may be one (Sat), or left out (every day)
    Mon-Fri 20:00-07:00 Europe/Berlin     over midnight: the days name where it begins; the last ends on Saturday
    Sat-Sun UTC                           whole days
    2026-12-25 Europe/Berlin              a date
    2026-12-24..2026-12-26                dates, the last one included
    2026-12-24T18:00:00+01:00-2026-12-27T07:00:00+01:00    a period between two moments; / may stand for its -
    always, never

A window holds from its first minute to before its last (half open). Weekly windows and dates are read off the wall
clock of their zone: where the clock skips an hour, that hour is in no window; where it repeats one, both are. A window
without a zone takes the one given with the spec. Owns the grammar; decides nothing about workloads.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NoReturn, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_A_DAY = 24 * 60
_DAY_NAMES = {name.lower(): number for number, name in enumerate(WEEKDAYS)}
_TOKEN = re.compile(r"\S+")
_TIME_RANGE = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2})?(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})"
_PERIOD = re.compile(rf"({_MOMENT})\s*[-/]\s*({_MOMENT})")
_HOURS, _MINUTES = 24, 59


class SpecRefused(ValueError):  # noqa: N818  (named for the caller's move)
    """A spec that is not understood; the message marks the place."""

    def __init__(self, spec: str, at: int, length: int, why: str) -> None:
        mark = " " * at + "^" * max(1, length)
        super().__init__(f"{why}\n  {spec}\n  {mark}")
        self.why = why
        self.at = at


class Window(Protocol):
    """A set of moments."""

    def has(self, moment: datetime) -> bool:
        """Whether a moment lies in it."""
        ...

    def explain(self) -> str:
        """The window in words."""
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
        local = moment.astimezone(self.zone)
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


@dataclass(frozen=True, slots=True)
class Dates:
    """Whole days, the last one included, by the wall clock of a zone."""

    first: date
    last: date
    zone: ZoneInfo

    def has(self, moment: datetime) -> bool:
        """By the wall clock's date."""
        return self.first <= moment.astimezone(self.zone).date() <= self.last

    def explain(self) -> str:
        """Dates and zone."""
        if self.first == self.last:
            return f"on {self.first}, {self.zone.key}"
        return f"from {self.first} to {self.last}, both included, {self.zone.key}"


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
        """The next minute at which inside becomes outside or back; ``None``: not ``within`` that time."""
        inside = self.has(moment)
        # in UTC, where a minute later is a minute later
        begin = moment.astimezone(UTC).replace(second=0, microsecond=0)
        for minutes in range(1, within // timedelta(minutes=1) + 1):
            at = begin + timedelta(minutes=minutes)
            if self.has(at) != inside:
                return at.astimezone(moment.tzinfo)
        return None


def parse(spec: str, zone: str = "UTC") -> Windows:
    """Read a spec.

    Args:
        spec: see the module.
        zone: IANA name of the zone of windows that name none.

    Raises:
        SpecRefused: it is not understood, or ``zone`` is no zone.
    """
    default = _zone(spec, zone, 0, len(spec)) if zone != "UTC" else ZoneInfo("UTC")
    windows = tuple(_window(spec, begin, text, default) for begin, text in _split(spec))
    if not windows:
        raise SpecRefused(
            spec, 0, len(spec), "no window: write such as 'Mon-Fri 07:30-20:30 Europe/Berlin', always or never"
        )
    return Windows(spec, windows)


def _split(spec: str) -> Iterator[tuple[int, str]]:
    begin = 0
    for part in re.split("([,;])", spec):
        if part not in {",", ";"} and part.strip():
            yield begin + len(part) - len(part.lstrip()), part.strip()
        begin += len(part)


def _window(spec: str, at: int, text: str, default: ZoneInfo) -> Window:
    if text.lower() in {"always", "never"}:
        return Always(text.lower() == "always")
    if match := _PERIOD.fullmatch(text):
        return _period(spec, at, match)
    words = [(at + match.start(), match[0]) for match in _TOKEN.finditer(text)]
    days, words = _days(spec, words)
    if isinstance(days, tuple):
        return Dates(*days, _last_zone(spec, words, default))
    times, words = _times(spec, words)
    if days is None and times is None:
        place, word = words[0]
        _refuse(
            spec,
            place,
            word,
            f"{word!r} is no weekday (Mon to Sun), time (07:30-20:30), date (2026-12-25), always or never",
        )
    begin, end = times or (0, MINUTES_A_DAY)
    every = frozenset(range(len(WEEKDAYS)))
    return Weekly(days if days is not None else every, begin, end, _last_zone(spec, words, default))


_Words = list[tuple[int, str]]


def _days(spec: str, words: _Words) -> tuple[frozenset[int] | tuple[date, date] | None, _Words]:
    place, word = words[0]
    if _DATE.match(word):
        first, _, last = word.partition("..")
        begin = _date(spec, place, first)
        end = _date(spec, place + len(first) + 2, last) if last else begin
        if end < begin:
            _refuse(spec, place, word, f"{last} is before {first}")
        return (begin, end), words[1:]
    if not word[0].isalpha() or "/" in word or word == "UTC":
        return None, words
    first, dash, last = word.partition("-")
    numbers = [_day(spec, place, first), *([_day(spec, place + len(first) + 1, last)] if dash else [])]
    span = (numbers[-1] - numbers[0]) % 7 + 1
    return frozenset((numbers[0] + step) % 7 for step in range(span)), words[1:]


def _day(spec: str, at: int, name: str) -> int:
    if name.lower() not in _DAY_NAMES:
        _refuse(spec, at, name or "-", f"{name!r} is no weekday: write Mon, Tue, Wed, Thu, Fri, Sat or Sun")
    return _DAY_NAMES[name.lower()]


def _times(spec: str, words: _Words) -> tuple[tuple[int, int] | None, _Words]:
    if not words or not words[0][1][0].isdecimal():
        return None, words
    place, word = words[0]
    match = _TIME_RANGE.fullmatch(word)
    if match is None:
        _refuse(spec, place, word, f"{word!r} is no range of times: write such as 07:30-20:30")
    begin, end = (_minute(spec, place, match, group) for group in (1, 3))
    if begin == MINUTES_A_DAY:
        _refuse(spec, place, word, "a window cannot begin at 24:00: write 00:00 of the next day")
    if begin == end:
        _refuse(spec, place, word, "a window that ends where it begins is none: leave the times out for whole days")
    return (begin, end), words[1:]


def _minute(spec: str, at: int, match: re.Match[str], group: int) -> int:
    hours, minutes = int(match[group]), int(match[group + 1])
    text = f"{match[group]}:{match[group + 1]}"
    if hours > _HOURS or minutes > _MINUTES or (hours == _HOURS and minutes):
        _refuse(spec, at + match.start(group), text, f"there is no {text}: hours go from 00:00 to 24:00")
    return hours * 60 + minutes


def _date(spec: str, at: int, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        _refuse(spec, at, text, f"{text!r} is no date: write such as 2026-12-25")


def _period(spec: str, at: int, match: re.Match[str]) -> Period:
    moments: list[datetime] = []
    for group in (1, 2):
        try:
            moments.append(datetime.fromisoformat(match[group]))
        except ValueError as error:
            _refuse(spec, at + match.start(group), match[group], f"{match[group]} is no moment: {error}")
    begin, end = moments
    if end <= begin:
        _refuse(spec, at + match.start(2), match[2], "the period ends before it begins")
    return Period(begin, end)


def _last_zone(spec: str, words: _Words, default: ZoneInfo) -> ZoneInfo:
    if not words:
        return default
    place, word = words[0]
    if len(words) > 1:
        extra, text = words[1]
        _refuse(spec, extra, text, f"{text!r} is one word too many: a window is days, times and a zone")
    return _zone(spec, word, place, len(word))


def _zone(spec: str, name: str, at: int, length: int) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SpecRefused(
            spec, at, length, f"{name!r} is no time zone: write an IANA name such as Europe/Berlin"
        ) from error


def _refuse(spec: str, at: int, text: str, why: str) -> NoReturn:
    raise SpecRefused(spec, at, len(text), why)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
