"""Readings that cannot be true: found here, kept as read, flagged, and booked as unmeasured.

Each check is one function over two consecutive readings of a device; it answers ``None`` where what it needs was not
read. The thresholds leave room for a driver's rounding and for boards that overshoot their limit for an instant.
"""

from collections.abc import Callable

from collectors.clock import NS_PER_SECOND
from collectors.readings import GpuReading

_RATIO_CEILING = 1.0001
_BANDWIDTH_MARGIN = 1.5
_POWER_MARGIN = 2.0
_STILL_MIN_NS = NS_PER_SECOND // 2
_STILL_MIN_ACTIVITY = 0.2
_STILL_MIN_WATTS = 20.0
_IDLE_CLOCK_SHARE = 0.2
_LOAD_POWER_SHARE = 0.6


def _activity_range(_: GpuReading, now: GpuReading) -> bool | None:
    activity = now.activity
    values = (
        activity.duty_cycle, activity.memory_controller, activity.encoder, activity.decoder, activity.jpeg,
        activity.ofa, activity.graphics, activity.sm, activity.sm_occupancy, activity.tensor, activity.dram,
    )  # fmt: skip
    known = [value for value in values if value is not None]
    return any(not 0 <= value <= _RATIO_CEILING for value in known) if known else None


def _memory_range(_: GpuReading, now: GpuReading) -> bool | None:
    used, total = now.memory.used_bytes, now.memory.total_bytes
    return None if used is None or total is None else not 0 <= used <= total


def _nvlink_rate(_: GpuReading, now: GpuReading) -> bool | None:
    rates = [r for r in (now.links.nvlink_rx_bytes_per_second, now.links.nvlink_tx_bytes_per_second) if r is not None]
    limit = now.device.nvlink_max_bytes_per_second
    return None if limit is None or not rates else sum(rates) > limit * _BANDWIDTH_MARGIN


def _energy_still(before: GpuReading, now: GpuReading) -> bool | None:
    if before.energy_mj is None or now.energy_mj is None or now.activity.duty_cycle is None:
        return None
    if now.power.gpu_watts is None or now.read_ns - before.read_ns < _STILL_MIN_NS:
        return None
    loaded = now.activity.duty_cycle >= _STILL_MIN_ACTIVITY and now.power.gpu_watts >= _STILL_MIN_WATTS
    return loaded and now.energy_mj == before.energy_mj


def _energy_rate(before: GpuReading, now: GpuReading) -> bool | None:
    limit = now.device.max_power_watts
    elapsed_ns = now.read_ns - before.read_ns
    if before.energy_mj is None or now.energy_mj is None or limit is None or elapsed_ns < _STILL_MIN_NS:
        return None
    watts = (now.energy_mj - before.energy_mj) / 1000 / (elapsed_ns / NS_PER_SECOND)
    return watts > limit * _POWER_MARGIN


def _power_at_idle_clocks(_: GpuReading, now: GpuReading) -> bool | None:
    watts, limit = now.power.gpu_watts, now.device.max_power_watts
    clock, highest = now.clocks.sm_hertz, now.device.max_sm_clock_hertz
    if watts is None or limit is None or clock is None or highest is None:
        return None
    return watts > limit * _LOAD_POWER_SHARE and clock < highest * _IDLE_CLOCK_SHARE


CHECKS: tuple[tuple[str, Callable[[GpuReading, GpuReading], bool | None]], ...] = (
    ("activity_range", _activity_range),
    ("memory_range", _memory_range),
    ("nvlink_rate", _nvlink_rate),
    ("energy_still", _energy_still),
    ("energy_rate", _energy_rate),
    ("power_at_idle_clocks", _power_at_idle_clocks),
)


def implausible(before: GpuReading, now: GpuReading) -> tuple[str, ...]:
    """The names of the checks that ``now`` fails, given the reading before it."""
    return tuple(name for name, check in CHECKS if check(before, now))
