"""Turns pages of serving engines into rows of an entry: what each holder produced since its pages were read before.

Owns the counters of each page, whose they are, and the tenants' parts of a holder's cost. Up to where a page is booked
goes into the same entry as what it led to, so neither a kill nor a restart loses or repeats a token. What is not
understood is held back, at last booked to nobody, never to the wrong holder.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agent.books import Books
from agent.economics_settings import EconomicsSettings
from agent.entry import CounterBase, Entry, LatencyRow, TenantKey, WorkRow
from agent.holder_totals import HolderName, holder_totals
from agent.hour_clock import HourClock
from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from collectors.holder import NOBODY, Holder
from collectors.serving_counters import CounterDeltas, LatencyGain, PageGain
from collectors.serving_page import EnginePage, GaugeKey
from collectors.serving_poller import PollResult
from collectors.serving_targets import ServingTarget
from ledger.apportion import apportion
from ledger.hours import LatencyKey, LatencySum, WorkKey

_log = logging.getLogger(__name__)

HELD_BACK_NS = 120 * NS_PER_SECOND
"""A page whose holder is not known yet is not booked for so long; its counters go on meanwhile, so nothing is lost."""
_MAX_BOUND_SECONDS = 1e9


class PageSource(Protocol):
    """Reads pages in threads of its own."""

    def take(self) -> tuple[PollResult, ...]:
        """The last answer of each page that answered since the last call."""
        ...


class TargetHolders(Protocol):
    """Tells whose a page is."""

    def holder_of(self, target: ServingTarget) -> Holder | None:
        """The holder whose devices bear the page's work; ``None`` while it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class PageView:
    """What is known of a page after its last answer."""

    target: ServingTarget
    holder: Holder | None
    at_ns: int
    """When it answered."""
    up: bool
    engine: str = ""
    """Empty while none was told."""
    gauges: Mapping[GaugeKey, float] = field(default_factory=dict[GaugeKey, float])
    message: str = ""


