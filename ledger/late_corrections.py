"""Corrections of bills that reach days whose hours are gone: the difference is booked on the day itself.

Owns what is owed to such a day and who bears it. What the bill's lines give to a node's day, less what stands there, is
split over the rows of that node's day by their list cost, since the hours that it belongs to are no more; what no row
bears is ``unobserved``, of a node, or ``shared``. Such rows have method ``late_correction`` and no device. Where every
hour of a node's day has come to have lines, its list cost is an estimate no more; where only some have, which hours
they are is not known any more, and the list cost of all that had none when the day was rolled stays an estimate beside
them. A day that was rolled with its bill and loses it costs nothing then, as the bill says. Done again it changes
nothing.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time

import polars as pl

from ledger.apportion_frame import apportion_over
from ledger.list_cost import HOST
from ledger.reconcile import LIST, SHARED, UNOBSERVED, USAGE_CHARGE
from ledger.remake import GROUP, lines_again
from ledger.tables import COST, HOLDER, PLACE, TIME, conform

LATE_CORRECTION = "late_correction"
"""The method of what is booked so."""
_NODE_DAY = ("day", "node", "instance_id")
_OFFER = ("own_provider", "own_region")
_OWED = (*_NODE_DAY, *_OFFER, *GROUP)
_ELSEWHERE = tuple(name for name in PLACE if name not in _NODE_DAY)
_BEARER = (*_NODE_DAY, *_ELSEWHERE, "gpu_model", *HOLDER, "account", "price_id")
_IS_LATE = pl.col("method") == LATE_CORRECTION
_AMOUNT = pl.col("effective_nano_usd")


def hours_of(days: Sequence[date]) -> list[datetime]:
    """Starts of the hours that the days had."""
    return [datetime.combine(day, time(hour), UTC) for day in days for hour in range(24)]


def corrected(
    days: Sequence[date], booked: pl.DataFrame, usage: pl.DataFrame, charges: pl.LazyFrame, existed: pl.LazyFrame
) -> pl.DataFrame:
    """The days' COST rows, so that they bear what the bill's lines give to them, to the unit.

    Args:
        days: some that were rolled.
        booked: their COST rows, which are given back as they are where nothing is owed.
        usage: their USAGE rows.
        charges: CHARGES rows that touch them.
        existed: of :func:`ledger.remake.existence_for`.
    """
    given = _by_offer(lines_again(hours_of(days), charges, existed)).collect(engine="streaming")
    rows = _settled(_by_offer(booked.lazy()).collect(), given)
    late, others = rows.filter(_IS_LATE), rows.filter(~_IS_LATE)
    known = pl.concat([given, others.select(given.columns)])
    made = _borne(_owed(given, others), _bearers(others, usage), known)
    columns = list(COST.schema)
    if made.sort(columns).equals(late.select(columns).sort(columns)):
        return rows.select(columns)
    return pl.concat([others.select(columns), made])


def late_nano_usd(cost: pl.DataFrame) -> int | None:
    """What was booked late in COST rows, together; None: nothing was."""
    amounts = cost.filter(_IS_LATE)["effective_nano_usd"].cast(pl.Int128)
    return int(amounts.sum()) if amounts.len() else None


def _by_offer(rows: pl.LazyFrame) -> pl.LazyFrame:
    """What is of no node is told apart by provider and region as well."""
    shared = pl.col("node") == ""
    return rows.with_columns(
        own_provider=pl.when(shared).then("provider").otherwise(pl.lit("")),
        own_region=pl.when(shared).then("region").otherwise(pl.lit("")),
    )


def _settled(rows: pl.DataFrame, given: pl.DataFrame) -> pl.DataFrame:
    """List cost of node-days of which every hour has lines now is no estimate: the bill's dollars stand beside it.

    Where the lines are gone again it is one again.
    """
    billed = (
        given.filter(pl.col("node") != "")
        .group_by(_NODE_DAY)
        .agg(told=(pl.col("charge") == USAGE_CHARGE).any(), bare=(pl.col("charge") == LIST).any())
        .filter(pl.col("told"), ~pl.col("bare"))
        .select(*_NODE_DAY, nothing=pl.lit(0, pl.Int64))
    )
    joined = rows.join(billed, on=_NODE_DAY, how="left", maintain_order="left")
    again = pl.col("nothing").is_null() & (pl.col("charge") == LIST) & (_AMOUNT == 0)
    amount = pl.when(again).then(None).otherwise(_AMOUNT.fill_null(pl.col("nothing")))
    return joined.with_columns(amount.alias("effective_nano_usd")).drop("nothing")


def _owed(given: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """What the lines give, less what the hours of the day gave."""
    signed = [
        frame.filter(_AMOUNT.is_not_null()).select(*_OWED, _AMOUNT.cast(pl.Int128) * sign)
        for frame, sign in ((given, 1), (rows, -1))
    ]
    return pl.concat(signed).group_by(_OWED).agg(_AMOUNT.sum()).filter(_AMOUNT != 0)


def _bearers(rows: pl.DataFrame, usage: pl.DataFrame) -> pl.DataFrame:
    """Who had the node's day, weighed by list cost; by time where not all of it has a price."""
    of_node = (pl.col("gpu_uuid") != "") | (pl.col("account") == HOST)
    known = pl.col("list_nano_usd").is_not_null().any()
    listed = rows.filter(pl.col("node") != "", of_node).group_by(_BEARER)
    weighed = listed.agg(weight=pl.when(known).then(pl.col("list_nano_usd").cast(pl.Int128).sum()))
    priced = weighed.filter(pl.col("weight").is_not_null().all().over(_NODE_DAY))
    timed = usage.with_columns(price_id=pl.lit("")).group_by(_BEARER).agg(weight=pl.col("gpu_ns").cast(pl.Int128).sum())
    return pl.concat([priced, timed.join(priced, on=_NODE_DAY, how="anti")])


def _borne(owed: pl.DataFrame, bearers: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Late rows of what is owed."""
    met = owed.lazy().join(bearers.lazy(), on=_NODE_DAY)
    shared_out = apportion_over(
        met.rename({"effective_nano_usd": "whole"}),
        whole="whole",
        weight="weight",
        by=_OWED,
        order=[name for name in _BEARER if name not in _NODE_DAY],
        into="effective_nano_usd",
    )
    places = known.select(*_NODE_DAY, *_OFFER, *_ELSEWHERE).unique([*_NODE_DAY, *_OFFER], keep="first")
    alone = owed.join(bearers, on=_NODE_DAY, how="anti").join(places, on=[*_NODE_DAY, *_OFFER], how="left")
    account = pl.when(pl.col("node") == "").then(pl.lit(SHARED)).otherwise(pl.lit(UNOBSERVED))
    nobody = {name: pl.lit("") for name in ("gpu_model", *HOLDER, "price_id")}
    rows = pl.concat([shared_out, alone.lazy().with_columns(account=account, **nobody)], how="diagonal")
    told = {"method": pl.lit(LATE_CORRECTION), "gpu_uuid": pl.lit(""), "mig": pl.lit("")}
    late = rows.with_columns(**told, hour_utc=pl.col("day").cast(TIME)).filter(_AMOUNT != 0)
    return conform(COST, late).collect()
