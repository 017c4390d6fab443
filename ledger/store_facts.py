"""What a table says of itself: version, schema, leadership. Reading it changes nothing."""

from dataclasses import dataclass

import polars as pl

from ledger.store import APP, Store
from ledger.store_migrate import schema_of
from ledger.tables import Table


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table as of now."""

    version: int
    schema_version: int
    epoch: int
    """Of the newest leadership that committed to it; 0: none did."""
    columns: dict[str, str]
    """Name to type, as the table's own log has them, in the words of polars."""


def table_facts(store: Store, table: Table) -> TableFacts | None:
    """What the table says of itself; None: there is none yet.

    Raises:
        NewerTable: it is of a newer wattledger.
        StoreError: it cannot be read.
    """
    handle = store.place.open(table)
    if handle is None:
        return None
    columns = pl.scan_delta(handle).collect_schema()
    return TableFacts(
        version=handle.version(),
        schema_version=schema_of(handle),
        epoch=handle.transaction_version(APP) or 0,
        columns={name: str(dtype) for name, dtype in columns.items()},
    )
