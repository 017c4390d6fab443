"""What one sweep books: increments only, so that entries can be merged, saved, and replayed to the same books."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from ledger.hours import (
    ClockStep,
    HolderKey,
    HolderNote,
    LatencyKey,
    LatencySum,
    NodeNote,
    PriceNote,
    RowKey,
    WorkKey,
)


@dataclass(slots=True)
class Base:
    """Up to where a device is booked. Monotonic times are of the books' boot."""

    booked_ns: int
    """Time is booked up to here."""
    energy_ns: int
    """Energy is booked up to here."""
    energy_mj: int | None
    """The hardware counter then; ``None`` where there is none (power is then integrated)."""
    loaded_ns: int | None = None
    """When the driver was loaded, if it tells."""
    integral_mw_ns: int = 0
    """Integrated power not yet booked, in milliwatt-nanoseconds below one millijoule."""


class Row(NamedTuple):
    """An increment of one usage row."""

    hour_s: int
    key: RowKey
    gpu_ns: int
    energy_mj: int


row_of: Callable[[tuple[int, RowKey, int, int]], Row] = partial(tuple[object, ...].__new__, Row)
"""``Row(...)`` in a quarter of its time: a sweep makes two for each MIG instance."""


class Control(NamedTuple):
    """An increment of a device's control figures: from its clock and its counter, before anything is split."""

    hour_s: int
    gpu_uuid: str
    accounted_ns: int
    energy_mj: int | None
    price_id: str


class WorkRow(NamedTuple):
    """An increment of work."""

    hour_s: int
    key: WorkKey
    amount: int


class LatencyRow(NamedTuple):
    """Further observations of a latency."""

    hour_s: int
    key: LatencyKey
    latency: LatencySum


class NoteRow(NamedTuple):
    """What is known of a holder in an hour from now on."""

    hour_s: int
    key: HolderKey
    note: HolderNote


class TenantKey(NamedTuple):
    """A tenant of a holder."""

    holder_kind: str
    holder: str
    tenant: str
    """Empty: what the holder cost while no tenant asked for anything."""


class CounterBase(NamedTuple):
    """Up to where a page's counters are booked. Saved with what they led to, so that nothing is booked twice."""

    read_ns: int
    """Monotonic time of the books' boot at which the page was read."""
    state: str
    """What the counters' reader needs to go on from there; empty: the page was given up, its counters are no longer
    known."""


@dataclass(slots=True)
class Entry:
    """One sweep's increments."""

    monotonic_ns: int
    rows: list[Row] = field(default_factory=list[Row])
    controls: list[Control] = field(default_factory=list[Control])
    bases: dict[str, Base] = field(default_factory=dict[str, Base])
    names: dict[str, str] = field(default_factory=dict[str, str])
    """Names of devices that the books meet for the first time."""
    prices: dict[str, PriceNote] = field(default_factory=dict[str, PriceNote])
    """Prices that the books meet for the first time."""
    idle_mw: dict[str, int] = field(default_factory=dict[str, int])
    """Idle power where it was learnt anew."""
    steps: list[ClockStep] = field(default_factory=list[ClockStep])
    segments: list[tuple[int, int]] | None = None
    """The hour clock's trajectory, when it changed."""
    settled: list[str] = field(default_factory=list[str])
    """Devices whose energy since this boot's driver load is booked hereby."""
    gone: list[str] = field(default_factory=list[str])
    """Devices of the former boot that this one does not have: they are let go, before ``bases`` are set."""
    work: list[WorkRow] = field(default_factory=list[WorkRow])
    latency: list[LatencyRow] = field(default_factory=list[LatencyRow])
    tenant_costs: dict[TenantKey, int] = field(default_factory=dict[TenantKey, int])
    """Cost numerators by tenant."""
    counter_bases: dict[str, CounterBase] = field(default_factory=dict[str, CounterBase])
    """By page; those that moved."""
    counter_series: dict[str, str] = field(default_factory=dict[str, str])
    """By page, the series that the states of its bases give values of from here on."""
    notes: list[NoteRow] = field(default_factory=list[NoteRow])
    """What was learnt of holders, for hours that are open."""
    node_facts: dict[int, NodeNote] = field(default_factory=dict[int, NodeNote])
    """What was learnt of the node, by open hour."""
    hours_only: bool = False
    """A stretch before this boot: it belongs into its hours, not into counters that have begun at 0 since."""

    def merge(self, later: "Entry") -> None:
        """Take in the entry that follows. Both must agree on ``hours_only``."""
        self.monotonic_ns = later.monotonic_ns
        self.rows = _summed(self.rows + later.rows)
        self.controls.extend(later.controls)
        for uuid in later.gone:
            self.bases.pop(uuid, None)
        self.bases.update(later.bases)
        self.names.update(later.names)
        self.prices.update(later.prices)
        self.idle_mw.update(later.idle_mw)
        self.steps.extend(later.steps)
        self.settled.extend(later.settled)
        self.gone.extend(later.gone)
        self.segments = later.segments or self.segments
        self.work.extend(later.work)
        self.latency.extend(later.latency)
        for key, numerator in later.tenant_costs.items():
            self.tenant_costs[key] = self.tenant_costs.get(key, 0) + numerator
        self.counter_bases.update(later.counter_bases)
        self.counter_series.update(later.counter_series)
        self.notes.extend(later.notes)
        self.node_facts.update(later.node_facts)


def _summed(rows: list[Row]) -> list[Row]:
    sums: dict[tuple[int, RowKey], tuple[int, int]] = {}
    for row in rows:
        gpu_ns, energy_mj = sums.get((row.hour_s, row.key), (0, 0))
        sums[row.hour_s, row.key] = (gpu_ns + row.gpu_ns, energy_mj + row.energy_mj)
    return [Row(hour_s, key, *amounts) for (hour_s, key), amounts in sums.items()]
