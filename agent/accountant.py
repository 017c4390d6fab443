"""Turns one sweep into one entry: which stretch of time and energy each reading closes, and whose it was.

Owns, per device, where the books stand (:class:`agent.entry.Base`) and what sharing and idle power remember. A stretch
whose both ends were read by this process is attributed; any other is ``unobserved``: the agent or the device was away,
and the hardware counter tells what it drew meanwhile.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.attribution import Interval, Share, attribute
from agent.books import NO_PRICE, Books
from agent.entry import Base, Control, Entry, Row, row_of
from agent.holdings import Holdings
from agent.hour_clock import HourClock, Slice, split_wall
from agent.idle_power import IdlePower
from agent.plausibility import implausible
from agent.settings import AgentSettings
from agent.units import HolderUse, UnitBuilder
from collectors.clock import NS_PER_SECOND
from collectors.holder import NOBODY, Holder
from collectors.readings import DeviceFacts, DeviceSweep, GpuReading
from ledger.accounts import Account, EnergyMethod, Method
from ledger.apportion import apportion
from ledger.hours import CellKey, PriceNote, RowKey

_RELOAD_TOLERANCE_NS = 5 * NS_PER_SECOND
_AWAITED_NS = 600 * NS_PER_SECOND
"""After a reboot a device that the driver does not list is waited for this long."""
_NS_PER_MJ_MW = NS_PER_SECOND
_MOST_KEYS = 256
"""Keys of rows that are kept for a device; beyond it holders have come and gone."""

PriceOf = Callable[[DeviceFacts], tuple[str, PriceNote] | None]


@dataclass(slots=True)
class DeviceView:
    """What is known of a device after a sweep, for those who show it."""

    sweep: DeviceSweep
    uses: tuple[HolderUse, ...] = ()
    flags: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()
    """The last interval's shares, for profiles; empty after a gap."""
    interval_ns: int = 0


@dataclass(slots=True)
class _RowKeys:
    """The keys of a device's rows, made once: most of them are those of the sweep before."""

    made: dict[tuple[str, Holder, Account, Method, EnergyMethod], RowKey] = field(
        default_factory=dict[tuple[str, Holder, Account, Method, EnergyMethod], RowKey]
    )
    price_id: str = NO_PRICE
    integrated: bool = False

    def rows(self, uuid: str, hour_s: int, price_id: str, shares: Sequence[Share], *, integrated: bool) -> list[Row]:
        """The shares as rows."""
        if (price_id, integrated) != (self.price_id, self.integrated) or len(self.made) > _MOST_KEYS:
            self.made, self.price_id, self.integrated = {}, price_id, integrated
        made = self.made
        rows: list[Row] = []
        for share in shares:
            key = made.get(share[:5])
            if key is None:
                key = made[share[:5]] = self._key(uuid, share)
            rows.append(row_of((hour_s, key, share.gpu_ns, share.energy_mj)))
        return rows

    def _key(self, uuid: str, share: Share) -> RowKey:
        method = EnergyMethod.INTEGRATED if self.integrated else share.energy_method
        cell = CellKey(uuid, share.mig, share.holder.kind, share.holder.name, share.account, share.method)
        return RowKey(cell, method, self.price_id)


@dataclass(slots=True)
class _Device:
    builder: UnitBuilder
    idle: IdlePower
    last: GpuReading | None = None
    """The previous sweep's reading; ``None`` when that sweep brought none."""
    keys: _RowKeys = field(default_factory=_RowKeys)


