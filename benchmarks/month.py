"""Plays a scripted month undisturbed, then in lives that are killed at random, and holds the books against each other.

``python -m benchmarks.month --kills 200`` runs the controller's own jobs over a month of a small fleet: agents behind
HTTP, bills in a directory, AWS's prices on the loopback. In the end both ledgers must be the same row by row, come to
the truth that is worked out apart from them, and break no law. The exit status tells.
"""

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from ledger.store import Store
from ledger.tables import COST, NODE_HOURS, USAGE
from ledger.verify import pending_hours, verify
from tests.integration.month_run import Broken, Played, differences, play, play_killed
from tests.integration.month_truth import total_nano

_NANO = 10**9


def run(kills: int, seed: int, folder: Path) -> tuple[Played, Played]:
    """The month undisturbed and killed so many times.

    Raises:
        Broken: the first thing that is not as it must be.
    """
    for name in ("whole", "killed"):
        (folder / name).mkdir()
    whole = play(folder / "whole")
    killed = play_killed(folder / "killed", kills, random.Random(seed), whole.seconds)
    for found in (*differences(whole.store, killed.store), *faults(killed.store)):
        raise Broken(found)
    return whole, killed


def faults(store: Store) -> Iterator[str]:
    """What of a ledger is not as the truth and the laws of the books have it."""
    wanted, found = total_nano(), _sum(store, COST.name, "effective_nano_usd")
    if found != wanted:
        yield f"the month costs {found} nano-dollars where its bills say {wanted}"
    if pending := pending_hours(store):
        yield f"cost of {len(pending)} hours is not made, such as {pending[0]}"
    yield from (str(each) for each in verify(store))


def _sum(store: Store, table: str, column: str) -> int:
    which = next(each for each in (COST, USAGE, NODE_HOURS) if each.name == table)
    return int(store.scan(which).select(pl.col(column).cast(pl.Int128).sum()).collect().item())


def table(whole: Played, killed: Played) -> list[tuple[str, str]]:
    """What to tell."""
    store = killed.store
    rows = {which.name: store.scan(which).select(pl.len()).collect().item() for which in (NODE_HOURS, USAGE, COST)}
    landed = ", ".join(f"{count} {where}" for where, count in killed.landed.most_common())
    system = f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    return [
        ("kills", f"{killed.landed.total()}: {landed}; once there was no room on the disk"),
        ("rows", ", ".join(f"{count} {name}" for name, count in rows.items())),
        ("GPU time", f"{_sum(store, USAGE.name, 'gpu_ns') / _NANO:.9f} s"),
        ("bill", f"{_sum(store, COST.name, 'effective_nano_usd') / _NANO:.9f} USD, each in one account"),
        ("work", f"{sum(whole.seconds):.1f} s undisturbed at {len(whole.seconds)} moments"),
        ("machine", system),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20, help="how many (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=None, help="of the moments of the kills (default: another each time)"
    )
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wattledger-month-") as folder:
        try:
            rows = table(*run(options.kills, seed, Path(folder)))
        except Broken as error:
            print(f"BROKEN  with seed {seed}: {error}", file=sys.stderr)
            return 1
    for name, value in [*rows, ("run", f"seed {seed}, {time.monotonic() - began:.0f} s")]:
        print(f"{name:<10}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
