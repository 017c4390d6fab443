"""Which process listens on a TCP port of the host, from ``/proc`` under an injected root.

Owns the search and its cache: a full search reads every process's descriptors, so a found one is only looked at again.
Must never guess: a port on which nobody listens, or only somebody whose descriptors may not be read, has no process.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from collectors.clock import NS_PER_SECOND, Clock

SEARCH_EVERY_NS = 30 * NS_PER_SECOND
"""A port without a known listener is searched for no oftener."""
_LISTENING = "0A"
_STATE, _ADDRESS, _INODE = 3, 1, 9


@dataclass(frozen=True, slots=True)
class _Found:
    pid: int
    descriptor: str
    link: str


@dataclass(slots=True)
class PortListeners:
    """Listeners by port."""

    clock: Clock
    proc: Path = Path("/proc")
    _found: dict[int, _Found] = field(default_factory=dict[int, _Found])
    _searched_ns: dict[int, int] = field(default_factory=dict[int, int])

    def pid_of(self, port: int) -> int | None:
        """The process that listens on ``port`` in the host's own network, the oldest of several."""
        known = self._found.get(port)
        if known is not None and _link(known.descriptor) == known.link:
            return known.pid
        now_ns = self.clock.monotonic_ns()
        if port in self._searched_ns and now_ns - self._searched_ns[port] < SEARCH_EVERY_NS:
            return None
        self._searched_ns[port] = now_ns
        self._found.pop(port, None)
        links = {f"socket:[{inode}]" for inode in self._inodes(port)}
        found = next(self._holding(links), None) if links else None
        if found is None:
            return None
        self._found[port] = found
        return found.pid

    def _inodes(self, port: int) -> Iterator[str]:
        for table in ("tcp", "tcp6"):
            with suppress(OSError):
                lines = (self.proc / "1/net" / table).read_text(encoding="ascii", errors="replace").splitlines()
                for fields in (line.split() for line in lines[1:]):
                    if len(fields) > _INODE and fields[_STATE] == _LISTENING and _port(fields[_ADDRESS]) == port:
                        yield fields[_INODE]

    def _holding(self, links: set[str]) -> Iterator[_Found]:
        with os.scandir(self.proc) as entries:
            pids = sorted(int(entry.name) for entry in entries if entry.name.isdecimal())
        for pid in pids:
            with suppress(OSError), os.scandir(f"{self.proc}/{pid}/fd") as descriptors:
                for descriptor in descriptors:
                    link = _link(descriptor.path)
                    if link in links:
                        yield _Found(pid, descriptor.path, link)


def _port(address: str) -> int | None:
    try:
        return int(address.rpartition(":")[2], 16)
    except ValueError:
        return None


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115  (thousands of them, at a third of the cost)
    except OSError:
        return ""
