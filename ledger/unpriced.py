"""GPU-time whose cost nobody knows, beside what is known: a sum that lacks a part says how much time it lacks.

Owns which rows of usage those are. What is of no device (``shared``, ``host``) has no time and is not counted.
"""

from collections.abc import Collection
from datetime import date

import polars as pl

from ledger.tables import USAGE

UNPRICED = "unpriced_ns"
_ROW = ("day", *(name for name in USAGE.key if name not in {"energy_method", "price_id"}))
_OF_NO_DEVICE = ("shared", "host")


def bare_rows(cost: pl.LazyFrame, basis: str) -> pl.LazyFrame:
    """Cost rows whose amount is not known.

    Args:
        cost: COST rows with their amount by the basis, ``cost_nano_usd``.
        basis: ``list``, ``effective`` or ``best``.
    """
    return cost.filter(is_bare(pl.col("cost_nano_usd"), basis))


def is_bare(amount: pl.Expr, basis: str) -> pl.Expr:
    """Whether a cost row has no amount and should have one."""
    unknown = amount.is_null() & ~pl.col("account").is_in(_OF_NO_DEVICE)
    # list cost stands on the first charge of a row: further ones lack it and have a price
    return unknown & (pl.col("price_id") == "") if basis == "list" else unknown


def bare_days(cost: pl.LazyFrame, basis: str) -> Collection[date]:
    """The days that have such rows; as a rule none."""
    days = bare_rows(cost, basis).select(pl.col("day").unique()).collect(engine="streaming")
    return frozenset(days.get_column("day"))


def with_unpriced(usage: pl.LazyFrame, cost: pl.LazyFrame | None, basis: str) -> pl.LazyFrame:
    """The usage with ``unpriced_ns``: its GPU time where its cost is not known, else 0.

    Args:
        usage: USAGE rows.
        cost: as :func:`bare_rows` takes it, of the same days; ``None``: all of it is known.
        basis: likewise.
    """
    if cost is None:
        return usage.with_columns(pl.lit(0, pl.Int64).alias(UNPRICED))
    bare = bare_rows(cost, basis).select(_ROW).unique().with_columns(_bare=pl.lit(value=True))
    rows = usage.join(bare, on=_ROW, how="left")
    unknown = pl.col("_bare").is_not_null()
    if basis != "effective":
        # one holder's time of one hour may have two prices of the agent, of which one alone is known
        priced = cost.filter(pl.col("list_nano_usd").is_not_null(), pl.col("price_id") != "")
        noted = priced.select(*_ROW, "price_id").unique().with_columns(_noted=pl.lit(value=True))
        rows = rows.join(noted, on=[*_ROW, "price_id"], how="left")
        unknown &= pl.col("_noted").is_null()
    amount = pl.when(unknown).then("gpu_ns").otherwise(0).alias(UNPRICED)
    return rows.with_columns(amount).drop("_bare", "_noted", strict=False)
