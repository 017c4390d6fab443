"""What an engine's counters gained from one page to the next, as integers that may be booked.

Owns restarts, names that change, and what is left below one unit. Never books a jump: what a counter already had when
it was first seen is its base. One state belongs to one target and is used by one thread at a time.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import sub
from typing import Any, NamedTuple, Self, TypeVar

from collectors.clock import NS_PER_SECOND
from collectors.serving_saved import plans_from_text, plans_text, values_from_text
from collectors.serving_values import (
    CounterValues,
    EnginePage,
    LatencyKey,
    Part,
    PhaseKey,
    Plans,
    Slot,
    SlotPlan,
    Values,
    WorkKey,
    latency_slots,
    phase_slots,
    work_slots,
)

MAX_REMEMBERED_SERIES = 20_000
"""Series of one thing that are remembered after they left the page, so that they may return without a jump."""
_START_TOLERANCE_SECONDS = 2.0
"""Some clients work their start time out anew from the wall clock, which is set now and then."""
_FALL_TOLERANCE = 1e-9
"""Sums over processes are added in any order; a fall by the last digits is no restart."""


@dataclass(frozen=True, slots=True)
class LatencyGain:
    """Observations that a page adds: cumulative buckets by upper bound in seconds, their number, and their sum."""

    buckets: Mapping[float, int]
    count: int
    sum_ns: int


@dataclass(frozen=True, slots=True)
class PageGain:
    """What one page adds to what was booked before. What gained nothing is left out.

    ``work`` counts each token once: ``input_tokens`` are without ``cached_tokens`` wherever the engine tells those.
    """

    work: Mapping[WorkKey, int]
    phase_ns: Mapping[PhaseKey, int]
    latency: Mapping[LatencyKey, LatencyGain]
    restarted: tuple[str, ...] = ()
    """Names on the page whose counters began anew; they were counted from zero."""
    rebased: tuple[str, ...] = ()
    """Names on the page that took another's place, or whose labels all changed; their value is the new base."""


_Key = TypeVar("_Key", WorkKey, PhaseKey, LatencyKey)


class SavedCounters(NamedTuple):
    """A state as text, in two parts: one that moves with the counters and one that seldom changes."""

    state: str
    series: str
    """What ``state`` gives the values of; empty where it says so itself."""


