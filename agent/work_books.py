"""Cumulative meters of work and latency by holder, the tenants' cost, and up to where each page's counters are booked.

Owns these sums and nothing else; :meth:`WorkBooks.apply` is the only way in, live and on replay alike. Integers
throughout.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from agent.entry import CounterBase, Entry, TenantKey
from ledger.hours import LatencyKey, LatencySum, WorkKey

FINISHED = "__finished__"
"""The holder that the amounts of finished holders go to, so that sums hold when their series go."""
OTHER = "__other__"
"""The holder of what passes the cap of a family."""
MAX_GIVEN_UP = 1024
"""Pages that were given up and are remembered as such, the latest ones."""


@dataclass(slots=True)
class WorkMeter:
    """Work of one kind since the counters began."""

    amount: int = 0
    touched_ns: int = 0
    folded: bool = False
    """Shown within ``__other__`` only: it came when the family was full, and so it stays, lest a counter fall."""


@dataclass(slots=True)
class LatencyMeter:
    """A latency since the counters began."""

    latency: LatencySum = field(default_factory=LatencySum)
    touched_ns: int = 0
    folded: bool = False
    """Not shown: the family was full."""


@dataclass(slots=True)
class TenantMeter:
    """A tenant's part of its holder's cost since the counters began."""

    cost_numerator: int = 0
    touched_ns: int = 0


_Held = TypeVar("_Held", WorkKey, LatencyKey, TenantKey)


@dataclass(slots=True)
class WorkBooks:
    """Work, latency and tenants of one node."""

    meters: dict[WorkKey, WorkMeter] = field(default_factory=dict[WorkKey, WorkMeter])
    latency: dict[LatencyKey, LatencyMeter] = field(default_factory=dict[LatencyKey, LatencyMeter])
    tenants: dict[TenantKey, TenantMeter] = field(default_factory=dict[TenantKey, TenantMeter])
    bases: dict[str, CounterBase] = field(default_factory=dict[str, CounterBase])
    series: dict[str, str] = field(default_factory=dict[str, str])
    """By page, the series that its base gives values of, where that does not name them itself."""
    shape: int = 0
    """Grows whenever a meter comes or goes; not saved."""

    def apply(self, entry: Entry, cap: int) -> None:
        """Add one entry's increments; a family shows at most ``cap`` holders' series by themselves."""
        for row in entry.work:
            meter = self.meters.get(row.key)
            if meter is None:
                meter = self.meters[row.key] = WorkMeter(folded=len(self.meters) >= cap)
                self.shape += 1
            meter.amount += row.amount
            meter.touched_ns = entry.monotonic_ns
        for seen in entry.latency:
            found = self.latency.get(seen.key)
            if found is None:
                found = self.latency[seen.key] = LatencyMeter(folded=len(self.latency) >= cap)
                self.shape += 1
            found.latency.add(seen.latency)
            found.touched_ns = entry.monotonic_ns
        for key, numerator in entry.tenant_costs.items():
            if key not in self.tenants:
                self.shape += 1
            tenant = self.tenants.setdefault(key, TenantMeter())
            tenant.cost_numerator += numerator
            tenant.touched_ns = entry.monotonic_ns
        self.bases.update(entry.counter_bases)
        self.series.update(entry.counter_series)

    def begin_boot(self, start_ns: int) -> None:
        """Counters begin at 0; the pages' own counters may have gone on, if they are not of this machine."""
        self.meters.clear()
        self.latency.clear()
        self.tenants.clear()
        self.shape += 1
        self.bases = {key: base._replace(read_ns=start_ns) for key, base in self.bases.items()}

    def touched(self) -> dict[tuple[str, str], int]:
        """When each holder last did something; those that stand for others are left out."""
        last: dict[tuple[str, str], int] = {}
        for held in (self.meters, self.latency, self.tenants):
            for key, meter in held.items():
                if key.holder not in (FINISHED, OTHER):
                    holder = key.holder_kind, key.holder
                    last[holder] = max(last.get(holder, 0), meter.touched_ns)
        return last

    def retire(self, holders: Iterable[tuple[str, str]]) -> None:
        """Move the work and cost of finished holders to one that stands for them all; their latencies go.

        What was shown in :data:`OTHER` stays in there.
        """
        gone = set(holders)
        for key in _of(self.meters, gone):
            meter = self.meters.pop(key)
            name = OTHER if meter.folded else FINISHED
            target = self.meters.setdefault(WorkKey("", name, "", "", key.kind), WorkMeter())
            target.amount += meter.amount
            target.touched_ns = max(target.touched_ns, meter.touched_ns)
        for tenant_key in _of(self.tenants, gone):
            tenant = self.tenants.pop(tenant_key)
            summed = self.tenants.setdefault(TenantKey("", FINISHED, ""), TenantMeter())
            summed.cost_numerator += tenant.cost_numerator
            summed.touched_ns = max(summed.touched_ns, tenant.touched_ns)
        for latency_key in _of(self.latency, gone):
            del self.latency[latency_key]
        self.shape += 1

    def give_up(self, pages: Iterable[str]) -> None:
        """Forget where pages stood, but not that they were known: met again they begin from what they then show."""
        for key in pages:
            if key in self.bases:
                self.bases[key] = CounterBase(self.bases.pop(key).read_ns, "")
                self.series.pop(key, None)
        given_up = [key for key, base in self.bases.items() if not base.state]
        for key in given_up[: max(0, len(given_up) - MAX_GIVEN_UP)]:
            del self.bases[key]


def _of(held: Iterable[_Held], holders: set[tuple[str, str]]) -> list[_Held]:
    return [key for key in held if (key.holder_kind, key.holder) in holders]
