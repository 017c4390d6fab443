"""What the ledger costs, held against its targets and beside DuckDB: ``python -m benchmarks.ledger``.

A week of 1,000 nodes of 8 GPUs with two holders each is booked (5.4 million rows), one hour of it closed from agents'
documents, and the week rolled up by every dimension; each part in a process of its own, so that time and peak memory
are those of a cold start. Seconds are by the wall clock: other work on the machine counts, so the load is told beside,
and CPU time, which tells what a free machine would need. Exits with status 1 when a target is missed, and names it.
"""

import json
import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from importlib.metadata import version
from typing import Any

from benchmarks.agent_table import Table, machine
from cli.process_memory import KEPT_PAGES, TABLES_ALLOCATOR

NODES = 1000
HOURS = 7 * 24
LIBRARIES = ("polars", "deltalake", "duckdb")
MEMORY_MIB = 2048
FLAT = 1.5
"""Peak memory over ten times the range, as a multiple; what is not held back would be ten."""


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("--nodes", type=int, default=NODES, help=f"default {NODES}; targets are those of {NODES}")
    options = parser.parse_args()
    table = Table()
    print(machine())
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    print(f"others at work: load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as root:
        _close(table, f"{root}/hour", options.nodes)
        _book(table, f"{root}/week", options.nodes)
        _roll_up(table, f"{root}/week")
    if table.missed:
        sys.exit("\nmissed: " + "; ".join(table.missed))
    print("\nall targets are kept")


def _close(table: Table, root: str, nodes: int) -> None:
    told = _part("close_hour", root, nodes)
    table.section(f"Closing an hour of {nodes:,} nodes from their documents")
    table.row("read and checked", told["read_seconds"], "s")
    table.row("booked, priced, seven tables written", told["keep_seconds"], "s")
    table.row("an hour closed", told["seconds"], "s", most=15)
    table.row("peak memory", told["peak_mib"], "MiB")


def _book(table: Table, root: str, nodes: int) -> None:
    tenth, told = _part("book", f"{root}-tenth", nodes, HOURS // 10), _part("book", root, nodes, HOURS)
    table.section(f"Booking a week of {nodes:,} nodes: {told['rows']:,} rows of usage")
    for name, seconds in told["seconds"].items():
        table.row(name, seconds, "s")
    booking = ("priced and apportioned", "cost written")
    _rate(table, told, "priced, apportioned and written as cost", booking, least=1)
    _rate(table, told, "the same with grams", (*booking, "grams"))
    _rate(table, told, "all that the controller does, usage written too", tuple(told["seconds"]))
    table.row("peak memory", told["peak_mib"], "MiB")
    table.row("peak memory over a tenth of the range", tenth["peak_mib"], "MiB")


def _rate(table: Table, told: dict[str, Any], name: str, parts: tuple[str, ...], **target: float) -> None:
    """Rows a second by the clock, and what the CPU time of these parts would come to, were no core wanted elsewhere."""
    seconds, cpu = (sum(told[figure][part] for part in parts) for figure in ("seconds", "cpu"))
    table.row(name, told["rows"] / seconds / 1e6, "million rows/s", **target)
    table.row("    by CPU time", told["rows"] / cpu * (os.cpu_count() or 1) / 1e6, "million rows/s")


def _roll_up(table: Table, root: str) -> None:
    tenth, week = _part("roll_up", root, HOURS // 10), _part("roll_up", root, HOURS)
    peer = _part("roll_up_duckdb", root, HOURS)
    table.section(f"Rolling up the week by every dimension: {week['rows']:,} groups of usage and cost")
    table.row("as the API answers it, cold", week["seconds"], "s", most=10)
    table.row("its CPU time, with the imports", week["cpu_seconds"], "s")
    table.row("DuckDB, cold", peer["seconds"], "s")
    table.row("its CPU time, with the imports", peer["cpu_seconds"], "s")
    table.row("peak memory", week["peak_mib"], "MiB", most=MEMORY_MIB)
    table.row("peak memory, DuckDB", peer["peak_mib"], "MiB")
    table.row("peak memory over a tenth of the range", tenth["peak_mib"], "MiB")
    table.row("peak memory, tenfold range", week["peak_mib"] / tenth["peak_mib"], "times", most=FLAT)
    for name in ("rows", "gpu_ns", "energy_mj", "list_nano_usd"):
        if week[name] != peer[name]:
            table.missed.append(f"{name}: polars says {week[name]}, DuckDB {peer[name]}")


def _part(name: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.ledger_stages", name, *map(str, arguments)]
    environment = {TABLES_ALLOCATOR: KEPT_PAGES, **os.environ}  # as the controller runs
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    main()
