"""A fleet on paper: a week of nodes with two holders on each GPU, as frames, and one hour of it as agents' documents.

Deterministic: the same figures on every machine.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl

from collectors.clock import NS_PER_HOUR
from ledger.apportion import apportion
from ledger.hours import (
    Amount,
    CellKey,
    DeviceHour,
    HolderKey,
    HolderNote,
    HourBook,
    NodeNote,
    PriceNote,
    RowKey,
    WorkKey,
    encode,
)
from ledger.list_cost import PRICED_COLUMNS
from ledger.tables import NODE_HOURS, PRICES, USAGE, conform

START = datetime(2026, 11, 2, tzinfo=UTC)
GPUS = 8
HOLDERS = 2
ROWS_PER_NODE = GPUS * HOLDERS * 2
MODEL = "NVIDIA H100 80GB HBM3"
PRICE_ID = "bundled:list/aws/eu-west-1/p5.48xlarge/on_demand@2026-10-01=6880000000n"
NODE_NANO = 8 * 6_880_000_000


def usage(nodes: int, first_hour: int, hours: int) -> pl.DataFrame:
    """USAGE rows, ``active`` and ``idle`` of two holders on each GPU of each node, in the order of the books."""
    grid = pl.select(pl.int_range(nodes * hours * ROWS_PER_NODE, dtype=pl.Int64).alias("i")).lazy()
    row = pl.col("i") % ROWS_PER_NODE
    node, hour = pl.col("i") // ROWS_PER_NODE % nodes, pl.col("i") // (ROWS_PER_NODE * nodes) + first_hour
    gpu, holder, kind = row // 4, row // 2 % 2, row % 2
    name = "node-" + node.cast(pl.String).str.zfill(5)
    work = "train-" + ((node * 16 + gpu * 2 + holder) % 400).cast(pl.String).str.zfill(3)
    pod = work + "-" + node.cast(pl.String) + "-" + gpu.cast(pl.String) + "-" + holder.cast(pl.String)
    active = (((pl.col("i") // 4).hash(7) % 1_700_000_000_000) + 10**11).cast(pl.Int64)
    held = pl.when(holder == 0).then(NS_PER_HOUR // 2).otherwise(NS_PER_HOUR - NS_PER_HOUR // 2)
    ns = pl.when(kind == 0).then(active).otherwise(held - active)
    facts = {
        "hour_utc": pl.lit(START) + pl.duration(hours=hour),
        "cluster": pl.lit("eu-1"),
        "node": name,
        "provider": pl.lit("aws"),
        "region": pl.lit("eu-west-1"),
        "zone": pl.lit("eu-west-1a"),
        "instance_id": "i-" + node.cast(pl.String).str.zfill(17),
        "instance_type": pl.lit("p5.48xlarge"),
        "capacity_type": pl.lit("on_demand"),
        "gpu_uuid": "GPU-" + name + "-" + gpu.cast(pl.String),
        "gpu_model": pl.lit(MODEL),
        "mig": pl.lit(""),
        "holder_kind": pl.lit("pod"),
        "holder": "ml/" + pod + "/main",
        "namespace": pl.lit("ml"),
        "pod": pod,
        "container": pl.lit("main"),
        "workload_kind": pl.lit("PyTorchJob"),
        "workload": work,
        "team": "team-" + (node % 40).cast(pl.String),
        "environment": pl.when(node % 3 == 0).then(pl.lit("prod")).otherwise(pl.lit("dev")),
        "run": work,
        "dimensions": '{"cost_center": "' + (node % 25).cast(pl.String) + '"}',
        "account": pl.when(kind == 0).then(pl.lit("active")).otherwise(pl.lit("idle")),
        "method": pl.lit("sm"),
        "energy_method": pl.lit("idle_split"),
        "price_id": pl.lit(PRICE_ID),
        "gpu_ns": ns,
        "energy_mj": ns // 2_000_000,
        "memory_mib_s": ns // 10**9 * 40_000,
        "requested_ns": ns,
        "source": pl.lit("measured"),
    }
    full = grid.with_columns(**facts).with_columns(day=pl.col("hour_utc").dt.date())
    return conform(USAGE, full).collect()


def node_hours(frame: pl.DataFrame) -> pl.DataFrame:
    """The register of the node-hours of some usage."""
    rows = (
        frame.lazy()
        .select(*NODE_HOURS.schema.keys() & frame.collect_schema().keys())
        .unique()
        .with_columns(
            gpu_count=pl.lit(GPUS),
            existed_ns=pl.lit(NS_PER_HOUR),
            evidence=pl.lit("api"),
            vcpus=pl.lit(192),
            memory_mib=pl.lit(2_097_152),
            state=pl.lit("final"),
            revision=pl.lit(1),
            digest=pl.lit(""),
            booked_at=pl.lit(START),
        )
    )
    return conform(NODE_HOURS, rows).sort("hour_utc", "node").collect()


def priced(hours: pl.DataFrame) -> pl.DataFrame:
    """What the ledger's price table asks in each node-hour."""
    asked = hours.lazy().with_columns(
        gpu_model=pl.lit(MODEL), price_id=pl.lit("ledger/" + PRICE_ID), nano_usd_per_node_hour=pl.lit(NODE_NANO)
    )
    return asked.select(PRICED_COLUMNS).collect()


