"""List cost: each node-hour's price over its usage rows, exact to the nano-dollar.

A node-hour costs its node's price times the time that it existed, rounded once, half to even; that is apportioned over
its rows by GPU time, and, where :mod:`ledger.node_split` says so, in part to one row under account ``host``. Where the
ledger's own price table has no price the agent's price notes stand in, GPU by GPU. Where nobody has one the list cost
is null, never 0. Must never look at a bill.
"""

from collections.abc import Sequence

import polars as pl

from collectors.clock import NS_PER_HOUR
from ledger.apportion_frame import apportion_over, half_even, round_over
from ledger.booking import ORDER
from ledger.node_split import NodeSplit, gpu_weight, host_weight
from ledger.tables import COST, DEVICE, HOLDER, PLACE, Columns

LIST = "list"
HOST = "host"
STACK_LAYER = "compute"
"""As a bill's lines of instances have it."""
PRICED_COLUMNS = ("hour_utc", "node", "instance_id", "gpu_model", "price_id", "nano_usd_per_node_hour")

_NODE_HOUR = ["hour_utc", "node", "instance_id"]
_ROW = ("gpu_uuid", "mig", "holder_kind", "holder", "account", "method", "_used")
_COLUMNS: Columns = {**COST.schema, "gpu_ns": pl.Int64}
_RUN = [*_NODE_HOUR, "gpu_model", "price_id"]


def list_cost(
    usage: pl.DataFrame,
    node_hours: pl.DataFrame,
    priced: pl.DataFrame,
    notes: pl.DataFrame,
    split: NodeSplit = NodeSplit.EQUAL,
    *,
    in_order: bool = False,
) -> pl.DataFrame:
    """The cost rows of some node-hours, all with charge ``list``.

    Args:
        usage: all USAGE rows of these node-hours.
        node_hours: their NODE_HOURS rows.
        priced: :data:`PRICED_COLUMNS`: what the ledger's price table asks for the GPUs of one model in the node, with
            the whole node; a row with a null price counts as none.
        notes: PRICES rows of the agents' own price notes, by ``price_id``.
        split: what part of a node's price is its GPUs'.
        in_order: the usage stands in :data:`ledger.booking.ORDER`, as a booking makes it: no sort is needed.

    Returns:
        COST rows, with ``gpu_ns`` beside them (null on rows of account ``host``): usage rows that differ in their
        energy's method only, or only in an agent's price that was not used, are one row.
    """
    rows = (usage if in_order else usage.sort(ORDER)).with_columns(pl.struct(_RUN).rle_id().alias("_run"))
    runs = _runs(rows, node_hours, priced, notes)
    wholes = _wholes(runs, split)
    rows = _merged(_with_wholes(rows, runs, wholes))
    split_rows = apportion_over(
        rows.lazy().with_row_index("_row"),
        whole="_whole",
        weight="gpu_ns",
        by=["_group"],
        order=["_row"],
        into="list_nano_usd",
    ).with_columns(price_id="_used")
    return _cost_rows([split_rows.collect(), _host_rows(rows, wholes)])


def _runs(rows: pl.DataFrame, node_hours: pl.DataFrame, priced: pl.DataFrame, notes: pl.DataFrame) -> pl.DataFrame:
    """One row for each run of rows of one node-hour, model and agent's price: time, prices, control figures."""
    facts = node_hours.select(*_NODE_HOUR, "existed_ns", "gpu_count", "vcpus", "memory_mib")
    asked = priced.select(*_NODE_HOUR, "gpu_model", ledger_id="price_id", node_nano="nano_usd_per_node_hour").filter(
        pl.col("node_nano").is_not_null()
    )
    noted = notes.select("price_id", gpu_nano="nano_usd_per_gpu_hour").unique("price_id", keep="first")
    return (
        rows.group_by("_run")
        .agg(pl.col(_RUN).first(), ns=pl.col("gpu_ns").cast(pl.Int128).sum())
        .sort("_run")
        .with_columns(pl.struct(_NODE_HOUR).rle_id().alias("_unit"))
        .join(facts, on=_NODE_HOUR, how="left", maintain_order="left")
        .join(asked, on=[*_NODE_HOUR, "gpu_model"], how="left", maintain_order="left")
        .join(noted, on="price_id", how="left", maintain_order="left")
        .with_columns(
            _used=pl.when(pl.col("node_nano").is_not_null())
            .then("ledger_id")
            .when(pl.col("gpu_nano").is_not_null())
            .then("price_id")
            .otherwise(pl.lit("")),
            numerator=pl.when(pl.col("node_nano").is_not_null())
            .then(pl.col("node_nano").cast(pl.Int128) * pl.col("existed_ns").cast(pl.Int128))
            .otherwise(pl.col("gpu_nano").cast(pl.Int128) * pl.col("ns")),
        )
    )