@dataclass(slots=True)
class Accountant:
    """Books sweeps."""

    settings: AgentSettings
    books: Books
    hour_clock: HourClock
    price_of: PriceOf
    views: dict[str, DeviceView] = field(default_factory=dict[str, DeviceView])
    _devices: dict[str, _Device] = field(default_factory=dict[str, _Device])
    _bases: dict[str, Base] = field(default_factory=dict[str, Base])
    _last_price: dict[str, str] = field(default_factory=dict[str, str])
    _former: set[str] = field(default_factory=set[str])
    _boot_ns: int = 0

    def __post_init__(self) -> None:
        self._bases = {uuid: replace(base) for uuid, base in self.books.bases.items()}
        self._last_price = dict(self.books.last_price)
        self._former = set(self.books.former)
        self._boot_ns = self.hour_clock.segments[0][0]

    @property
    def known(self) -> Collection[str]:
        """Devices the books know in this boot."""
        return self._bases.keys()

    def book(
        self,
        now_ns: int,
        wall_ns: int,
        sweeps: Mapping[str, DeviceSweep],
        holdings: Holdings,
    ) -> list[Entry]:
        """One sweep's entry, after one for the hours alone where a device is met again after a reboot.

        Args:
            now_ns: the clock's monotonic time at the sweep's end; devices that were not read are unobserved up to it.
            wall_ns: the wall clock at the same moment.
            sweeps: the devices that answered, by UUID.
            holdings: who holds what, as far as it is known.
        """
        entry = Entry(now_ns)
        step = self.hour_clock.observe(now_ns, wall_ns)
        if step is not None:
            entry.steps.append(step)
            entry.segments = self.hour_clock.segments
        former = Entry(now_ns, hours_only=True)
        for uuid, sweep in sweeps.items():
            if uuid in self._former:
                self._settle(former, uuid, sweep.device)
            self._book_device(entry, uuid, sweep, holdings)
        for uuid in [uuid for uuid in self._bases if uuid not in sweeps]:
            self._book_absence(entry, uuid, now_ns)
            if uuid in self._former and sweeps and now_ns - self._boot_ns >= _AWAITED_NS:
                self._let_go(entry, uuid)
        entry.bases = {uuid: replace(base) for uuid, base in self._bases.items()}
        return [former, entry] if former.settled else [entry]

    def book_former_boot(self, former: Mapping[str, Base], former_clock: HourClock, wall_ns: int) -> Entry:
        """The stretch from the last booking of a former boot to now, unobserved, for the hours alone."""
        entry = Entry(self.books.monotonic_ns, hours_only=True)
        for uuid, base in former.items():
            last_wall = former_clock.wall_at(base.booked_ns)
            self._unobserved(entry, uuid, split_wall(last_wall, wall_ns), None, [])
        return entry

    def _let_go(self, entry: Entry, uuid: str) -> None:
        """The driver answers, but not for this device of the former boot: it is not in this machine any more."""
        self._former.discard(uuid)
        del self._bases[uuid]
        entry.gone.append(uuid)

    def _settle(self, entry: Entry, uuid: str, reading: GpuReading) -> None:
        """What the device drew since this boot's driver load, before its first reading: unobserved."""
        self._former.discard(uuid)
        self._note_price(entry, reading.device)
        since_ns = max(0, _loaded_ns(reading) or 0)
        self._unobserved(entry, uuid, [], reading.energy_mj, self.hour_clock.split(since_ns, reading.read_ns))
        entry.settled.append(uuid)
        base = self._bases[uuid]
        if reading.energy_mj is not None:
            base.energy_ns, base.energy_mj, base.loaded_ns = reading.read_ns, reading.energy_mj, _loaded_ns(reading)
        entry.bases[uuid] = replace(base)

    def _book_device(self, entry: Entry, uuid: str, sweep: DeviceSweep, holdings: Holdings) -> None:
        reading = sweep.device
        state = self._devices.get(uuid)
        if state is None:
            state = self._new_device(uuid)
        if uuid not in self.books.devices:
            entry.names[uuid] = reading.device.name
        self._note_price(entry, reading.device)
        base, before = self._bases.get(uuid), state.last
        flags = implausible(before, reading) if before is not None else ()
        units, uses = state.builder.build(sweep, holdings, implausible=bool(flags))
        view = self.views[uuid] = DeviceView(sweep, uses, flags)
        if base is None:
            self._bases[uuid] = _base_at(reading)
        elif reading.read_ns <= base.booked_ns:
            pass
        elif before is None:
            self._book_gap(entry, uuid, base, reading)
        else:
            idle = not flags and all(u.activity_ppm == 0 for u in units if u.claims or not u.mig)
            interval = Interval(0, None, units, *self._idle_power(reading.device, state.idle))
            self._book_interval(entry, state.keys, base, reading, interval, view)
            self._learn_idle(entry, uuid, state.idle, reading, idle=idle)
        state.last = reading

    def _new_device(self, uuid: str) -> _Device:
        learning_ns = int(self.settings.idle_learning_seconds * NS_PER_SECOND)
        hold_ns = int(self.settings.method_hold_seconds * NS_PER_SECOND)
        state = _Device(UnitBuilder(hold_ns), IdlePower(learning_ns, self.books.idle_mw.get(uuid)))
        self._devices[uuid] = state
        return state

    def _idle_power(self, facts: DeviceFacts, own: IdlePower) -> tuple[int | None, EnergyMethod]:
        """The device's idle power, else the lowest of its siblings of the same model, which says so."""
        if own.idle_mw is not None:
            return own.idle_mw, EnergyMethod.IDLE_SPLIT
        devices = self.books.devices
        siblings = [
            mw for uuid, mw in self.books.idle_mw.items() if uuid in devices and devices[uuid].name == facts.name
        ]
        return min(siblings, default=None), EnergyMethod.IDLE_MODEL

    def _learn_idle(self, entry: Entry, uuid: str, meter: IdlePower, reading: GpuReading, *, idle: bool) -> None:
        before = meter.idle_mw
        meter.observe(reading.read_ns, reading.energy_mj, idle=idle)
        if meter.idle_mw is not None and meter.idle_mw != before:
            entry.idle_mw[uuid] = meter.idle_mw

    def _book_interval(  # noqa: PLR0917
        self, entry: Entry, keys: _RowKeys, base: Base, reading: GpuReading, shape: Interval, view: DeviceView
    ) -> None:
        uuid = reading.device.uuid
        energy, late, integrated = _energy_since(base, reading)
        slices = self.hour_clock.split(base.booked_ns, reading.read_ns)
        if late and energy is not None:
            # The counter was silent for a while: what it counted belongs to all the hours since, not to this interval.
            self._unobserved(entry, uuid, [], energy, self.hour_clock.split(base.energy_ns, reading.read_ns))
            energy = None
        energies = [None] * len(slices) if energy is None else _by_time(energy, slices)
        price_id = self._price_id(reading.device)
        shares: list[Share] = []
        for part, part_energy in zip(slices, energies, strict=True):
            interval = shape._replace(duration_ns=part.duration_ns, energy_mj=part_energy)
            split = attribute(interval)
            shares.extend(split)
            entry.rows += keys.rows(uuid, part.hour_s, price_id, split, integrated=integrated)
            entry.controls.append(Control(part.hour_s, uuid, part.duration_ns, part_energy, price_id))
        view.shares, view.interval_ns = tuple(shares), sum(part.duration_ns for part in slices)
        _advance(base, reading)

    def _book_gap(self, entry: Entry, uuid: str, base: Base, reading: GpuReading) -> None:
        energy, _, _ = _energy_since(base, reading, gap=True)
        self._unobserved(
            entry,
            uuid,
            self.hour_clock.split(base.booked_ns, reading.read_ns),
            energy,
            self.hour_clock.split(min(base.energy_ns, base.booked_ns), reading.read_ns),
        )
        _advance(base, reading)

    def _book_absence(self, entry: Entry, uuid: str, now_ns: int) -> None:
        base = self._bases[uuid]
        state = self._devices.get(uuid)
        if state is not None:
            state.last = None
        if now_ns > base.booked_ns:
            self._unobserved(entry, uuid, self.hour_clock.split(base.booked_ns, now_ns), None, [])
            base.booked_ns = now_ns

    def _unobserved(
        self, entry: Entry, uuid: str, times: list[Slice], energy_mj: int | None, energy_over: list[Slice]
    ) -> None:
        """Book time in the hours of ``times`` and energy over the hours of ``energy_over``, by their length."""
        price_id = self._last_price.get(uuid, NO_PRICE)
        method = EnergyMethod.NONE if energy_mj is None else EnergyMethod.INTERPOLATED
        cell = CellKey(uuid, "", NOBODY.kind, NOBODY.name, Account.UNOBSERVED, Method.INTERPOLATED)
        key = RowKey(cell, method, price_id)
        for part in times:
            entry.rows.append(Row(part.hour_s, key, part.duration_ns, 0))
            entry.controls.append(Control(part.hour_s, uuid, part.duration_ns, None, price_id))
        if energy_mj is None:
            return
        energy_over = energy_over or times or self.hour_clock.split(entry.monotonic_ns, entry.monotonic_ns + 1)
        for part, mj in zip(energy_over, _by_time(energy_mj, energy_over), strict=True):
            entry.rows.append(Row(part.hour_s, key, 0, mj))
            entry.controls.append(Control(part.hour_s, uuid, 0, mj, price_id))

    def _price_id(self, facts: DeviceFacts) -> str:
        return self._last_price.get(facts.uuid, NO_PRICE)

    def _note_price(self, entry: Entry, facts: DeviceFacts) -> None:
        price = self.price_of(facts)
        if price is None:
            return
        price_id, note = price
        self._last_price[facts.uuid] = price_id
        if price_id not in self.books.prices:
            entry.prices[price_id] = note


