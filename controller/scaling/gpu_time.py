"""How the GPU time of one node grew: the cumulative figures of its agent's hours at a few moments, in integers.

Owns the moments and what lies between two of them. Figures that cannot be put beside each other (books begun anew, a
clock that stepped, an hour that never came whole) are never subtracted: the stretch that can be told then begins later.
"""

from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, cast

from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from collectors.kube_json import JsonObject, child, number, text
from ledger.accounts import Account, Method
from ledger.hours import hour_start

SPACING_NS = 120 * NS_PER_SECOND
"""Moments of an hour are kept so far apart, and the newest, which bounds memory however often agents are asked."""
KEPT_HOURS = 26
"""The newest hour and those before it, at most: a day back from anywhere in it, and one to spare."""
FINE_HOURS = 4
"""Of so many the moments in them are kept; of those before only what they were as a whole."""
_CROWDED = 64
ACCOUNTED = "accounted"
"""The device's own clock: how far it was read."""
_HELD = frozenset({Account.ACTIVE, Account.IDLE, Account.UNMEASURED})
_POD_PARTS = 3


class Meter(NamedTuple):
    """What a figure is of."""

    gpu_uuid: str
    mig: str
    """Empty: the device itself, and for what is of the whole device."""
    pod: str
    """``namespace/name``; empty: nobody's."""
    account: str


class Cell(NamedTuple):
    """A device, or a MIG instance of it, as one pod holds it."""

    gpu_uuid: str
    mig: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was booked between two moments of a node's clock."""

    begin_ns: int
    end_ns: int
    grown: Mapping[Meter, int]
    """Whole-GPU nanoseconds."""
    cells: Mapping[str, Collection[Cell]]
    """What each pod held in it."""
    shared: frozenset[str]
    """Pods that do not hold their devices alone and whole."""

    @property
    def length_ns(self) -> int:
        """Of the stretch."""
        return self.end_ns - self.begin_ns


@dataclass(slots=True)
class _Hour:
    """Moments of one hour, ascending: how far it was booked, and the figures in the order of ``index``."""

    index: dict[Meter, int] = field(default_factory=dict[Meter, int])
    """Only grows, and is shared by hours that follow each other."""
    points: list[tuple[int, "array[int]"]] = field(default_factory=list[tuple[int, "array[int]"]])
    whole: bool = True
    """Whether the figures begin at the hour's start."""
    steps: int = 0
    shared: frozenset[str] = frozenset()

    @property
    def is_lean(self) -> bool:
        """Whether most of the index is still in use."""
        used = sum(1 for ns in self.points[-1][1] if ns) if self.points else 0
        return len(self.index) <= 2 * used + _CROWDED

    @property
    def ended(self) -> bool:
        return bool(self.points) and self.points[-1][0] == NS_PER_HOUR

    def begin_anew(self) -> None:
        self.points.clear()
        self.whole = False

    def add(self, booked_ns: int, figures: Mapping[Meter, int]) -> bool:
        """Note a moment; tells whether it goes on from the former ones."""
        values = array("q", bytes(8 * len(self.index)))
        for meter, ns in figures.items():
            place = self.index.setdefault(meter, len(self.index))
            values.extend([0] * (place + 1 - len(values)))
            values[place] = ns
        goes_on = not self.points or not _fell(self.points[-1][1], values)
        if not goes_on:
            self.begin_anew()
        elif self.points and (self.points[-1][0] == booked_ns or self._newest_is_close()):
            self.points.pop()
        self.points.append((booked_ns, values))
        return goes_on

    def _newest_is_close(self) -> bool:
        return len(self.points) > 1 and self.points[-1][0] - self.points[-2][0] < SPACING_NS

    def last_before(self, offset_ns: int) -> int | None:
        """The last moment at or before this one, without the newest; 0 is the start of an hour that is whole."""
        before = [at for at, _ in self.points[:-1] if at <= offset_ns]
        return before[-1] if before else 0 if self.whole and offset_ns >= 0 else None

    def first(self) -> int:
        """The first moment of which anything is known."""
        return 0 if self.whole or not self.points else self.points[0][0]

    def add_growth(self, since_ns: int, grown: dict[Meter, int]) -> None:
        """What grew from a moment to the last."""
        begin = next((values for at, values in self.points if at == since_ns), None)
        end = self.points[-1][1]
        for meter, place in self.index.items():
            if place < len(end):
                former = begin[place] if begin is not None and place < len(begin) else 0
                grown[meter] = grown.get(meter, 0) + end[place] - former


