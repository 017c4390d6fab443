"""Hours become days once no bill can correct them any more: fewer rows, the same sums to the unit.

A day's row stands at the hour that begins the day. All but the amounts belongs to its key, so that a holder whose team
changed at noon has two rows of that day.
"""

from datetime import date, datetime, timedelta
from functools import partial

import polars as pl

from ledger.bill_register import closing_time
from ledger.store import Store
from ledger.store_errors import StoreError
from ledger.tables import COST, USAGE, Table

AMOUNTS = {
    USAGE.name: ("gpu_ns", "energy_mj", "memory_mib_s", "requested_ns"),
    COST.name: ("list_nano_usd", "effective_nano_usd", "carbon_ug", "embodied_ug"),
}
"""What is summed, of the tables that are rolled."""


class NotClosed(ValueError):  # noqa: N818  (named for the caller's move: wait)
    """A day may still be corrected, so it keeps its hours."""


def closed_before(
    bills: pl.DataFrame, *, now: datetime, after_days: int, closed_after: timedelta = timedelta(days=15)
) -> date | None:
    """The first day that may not be rolled yet; None: none may.

    A month may be rolled ``after_days`` after the last of its bills was closed, in the order of months; what is older
    than the first bill goes with it. A month with a delivery that was refused is not closed. Of a refusal nobody knows
    the month of, any may be: it holds all until a delivery of the same export is booked, or for ``after_days``.

    Args:
        bills: The table ``bills``; of each export and month what was read last counts, but nothing that was replaced.
        now: The time.
        after_days: Days from a bill's close until no correction is awaited any more.
        closed_after: From a month's end until its bill counts as closed; one that is read later is closed when read.
    """
    wait = timedelta(days=after_days)
    standing = bills.filter(pl.col("state") != "replaced").sort("read_at")
    if _refused_of_no_month(standing).filter(pl.col("read_at") > now - wait).height:
        return None
    last = standing.filter(pl.col("month").is_not_null()).group_by("month", "export").last()
    whole = (pl.col("complete") & (pl.col("state") == "booked")).fill_null(value=False)
    months = last.group_by("month").agg(whole.all(), pl.col("read_at").max())
    first_open: date | None = None
    for month, complete, read_at in months.sort("month").rows():
        if (first_open is not None and month != first_open) or not complete:
            break
        if now < max(read_at, closing_time(month, closed_after)) + wait:
            break
        first_open = (month + timedelta(days=31)).replace(day=1)
    return first_open


def _refused_of_no_month(standing: pl.DataFrame) -> pl.DataFrame:
    """The last word of exports whose last delivery was refused before its month was known."""
    return standing.group_by("export").last().filter(pl.col("month").is_null())


def roll_into_days(table: Table, hours: pl.LazyFrame, *, closed: date) -> pl.LazyFrame:
    """The rows of whole days: amounts summed in Int128; null only where no hour of the day knew the amount.

    Args:
        table: ``usage`` or ``cost``.
        hours: Its rows; days among them stay as they are.
        closed: Days before it are closed.

    Raises:
        NotClosed: a row is of that day or later.
        polars.exceptions.InvalidOperationError: on collection, where a day's sum passes 64 bits.
    """
    amounts = _amounts(table)
    last = hours.select(pl.col("day").max()).collect().item()
    if last is not None and last >= closed:
        raise NotClosed(f"{table.name} of {last} keeps its hours: only days before {closed} are closed")
    key = [name for name in table.schema if name not in amounts]
    start = pl.col("hour_utc").dt.truncate("1d")
    summed = [_sum_or_null(name).cast(pl.Int64, strict=True) for name in amounts]
    return hours.with_columns(start).group_by(key).agg(summed).select(list(table.schema))


def roll_days(store: Store, table: Table, *, closed: date) -> int:
    """Roll every day before ``closed`` in the store, oldest first, one verified commit a day; returns how many.

    From then on the store refuses an hour of such a day.

    Raises:
        StoreError: it could not be written, or a day's sums differ; days before it are rolled.
    """
    days = [day for day in _days_with_hours(table, store) if day < closed]
    for day in days:
        store.rewrite(table, {"day": [day]}, partial(_verified, table, day), rolled=day + timedelta(days=1))
    return len(days)


def _days_with_hours(table: Table, store: Store) -> list[date]:
    rows = store.scan(table).select("day", "hour_utc").filter(pl.col("hour_utc").dt.truncate("1d") < pl.col("hour_utc"))
    return rows.select(pl.col("day").unique()).collect()["day"].sort().to_list()


def _verified(table: Table, day: date, hours: pl.LazyFrame) -> pl.DataFrame:
    before = hours.collect()
    rolled = roll_into_days(table, before.lazy(), closed=day + timedelta(days=1)).collect()
    sums = [_int128(name).sum() for name in _amounts(table)]
    if not before.select(sums).equals(rolled.select(sums)):
        raise StoreError(
            f"{table.name} of {day} keeps its hours: the days' sums differ from the hours' sums;"
            " that is a fault of the program, report it"
        )
    return rolled


def _amounts(table: Table) -> tuple[str, ...]:
    try:
        return AMOUNTS[table.name]
    except KeyError:
        raise ValueError(f"{table.name} is not rolled into days: only {', '.join(AMOUNTS)} are") from None


def _int128(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Int128)


def _sum_or_null(name: str) -> pl.Expr:
    return pl.when(pl.col(name).is_not_null().any()).then(_int128(name).sum())
