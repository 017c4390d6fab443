"""When: the grammar of schedule windows, and whether a moment lies in them.

A spec is one or more windows, separated by commas or semicolons; a moment is inside when any of them has it::

    Mon-Fri 07:30-20:30 Europe/Berlin     weekly; days may wrap (Fri-Mon), may be one (Sat), or left out (every day)
    Mon-Fri 20:00-07:00 Europe/Berlin     over midnight: the days name where it begins; the last ends on Saturday
    Sat-Sun UTC                           whole days; a single one, before others with times, is followed by a ;
    2026-12-25 Europe/Berlin              a date
    2026-12-24..2026-12-26                dates, the last one included
    2026-12-24T18:00:00+01:00-2026-12-27T07:00:00+01:00    a period between two moments; / may stand for its -
    always, never    (also true, false)

A window holds from its first minute to before its last (half open). Weekly windows and dates are read off the wall
clock of their zone: where the clock skips an hour, that hour is in no window; where it repeats one, a window that began
or ended in the first has done so for good. A window without a zone takes the one given with the spec.

kube-downscaler writes the same in the main; what it means otherwise is the reading ``downscaler``: a window over
midnight has the end and the begin of each day that it names (`Mon-Fri 20:00-07:00` then has Monday before 07:00 and not
Saturday), and one that ends where it begins has nothing. Owns the grammar; decides nothing about workloads.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime
from functools import cache
from typing import Literal, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from controller.visible import visible
from controller.window_kinds import MINUTES_A_DAY, WEEKDAYS, Always, Dates, Period, Weekly, Window, Windows

EVERY_DAY = frozenset(range(len(WEEKDAYS)))
_DAY_NAMES = {name.lower(): number for number, name in enumerate(WEEKDAYS)}
_TOKEN = re.compile(r"\S+")
_TIME_RANGE = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})", re.ASCII)
_LISTED_DAY = re.compile(r"(?<![^,])\s*(?P<day>[A-Za-z]+)\s*,(?=\s*(?P<next>[A-Za-z]+)(?:-[A-Za-z]+)?\s+\d)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2})?(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})"
_PERIOD = re.compile(rf"({_MOMENT})\s*[-/]\s*({_MOMENT})", re.ASCII)
_UNPAIRED = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2})?(?:\.\d+)?)(Z|[+-]\d{2}:?\d{2}(?!-\d{2}-\d{2}T))?", re.ASCII
)
"""A moment, with its offset or without; what follows it may be a year."""
_HOURS, _MINUTES = 24, 59
YEARS = range(1970, 3000)
_MOST_WINDOWS = 100
_LONGEST_ZONE = 100
"""No zone has a name so long, and cut off it is none either; each slash in one is a folder that is looked into."""
_WORDS = {"always": True, "true": True, "never": False, "false": False}
_SHOWN = 60
"""Characters of a spec on each side of the place that is marked."""
_MOST_WHY = 300

Reading = Literal["own", "downscaler"]
"""Whose meaning a spec has where the two differ."""


class SpecRefused(ValueError):  # noqa: N818  (named for the caller's move)
    """A spec that is not understood; the message marks the place."""

    def __init__(self, spec: str, at: int, length: int, why: str) -> None:
        begin = max(0, at - _SHOWN)
        end = min(len(spec), at + min(length, _SHOWN) + _SHOWN)
        before, after = "…" * (begin > 0), "…" * (end < len(spec))
        mark = " " * (len(before) + at - begin) + "^" * max(1, min(length, end - at))
        shown = visible(spec[begin:end]).replace("\n", " ")
        self.why = visible(why if len(why) <= _MOST_WHY else f"{why[: _MOST_WHY // 2]}…{why[-_MOST_WHY // 2 :]}")
        super().__init__(f"{self.why}\n  {before}{shown}{after}\n  {mark}")
        self.at = at


def parse(spec: str, zone: str = "UTC", reading: Reading = "own") -> Windows:
    """Read a spec.

    Args:
        spec: see the module.
        zone: IANA name of the zone of windows that name none.
        reading: whose meaning it has.

    Raises:
        SpecRefused: it is not understood, or ``zone`` is no zone.
    """
    default = known_zone(zone)
    _refuse_lists_of_days(spec)
    windows = [window for begin, text in _split(spec) for window in _windows(spec, begin, text, default, reading)]
    if not windows:
        raise SpecRefused(
            spec, 0, len(spec), "no window: write such as 'Mon-Fri 07:30-20:30 Europe/Berlin', always or never"
        )
    if len(windows) > _MOST_WINDOWS:
        raise SpecRefused(spec, 0, len(spec), f"{len(windows)} windows are more than the {_MOST_WINDOWS} of one spec")
    return Windows(spec, tuple(windows))


def known_zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        SpecRefused: there is none of that name.
    """
    return _zone(name, name, 0, len(name))


def _refuse_lists_of_days(spec: str) -> None:
    """`Mon,Wed 20:00-07:00` would be all of Monday, and most who write it mean Monday's night."""
    for part in spec.split(";"):
        for match in _LISTED_DAY.finditer(part):
            if match["day"].lower() in _DAY_NAMES and match["next"].lower() in _DAY_NAMES:
                day = match["day"]
                why = (
                    f"{day!r} may be the whole day, or have the times that follow: write them with each day, or {day};"
                )
                _refuse(spec, spec.index(part) + match.start("day"), day, why)


