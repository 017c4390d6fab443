"""CPU and DRAM energy by RAPL (powercap), from an injected /sys.

Counts the packages and their DRAM. The core and uncore zones are part of a package, psys is the whole platform and
the mmio zones show a package a second time: none of them is added. It is never the energy of the node.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

MAX_ZONE_WATTS = 1000
"""No package or DRAM zone draws more; an interval that would need more holds a wrap unseen or a counter reset."""

_UJ_PER_MJ = 1000
_RETRY_NS = 60_000_000_000
"""Permission does not come back within a sweep, and finding the zones costs more than reading them."""


@dataclass(frozen=True, slots=True)
class RaplReading:
    """Energy since the first read, and mean power since the read before; ``None`` where it cannot be told."""

    energy_mj: int | None = None
    power_watts: float | None = None


@dataclass(slots=True)
class _Zone:
    path: Path
    range_uj: int
    last_uj: int

    def advance(self, now_uj: int, elapsed_ns: int) -> int | None:
        """Microjoules since the last read, over at most one wrap; ``None`` where more than one may have passed."""
        delta_uj = now_uj - self.last_uj
        self.last_uj = now_uj
        if delta_uj < 0:
            delta_uj += self.range_uj + 1
        most_uj = MAX_ZONE_WATTS * elapsed_ns // 1000
        return delta_uj if 0 <= delta_uj <= most_uj <= self.range_uj else None


class Rapl:
    """Sums the zones and carries the sum over wraps. After a failure it goes on from there; what it missed is lost."""

    def __init__(self, sys: Path) -> None:
        self._root = sys / "class/powercap"
        self._zones: list[_Zone] | None = None
        self._read_ns = 0
        self._retry_ns = 0
        self._energy_uj = 0
        self._failed = False

    def read(self, now_ns: int) -> RaplReading:
        """Read every zone. One that fails makes the whole absent: part of a sum would be taken for all of it."""
        if now_ns < self._retry_ns:
            return RaplReading()
        try:
            reading = self._read_zones(now_ns)
        except (OSError, ValueError) as error:
            self._zones, self._retry_ns = None, now_ns + _RETRY_NS
            if not self._failed:
                self._failed = True
                log.warning(
                    "host power is absent: RAPL under %s cannot be read (%s); it is readable by root only",
                    self._root,
                    error,
                )
            return RaplReading()
        self._failed = False
        return reading

    def _read_zones(self, now_ns: int) -> RaplReading:
        if self._zones is None:
            self._zones = [_open_zone(path) for path in sorted(self._root.glob("intel-rapl:*")) if _counts(path)]
            self._read_ns = now_ns
            return RaplReading(energy_mj=self._energy_uj // _UJ_PER_MJ) if self._zones else RaplReading()
        if not self._zones:
            return RaplReading()
        elapsed_ns, self._read_ns = now_ns - self._read_ns, now_ns
        deltas_uj = [zone.advance(_number(zone.path / "energy_uj"), elapsed_ns) for zone in self._zones]
        known_uj = [delta for delta in deltas_uj if delta is not None]
        if len(known_uj) < len(deltas_uj) or elapsed_ns <= 0:
            return RaplReading(energy_mj=self._energy_uj // _UJ_PER_MJ)
        self._energy_uj += sum(known_uj)
        watts = sum(known_uj) * 1000 / elapsed_ns
        return RaplReading(energy_mj=self._energy_uj // _UJ_PER_MJ, power_watts=watts)


def _counts(zone: Path) -> bool:
    name = (zone / "name").read_text(encoding="ascii").strip()
    return name.startswith("package") or name == "dram"


def _open_zone(path: Path) -> _Zone:
    return _Zone(path, _number(path / "max_energy_range_uj"), _number(path / "energy_uj"))


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))
