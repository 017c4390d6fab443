"""The agent's books: cumulative meters for Prometheus and the open hours for the journal.

Owns the sums and nothing else: :meth:`Books.apply` is the only way in, live and on replay alike. Integers throughout;
a meter's cost is kept as gpu-nanoseconds times nano-dollars an hour, so that dollars are exact too.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from agent.entry import Base, Control, Entry
from agent.work_books import FINISHED, OTHER, WorkBooks
from collectors.clock import NS_PER_HOUR
from ledger.hours import Amount, CellKey, ClockStep, DeviceHour, HourBook, LatencySum, PriceNote

__all__ = ["FINISHED", "NO_PRICE", "OTHER", "Books", "DeviceMeter", "Meter", "account_sums", "step_hour"]

NO_PRICE = ""


@dataclass(slots=True)
class Meter:
    """Cumulative amounts of one cell since the counters began."""

    gpu_ns: int = 0
    energy_mj: int = 0
    cost_numerator: int | None = None
    """gpu-nanoseconds x nano-dollars per hour; ``None``: never priced."""
    touched_ns: int = 0
    """Monotonic time of the last increment."""
    folded: bool = False
    """Shown within ``__other__`` only: it came when its family was full, and so it stays, lest a counter fall."""


@dataclass(slots=True)
class DeviceMeter:
    """A device's own totals since the counters began: the control figures."""

    name: str
    accounted_ns: int = 0
    energy_mj: int | None = None
    cost_numerator: int | None = None


