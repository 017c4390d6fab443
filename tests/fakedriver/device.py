"""One fake device, and its MIG instances, as a test steers them."""

import uuid
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, Unpack

from tests.fakedriver import layout
from tests.fakedriver.control import Block, Pool, parts
from tests.fakedriver.profiles import DeviceProfile, MigProfile
from tests.fakedriver.readings import (
    ACTIVE,
    ECC,
    KINDS,
    NVLINK_ERRORS,
    RATES,
    THROTTLES,
    Process,
    Readings,
    Segment,
    Signals,
    block_values,
)

Then = Literal["off", "hold", "repeat"]
NO_INSTANCE = 0xFFFFFFFF
_NAMES = uuid.UUID("6f1a7c52-3c1e-4a55-9d0e-6b1f0c3f7a11")
_PROCESS_TRACKS = len(layout.SIGNALS) * (1 + layout.MAX_MIG)
_SIGNAL = {name: i for i, name in enumerate(layout.SIGNALS)}


class Scripted:
    """Signals over time: of a device, or of a MIG instance."""

    def __init__(self, block: Block, pool: Pool, device: layout.Device, first_track: int) -> None:
        self._block = block
        self._pool = pool
        self._device = device
        self._first = first_track

    def _track(self, name: str) -> int:
        return self._first + _SIGNAL[name]

    def _show(self, changes: Sequence[tuple[int, Mapping[str, int]]], loop: tuple[int, int] | None = None) -> None:
        names = {name for _, values in changes for name in values}
        with self._block.writing(self._device):
            for at_ns, values in changes:
                for name, value in values.items():
                    self._pool.timeline(self._track(name)).change(at_ns, value)
            if loop is not None:
                for name in names:
                    self._pool.timeline(self._track(name)).loop(*loop)
            self._pool.publish({self._track(name) for name in names})

    def set_signals(self, **signals: Unpack[Signals]) -> None:
        """From now on these signals have these values; returns when they are in effect."""
        at_ns = self._block.effective_ns()
        self._show([(at_ns, block_values(signals))])
        self._block.wait_until(at_ns)

    def script(self, segments: Sequence[Segment], *, start_ns: int | None = None, then: Then = "off") -> int:
        """Play segments one after the other; returns when the script begins (driver's clock, ns).

        ``then``: ``off`` all activity, rates and power 0, so that the energy counter stands still; ``hold`` the last
        segment goes on; ``repeat`` from the beginning, for ever.
        """
        start_ns = self._block.effective_ns() if start_ns is None else start_ns
        changes: list[tuple[int, Mapping[str, int]]] = []
        at_ns = start_ns
        for segment in segments:
            changes.append((at_ns, segment.values))
            at_ns += segment.duration_ns
        named = {name for _, values in changes for name in values}
        if then == "off":
            changes.append((at_ns, dict.fromkeys(named & set(ACTIVE), 0)))
        if then == "repeat":
            absent = sorted(named - set(segments[0].values))
            if absent:
                raise ValueError(f"a script that repeats must say {', '.join(absent)} in its first segment too")
        self._show(changes, (start_ns, at_ns - start_ns) if then == "repeat" else None)
        return start_ns

    def true_value(self, reading: str, at_ns: int | None = None) -> Fraction:
        """The value in force (ratios as ratios)."""
        value = self._pool.timeline(self._track(reading)).value(self._block.now_ns() if at_ns is None else at_ns)
        return Fraction(value, layout.PPM if reading in layout.RATIOS else 1)

    def true_mean(self, reading: str, begin_ns: int, end_ns: int) -> Fraction:
        """The exact mean over an interval (ratios as ratios)."""
        mean = self._pool.timeline(self._track(reading)).mean(begin_ns, end_ns)
        return mean / (layout.PPM if reading in layout.RATIOS else 1)


class FakeMig(Scripted):
    """One MIG device: the one compute instance of a GPU instance, or one of several."""

    def __init__(self, parent: "FakeDevice", slot: int, profile: str) -> None:
        super().__init__(
            parent._block, parent._pool, parent._device, len(layout.SIGNALS) * (1 + slot)  # noqa: SLF001 (one house)
        )
        self.slot = slot
        self.profile = profile
        self._slot = parent._device.mig[slot]  # noqa: SLF001 (one house)

    @property
    def uuid(self) -> str:
        """``MIG-...``."""
        return bytes(self._slot.uuid).decode()

    @property
    def gpu_instance_id(self) -> int:
        return int(self._slot.gi)

    @property
    def compute_instance_id(self) -> int:
        return int(self._slot.ci)

    def set(self, **signals: Unpack[Signals]) -> None:
        """As :meth:`FakeDevice.set`; only what a MIG instance has is ever read."""
        self.set_signals(**signals)


