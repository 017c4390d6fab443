"""List price against the bill: by how much they differ, where, and why; and what only one of the two knows.

Owns the reasons. A reason is told from the bill's own words (how a line was priced) and from what is known of the
node-hour, never from the size of the difference.
"""

from collections.abc import Mapping

import polars as pl

from ledger.bill_witness import type_table
from ledger.reconcile import LIST, USAGE_CHARGE

_NODE_HOUR = ("hour_utc", "node", "instance_id")

UNOBSERVED = "unobserved_hours"
"""Only the bill knows that the node existed."""
COMMITMENT = "commitment"
"""A savings plan or reservation covered the line."""
SPOT = "spot_price"
"""Spot: the list is a price seen before or after, the bill has the one in force."""
DISCOUNT = "discount"
"""On demand, and the bill itself charges less than its own list price."""
PRICE = "list_price"
"""On demand, and the bill's list price is not ours."""
UNPRICED = "no_list_price"
"""We know no list price for the node."""
NONE = "none"


def variance(cost: pl.LazyFrame, charges: pl.LazyFrame, node_hours: pl.LazyFrame) -> pl.LazyFrame:
    """Effective less list cost of node-hours that a bill has come for.

    Args:
        cost: COST rows.
        charges: CHARGES rows that touch the same hours.
        node_hours: NODE_HOURS rows of the same hours.

    Returns:
        ``day, billing_account, instance_type, reason, node_hours, list_nano_usd, effective_nano_usd,
        variance_nano_usd``; tax, support, credits and the like are no variance of a price and are left out. The
        variance is null where no list price is known.
    """
    usage = _node_usage(cost)
    seen = node_hours.select(*_NODE_HOUR, "evidence", "revision")
    reasons = (
        usage.join(seen, on=_NODE_HOUR, how="left")
        .join(_pricing(charges), on=("instance_id", "day"), how="left")
        .with_columns(reason=_reason())
    )
    return (
        reasons.group_by("day", "billing_account", "instance_type", "reason")
        .agg(
            node_hours=pl.len(),
            list_nano_usd=_sum("list_nano_usd"),
            effective_nano_usd=_sum("effective_nano_usd"),
            unpriced=pl.col("list_nano_usd").is_null().any(),
        )
        .with_columns(list_nano_usd=pl.when(~pl.col("unpriced")).then("list_nano_usd"))
        .with_columns(variance_nano_usd=pl.col("effective_nano_usd") - pl.col("list_nano_usd"))
        .drop("unpriced")
        .sort("day", "billing_account", "instance_type", "reason")
    )


def billed_not_observed(cost: pl.LazyFrame, node_hours: pl.LazyFrame) -> pl.LazyFrame:
    """Node-hours that were paid for and that no telemetry came from: ``hour_utc, node, instance_id, instance_type,
    evidence, effective_nano_usd``.
    """
    silent = node_hours.filter(pl.col("revision").is_null()).select(*_NODE_HOUR, "evidence")
    return (
        cost.filter(pl.col("node") != "", pl.col("effective_nano_usd").is_not_null())
        .group_by(*_NODE_HOUR, "instance_type")
        .agg(effective_nano_usd=_sum("effective_nano_usd"))
        .join(silent, on=_NODE_HOUR)
        .sort(_NODE_HOUR)
    )