def _wholes(runs: pl.DataFrame, split: NodeSplit) -> pl.DataFrame:
    """One row for each node-hour, model and price that is used: what its GPUs cost, and what its host costs."""
    of_node = pl.col("node_nano").is_not_null()
    numerator = pl.when(of_node.first()).then(pl.col("numerator").first()).otherwise(pl.col("numerator").sum())
    known = pl.col("numerator").is_not_null().all()
    summed = runs.group_by("_unit", "gpu_model", "_used").agg(
        pl.when(known).then(numerator).alias("numerator"),
        pl.col("gpu_count", "vcpus", "memory_mib").first(),
    )
    rounded = round_over(
        summed.sort("_unit", "gpu_model", "_used").with_row_index("_group").lazy(),
        numerator="numerator",
        denominator=NS_PER_HOUR,
        by=["_unit"],
        order=["_group"],
        into="all",
    )
    gpus, host = gpu_weight(split), host_weight(split)
    part = half_even(pl.col("all").cast(pl.Int128) * gpus, pl.max_horizontal(gpus + host, pl.lit(1, pl.Int128)))
    divides = (host > 0) & (gpus > 0)
    return (
        rounded.with_columns(_whole=pl.when(divides).then(part.cast(pl.Int64)).otherwise("all"))
        .with_columns(host=pl.when(divides).then(pl.col("all") - pl.col("_whole")))
        .collect()
    )


def _with_wholes(rows: pl.DataFrame, runs: pl.DataFrame, wholes: pl.DataFrame) -> pl.DataFrame:
    """The rows with what they are apportioned from; a run's number is its place among the runs."""
    key = ["_unit", "gpu_model", "_used"]
    of_run = runs.select(key).join(wholes.select(*key, "_group", "_whole"), on=key, how="left", maintain_order="left")
    columns = [of_run[name].gather(rows["_run"]).alias(name) for name in ("_used", "_group", "_whole", "_unit")]
    return rows.with_columns(
        column.set_sorted() if column.name == "_group" and column.is_sorted() else column for column in columns
    )


def _merged(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that are one in cost; as the rows are sorted they follow each other."""
    if _all_differ(rows, ["account"]) or _all_differ(rows, ["_unit", *_ROW]):
        return rows
    same = pl.struct("_unit", *_ROW).rle_id()
    others = [name for name in rows.columns if name not in {"gpu_ns", "_used", "_group", "_whole"}]
    merged = rows.with_columns(same.alias("_same")).group_by("_same", "_used", "_group", "_whole", maintain_order=True)
    return merged.agg(pl.col(others).first(), pl.col("gpu_ns").sum()).drop("_same")


def _all_differ(rows: pl.DataFrame, names: Sequence[str]) -> bool:
    """Whether each row differs from the one before it in these columns."""
    return rows.is_empty() or rows.select(pl.struct(names).rle_id().last()).item() == rows.height - 1


def _host_rows(rows: pl.DataFrame, wholes: pl.DataFrame) -> pl.DataFrame:
    """One row for each node-hour whose host bears a part."""
    nobody = {name: pl.lit("") for name in (*DEVICE, *HOLDER)}
    shared = wholes.filter(pl.col("host").is_not_null())
    if shared.is_empty():
        return rows.head(0)
    parts = shared.sort("_group").group_by("_unit", maintain_order=True)
    shares = parts.agg(price_id=pl.col("_used").first(), list_nano_usd=pl.col("host").sum())
    places = rows.select("_unit", "day", "hour_utc", *PLACE).unique("_unit", keep="first")
    return shares.join(places, on="_unit").with_columns(account=pl.lit(HOST), method=pl.lit(""), **nobody)


def _cost_rows(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    told = {"billing_account": pl.lit(""), "charge": pl.lit(LIST), "stack_layer": pl.lit(STACK_LAYER)}
    frames: list[pl.DataFrame] = []
    for part in parts:
        have = {*part.columns, *told}
        columns = [
            (pl.col(name) if name in have else pl.lit(None)).cast(dtype).alias(name) for name, dtype in _COLUMNS.items()
        ]
        frames.append(part.with_columns(**told).select(columns))
    return pl.concat(frames)
