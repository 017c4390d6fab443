"""Ten million bill lines read, matched and booked, beside DuckDB: ``python -m benchmarks.bills``.

Both sides read the same files cold, each in a process of its own: CSV of FOCUS, and the same lines as Parquet. DuckDB
casts times and amounts, joins each line with the node-hour of its instance, and copies to Parquet. Ours checks each
file to its last cell, converts every amount exactly, tells duplicates, books the charges into a Delta table, then sums
the lines by node-hour. The sums by node-hour have to agree to the nano-dollar. Both have as many threads as there are
cores. Seconds are by the wall clock, and CPU time beside them, which tells what a free machine would need; imports are
in neither. Exits with status 1 when a target is missed, and names it.
"""

import json
import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from importlib.metadata import version
from typing import Any

from benchmarks.agent_table import Table, machine, median
from cli.process_memory import KEPT_PAGES, TABLES_ALLOCATOR

Told = dict[str, Any]

LINES = 10_000_000
LIBRARIES = ("polars", "deltalake", "duckdb")
MOST_TIMES = 2
FLAT = 1.5
"""Peak memory over ten times the lines, as a multiple."""


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.bills", description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES, help=f"default {LINES:,}")
    parser.add_argument("--rounds", type=int, default=1, help="rounds that take turns; the median counts; default 1")
    parser.add_argument("--form", choices=("csv", "parquet"), action="append", help="this form alone")
    options = parser.parse_args()
    table = Table()
    print(machine())
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    print(f"others at work: load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for form in options.form or ("csv", "parquet"):
        with tempfile.TemporaryDirectory() as root:
            _compare(table, root, form, options.lines, options.rounds)
    if table.missed:
        sys.exit("\nmissed: " + "; ".join(table.missed))
    print("\nall targets are kept")


def _compare(table: Table, root: str, form: str, lines: int, rounds: int) -> None:
    size = _part("generate", f"{root}/whole", form, lines)["bytes"]
    _part("generate", f"{root}/tenth", form, lines // 10)
    tenth = _part("ours", f"{root}/tenth", form)
    reading = [_part("read", f"{root}/{each}", form)["peak_mib"] for each in ("tenth", "whole")]
    ours, peer = list[Told](), list[Told]()
    for _ in range(rounds):
        ours.append(_part("ours", f"{root}/whole", form))
        peer.append(_part("duckdb", f"{root}/whole", form))
    mine, theirs = (median(told["seconds"] for told in side) for side in (ours, peer))
    table.section(f"{lines:,} lines of FOCUS as {form}, {size / 1e9:.1f} GB")
    for name in ours[0]["parts"]:
        table.row(f"ours: {name}", median(told["parts"][name] for told in ours), "s")
    table.row("ours, together", mine, "s")
    table.row("DuckDB: read, joined, copied to Parquet", theirs, "s")
    table.row("ours to DuckDB", mine / theirs, "times", most=MOST_TIMES)
    mine, theirs = (median(told["cpu_seconds"] for told in side) for side in (ours, peer))
    for name in ours[0]["cpu_parts"]:
        table.row(f"CPU time, ours: {name}", median(told["cpu_parts"][name] for told in ours), "s")
    table.row("CPU time, ours, together", mine, "s")
    table.row("CPU time, DuckDB", theirs, "s")
    table.row("CPU time, ours to DuckDB", mine / theirs, "times")
    table.row("peak memory over a tenth of the lines", tenth["peak_mib"], "MiB")
    table.row("peak memory", max(told["peak_mib"] for told in ours), "MiB")
    table.row("peak memory, DuckDB", max(told["peak_mib"] for told in peer), "MiB")
    table.row("peak memory, read, checked and copied to Parquet without the ledger", reading[1], "MiB")
    table.row("the same, tenfold lines", reading[1] / reading[0], "times", most=FLAT)
    table.row("peak memory, tenfold lines", ours[0]["peak_mib"] / tenth["peak_mib"], "times", most=FLAT)
    for name in ("lines", "matched", "node_hours", "nano_usd"):
        if ours[0][name] != peer[0][name]:
            table.missed.append(f"{form}: {name}: ours is {ours[0][name]}, DuckDB's {peer[0][name]}")


def _part(name: str, *arguments: object) -> Told:
    command = [sys.executable, "-m", "benchmarks.bill_stages", name, *map(str, arguments)]
    environment = {TABLES_ALLOCATOR: KEPT_PAGES, **os.environ}  # as the controller runs
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    told: Told = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    main()
