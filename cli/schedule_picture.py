"""A week of schedules as a picture of letters: a row for each workload, a group of cells for each day.

Pure text; whoever prints it may colour it. Days are those of one zone, each cut into as many cells as fit the width, so
that a day of 23 or 25 hours is as wide as the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from controller.scaling.outlook import Span, strip
from controller.scaling.preview import Row

CELLS = (12, 8, 6, 4, 3, 2, 1)
"""Cells that a day may have, the finest first."""
_HOURS = 24
_MOST_NAME = 48
_LEAST_NAME = 12


@dataclass(frozen=True, slots=True)
class Marks:
    """Letters of cells."""

    down: str
    partly: str
    up: str
    nothing: str
    unclear: str

    def legend(self, cells: int) -> str:
        """What each letter means."""
        told = {
            self.up: "up",
            self.down: "down",
            self.partly: "down for a part",
            self.nothing: "nothing wished",
            self.unclear: "not understood, left alone",
        }
        return f"{'   '.join(f'{mark} {word}' for mark, word in told.items())}   a cell is {_HOURS // cells} h"


BLOCKS = Marks(down="░", partly="▒", up="█", nothing="·", unclear="?")
LETTERS = Marks(down=".", partly="+", up="#", nothing="-", unclear="?")
"""Where the terminal has no blocks."""


def midnights(begin: date, days: int, zone: ZoneInfo) -> list[datetime]:
    """The begin of each day, and the end of the last one, in UTC."""
    return [datetime.combine(begin + timedelta(days=day), time(), zone).astimezone(UTC) for day in range(days + 1)]


def cells_that_fit(days: int, width: int) -> int:
    """How many cells of each day a width has room for."""
    room = width - _LEAST_NAME - 2
    return next((cells for cells in CELLS if days * (cells + 1) - 1 <= room), CELLS[-1])


def picture(rows: Sequence[Row], edges: Sequence[datetime], zone: ZoneInfo, marks: Marks, width: int) -> list[str]:
    """Its lines.

    Args:
        rows: of the preview.
        edges: as :func:`midnights` gives them.
        zone: of the dates.
        marks: letters.
        width: characters of a line.
    """
    cells = cells_that_fit(len(edges) - 1, width)
    folded = _folded(rows, edges, cells, marks)
    room = max(_LEAST_NAME, width - 2 - (len(edges) - 1) * (cells + 1) + 1)
    names = min(room, _MOST_NAME, max((len(name) for name, _ in folded), default=_LEAST_NAME))
    days = [edge.astimezone(zone) for edge in edges[:-1]]
    blank = " " * (names + 2)
    header = [blank + " ".join(f"{_day(day, cells):<{cells}}" for day in days).rstrip()]
    if cells >= len("00    12"):
        header.append(blank + " ".join(f"{'00':<{cells // 2}}{'12':<{cells - cells // 2}}" for _ in days).rstrip())
    return [*header, *(f"{_short(name, names):<{names}}  {drawn}" for name, drawn in folded), marks.legend(cells)]


def _folded(rows: Sequence[Row], edges: Sequence[datetime], cells: int, marks: Marks) -> list[tuple[str, str]]:
    """Name and strip; those of one policy whose strips are the same are one."""
    groups: dict[tuple[str, str], list[Row]] = {}
    strips: dict[tuple[tuple[datetime, str], ...], str] = {}
    for row in sorted(rows, key=lambda row: (row.policy, row.now.subject)):
        turns = tuple((span.begin, span.wish.wished) for span in row.spans)
        if turns not in strips:
            strips[turns] = _strip(row.spans, edges, cells, marks)
        groups.setdefault((row.policy, strips[turns]), []).append(row)
    found: list[tuple[str, str]] = []
    for (policy, letters), members in groups.items():
        gpus = sum(row.now.workload.gpus for row in members)
        who = f"{members[0].now.subject}" if len(members) == 1 else f"{len(members)} workloads"
        is_own = policy.startswith("annotation of") and len(members) == 1
        found.append(
            (f"{'' if is_own or not policy else policy + ': '}{who}, {gpus} GPU{'' if gpus == 1 else 's'}", letters)
        )
    return found


def _strip(spans: Sequence[Span], edges: Sequence[datetime], cells: int, marks: Marks) -> str:
    letters = marks.down + marks.partly + marks.up + marks.nothing
    days: list[str] = []
    for begin, end in pairwise(edges):
        day = strip(list(spans), begin, cells, (end - begin) / cells, marks=letters)
        unclear = any(s.wish.wished == "unclear" and s.begin < end and s.end > begin for s in spans)
        days.append(day.replace(marks.nothing, marks.unclear) if unclear else day)
    return " ".join(days)


def _day(day: datetime, cells: int) -> str:
    for form in ("%a %d %b", "%a %d", "%d"):
        if len(text := day.strftime(form)) <= cells:
            return text
    return day.strftime("%a")[:cells]


def _short(name: str, room: int) -> str:
    return name if len(name) <= room else f"{name[: room - 1]}~"
