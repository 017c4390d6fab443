"""Serving within the sweep: pages are booked before the sweep is saved, and economics are worked out after.

Owns the windows of the economics and who is worth one. Everything it reads is given to it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from agent.accountant import DeviceView
from agent.books import Books
from agent.economics import HolderFigures, Point, Window
from agent.entry import Entry
from agent.flops import FlopMeter
from agent.holder_totals import HolderName, HolderTotal, holder_totals
from agent.work import PageSource, WorkBooker
from agent.work_books import LatencyMeter, WorkMeter
from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from collectors.errors import SourceError, Unavailable
from collectors.holder import NOBODY, Holder
from collectors.serving_poller import PollResult
from ledger.hours import LatencyKey, LatencySum, WorkKey

WorkGroups = Callable[[Holder], str | None]
"""The group of holders that bear one model together; ``None`` for one that bears its models alone."""

_POINT_EVERY_NS = 15 * NS_PER_SECOND
_HOUR_AWAITS_PAGES_NS = 60 * NS_PER_SECOND


def no_groups(_: Holder) -> str | None:
    """Every holder bears its models alone."""
    return None


@dataclass(slots=True)
class Serving:
    """Pages, work and economics of one node."""

    source: PageSource
    booker: WorkBooker
    group_of: WorkGroups = no_groups
    figures: dict[Holder, HolderFigures] = field(default_factory=dict[Holder, HolderFigures])
    """The last figures of each holder that has any; replaced as a whole."""
    held: frozenset[Holder] = frozenset()
    """Those that hold a device, or whose pages are read."""
    _windows: dict[Holder, Window] = field(default_factory=dict[Holder, Window])
    _flops: FlopMeter = field(default_factory=FlopMeter)
    _booked: set[Holder] = field(default_factory=set[Holder])
    _due_ns: int = 0

    def book(self, entry: Entry, wall_ns: int) -> SourceError | None:
        """Add what the pages gained to a sweep's entry; returns why none of them answered, where none did."""
        results = self.source.take()
        self._booked = self.booker.book(entry, results, wall_ns)
        return _failure(results)

    def observe(self, now_ns: int, views: Mapping[str, DeviceView]) -> None:
        """Take in the sweep that was just saved and work out the figures of those whose sums moved."""
        self._flops.observe(views.values())
        holders = set(self._booked)
        if now_ns >= self._due_ns:
            self._due_ns = now_ns + _POINT_EVERY_NS
            paged = {view.holder for view in self.booker.views.values()}
            held = {use.holder for view in views.values() for use in view.uses if use.holder is not None}
            holders |= held - paged
            self.held = frozenset(held | {holder for holder in paged if holder is not None})
            self._drop_stale(now_ns)
            self._flops.keep(held | self._windows.keys())
        self._booked = set()
        if holders - {NOBODY}:
            self._add_points(holders - {NOBODY}, now_ns)

    def holders(self) -> set[HolderName]:
        """Those whose pages are read."""
        return {(view.holder.kind, view.holder.name) for view in self.booker.views.values() if view.holder is not None}

    def awaits_pages(self, hour_s: int, wall_ns: int) -> bool:
        """Whether work of the hour before ``hour_s``, which has just begun, is likely to come yet."""
        into_ns = wall_ns - hour_s * NS_PER_SECOND
        if not 0 <= into_ns < min(_HOUR_AWAITS_PAGES_NS, NS_PER_HOUR):
            return False
        at_ns = self.booker.books.monotonic_ns
        return any(view.up and view.at_ns < at_ns - into_ns for view in self.booker.views.values())

    def _drop_stale(self, now_ns: int) -> None:
        stale = [
            holder
            for holder, window in self._windows.items()
            if window.points[-1].at_ns < now_ns - self.booker.stale_ns
        ]
        for holder in stale:
            del self._windows[holder]
        self.figures = {holder: each for holder, each in self.figures.items() if holder in self._windows}

    def _add_points(self, holders: Collection[Holder], now_ns: int) -> None:
        books, settings = self.booker.books, self.booker.settings
        wanted = {(holder.kind, holder.name) for holder in holders}
        totals = holder_totals(books, wanted)
        work = work_by_holder(books, wanted)
        latency = latency_by_holder(books, wanted) if settings.objectives else {}
        figures = dict(self.figures)
        for holder in holders:
            name = holder.kind, holder.name
            total = totals.get(name, HolderTotal(None, None))
            alone = not self.group_of(holder)
            window = self._windows.setdefault(holder, Window())
            point = Point(
                now_ns,
                total.cost_numerator,
                total.energy_mj,
                work.get(name, {}) if alone else {},
                latency.get(name, {}),
                self._flops.take(holder),
            )
            window.add(point, round(settings.window_seconds * NS_PER_SECOND))
            found = window.figures(settings)
            figures.pop(holder, None)
            if found is not None:
                figures[holder] = found
        self.figures = figures


def work_by_holder(books: Books, wanted: Collection[HolderName]) -> dict[HolderName, dict[tuple[str, str], int]]:
    """Work by model and kind, over all tenants, of those that are ``wanted``."""
    found: dict[HolderName, dict[tuple[str, str], int]] = {}
    meters: Mapping[WorkKey, WorkMeter] = books.work.meters
    for key, meter in meters.items():
        if (key.holder_kind, key.holder) not in wanted:
            continue
        work = found.setdefault((key.holder_kind, key.holder), {})
        work[key.model, key.kind] = work.get((key.model, key.kind), 0) + meter.amount
    return found


def latency_by_holder(
    books: Books, wanted: Collection[HolderName]
) -> dict[HolderName, dict[tuple[str, str], LatencySum]]:
    """Copies of the latencies as they stand, of those that are ``wanted``."""
    found: dict[HolderName, dict[tuple[str, str], LatencySum]] = {}
    meters: Mapping[LatencyKey, LatencyMeter] = books.work.latency
    for key, meter in meters.items():
        if (key.holder_kind, key.holder) not in wanted:
            continue
        seen = meter.latency
        copy = LatencySum(seen.count, seen.sum_ns, dict(seen.buckets))
        found.setdefault((key.holder_kind, key.holder), {})[key.model, key.latency] = copy
    return found


def _failure(results: Iterable[PollResult]) -> SourceError | None:
    answered = list(results)
    errors = [each.error for each in answered if each.error and not each.target.probe]
    if not errors or any(each.page is not None for each in answered):
        return None
    return Unavailable(errors[0])
