"""The host around simulated GPUs: busy and waiting as its workloads are, in the shapes of the real host collector.

Counters are exact integrals of the workloads' tables; ratios are means over the sweep interval in force.
"""

from collections.abc import Callable, Collection, Mapping

from collectors.clock import NS_PER_SECOND
from collectors.holder import Holder
from collectors.host import HolderUsage, HostReading
from collectors.scenario import HostUse, Scenario
from collectors.simulated import SimulatedSource
from collectors.simulated_device import DRIVER_LOADED_NS
from collectors.simulated_models import GIB
from collectors.simulated_shapes import PPM
from collectors.simulated_week import ANCHOR_NS, MINUTE_NS, WeekTable
from collectors.simulated_work import Work, mean

MEGA = 1_000_000
_OWN_CORES = 0.6
"""What the node itself keeps busy."""
_OWN_MEMORY_SHARE = 0.02
_IDLE_MW = 140_000
_CORE_MW = 3_600
"""CPU packages and memory: at rest, and for each busy core."""


class SimulatedHost:
    """Host readings of a scenario.

    Args:
        scenario: the host's size.
        source: the source of the same scenario; its workloads are what keeps the host busy.
        interval_ns: the sweep interval in force, as for the source.
    """

    def __init__(
        self,
        scenario: Scenario,
        source: SimulatedSource,
        interval_ns: Callable[[], int] = lambda: NS_PER_SECOND,
    ) -> None:
        self._host = scenario.host
        self._works = source.staff.works
        self._time = source.time
        self._interval_ns = interval_ns

    def read(self) -> HostReading:
        """One reading at the clock's now."""
        now = self._time.instant(self._interval_ns())
        busy = self._busy_cores(now.after_ns, now.time_ns) / self._host.cpus
        waiting = self._waiting_cores(now.after_ns, now.time_ns) / self._host.cpus
        total, used = self._host.memory_gib * GIB, self._memory_bytes(now.time_ns)
        load = [self._load(now.time_ns, minutes) for minutes in (1, 5, 15)]
        from_ns = _counted_from(now.time_ns)
        networked = sum(_bytes_networked(work, from_ns, now.time_ns) for work in self._works)
        return HostReading(
            read_ns=now.monotonic_ns,
            cpu_busy_ratio=busy,
            cpu_iowait_ratio=min(waiting, 1 - busy),
            cpu_count=self._host.cpus,
            memory_total_bytes=total,
            memory_used_bytes=used,
            memory_available_bytes=total - used,
            load1=load[0],
            load5=load[1],
            load15=load[2],
            disk_read_bytes=sum(_bytes_read(work, from_ns, now.time_ns) for work in self._works),
            network_received_bytes=networked,
            network_sent_bytes=networked,
            host_energy_mj=(self._host_mw_ns(now.time_ns) - self._host_mw_ns(from_ns)) // NS_PER_SECOND,
            host_power_watts=(self._host_mw_ns(now.time_ns) - self._host_mw_ns(now.after_ns)) / now.interval_ns / 1000,
        )

    def _busy_cores(self, after_ns: int, until_ns: int) -> float:
        cores = sum(_use(work).cpu_cores * mean(work.activity, after_ns, until_ns) for work in self._works) / PPM
        return min(float(self._host.cpus), _OWN_CORES + cores)

    def _waiting_cores(self, after_ns: int, until_ns: int) -> float:
        return sum(_use(work).cpu_cores * mean(work.waiting, after_ns, until_ns) for work in self._works) / PPM

    def _load(self, now_ns: int, minutes: int) -> float:
        span = now_ns - minutes * MINUTE_NS, now_ns
        return round(self._busy_cores(*span) + self._waiting_cores(*span), 2)

    def _memory_bytes(self, now_ns: int) -> int:
        held = sum(_use(work).memory_gib for work in self._works if work.running(now_ns))
        return int(GIB * min(self._host.memory_gib, self._host.memory_gib * _OWN_MEMORY_SHARE + held))

    def _host_mw_ns(self, time_ns: int) -> int:
        """The integral of the host's power since the anchor of weeks."""
        works = (_scaled(work.activity, _use(work).cpu_cores, ANCHOR_NS, time_ns) for work in self._works)
        return (_IDLE_MW + round(_CORE_MW * _OWN_CORES)) * (time_ns - ANCHOR_NS) + _CORE_MW * sum(works)


class SimulatedHolderUsage:
    """CPU and I/O of the holders of a scenario, as :class:`collectors.cgroup_usage.HolderUsageCollector` gives them.

    Args:
        source: the source whose processes they are.
    """

    def __init__(self, source: SimulatedSource) -> None:
        self._works = source.staff.works
        self._time = source.time

    def read(self, holders: Mapping[Holder, Collection[int]]) -> Mapping[Holder, HolderUsage]:
        """The use of each holder that the scenario has: counters that begin with its run, or with the driver's load."""
        now_ns = self._time.now_ns()
        usages: dict[Holder, HolderUsage] = {}
        for work in self._works:
            holder = work.holder(work.latest_run(now_ns))
            if holder is not None and holder in holders:
                usages[holder] = _plus(usages.get(holder), _usage(work, now_ns))
        return usages


def _usage(work: Work, now_ns: int) -> HolderUsage:
    own_run = "{run}" in work.spec.holder.name
    from_ns = (work.run_start(now_ns) if own_run else None) or _counted_from(now_ns)
    return HolderUsage(
        cpu_ns=_scaled(work.activity, _use(work).cpu_cores, from_ns, now_ns),
        io_read_bytes=_bytes_read(work, from_ns, now_ns),
    )


def _plus(one: HolderUsage | None, other: HolderUsage) -> HolderUsage:
    if one is None:
        return other
    return HolderUsage((one.cpu_ns or 0) + (other.cpu_ns or 0), (one.io_read_bytes or 0) + (other.io_read_bytes or 0))


def _use(work: Work) -> HostUse:
    return work.spec.host


def _counted_from(now_ns: int) -> int:
    return DRIVER_LOADED_NS if now_ns >= DRIVER_LOADED_NS else ANCHOR_NS


def _bytes_read(work: Work, from_ns: int, now_ns: int) -> int:
    """While the GPU waits for data the disks give what they can, as they do while it works."""
    rate = _use(work).read_mb_per_second * MEGA / NS_PER_SECOND
    return _scaled(work.activity, rate, from_ns, now_ns) + _scaled(work.waiting, rate, from_ns, now_ns)


def _bytes_networked(work: Work, from_ns: int, now_ns: int) -> int:
    rate = _use(work).network_mb_per_second * MEGA / NS_PER_SECOND
    return _scaled(work.activity, rate, from_ns, now_ns)


def _scaled(table: WeekTable, factor: float, from_ns: int, now_ns: int) -> int:
    """The integral of the ratio times ``factor`` over nanoseconds, in integers so that it never falls."""
    whole = table.integral(now_ns) - table.integral(from_ns)
    return whole * round(factor * PPM) // PPM**2
