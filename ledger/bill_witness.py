"""What bills witness of when GPU instances existed: for those that no event, API or journal tells of.

Owns the stretches that hourly lines of an instance make. Instances without GPUs are no nodes of these books: their
lines stay with what is shared.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

import polars as pl

from collectors.price_list import PriceRow
from ledger.store import Store
from ledger.store_progress import note_progress, progress
from ledger.tables import CHARGES, LIFETIMES

BILL = "bill"
_WHAT = "bill lifetimes"
_INSTANCE = ("provider", "instance_id", "instance_type")
_CAPACITY = {"on_demand": "on_demand", "spot": "spot", "commitment": "on_demand"}


def gpu_types(listed: Iterable[PriceRow], shapes: pl.DataFrame) -> Mapping[tuple[str, str], int]:
    """GPUs of each provider's instance types, as far as lists and the cloud itself tell.

    Args:
        listed: the bundled list.
        shapes: INSTANCE_TYPES rows, which go before the list.
    """
    sold: dict[tuple[str, str], set[int]] = {}
    for row in listed:
        if row.instance_type:
            sold.setdefault((row.provider, row.instance_type), set()).add(row.gpu_count)
    # a machine type that is sold with several sets of GPUs does not tell how many there were
    known = {key: min(counts) for key, counts in sold.items() if len(counts) == 1}
    told = shapes.filter(pl.col("gpu_count") > 0).select("provider", "instance_type", "gpu_count")
    return known | {(provider, name): count for provider, name, count in told.iter_rows()}


def type_table(types: Mapping[tuple[str, str], int]) -> pl.LazyFrame:
    """What :func:`gpu_types` gives, as ``provider, instance_type, gpu_count``."""
    rows = [(provider, name, count) for (provider, name), count in types.items()]
    schema = {"provider": pl.String, "instance_type": pl.String, "gpu_count": pl.Int32}
    return pl.LazyFrame(rows, schema=schema, orient="row")


def bill_lifetimes(charges: pl.LazyFrame, types: Mapping[tuple[str, str], int], others: pl.LazyFrame) -> pl.DataFrame:
    """One row for each unbroken stretch in which an instance was charged by the hour, or for less.

    Args:
        charges: CHARGES rows.
        types: of :func:`gpu_types`.
        others: LIFETIMES rows of other witnesses: of the instances that they know a bill has nothing to tell.
    """
    length = pl.col("period_end") - pl.col("period_start")
    lines = (
        charges.filter(
            pl.col("category") == "usage",
            ~pl.col("correction"),
            pl.col("instance_id") != "",
            length > pl.duration(),
            length <= pl.duration(hours=1),
        )
        .join(others.select("instance_id").unique(), on="instance_id", how="anti")
        .select(*_INSTANCE, "region", "zone", "pricing", "period_start", "period_end")
        .unique()
        .join(type_table(types), on=["provider", "instance_type"])
        .sort("instance_id", "period_start", "period_end")
    )
    so_far = pl.col("period_end").cum_max().shift(1).over("instance_id")
    stretches = lines.with_columns(
        stretch=(pl.col("period_start") > so_far).fill_null(value=True).cast(pl.Int32).cum_sum().over("instance_id")
    )
    rows = stretches.group_by(*_INSTANCE, "stretch").agg(
        pl.col("region", "zone", "gpu_count").first(),
        capacity_type=pl.col("pricing").first().replace_strict(_CAPACITY, default=""),
        began=pl.col("period_start").min(),
        ended=pl.col("period_end").max(),
    )
    nobody = {name: pl.lit("") for name in ("cluster", "node", "gpu_model")}
    told = rows.with_columns(seen=pl.col("ended"), evidence=pl.lit(BILL), **nobody)
    columns = [pl.col(name).cast(dtype) for name, dtype in LIFETIMES.schema.items()]
    return told.select(columns).sort("instance_id", "began").collect(engine="streaming")


def note_bill_lifetimes(store: Store, types: Mapping[tuple[str, str], int], now: datetime) -> bool:
    """Bring the bill's witness in step with the charges; whether it says something else now.

    Raises:
        StoreError: a table cannot be read or written.
    """
    version = store.version(CHARGES)
    if version is None or progress(store, _WHAT).get("charges") == version:
        return False
    known = store.scan(LIFETIMES)
    told = bill_lifetimes(store.scan(CHARGES, version), types, known.filter(pl.col("evidence") != BILL))
    before = known.filter(pl.col("evidence") == BILL).collect().select(told.columns).sort("instance_id", "began")
    changed = not told.equals(before)
    if changed:
        store.replace(LIFETIMES, told, {"evidence": [BILL]})
    note_progress(store, _WHAT, {"charges": version}, now)
    return changed