def billed_without_node(
    charges: pl.LazyFrame, node_hours: pl.LazyFrame, types: Mapping[tuple[str, str], int]
) -> pl.LazyFrame:
    """GPU instances that were paid for and that are no node of these books: of their lines none is short enough to tell
    of hours, and nothing else told of them. Their cost is shared.

    Args:
        charges: CHARGES rows.
        node_hours: all NODE_HOURS rows.
        types: GPUs by provider and instance type.

    Returns:
        ``instance_id, instance_type, provider, region, billing_account, period_start, period_end, lines,
        effective_nano_usd``; the period is from the first line's start to the last one's end.
    """
    return (
        charges.filter(pl.col("category") == USAGE_CHARGE, pl.col("instance_id") != "")
        .join(type_table(types), on=("provider", "instance_type"), how="semi")
        .join(node_hours.select("instance_id").unique(), on="instance_id", how="anti")
        .group_by("instance_id", "instance_type", "provider", "region", "billing_account")
        .agg(
            period_start=pl.col("period_start").min(),
            period_end=pl.col("period_end").max(),
            lines=pl.len(),
            effective_nano_usd=_sum("effective_nano_usd"),
        )
        .sort("instance_id", "instance_type", "region", "billing_account")
    )


def observed_not_billed(cost: pl.LazyFrame, bills: pl.LazyFrame) -> pl.LazyFrame:
    """Node-hours of cloud nodes in months that a bill was booked for, which no line pays: ``hour_utc, node,
    instance_id, instance_type, list_nano_usd``. Late lines mend most of them while a month is open.
    """
    months = bills.filter(pl.col("state") == "booked").select("month").unique()
    return (
        cost.filter(pl.col("charge") == LIST, pl.col("provider") != "", pl.col("instance_id") != "")
        .with_columns(month=pl.col("day").dt.truncate("1mo"))
        .join(months, on="month", how="semi")
        .group_by(*_NODE_HOUR, "instance_type")
        .agg(list_nano_usd=_sum("list_nano_usd"))
        .sort(_NODE_HOUR)
    )


def _sum(column: str) -> pl.Expr:
    """An exact sum; null where every value is null."""
    return pl.when(pl.col(column).is_not_null().any()).then(pl.col(column).cast(pl.Int128).sum().cast(pl.Int64))


def _node_usage(cost: pl.LazyFrame) -> pl.LazyFrame:
    return (
        cost.filter(pl.col("node") != "", pl.col("charge") == USAGE_CHARGE)
        .group_by("day", *_NODE_HOUR, "instance_type")
        .agg(
            billing_account=pl.col("billing_account").min(),
            list_nano_usd=_sum("list_nano_usd"),
            effective_nano_usd=_sum("effective_nano_usd"),
        )
    )


def _pricing(charges: pl.LazyFrame) -> pl.LazyFrame:
    """How most of an instance's usage of a day was priced, and the bill's own list and effective cost of it."""
    usage = charges.filter(pl.col("category") == USAGE_CHARGE, pl.col("instance_id") != "")
    days = pl.date_ranges(
        pl.col("period_start").dt.date(),
        pl.max_horizontal(pl.col("period_start"), pl.col("period_end") - pl.duration(microseconds=1)).dt.date(),
        interval="1d",
        closed="both",
    )
    return (
        usage.select("instance_id", "pricing", "list_nano_usd", "effective_nano_usd", day=days)
        .explode("day")
        .group_by("instance_id", "day", "pricing")
        .agg(bill_list=_sum("list_nano_usd"), bill_effective=_sum("effective_nano_usd"))
        .sort("instance_id", "day", "bill_effective", "pricing", descending=[False, False, True, False])
        .group_by("instance_id", "day", maintain_order=True)
        .first()
    )


def _reason() -> pl.Expr:
    unobserved = pl.col("revision").is_null() & (pl.col("evidence") == "bill")
    return (
        pl.when(unobserved)
        .then(pl.lit(UNOBSERVED))
        .when(pl.col("list_nano_usd").is_null())
        .then(pl.lit(UNPRICED))
        .when(pl.col("effective_nano_usd") == pl.col("list_nano_usd"))
        .then(pl.lit(NONE))
        .when(pl.col("pricing") == "commitment")
        .then(pl.lit(COMMITMENT))
        .when(pl.col("pricing") == "spot")
        .then(pl.lit(SPOT))
        .when(pl.col("bill_effective") < pl.col("bill_list"))
        .then(pl.lit(DISCOUNT))
        .otherwise(pl.lit(PRICE))
    )
