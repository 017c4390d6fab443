"""From a simulated device's timeline to what a driver would show of it: the same readings, with the same gaps.

A driver's activity speaks of the time since the sample before. Where simulated time runs fast that is the whole sweep
interval, so each mean is taken over the interval that ends with the reading.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from collectors.clock import NS_PER_SECOND
from collectors.readings import (
    Activity,
    Clocks,
    DeviceSweep,
    Faults,
    GpuReading,
    Links,
    Memory,
    MigFacts,
    Power,
    ProcessReading,
    ShareSample,
    Thermals,
    Throttle,
)
from collectors.scenario import Place
from collectors.simulated_device import Placement, SimulatedDevice
from collectors.simulated_models import GIB, GIGA, MIG_MEMORY_SLICES
from collectors.simulated_work import mean

SAMPLES_PER_READING = 8
"""At most so many samples of each process in a reading, whatever the interval."""
_RESERVED_SHARE = 0.008
_AMBIENT_CELSIUS = 27
_RISE_CELSIUS = 46
_THERMAL_LAG_NS = 90 * NS_PER_SECOND
_IDLE_CLOCK_SHARE = 0.175
_LOADED_CLOCK_DROP = 0.12


@dataclass(frozen=True, slots=True)
class Instant:
    """When a reading is taken, on the three scales that it needs."""

    time_ns: int
    """Scenario time."""
    interval_ns: int
    """How far back means go."""
    monotonic_ns: int
    wall_ns: int

    @property
    def after_ns(self) -> int:
        """Where the interval begins."""
        return self.time_ns - self.interval_ns


@dataclass(frozen=True, slots=True)
class Use:
    """What a workload made of a device or instance in the interval."""

    placement: Placement
    busy: float


def sweep_of(device: SimulatedDevice, now: Instant) -> DeviceSweep:
    """The device with its MIG instances at one instant."""
    uses = {place: _uses(device, placements, now) for place, placements in device.placements.items()}
    if not device.instances:
        return DeviceSweep(_device_reading(device, next(iter(uses.values())), now))
    whole = _device_reading(device, [use for each in uses.values() for use in each], now)
    instances = (
        _instance_reading(device, mig, place, uses[place], now)
        for mig, place in zip(device.instances, device.placements, strict=True)
    )
    return DeviceSweep(whole, tuple(instances), device.stranded_slices)


def _uses(device: SimulatedDevice, placements: Sequence[Placement], now: Instant) -> list[Use]:
    return [Use(each, device.busy(each, now.after_ns, now.time_ns)) for each in placements]


def _device_reading(device: SimulatedDevice, uses: Sequence[Use], now: Instant) -> GpuReading:
    place = Place(device.facts.index)
    mig = bool(device.instances)
    blind = mig or device.failing("activity_unreadable", now.time_ns) is not None
    known = device.failing("processes_unreadable", now.time_ns) is None
    loaded_ns = device.driver_loaded_ns(now.time_ns)
    return GpuReading(
        device=device.facts,
        read_ns=now.monotonic_ns,
        mig_enabled=mig,
        activity=Activity() if blind else _activity(device, uses),
        activity_source=None if blind else "simulated",
        memory=_memory(device.gpu.memory_gib * GIB, uses, now),
        power=_power(device, now),
        energy_mj=device.energy_mj(now.time_ns),
        driver_uptime_ns=now.time_ns - loaded_ns,
        thermals=_thermals(device, now),
        clocks=_clocks(device, uses, now),
        throttle=_throttle(device, uses, now, loaded_ns),
        faults=_FAULTLESS,
        links=_links(device, uses),
        processes=() if mig or not known else tuple(_processes(uses, place, now)),
        processes_known=known,
        share_samples=() if mig or not known else tuple(_samples(device, uses, place, now)),
    )


def _instance_reading(
    device: SimulatedDevice, mig: MigFacts, place: Place, uses: Sequence[Use], now: Instant
) -> GpuReading:
    blind = not device.gpu.gpm or device.failing("activity_unreadable", now.time_ns) is not None
    known = device.failing("processes_unreadable", now.time_ns) is None
    total_bytes = device.gpu.memory_gib * GIB * device.gpu.mig[mig.profile][1] // MIG_MEMORY_SLICES
    return GpuReading(
        device=device.facts,
        read_ns=now.monotonic_ns,
        mig=mig,
        activity=Activity() if blind else _gpm(uses),
        activity_source=None if blind else "simulated",
        memory=_memory(total_bytes, uses, now),
        processes=tuple(_processes(uses, place, now, mig)) if known else (),
        processes_known=known,
    )


def _weighted(uses: Sequence[Use], key: str) -> float:
    return min(1.0, sum((use.busy * float(getattr(use.placement.work.spec, key)) for use in uses), 0.0))


def _activity(device: SimulatedDevice, uses: Sequence[Use]) -> Activity:
    gpm = _gpm(uses) if device.gpu.gpm else Activity()
    return Activity(
        duty_cycle=_busy(uses),
        memory_controller=_weighted(uses, "dram"),
        encoder=0.0,
        decoder=0.0,
        graphics=gpm.graphics,
        sm=gpm.sm,
        tensor=gpm.tensor,
        dram=gpm.dram,
    )


def _gpm(uses: Sequence[Use]) -> Activity:
    """What GPM tells on Hopper and later, of a device or a MIG instance."""
    return Activity(
        graphics=_busy(uses),
        sm=_weighted(uses, "sm"),
        tensor=_weighted(uses, "tensor"),
        dram=_weighted(uses, "dram"),
    )


def _busy(uses: Sequence[Use]) -> float:
    return min(1.0, sum((use.busy for use in uses), 0.0))


def _memory(total_bytes: int, uses: Sequence[Use], now: Instant) -> Memory:
    reserved = int(total_bytes * _RESERVED_SHARE)
    used = sum(int(use.placement.work.spec.memory_gib * GIB) for use in uses if use.placement.work.running(now.time_ns))
    return Memory(total_bytes, min(total_bytes - reserved, used), reserved)


def _power(device: SimulatedDevice, now: Instant) -> Power:
    average_watts = round(mean(device.power_mw, now.after_ns, now.time_ns)) / 1000
    return Power(
        gpu_watts=average_watts,
        instant_watts=device.power_mw.at(now.time_ns) / 1000,
        average_watts=average_watts,
        limit_watts=float(device.gpu.max_watts),
    )


def _thermals(device: SimulatedDevice, now: Instant) -> Thermals:
    recent = mean(device.power_mw, now.time_ns - _THERMAL_LAG_NS, now.time_ns) / device.max_mw
    celsius = round(_AMBIENT_CELSIUS + _RISE_CELSIUS * recent)
    return Thermals(float(celsius), float(celsius + round(12 * recent)))


def _clocks(device: SimulatedDevice, uses: Sequence[Use], now: Instant) -> Clocks:
    highest = device.gpu.sm_mhz * 1e6
    awake = any(use.busy or use.placement.work.running(now.time_ns) for use in uses)
    loaded = mean(device.power_mw, now.after_ns, now.time_ns) / device.max_mw
    share = 1 - _LOADED_CLOCK_DROP * loaded if awake else _IDLE_CLOCK_SHARE
    sm = round(highest * share / 15e6) * 15e6
    return Clocks(sm_hertz=sm, memory_hertz=device.gpu.memory_mhz * 1e6, graphics_hertz=sm)


def _throttle(device: SimulatedDevice, uses: Sequence[Use], now: Instant, loaded_ns: int) -> Throttle:
    capped_ns = device.capped.integral(now.time_ns) - device.capped.integral(loaded_ns)
    if device.capped.at(now.time_ns):
        reasons = frozenset({"sw_power_cap"})
    else:
        reasons = frozenset[str]() if _busy(uses) else frozenset({"gpu_idle"})
    return Throttle(reasons, {"sw_power_cap": capped_ns, "sw_thermal": 0, "hw_thermal": 0, "hw_power_brake": 0})


def _links(device: SimulatedDevice, uses: Sequence[Use]) -> Links:
    pcie = sum(use.busy * use.placement.work.spec.pcie_gb_per_second for use in uses) * GIGA
    nvlink = _weighted(uses, "nvlink") * device.gpu.nvlink_gb_per_second * GIGA / 2
    linked = device.gpu.nvlink_gb_per_second > 0
    return Links(
        pcie_rx_bytes_per_second=pcie,
        pcie_tx_bytes_per_second=pcie / 4,
        nvlink_rx_bytes_per_second=nvlink if linked else None,
        nvlink_tx_bytes_per_second=nvlink if linked else None,
    )


def _processes(
    uses: Sequence[Use], place: Place, now: Instant, mig: MigFacts | None = None
) -> Iterator[ProcessReading]:
    for use in uses:
        work = use.placement.work
        for pid in work.pids(place, now.time_ns):
            yield ProcessReading(
                pid=pid,
                kind="compute",
                memory_bytes=int(work.spec.memory_gib * GIB) // work.spec.processes,
                gpu_instance_id=mig.gpu_instance_id if mig else None,
                compute_instance_id=mig.compute_instance_id if mig else None,
            )


def _samples(device: SimulatedDevice, uses: Sequence[Use], place: Place, now: Instant) -> Iterator[ShareSample]:
    """Samples stamped in the interval: the mean of the time since the stamp before, in whole percent, where not 0.

    Stamps lie on whole seconds, or on multiples of more where the interval is long.
    """
    stride_ns = -(-now.interval_ns // (SAMPLES_PER_READING * NS_PER_SECOND)) * NS_PER_SECOND
    first_ns = (now.after_ns // stride_ns + 1) * stride_ns
    for stamp_ns in range(first_ns, now.time_ns + 1, stride_ns):
        stamp_us = (now.wall_ns - (now.time_ns - stamp_ns)) // 1000
        for use in uses:
            work = use.placement.work
            busy = device.busy(use.placement, stamp_ns - stride_ns, stamp_ns)
            percent = round(100 * busy / work.spec.processes)
            for pid in work.pids(place, stamp_ns - 1) if percent else ():
                yield ShareSample(pid, stamp_us, percent / 100)


_FAULTLESS = Faults(
    ecc={(scope, kind): 0 for scope in ("volatile", "aggregate") for kind in ("corrected", "uncorrected")},
    remapped_rows={"corrected": 0, "uncorrected": 0},
    remap_pending=False,
    remap_failure=False,
    pcie_replays=0,
)
