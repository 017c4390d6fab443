"""What the agent costs, beside its peers and held against its targets: ``python -m benchmarks.agent``.

CPU of a sweep and of a minute of the running agent, memory, scrapes, and a soak; all over the fake driver of the tests,
one after another in one run, so that figures of one table were taken on one machine in one state. Figures are CPU time.
Exits with status 1 when a target is missed, and names it. ``--soak`` lets 20,000 sweeps run instead of 8,000.
"""

import signal
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks import agent_process, agent_scrape, agent_soak, agent_sweeps
from benchmarks.agent_rig import folders
from benchmarks.agent_table import Table, machine

PARTS = ("sweeps", "memory", "cpu", "scrapes", "soak")
SHORT_SOAK, LONG_SOAK = 8_000, 20_000
ROUNDS = 15


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.agent", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given several times")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds that take turns; default {ROUNDS}")
    parser.add_argument("--soak", action="store_true", help=f"{LONG_SOAK:,} sweeps in the soak, not {SHORT_SOAK:,}")
    options = parser.parse_args()
    # So that processes and folders are cleared away, whatever ends the run.
    signal.signal(signal.SIGTERM, _leave)
    table = Table()
    print(machine())
    with tempfile.TemporaryDirectory() as root:
        empty = folders(Path(root))
        work = {
            "sweeps": lambda: agent_sweeps.measure(table, empty, options.rounds),
            "memory": lambda: agent_process.measure_memory(table, empty),
            "cpu": lambda: agent_process.measure_cpu(table, empty),
            "scrapes": lambda: agent_scrape.measure(table, empty, options.rounds),
            "soak": lambda: agent_soak.measure(table, LONG_SOAK if options.soak else SHORT_SOAK),
        }
        for part in options.only or PARTS:
            work[part]()
    if table.missed:
        sys.exit("\nmissed: " + "; ".join(table.missed))
    print("\nall targets are kept")


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit("terminated")


if __name__ == "__main__":
    main()
