"""The rules of schedule settings that need the grammar of windows: imported where settings are checked, and only there.

A process that takes checked settings over, as the agent does, then holds none of the grammar.
"""

from controller.scaling.annotation_values import read_moment
from controller.scaling.label_selector import parse_selector
from controller.time_windows import SpecRefused, known_zone, parse
from controller.window_kinds import Dates


def windows(spec: str) -> None:
    """Raises:
    SpecRefused: it is no spec of windows.
    """
    parse(spec)


def zone(name: str) -> None:
    """Raises:
    SpecRefused: it is no time zone.
    """
    known_zone(name)


def moment(text: str) -> None:
    """Raises:
    SpecRefused: it is neither a date nor a moment.
    """
    read_moment(text, known_zone("UTC"))


def selector(labels: str) -> None:
    """Raises:
    SpecRefused: it is no label selector.
    """
    parse_selector(labels)


def dates(text: str) -> None:
    """Raises:
    SpecRefused: it is neither a date nor a span of dates.
    """
    if not all(isinstance(window, Dates) for window in parse(text).windows):
        raise SpecRefused(text, 0, len(text), "is no date; write such as 2026-12-25 or 2026-12-24..2026-12-26")
