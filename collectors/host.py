"""The host around the GPUs: CPU, memory, disks, network, load and CPU package energy, from an injected /proc and /sys.

Owns the shape of a host reading and how one is taken; tells a GPU that waits for data from one that has nothing
to do. Must never write anything, and never give a zero for what it could not read.
"""

import logging
import os
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from collectors.clock import Clock
from collectors.errors import Unavailable
from collectors.host_rapl import Rapl

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HostReading:
    """The node at one instant. Ratios speak of the time since the reading before; counters are good for deltas only."""

    read_ns: int
    """The clock's ``monotonic_ns``."""
    cpu_busy_ratio: float | None = None
    """Share of all CPU time that was neither idle nor waiting for I/O (steal included); ``None`` on the first read."""
    cpu_iowait_ratio: float | None = None
    """Share of all CPU time that was idle with I/O outstanding; ``None`` on the first read."""
    cpu_count: int | None = None
    """Logical CPUs online."""
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    """Total less available: what could not be had without swapping."""
    memory_available_bytes: int | None = None
    load1: float | None = None
    load5: float | None = None
    load15: float | None = None
    disk_read_bytes: int | None = None
    """Counter over the disks present: physical devices only, neither partitions nor what is stacked on them."""
    disk_written_bytes: int | None = None
    network_received_bytes: int | None = None
    """Counter over the node's physical interfaces (all but loopback where none is physical). RDMA is not in it."""
    network_sent_bytes: int | None = None
    host_energy_mj: int | None = None
    """Millijoules of CPU packages and DRAM by RAPL since the first read: a part of the node, not the node."""
    host_power_watts: float | None = None
    """Mean of the same since the reading before."""


@dataclass(frozen=True, slots=True)
class HolderUsage:
    """What a holder's cgroups used since the collector first saw the holder. Each field absent where not counted."""

    cpu_ns: int | None = None
    io_read_bytes: int | None = None
    """Bytes from block devices. Network file systems and page-cache hits are not in it."""
    io_written_bytes: int | None = None


_T = TypeVar("_T")


