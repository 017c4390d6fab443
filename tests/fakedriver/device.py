"""One fake device, as a test steers it."""

import uuid
from collections.abc import Sequence
from typing import Any, Unpack

from tests.fakedriver import layout
from tests.fakedriver.control import Block, parts
from tests.fakedriver.faults import Faulty
from tests.fakedriver.migs import UUIDS
from tests.fakedriver.profiles import DeviceProfile
from tests.fakedriver.readings import ECC, NVLINK_ERRORS, RATES, THROTTLES, Readings, Segment, block_values
from tests.fakedriver.scripted import SIGNAL_PLACE


class FakeDevice(Faulty):
    """One device of the fake driver."""

    def __init__(self, block: Block, index: int, profile: DeviceProfile, energy_start_mj: int) -> None:
        super().__init__(block, index)
        self.profile = profile
        self.uuid = f"GPU-{uuid.uuid5(UUIDS, f'{profile.name}/{index}')}"
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
            row.sm_count, row.memory_mib, row.name = slot.sm_count, slot.memory_mib, f"MIG {slot.name}".encode()
            row.memory_slices, row.starts = slot.size, sum(1 << start for start in self.places(slot))
        self.sampling()

    def bear_uuid(self, uuid: str) -> None:
        """The driver tells this UUID from now on; the device goes by its own name here."""
        with self._block.writing(self._device):
            self._device.uuid = uuid.encode()

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
        with self._block.writing(self._device):
            self._show([(at_ns, idle.values)])

    def set(self, **readings: Unpack[Readings]) -> None:
        """From now on the device reads this."""
        signals = {name: value for name, value in readings.items() if name in layout.SIGNALS}
        for name, value in readings.items():
            if name not in signals:
                self._set_standing(name, value)
        if signals:
            self._show_now(block_values(signals))

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
            place = 2 * SIGNAL_PLACE[name]
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

    def true_energy_mj(self, at_ns: int | None = None) -> int:
        """What the counter should say at that instant: exact, without update period or freezing."""
        at_ns = self._block.now_ns() if at_ns is None else at_ns
        place = 2 * SIGNAL_PLACE["power_mw"]
        low, high = self._device.origins[place : place + 2]
        since: int = self._pool.timeline(self._track("power_mw")).integral(at_ns) - (low | high << 64)
        offset_mj: int = self._device.energy_offset_mj
        return offset_mj + max(0, since) // 1_000_000_000

    def true_energy_between_mj(self, begin_ns: int, end_ns: int) -> int:
        """Floor of the exact integral of the power over an interval."""
        power = self._pool.timeline(self._track("power_mw"))
        return int(power.integral(end_ns) - power.integral(begin_ns)) // 1_000_000_000
