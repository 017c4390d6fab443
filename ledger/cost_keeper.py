"""Keeps the table ``cost`` in step with the bill: hours that a bill's lines touch are made again when either changed.

Owns when that is so; hours of days on which an hourly intensity of carbon came or changed are made again as well. It
compares the tables, and those series, with what it last worked from, so nothing has to be announced to it, and a death
at any moment is made up for by the next run. What no bill has reached stands as the keeper of the books made it. Must
never make an hour that has become part of a day; what is corrected there is booked on the day.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby

import polars as pl

from ledger.carbon import with_carbon
from ledger.cost_changes import INPUTS, Changed, Versions, changes
from ledger.costing import Costing, CostRules
from ledger.late_corrections import LATE_CORRECTION, corrected, hours_of, late_nano_usd
from ledger.list_costing import new_prices
from ledger.reconcile import reconcile
from ledger.remake import existence_for, touching
from ledger.store import Store
from ledger.store_progress import note_progress, progress
from ledger.tables import CHARGES, COST, NODE_HOURS, PRICES, TIME, USAGE

_log = logging.getLogger(__name__)

WHAT = "cost"
"""The name of its progress."""
_INTENSITIES = "carbon"
"""The name of what the hourly intensities said of each day."""
_NODE_HOUR = ("hour_utc", "node", "instance_id")
_BILLED_AHEAD = timedelta(days=40)
"""A line may be billed in the month before its period."""
_DEVICE_HOURS_AT_ONCE = 20_000
"""Days are made together up to so many: a small fleet's month is one commit, a large one's day bounds memory."""


class CostKeeper:
    """Makes cost of the hours that changed.

    Args:
        store: the ledger.
        rules: prices, carbon, split.
    """

    def __init__(self, store: Store, rules: CostRules) -> None:
        self._store = store
        self._costing = Costing(store, rules)
        self._longest: tuple[int | None, timedelta] = None, timedelta(0)

    def run(self, now: datetime) -> Sequence[datetime]:
        """Make what is not as its inputs are; returns the hours made, ascending.

        Raises:
            StoreError: a table could not be read or written; the next run does what is left.
            Misconfigured: as of :meth:`ledger.costing.Costing.cost`.
        """
        inputs = {table.name: self._store.version(table) for table in INPUTS}
        carbon = self._costing.rules.carbon
        carbon.refresh()
        weighed, intensities = progress(self._store, _INTENSITIES), carbon.days()
        former: Versions = progress(self._store, WHAT)
        if former == inputs and weighed == intensities:
            return []
        changed = changes(self._store, former, inputs)
        rolled = max((day for table in (USAGE, COST) if (day := self._store.rolled_before(table))), default=date.min)
        told = weighed.keys() | intensities.keys()
        moved = [date.fromisoformat(day) for day in told if weighed.get(day) != intensities.get(day)]
        again = {*changed.hours, *self._booked(moved, inputs)}
        hours = [hour for hour in sorted(again) if hour.date() >= rolled]
        late = [hour for hour in changed.hours if hour.date() < rolled]
        for days in _together(late, self._sizes(late, inputs)):
            self._correct(sorted({hour.date() for hour in days}), changed, inputs)
        for days in _together(hours, self._sizes(hours, inputs)):
            self._make(days, changed, inputs)
        other = any(former.get(name) != inputs[name] for name in inputs if name != NODE_HOURS.name)
        if changed.hours or other:
            note_progress(self._store, WHAT, inputs, now)
        if weighed != intensities:
            note_progress(self._store, _INTENSITIES, intensities, now)
        return hours

    def _make(self, hours: Sequence[datetime], changed: Changed, inputs: Versions) -> None:
        within = pl.col("hour_utc").is_in(pl.Series(hours, dtype=TIME).implode())
        of_day = pl.col("day").is_in(sorted({hour.date() for hour in hours}))
        every = self._store.scan(NODE_HOURS, inputs[NODE_HOURS.name])
        node_hours = every.filter(of_day, within).collect()
        booked = self._store.scan(USAGE).filter(of_day, within)
        # rows whose register is not written yet are not booked
        usage = booked.join(node_hours.lazy().select(_NODE_HOUR), on=_NODE_HOUR, how="semi").collect()
        listed = self._costing.listed(usage, node_hours, self._store.scan(PRICES).collect(), changed.repriced)
        prices = new_prices(listed.prices, self._store)
        if prices.height:
            self._store.append(PRICES, prices)
        charges = self._charges(hours, inputs[CHARGES.name]).collect(engine="streaming")
        existed = existence_for(charges, every, changed.last_known)
        cost = reconcile(listed.cost.lazy(), charges.lazy(), existed.lazy(), hours)
        rows = with_carbon(cost, usage.lazy(), self._costing.rules.carbon).collect()
        self._store.replace(COST, rows, {"hour_utc": list(hours)})

    def _correct(self, days: Sequence[date], changed: Changed, inputs: Versions) -> None:
        """Book on days that were rolled what their lines give beyond what stands there."""
        of_days = pl.col("day").is_in(days)
        charges = self._charges(hours_of(days), inputs[CHARGES.name]).collect(engine="streaming")
        existed = existence_for(charges, self._store.scan(NODE_HOURS, inputs[NODE_HOURS.name]), changed.last_known)
        usage = self._store.scan(USAGE).filter(of_days).collect()

        def change(booked: pl.LazyFrame) -> pl.DataFrame:
            return corrected(days, booked.collect(), usage, charges.lazy(), existed.lazy())

        booked = self._store.scan(COST).filter(of_days).collect()
        made = change(booked.lazy())
        if made.equals(booked):
            return
        self._store.rewrite(COST, {"day": list(days)}, change)
        _log.info(
            "%d days from %s to %s have no hours any more: %d nano-dollars of the bill are booked on them as %s",
            len(days),
            days[0],
            days[-1],
            (late_nano_usd(made) or 0) - (late_nano_usd(booked) or 0),
            LATE_CORRECTION,
        )

    def _booked(self, days: Sequence[date], inputs: Versions) -> Sequence[datetime]:
        """The hours of these days that stand in the books."""
        if not days:
            return ()
        register = self._store.scan(NODE_HOURS, inputs[NODE_HOURS.name]).filter(pl.col("day").is_in(days))
        return register.select(pl.col("hour_utc").unique()).collect().to_series().to_list()

    def _sizes(self, hours: Sequence[datetime], inputs: Versions) -> Mapping[date, int]:
        """Device-hours of each day."""
        if not hours:
            return {}
        within = pl.col("day").is_between(hours[0].date(), hours[-1].date())
        booked = self._store.scan(NODE_HOURS, inputs[NODE_HOURS.name]).filter(within)
        return dict(booked.group_by("day").agg(pl.col("gpu_count").sum()).collect().iter_rows())

    def _charges(self, hours: Sequence[datetime], version: int | None) -> pl.LazyFrame:
        """Lines whose period touches the hours. A line stands in the bill of its period's month, or a later one; so of
        older bills only those are read whose lines may be long enough.
        """
        lines = self._store.scan(CHARGES, version)
        if self._longest[0] != version:
            longest = lines.select((pl.col("period_end") - pl.col("period_start")).max()).collect().item()
            self._longest = version, longest or timedelta(0)
        first, end = min(hours), max(hours) + timedelta(hours=1)
        oldest = (first - self._longest[1] - _BILLED_AHEAD).date().replace(day=1)
        return touching(lines.filter(pl.col("month") >= pl.lit(oldest)), first, end)


def _together(hours: Sequence[datetime], sizes: Mapping[date, int]) -> Iterator[list[datetime]]:
    """Hours of whole days, as many as are made at once."""
    waiting: list[datetime] = []
    size = 0
    for day, of_day in groupby(hours, key=lambda hour: hour.date()):
        if waiting and size + sizes.get(day, 0) > _DEVICE_HOURS_AT_ONCE:
            yield waiting
            waiting, size = [], 0
        waiting += of_day
        size += sizes.get(day, 0)
    if waiting:
        yield waiting