class HostCollector:
    """Reads the host through ``proc`` and ``sys``, which in a container are mounts of the host's own.

    Args:
        clock: gives ``read_ns`` and the time that power is taken over.
        proc: the host's procfs.
        sys: the host's sysfs.
    """

    def __init__(self, clock: Clock, *, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._clock = clock
        self._proc = proc
        self._sys = sys
        self._rapl = Rapl(sys)
        self._cpu_before: tuple[float, ...] | None = None
        self._is_physical: dict[str, dict[str, bool]] = {}
        self._failed: set[str] = set()

    def read(self) -> HostReading:
        """Take one reading. What cannot be read is absent and logged once.

        Raises:
            Unavailable: there is no procfs at the root given.
        """
        if not os.access(self._proc / "stat", os.R_OK):
            raise Unavailable(
                f"no procfs at {self._proc}: mount the host's /proc there, or set the root to where it is mounted"
            )
        now_ns = self._clock.monotonic_ns()
        busy, iowait = self._attempt("cpu", self._cpu_ratios) or (None, None)
        total, available = self._attempt("memory", self._memory_bytes) or (None, None)
        load1, load5, load15 = self._attempt("load", self._load) or (None, None, None)
        disk_read, disk_written = self._attempt("disks", self._disk_bytes) or (None, None)
        received, sent = self._attempt("network", self._network_bytes) or (None, None)
        energy = self._rapl.read(now_ns)
        return HostReading(
            read_ns=now_ns,
            cpu_busy_ratio=busy,
            cpu_iowait_ratio=iowait,
            cpu_count=psutil.cpu_count(),
            memory_total_bytes=total,
            memory_used_bytes=None if total is None or available is None else total - available,
            memory_available_bytes=available,
            load1=load1,
            load5=load5,
            load15=load15,
            disk_read_bytes=disk_read,
            disk_written_bytes=disk_written,
            network_received_bytes=received,
            network_sent_bytes=sent,
            host_energy_mj=energy.energy_mj,
            host_power_watts=energy.power_watts,
        )

    def _attempt(self, what: str, read: Callable[[], _T]) -> _T | None:
        try:
            value = read()
        # A kernel that words a file differently shows up in psutil as any of these.
        except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
            if what not in self._failed:
                self._failed.add(what)
                log.warning("host %s cannot be read under %s and stays absent: %s", what, self._proc, error)
            return None
        self._failed.discard(what)
        return value

    def _cpu_ratios(self) -> tuple[float | None, float | None]:
        with _psutil_at(self._proc):
            times = psutil.cpu_times()
        # The kernel counts guest time in user time as well, so it is left out of the sum.
        fields = [name for name in times._fields if not name.startswith("guest")]
        now = tuple(float(getattr(times, name)) for name in fields)
        before, self._cpu_before = self._cpu_before, now
        if before is None or len(before) != len(now):
            return None, None
        # idle and iowait may step back by a tick between two reads.
        spent = {name: max(0.0, b - a) for name, a, b in zip(fields, before, now, strict=True)}
        total = sum(spent.values())
        if total <= 0:
            return None, None
        busy = sum(value for name, value in spent.items() if name not in {"idle", "iowait"})
        return busy / total, spent["iowait"] / total

    def _memory_bytes(self) -> tuple[int, int]:
        with _psutil_at(self._proc):
            memory = psutil.virtual_memory()
        return memory.total, memory.available

    def _load(self) -> tuple[float, float, float]:
        one, five, fifteen = (self._proc / "loadavg").read_text(encoding="ascii").split()[:3]
        return float(one), float(five), float(fifteen)

    def _disk_bytes(self) -> tuple[int, int] | None:
        # Without diskstats psutil would read the /sys of the machine it runs on, whatever the root.
        (self._proc / "diskstats").stat()
        with _psutil_at(self._proc):
            disks = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
        whole = [disks[name] for name in self._physical("block", disks)]
        return (sum(disk.read_bytes for disk in whole), sum(disk.write_bytes for disk in whole)) if whole else None

    def _network_bytes(self) -> tuple[int, int] | None:
        # Not by psutil: it reads the network namespace of the reader, and the node's is that of its first process.
        interfaces = _interface_bytes((self._proc / "1/net/dev").read_text(encoding="ascii"))
        interfaces.pop("lo", None)
        counted = [interfaces[name] for name in self._physical("class/net", interfaces) or interfaces]
        return (sum(received for received, _ in counted), sum(sent for _, sent in counted)) if counted else None

    def _physical(self, kind: str, names: Iterable[str]) -> list[str]:
        """Only what is backed by hardware has a ``device``: no partition, loop, RAID, bridge, bond or veth has."""
        known = self._is_physical.get(kind, {})
        folder = self._sys / kind
        now = {
            name: known[name] if name in known else (folder / name.replace("/", "!") / "device").exists()
            for name in names
        }
        self._is_physical[kind] = now
        return [name for name, physical in now.items() if physical]


def _interface_bytes(net_dev: str) -> dict[str, tuple[int, int]]:
    """Interface to (received, sent) from the text of ``/proc/PID/net/dev``."""
    interfaces: dict[str, tuple[int, int]] = {}
    for line in net_dev.splitlines()[2:]:
        name, _, counters = line.rpartition(":")
        values = counters.split()
        interfaces[name.strip()] = int(values[0]), int(values[8])
    return interfaces


@contextmanager
def _psutil_at(proc: Path) -> Generator[None]:
    """Point psutil at another procfs for the length of one read; it knows no other way than a global."""
    before, psutil.PROCFS_PATH = psutil.PROCFS_PATH, str(proc)
    try:
        yield
    finally:
        psutil.PROCFS_PATH = before
