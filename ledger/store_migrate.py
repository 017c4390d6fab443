"""How a table of an older schema becomes one of ours: steps by table and version, applied in reading, kept in writing.

A step is a pure function of the frame. A table of a newer schema is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl
from deltalake import DeltaTable

from ledger.store_errors import NewerTable, StoreError
from ledger.tables import SCHEMA_VERSION, Table, conform

SCHEMA = "wattledger.schema"
"""The schema's version: in the table's configuration when it was made, in an application transaction of that name when
it was migrated, since Delta takes a changed configuration and changed rows only in two commits."""

Step = Callable[[pl.LazyFrame], pl.LazyFrame]


@dataclass(frozen=True, slots=True)
class Migrations:
    """The way from each older schema to the present one."""

    version: int = SCHEMA_VERSION
    steps: Mapping[tuple[str, int], Step] = field(default_factory=dict[tuple[str, int], Step])
    """By table and the version that it leads on from; without one only missing columns are added, empty."""

    def upgrade(self, table: Table, frame: pl.LazyFrame, version: int) -> pl.LazyFrame:
        """The frame of an older version in the table's present columns."""
        for former in range(version, self.version):
            frame = self.steps.get((table.name, former), _unchanged)(frame)
        return conform(table, frame)

    def refuse_newer(self, handle: DeltaTable) -> None:
        """Raise NewerTable where the table is of a newer schema; it is not touched."""
        if (found := schema_of(handle)) > self.version:
            raise NewerTable(
                f"the table at {handle.table_uri} is of schema {found}, this wattledger knows up to {self.version}:"
                " nothing was changed; run the wattledger that wrote it, or a later one"
            )


def schema_of(handle: DeltaTable) -> int:
    """The version of the schema that the table is of.

    Raises:
        StoreError: it is a Delta table, but none of wattledger's.
    """
    made = handle.metadata().configuration.get(SCHEMA, "")
    if not made.isdecimal():
        raise StoreError(
            f"the table at {handle.table_uri} was not written by wattledger (its {SCHEMA} is {made!r}):"
            " move it away, or set ledger.root to another place"
        )
    return max(int(made), handle.transaction_version(SCHEMA) or 0)


def _unchanged(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame


MIGRATIONS = Migrations()
"""All that there are; schema 1 is the first."""
