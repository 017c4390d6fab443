"""One part of the ledger's benchmark, in a process of its own: ``python -m benchmarks.ledger_stages PART ROOT ...``.

Prints one JSON object: seconds, peak memory, and what the part itself counts.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import duckdb
import polars as pl
from deltalake import DeltaTable

from benchmarks import ledger_world as world
from collectors.price_list import PriceRow
from ledger.agent_hours import read_hour
from ledger.allocate import DIMENSION, allocate
from ledger.keeper import Keeper
from ledger.list_cost import PRICED_COLUMNS, list_cost
from ledger.list_costing import ListCosting, devices
from ledger.price_live_settings import LivePriceSettings
from ledger.price_settings import PriceSettings
from ledger.price_table import LedgerPrices, price_node_hours
from ledger.store import Store
from ledger.tables import COST, NODE_HOURS, ON_DEMAND_PRICES, SPOT_PRICES, USAGE

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
    keeper = Keeper(Store(root), ListCosting(Store(root), _known()))
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
    """Usage of many hours priced, apportioned and written as cost; the usage itself is written beside, not counted."""
    store, known = Store(root), _known()
    price = apportion = write = other = cpu = 0.0
    rows = total = 0
    rates: list[float] = []
    for first in range(0, int(hours), HOURS_A_WRITE):
        count = min(HOURS_A_WRITE, int(hours) - first)
        usage = world.usage(int(nodes), first, count)
        register = world.node_hours(usage)
        began, cpu_began = time.perf_counter(), time.process_time()
        priced = price_node_hours(devices(usage), known, store.scan(SPOT_PRICES), store.scan(ON_DEMAND_PRICES))
        at_price = time.perf_counter()
        asked = priced.hours.select(PRICED_COLUMNS)
        cost = list_cost(usage, register, asked, world.no_notes(), in_order=True)
        at_cost = time.perf_counter()
        days = {"day": usage["day"].unique().to_list()}
        store.replace(COST, cost.select(list(COST.schema)), days)
        at_write = time.perf_counter()
        cpu += time.process_time() - cpu_began
        price, apportion, write = price + at_price - began, apportion + at_cost - at_price, write + at_write - at_cost
        store.replace(USAGE, usage, days)
        store.replace(NODE_HOURS, register, days)
        other += time.perf_counter() - at_write
        rows, total = rows + usage.height, total + int(cost["list_nano_usd"].sum())
        rates.append(usage.height / (at_write - began))
    if total != int(nodes) * int(hours) * world.NODE_NANO:
        raise RuntimeError("the rows do not add up to the nodes' prices")
    seconds = {"price": price, "apportion": apportion, "write": write, "usage": other}
    return {
        "rows": rows,
        "seconds": price + apportion + write,
        "cpu_seconds": cpu,
        "parts": seconds,
        "rates": rates,
    }


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


def _known() -> LedgerPrices:
    return LedgerPrices(PriceSettings(), [LISTED], LivePriceSettings())


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
