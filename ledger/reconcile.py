"""Reconciliation: the bill's lines on the node-hours that they paid for, to the last nano-dollar.

Owns which line belongs to which node-hour, and how its effective cost goes over that node-hour's rows. A line of an
instance that nodes have is spread over the hours in which that instance existed within the line's period, by the time
it existed; the lines of one node-hour are summed by billing account, category and stack layer; each sum is apportioned
over the node-hour's usage rows by their list cost. All else (storage, tax, support, unused commitment, the rounding
line) is spread evenly over the hours of its period and stands under account ``shared`` with no node. So what is in the
charges is in the cost, once: the sums are equal by construction, and :mod:`ledger.verify` proves it from the tables.

Must never choose a price, nor mix list price with effective cost: a row has both, each from its own source.
"""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from ledger.apportion_frame import apportion_over
from ledger.tables import COST, DEVICE, HOLDER, HOUR, PLACE, conform

LIST = "list"
USAGE_CHARGE = "usage"
SHARED = "shared"
UNOBSERVED = "unobserved"

_GROUP = ("billing_account", "charge", "stack_layer")
_NODE_HOUR = ("hour_utc", "node", "instance_id")
_ROW = (*DEVICE, "holder_kind", "holder", "account", "method", "price_id")
_ONCE = ("list_nano_usd", "carbon_ug", "embodied_ug", "intensity")
"""What a usage row bears once, whatever the number of its charges."""


def reconcile(
    list_cost: pl.LazyFrame, charges: pl.LazyFrame, node_hours: pl.LazyFrame, hours: Sequence[datetime]
) -> pl.LazyFrame:
    """The cost rows of some hours, from list cost and the bill.

    Args:
        list_cost: COST rows with charge ``list`` of these hours, with ``gpu_ns`` beside them: the weights of
            node-hours that no list price is known for.
        charges: CHARGES rows, at least those whose period touches the hours.
        node_hours: NODE_HOURS rows of all hours that those charges cover, not of ``hours`` alone: a monthly line is
            spread over every hour in which its resource existed.
        hours: starts of the hours to make.

    Returns:
        COST rows. A node-hour that no line is known for keeps its ``list`` rows, with effective cost null.
    """
    lines = _lines(charges)
    existed = node_hours.filter(pl.col("instance_id") != "").select(*PLACE, "hour_utc", "existed_ns")
    own = lines.join(existed.select("instance_id").unique(), on="instance_id", how="semi")
    wanted = pl.col("hour_utc").is_in(pl.Series(hours, dtype=pl.Datetime("us", "UTC")).implode())
    by_node_hour = _by_node_hour(own, existed).filter(wanted)
    shared = _shared(lines.join(existed.select("instance_id").unique(), on="instance_id", how="anti")).filter(wanted)
    return pl.concat(
        [conform(COST, part) for part in (*_on_rows(list_cost.filter(wanted), by_node_hour), shared)],
        how="vertical",
    )


def touched_hours(changed: pl.LazyFrame, charges: pl.LazyFrame, node_hours: pl.LazyFrame) -> list[datetime]:
    """The hours whose cost changes with some lines or node-hours; all others stay as they are.

    Args:
        changed: ``instance_id`` (empty: of no instance), ``period_start``, ``period_end`` of lines that came, went or
            changed; of a node-hour that changed, its hour.
        charges: the charges as they are now.
        node_hours: the node-hours as they are now.

    Returns:
        Starts of hours, ascending. A longer line of an instance that is touched brings in every hour that it covers.
    """
    spans = changed.select("instance_id", "period_start", "period_end").unique()
    longer = (
        charges.filter(
            pl.col("instance_id") != "", (pl.col("period_end") - pl.col("period_start")) > pl.duration(hours=1)
        )
        .select("instance_id", line_start="period_start", line_end="period_end")
        .unique()
    )
    wider = (
        spans.join(longer, on="instance_id")
        .filter(pl.col("line_start") < pl.col("period_end"), pl.col("line_end") > pl.col("period_start"))
        .select("instance_id", period_start="line_start", period_end="line_end")
    )
    instances = node_hours.select("instance_id").filter(pl.col("instance_id") != "").unique()
    every = pl.concat([spans, wider]).unique()
    existing = (
        every.join(node_hours.select("instance_id", "hour_utc"), on="instance_id")
        .filter(_overlaps(pl.col("hour_utc")))
        .select("hour_utc")
    )
    whole = _each_hour(every.join(instances, on="instance_id", how="anti")).select("hour_utc")
    ends = spans.select(hour_utc=pl.col("period_start").dt.truncate("1h"))
    return pl.concat([existing, whole, ends]).unique().sort("hour_utc").collect()["hour_utc"].to_list()


def _lines(charges: pl.LazyFrame) -> pl.LazyFrame:
    """Lines that cost something, summed where nothing that matters here tells them apart."""
    return (
        charges.filter(pl.col("effective_nano_usd").is_not_null(), pl.col("effective_nano_usd") != 0)
        .rename({"category": "charge"})
        .group_by("instance_id", "period_start", "period_end", *_GROUP, "provider", "region")
        .agg(pl.col("effective_nano_usd").cast(pl.Int128).sum().cast(pl.Int64))
    )


def _overlaps(hour: pl.Expr) -> pl.Expr:
    """Whether a period and an hour share a moment; a period of no length lies in the hour that it begins in."""
    end = pl.max_horizontal(pl.col("period_end"), pl.col("period_start") + pl.duration(microseconds=1))
    return (hour < end) & (hour + pl.duration(hours=1) > pl.col("period_start"))