def _split(spec: str) -> Iterator[tuple[int, str]]:
    begin = 0
    for part in re.split("([,;])", spec):
        if part not in {",", ";"} and part.strip():
            yield begin + len(part) - len(part.lstrip()), part.strip()
        begin += len(part)


def _windows(spec: str, at: int, text: str, default: ZoneInfo, reading: Reading) -> tuple[Window, ...]:
    if text.lower() in _WORDS:
        return (Always(_WORDS[text.lower()]),)
    if match := _PERIOD.fullmatch(text):
        return (_period(spec, at, match),)
    if _UNPAIRED.match(text):
        _refuse_moments(spec, at, text)
    words = [(at + match.start(), match[0]) for match in _TOKEN.finditer(text)]
    days, words = _days(spec, words)
    if isinstance(days, tuple):
        return (Dates(*days, _last_zone(spec, words, default)),)
    place = words[0] if words else None
    times, words = _times(spec, words)
    if days is None and times is None:
        at, word = words[0]
        _refuse(
            spec,
            at,
            word,
            f"{word!r} is no weekday (Mon to Sun), time (07:30-20:30), date (2026-12-25), always or never",
        )
    zone = _last_zone(spec, words, default)
    begin, end = times or (0, MINUTES_A_DAY)
    if reading == "downscaler" and end <= begin:
        return _both_ends(days, begin, end, zone)
    if begin == end and place is not None:
        _refuse(spec, *place, "a window that ends where it begins is none: leave the times out for whole days")
    return (Weekly(EVERY_DAY if days is None else days, begin, end, zone),)


def _both_ends(days: frozenset[int] | None, begin: int, end: int, zone: ZoneInfo) -> tuple[Window, ...]:
    """As kube-downscaler means a window over midnight."""
    named = EVERY_DAY if days is None else days
    if begin == end:
        return (Always(holds=False),)
    before = (Weekly(named, 0, end, zone),) if end else ()
    return (*before, Weekly(named, begin, MINUTES_A_DAY, zone))


_Words = list[tuple[int, str]]


def _days(spec: str, words: _Words) -> tuple[frozenset[int] | tuple[date, date] | None, _Words]:
    place, word = words[0]
    if _DATE.match(word):
        first, dots, last = word.partition("..")
        begin = _date(spec, place, first)
        if dots and not last:
            _refuse(spec, place, word, f"{word} has no last day: write such as {first}..{first}")
        end = _date(spec, place + len(first) + 2, last) if last else begin
        if end < begin:
            _refuse(spec, place, word, f"{last} is before {first}")
        return (begin, end), words[1:]
    if not word[0].isalpha() or "/" in word or word.upper() == "UTC":
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
    return (begin, end), words[1:]


def _minute(spec: str, at: int, match: re.Match[str], group: int) -> int:
    hours, minutes = int(match[group]), int(match[group + 1])
    text = f"{match[group]}:{match[group + 1]}"
    if hours > _HOURS or minutes > _MINUTES or (hours == _HOURS and minutes):
        _refuse(spec, at + match.start(group), text, f"there is no {text}: hours go from 00:00 to 24:00")
    return hours * 60 + minutes


def _date(spec: str, at: int, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        _refuse(spec, at, text, f"{text!r} is no date: write such as 2026-12-25")
    _in_years(spec, at, text, day)
    return day


def _in_years(spec: str, at: int, text: str, day: date) -> None:
    if day.year not in YEARS:
        _refuse(spec, at, text, f"the year {day.year} is out of reach: write one from {YEARS[0]} to {YEARS[-1]}")


def _period(spec: str, at: int, match: re.Match[str]) -> Period:
    moments: list[datetime] = []
    for group in (1, 2):
        try:
            moments.append(datetime.fromisoformat(match[group]))
        except ValueError as error:
            _refuse(spec, at + match.start(group), match[group], f"{match[group]} is no moment: {error}")
        _in_years(spec, at + match.start(group), match[group], moments[-1].date())
    begin, end = moments
    if end <= begin:
        _refuse(spec, at + match.start(2), match[2], "the period ends before it begins")
    return Period(begin, end)


def _refuse_moments(spec: str, at: int, text: str) -> NoReturn:
    """Say why moments are no period."""
    for match in _UNPAIRED.finditer(text):
        if match[2] is None:
            place, moment = at + match.start(1), match[1]
            _refuse(spec, place, moment, f"{moment} has no offset: write such as {moment}+01:00, or {moment}Z for UTC")
    _refuse(spec, at, text, f"{text!r} is no period: write two moments with - or / between them, and nothing else")


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
        return ZoneInfo(name[:_LONGEST_ZONE])
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        if (known := _zones().get(name.casefold())) is not None:
            return ZoneInfo(known)
        raise SpecRefused(
            spec, at, length, f"{name!r:.80} is no time zone: write an IANA name such as Europe/Berlin"
        ) from error


@cache
def _zones() -> dict[str, str]:
    """IANA names by themselves in small letters."""
    return {name.casefold(): name for name in available_timezones()}


def _refuse(spec: str, at: int, text: str, why: str) -> NoReturn:
    raise SpecRefused(spec, at, len(text), why)
