"""GPUs that are not there: a source of readings from a scenario, a seed and a clock, for demonstrations and tests.

Owns the contract of :class:`collectors.gpu_source.GpuSource` over a simulated node. What it yields follows from
scenario, seed and clock alone, whoever reads and however often; only the XID stream remembers what was drained.
Everything bears the mark of a simulation: source and driver version are ``simulated``, names begin with ``Simulated``,
UUIDs with ``GPU-51700000``.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from collectors.clock import NS_PER_HOUR, NS_PER_SECOND, Clock
from collectors.errors import DeviceLost, Unavailable
from collectors.holder import Holder
from collectors.readings import DeviceFacts, DeviceSweep, SourceName, XidEvent
from collectors.scenario import Scenario
from collectors.simulated_device import SimulatedDevice
from collectors.simulated_reading import Instant, sweep_of
from collectors.simulated_work import Staff

log = logging.getLogger(__name__)


class ScenarioTime:
    """A clock's timeline as scenario time: monotonic, and in the scenario's time zone.

    The distance between the two clocks is taken once, so a step of the wall clock moves nothing here.
    """

    def __init__(self, clock: Clock, utc_offset_hours: float) -> None:
        self._clock = clock
        before_ns, wall_ns, after_ns = clock.monotonic_ns(), clock.wall_ns(), clock.monotonic_ns()
        # A simulated clock is one timeline, but it moves between two readings.
        self._one_timeline = before_ns <= wall_ns <= after_ns
        ahead_ns = 0 if self._one_timeline else wall_ns - after_ns
        self._offset_ns = ahead_ns + int(utc_offset_hours * 4) * NS_PER_HOUR // 4

    def instant(self, interval_ns: int) -> Instant:
        """Now, with the interval that means are taken over."""
        monotonic_ns = self._clock.monotonic_ns()
        wall_ns = monotonic_ns if self._one_timeline else self._clock.wall_ns()
        return Instant(monotonic_ns + self._offset_ns, max(1, interval_ns), monotonic_ns, wall_ns)

    def now_ns(self) -> int:
        """Scenario time now."""
        return self._clock.monotonic_ns() + self._offset_ns


class SimulatedSource:
    """The GPUs and the processes of a scenario.

    Args:
        scenario: what there is and what happens.
        clock: the only notion of time; a :class:`collectors.simulated_clock.SimulatedClock` where time runs fast.
        interval_ns: the sweep interval in force, in nanoseconds of ``clock``: readings give means over it.
    """

    def __init__(
        self, scenario: Scenario, clock: Clock, interval_ns: Callable[[], int] = lambda: NS_PER_SECOND
    ) -> None:
        self._clock = clock
        self._interval_ns = interval_ns
        self.time = ScenarioTime(clock, scenario.utc_offset_hours)
        self.staff = Staff(scenario)
        self._devices = [SimulatedDevice(scenario, index, self.staff) for index in range(len(scenario.devices))]
        self._by_uuid = {device.facts.uuid: device for device in self._devices}
        self._unreadable: Sequence[str] = ()
        self._drained_ns = self.time.now_ns()
        self._drain_lock = threading.Lock()
        self._closed = threading.Event()
        log.warning("simulating GPUs (%d): nothing that they show is a measurement", len(self._devices))

    @property
    def name(self) -> SourceName:
        """``simulated``."""
        return "simulated"

    def discover(self) -> Sequence[DeviceFacts]:
        """The devices of the scenario that have not fallen off the bus.

        Raises:
            Unavailable: the scenario reloads the driver now.
        """
        now_ns = self.time.now_ns()
        self._raise_on_reload(now_ns)
        lost = [device for device in self._devices if device.failing("lost", now_ns) is not None]
        self._unreadable = [
            f"GPU {device.facts.index} at {device.facts.pci_bus_id}: does not answer (lost, by the scenario)"
            for device in lost
        ]
        return [device.facts for device in self._devices if device not in lost]

    def unreadable(self) -> Sequence[str]:
        """The devices that were lost at the last :meth:`discover`."""
        return self._unreadable

    def read(self, uuid: str) -> DeviceSweep:
        """One device and its MIG instances, at the clock's now.

        Raises:
            DeviceLost: there is no such device, or the scenario has it lost.
            Unavailable: the scenario reloads the driver, or the source was closed during a hang.
        """
        device = self._by_uuid.get(uuid)
        if device is None:
            raise DeviceLost(f"{uuid}: no such simulated device; discover again")
        self._hang(device)
        now = self.time.instant(self._interval_ns())
        self._raise_on_reload(now.time_ns)
        if device.failing("lost", now.time_ns) is not None:
            raise DeviceLost(f"{uuid}: lost, by the scenario; it comes back by itself")
        return sweep_of(device, now)

    def drain_xids(self) -> Sequence[XidEvent]:
        """The scenario's XIDs since the last call, in order of time."""
        with self._drain_lock:
            after_ns, self._drained_ns = self._drained_ns, self.time.now_ns()
            events = sorted(self._xids(after_ns, self._drained_ns))
        return [XidEvent(uuid, xid) for _, uuid, xid in events]

    def holders_of(self, pids: Collection[int]) -> Mapping[int, Holder]:
        """The holder of each simulated process; those that the scenario gives no holder have no key."""
        now_ns = self.time.now_ns()
        found = ((pid, self.staff.holder_of(pid, now_ns)) for pid in pids)
        return {pid: holder for pid, holder in found if holder is not None}

    def close(self) -> None:
        """End a hang that is under way."""
        self._closed.set()

    def _xids(self, after_ns: int, until_ns: int) -> Iterator[tuple[int, str, int]]:
        for device in self._devices:
            for failure in device.xids:
                for window in failure.windows:
                    for at_ns in window.starts_between(after_ns, until_ns):
                        yield at_ns, device.facts.uuid, failure.xid or 0

    def _raise_on_reload(self, now_ns: int) -> None:
        if self._devices[0].failing("driver_reload", now_ns) is not None:
            raise Unavailable("the simulated driver is being reloaded, by the scenario; it comes back by itself")

    def _hang(self, device: SimulatedDevice) -> None:
        now_ns = self.time.now_ns()
        end_ns = device.failing("hang", now_ns)
        if end_ns is not None and self._clock.wait(self._closed, end_ns - now_ns):
            raise Unavailable(f"{device.facts.uuid}: closed while the device was hanging, by the scenario")
