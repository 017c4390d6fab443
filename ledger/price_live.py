"""Prices of the cloud as they changed over time: what was read is kept, and any hour finds the price then in force.

Owns the tables ``spot_prices``, ``on_demand_prices`` and ``instance_types``, as pure functions from what is known and
what was read to what is to be stored. Must never rewrite a price that an hour may have been booked at.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import polars as pl

from collectors.aws_prices import SPOT_HISTORY_DAYS, InstanceShape, OnDemandPrice, SpotChange
from ledger.tables import INSTANCE_TYPES, ON_DEMAND_PRICES, SPOT_PRICES

SPOT_SOURCE = "aws:spot-price-history"
ON_DEMAND_SOURCE = "aws:price-list"
SERIES = ("provider", "region", "zone", "instance_type")
"""What has one price at a time."""
_READ_AGAIN = timedelta(hours=2)
"""Changes appear in the history some time after they took effect; so far back is asked again."""


def merge_spot(known: pl.DataFrame, read: Iterable[SpotChange], read_at: datetime) -> pl.DataFrame:
    """All rows of ``spot_prices`` after a reading: to replace those of its regions.

    Of a change known already the first reading stands. Nothing is forgotten: the cloud keeps 90 days, the ledger all.

    Args:
        known: rows of ``spot_prices``, all those of the series read.
        read: what the cloud said.
        read_at: when it was asked.
    """
    rows = [
        ("aws", c.region, c.zone, c.instance_type, c.changed_at, c.nano_usd_per_hour, SPOT_SOURCE, read_at)
        for c in read
    ]
    fresh = pl.DataFrame(rows, schema=SPOT_PRICES.schema, orient="row")
    return (
        pl.concat([known, fresh])
        .with_columns(pl.col("read_through").max().over(SERIES))
        .unique(SPOT_PRICES.key, keep="first", maintain_order=True)
        .sort(SPOT_PRICES.key)
    )


def merge_on_demand(known: pl.DataFrame, read: Iterable[OnDemandPrice], read_at: datetime) -> pl.DataFrame:
    """All rows of ``on_demand_prices`` after a reading: to replace those of its regions.

    The price list shows only what holds now. A type that was never read has its price from the list's own date on. A
    new figure holds from the list's date on, but not from before the former figure was last read: till then that one
    was the list price, whatever the list says later.

    Args:
        known: rows of ``on_demand_prices``, all those of the series read.
        read: what the list said.
        read_at: when it was asked.
    """
    rows = {(*(row[column] for column in SERIES), row["since"]): row for row in known.iter_rows(named=True)}
    for price in read:
        series = ("aws", price.region, "", price.instance_type)
        last = max((row for key, row in rows.items() if key[:-1] == series), key=lambda row: row["since"], default=None)
        if last is not None and last["nano_usd_per_hour"] == price.nano_usd_per_hour:
            last["read_through"] = max(last["read_through"], read_at)
            continue
        since = price.effective_at if last is None else max(price.effective_at, last["read_through"])
        rows[*series, since] = dict(
            zip(
                ON_DEMAND_PRICES.schema,
                (*series, since, price.nano_usd_per_hour, ON_DEMAND_SOURCE, max(read_at, since)),
                strict=True,
            )
        )
    return pl.DataFrame(list(rows.values()), schema=ON_DEMAND_PRICES.schema).sort(ON_DEMAND_PRICES.key)


def shape_rows(read: Iterable[InstanceShape], read_at: datetime) -> pl.DataFrame:
    """Rows of ``instance_types``: to replace those of the same types."""
    rows = [
        (
            "aws",
            shape.instance_type,
            shape.vcpus,
            shape.memory_mib,
            shape.gpu_count,
            shape.gpu_model,
            shape.gpu_memory_mib,
            shape.gpu_partition,
            read_at,
        )
        for shape in read
    ]
    return pl.DataFrame(rows, schema=INSTANCE_TYPES.schema, orient="row")


def spot_since(known: pl.DataFrame, region: str, instance_types: Sequence[str], now: datetime) -> datetime:
    """From when on the spot history has to be read, so that no change is missed.

    That is where the oldest series ends, and as far back as the cloud knows for a type that was never read.
    """
    oldest = now - timedelta(days=SPOT_HISTORY_DAYS)
    ends = known.filter(region=region).group_by("instance_type").agg(pl.col("read_through").min())
    through = dict(ends.iter_rows())
    return max(oldest, min((through.get(name, oldest) for name in instance_types), default=oldest) - _READ_AGAIN)


def in_force(hours: pl.LazyFrame, prices: pl.LazyFrame, by: Sequence[str] = SERIES) -> pl.LazyFrame:
    """The hours with the price in force at their start: ``live_nano``, ``live_since``, ``live_source``,
    ``live_through``.

    One hour of the books has one price, so that each can be explained by one published figure; a change within
    the hour counts from the next one on. Null where no price is known for that time.

    Args:
        hours: rows with ``hour_utc`` and the columns of ``by``.
        prices: rows of ``spot_prices`` or ``on_demand_prices``.
        by: what has one price at a time; without ``zone`` for list prices, which are of a whole region.
    """
    right = prices.select(
        *by,
        pl.col("since").alias("live_since"),
        pl.col("nano_usd_per_hour").alias("live_nano"),
        pl.col("source").alias("live_source"),
        pl.col("read_through").alias("live_through"),
    ).sort("live_since")
    return hours.sort("hour_utc").join_asof(
        right,
        left_on="hour_utc",
        right_on="live_since",
        by=list(by),
        strategy="backward",
        coalesce=False,
        check_sortedness=False,
    )
