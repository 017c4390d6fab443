"""One reading of the books to verify: versions that belong together, and one day's rows of them at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from ledger.cost_changes import INPUTS, LIVE, changes
from ledger.cost_keeper import WHAT
from ledger.late_corrections import hours_of
from ledger.remake import existence_for, last_known, touching
from ledger.store import Store
from ledger.store_progress import progress
from ledger.tables import (
    BILLS,
    CHARGES,
    COST,
    NODE_HOURS,
    PLACE,
    PRICES,
    PROFILE,
    TIME,
    USAGE,
    WORK,
    Table,
)

HOUR = timedelta(hours=1)
_PINNED = (COST, USAGE, NODE_HOURS, CHARGES, PRICES, PROFILE, WORK, BILLS, *LIVE)
"""Cost first: what it was made from is then no newer than what is read after it."""
MOST_ROWS = 150_000
"""Rows of usage that are looked at together, which bounds memory."""
_BILLED_AHEAD = timedelta(days=40)
"""A line may stand in the bill of the month before its period."""

_USAGE = (
    "day",
    "hour_utc",
    *PLACE,
    "gpu_uuid",
    "gpu_model",
    "mig",
    "holder_kind",
    "holder",
    "account",
    "method",
    "energy_method",
    "price_id",
    "gpu_ns",
    "energy_mj",
    "memory_mib_s",
    "requested_ns",
)
_COST = (
    "day",
    *(name for name in COST.key),
    "gpu_model",
    "list_nano_usd",
    "effective_nano_usd",
    "carbon_ug",
    "embodied_ug",
    "intensity",
)
LINE = (
    "instance_id",
    "period_start",
    "period_end",
    "billing_account",
    "category",
    "stack_layer",
    "provider",
    "region",
    "effective_nano_usd",
)
"""What of a line decides where its cost goes."""


@dataclass(frozen=True, slots=True)
class Day:
    """The rows of one day, or of some hours of it."""

    day: date
    hours: Sequence[datetime]
    """Those whose cost is made, ascending; of a day that was rolled all or none."""
    within: pl.Expr
    """Whether a row is of these hours, whether their cost is made or not."""
    usage_rolled: bool
    cost_rolled: bool
    usage: pl.DataFrame
    node_hours: pl.DataFrame
    cost: pl.DataFrame
    lines: pl.DataFrame
    existed: pl.DataFrame

    @property
    def rolled(self) -> bool:
        """Whether usage or cost has one row a day in place of its hours."""
        return self.usage_rolled or self.cost_rolled


class Books:
    """Tables at versions that belong together.

    Raises:
        StoreError: a table cannot be read.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        former = progress(store, WHAT)
        self.versions: Mapping[str, int | None] = {table.name: store.version(table) for table in _PINNED}
        self._scans: dict[str, pl.LazyFrame] = {}
        self.rolled = {table.name: store.rolled_before(table) for table in (USAGE, COST)}
        self.pending = self._pending(former)
        """Hours whose cost the keeper has still to make."""
        self.prices = self.scan(PRICES).collect()
        self._known: pl.DataFrame | None = None
        self._longest: timedelta | None = None

    def _pending(self, former: Mapping[str, int | None]) -> frozenset[datetime]:
        inputs = {table.name: self.versions[table.name] for table in INPUTS}
        hours = () if former == inputs else changes(self.store, former, inputs).hours
        rolled = {hour.date() for hour in hours if self.is_rolled(hour.date())}
        return frozenset({*hours, *hours_of(sorted(rolled))})

    def is_current(self) -> bool:
        """Whether nothing was written since."""
        return all(self.store.version(table) == self.versions[table.name] for table in _PINNED)

    def scan(self, table: Table) -> pl.LazyFrame:
        """The table at its version."""
        if table.name not in self._scans:
            version = self.versions[table.name]
            rows = pl.LazyFrame(schema=table.schema) if version is None else self.store.scan(table, version)
            self._scans[table.name] = rows
        return self._scans[table.name]

    def has_days(self, table: Table, day: date) -> bool:
        """Whether the table's hours of that day became one row."""
        before = self.rolled[table.name]
        return before is not None and day < before

    def is_rolled(self, day: date) -> bool:
        """Whether usage or cost of that day has no hours any more."""
        return self.has_days(USAGE, day) or self.has_days(COST, day)

    def span(self) -> tuple[datetime, datetime] | None:
        """Start of the first and of the last hour that anything is booked in; None: nothing is."""
        ends = [
            self.scan(table).select(pl.col("hour_utc").min(), pl.col("hour_utc").max().alias("last")).collect().row(0)
            for table in (USAGE, NODE_HOURS, COST)
        ]
        first = [begin for begin, _ in ends if begin is not None]
        last = [end for _, end in ends if end is not None]
        return (min(first), max(last)) if first else None

    def lines(self, first: datetime, end: datetime) -> pl.LazyFrame:
        """Bill lines that touch the hours from ``first`` to before ``end``."""
        oldest = (first - self._longest_line() - _BILLED_AHEAD).date().replace(day=1)
        return touching(self.scan(CHARGES).filter(pl.col("month") >= oldest), first, end).select(LINE)

    def _longest_line(self) -> timedelta:
        if self._longest is None:
            length = (pl.col("period_end") - pl.col("period_start")).max()
            longest: timedelta | None = self.scan(CHARGES).select(length).collect().item()
            self._longest = timedelta(0) if longest is None else longest
        return self._longest

    def existed(self, lines: pl.DataFrame) -> pl.DataFrame:
        """The node-hours that some lines go to, see :func:`ledger.remake.existence_for`."""
        if self._known is None:
            self._known = last_known(self.scan(NODE_HOURS))
        return existence_for(lines, self.scan(NODE_HOURS), self._known)

    def cuts(self, day: date, first: datetime, last: datetime) -> list[tuple[datetime, datetime]]:
        """First and last hours of the parts of a day that are looked at together; one where the day was rolled."""
        start = datetime.combine(day, time(), UTC)
        if self.is_rolled(day):
            return [(start, start + timedelta(hours=23))]
        start, end = max(start, first), min(start + timedelta(hours=23), last)
        rows = self.rows_of_day(USAGE, day).select(pl.len()).collect().item()
        step = max(1, 24 * MOST_ROWS // max(rows, 1))
        hours = [start + n * HOUR for n in range((end - start) // HOUR + 1)]
        return [(part[0], part[-1]) for at in range(0, len(hours), step) if (part := hours[at : at + step])]

    def day(self, day: date, first: datetime, last: datetime) -> Day:
        """The rows of a cut of a day."""
        within = hours_between(first, last)
        lines = self.lines(first, last + HOUR).collect(engine="streaming")
        hours = [first + n * HOUR for n in range((last - first) // HOUR + 1)]
        return Day(
            day=day,
            hours=[hour for hour in hours if hour not in self.pending],
            within=within,
            usage_rolled=self.has_days(USAGE, day),
            cost_rolled=self.has_days(COST, day),
            usage=self.rows_of_day(USAGE, day).filter(within).select(_USAGE).collect(),
            node_hours=self.rows_of_day(NODE_HOURS, day).filter(within).collect(),
            cost=self.rows_of_day(COST, day).filter(within).select(_COST).collect(),
            lines=lines,
            existed=self.existed(lines),
        )

    def rows_of_day(self, table: Table, day: date) -> pl.LazyFrame:
        """All rows that stand in the day's partition."""
        return self.scan(table).filter(pl.col("day") == day)


def hours_between(first: datetime, last: datetime) -> pl.Expr:
    """Whether a row is of the hours from ``first`` to ``last``."""
    ends = (pl.lit(first).cast(TIME), pl.lit(last + HOUR).cast(TIME))
    return pl.col("hour_utc").is_between(*ends, closed="left")
