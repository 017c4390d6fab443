"""What keeps a table quick and small: compaction, vacuum, history. None of it changes what the books say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from deltalake.exceptions import DeltaError

from ledger.store import Store
from ledger.store_delta import NO_HOOKS, properties
from ledger.store_where import Where, predicate
from ledger.tables import Table

MIN_VACUUM_DAYS = 1
"""A writer that is still at work must find its files when it commits."""


@dataclass(frozen=True, slots=True)
class Change:
    """One commit of a table."""

    version: int
    at: datetime
    operation: str
    rows_added: int | None
    files_added: int | None
    files_removed: int | None


def many_files(store: Store, table: Table, *, before: date) -> list[date]:
    """The parts before that day which more than one file holds: what :func:`compact` is for.

    Raises:
        StoreError: the table cannot be read.
    """
    handle = store.place.open(table)
    if handle is None or not table.partition:
        return []
    part = f"partition.{table.partition[0]}"
    files = pl.DataFrame(handle.get_add_actions(flatten=True)).lazy().select(pl.col(part).cast(pl.Date))
    counts = files.filter(pl.col(part) < before).group_by(part).len().filter(pl.col("len") > 1)
    return counts.sort(part).collect()[part].to_list()


def compact(store: Store, table: Table, parts: Sequence[date] = ()) -> int:
    """One file for each day (or month) given, sorted by the table's key; returns how many were rewritten.

    Args:
        store: The store.
        table: Its table.
        parts: Days of a table by day, months of one by month; a table of one part is compacted without.

    Raises:
        StoreError: as of :meth:`Store.rewrite`; parts done before it are kept.
    """
    return sum(_compact_part(store, table, where) for where in _parts(table, parts))


def vacuum(store: Store, table: Table, *, older_than_days: int | None = None) -> int:
    """Delete files that no version of the last days needs, left-overs of broken writes too; returns how many.

    Raises:
        ValueError: fewer days than a writer may be at work.
        StoreError: they cannot be deleted.
    """
    days = store.place.history_days if older_than_days is None else older_than_days
    if days < MIN_VACUUM_DAYS:
        raise ValueError(f"vacuum of less than {MIN_VACUUM_DAYS} day would take files from a writer at work: {days}")
    handle = store.open_to_write(table)
    try:
        if (wanted := properties(table, days)).items() - handle.metadata().configuration.items():
            handle.alter.set_table_properties(wanted)
            handle = store.open_to_write(table)
        gone = handle.vacuum(days * 24, dry_run=False, full=True, post_commithook_properties=NO_HOOKS)
    except (DeltaError, OSError) as error:
        raise store.place.explained(f"vacuum {table.name}", table, error) from error
    return len(gone)


def history(store: Store, table: Table, limit: int | None = None) -> tuple[Change, ...]:
    """The table's commits as far as they are kept, the last first.

    For a person to look at: while it reads, no other thread of the process runs.

    Raises:
        StoreError: it cannot be read.
    """
    handle = store.place.open(table)
    try:
        return () if handle is None else tuple(_change(entry) for entry in handle.history(limit))
    except (DeltaError, OSError) as error:
        raise store.place.explained(f"read the history of {table.name}", table, error) from error


def _parts(table: Table, parts: Iterable[date]) -> list[Where]:
    if not table.partition:
        return [{}]
    return [{table.partition[0]: [part]} for part in parts]


def _compact_part(store: Store, table: Table, where: Where) -> bool:
    handle = store.open_to_write(table)
    if len(handle.file_uris(file_pruning_predicate=predicate(table, where))) < 2:  # noqa: PLR2004
        return False
    store.rewrite(table, where, lambda rows: _sorted(table, rows))
    return True


def _sorted(table: Table, rows: pl.LazyFrame) -> pl.DataFrame:
    in_order = rows.sort(table.key).collect(engine="streaming")
    return in_order.rechunk()  # deltalake keeps the order within a batch, not that of batches


def _change(entry: Mapping[str, Any]) -> Change:
    metrics: Mapping[str, Any] = entry.get("operationMetrics") or {}
    return Change(
        version=int(entry["version"]),
        at=datetime.fromtimestamp(entry["timestamp"] / 1000, UTC),
        operation=str(entry.get("operation", "")),
        rows_added=metrics.get("num_added_rows"),
        files_added=metrics.get("num_added_files"),
        files_removed=metrics.get("num_removed_files"),
    )
