"""What a scrape costs by the number of series: real books, real families, rendered and compressed as the agent does.

The yardstick is the cheapest that could be written by hand: label strings built before, ``repr`` of a float, one join.
"""

import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from agent.books import Books, Meter
from agent.installation import Installation
from agent.node_families import NodeFamilies
from benchmarks.agent_rig import NODE, Containers, Rig, put_to_work, running, with_h100
from benchmarks.agent_table import Table, median
from exporters.exposition import Family, render
from ledger.hours import CellKey

SERIES = (500, 5_000, 50_000)
GATED_SERIES = 5_000
MOST_RATIO = 2.0
_GZIP_QUICK, _GZIP_BEST = 1, 9
_FEW_ROUNDS = 5
_UUID = "GPU-d88daba8-2044-5ff5-85d8-51c1a041f05b"
_PLAYED = "cafe"
"""What the ids of containers begin with that are made up here."""


def measure(table: Table, folders: Iterator[Path], rounds: int) -> None:
    """Print the rows of scrapes."""
    with with_h100(next(folders), 1) as driver:
        containers = Containers(next(folders))
        containers.start(10_001)
        put_to_work(driver, [10_001])
        with running(next(folders), driver, containers) as rig:
            for _ in range(10):
                rig.sweep()
            for series in SERIES:
                _measure(table, rig, series, rounds if series <= GATED_SERIES else _FEW_ROUNDS)


def _measure(table: Table, rig: Rig, series: int, rounds: int) -> None:
    families = NodeFamilies(rig.agent, rig.prices, Installation(NODE, "0"))
    books = rig.agent.parts.accountant.books
    _fill(books, 0)
    before = _count(families.families())
    _fill(books, 1)
    each = _count(families.families()) - before
    _fill(books, (series - before) // each)
    shown = families.families()
    number = _count(shown)
    labels = [(prefix, float(value)) for family in shown for prefix, value in family.lines]
    registry = _peer_registry(shown)
    page = render(shown, openmetrics=False)
    ours, by_hand, peer, quick, best = _in_turns(
        rounds,
        lambda: render(families.families(), openmetrics=False),
        lambda: "".join([f"{prefix}{value!r}\n" for prefix, value in labels]).encode(),
        lambda: generate_latest(registry),
        lambda: gzip.compress(page, _GZIP_QUICK, mtime=0),
        lambda: gzip.compress(page, _GZIP_BEST, mtime=0),
    )
    sizes = [len(gzip.compress(page, level, mtime=0)) for level in (_GZIP_QUICK, _GZIP_BEST)]
    table.section(f"A scrape of {number:,} series, {len(page) / 1e6:.2f} MB; CPU, median of {rounds} rounds")
    table.row("wattledger: families from the books, rendered", median(ours), "ms")
    table.row("labels built before, repr of a float, join", median(by_hand), "ms")
    ratio = median(a / b for a, b in zip(ours, by_hand, strict=True))
    table.row("the one by the other", ratio, "times", most=MOST_RATIO if series == GATED_SERIES else None)
    table.row("prometheus-client, generate_latest of as many gauges", median(peer), "ms")
    table.row(f"gzip level 1, on top where asked for: to {sizes[0] / 1000:.0f} kB", median(quick), "ms")
    table.row(f"gzip level 9, not used: to {sizes[1] / 1000:.0f} kB", median(best), "ms")


def _fill(books: Books, holders: int) -> None:
    """So many holders that worked and rested on the first device, with figures as long as they are after months."""
    uuid = next(iter(books.bases))
    for key in [key for key in books.meters if key.holder.startswith(_PLAYED)]:
        del books.meters[key]
    for number in range(holders):
        holder = f"{_PLAYED}{number:08x}"
        for account in ("active", "idle"):
            key = CellKey(uuid, "", "container", holder, account, "sm")
            gpu_ns = 1_234_567_890_123_457 + 7919 * number
            books.meters[key] = Meter(gpu_ns, 987_654_321 + 104_729 * number, gpu_ns * 2_986_000_000, 1)
    books.shape += 1


def _count(families: list[Family]) -> int:
    return sum(len(family.lines) for family in families)


def _peer_registry(families: list[Family]) -> CollectorRegistry:
    """As many gauges with the same values and the same number of labels."""
    registry = CollectorRegistry()
    names = ("node", "gpu_uuid", "mig", "account", "holder_kind", "holder")
    gauge = Gauge("peer_value", "The same figure.", names, registry=registry)
    values = [float(value) for family in families for _, value in family.lines]
    for number, value in enumerate(values):
        gauge.labels(NODE, _UUID, "", "active", "container", str(number)).set(value)
    return registry


def _in_turns(rounds: int, *works: Callable[[], object]) -> list[list[float]]:
    """CPU milliseconds of each, one figure a round."""
    spent: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, figures in zip(works, spent, strict=True):
            began = time.process_time_ns()
            work()
            figures.append((time.process_time_ns() - began) / 1e6)
    return spent
