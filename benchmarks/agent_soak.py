"""Thousands of sweeps at full speed with processes coming and going, scrapes in between: does the agent grow?

Runs in a process of its own, so that nothing but the agent and its rig is weighed, with plain settings as the agent's.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from itertools import count
from pathlib import Path

from agent.installation import Installation
from agent.node_families import NodeFamilies
from agent.node_families import resident_bytes as own_bytes
from benchmarks.agent_rig import (
    GPUS,
    NODE,
    PROCESSES_A_GPU,
    Containers,
    Rig,
    folders,
    put_to_work,
    running,
    with_h100,
)
from benchmarks.agent_table import Table
from cli.process_memory import keep_memory_down
from exporters.exposition import render
from tests.fakedriver.driver import Process

ROOT = Path(__file__).parents[1]
WARM = 1000
"""Sweeps after which memory is looked at."""
SETTLED = 4000
"""Sweeps after which growth counts. By then the first hour is closed: until then its books grow with each holder, and
no later hour's are larger."""
SCRAPE_EVERY = 15
REPLACE_EVERY = 20
"""After so many sweeps one process ends and another begins: 180 an hour, each at work for ten minutes."""
MOST_GROWTH_PERCENT = 5.0
MEGABYTE = 10**6
_ALONE = "import collectors.plain_settings; from benchmarks.agent_soak import main; main()"


def measure(table: Table, sweeps: int) -> None:
    """Print the rows of a soak."""
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, str(sweeps)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit("the soak ended early; its message stands above")
    figures: dict[str, float] = json.loads(done.stdout)
    warm, settled, last, highest = (figures[name] for name in ("warm", "settled", "last", "highest"))
    table.section(
        f"A soak of {sweeps:,} sweeps of {GPUS} H100, {sweeps // REPLACE_EVERY:,} processes replaced, "
        f"a scrape every {SCRAPE_EVERY} sweeps"
    )
    table.row(f"RSS after {WARM:,} sweeps, the first hour open", warm / MEGABYTE, "MB")
    table.row(f"RSS after {SETTLED:,} sweeps, the first hour closed", settled / MEGABYTE, "MB")
    table.row("RSS at the end", last / MEGABYTE, "MB")
    table.row("highest RSS in between", highest / MEGABYTE, "MB")
    table.row("growth since the first hour was closed", 100 * (last / settled - 1), "%", most=MOST_GROWTH_PERCENT)


class _Churn:
    """Replaces processes, the oldest first."""

    def __init__(self, rig: Rig, containers: Containers, pids: list[int]) -> None:
        self._devices = rig.driver.devices
        self._containers = containers
        self._alive = deque((place // PROCESSES_A_GPU, pid) for place, pid in enumerate(pids))
        self._fresh = count(max(pids) + 1)

    def replace_one(self) -> None:
        index, ended = self._alive.popleft()
        pid = next(self._fresh)
        self._devices[index].end(ended)
        self._containers.end(ended)
        self._containers.start(pid)
        self._devices[index].start(Process(pid=pid, share=0.2, memory_bytes=9 << 30))
        self._alive.append((index, pid))


def soak(root: Path, sweeps: int) -> dict[str, int]:
    """RSS in bytes: after :data:`WARM` and :data:`SETTLED` sweeps, at the end, and the highest between."""
    empty = folders(root)
    with with_h100(next(empty), GPUS) as driver:
        containers = Containers(next(empty))
        pids = list(range(10_001, 10_001 + GPUS * PROCESSES_A_GPU))
        for pid in pids:
            containers.start(pid)
        put_to_work(driver, pids)
        with running(next(empty), driver, containers) as rig:
            churn = _Churn(rig, containers, pids)
            families = NodeFamilies(rig.agent, rig.prices, Installation(NODE, "0"))
            seen: dict[int, int] = {}
            for number in range(1, sweeps + 1):
                rig.sweep()
                if number % REPLACE_EVERY == 0:
                    churn.replace_one()
                if number % SCRAPE_EVERY == 0:
                    render(families.families(), openmetrics=True)
                if number >= WARM and (number % 100 == 0 or number == sweeps):
                    seen[number] = own_bytes() or 0
    return {"warm": seen[WARM], "settled": seen[SETTLED], "last": seen[sweeps], "highest": max(seen.values())}


def main() -> None:
    """The process of its own; the number of sweeps is its argument."""
    keep_memory_down()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(soak(Path(folder), int(sys.argv[1]))))
