"""When nodes existed: what witnesses say of each instance, as time in each hour.

Owns who is believed. Witnesses, the most exact first:

=========== ======================================================================================
``event``   the cloud's own record of a start or an end, to the second
``api``     the Kubernetes or cloud API, asked every few minutes
``host``    a bare host of the installation's list: it exists for as long as it is listed, on or off
``journal`` the agent on it answered
``bill``    a line of the bill; it may round hours up, so it counts only where nobody else knows
=========== ======================================================================================

An instance existed when its best witness says so (all its stretches together, counted once). A stretch that its
witness saw no end of ends where the next best saw one, or else where it was last seen by any witness but the bill, or
where its next stretch begins. Events speak only from the first begin on that they know: before it, which is so after a
restart whose former life nobody recorded, the others are believed but the bill. What a journal saw beyond that is added
when it is booked.
"""

from datetime import datetime, timedelta

import polars as pl

from ledger.tables import HOUR, LIFETIMES, PLACE

EXISTED = pl.Schema(
    {
        **HOUR,
        **PLACE,
        "gpu_count": pl.Int32,
        "gpu_model": pl.String,
        "existed_ns": pl.Int64,
        "evidence": pl.String,
        "vcpus": pl.Int32,
        "memory_mib": pl.Int64,
    }
)
"""One row for each hour in which an instance existed; a null is not known."""

RANK = {"event": 0, "api": 1, "host": 2, "journal": 3, "bill": 4}
_EVENT, _BILL = RANK["event"], RANK["bill"]
_HOUR = timedelta(hours=1)
_TEXTS = ("cluster", "node", "provider", "region", "zone", "instance_type", "capacity_type", "gpu_model")


def existence(lifetimes: pl.LazyFrame, first_hour: datetime, last_hour: datetime, now: datetime) -> pl.DataFrame:
    """How long each instance existed in each hour.

    Args:
        lifetimes: LIFETIMES rows, of all witnesses. Rows of one ``instance_id`` are of one instance, whatever name they
            give it; without an id a cluster's node name stands for it. A witness that is not in the table above is not
            believed.
        first_hour: start of the first hour.
        last_hour: start of the last hour.
        now: nothing exists beyond it.

    Returns:
        Rows of :data:`EXISTED` by hour, node and instance, none with a time of zero. A fact is that of the best witness
        that knows it, the latest of several; an event, exact as it is about time, names nothing that API, host or
        journal have a name for. An instance that nobody named goes by its id.
    """
    told = _told(lifetimes)
    stretches = _stretches(told, now)
    end = min(last_hour + _HOUR, now)
    hours = _hours(stretches, first_hour, end)
    return (
        hours.join(_facts(told), on="instance", how="left")
        .with_columns(day=pl.col("hour_utc").dt.date(), vcpus=pl.lit(None), memory_mib=pl.lit(None))
        .select([pl.col(name).cast(dtype) for name, dtype in EXISTED.items()])
        .sort("hour_utc", "node", "instance_id")
        .collect()
    )


def with_shapes(existed: pl.DataFrame, shapes: pl.LazyFrame) -> pl.DataFrame:
    """Fill in from instance types what the witnesses do not know: GPUs, vCPUs, memory.

    Args:
        existed: rows of :data:`EXISTED`.
        shapes: INSTANCE_TYPES rows; one for each provider and type.
    """
    facts = ("gpu_count", "vcpus", "memory_mib")
    known = shapes.select("provider", "instance_type", *(pl.col(name).alias(f"of_type_{name}") for name in facts))
    return (
        existed.lazy()
        .join(known, on=["provider", "instance_type"], how="left", maintain_order="left")
        .with_columns([pl.coalesce(name, f"of_type_{name}").alias(name) for name in facts])
        .select([pl.col(name).cast(dtype) for name, dtype in EXISTED.items()])
        .collect()
    )


def _told(lifetimes: pl.LazyFrame) -> pl.LazyFrame:
    rank = pl.col("evidence").replace_strict(RANK, default=None, return_dtype=pl.Int32)
    own = pl.col("instance_id") != ""
    instance = (
        pl.when(own).then("i/" + pl.col("instance_id")).otherwise("n/" + pl.col("cluster") + "/" + pl.col("node"))
    )
    return (
        lifetimes.select(list(LIFETIMES.schema))
        .with_columns(rank=rank, instance=instance)
        .filter(pl.col("rank").is_not_null())
    )