class CounterDeltas:
    """The counters of one target as they last stood.

    A failed fetch needs no call: the next page adds what was gained in between. Drop the state when the target is gone
    for good; a target met again with a new state sets a new base.
    """

    def __init__(self) -> None:
        self._slots = _Slots({}, {}, {})
        self._page: CounterValues | None = None
        """The last page's, where its slots are all that is known: they then stand here alone."""
        self._series: tuple[Plans, str] | None = None
        self._carry: dict[WorkKey | PhaseKey | LatencyKey, float] = {}
        self._start_time_seconds: float | None = None
        self._first = True

    def book(self, page: EnginePage, *, from_zero: bool = False) -> PageGain:
        """What ``page`` gained since the page before, whole units only; the rest is carried to the next page.

        The first page of a state sets the base and gains nothing, unless ``from_zero``: the caller knows that the
        engine started after its books were opened. A counter that first appears on a later page began at zero.
        A counter that fell, or any where the process started anew, counts from zero.
        """
        fresh = self._restarted(page) or (self._first and from_zero)
        gains = None if fresh else self._plain_gains(page.counters)
        if gains is None:
            self._slots, self._page = self._known(), None
            gains = _Pass(based=self._first, fresh=fresh).all_gains(self._slots, page)
            self._fold(page.counters)
        self._first = False
        self._start_time_seconds = page.start_time_seconds
        if gains.restarted:
            self._forgive_debts()
        counted = {key: parts["value"] for key, parts in gains.work.items()}
        return PageGain(
            work=self._whole(_once(counted) if page.cached_within_input else counted),
            phase_ns=self._whole({key: parts["value"] * NS_PER_SECOND for key, parts in gains.phases.items()}),
            latency=self._latency_gains(gains.latency),
            restarted=tuple(sorted(gains.restarted)),
            rebased=tuple(sorted(gains.rebased)),
        )

    def export(self) -> str:
        """The state as one text, for :meth:`restore` in a later process; equal states give equal texts."""
        slots = [[_plain(known) for known in each.items()] for each in self._known()]
        return json.dumps([self._start_time_seconds, *slots, self._carried()], separators=(",", ":"))

    def save(self) -> SavedCounters:
        """The state for :meth:`restore` in a later process, in a fraction of the text and time of :meth:`export`."""
        page = self._page
        if page is None or page.written is None:
            return SavedCounters(self.export(), "")
        if self._series is None or self._series[0] is not page.plans:
            self._series = page.plans, plans_text(page.plans)
        plain = [self._start_time_seconds, page.written, self._carried()]
        return SavedCounters(json.dumps(plain, separators=(",", ":")), self._series[1])

    @classmethod
    def restore(cls, text: str, series: str = "") -> Self:
        """A state that goes on where the one that was saved or exported stood.

        Raises:
            ValueError: it is no exported state.
        """
        deltas = cls()
        try:
            deltas._start_time_seconds, *slots, carry = json.loads(text)
            if len(slots) == 1:
                deltas._slots = _unfolded(values_from_text(plans_from_text(series), *slots))
            else:
                deltas._slots = _Slots(*map(_slots, slots))
            deltas._carry = {tuple(key): value for *key, value in carry}
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"no exported state of counters: {error}") from error
        deltas._first = False
        return deltas

    def _carried(self) -> list[list[Any]]:
        return [[*key, value] for key, value in self._carry.items() if value]

    def _known(self) -> "_Slots":
        return self._slots if self._page is None else _unfolded(self._page)

    def _fold(self, page: CounterValues | None) -> None:
        """Let the page's own values stand for its slots, where nothing else is remembered."""
        if page is None or page.written is None:
            return
        known, plans = self._slots, page.plans
        alike = all(plan.parts for each in (plans.work, plans.phases, plans.latency) for plan in each.values())
        everything = _is_all(known.work, plans.work) and _is_all(known.phases, plans.phases)
        if alike and everything and _is_all(known.latency, plans.latency):
            self._page, self._slots = page, _Slots({}, {}, {})

    def _plain_gains(self, now: CounterValues | None) -> "_Gains | None":
        """The gains over a page of the same layout on which nothing fell; ``None`` for any other."""
        before = self._page
        if before is None or now is None or now.plans is not before.plans:
            return None
        gained = list(map(sub, now.values, before.values))
        if gained and min(gained) < 0:
            return None
        self._page = now
        plans = now.plans
        return _Gains(_sums(plans.work, gained), _sums(plans.phases, gained), _sums(plans.latency, gained))

    def _restarted(self, page: EnginePage) -> bool:
        then, now = self._start_time_seconds, page.start_time_seconds
        return then is not None and now is not None and now > then + _START_TOLERANCE_SECONDS

    def _whole(self, gains: Mapping[_Key, float]) -> dict[_Key, int]:
        """Whole units of each, floored; what is below one, or was owed, is carried."""
        booked: dict[_Key, int] = {}
        for key, gain in gains.items():
            total = self._carry.get(key, 0.0) + gain
            units = max(0, math.floor(total))
            self._carry[key] = total - units
            if units:
                booked[key] = units
        return booked

    def _forgive_debts(self) -> None:
        """A cached token that was counted ahead of its prompt died with the process."""
        for key, carried in self._carry.items():
            self._carry[key] = max(0.0, carried)

    def _latency_gains(self, gains: Mapping[LatencyKey, Mapping[Part, float]]) -> dict[LatencyKey, LatencyGain]:
        observed = {key: parts for key, parts in gains.items() if parts["count"] >= 1}
        sums = self._whole({key: parts["sum"] * NS_PER_SECOND for key, parts in observed.items()})
        return {
            key: LatencyGain(
                {bound: round(gain) for bound, gain in sorted(_bounds(parts).items())},
                round(parts["count"]),
                sums.get(key, 0),
            )
            for key, parts in observed.items()
        }


@dataclass(slots=True)
class _Known:
    """One slot as it last stood."""

    source: str
    series: Mapping[str, Values]
    total: float
    """What the series of the last page added up to."""


class _Slots(NamedTuple):
    """All that is known."""

    work: dict[WorkKey, _Known]
    phases: dict[PhaseKey, _Known]
    latency: dict[LatencyKey, _Known]


class _Gains(NamedTuple):
    """What each slot's parts gained."""

    work: Mapping[WorkKey, Mapping[Part, float]]
    phases: Mapping[PhaseKey, Mapping[Part, float]]
    latency: Mapping[LatencyKey, Mapping[Part, float]]
    restarted: frozenset[str] = frozenset()
    rebased: frozenset[str] = frozenset()


def _unfolded(page: CounterValues) -> _Slots:
    return _Slots(_stand(work_slots(page)), _stand(phase_slots(page)), _stand(latency_slots(page)))


def _stand(slots: Mapping[_Key, Slot]) -> dict[_Key, _Known]:
    return {key: _Known(slot.source, slot.series, _total(slot)) for key, slot in slots.items()}


def _is_all(known: Mapping[_Key, _Known], plans: Mapping[_Key, SlotPlan]) -> bool:
    """Whether these series are all that is known."""
    return known.keys() == plans.keys() and all(known[key].series.keys() == plans[key].series.keys() for key in plans)


