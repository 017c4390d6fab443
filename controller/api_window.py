"""The words of a question, each read strictly; what is wrong is told with what is allowed.

Windows follow OpenCost's grammar. All times are UTC and are widened to whole hours, which is what the books have.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qs

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
WEEK: Final = timedelta(days=7)
_UNITS: Final[Mapping[str, timedelta]] = {"h": HOUR, "d": DAY, "w": WEEK}
_MOST_DAYS: Final = 3660
_YEARS: Final = range(1970, 9999)
"""Of bounds: no books are older, and an hour is added to the later one."""
_SHIFTED = re.compile(r"(?P<count>[1-9]\d{0,4})(?P<unit>[hdw])")
WINDOW_FORM: Final = (
    "24h, 7d or 2w (today and the days before it), today, yesterday, week, lastweek (from Monday), month, lastmonth, "
    "or START,END as 2026-11-01T00:00:00Z, 2026-11-01 or in Unix seconds"
)


class BadQuestion(ValueError):  # noqa: N818  (named for what it is)
    """A parameter that cannot be followed; the message names it, what was found and what is allowed."""


@dataclass(frozen=True, slots=True)
class Window:
    """Whole hours, from ``start`` to before ``end``."""

    start: datetime
    end: datetime

    def as_json(self) -> dict[str, str]:
        """RFC 3339."""
        return {"start": rfc3339(self.start), "end": rfc3339(self.end)}


class Parameters:
    """A query, each parameter taken once.

    Raises:
        BadQuestion: a parameter is not known or stands twice.
    """

    def __init__(self, query: str, known: Collection[str], several: Collection[str] = ()) -> None:
        given = parse_qs(query, keep_blank_values=True)
        for name, values in given.items():
            if name not in known and name not in several:
                raise BadQuestion(f"no parameter {name!r}; there are {', '.join([*known, *several]) or 'none'}")
            if len(values) > 1 and name not in several:
                raise BadQuestion(f"{name} is given {len(values)} times; give it once")
        self._given = given

    def text(self, name: str, default: str = "") -> str:
        """As given."""
        return self._given.get(name, [default])[0]

    def texts(self, name: str) -> Sequence[str]:
        """Each value of a parameter that may stand several times."""
        return self._given.get(name, [])

    def listed(self, name: str, default: str = "") -> list[str]:
        """The members of a list with commas."""
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """One of a few words."""
        said = self.text(name, default)
        if said not in allowed:
            raise BadQuestion(f"{name}: found {said!r}, allowed: {', '.join(allowed)}")
        return said

    def flag(self, name: str) -> bool:
        """``true`` or ``false``."""
        return self.choice(name, ("false", "true"), "false") == "true"

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number from 1 on."""
        said = self.text(name, str(default))
        if not re.fullmatch("[0-9]{1,9}", said) or not 1 <= int(said) <= most:
            raise BadQuestion(f"{name}: found {said!r}, allowed: a whole number from 1 to {most}")
        return int(said)

    def window(self, now: datetime, default: str = "") -> Window:
        """The parameter ``window``."""
        said = self.text("window", default)
        if not said:
            raise BadQuestion(f"window is missing; allowed: {WINDOW_FORM}")
        return parse_window(said, now)


def parse_window(said: str, now: datetime) -> Window:
    """A window by its name, length or bounds.

    Raises:
        BadQuestion: it is none of these, ends before it begins, or is longer than ten years.
    """
    window = _named(said, now) or _shifted(said, now) or _bounds(said)
    if window is None:
        raise BadQuestion(f"window: found {said[:80]!r}, allowed: {WINDOW_FORM}")
    if window.end <= window.start:
        raise BadQuestion(f"window: found {said[:80]!r}, which ends before it begins")
    if window.end - window.start > timedelta(days=_MOST_DAYS):
        raise BadQuestion(f"window: found {said[:80]!r}, allowed: at most {_MOST_DAYS} days")
    return window


def rfc3339(moment: datetime) -> str:
    """``2026-11-22T06:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _named(said: str, now: datetime) -> Window | None:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    monday, first = today - today.weekday() * DAY, today.replace(day=1)
    spans = {
        "today": (today, today + DAY),
        "yesterday": (today - DAY, today),
        "week": (monday, today + DAY),
        "lastweek": (monday - WEEK, monday),
        "month": (first, today + DAY),
        "lastmonth": ((first - DAY).replace(day=1), first),
    }
    return Window(*spans[said]) if said in spans else None


def _shifted(said: str, now: datetime) -> Window | None:
    match = _SHIFTED.fullmatch(said)
    if match is None:
        return None
    length = int(match["count"]) * _UNITS[match["unit"]]
    if length > timedelta(days=_MOST_DAYS):
        raise BadQuestion(f"window: found {said!r}, allowed: at most {_MOST_DAYS} days")
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
    end = _up(now) if match["unit"] == "h" else midnight
    return Window(end - length, end)


def _bounds(said: str) -> Window | None:
    start, comma, end = said.partition(",")
    moments = [_moment(part) for part in (start, end)] if comma else []
    if len(moments) != 2 or moments[0] is None or moments[1] is None:  # noqa: PLR2004  (start and end)
        return None
    if any(moment.year not in _YEARS for moment in moments if moment):
        raise BadQuestion(f"window: found {said[:80]!r}, allowed: years from {_YEARS[0]} to {_YEARS[-1]}")
    return Window(moments[0].replace(minute=0, second=0, microsecond=0), _up(moments[1]))


def _moment(said: str) -> datetime | None:
    text = said.strip()
    try:
        if re.fullmatch(r"\d{1,11}", text):
            return datetime.fromtimestamp(int(text), UTC)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        # a plus in a query that was not quoted has become a blank
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _up(moment: datetime) -> datetime:
    whole = moment.replace(minute=0, second=0, microsecond=0)
    return whole if whole == moment else whole + HOUR
