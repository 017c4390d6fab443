"""A FOCUS file of a window: made a day at a time, so that memory holds one, and there whole or not at all."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl

from exporters.focus import Step, focus_rows, unpriced
from exporters.table_file import refuse_format, write_whole
from ledger.store import Store
from ledger.tables import COST, TIME, USAGE, Table

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class FocusWritten:
    """What was written."""

    rows: int
    unpriced_gpu_ns: int
    """GPU time that is not in the file, since nobody knows its cost."""
    versions: Mapping[str, int | None]
    """Of the tables that it was made from."""


def write_focus(
    store: Store,
    path: Path,
    first: datetime,
    end: datetime,
    *,
    step: Step = "1d",
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> FocusWritten:
    """Write the hours from ``first`` to before ``end``; Parquet where the name ends so, else CSV.

    Args:
        store: the ledger.
        path: the file; replaced once the new one is whole.
        first: start of the first hour.
        end: exclusive.
        step: what a row spans; days that have no hours any more are days either way.
        progress: told days done, days in all.

    Raises:
        ValueError: the name says neither CSV nor Parquet, or a row of a day would not cover its day.
        StoreError: a table cannot be read.
        OSError: the file cannot be written.
    """
    refuse_format(path)
    if step == "1d" and any(moment.time() != time() for moment in (first, end)):
        raise ValueError(f"rows of a day need whole days, not {first:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ}")
    books = _Cut(store, first, end)
    days = books.days()
    rows = left_out = 0
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
        parts: list[Path] = []
        progress(0, len(days))
        for done, day in enumerate(days, 1):
            cost, usage = books.rows(COST, day), books.rows(USAGE, day)
            frame = focus_rows(cost, usage, "1d" if books.is_rolled(day) else step).collect()
            left_out += int(unpriced(cost, usage).collect().item())
            rows += frame.height
            parts.append(Path(folder) / f"{done:06d}.parquet")
            frame.write_parquet(parts[-1])
            progress(done, len(days))
        write_whole(pl.scan_parquet(parts, glob=False), path)
    return FocusWritten(rows, left_out, books.versions)


class _Cut:
    """The window, a day at a time, at versions that stay."""

    def __init__(self, store: Store, first: datetime, end: datetime) -> None:
        self._store = store
        self._first, self._end = first, end
        self.versions = {table.name: store.version(table) for table in (COST, USAGE)}
        self._rolled = [before for table in (COST, USAGE) if (before := store.rolled_before(table))]

    def days(self) -> list[date]:
        count = (self._end - timedelta(microseconds=1)).date().toordinal() - self._first.date().toordinal() + 1
        return [self._first.date() + n * _DAY for n in range(count)]

    def is_rolled(self, day: date) -> bool:
        return any(day < before for before in self._rolled)

    def rows(self, table: Table, day: date) -> pl.LazyFrame:
        """Those of the window; where one of the two tables has days in place of hours both are given so."""
        version = self.versions[table.name]
        if version is None:
            return pl.LazyFrame(schema=table.schema)
        rows = self._store.scan(table, version).filter(pl.col("day") == day)
        if self.is_rolled(day):
            return rows.with_columns(hour_utc=pl.lit(datetime.combine(day, time(), UTC)).cast(TIME))
        first, end = (pl.lit(moment).cast(TIME) for moment in (self._first, self._end))
        return rows.filter(pl.col("hour_utc").is_between(first, end, closed="left"))
