"""A clock that only tests move, and scenarios made from a few keys."""

import threading
from functools import cache

from collectors.clock import NS_PER_SECOND
from collectors.scenario import Scenario
from collectors.simulated import SimulatedSource
from collectors.simulated_strict import validate

MONDAY_NS = 1_782_691_200 * NS_PER_SECOND
"""2026-06-29T00:00:00Z."""
HOUR_NS = 3600 * NS_PER_SECOND
DAY_NS = 24 * HOUR_NS


class HandClock:
    """Moves only by hand, or by the length of a wait; the wall clock may be set apart."""

    boot_id = "by-hand"

    def __init__(self, wall_ns: int = MONDAY_NS, *, monotonic_ns: int | None = None, on_wait=None) -> None:
        self.wall = wall_ns
        self.monotonic = wall_ns if monotonic_ns is None else monotonic_ns
        self.waits: list[int] = []
        self.on_wait = on_wait

    def monotonic_ns(self) -> int:
        return self.monotonic

    def wall_ns(self) -> int:
        return self.wall

    def advance(self, duration_ns: int) -> None:
        self.monotonic += duration_ns
        self.wall += duration_ns

    def wait(self, event: threading.Event, duration_ns: int) -> bool:
        self.waits.append(duration_ns)
        self.advance(max(0, duration_ns))
        if self.on_wait:
            self.on_wait(event)
        return event.is_set()


def workload(**changes):
    """One that keeps GPU 0 busy, all the time."""
    keys = {
        "name": "job",
        "holder": {"kind": "slurm", "name": "77"},
        "devices": [0],
        "shape": {"kind": "constant", "activity": 0.5, "noise": 0.3},
        "memory_gib": 10.0,
    }
    return keys | changes


def scenario(**changes) -> Scenario:
    """One H100 with one workload."""
    keys = {"devices": [{"model": "H100-SXM-80GB"}], "workloads": [workload()]}
    return validate(Scenario, keys | changes, "test.yaml")


def source(clock: HandClock, interval_ns: int = NS_PER_SECOND, **changes) -> SimulatedSource:
    """The source of :func:`scenario`."""
    return SimulatedSource(scenario(**changes), clock, lambda: interval_ns)


@cache
def bundled(name: str) -> Scenario:
    """A bundled scenario."""
    from collectors.scenario import load_scenario

    return load_scenario(name=name)