class FakeDevice(Scripted):
    """One device of the fake driver."""

    def __init__(self, block: Block, index: int, profile: DeviceProfile, energy_start_mj: int) -> None:
        super().__init__(block, Pool(block, index), block.control.devices[index], 0)
        self.index = index
        self.profile = profile
        self.uuid = f"GPU-{uuid.uuid5(_NAMES, f'{profile.name}/{index}')}"
        self._processes: dict[int, Process] = {}
        self._migs: dict[int, FakeMig] = {}
        self._describe(energy_start_mj)

    def _describe(self, energy_start_mj: int) -> None:
        p, d = self.profile, self._device
        facts: dict[str, Any] = {
            "uuid": self.uuid.encode(),
            "name": p.name.encode(),
            "serial": f"165{self.index:010d}".encode(),
            "part_number": b"900-00000-0000-000",
            "present": 1,
            "architecture": p.architecture,
            "cuda_major": p.compute_capability[0],
            "cuda_minor": p.compute_capability[1],
            "sm_count": p.sm_count,
            "cores": p.cores,
            "has_energy": p.energy,
            "has_gpm": p.gpm,
            "has_average_power": p.average_power,
            "has_module_power": p.module_power,
            "has_memory_temperature": p.memory_temperature,
            "has_ecc": p.ecc,
            "has_remapped_rows": p.remapped_rows,
            "has_jpeg_ofa": p.jpeg_ofa,
            "has_serial": p.serial,
            "has_uptime": p.uptime,
            "mig_capable": bool(p.mig),
            "mig_max": 7 if p.mig else 0,
            "persistence": 1,
            "pci_bus": 0x18 + self.index,
            "pci_id": p.pci_device_id,
            "pcie_gen": p.pcie[0],
            "pcie_width": p.pcie[1],
            "pcie_counter_bits": 64,
            "nvlink_count": p.nvlinks[0],
            "nvlink_version": p.nvlinks[1],
            "nvlink_mbps": p.nvlinks[2],
            "power_min_mw": p.power_limits_mw[0],
            "power_max_mw": p.power_limits_mw[1],
            "power_default_mw": p.power_limits_mw[1],
            "power_limit_mw": p.power_limits_mw[1],
            "max_sm_clock_mhz": p.max_clocks_mhz[0],
            "max_memory_clock_mhz": p.max_clocks_mhz[1],
            "max_video_clock_mhz": p.max_clocks_mhz[2],
            "memory_total_bytes": p.memory_bytes,
            "memory_reserved_bytes": p.reserved_bytes,
            "energy_offset_mj": energy_start_mj,
            "throttle_reasons": 1,
        }
        for name, value in facts.items():
            setattr(d, name, value)
        for slot in p.mig:
            row = d.mig_profiles[slot.kind]
            row.present, row.id, row.slices, row.instances = 1, slot.profile_id, slot.slices, slot.instances
            row.sm_count, row.memory_mib = slot.sm_count, slot.memory_mib
        self.sampling()

    def begin(self, at_ns: int, uptime_ns: int) -> None:
        """Idle from that instant on; the driver calls this once."""
        self._device.load_ns = at_ns - uptime_ns
        idle = Segment(
            1,
            power_mw=self.profile.idle_mw,
            module_power_mw=self.profile.idle_mw + 40_000,
            temperature_celsius=31,
            memory_temperature_celsius=38,
            sm_clock_mhz=345,
            memory_clock_mhz=self.profile.max_clocks_mhz[1],
            video_clock_mhz=765,
        )
        self._show([(at_ns, idle.values)])

    def set(self, **readings: Unpack[Readings]) -> None:
        """From now on the device reads this; returns when it is in effect (at once on an injected clock)."""
        signals = {name: value for name, value in readings.items() if name in layout.SIGNALS}
        for name, value in readings.items():
            if name not in signals:
                self._set_standing(name, value)
        if signals:
            at_ns = self._block.effective_ns()
            self._show([(at_ns, block_values(signals))])
            self._block.wait_until(at_ns)

    def _set_standing(self, name: str, value: Any) -> None:
        rows: dict[str, Sequence[Any]] = {"throttle_ns": THROTTLES, "ecc": ECC, "nvlink_errors": NVLINK_ERRORS}
        if name in rows:
            for key, count in value.items():
                getattr(self._device, name)[rows[name].index(key)] = count
        elif name == "remapped_rows":
            self._device.remapped_rows[:] = value
        elif name in Readings.__annotations__:
            setattr(self._device, name, int(value))
        else:
            raise ValueError(f"no such reading: {name}; see Readings in tests/fakedriver/readings.py")

    def sampling(
        self,
        period_ms: float = 1000,
        lag_ms: float = 0,
        missing: float = 0.0,
        seed: int = 1,
        depth: int = 16,
        *,
        empty_as_success: bool = False,
    ) -> None:
        """How process utilization is sampled: every ``period_ms`` since driver load, delivered ``lag_ms`` late.

        ``missing`` is the share of samples that never come, by ``seed``; ``depth`` the samples of a process that the
        driver keeps; ``empty_as_success`` answers no new samples with SUCCESS and 0, not NOT_FOUND.
        """
        d = self._device
        d.sample_period_ns, d.sample_lag_ns = round(period_ms * 1e6), round(lag_ms * 1e6)
        d.sample_missing_ppm, d.sample_seed, d.sample_depth = round(missing * layout.PPM), seed, depth
        d.sample_empty_success = empty_as_success

    def utilization_window(self, milliseconds: float) -> None:
        """Utilization rates are means over this trailing window; 0: the value of the moment."""
        self._device.utilization_window_ns = round(milliseconds * 1e6)

    def power_window(self, milliseconds: float) -> None:
        """Power usage and average power are means over this trailing window; 0: the value of the moment."""
        self._device.power_window_ns = round(milliseconds * 1e6)

    def energy_update(self, milliseconds: float) -> None:
        """The energy counter moves once per period; 0: always exact."""
        self._device.energy_update_ns = round(milliseconds * 1e6)

    def freeze_energy(self) -> None:
        """The energy counter stands still, whatever the power."""
        with self._block.writing(self._device):
            self._device.energy_frozen_ns, self._device.energy_frozen = self._block.now_ns(), 1

    def thaw_energy(self) -> None:
        """The energy counter says the truth again."""
        with self._block.writing(self._device):
            self._device.energy_frozen = 0

    def _set_origins(self, at_ns: int) -> None:
        for name in ("power_mw", "module_power_mw", *RATES):
            place = 2 * _SIGNAL[name]
            self._device.origins[place : place + 2] = parts(self._pool.timeline(self._track(name)).integral(at_ns))

    def reset_counters(self) -> None:
        """Energy, traffic, throttle time and volatile errors start from 0, though the driver was not loaded anew."""
        d = self._device
        with self._block.writing(d):
            self._set_origins(self._block.now_ns())
            d.energy_offset_mj = 0
            d.pcie_replays = 0
            d.throttle_ns[:] = [0] * len(THROTTLES)
            d.nvlink_errors[:] = [0] * len(NVLINK_ERRORS)
            d.ecc[:2] = [0, 0]

    def loaded(self, at_ns: int) -> None:
        """The driver was loaded at that instant; :meth:`FakeDriver.load` calls this."""
        self.reset_counters()
        with self._block.writing(self._device):
            self._set_origins(at_ns)
            self._device.load_ns = at_ns

    # Processes

    def processes(self, processes: Sequence[Process]) -> None:
        """From now on these, and no others, hold the device; one whose pid stays keeps its start."""
        at_ns = self._block.effective_ns()
        table = self._device.processes
        wanted = {process.pid: process for process in processes}
        if len(wanted) != len(processes):
            raise ValueError("the same pid twice")
        with self._block.writing(self._device):
            kept: set[int] = set()
            for slot, row in enumerate(table):
                if row.pid and row.end_ns > at_ns and row.pid not in wanted:
                    row.end_ns = at_ns
                    self._pool.timeline(_PROCESS_TRACKS + slot).change(at_ns, 0)
                    self._pool.publish({_PROCESS_TRACKS + slot})
                elif row.pid and row.end_ns > at_ns:
                    kept.add(row.pid)
                    self._place(slot, wanted[row.pid], row.start_ns, at_ns)
            for pid in wanted.keys() - kept:
                start_ns = wanted[pid].start_ns
                self._place(self._free_slot(at_ns), wanted[pid], at_ns if start_ns is None else start_ns, at_ns)
        self._processes = wanted
        self._block.wait_until(at_ns)

    def start(self, process: Process) -> None:
        """One more process."""
        self.processes([*self._processes.values(), process])

    def end(self, pid: int) -> None:
        """That process is gone."""
        self.processes([process for process in self._processes.values() if process.pid != pid])

    def _free_slot(self, at_ns: int) -> int:
        table = self._device.processes
        slots = [(row.end_ns if row.pid else -1, slot) for slot, row in enumerate(table)]
        end_ns, slot = min(slots)
        if end_ns > at_ns:
            raise ValueError(f"the fake driver holds {layout.MAX_PROCESSES} processes a device")
        return slot

    def _place(self, slot: int, process: Process, start_ns: int, at_ns: int) -> None:
        row = self._device.processes[slot]
        mig = None if process.mig is None else self._device.mig[process.mig]
        row.kind, row.start_ns = 1 + KINDS.index(process.kind), start_ns
        row.end_ns = layout.FOREVER if process.end_ns is None else process.end_ns
        row.gi, row.ci = (NO_INSTANCE, NO_INSTANCE) if mig is None else (mig.gi, mig.ci)
        row.memory_bytes = layout.NOT_AVAILABLE if process.memory_bytes is None else process.memory_bytes
        row.encoder_percent, row.decoder_percent = round(process.encoder * 100), round(process.decoder * 100)
        row.memory_percent = round(process.memory * 100)
        self._script_share(_PROCESS_TRACKS + slot, process, max(start_ns, at_ns) if row.pid == process.pid else start_ns)
        row.pid = process.pid

    def _script_share(self, track: int, process: Process, start_ns: int) -> None:
        timeline = self._pool.timeline(track)
        steps = process.share if isinstance(process.share, tuple) else ((0, process.share),)
        at_ns = start_ns
        for duration_ns, share in steps:
            timeline.change(at_ns, round(share * layout.PPM))
            at_ns += duration_ns
        if process.repeat and at_ns > start_ns:
            timeline.loop(start_ns, at_ns - start_ns)
        elif at_ns > start_ns:
            timeline.change(at_ns, 0)
        if process.end_ns is not None:
            timeline.change(process.end_ns, 0)
        self._pool.publish({track})

    def true_share(self, pid: int, begin_ns: int, end_ns: int) -> Fraction:
        """The exact mean SM share of a process over an interval, sampling aside.

        Raises:
            KeyError: the device holds no process of that pid, and remembers none.
        """
        for slot, row in enumerate(self._device.processes):
            if row.pid == pid:
                return self._pool.timeline(_PROCESS_TRACKS + slot).mean(begin_ns, end_ns) / layout.PPM
        raise KeyError(pid)

    # MIG

    def mig(self, profiles: Sequence[str] | None) -> list[FakeMig]:
        """MIG mode on with these instances (``1g.10gb``, or ``1c.3g.40gb``); ``None``: off."""
        for slot in list(self._migs):
            self.destroy_mig(slot)
        self._device.mig_enabled = profiles is not None
        return [self.add_mig(profile) for profile in profiles or ()]

    def add_mig(self, profile: str, *, gpu_instance: int | None = None) -> FakeMig:
        """One more instance in the first free slot; with ``gpu_instance`` one more compute instance in that.

        Raises:
            ValueError: the board has no such profile, or no slot is free.
        """
        kind, compute_slices = self._profile(profile)
        free = [slot for slot in range(7) if not self._device.mig[slot].present]
        if not free:
            raise ValueError("seven MIG instances are there already")
        slot = free[0]
        row = self._device.mig[slot]
        row.gi = slot + 1 if gpu_instance is None else gpu_instance
        row.ci = sum(1 for other in self._migs.values() if other.gpu_instance_id == row.gi)
        row.profile_id, row.slices_gi, row.slices_ci = kind.profile_id, kind.slices, compute_slices
        row.sm_count, row.memory_mib = kind.sm_count * compute_slices // kind.slices, kind.memory_mib
        row.memory_reserved_bytes = 16 << 20
        row.generation += 1
        row.uuid = f"MIG-{uuid.uuid5(_NAMES, f'{self.uuid}/{slot}/{row.generation}')}".encode()
        row.name = f"{self.profile.name} MIG {profile}".encode()
        row.present = 1
        self._migs[slot] = FakeMig(self, slot, profile)
        return self._migs[slot]

    def _profile(self, name: str) -> tuple[MigProfile, int]:
        head, _, tail = name.partition(".")
        plain = tail if head.endswith("c") else name
        for profile in self.profile.mig:
            if profile.name == plain:
                return profile, int(head[:-1]) if head.endswith("c") else profile.slices
        raise ValueError(f"{self.profile.name} has no MIG profile {name}")

    def destroy_mig(self, slot: int) -> None:
        """That instance is gone; its handle and UUID are good for nothing any more."""
        self._device.mig[slot].present = 0
        mig = self._migs.pop(slot)
        mig.set(**{name: 0 for name in ("graphics", "memory_used_bytes")})  # type: ignore[misc]  # keys are Signals

    # What goes wrong

    def lose(self) -> None:
        """Off the bus: every call about it answers GPU_IS_LOST."""
        self._device.lost = 1
        self._block.announce()

    def restore(self) -> None:
        """Back, with its counters as they went on."""
        self._device.lost = 0
        self._block.announce()

    def detach(self) -> None:
        """Gone from the driver's count; the indices of those behind it move up."""
        self._device.present = 0
        self._block.announce()

    def attach(self) -> None:
        """In the driver's count again."""
        self._device.present = 1
        self._block.announce()

    def _cell(self, function: str, keep: int, bits: int) -> None:
        place = self._block.function_id(function)
        self._device.cells[place] = self._device.cells[place] & keep | bits
        self._block.announce()

    def fail(self, function: str, code: int) -> None:
        """That function answers this code for this device and its MIG instances; 0: no longer."""
        self._cell(function, ~0xFFFF & (2**64 - 1), code)

    def fail_field(self, field_id: int, code: int) -> None:
        """That field value answers this code; 0: no longer."""
        self._device.field_faults[field_id] = code

    def delay(self, function: str, milliseconds: float) -> None:
        """That function takes so long for this device."""
        self._cell(function, (1 << layout.DELAY_SHIFT) - 1, round(milliseconds * 1000) << layout.DELAY_SHIFT)

    def hang(self, function: str = "*") -> None:
        """Calls of that function (``*``: any) about this device do not return until :meth:`release`."""
        for name in self._block.library.functions if function == "*" else (function,):
            self._cell(name, -1 & (2**64 - 1), layout.HANG_BIT)

    def release(self) -> None:
        """Calls that hang return."""
        for place in range(len(self._block.library.functions)):
            self._device.cells[place] &= ~layout.HANG_BIT
        self._block.announce()

    def clear_faults(self) -> None:
        """No faults, hangs, delays or overridden fields any more."""
        self._device.cells[:] = [0] * layout.MAX_FUNCTIONS
        self._device.field_faults[:] = [0] * layout.MAX_FIELDS
        self._device.override_count = 0
        self._block.announce()

    def set_field(self, field_id: int, value: int, scope: int = 0) -> None:
        """That field value answers this number, whatever the device has.

        Raises:
            ValueError: more overrides than the block has room for.
        """
        count = self._device.override_count
        rows = [row for row in self._device.overrides[:count] if (row.field_id, row.scope) == (field_id, scope)]
        if not rows and count == layout.MAX_OVERRIDES:
            raise ValueError(f"no more than {layout.MAX_OVERRIDES} fields can be overridden")
        row = rows[0] if rows else self._device.overrides[count]
        row.field_id, row.scope, row.value = field_id, scope, value
        self._device.override_count = count + (not rows)

    def inject_xid(self, xid: int, *, mig: FakeMig | None = None) -> None:
        """An XID error event, for every event set that is registered for this device."""
        control = self._block.control
        with self._block.lock:
            event = control.events[control.event_head % layout.MAX_EVENTS]
            event.sequence, event.type, event.data, event.device = control.event_head, 8, xid, self.index
            event.gi = NO_INSTANCE if mig is None else mig.gpu_instance_id
            event.ci = NO_INSTANCE if mig is None else mig.compute_instance_id
            control.event_head += 1
        self._block.announce()

    # Truth and counts

    def calls(self) -> dict[str, int]:
        """Calls about this device by function."""
        return {name: self._device.calls[i] for i, name in enumerate(self._block.library.functions) if self._device.calls[i]}

    def true_energy_mj(self, at_ns: int | None = None) -> int:
        """What the counter should say at that instant: exact, without update period or freezing."""
        at_ns = self._block.now_ns() if at_ns is None else at_ns
        place = 2 * _SIGNAL["power_mw"]
        low, high = self._device.origins[place : place + 2]
        since = self._pool.timeline(self._track("power_mw")).integral(at_ns) - (low | high << 64)
        return int(self._device.energy_offset_mj) + max(0, since) // 1_000_000_000

    def true_energy_between_mj(self, begin_ns: int, end_ns: int) -> int:
        """Floor of the exact integral of the power over an interval."""
        power = self._pool.timeline(self._track("power_mw"))
        return (power.integral(end_ns) - power.integral(begin_ns)) // 1_000_000_000
