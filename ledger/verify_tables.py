"""The laws that are asked of whole tables: schema, leadership, keys, and the bills' own totals."""

from collections.abc import Iterator, Mapping
from datetime import date

import polars as pl

from ledger import verify_law as law
from ledger import verify_money as money
from ledger import verify_time as clock
from ledger.store import Store
from ledger.store_facts import TableFacts, table_facts
from ledger.tables import ALL, BILLS, CHARGES, EPOCHS, SCHEMA_VERSION, Table
from ledger.verify_books import Books
from ledger.verify_law import Break, broken


def table_breaks(store: Store, versions: Mapping[str, int | None]) -> Iterator[Break]:
    """Schema and leadership of each table as it is now, and keys of those that are not by hour.

    Args:
        store: the ledger.
        versions: of each table; rows are read at them.

    Raises:
        StoreError: a table cannot be read.
    """
    claimed = store.scan(EPOCHS).select(pl.col("epoch").max()).collect().item() or 0
    for table in ALL:
        facts = table_facts(store, table)
        if facts is not None:
            yield from _facts(table, facts, claimed)
        version = versions[table.name]
        if "hour_utc" not in table.schema and version is not None:
            yield from broken(law.KEYS, clock.twice(table, store.scan(table, version), table.key))


def bill_breaks(books: Books, first: date, last: date) -> Iterator[Break]:
    """Totals of the bills of the months from that of ``first`` to that of ``last``."""
    months = pl.col("month").is_between(first.replace(day=1), last.replace(day=1))
    charges, bills = (books.scan(table).filter(months) for table in (CHARGES, BILLS))
    yield from broken(law.BILLS, money.bill_totals(charges, bills))


def _facts(table: Table, facts: TableFacts, claimed: int) -> Iterator[Break]:
    def unlike(expected: str, found: str) -> Break:
        return Break(law.SCHEMA.name, None, "", f"table {table.name}", expected, found, law.SCHEMA.remedy)

    if facts.epoch > claimed:
        yield unlike(f"leadership {claimed} at most, the last that was claimed", f"leadership {facts.epoch}")
    if facts.schema_version != SCHEMA_VERSION:
        return  # an older one is read through its migration
    ours = {name: str(dtype) for name, dtype in table.schema.items()}
    for name in sorted({*ours, *facts.columns}):
        if ours.get(name) != facts.columns.get(name):
            yield unlike(
                f"column {name} of {ours[name]}" if name in ours else f"no column {name}",
                facts.columns.get(name, "none"),
            )
