"""An estimate of the floating-point operations of each holder: tensor activity times the chip's published peak.

Owns the running sums. It is an estimate: activity says that tensor cores worked, not at which precision, and the peak
is that of dense 16-bit work. Where a device or instance is shared, or its tensor activity is not read, nothing is said.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from agent.accountant import DeviceView
from collectors.clock import NS_PER_SECOND
from collectors.gpu_peaks import peak_flop_per_second
from collectors.holder import Holder
from collectors.readings import GpuReading


@dataclass(slots=True)
class FlopMeter:
    """Operations since this process began."""

    peak_of: Callable[[str], int | None] = peak_flop_per_second
    _flop: dict[Holder, int] = field(default_factory=dict[Holder, int])
    _unknown: set[Holder] = field(default_factory=set[Holder])

    def observe(self, views: Iterable[DeviceView]) -> None:
        """Take the interval that a sweep closed on each device."""
        for view in views:
            if view.interval_ns <= 0:
                continue
            parts = {"": view.sweep.device} | {each.mig.uuid: each for each in view.sweep.instances if each.mig}
            sharers: dict[str, list[Holder | None]] = {}
            for use in view.uses:
                sharers.setdefault(use.mig, []).append(use.holder)
            for mig, holders in sharers.items():
                self._add(parts[mig], holders, view.interval_ns)

    def take(self, holder: Holder) -> int | None:
        """A holder's operations so far; ``None`` where a part of them since the call before is not known."""
        known = holder not in self._unknown
        self._unknown.discard(holder)
        return self._flop.get(holder) if known else None

    def keep(self, holders: Collection[Holder]) -> None:
        """Let go of all other holders."""
        self._flop = {holder: flop for holder, flop in self._flop.items() if holder in holders}
        self._unknown.intersection_update(holders)

    def _add(self, part: GpuReading, holders: list[Holder | None], interval_ns: int) -> None:
        rate = self._rate(part) if len(holders) == 1 else None
        for holder in holders:
            if holder is None:
                continue
            if rate is None:
                self._unknown.add(holder)
            else:
                self._flop[holder] = self._flop.get(holder, 0) + round(rate * interval_ns / NS_PER_SECOND)

    def _rate(self, part: GpuReading) -> float | None:
        """Operations per second of a device or instance."""
        slices_ratio = part.mig.compute_slices / part.mig.parent_slices if part.mig else 1.0
        peak = self.peak_of(part.device.name)
        if peak is None or part.activity.tensor is None:
            return None
        return part.activity.tensor * peak * slices_ratio
