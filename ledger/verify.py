"""Proves the laws of the books over a range of hours, from the tables alone, a day at a time.

Owns the range and its order. Some hours of usage and cost are in memory at a time, however long the range is.
Hours that became days are held to the laws by day. Hours whose cost the keeper has still to make are held to the laws
of time; :func:`pending_hours` names them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from ledger import verify_law as law
from ledger import verify_money as money
from ledger.remake import expected_lines
from ledger.store import Store
from ledger.tables import ALL, COST
from ledger.verify_books import HOUR, Books, hours_between
from ledger.verify_day import day_breaks, place_breaks
from ledger.verify_law import Break, broken
from ledger.verify_tables import bill_breaks, table_breaks

Progress = Callable[[int, int], None]
"""Told before the first day and after each: days done, days in all."""

Versions = Mapping[str, int | None]
Looked = Callable[[Versions], None]
"""Told the version of each table that is looked at from now on, at first and whenever they are read anew."""

_TRIES = 3
_DAY = timedelta(days=1)


def verify(
    store: Store,
    first: datetime | None = None,
    last: datetime | None = None,
    progress: Progress = lambda _done, _all: None,
    looked: Looked = lambda _versions: None,
) -> Iterator[Break]:
    """What is broken, in the order of time; nothing: every law holds.

    Breaks of a day are looked at again where the tables changed meanwhile, so that a booking that was under way is
    none.

    Args:
        store: the ledger.
        first: start of the first hour; None: the first that there is.
        last: start of the last hour; None: the last that there is.
        progress: called as days are done.
        looked: called with the versions of all tables; again where breaks made it look at later ones.

    Raises:
        StoreError: a table cannot be read.
    """
    versions: Versions = {table.name: store.version(table) for table in ALL}
    looked(versions)
    yield from table_breaks(store, versions)
    books = Books(store)
    looked({**versions, **books.versions})
    span = books.span()
    if span is None:
        return
    first, last = max(first or span[0], span[0]), min(last or span[1], span[1])
    first, last = _whole_days(books, first, last)
    days = _days(first, last)
    progress(0, len(days))
    for done, day in enumerate(days, 1):
        former = books
        books, found = _day(former, day, first, last)
        if books is not former:
            looked({**versions, **books.versions})
        yield from found
        progress(done, len(days))
    if days:
        yield from _totals(books, first, last)
        yield from bill_breaks(books, first.date(), last.date())


def pending_hours(store: Store) -> list[datetime]:
    """Hours whose cost is not made yet from what stands in the tables, ascending.

    Raises:
        StoreError: a table cannot be read.
    """
    return sorted(Books(store).pending)


def _day(books: Books, day: date, first: datetime, last: datetime) -> tuple[Books, Sequence[Break]]:
    found = list(_found(books, day, first, last))
    for _ in range(_TRIES):
        if not found or books.is_current():
            break
        books = Books(books.store)
        found = list(_found(books, day, first, last))
    return books, found


def _found(books: Books, day: date, first: datetime, last: datetime) -> Iterator[Break]:
    yield from place_breaks(books, day)
    for begin, end in books.cuts(day, first, last):
        yield from day_breaks(books, books.day(day, begin, end))


def _totals(books: Books, first: datetime, last: datetime) -> Iterator[Break]:
    """Charges against cost over the whole range. Lines that lie in it count whole; of those that reach beyond, what the
    rule of spreading gives to its hours.
    """
    end = last + HOUR
    if any(first <= hour < end for hour in books.pending):
        return
    lines = books.lines(first, end)
    ended = pl.max_horizontal(pl.col("period_end"), pl.col("period_start") + pl.duration(microseconds=1))
    inside = (pl.col("period_start") >= first) & (ended <= end)
    charged = _by_category(lines.filter(inside).rename({"category": "charge"}))
    beyond = lines.filter(~inside).collect(engine="streaming")
    existed = books.existed(beyond).lazy()
    for day in _days(first, last) if beyond.height else ():
        charged = _added(charged, _by_category(expected_lines(_hours(day, first, last), beyond.lazy(), existed)))
    within = hours_between(first, last)
    days = pl.col("day").is_between(first.date(), last.date())
    borne = _by_category(books.scan(COST).filter(days, within))
    yield from broken(law.CHARGES, money.charge_totals(charged, borne))


def _by_category(rows: pl.LazyFrame) -> dict[tuple[str, str], int]:
    key = ("billing_account", "charge")
    known = rows.filter(pl.col("effective_nano_usd").is_not_null())
    sums = known.group_by(key).agg(pl.col("effective_nano_usd").cast(pl.Int128).sum())
    return {(account, charge): int(nano) for account, charge, nano in sums.collect(engine="streaming").rows()}


def _added(one: Mapping[tuple[str, str], int], other: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {*one, *other}}


def _whole_days(books: Books, first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """A day that was rolled can only be looked at as a whole."""
    before = books.rolled[COST.name]
    if before is not None and first.date() < before:
        first = datetime.combine(first.date(), time(), UTC)
    if before is not None and last.date() < before:
        last = datetime.combine(last.date(), time(23), UTC)
    return first, last


def _days(first: datetime, last: datetime) -> list[date]:
    return [first.date() + n * _DAY for n in range((last.date() - first.date()).days + 1)]


def _hours(day: date, first: datetime, last: datetime) -> list[datetime]:
    start = datetime.combine(day, time(), UTC)
    return [hour for n in range(24) if first <= (hour := start + n * HOUR) <= last]