def _overlap_us() -> pl.Expr:
    """Microseconds of the hour within the period; at least one, so that a line of no length has where to go."""
    hour = pl.col("hour_utc")
    begin = pl.max_horizontal(hour, pl.col("period_start"))
    end = pl.min_horizontal(hour + pl.duration(hours=1), pl.col("period_end"))
    return pl.max_horizontal((end - begin).dt.total_microseconds(), pl.lit(1, dtype=pl.Int64))


def _by_node_hour(lines: pl.LazyFrame, existed: pl.LazyFrame) -> pl.LazyFrame:
    """Effective cost by node-hour and group. A line whose instance existed at no moment of its period stays in the hour
    that the line begins in, under the instance's last known place.
    """
    line = ("instance_id", "period_start", "period_end", *_GROUP)
    summed = lines.group_by(line).agg(pl.col("effective_nano_usd").cast(pl.Int128).sum().cast(pl.Int64))
    met = summed.join(existed, on="instance_id").filter(_overlaps(pl.col("hour_utc")))
    weighted = met.with_columns(
        # both at most 3.6e12 and 3.6e9: their product would not fit in 64 bits, and a nanosecond's weight is enough
        weight=(pl.col("existed_ns").cast(pl.Int128) * _overlap_us() // 3_600_000_000).cast(pl.Int64)
    )
    spread = apportion_over(
        weighted, whole="effective_nano_usd", weight="weight", by=line, order=("hour_utc", "node"), into="part"
    )
    last = existed.sort("hour_utc").group_by("instance_id", maintain_order=True).last().drop("hour_utc", "existed_ns")
    unmet = (
        summed.join(met.select(line).unique(), on=line, how="anti", nulls_equal=True)
        .join(last, on="instance_id")
        .with_columns(hour_utc=pl.col("period_start").dt.truncate("1h"), part=pl.col("effective_nano_usd"))
    )
    columns = ("hour_utc", *PLACE, *_GROUP, "part")
    return (
        pl.concat([spread.select(columns), unmet.select(columns)])
        .group_by("hour_utc", *PLACE, *_GROUP)
        .agg(effective_nano_usd=pl.col("part").cast(pl.Int128).sum().cast(pl.Int64))
    )


def _on_rows(list_cost: pl.LazyFrame, by_node_hour: pl.LazyFrame) -> tuple[pl.LazyFrame, ...]:
    """Each node-hour's sums over its rows; rows that no bill bears; sums of node-hours that have no rows."""
    priced = pl.col("list_nano_usd").is_not_null().all().over(_NODE_HOUR)
    rows = list_cost.drop(_GROUP, "effective_nano_usd").with_columns(
        weight=pl.when(priced).then(pl.col("list_nano_usd")).otherwise(pl.col("gpu_ns"))
    )
    # the node-hour's list cost and grams stand on one of its charges: usage, the first of several
    bearer = (pl.col("charge") == USAGE_CHARGE) & (
        pl.struct("billing_account", "stack_layer").rank("ordinal").over(*_NODE_HOUR, "charge") == 1
    )
    sums = by_node_hour.select(*_NODE_HOUR, *_GROUP, whole="effective_nano_usd").with_columns(bears=bearer)
    billed = apportion_over(
        rows.join(sums, on=_NODE_HOUR),
        whole="whole",
        weight="weight",
        by=(*_NODE_HOUR, *_GROUP),
        order=_ROW,
        into="effective_nano_usd",
    ).with_columns([pl.when(pl.col("bears")).then(pl.col(name)).alias(name) for name in _ONCE])
    borne = sums.filter(pl.col("bears")).select(_NODE_HOUR)
    unbilled = list_cost.join(borne, on=_NODE_HOUR, how="anti").with_columns(
        charge=pl.lit(LIST), effective_nano_usd=pl.lit(None, dtype=pl.Int64)
    )
    homeless = by_node_hour.join(rows.select(_NODE_HOUR).unique(), on=_NODE_HOUR, how="anti")
    return (
        billed.filter(pl.col("bears") | (pl.col("effective_nano_usd") != 0)),
        unbilled,
        _without_device(homeless, UNOBSERVED),
    )


def _shared(lines: pl.LazyFrame) -> pl.LazyFrame:
    """Lines of no node over the hours of their periods."""
    line = ("period_start", "period_end", *_GROUP, "provider", "region")
    summed = lines.group_by(line).agg(pl.col("effective_nano_usd").cast(pl.Int128).sum().cast(pl.Int64))
    spread = apportion_over(
        _each_hour(summed).with_columns(weight=_overlap_us()),
        whole="effective_nano_usd",
        weight="weight",
        by=line,
        order=("hour_utc",),
        into="part",
    )
    place = {name: pl.lit("") for name in PLACE if name not in {"provider", "region"}}
    by_hour = (
        spread.group_by("hour_utc", "provider", "region", *_GROUP)
        .agg(effective_nano_usd=pl.col("part").cast(pl.Int128).sum().cast(pl.Int64))
        .filter(pl.col("effective_nano_usd") != 0)
        .with_columns(**place)
    )
    return _without_device(by_hour, SHARED)


def _each_hour(periods: pl.LazyFrame) -> pl.LazyFrame:
    """One row for each hour that a period touches."""
    last = pl.max_horizontal(pl.col("period_start"), pl.col("period_end") - pl.duration(microseconds=1))
    hours = pl.datetime_ranges(
        pl.col("period_start").dt.truncate("1h"), last.dt.truncate("1h"), interval="1h", closed="both"
    )
    return periods.with_columns(hour_utc=hours).explode("hour_utc")


def _without_device(rows: pl.LazyFrame, account: str) -> pl.LazyFrame:
    nobody = {name: pl.lit("") for name in (*DEVICE, *HOLDER, "method", "price_id") if name not in HOUR}
    return rows.with_columns(day=pl.col("hour_utc").dt.date(), account=pl.lit(account), **nobody)
