"""One part of the ledger's benchmark, in a process of its own: ``python -m benchmarks.ledger_stages PART ROOT ...``.

Prints one JSON object: seconds, peak memory, and what the part itself counts.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from typing import Any

import duckdb
import polars as pl
from deltalake import DeltaTable

from benchmarks import ledger_world as world
from collectors.price_list import PriceRow
from ledger.agent_hours import read_hour
from ledger.allocate import allocate
from ledger.carbon import Carbon, with_carbon
from ledger.carbon_settings import CarbonSettings
from ledger.costing import Costing, CostRules
from ledger.dimension_names import DIMENSION
from ledger.keeper import Keeper
from ledger.price_live_settings import LivePriceSettings
from ledger.price_settings import PriceSettings
from ledger.price_table import LedgerPrices
from ledger.store import Store
from ledger.tables import COST, NODE_HOURS, USAGE

HOURS_A_WRITE = 48
"""Two days: each is a partition, and partitions are written side by side."""
DIMENSIONS = (
    *("cluster", "provider", "region", "zone", "instance_type", "capacity_type", "gpu_model", "namespace"),
    *("workload_kind", "workload", "team", "environment", "run", "account"),
)
OWN_DIMENSION = "cost_center"
SUMS = ("gpu_ns", "energy_mj", "list_nano_usd")
LISTED = PriceRow(
    "aws", "eu-west-1", "p5.48xlarge", "H100-80GB", world.GPUS, "on_demand", world.NODE_NANO, "list", date(2026, 10, 1)
)


def close_hour(root: str, nodes: str) -> dict[str, Any]:
    """An hour of every node, from its agents' documents to seven tables."""
    documents = list(world.documents(int(nodes)))
    keeper = Keeper(Store(root), _costing(Store(root)))
    now = world.START + timedelta(hours=1)
    began = time.perf_counter()
    hours = [read_hour(json.loads(text), node=node, now=now, simulated=False) for node, text in documents]
    read = time.perf_counter()
    kept = keeper.keep(hours, since=world.START, now=now)
    done = time.perf_counter()
    if len(kept.closed) != int(nodes) or kept.unpriced:
        raise RuntimeError(f"{len(kept.closed)} of {nodes} node-hours closed, {len(kept.unpriced)} without a price")
    return {"read_seconds": read - began, "keep_seconds": done - read, "seconds": done - began}


def book(root: str, nodes: str, hours: str) -> dict[str, Any]:
    """Usage of many hours priced, apportioned, weighed in grams and written, as the controller does it."""
    store = Store(root)
    costing = _costing(store)
    seconds: dict[str, float] = dict.fromkeys(("priced and apportioned", "grams", "cost written", "usage written"), 0.0)
    cpu = dict(seconds)
    rows = total = 0

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began, cpu_began = time.perf_counter(), time.process_time()
        made = work()
        seconds[name] += time.perf_counter() - began
        cpu[name] += time.process_time() - cpu_began
        return made

    for first in range(0, int(hours), HOURS_A_WRITE):
        usage = world.usage(int(nodes), first, min(HOURS_A_WRITE, int(hours) - first))
        register = world.node_hours(usage)
        days = {"day": usage["day"].unique().to_list()}
        listed = timed(
            "priced and apportioned", partial(costing.listed, usage, register, world.no_notes(), in_order=True)
        )
        cost = timed("grams", partial(_weighed, listed.cost, usage, costing))
        timed("cost written", partial(store.replace, COST, cost.select(list(COST.schema)), days))
        timed("usage written", partial(store.replace, USAGE, usage, days))
        store.replace(NODE_HOURS, register, days)
        rows, total = rows + usage.height, total + int(cost["list_nano_usd"].sum())
    if total != int(nodes) * int(hours) * world.NODE_NANO:
        raise RuntimeError("the rows do not add up to the nodes' prices")
    return {"rows": rows, "seconds": seconds, "cpu": cpu}


def roll_up(root: str, hours: str) -> dict[str, Any]:
    """Time, energy and dollars by every dimension, as the API and the command line ask for them."""
    store, last = Store(root), world.START + timedelta(hours=int(hours))
    began = time.perf_counter()
    within = pl.col("day") <= (last - timedelta(hours=1)).date(), pl.col("hour_utc") < last
    cost, usage = (store.scan(table).filter(*within) for table in (COST, USAGE))
    rows = allocate(cost, usage, [*DIMENSIONS, DIMENSION + OWN_DIMENSION], basis="list").collect()
    seconds = time.perf_counter() - began
    sums = rows.rename({"cost_nano_usd": "list_nano_usd"}).select(SUMS)
    return {"seconds": seconds, "rows": rows.height} | {name: sum(map(int, sums[name])) for name in SUMS}


def roll_up_duckdb(root: str, hours: str) -> dict[str, Any]:
    """The same by SQL over the same files."""
    until = world.START + timedelta(hours=int(hours))
    began = time.perf_counter()
    own = f"json_extract_string(dimensions, '$.{OWN_DIMENSION}') own"
    names, keys = ", ".join([*DIMENSIONS, own]), ", ".join([*DIMENSIONS, "own"])
    usage, cost = (f"read_parquet({DeltaTable(f'{root}/{table.name}').file_uris()})" for table in (USAGE, COST))
    rows = duckdb.execute(f"""
        with used as (select {names}, sum(gpu_ns::hugeint) gpu_ns, sum(energy_mj::hugeint) energy_mj
                      from {usage} where hour_utc < '{until.isoformat()}' group by all),
             cost as (select {names}, sum(list_nano_usd::hugeint) list_nano_usd
                      from {cost} where hour_utc < '{until.isoformat()}' group by all)
        select {keys}, gpu_ns, energy_mj, list_nano_usd from used full join cost using ({keys})""").fetchall()
    seconds = time.perf_counter() - began
    sums = zip(*(row[-len(SUMS) :] for row in rows), strict=True)
    return {"seconds": seconds, "rows": len(rows)} | dict(zip(SUMS, map(sum, sums), strict=True))


def _weighed(cost: pl.DataFrame, usage: pl.DataFrame, costing: Costing) -> pl.DataFrame:
    return with_carbon(cost.lazy(), usage.lazy(), costing.rules.carbon).collect()


def _costing(store: Store) -> Costing:
    known = LedgerPrices(PriceSettings(), [LISTED], LivePriceSettings())
    return Costing(store, CostRules(known, Carbon.read(CarbonSettings())))


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "close_hour": close_hour,
    "book": book,
    "roll_up": roll_up,
    "roll_up_duckdb": roll_up_duckdb,
}


def main() -> None:
    began = time.process_time()
    told = PARTS[sys.argv[1]](*sys.argv[2:])
    told.setdefault("cpu_seconds", time.process_time() - began)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**told, "peak_mib": peak_mib}))


if __name__ == "__main__":
    main()