@dataclass(slots=True)
class Books:
    """Everything that outlives a death of the agent."""

    boot_id: str
    segments: list[tuple[int, int]]
    """The hour clock's trajectory."""
    sequence: int = 0
    """Number of the last record applied."""
    change: int = 0
    """Grows with each closing of an hour; readers of the journal ask for what came after."""
    monotonic_ns: int = 0
    """Time of the last entry."""
    meters: dict[CellKey, Meter] = field(default_factory=dict[CellKey, Meter])
    devices: dict[str, DeviceMeter] = field(default_factory=dict[str, DeviceMeter])
    bases: dict[str, Base] = field(default_factory=dict[str, Base])
    idle_mw: dict[str, int] = field(default_factory=dict[str, int])
    prices: dict[str, PriceNote] = field(default_factory=dict[str, PriceNote])
    last_price: dict[str, str] = field(default_factory=dict[str, str])
    """The price each device was last booked at, for the time in which it does not answer."""
    former: list[str] = field(default_factory=list[str])
    """Devices of the former boot whose energy since this boot's driver load is not booked yet."""
    hours: dict[int, HourBook] = field(default_factory=dict[int, HourBook])
    """The open hours."""
    work: WorkBooks = field(default_factory=WorkBooks)
    """What time, energy and money brought forth."""
    series_cap: int = 1_000_000
    """Most meters of holders to be shown by themselves; not saved."""
    shape: int = 0
    """Grows whenever a meter comes, goes, or gets its first price; not saved."""
    _shown: int = 0

    def __post_init__(self) -> None:
        self._shown = sum(1 for key, meter in self.meters.items() if _is_held(key) and not meter.folded)

    def apply(self, entry: Entry) -> None:
        """Add one entry's increments."""
        self.monotonic_ns = entry.monotonic_ns
        self.segments = entry.segments or self.segments
        self.prices.update(entry.prices)
        self.idle_mw.update(entry.idle_mw)
        for uuid, name in entry.names.items():
            self.devices.setdefault(uuid, DeviceMeter(name))
        self._add_rows(entry)
        for control in entry.controls:
            self._add_control(control, entry)
        if entry.settled or entry.gone:
            self.former = [uuid for uuid in self.former if uuid not in (*entry.settled, *entry.gone)]
        for uuid in entry.gone:
            self.bases.pop(uuid, None)
            self.shape += 1
        self.bases.update(entry.bases)
        for step in entry.steps:
            self.hour(step_hour(step)).steps.append(step)
        for done in entry.work:
            work = self.hour(done.hour_s).work
            work[done.key] = work.get(done.key, 0) + done.amount
        for seen in entry.latency:
            self.hour(seen.hour_s).latency.setdefault(seen.key, LatencySum()).add(seen.latency)
        if entry.notes or entry.node_facts:
            self._note(entry)
        self.work.apply(entry, self.series_cap)

    def _note(self, entry: Entry) -> None:
        for told in entry.notes:
            if told.hour_s in self.hours:
                self.hours[told.hour_s].holders[told.key] = told.note
        for hour_s, node in entry.node_facts.items():
            if hour_s in self.hours:
                self.hours[hour_s].node_facts = node

    def hour(self, hour_s: int) -> HourBook:
        """The open hour; opened when it is not."""
        book = self.hours.get(hour_s)
        if book is None:
            book = self.hours[hour_s] = HourBook(hour_s)
        return book

    def begin_boot(self, boot_id: str, segments: list[tuple[int, int]]) -> None:
        """The machine was booted anew: counters begin at 0; hours and what was learnt stay.

        The devices of the former boot are booked on from the first of ``segments``, unobserved until they are met.
        """
        self.boot_id = boot_id
        self.segments = segments
        self.meters.clear()
        self._shown = 0
        self.shape += 1
        self.devices = {uuid: DeviceMeter(device.name) for uuid, device in self.devices.items()}
        self.former = sorted(self.bases)
        start_ns = segments[0][0]
        self.work.begin_boot(start_ns)
        self.bases = {uuid: Base(start_ns, start_ns, None) for uuid in self.former}

    def close(self, hour_s: int) -> None:
        """Forget an hour that stands in the journal now."""
        del self.hours[hour_s]
        self.change += 1

    def finished(self, present: Collection[tuple[str, str]], before_ns: int) -> list[CellKey]:
        """Meters of holders that are not ``present`` (kind, name) and were last touched before ``before_ns``.

        All of a holder's meters or none: those of several methods make up one series of joules and one of dollars.
        """
        touched: dict[tuple[str, str], int] = {}
        for key, meter in self.meters.items():
            holder = key.holder_kind, key.holder
            touched[holder] = max(touched.get(holder, 0), meter.touched_ns)
        gone = {holder for holder, last_ns in touched.items() if last_ns < before_ns} - set(present)
        return [key for key in self.meters if _is_held(key) and (key.holder_kind, key.holder) in gone]

    def finished_workers(self, present: Collection[tuple[str, str]], before_ns: int) -> list[tuple[str, str]]:
        """Holders of work that hold nothing any more, are not ``present``, and did nothing since ``before_ns``."""
        alive = {(key.holder_kind, key.holder) for key in self.meters} | set(present)
        return sorted(holder for holder, ns in self.work.touched().items() if ns < before_ns and holder not in alive)

    def retire(self, keys: Iterable[CellKey]) -> None:
        """Move the amounts of finished holders to :data:`FINISHED`; what was shown in :data:`OTHER` stays in there."""
        for key in keys:
            meter = self.meters.pop(key)
            name = OTHER if meter.folded else FINISHED
            target = self.meters.setdefault(key._replace(holder_kind="", holder=name), Meter())
            target.gpu_ns += meter.gpu_ns
            target.energy_mj += meter.energy_mj
            if meter.cost_numerator is not None:
                target.cost_numerator = (target.cost_numerator or 0) + meter.cost_numerator
            target.touched_ns = max(target.touched_ns, meter.touched_ns)
            self.shape += 1
            self._shown -= not meter.folded

    def _add_rows(self, entry: Entry) -> None:
        book: HourBook | None = None
        for hour_s, key, gpu_ns, energy_mj in entry.rows:
            if book is None or book.hour_s != hour_s:
                book = self.hour(hour_s)
            rows = book.rows
            amount = rows.get(key)
            if amount is None:
                amount = rows[key] = Amount()
                self._note_price(hour_s, key.price_id)
            amount.gpu_ns += gpu_ns
            amount.energy_mj += energy_mj
            if entry.hours_only:
                continue
            cell, _, price_id = key
            meter = self.meters.get(cell)
            if meter is None:
                meter = self.meters[cell] = self._new_meter(cell)
            meter.gpu_ns += gpu_ns
            meter.energy_mj += energy_mj
            meter.touched_ns = entry.monotonic_ns
            if price_id == NO_PRICE:
                continue
            cost = gpu_ns * self.prices[price_id].nano_usd_per_gpu_hour
            if meter.cost_numerator is None:
                self.shape += 1
                meter.cost_numerator = cost
            else:
                meter.cost_numerator += cost

    def _new_meter(self, key: CellKey) -> Meter:
        self.shape += 1
        if not _is_held(key):
            return Meter()
        folded = self._shown >= self.series_cap
        self._shown += not folded
        return Meter(folded=folded)

    def _add_control(self, control: Control, entry: Entry) -> None:
        device = self.devices[control.gpu_uuid]
        if control.price_id != NO_PRICE:
            self.last_price[control.gpu_uuid] = control.price_id
        book = self.hour(control.hour_s)
        in_hour = book.devices.get(control.gpu_uuid)
        if in_hour is None:
            in_hour = book.devices[control.gpu_uuid] = DeviceHour(device.name)
        targets = (in_hour,) if entry.hours_only else (in_hour, device)
        for target in targets:
            target.accounted_ns += control.accounted_ns
            if control.energy_mj is not None:
                target.energy_mj = (target.energy_mj or 0) + control.energy_mj
        if not entry.hours_only:
            device.cost_numerator = self._cost(device.cost_numerator, control.accounted_ns, control.price_id)

    def _cost(self, before: int | None, gpu_ns: int, price_id: str) -> int | None:
        if price_id == NO_PRICE:
            return before
        return (before or 0) + gpu_ns * self.prices[price_id].nano_usd_per_gpu_hour

    def _note_price(self, hour_s: int, price_id: str) -> None:
        if price_id != NO_PRICE:
            self.hours[hour_s].prices.setdefault(price_id, self.prices[price_id])


def _is_held(key: CellKey) -> bool:
    return key.holder not in ("", FINISHED, OTHER)


def step_hour(step: ClockStep) -> int:
    """The hour that a step is recorded in: where the clock came to stand."""
    return step.to_wall_ns // NS_PER_HOUR * 3600


def account_sums(meters: Mapping[CellKey, Meter]) -> dict[str, tuple[int, int, int]]:
    """(gpu_ns, energy_mj, cost numerator) by account over all meters; used to show the balance."""
    sums: dict[str, tuple[int, int, int]] = {}
    for key, meter in meters.items():
        ns, mj, cost = sums.get(key.account, (0, 0, 0))
        sums[key.account] = (ns + meter.gpu_ns, mj + meter.energy_mj, cost + (meter.cost_numerator or 0))
    return sums