@dataclass(slots=True)
class WorkBooker:
    """Books pages."""

    books: Books
    hour_clock: HourClock
    holders: TargetHolders
    settings: EconomicsSettings
    stale_ns: int = 60 * NS_PER_SECOND
    """An answer older than this tells nothing any more: a page that is no longer read."""
    views: dict[str, PageView] = field(default_factory=dict[str, PageView])
    _deltas: dict[str, CounterDeltas] = field(default_factory=dict[str, CounterDeltas])
    _read_ns: dict[str, int] = field(default_factory=dict[str, int])
    """When each page was last read, also where it had gained nothing and so nothing was saved."""
    _unknown_since: dict[str, int] = field(default_factory=dict[str, int])
    _weights: dict[HolderName, dict[str, int]] = field(default_factory=dict[HolderName, dict[str, int]])
    _answered: dict[HolderName, set[str]] = field(default_factory=dict[HolderName, set[str]])

    def book(self, entry: Entry, results: Iterable[PollResult], wall_ns: int) -> set[Holder]:
        """Add to ``entry`` what the pages gained; returns the holders of which a page was booked.

        Args:
            entry: one sweep's entry, not one for the hours alone.
            results: the answers since the sweep before.
            wall_ns: the wall clock at ``entry.monotonic_ns``.
        """
        booked: set[Holder] = set()
        for result in results:
            view = self._view(result)
            if view is None:
                self.views.pop(result.target.key, None)
                continue
            self.views[result.target.key] = view
            if result.page is None:
                continue
            holder = view.holder or self._given_up(result)
            if holder is not None:
                self._book_page(entry, result.target.key, result.page, holder, (result.at_ns, wall_ns))
                booked.add(holder)
        for key in [key for key, view in self.views.items() if view.at_ns < entry.monotonic_ns - self.stale_ns]:
            del self.views[key]
        self._split_costs(entry, booked)
        return booked

    def retire(self, holders: Iterable[HolderName]) -> list[str]:
        """Forget finished holders; returns the pages that are read no more and may be given up with them."""
        for holder in holders:
            self._weights.pop(holder, None)
            self._answered.pop(holder, None)
        gone = [key for key, base in self.books.work.bases.items() if base.state and self._is_gone(key, base)]
        for key in gone:
            self._deltas.pop(key, None)
            self._read_ns.pop(key, None)
            self._unknown_since.pop(key, None)
        return gone

    def _is_gone(self, key: str, base: CounterBase) -> bool:
        return key not in self.views and base.read_ns < self.books.monotonic_ns - 10 * self.stale_ns

    def _view(self, result: PollResult) -> PageView | None:
        """``None``: a guessed page that is none, of which there is nothing to say."""
        before = self.views.get(result.target.key)
        if result.page is None and result.target.probe and before is None:
            return None
        holder = self.holders.holder_of(result.target)
        if result.page is None:
            engine = before.engine if before else ""
            return PageView(result.target, holder, result.at_ns, up=False, engine=engine, message=result.error)
        return PageView(
            result.target, holder, result.at_ns, up=True, engine=result.page.engine, gauges=result.page.gauges
        )

    def _given_up(self, result: PollResult) -> Holder | None:
        """Nobody, once a page's holder was not known for long enough."""
        key = result.target.key
        since_ns = self._unknown_since.setdefault(key, result.at_ns)
        if result.at_ns - since_ns < HELD_BACK_NS:
            return None
        if since_ns:
            _log.warning(
                "serving page %s: nobody is known who holds its devices, so its work is nobody's; "
                "name its holder under serving.targets",
                key,
            )
            self._unknown_since[key] = 0
        return NOBODY

    def _book_page(self, entry: Entry, key: str, page: EnginePage, holder: Holder, at: tuple[int, int]) -> None:
        if holder != NOBODY:
            self._unknown_since.pop(key, None)
        at_ns, wall_ns = at
        before = self.books.work.bases.get(key)
        started_ns = self._started_ns(page, entry, wall_ns)
        deltas = self._deltas.get(key)
        if deltas is None:
            deltas = self._deltas[key] = _restored(key, before, self.books.work.series.get(key, ""))
            self._read_ns[key] = before.read_ns if before is not None and before.state else started_ns or at_ns
        gain = deltas.book(page, from_zero=before is None and started_ns is not None)
        since_ns = min(self._read_ns[key], at_ns)
        self._add_gain(entry, holder, gain, since_ns, at_ns)
        self._note_tenants(key, holder, gain)
        self._read_ns[key] = at_ns
        state, series = deltas.save()
        other_series = bool(series) and series != self.books.work.series.get(key)
        moved = before is None or state != before.state or self._hour_s(before.read_ns) != self._hour_s(at_ns)
        if moved or other_series:
            entry.counter_bases[key] = CounterBase(at_ns, state)
        if other_series:
            entry.counter_series[key] = series

    def _started_ns(self, page: EnginePage, entry: Entry, wall_ns: int) -> int | None:
        """When the page's process started, if these books were open by then: all it did is then to be booked."""
        if page.start_time_seconds is None:
            return None
        started_ns = entry.monotonic_ns - (wall_ns - round(page.start_time_seconds * NS_PER_SECOND))
        return started_ns if started_ns >= self.hour_clock.segments[0][0] else None

    def _add_gain(self, entry: Entry, holder: Holder, gain: PageGain, since_ns: int, at_ns: int) -> None:
        slices = self.hour_clock.split(since_ns, at_ns)
        last_hour_s = self._hour_s(at_ns)
        hours = [part.hour_s for part in slices] or [last_hour_s]
        lengths = [part.duration_ns for part in slices] or [1]
        amounts = {WorkKey(holder.kind, holder.name, *key): amount for key, amount in gain.work.items()}
        for (model, phase), amount in gain.phase_ns.items():
            amounts[WorkKey(holder.kind, holder.name, model, "", f"{phase}_ns")] = amount
        for key, amount in amounts.items():
            parts = zip(hours, apportion(amount, lengths), strict=True)
            entry.work.extend(WorkRow(hour_s, key, part) for hour_s, part in parts if part)
        for (model, name), seen in gain.latency.items():
            latency_key = LatencyKey(holder.kind, holder.name, model, name)
            entry.latency.append(LatencyRow(last_hour_s, latency_key, latency_sum(seen)))

    def _hour_s(self, monotonic_ns: int) -> int:
        return self.hour_clock.wall_at(monotonic_ns) // NS_PER_HOUR * 3600

    def _note_tenants(self, page: str, holder: Holder, gain: PageGain) -> None:
        name = holder.kind, holder.name
        weights = self._weights.setdefault(name, {})
        for tenant, weight in tenant_weights(gain, self.settings).items():
            weights[tenant] = weights.get(tenant, 0) + weight
        self._answered.setdefault(name, set()).add(page)

    def _split_costs(self, entry: Entry, booked: set[Holder]) -> None:
        """The cost since the split before, over the tenants by their work; once all pages of a holder answered."""
        ready = [(holder.kind, holder.name) for holder in booked if holder != NOBODY and self._all_answered(holder)]
        if not ready:
            return
        split: dict[HolderName, int] = {}
        for key, meter in self.books.work.tenants.items():
            split[key.holder_kind, key.holder] = split.get((key.holder_kind, key.holder), 0) + meter.cost_numerator
        totals = holder_totals(self.books, set(ready))
        for name in ready:
            weights = self._weights.pop(name, {})
            self._answered.pop(name, None)
            total = totals.get(name)
            known = name in split
            if total is None or total.cost_numerator is None or not (known or any(weights)):
                continue
            # What a holder cost before it had tenants is theirs no more than anybody's.
            shares = weights if known and any(weights.values()) else {"": 1}
            parts = apportion(max(0, total.cost_numerator - split.get(name, 0)), list(shares.values()))
            for tenant, part in zip(shares, parts, strict=True):
                entry.tenant_costs[TenantKey(*name, tenant)] = part

    def _all_answered(self, holder: Holder) -> bool:
        pages = {key for key, view in self.views.items() if view.holder == holder and view.up}
        return pages <= self._answered.get((holder.kind, holder.name), set())


