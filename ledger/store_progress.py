"""How far a keeper has come, as JSON under its name; and what of a table changed between two versions."""

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, cast

import polars as pl

from ledger.store import Store
from ledger.store_errors import StoreError
from ledger.tables import PROGRESS, Table


def progress(store: Store, what: str) -> Mapping[str, Any]:
    """What was last noted under this name; empty: nothing, or nothing that this version understands.

    Raises:
        StoreError: it cannot be read.
    """
    found = store.scan(PROGRESS).filter(pl.col("what") == what).select("state").collect()
    try:
        said: object = json.loads(found.item()) if found.height == 1 else {}
    except ValueError:
        return {}
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


def note_progress(store: Store, what: str, state: Mapping[str, Any], at: datetime) -> None:
    """Note it, after all that it speaks of is committed.

    Raises:
        StoreError: as of :meth:`ledger.store.Store.replace`.
    """
    text = json.dumps(state, sort_keys=True, separators=(",", ":"))
    row = pl.DataFrame({"what": [what], "state": [text], "at": [at]}, schema=PROGRESS.schema)
    # the whole of so small a table is one file, and written in a fraction of the time that a condition takes
    store.rewrite(PROGRESS, {}, lambda known: pl.concat([known.filter(pl.col("what") != what).collect(), row]))


def changed_parts(store: Store, table: Table, since: int | None, until: int) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """The rows as they were at ``since`` and are at ``until``, of those days (or months) whose files changed.

    Args:
        store: The store.
        table: One with at most one partition column.
        since: A version; None: before there was any.
        until: A later version.

    Raises:
        StoreError: a version is not kept any more.
    """
    after = store.scan(table, until)
    if since is None:
        return pl.LazyFrame(schema=table.schema), after
    before = store.scan(table, since)
    if not table.partition:
        return before, after
    part = pl.col(table.partition[0])
    parts = _parts(store, table, since) ^ _parts(store, table, until)
    touched = part.is_in(pl.Series(sorted({value for value, _ in parts}), dtype=pl.Date).implode())
    return before.filter(touched), after.filter(touched)


def _parts(store: Store, table: Table, version: int) -> set[tuple[date, str]]:
    """Part and name of each of the version's files."""
    handle = store.place.open(table, version)
    if handle is None:
        raise StoreError(f"{table.name} has no version {version}")
    files = pl.DataFrame(handle.get_add_actions(flatten=True))
    if files.is_empty():
        return set()
    named = files.select(pl.col(f"partition.{table.partition[0]}").cast(pl.Date), "path")
    return set(cast("list[tuple[date, str]]", named.rows()))
