"""One simulated GPU on the timeline: its power and energy, how busy each workload keeps it, and when it fails.

The energy counter is the exact integral of the power. Everything is a pure function of scenario time.
"""

import hashlib
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from collectors.clock import NS_PER_SECOND
from collectors.readings import DeviceFacts, MigFacts
from collectors.scenario import Failure, Place, Scenario
from collectors.simulated_models import GIGA, MIG_COMPUTE_SLICES, NAME_PREFIX
from collectors.simulated_shapes import PPM
from collectors.simulated_week import ANCHOR_NS, STEPS_PER_WEEK, WeekTable, Window
from collectors.simulated_work import Staff, Work

DRIVER_VERSION = "simulated"
UUID_MARK = "51700000"
"""The first group of every simulated UUID; SIM on a pocket calculator."""
DRIVER_LOADED_NS = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp()) * NS_PER_SECOND
"""When the simulated driver was loaded, where the scenario reloads none (earlier clocks: the anchor of weeks)."""
CAPPED_SHARE = 0.97
"""From this share of the limit on, power counts as capped."""
_IDLE_SWING = 0.01
_DEVICE_SPREAD = 0.03


@dataclass(frozen=True, slots=True)
class Placement:
    """A workload on one device or MIG instance."""

    work: Work
    place: Place
    weight: float
    """Its share, a little less on one device than on another."""


class SimulatedDevice:
    """One GPU of a scenario.

    Args:
        scenario: the whole of it.
        index: which of its devices.
        staff: the scenario's workloads.
    """

    def __init__(self, scenario: Scenario, index: int, staff: Staff) -> None:
        self.spec = scenario.devices[index]
        self.gpu = self.spec.gpu
        self._rng = random.Random(f"{scenario.seed}/device {index}")  # noqa: S311  (reproducible, no secret)
        mark = hashlib.sha256(f"{scenario.seed}/{self.spec.model}/{index}".encode()).hexdigest()
        self.facts = self._facts(index, mark)
        self.instances = list(self._instances(mark))
        self.stranded_slices = self.gpu.stranded_slices(self.spec.mig) if self.instances else None
        places = [Place(index, number) for number in range(len(self.instances))] or [Place(index)]
        self.placements = {place: list(self._placements(place, staff)) for place in places}
        failures = [failure for failure in scenario.failures if failure.device in (None, index)]
        self._failures: dict[str, Sequence[Window]] = {
            failure.kind: [window for each in failures if each.kind == failure.kind for window in each.windows]
            for failure in failures
        }
        self.xids: Sequence[Failure] = [failure for failure in failures if failure.kind == "xid"]
        self.power_mw = WeekTable(self._power_steps())
        self.capped = WeekTable(int(mw >= CAPPED_SHARE * self.max_mw) for mw in self.power_mw.steps)

    @property
    def max_mw(self) -> int:
        """The power limit."""
        return round(self.gpu.max_watts * 1000)

    def failing(self, kind: str, time_ns: int) -> int | None:
        """When a failure of this kind that is in force will end; ``None`` when none is."""
        for window in self._failures.get(kind, ()):
            if (start_ns := window.started(time_ns)) is not None:
                return start_ns + window.length_ns
        return None

    def driver_loaded_ns(self, time_ns: int) -> int:
        """When the driver that counts at ``time_ns`` was loaded: the end of the last reload, if there was one."""
        first_ns = DRIVER_LOADED_NS if time_ns >= DRIVER_LOADED_NS else ANCHOR_NS
        reloads = self._failures.get("driver_reload", ())
        return max([first_ns, *(window.last_end(time_ns) for window in reloads)])

    def energy_mj(self, time_ns: int) -> int:
        """The counter: millijoules since driver load, the integral of the power, rounded down."""
        loaded_ns = self.driver_loaded_ns(time_ns)
        return (self.power_mw.integral(time_ns) - self.power_mw.integral(loaded_ns)) // NS_PER_SECOND

    def busy(self, placement: Placement, after_ns: int, until_ns: int) -> float:
        """Mean share of the device or instance that a workload used in a span; none while the device was away."""
        table = placement.work.activity
        alive = table.integral(until_ns) - table.integral(after_ns)
        for start_ns, end_ns in self._away(after_ns, until_ns):
            alive -= table.integral(end_ns) - table.integral(start_ns)
        return placement.weight * alive / ((until_ns - after_ns) * PPM)

    def _away(self, after_ns: int, until_ns: int) -> Iterator[tuple[int, int]]:
        reached_ns = after_ns
        spans = (window.spans(after_ns, until_ns) for window in self._away_windows())
        for start_ns, end_ns in sorted(span for each in spans for span in each):
            if end_ns > reached_ns:
                yield max(start_ns, reached_ns), end_ns
                reached_ns = end_ns

    def _away_windows(self) -> Iterator[Window]:
        for kind in ("lost", "driver_reload"):
            yield from self._failures.get(kind, ())

    def _power_steps(self) -> Sequence[int]:
        idle_mw, span_mw = self.gpu.idle_watts * 1000, (self.gpu.max_watts - self.gpu.idle_watts) * 1000
        swing_mw = idle_mw * _IDLE_SWING
        idle = array("i", (round(idle_mw - swing_mw * self._rng.random()) for _ in range(STEPS_PER_WEEK)))
        steps = array("i", idle)
        for placement in (each for placements in self.placements.values() for each in placements):
            full_mw = span_mw * placement.weight * placement.work.spec.power * self._part(placement.place)
            for step, ppm in enumerate(placement.work.activity.steps):
                if ppm:
                    steps[step] += int(full_mw * ppm / PPM)
        for window in self._away_windows():
            for part in window.steps():
                steps[part.start : part.stop] = idle[part.start : part.stop]
        return steps

    def _part(self, place: Place) -> float:
        mig = None if place.instance is None else self.instances[place.instance]
        return 1.0 if mig is None else mig.compute_slices / mig.parent_slices

    def _placements(self, place: Place, staff: Staff) -> Iterator[Placement]:
        for work in staff.on(place):
            yield Placement(work, place, work.spec.share * (1 - _DEVICE_SPREAD * self._rng.random()))

    def _facts(self, index: int, mark: str) -> DeviceFacts:
        return DeviceFacts(
            uuid=f"GPU-{UUID_MARK}-{mark[:4]}-4{mark[4:7]}-8{mark[7:10]}-{mark[10:22]}",
            index=index,
            name=NAME_PREFIX + self.gpu.name,
            pci_bus_id=f"00000000:{0x10 + 2 * index:02X}:00.0",
            driver_version=DRIVER_VERSION,
            architecture=self.gpu.architecture,
            max_power_watts=float(self.gpu.max_watts),
            nvlink_max_bytes_per_second=float(self.gpu.nvlink_gb_per_second * GIGA) or None,
            max_sm_clock_hertz=self.gpu.sm_mhz * 1e6,
        )

    def _instances(self, mark: str) -> Iterator[MigFacts]:
        for number, profile in enumerate(self.spec.mig):
            tail = hashlib.sha256(f"{mark}/{number}".encode()).hexdigest()
            yield MigFacts(
                uuid=f"MIG-{UUID_MARK}-{mark[:4]}-5{tail[:3]}-8{tail[3:6]}-{tail[6:18]}",
                gpu_instance_id=number + 1,
                compute_instance_id=0,
                profile=profile,
                compute_slices=self.gpu.mig[profile][0],
                parent_slices=MIG_COMPUTE_SLICES,
            )