def tenant_weights(gain: PageGain, settings: EconomicsSettings) -> dict[str, int]:
    """What each tenant's work weighs: its tokens, or its requests where the engine counts no tokens."""
    weights: dict[str, int] = {}
    by_tokens = any(kind in settings.milli_weights for _, _, kind in gain.work)
    for (_, tenant, kind), amount in gain.work.items():
        weight = settings.milli_weights.get(kind, 0) if by_tokens else int(kind == "requests")
        weights[tenant] = weights.get(tenant, 0) + amount * weight
    return weights


def latency_sum(gain: LatencyGain) -> LatencySum:
    """Cumulative buckets as one bucket per observation; none above the bucket before it is negative."""
    buckets: dict[int, int] = {}
    below = 0
    for bound_seconds, cumulative in sorted(gain.buckets.items()):
        reached = min(max(below, cumulative), gain.count)
        if reached > below and bound_seconds < _MAX_BOUND_SECONDS:
            bound_ns = round(bound_seconds * NS_PER_SECOND)
            buckets[bound_ns] = buckets.get(bound_ns, 0) + reached - below
            below = reached
        elif bound_seconds < _MAX_BOUND_SECONDS:
            buckets.setdefault(round(bound_seconds * NS_PER_SECOND), 0)
    return LatencySum(gain.count, gain.sum_ns, buckets)


def _restored(key: str, base: CounterBase | None, series: str) -> CounterDeltas:
    if base is None or not base.state:
        return CounterDeltas()
    try:
        return CounterDeltas.restore(base.state, series)
    except ValueError as error:
        _log.warning("serving page %s: %s; it is counted from what it shows next", key, error)
        return CounterDeltas()