class NodeTimes:
    """One node's figures, as its agent told them.

    Args:
        kept_hours: so many are remembered, the newest among them.
    """

    def __init__(self, kept_hours: int = KEPT_HOURS) -> None:
        self._kept_s = kept_hours * 3600
        self._hours: dict[int, _Hour] = {}

    def keep(self, hours: int) -> None:
        """Remember so many from now on."""
        self._kept_s = hours * 3600

    def take(self, document: JsonObject) -> None:
        """Note one hour as the agent serves it; it must be one that may be booked.

        One that is older than what is known, or does not say how far it is booked, changes nothing.
        """
        hour_s = hour_start(text(document, "hour_utc"))
        booked_ns = NS_PER_HOUR if document.get("closed") is True else number(document, "booked_ns")
        if booked_ns is None or hour_s <= self._newest_s() - self._kept_s:
            return
        hour = self._hours.get(hour_s)
        if hour is None:
            newest = self._hours.get(self._newest_s())
            hour = self._hours[hour_s] = _Hour(newest.index if newest is not None and newest.is_lean else {})
        steps = document.get("clock_steps")
        count = len(cast("list[object]", steps)) if isinstance(steps, list) else 0
        if count > hour.steps:
            hour.steps = count
            hour.begin_anew()
        elif hour.points and booked_ns < hour.points[-1][0]:
            return
        figures, hour.shared = _figures(document)
        if not hour.add(booked_ns, figures):
            self._hours = {each: kept for each, kept in self._hours.items() if each >= hour_s}
        self._thin(self._newest_s())

    def _thin(self, newest_s: int) -> None:
        for old in [each for each in self._hours if each <= newest_s - self._kept_s]:
            del self._hours[old]
        for old, hour in self._hours.items():
            if old <= newest_s - FINE_HOURS * 3600:
                del hour.points[:-1]

    def newest_ns(self) -> int | None:
        """Until when anything is known; Unix time of the node's clock."""
        told = [hour_s * NS_PER_SECOND + hour.points[-1][0] for hour_s, hour in self._hours.items() if hour.points]
        return max(told, default=None)

    def stretch(self, since_ns: int) -> Stretch | None:
        """From the last moment at or before ``since_ns`` to the newest; from the first that can be told, where none is.

        ``None``: nothing can be told of any stretch.
        """
        hours = self._linked()
        if not hours:
            return None
        begin_s, since = hours[-1][0], hours[-1][1].first()
        for hour_s, hour in hours:
            found = hour.last_before(since_ns - hour_s * NS_PER_SECOND)
            if found is not None:
                begin_s, since = hour_s, found
                break
        grown: dict[Meter, int] = {}
        shared: frozenset[str] = frozenset()
        for hour_s, hour in hours:
            if hour_s >= begin_s:
                hour.add_growth(since if hour_s == begin_s else 0, grown)
                shared |= hour.shared
        newest_s, newest = hours[0]
        begin_ns = begin_s * NS_PER_SECOND + since
        end_ns = newest_s * NS_PER_SECOND + newest.points[-1][0]
        return Stretch(begin_ns, end_ns, grown, _cells(grown), shared) if end_ns > begin_ns else None

    def _newest_s(self) -> int:
        return max(self._hours, default=0)

    def _linked(self) -> list[tuple[int, _Hour]]:
        """The newest hour and those before it, as far back as each goes over into the next."""
        hours = sorted(((each, hour) for each, hour in self._hours.items() if hour.points), reverse=True)
        for count, ((later_s, later), (hour_s, hour)) in enumerate(pairwise(hours), start=1):
            if later_s - hour_s != NS_PER_HOUR // NS_PER_SECOND or not later.whole or not hour.ended:
                return hours[:count]
        return hours


def _cells(grown: Mapping[Meter, int]) -> dict[str, set[Cell]]:
    cells: dict[str, set[Cell]] = {}
    for meter, ns in grown.items():
        if meter.pod and ns > 0:
            cells.setdefault(meter.pod, set()).add(Cell(meter.gpu_uuid, meter.mig))
    return cells


def _figures(document: JsonObject) -> tuple[dict[Meter, int], frozenset[str]]:
    """An hour's figures, and the pods that share what they hold."""
    figures: dict[Meter, int] = {}
    shared: set[str] = set()
    columns = cast("list[str]", document["usage_columns"])
    for row in cast("list[list[object]]", document["usage"]):
        told = dict(zip(columns, row, strict=True))
        meter, pod = _meter(cast("dict[str, str]", told))
        if meter is not None:
            figures[meter] = figures.get(meter, 0) + cast("int", told["gpu_ns"])
        if pod and (told["mig"] or told["method"] != Method.EXCLUSIVE):
            shared.add(pod)
    for uuid in child(document, "devices"):
        figures[Meter(uuid, "", "", ACCOUNTED)] = number(document, "devices", uuid, "accounted_ns") or 0
    return figures, frozenset(shared)


def _meter(row: Mapping[str, str]) -> tuple[Meter | None, str]:
    """Which figure a row adds to, and the pod that it is of."""
    uuid, mig, account = row["gpu_uuid"], row["mig"], row["account"]
    parts = row["holder"].split("/")
    if row["holder_kind"] == "pod" and len(parts) == _POD_PARTS and account in _HELD:
        pod = f"{parts[0]}/{parts[1]}"
        return Meter(uuid, mig, pod, account), pod
    if account == Account.UNATTRIBUTED:
        return Meter(uuid, mig, "", account), ""
    if account == Account.UNOBSERVED:
        return Meter(uuid, "", "", account), ""
    return None, ""


def _fell(former: "array[int]", values: "array[int]") -> bool:
    return len(values) < len(former) or any(now < before for before, now in zip(former, values, strict=False))
