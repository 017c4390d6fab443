"""The values that annotations have, each read from text or refused with the place marked."""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from controller.scaling.model import Size
from controller.time_windows import YEARS, SpecRefused, known_zone

_SIZE = re.compile(r"([0-9]{1,9})(%?)")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|m|s))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_LONGEST_SECONDS = 10 * 365 * 86_400
_MOMENT = re.compile(
    r"(?P<clock>\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?)(?P<offset>Z|[+-]\d{2}:?\d{2})?"
    r"(?:\s+(?P<zone>\S+))?",
    re.ASCII,
)
_YES, _NO = frozenset({"true", "yes", "on"}), frozenset({"false", "no", "off"})
_FULL_PERCENT = 100


def read_size(text: str) -> Size:
    """``0``, ``2`` or ``50%``.

    Raises:
        SpecRefused: it is none of them.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[2] and int(match[1]) > _FULL_PERCENT):
        raise _refused(text, "is no size: write a number of replicas such as 0, or a part such as 50%")
    return Size(percent=int(match[1])) if match[2] else Size(int(match[1]))


def read_seconds(text: str) -> int:
    """``900`` (seconds), ``15m``, ``1h30m``, ``1.5h``.

    Raises:
        SpecRefused: it is no duration, or above ten years.
    """
    said = text.strip()
    if said.isdecimal() and said.isascii():
        seconds = float(said)
    elif _DURATION.fullmatch(said):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(said))
    else:
        raise _refused(text, "is no duration: write seconds such as 900, or such as 15m or 1h30m")
    if seconds > _LONGEST_SECONDS:
        raise _refused(text, "is longer than ten years")
    return round(seconds)


def read_moment(text: str, zone: ZoneInfo) -> datetime:
    """``2026-12-25T18:00:00+01:00``, ``2026-12-25 18:00 Europe/Berlin``, or a date: when it begins.

    Args:
        text: one of those.
        zone: of what names neither offset nor zone.

    Raises:
        SpecRefused: it is none of them.
    """
    match = _MOMENT.fullmatch(text.strip())
    if match is None or (match["offset"] and match["zone"]):
        raise _refused(
            text, "is no moment: write such as 2026-12-25, 2026-12-25 18:00 Europe/Berlin or 2026-12-25T18:00:00Z"
        )
    try:
        clock = datetime.fromisoformat(match["clock"] + (match["offset"] or ""))
    except ValueError as error:
        raise _refused(text, f"is no moment: {error}") from error
    if clock.tzinfo is None:
        clock = clock.replace(tzinfo=known_zone(match["zone"]) if match["zone"] else zone)
    if clock.year not in YEARS:
        raise _refused(text, f"the year {clock.year} is out of reach: write one from {YEARS[0]} to {YEARS[-1]}")
    return clock


def read_flag(text: str) -> bool:
    """``true`` or ``false``.

    Raises:
        SpecRefused: it is neither.
    """
    flag = flag_of(text)
    if flag is None:
        raise _refused(text, "is neither true nor false")
    return flag


def flag_of(text: str) -> bool | None:
    """``true`` or ``false`` as people write them; ``None``: it is neither."""
    said = text.strip().lower()
    return True if said in _YES else False if said in _NO else None


def read_number(text: str, least: int, most: int) -> int:
    """A whole number.

    Raises:
        SpecRefused: it is none, or out of bounds.
    """
    said = text.strip()
    if not re.fullmatch(r"-?[0-9]{1,10}", said) or not least <= int(said) <= most:
        raise _refused(text, f"is no whole number from {least} to {most}")
    return int(said)


def _refused(text: str, why: str) -> SpecRefused:
    return SpecRefused(text, 0, len(text), f"{text!r} {why}")
