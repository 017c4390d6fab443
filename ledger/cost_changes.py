"""Which hours' cost has to be made again, by what changed in the tables that it is made from.

Pure comparison of two versions of each table. Compaction, or a bill that is delivered again with the same lines, change
nothing; an hour that was booked again stands at its list price, and counts, though its digest is the same.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from ledger.reconcile import touched_hours
from ledger.remake import last_known
from ledger.store import Store
from ledger.store_errors import StoreError
from ledger.store_progress import changed_parts
from ledger.tables import CHARGES, NODE_HOURS, ON_DEMAND_PRICES, SPOT_PRICES, TIME, Columns, Table

_log = logging.getLogger(__name__)

LIVE = (SPOT_PRICES, ON_DEMAND_PRICES)
INPUTS = (NODE_HOURS, CHARGES, *LIVE)
"""What cost is made from, apart from what the keeper of the books commits together with it."""
_SPAN: Columns = {"instance_id": pl.String, "period_start": TIME, "period_end": TIME}
_NODE_HOUR = ("hour_utc", "node", "instance_id")
_LINE = (
    "instance_id",
    "period_start",
    "period_end",
    "billing_account",
    "category",
    "stack_layer",
    "provider",
    "region",
)
_OFFER = ("provider", "region", "instance_type")
Versions = Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Changed:
    """What has to be made."""

    hours: Sequence[datetime]
    """Ascending."""
    repriced: pl.DataFrame
    """Node-hours whose price is to be looked up again: ``hour_utc, node, instance_id``."""
    last_known: pl.DataFrame
    """Of :func:`ledger.remake.last_known`; empty where there are no charges."""


def changes(store: Store, former: Versions, now: Versions) -> Changed:
    """Compare the tables as they were when cost was last made with what they are.

    Of node-hours that changed those count that a line of the bill may reach; the cost of the others is committed with
    them.

    Args:
        store: the ledger.
        former: version of each table by name; a missing one: nothing was made from it.
        now: versions to work from.

    Raises:
        StoreError: a table cannot be read.
    """
    nodes = store.scan(NODE_HOURS, now[NODE_HOURS.name])
    seen = _node_spans(store, former, now)
    spans = [seen, _lines_of_newcomers(store, seen, former, now), _charge_spans(store, former, now)]
    hours = touched_hours(pl.concat(spans), store.scan(CHARGES, now[CHARGES.name]), nodes)
    repriced = pl.concat([_repriced(store, table, former, now) for table in LIVE]).unique().collect()
    every = {*hours, *repriced["hour_utc"].to_list()}
    # without lines nobody asks whose they are
    of_lines = nodes if now[CHARGES.name] is not None else nodes.limit(0)
    return Changed(sorted(every), repriced, last_known(of_lines))


def _before_and_after(
    store: Store, table: Table, former: Versions, now: Versions
) -> tuple[pl.LazyFrame, pl.LazyFrame] | None:
    """``None``: nothing was written to it."""
    since, until = former.get(table.name), now[table.name]
    if until is None or since == until:
        return None
    try:
        return changed_parts(store, table, since, until)
    except StoreError as error:
        _log.info("%s: what changed since version %s cannot be told (%s): all of it is looked at", table, since, error)
        return changed_parts(store, table, None, until)


def _node_spans(store: Store, former: Versions, now: Versions) -> pl.LazyFrame:
    found = _before_and_after(store, NODE_HOURS, former, now)
    if found is None:
        return pl.LazyFrame(schema=_SPAN)
    billed = store.scan(CHARGES, now[CHARGES.name]).select(
        pl.col("period_start").min(), pl.max_horizontal("period_start", "period_end").max().alias("period_end")
    )
    first, last = billed.collect().row(0)
    if first is None:
        return pl.LazyFrame(schema=_SPAN)
    reach = pl.col("hour_utc").is_between(pl.lit(first).dt.truncate("1h"), pl.lit(last))
    # one that was booked again stands at its list price, whether or not anything in it is another
    told = [part.filter(reach).select(*_NODE_HOUR, "digest", "existed_ns", "booked_at") for part in found]
    return (
        pl.concat(told)
        .group_by(pl.all())
        .len()
        .filter(pl.col("len") == 1)
        .select(
            "instance_id",
            period_start="hour_utc",
            period_end=pl.col("hour_utc") + pl.duration(hours=1),
        )
        .unique()
    )


def _lines_of_newcomers(store: Store, seen: pl.LazyFrame, former: Versions, now: Versions) -> pl.LazyFrame:
    """Periods of all lines of instances that were met for the first time, or are known no more.

    Their lines change sides as a whole: those for hours in which the instance did not exist as well.
    """
    changed = seen.select("instance_id").filter(pl.col("instance_id") != "").unique().collect()
    charges = store.scan(CHARGES, now[CHARGES.name])
    if changed.is_empty():
        return pl.LazyFrame(schema=_SPAN)
    known = [_instances(store, version) for version in (former.get(NODE_HOURS.name), now[NODE_HOURS.name])]
    always = known[0].join(known[1], on="instance_id", how="semi")
    newcomers = changed.lazy().join(always, on="instance_id", how="anti")
    return charges.join(newcomers, on="instance_id", how="semi").select(list(_SPAN)).unique()


def _instances(store: Store, version: int | None) -> pl.LazyFrame:
    """The instances of a version of the register; none where it can no longer be read, so that all count as new."""
    if version is None:
        return pl.LazyFrame(schema={"instance_id": pl.String})
    try:
        return store.scan(NODE_HOURS, version).select("instance_id").unique()
    except StoreError as error:
        _log.info("%s: which instances version %s knew cannot be told: %s", NODE_HOURS, version, error)
        return pl.LazyFrame(schema={"instance_id": pl.String})


def _charge_spans(store: Store, former: Versions, now: Versions) -> pl.LazyFrame:
    """Periods of lines whose sum is another one now, whichever delivery they stand in."""
    found = _before_and_after(store, CHARGES, former, now)
    if found is None:
        return pl.LazyFrame(schema=_SPAN)
    before, after = (part.select(*_LINE, pl.col("effective_nano_usd").cast(pl.Int128).fill_null(0)) for part in found)
    less = pl.lit(0, pl.Int128) - pl.col("effective_nano_usd")
    signed = [before.with_columns(less.alias("effective_nano_usd")), after]
    sums = pl.concat(signed).group_by(_LINE).agg(pl.col("effective_nano_usd").sum())
    return sums.filter(pl.col("effective_nano_usd") != 0).select(list(_SPAN)).unique()


def _repriced(store: Store, table: Table, former: Versions, now: Versions) -> pl.LazyFrame:
    """Node-hours from the first price on that came or went for their region and type."""
    found = _before_and_after(store, table, former, now)
    if found is None:
        return pl.LazyFrame(schema={name: NODE_HOURS.schema[name] for name in _NODE_HOUR})
    told = [part.select(*_OFFER, "zone", "since", "nano_usd_per_hour") for part in found]
    first = (
        pl.concat(told)
        .group_by(pl.all())
        .len()
        .filter(pl.col("len") == 1)
        .group_by(_OFFER)
        .agg(pl.col("since").min().dt.truncate("1h"))
    )
    nodes = store.scan(NODE_HOURS, now[NODE_HOURS.name])
    return nodes.join(first, on=_OFFER).filter(pl.col("hour_utc") >= pl.col("since")).select(_NODE_HOUR)
