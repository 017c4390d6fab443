"""A scenario's workloads on the timeline: when they run, how busy they are between two instants, their processes.

Everything is a pure function of scenario time. Process ids start above what any Linux kernel gives out.
"""

from collections.abc import Iterator, Sequence

from collectors.holder import Holder
from collectors.scenario import MAX_DEVICES, MAX_PROCESSES, MAX_WORKLOADS, Place, Scenario, Workload
from collectors.simulated_shapes import course
from collectors.simulated_week import WeekTable

FIRST_PID = 5_000_000
"""Linux ends at 4,194,304."""
_RUNS_KEPT_APART = 400
_SLOTS = MAX_DEVICES * MAX_PROCESSES


class Work:
    """One workload of a scenario.

    Args:
        spec: what the scenario says of it.
        index: its place in the scenario.
        seed: the scenario's.
    """

    def __init__(self, spec: Workload, index: int, seed: int) -> None:
        self.spec = spec
        week = course(spec.shape, spec.windows, f"{seed}/{spec.name}")
        self.activity = WeekTable(week.activity)
        """Parts per million of the time that its share allows."""
        self.waiting = WeekTable(week.waiting)
        """Parts per million of the time in which its host side waits for data."""
        self._index = index
        self._windows = sorted(spec.windows, key=lambda window: window.start_ns)

    def running(self, time_ns: int) -> bool:
        """Whether its processes are there."""
        return any(window.started(time_ns) is not None for window in self._windows)

    def latest_run(self, time_ns: int) -> int:
        """The number of the run at ``time_ns``, or of the last one before; 0 for a workload that never ends."""
        if self._windows[0].always:
            return 0
        last_starts = ((window.last_start(time_ns), rank) for rank, window in enumerate(self._windows))
        start_ns, rank = max(last_starts)
        return self._windows[rank].week_of(start_ns) * len(self._windows) + rank

    def run_start(self, time_ns: int) -> int | None:
        """When the latest run began, ``None`` for a workload that never ends."""
        if self._windows[0].always:
            return None
        return max(window.last_start(time_ns) for window in self._windows)

    def holder(self, run: int) -> Holder | None:
        """Who holds the processes of a run; ``None`` where the scenario says that nobody can tell."""
        who = self.spec.holder
        return None if who.kind == "none" else Holder(who.kind, who.name.replace("{run}", str(run)))

    def pids(self, place: Place, time_ns: int) -> Sequence[int]:
        """Its processes on one device or MIG instance, while it runs."""
        if not self.running(time_ns):
            return ()
        run = self.latest_run(time_ns) % _RUNS_KEPT_APART
        count = self.spec.processes
        base = FIRST_PID + (run * MAX_WORKLOADS + self._index) * _SLOTS + self.spec.places.index(place) * count
        return range(base, base + count)


class Staff:
    """All the workloads of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.works: Sequence[Work] = [Work(spec, index, scenario.seed) for index, spec in enumerate(scenario.workloads)]

    def on(self, place: Place) -> Iterator[Work]:
        """Those that use this device or MIG instance at some time."""
        return (work for work in self.works if place in work.spec.places)

    def holder_of(self, pid: int, time_ns: int) -> Holder | None:
        """Who held a process seen at or shortly before ``time_ns``; ``None`` for a pid that is not one of ours."""
        group = (pid - FIRST_PID) // _SLOTS
        run_mark, index = divmod(group, MAX_WORKLOADS)
        if pid < FIRST_PID or run_mark >= _RUNS_KEPT_APART or index >= len(self.works):
            return None
        work = self.works[index]
        latest = work.latest_run(time_ns)
        return work.holder(latest - (latest - run_mark) % _RUNS_KEPT_APART)


def mean(table: WeekTable, after_ns: int, until_ns: int) -> float:
    """The mean of a table over a span, rounded once."""
    return (table.integral(until_ns) - table.integral(after_ns)) / (until_ns - after_ns)