def _stretches(told: pl.LazyFrame, now: datetime) -> pl.LazyFrame:
    """``instance``, ``evidence``, ``from``, ``to``: each stretch once, none overlapping another of its instance."""
    best = told.with_columns(best=pl.col("rank").min().over("instance"))
    others = best.filter(pl.col("rank") != pl.col("best"), pl.col("rank") != _BILL)
    known = [best.filter(pl.col("rank") == pl.col("best")), _before_events(best)]
    own = pl.concat(known).with_row_index("stretch")
    seen = (
        best.filter((pl.col("rank") != _BILL) | (pl.col("best") == _BILL))
        .group_by("instance")
        .agg(last_seen=pl.max_horizontal(pl.col("seen").max(), pl.col("ended").max()))
    )
    elsewhere = (
        own.filter(pl.col("ended").is_null())
        .select("stretch", "instance", "began")
        .join(others.select("instance", "rank", other_end="ended"), on="instance")
        .filter(pl.col("other_end") > pl.col("began"))
        .group_by("stretch")
        .agg(pl.col("other_end").sort_by("rank", "other_end").first())
    )
    later = pl.col("began").sort().shift(-1).over("instance", mapping_strategy="explode")
    ends = (
        own.sort("instance", "began")
        .with_columns(next_began=later)
        .join(elsewhere, on="stretch", how="left")
        .join(seen, on="instance", how="left")
        .with_columns(open_end=pl.min_horizontal(pl.coalesce("other_end", "last_seen"), "next_began"))
        .select("instance", "evidence", pl.col("began").alias("from"), to=pl.coalesce("ended", "open_end"))
        .with_columns(to=pl.min_horizontal("to", pl.lit(now).cast(pl.Datetime("us", "UTC"))))
        .filter(pl.col("to") > pl.col("from"))
        .sort("instance", "from")
    )
    apart = pl.col("from") > pl.col("to").cum_max().shift(1).over("instance")
    apart |= pl.col("evidence") != pl.col("evidence").shift(1).over("instance")
    return (
        ends.with_columns(island=apart.fill_null(value=False).cast(pl.Int32).cum_sum().over("instance"))
        .group_by("instance", "island")
        .agg(pl.col("evidence").first(), pl.col("from").min(), pl.col("to").max())
    )


def _before_events(best: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of the second best until the first begin that an event tells of."""
    first = pl.col("began").filter(pl.col("rank") == _EVENT).min().over("instance")
    second = pl.col("rank").filter(pl.col("rank") > _EVENT, pl.col("began") < first).min().over("instance")
    return (
        best.with_columns(first=first)
        .with_columns(second=second)
        .filter(
            pl.col("best") == _EVENT,
            pl.col("rank") == pl.col("second"),
            pl.col("rank") != _BILL,
            pl.col("began") < pl.col("first"),
        )
        .with_columns(ended=pl.min_horizontal(pl.coalesce("ended", "seen"), "first"))
        .drop("first", "second")
    )


def _hours(stretches: pl.LazyFrame, begin: datetime, end: datetime) -> pl.LazyFrame:
    span = pl.Datetime("us", "UTC")
    within = stretches.with_columns(
        pl.max_horizontal("from", pl.lit(begin).cast(span)).alias("from"),
        pl.min_horizontal("to", pl.lit(end).cast(span)).alias("to"),
    ).filter(pl.col("to") > pl.col("from"))
    last = (pl.col("to") - timedelta(microseconds=1)).dt.truncate("1h")
    each = within.with_columns(
        hour_utc=pl.datetime_ranges(pl.col("from").dt.truncate("1h"), last, interval="1h", closed="both")
    ).explode("hour_utc")
    part = pl.min_horizontal("to", pl.col("hour_utc") + _HOUR) - pl.max_horizontal("from", "hour_utc")
    return each.group_by("hour_utc", "instance").agg(
        pl.col("evidence").sort_by("from").first(), existed_ns=part.dt.total_microseconds().sum() * 1000
    )


def _facts(told: pl.LazyFrame) -> pl.LazyFrame:
    first = {name: pl.col(name).filter(pl.col(name) != "").first().fill_null("") for name in _TEXTS}
    order = pl.when(pl.col("rank") == _EVENT).then(_BILL - 0.5).otherwise("rank")
    return (
        told.with_columns(order=order)
        .sort("order", "seen", "began", "cluster", "node", descending=[False, True, True, False, False])
        .group_by("instance", maintain_order=True)
        .agg(pl.col("instance_id").first(), gpu_count=pl.col("gpu_count").drop_nulls().first(), **first)
        .with_columns(node=pl.when(pl.col("node") == "").then("instance_id").otherwise("node"))
    )
