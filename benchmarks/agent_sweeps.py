"""CPU time of a sweep: bare pynvml, the agent and nvitop-exporter over the same driver, taking turns.

8 H100 with 4 processes each, every process in a container of its own. The driver's clock is injected and moves one
second before each sweep of any of them, so GPM's two samples always lie a second apart and the agent's activity is
GPM's: that is checked in every round, not assumed.

A figure in milliseconds depends on who else is at work on the machine, and neighbours only ever add to it: the target
is held against the quietest round, a minute of sweeps. Ratios are of figures taken one after the other.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import agent_bare
from benchmarks.agent_rig import (
    GPUS,
    PROCESSES_A_GPU,
    SECOND_NS,
    Containers,
    Rig,
    put_to_work,
    real_processes,
    running,
    with_h100,
)
from benchmarks.agent_table import Table, median
from cli.process_memory import collect_rarely

ROOT = Path(__file__).parents[1]
WARM_UP = 120
"""Sweeps before the first that counts; idle power, methods and label caches have settled by then."""
SWEEPS = 60
"""Of the agent in one round: a minute, so that each has its share of what is done every 5, 30 and 60 s."""
PEER_SWEEPS = 10
_PATIENCE = 3
"""So many times the rounds, at most, are spent waiting for a quiet one."""
MOST_CPU_MS = 4.0
LEAST_RATIO = 5.0


@dataclass(slots=True)
class _Rounds:
    """CPU milliseconds of a sweep, one figure a round."""

    bare: list[float] = field(default_factory=list[float])
    agent: list[float] = field(default_factory=list[float])
    peer: list[float] = field(default_factory=list[float])

    def disturbed(self) -> bool:
        """No round was quiet enough yet to tell whether the target is kept."""
        return min(self.agent) > MOST_CPU_MS


def measure(table: Table, folders: Iterator[Path], rounds: int) -> None:
    """Print the rows of sweeps."""
    found = _Rounds()
    driver = with_h100(next(folders), GPUS)
    with driver, real_processes(GPUS * PROCESSES_A_GPU) as pids:
        containers = Containers(next(folders))
        for pid in pids:
            containers.start(pid)
        put_to_work(driver, pids)
        with running(next(folders), driver, containers) as rig, _peer(driver.environment(), next(folders)) as collect:
            collect_rarely()  # as the agent's own process does once it is built
            _repeat(WARM_UP, rig, rig.agent.sweep)
            handles = agent_bare.handles(GPUS)
            for _ in range(3):
                collect()
            while len(found.agent) < rounds or (len(found.agent) < _PATIENCE * rounds and found.disturbed()):
                found.bare.append(_repeat(SWEEPS, rig, lambda: [agent_bare.read(handle) for handle in handles]))
                found.agent.append(_repeat(SWEEPS, rig, rig.agent.sweep))
                found.peer.append(_collect(PEER_SWEEPS, rig, collect))
                _check(rig)
    _print(table, found)


def _print(table: Table, found: _Rounds) -> None:
    by_peer = [peer / agent for peer, agent in zip(found.peer, found.agent, strict=True)]
    by_bare = [agent / bare for agent, bare in zip(found.agent, found.bare, strict=True)]
    table.section(f"CPU of a sweep: {GPUS} H100, {PROCESSES_A_GPU} processes each, GPM on; {len(found.agent)} rounds")
    table.row(f"bare pynvml, {agent_bare.VALUES} values of each GPU: median round", median(found.bare), "ms")
    table.row("the same: quietest round", min(found.bare), "ms")
    table.row("wattledger, the whole sweep: median round", median(found.agent), "ms")
    table.row("the same: quietest round", min(found.agent), "ms", most=MOST_CPU_MS)
    table.row("nvitop-exporter, one collection: median round", median(found.peer), "ms")
    table.row("the same: quietest round", min(found.peer), "ms")
    table.row("wattledger by bare pynvml, median of the rounds", median(by_bare), "times")
    table.row("nvitop-exporter by wattledger, median of the rounds", median(by_peer), "times", least=LEAST_RATIO)


def _repeat(sweeps: int, rig: Rig, sweep: Callable[[], object]) -> float:
    spent = 0
    for _ in range(sweeps):
        rig.clock.advance(SECOND_NS)
        began = time.process_time_ns()
        sweep()
        spent += time.process_time_ns() - began
    return spent / sweeps / 1e6


def _collect(sweeps: int, rig: Rig, collect: Callable[[], int]) -> float:
    spent = 0
    for _ in range(sweeps):
        rig.clock.advance(SECOND_NS)
        spent += collect()
    return spent / sweeps / 1e6


def _check(rig: Rig) -> None:
    """The agent did all that it is timed for."""
    snapshot = rig.agent.snapshot
    views = [] if snapshot is None else list(snapshot.views.values())
    by_gpm = [view for view in views if view.sweep.device.activity_source == "gpm" and view.sweep.device.activity.sm]
    holders = {use.holder for view in views for use in view.uses if use.holder is not None}
    if len(by_gpm) != GPUS or len(holders) != GPUS * PROCESSES_A_GPU or rig.agent.parts.store.save_failures:
        sys.exit(f"not the sweep that was to be timed: GPM on {len(by_gpm)} GPUs, {len(holders)} holders")


@contextmanager
def _peer(environment: dict[str, str], folder: Path) -> Generator[Callable[[], int]]:
    """nvitop-exporter at work; each call is one collection and gives its CPU nanoseconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.agent_peer"],
        cwd=folder,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    requests, answers = process.stdin, process.stdout
    if requests is None or answers is None:
        raise RuntimeError("pipes were asked for")

    def collect() -> int:
        requests.write("\n")
        requests.flush()
        answer = answers.readline()
        if not answer:
            sys.exit("nvitop-exporter ended; its message stands above")
        return int(answer)

    try:
        yield collect
    finally:
        requests.close()
        answers.close()
        process.wait(30)