def _by_time(energy_mj: int, slices: list[Slice]) -> list[int]:
    return apportion(energy_mj, [part.duration_ns for part in slices])


def _loaded_ns(reading: GpuReading) -> int | None:
    return None if reading.driver_uptime_ns is None else reading.read_ns - reading.driver_uptime_ns


def _base_at(reading: GpuReading) -> Base:
    return Base(reading.read_ns, reading.read_ns, reading.energy_mj, _loaded_ns(reading))


def _energy_since(base: Base, reading: GpuReading, *, gap: bool = False) -> tuple[int | None, bool, bool]:
    """(energy since the base, whether it covers more than the time not booked yet, whether it is integrated power)."""
    if reading.energy_mj is None:
        if gap or base.energy_mj is not None or reading.power.gpu_watts is None:
            return None, False, False
        power_mw = round(reading.power.gpu_watts * 1000)
        base.integral_mw_ns += power_mw * (reading.read_ns - base.booked_ns)
        energy, base.integral_mw_ns = divmod(base.integral_mw_ns, _NS_PER_MJ_MW)
        return energy, False, True
    if base.energy_mj is None:
        return None, False, False
    late = base.energy_ns < base.booked_ns
    return (reading.energy_mj if _was_reset(base, reading) else reading.energy_mj - base.energy_mj), late, False


def _was_reset(base: Base, reading: GpuReading) -> bool:
    """The counter began anew: the driver was loaded after the base, or the counter fell."""
    loaded = _loaded_ns(reading)
    if base.loaded_ns is not None and loaded is not None and loaded > base.loaded_ns + _RELOAD_TOLERANCE_NS:
        return True
    return (reading.energy_mj or 0) < (base.energy_mj or 0)


def _advance(base: Base, reading: GpuReading) -> None:
    base.booked_ns = reading.read_ns
    if reading.energy_mj is not None:
        base.energy_ns, base.energy_mj, base.loaded_ns = reading.read_ns, reading.energy_mj, _loaded_ns(reading)