def no_notes() -> pl.DataFrame:
    """No agent's price is needed."""
    return pl.DataFrame(schema=PRICES.schema)


def documents(nodes: int, hour: int = 0) -> Iterator[tuple[str, bytes]]:
    """One closed hour of each node, as its agent serves it: its name and the document."""
    chance = random.Random(5)
    for index in range(nodes):
        name = f"node-{index:05}"
        yield name, encode(_book(index, name, hour, chance), node=name, source="nvml", closed=True, change=1)


def _book(index: int, node: str, hour: int, chance: random.Random) -> HourBook:
    book = HourBook(int((START + timedelta(hours=hour)).timestamp()), revision=1)
    book.prices[PRICE_ID] = PriceNote(NODE_NANO // GPUS, "bundled:list", "2026-10-01", "on_demand", estimate=False)
    for gpu in range(GPUS):
        uuid, energy = f"GPU-{node}-{gpu}", chance.randrange(10**6, 2_500_000)
        book.devices[uuid] = DeviceHour(MODEL, NS_PER_HOUR, energy)
        weights = [chance.randrange(1, 100) for _ in range(2 * HOLDERS)]
        parts = zip(apportion(NS_PER_HOUR, weights), apportion(energy, weights), strict=True)
        for at, (ns, mj) in enumerate(parts):
            pod = f"train-{(index * 16 + gpu * 2 + at // 2) % 400:03}-{index}-{gpu}-{at // 2}"
            key = HolderKey("pod", f"ml/{pod}/main")
            book.rows[RowKey(CellKey(uuid, "", *key, ("active", "idle")[at % 2], "sm"), "idle_split", PRICE_ID)] = (
                Amount(ns, mj)
            )
            book.holders[key] = HolderNote(
                "PyTorchJob", pod, "ml", pod, "main", f"u-{pod}", f"team-{index % 40}", run=pod
            )
            book.work[WorkKey(*key, "", "", "steps")] = ns // 10**10
            if at % 2 == 0:
                book.profile.append(_profile(uuid, key, ns, chance))
    book.node_facts = NodeNote(
        node, "eu-1", "aws", "eu-west-1", "eu-west-1a", f"i-{index:017}", "p5.48xlarge", "on_demand", GPUS, 192, 1 << 41
    )
    return book


def _profile(uuid: str, key: HolderKey, ns: int, chance: random.Random) -> dict[str, object]:
    names = ("duty_cycle_ppm", "sm_ppm", "tensor_ppm", "dram_ppm", "memory_mib", "power_mw", "power_limit_mw")
    measures = {name: [(level := chance.randrange(10**6)) * ns, ns, level] for name in names}
    totals = {"pcie_bytes": chance.randrange(10**12), "nvlink_bytes": chance.randrange(10**13)}
    return {"gpu_uuid": uuid, "mig": "", **key._asdict(), "measures": measures, "totals": totals}
