"""CPU time and block I/O of each holder, from its cgroups (version 1, 2 and hybrid), else from its processes.

Owns the reading and the carrying of counters over cgroups and processes that come and go. Must never present a part
of a holder's use as the whole: where one source cannot be read, the value is absent.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from collectors.holder import Holder
from collectors.host import HolderUsage
from collectors.process_holders import ProcessIdentity
from collectors.small_files import read_text

_NS_PER_SECOND = 1_000_000_000
_NS_PER_US = 1000

_Key = tuple[str, int]
"""A cgroup by path and 0, or a process by PID and start time."""


_T = TypeVar("_T")
_From = TypeVar("_From")


class _Io(NamedTuple):
    read: int
    written: int


class HolderUsageCollector:
    """Adds up what the cgroups of each holder counted since the holder was first read.

    Args:
        identity_of: what is known of a process, such as ``ProcessHolders.identity_of``.
        proc: the host's procfs.
        sys: the host's sysfs, with the cgroup hierarchies under ``fs/cgroup``.
        ticks_per_second: the unit of CPU time in procfs.
    """

    def __init__(
        self,
        identity_of: Callable[[int], ProcessIdentity | None],
        *,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
        ticks_per_second: int | None = None,
    ) -> None:
        self._identity_of = identity_of
        self._proc = str(proc)
        self._cgroups = _CgroupFiles(sys)
        self._ticks_per_second = ticks_per_second or os.sysconf("SC_CLK_TCK")
        self._tallies: dict[Holder, _Tally] = {}

    def read(self, holders: Mapping[Holder, Collection[int]]) -> Mapping[Holder, HolderUsage]:
        """The use of each holder, by the processes it has now; 0 when it is first read. Never raises.

        A holder that is not asked for is forgotten and begins at 0 again. A field is absent for as long as one of the
        holder's sources cannot be read; nothing is lost by that, as long as the source itself went on counting.
        """
        tallies: dict[Holder, _Tally] = {}
        usages: dict[Holder, HolderUsage] = {}
        for holder, pids in holders.items():
            tally = tallies[holder] = self._tallies.get(holder) or _Tally()
            usages[holder] = self._read_holder(pids, tally)
        self._tallies = tallies
        return usages

    def _read_holder(self, pids: Collection[int], tally: "_Tally") -> HolderUsage:
        cpu_ns = self._gather(pids, self._cgroups.cpu_ns, self._process_cpu_ns)
        moved = self._gather(pids, self._cgroups.io, self._process_io)
        return HolderUsage(
            cpu_ns=tally.cpu_ns.advance(cpu_ns),
            io_read_bytes=tally.read_bytes.advance({key: None if io is None else io.read for key, io in moved.items()}),
            io_written_bytes=tally.written_bytes.advance(
                {key: None if io is None else io.written for key, io in moved.items()}
            ),
        )

    def _gather(
        self,
        pids: Collection[int],
        of_cgroup: Callable[[Mapping[str, str]], _T | None],
        of_process: Callable[[int], _T],
    ) -> dict[_Key, _T | None]:
        """One entry for each cgroup that counts, and one for each process that is in none."""
        gathered: dict[_Key, _T | None] = {}
        for pid in pids:
            identity = self._identity_of(pid)
            if identity is None:
                continue
            paths = identity.cgroups.paths
            cgroup = " ".join(sorted(set(paths.values()))), 0
            if cgroup in gathered:
                continue
            counted = _absent_if_unreadable(of_cgroup, paths)
            if counted is not None:
                gathered[cgroup] = counted
            else:
                gathered[str(pid), identity.start_time_ticks] = _absent_if_unreadable(of_process, pid)
        return gathered

    def _process_cpu_ns(self, pid: int) -> int:
        # proc_pid_stat(5): utime and stime are fields 14 and 15, the 12th and 13th behind the name.
        fields = read_text(f"{self._proc}/{pid}/stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _NS_PER_SECOND // self._ticks_per_second

    def _process_io(self, pid: int) -> _Io:
        lines = read_text(f"{self._proc}/{pid}/io").splitlines()
        values = dict(line.split(": ", 1) for line in lines)
        return _Io(int(values["read_bytes"]), int(values["write_bytes"]))


class _CgroupFiles:
    """The counters of a cgroup, wherever its hierarchies are mounted; ``None`` where none counts."""

    def __init__(self, sys: Path) -> None:
        self._root = f"{sys}/fs/cgroup"
        self._devices = sys / "dev/block"
        self._physical: dict[str, bool] = {}

    def cpu_ns(self, paths: Mapping[str, str]) -> int | None:
        text = self._first(paths, (("", "cpu.stat"), ("unified", "cpu.stat")), "")
        if text is not None:
            return int(dict(line.split(" ", 1) for line in text.splitlines())["usage_usec"]) * _NS_PER_US
        text = self._first(paths, (("cpuacct", "cpuacct.usage"), ("cpu,cpuacct", "cpuacct.usage")), "cpuacct")
        return None if text is None else int(text)

    def io(self, paths: Mapping[str, str]) -> _Io | None:
        text = self._first(paths, (("", "io.stat"), ("unified", "io.stat")), "")
        if text is not None:
            return self._sum(_io_stat(text), "rbytes", "wbytes")
        whole, own = "blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"
        text = self._first(paths, (("blkio", whole), ("blkio", own)), "blkio")
        return None if text is None else self._sum(_service_bytes(text), "Read", "Write")

    def _first(self, paths: Mapping[str, str], places: Iterable[tuple[str, str]], controller: str) -> str | None:
        path = paths.get(controller)
        # A path out of a private cgroup namespace does not say where it lies in this tree.
        if path is None or ".." in path.split("/"):
            return None
        for mount, file in places:
            with suppress(OSError):
                return read_text(f"{self._root}/{mount}/{path}/{file}")
        return None

    def _sum(self, counts: Iterable[tuple[str, str, int]], read: str, write: str) -> _Io:
        """Physical devices only: what is stacked on them (RAID, LVM, encryption) counts the same bytes again."""
        whole = [(kind, count) for device, kind, count in counts if self._is_physical(device)]
        return _Io(sum(n for kind, n in whole if kind == read), sum(n for kind, n in whole if kind == write))

    def _is_physical(self, device: str) -> bool:
        known = self._physical.get(device)
        if known is None:
            folder = self._devices / device
            known = self._physical[device] = (folder / "device").exists() or not folder.exists()
        return known


def _io_stat(text: str) -> Iterator[tuple[str, str, int]]:
    for line in text.splitlines():
        device, *values = line.split()
        for value in values:
            kind, _, count = value.partition("=")
            if count.isdecimal():
                yield device, kind, int(count)


def _service_bytes(text: str) -> Iterator[tuple[str, str, int]]:
    for line in text.splitlines():
        match line.split():
            case [device, kind, count]:
                yield device, kind, int(count)
            case _:
                continue


def _absent_if_unreadable(read: Callable[[_From], _T | None], source: _From) -> _T | None:
    try:
        return read(source)
    except (OSError, ValueError, LookupError):
        return None


@dataclass(slots=True)
class _Counter:
    """A sum that goes on while the counters that it is made of come and go."""

    total: int = 0
    last: dict[_Key, int] = field(default_factory=dict[_Key, int])

    def advance(self, counters: Mapping[_Key, int | None]) -> int | None:
        absent = not counters
        last: dict[_Key, int] = {}
        for key, now in counters.items():
            before = self.last.get(key)
            if now is None:
                absent = True
                if before is not None:
                    last[key] = before
                continue
            # A counter that fell began anew.
            self.total += 0 if before is None else now - before if now >= before else now
            last[key] = now
        self.last = last
        return None if absent else self.total


@dataclass(slots=True)
class _Tally:
    cpu_ns: _Counter = field(default_factory=_Counter)
    read_bytes: _Counter = field(default_factory=_Counter)
    written_bytes: _Counter = field(default_factory=_Counter)
