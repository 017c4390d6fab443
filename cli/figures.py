"""Figures as a person reads them in the terminal; what is absent is a dash, never a zero."""

from collections.abc import Callable
from typing import TypeVar

ABSENT = "-"

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_JOULES_PER_KWH = 3_600_000
T = TypeVar("T")


def or_absent(show: Callable[[T], str], value: T | None) -> str:
    """``show(value)``, or a dash for what was not measured."""
    return ABSENT if value is None else show(value)


def percent(ratio: float) -> str:
    """A ratio from 0 to 1."""
    return f"{ratio * 100:.0f} %"


def watts(value: float) -> str:
    """Power."""
    return f"{value:,.0f} W"


def energy(joules: float) -> str:
    """Joules below a tenth of a kilowatt-hour, else kilowatt-hours."""
    return f"{joules:,.0f} J" if abs(joules) < _JOULES_PER_KWH / 10 else f"{joules / _JOULES_PER_KWH:,.2f} kWh"


def size(count: int) -> str:
    """Bytes with a binary unit."""
    power = min(max(count.bit_length() - 1, 0) // 10, len(_BYTE_UNITS) - 1)
    return f"{count / 1024**power:.{0 if power == 0 else 1}f} {_BYTE_UNITS[power]}"


def dollars(usd: float) -> str:
    """An amount: cents from a dollar on, below it four places."""
    return f"${usd:,.2f}" if abs(usd) >= 1 else f"${usd:.4f}"


def dollars_per_hour(usd: float) -> str:
    """A rate."""
    return f"${usd:,.2f}/h"


def duration(seconds: float) -> str:
    """``47 s``, ``12 min``, ``3 h 20 min``, ``5 d 4 h``."""
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{whole} s"


def gpu_time(seconds: float) -> str:
    """Time of GPUs as hours, minutes, seconds: ``1:02:03``; hours are not folded into days."""
    whole = int(seconds)
    return f"{whole // 3600:,}:{whole // 60 % 60:02}:{whole % 60:02}"