def _sums(plans: Mapping[_Key, SlotPlan], values: list[float]) -> dict[_Key, dict[Part, float]]:
    """Each part's sum over the series of its slot."""
    return {
        key: {part: sum(values[plan.start + at : plan.stop : len(plan.parts)]) for at, part in enumerate(plan.parts)}
        for key, plan in plans.items()
        if plan.parts
    }


def _plain(known: tuple[WorkKey | PhaseKey | LatencyKey, _Known]) -> list[Any]:
    """JSON has no numbers for keys, and buckets are named by numbers: parts become pairs."""
    key, slot = known
    series = {labels: list(values.items()) for labels, values in slot.series.items()}
    return [key, slot.source, series, slot.total]


def _slots(plain: list[Any]) -> dict[Any, _Known]:
    return {
        tuple(key): _Known(source, {labels: dict(pairs) for labels, pairs in series.items()}, total)
        for key, source, series, total in plain
    }


class _Pass:
    """One page against what is known; collects what restarted and what was rebased."""

    def __init__(self, *, based: bool, fresh: bool) -> None:
        self.restarted: set[str] = set()
        self.rebased: set[str] = set()
        self._first = based
        self._fresh = fresh

    def all_gains(self, known: _Slots, page: EnginePage) -> _Gains:
        """The gains of each slot; updates ``known``."""
        work = self.gains(known.work, page.work_slots)
        phases = self.gains(known.phases, page.phase_slots)
        latency = self.gains(known.latency, page.latency_slots)
        return _Gains(work, phases, latency, frozenset(self.restarted), frozenset(self.rebased))

    def gains(self, known: dict[_Key, _Known], slots: Mapping[_Key, Slot]) -> dict[_Key, dict[Part, float]]:
        """The gain of each slot's parts; updates ``known``."""
        gained: dict[_Key, dict[Part, float]] = {}
        for key, slot in slots.items():
            last = known.get(key)
            gains = self._new(slot) if last is None else self._next(last, slot)
            if gains:
                gained[key] = _add(gains)
            known[key] = _Known(slot.source, self._remembered(last, slot), _total(slot))
        if self._fresh or len(known) > MAX_REMEMBERED_SERIES:
            for key in known.keys() - slots.keys():
                del known[key]
        return gained

    def _new(self, slot: Slot) -> list[Values]:
        return [] if self._first and not self._fresh else list(slot.series.values())

    def _next(self, last: _Known, slot: Slot) -> list[Values]:
        same_name = last.source == slot.source
        if same_name and not last.series.keys().isdisjoint(slot.series):
            return [self._gain(slot.source, last.series.get(name), now) for name, now in slot.series.items()]
        if self._fresh or (same_name and _fell(last.total, _total(slot))):
            self.restarted.add(slot.source)
            return list(slot.series.values())
        self.rebased.add(slot.source)
        return []

    def _gain(self, source: str, before: Values | None, now: Values) -> Values:
        if before is None:
            return now
        if self._fresh or any(_fell(before[part], value) for part, value in now.items() if part in before):
            self.restarted.add(source)
            return now
        return {part: max(0.0, value - before[part]) for part, value in now.items() if part in before}

    def _remembered(self, last: _Known | None, slot: Slot) -> Mapping[str, Values]:
        """The slot's series, and those that left the page, as long as they may come back as they were."""
        if last is None or self._fresh or last.source != slot.source or last.series.keys() <= slot.series.keys():
            return slot.series
        together = {**last.series, **slot.series}
        return together if len(together) <= MAX_REMEMBERED_SERIES else slot.series


def _once(gains: Mapping[WorkKey, float]) -> dict[WorkKey, float]:
    """Input tokens without the cached ones among them; may be below zero where these are counted earlier."""
    counted = dict(gains)
    for (model, tenant, kind), cached in gains.items():
        if kind == "cached_tokens" and (model, tenant, "input_tokens") in gains:
            counted[model, tenant, "input_tokens"] -= cached
    return counted


def _fell(before: float, now: float) -> bool:
    return now < before * (1 - _FALL_TOLERANCE)


def _total(slot: Slot) -> float:
    return sum(values.get("value", values.get("count", 0.0)) for values in slot.series.values())


def _add(several: list[Values]) -> dict[Part, float]:
    """The sum over series, of the parts that all of them have."""
    parts = set[Part](several[0]).intersection(*several)
    return {part: sum(values[part] for values in several) for part in parts}


def _bounds(parts: Mapping[Part, float]) -> dict[float, float]:
    return {part: gain for part, gain in parts.items() if not isinstance(part, str)}
