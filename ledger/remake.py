"""Cost made again from what stands in the tables: usage, node-hours, prices that were used, and the bill's lines.

Owns how a part of the books is cut out so that it gives what the whole gives. Prices are taken as they were booked,
from the table of prices by the id that cost bears; which price was right is not asked here.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from ledger.list_cost import HOST, PRICED_COLUMNS, list_cost
from ledger.node_split import NodeSplit
from ledger.reconcile import reconcile
from ledger.tables import COST, NODE_HOURS, PLACE, TIME, conform

NODE_HOUR = ("hour_utc", "node", "instance_id")
GROUP = ("billing_account", "charge", "stack_layer")
EXISTED = ("hour_utc", *PLACE, "existed_ns")
"""What reconciliation asks of node-hours."""


def list_again(usage: pl.DataFrame, node_hours: pl.DataFrame, cost: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """COST rows with charge ``list`` and ``gpu_ns`` beside them, as :func:`ledger.list_cost.list_cost` gives them.

    Args:
        usage: all USAGE rows of some node-hours.
        node_hours: their NODE_HOURS rows.
        cost: their COST rows: they say which price was used and whether the host has a part.
        prices: PRICES rows.
    """
    priced = _priced(cost, prices)
    hosts = cost.filter(pl.col("account") == HOST).group_by(NODE_HOUR).agg(pl.col("list_nano_usd").sum().alias("host"))
    equal = _split(usage.join(hosts, on=NODE_HOUR, how="anti"), node_hours, priced, prices, NodeSplit.EQUAL)
    if hosts.height == 0:
        return equal
    shared = usage.join(hosts, on=NODE_HOUR, how="semi")
    one, other = (_split(shared, node_hours, priced, prices, split) for split in (NodeSplit.AWS, NodeSplit.OPENCOST))
    as_other = _hosts_as(other, hosts)
    return pl.concat([equal, one.join(as_other, on=NODE_HOUR, how="anti"), other.join(as_other, on=NODE_HOUR)])


def expected_lines(hours: Sequence[datetime], charges: pl.LazyFrame, existed: pl.LazyFrame) -> pl.LazyFrame:
    """What each node-hour, and each hour for what is shared, owes by billing account, charge and stack layer.

    Args:
        hours: those wanted.
        charges: CHARGES rows that touch them.
        existed: of :func:`existence_for`.

    Returns:
        ``hour_utc, node, instance_id``, the group and ``effective_nano_usd`` in Int128; groups of nothing are left out.
    """
    return line_sums(lines_again(hours, charges, existed)).filter(pl.col("effective_nano_usd") != 0)


def lines_again(hours: Sequence[datetime], charges: pl.LazyFrame, existed: pl.LazyFrame) -> pl.LazyFrame:
    """The COST rows of some hours if each node-hour had one row: a ``list`` row is of a node-hour without a line.

    Args as of :func:`expected_lines`.
    """
    rows = existed.filter(_in(hours)).with_columns(
        **{name: pl.lit("") for name, dtype in COST.schema.items() if dtype == pl.String and name not in PLACE},
        day=pl.col("hour_utc").dt.date(),
        list_nano_usd=pl.lit(1, pl.Int64),
        gpu_ns=pl.lit(1, pl.Int64),
    )
    bare = pl.concat([conform(COST, rows), rows.select("gpu_ns")], how="horizontal")
    return reconcile(bare, charges, existed, hours)


def line_sums(cost: pl.LazyFrame) -> pl.LazyFrame:
    """Effective cost of COST rows by node-hour and group, in Int128."""
    return (
        cost.filter(pl.col("effective_nano_usd").is_not_null())
        .group_by(*NODE_HOUR, *GROUP)
        .agg(pl.col("effective_nano_usd").cast(pl.Int128).sum())
    )


def touching(charges: pl.LazyFrame, first: datetime, end: datetime) -> pl.LazyFrame:
    """Lines of which a part lies in some hour from ``first`` to before ``end``; one of no length where it begins."""
    last = pl.max_horizontal(pl.col("period_end"), pl.col("period_start") + pl.duration(microseconds=1))
    return charges.filter(pl.col("period_start") < _time(end), last > _time(first))


def last_known(node_hours: pl.LazyFrame) -> pl.DataFrame:
    """The last node-hour of each instance, over all there are: it says whose line a line is."""
    return (
        node_hours.filter(pl.col("instance_id") != "")
        .select(EXISTED)
        .group_by("instance_id")
        .agg(pl.all().sort_by("hour_utc").last())
        .select(EXISTED)
        .collect(engine="streaming")
    )


def existence_for(charges: pl.DataFrame, node_hours: pl.LazyFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The node-hours that some lines are spread over; with those of :func:`last_known` they give what all would.

    Args:
        charges: CHARGES rows.
        node_hours: all NODE_HOURS rows.
        known: of :func:`last_known`.
    """
    ids = charges.filter(pl.col("instance_id") != "").select("instance_id").unique()
    if ids.height == 0:
        return known
    start, end = charges["period_start"].min(), charges["period_end"].max()
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        return known
    days = pl.col("day").is_between(start.date(), (end + timedelta(hours=1)).date())
    met = node_hours.filter(days).select(EXISTED).join(ids.lazy(), on="instance_id", how="semi")
    return pl.concat([met.collect(engine="streaming"), known]).unique(NODE_HOUR, keep="first", maintain_order=True)


def _in(hours: Sequence[datetime]) -> pl.Expr:
    return pl.col("hour_utc").is_in(pl.Series(hours, dtype=TIME).implode())


def _time(moment: datetime) -> pl.Expr:
    return pl.lit(moment).cast(TIME)


def _priced(cost: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """What :func:`list_cost` is told of each node-hour and model, by the ids that were booked."""
    of_nodes = prices.filter(pl.col("nano_usd_per_node_hour").is_not_null())
    used = cost.filter(pl.col("gpu_uuid") != "", pl.col("price_id") != "")
    return (
        used.select(*NODE_HOUR, "gpu_model", "price_id")
        .unique()
        .join(of_nodes.select("price_id", "nano_usd_per_node_hour"), on="price_id")
        .sort(*NODE_HOUR, "gpu_model", "price_id")
        .unique([*NODE_HOUR, "gpu_model"], keep="first", maintain_order=True)
        .select(PRICED_COLUMNS)
    )


def _split(
    usage: pl.DataFrame, node_hours: pl.DataFrame, priced: pl.DataFrame, prices: pl.DataFrame, split: NodeSplit
) -> pl.DataFrame:
    facts = pl.concat([node_hours.select(name for name in NODE_HOURS.schema if name in node_hours.columns)])
    return list_cost(usage, facts, priced, prices.filter(pl.col("nano_usd_per_node_hour").is_null()), split)


def _hosts_as(made: pl.DataFrame, hosts: pl.DataFrame) -> pl.DataFrame:
    """Node-hours whose host has the part that stands in the books."""
    parts = made.filter(pl.col("account") == HOST).group_by(NODE_HOUR).agg(pl.col("list_nano_usd").sum())
    return parts.join(hosts, on=NODE_HOUR).filter(pl.col("list_nano_usd") == pl.col("host")).select(NODE_HOUR)
