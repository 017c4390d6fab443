"""From a reading of the host to families."""

from collections.abc import Callable
from typing import Final

from collectors.host import HostReading
from exporters import catalogue_agent as host
from exporters.exposition import Family, SeriesCache
from exporters.metric import Metric

RAPL_SCOPE: Final = "cpu_dram"
"""RAPL covers CPU packages and DRAM: a part of the node, not the node."""

VALUES: Final[tuple[tuple[Metric, Callable[[HostReading], int | float | None]], ...]] = (
    (host.HOST_CPU_BUSY, lambda r: r.cpu_busy_ratio),
    (host.HOST_CPU_IOWAIT, lambda r: r.cpu_iowait_ratio),
    (host.HOST_MEMORY_USED, lambda r: r.memory_used_bytes),
    (host.HOST_MEMORY_TOTAL, lambda r: r.memory_total_bytes),
    (host.HOST_LOAD1, lambda r: r.load1),
    (host.HOST_DISK_READ, lambda r: r.disk_read_bytes),
    (host.HOST_DISK_WRITTEN, lambda r: r.disk_written_bytes),
    (host.HOST_NETWORK_RECEIVE, lambda r: r.network_received_bytes),
    (host.HOST_NETWORK_TRANSMIT, lambda r: r.network_sent_bytes),
)


class HostFamilies:
    """Families of the host around the devices; keeps the label strings between calls."""

    def __init__(self, node: str) -> None:
        self._values = tuple((SeriesCache(metric, node), of) for metric, of in VALUES)
        self._power = SeriesCache(host.HOST_POWER, node)
        self._energy = SeriesCache(host.HOST_ENERGY, node)

    def families(self, reading: HostReading) -> list[Family]:
        """What the last reading says; what it lacks has no series."""
        energy = [] if reading.host_energy_mj is None else [((RAPL_SCOPE,), reading.host_energy_mj)]
        return [
            *(cache.family([((), of(reading))]) for cache, of in self._values),
            self._power.family([((RAPL_SCOPE,), reading.host_power_watts)]),
            self._energy.exact_family(energy),
        ]
