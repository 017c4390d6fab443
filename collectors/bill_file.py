"""Reading the file of a bill: CSV, plain or gzip, or Parquet, in batches of bounded size, whole or not at all.

Owns the form of files; knows nothing of what columns mean. A file that was cut off anywhere is refused, with the line
where it goes wrong; only a plain CSV that ends exactly between two lines cannot be told from a whole one.
"""

import csv
import io
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from collectors.bill_csv import AGAIN, ROW, Block, blocks, header_of
from collectors.bill_refused import BillRefused
from collectors.errors import Unavailable

ROWS = 131_072
"""Rows of a batch of Parquet."""
_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xff\xfe": "UTF-16"}


@dataclass(frozen=True, slots=True)
class BillFile:
    """One file, told by its first bytes, not by its name."""

    path: Path
    name: str
    """As messages call it."""
    parquet: bool
    packed: bool
    """CSV within gzip."""
    names: tuple[str, ...]
    complete: Mapping[str, str] = field(default_factory=dict[str, str])
    """Columns that the file lacks, with the value that each line has."""

    def batches(self, columns: Collection[str]) -> Iterator[Callable[[], pl.DataFrame]]:
        """The rows in their order, with :data:`ROW`, in batches that each are read when called, by any thread; wholly
        empty lines are left out.

        Args:
            columns: those that are given; of CSV the cells of all are counted.

        Raises:
            BillRefused: the file cannot be read to its end, from here or from a batch. Batches that came before are
                worth nothing then.
        """
        wanted = [name for name in self.names if name in columns]
        return self._csv_batches(wanted) if not self.parquet else self._parquet_batches(wanted)

    def line_of(self, row: int) -> int:
        """The line of a CSV on which a row ends, ``row`` as :data:`ROW` has it; of Parquet the row counted from 1."""
        if self.parquet:
            return row + 1
        return next(block.line_of(row) for block in self._blocks() if block.has(row))

    def _parquet_batches(self, wanted: Sequence[str]) -> Iterator[Callable[[], pl.DataFrame]]:
        # slices and not collect_batches, which reads ahead without bound
        scan = pl.scan_parquet(self.path, glob=False)

        def read(first: int) -> pl.DataFrame:
            rows = scan.slice(first, ROWS).with_columns(**self._completed()).select(wanted)
            return self._refusing(rows).with_row_index(ROW, first)

        for first in range(0, self._refusing(scan.select(pl.len())).item(), ROWS):
            yield partial(read, first)

    def _refusing(self, rows: pl.LazyFrame) -> pl.DataFrame:
        try:
            return rows.collect(engine="streaming")
        except pl.exceptions.PolarsError as error:
            raise BillRefused(f"{self.name}: {_first_line(error)}; {AGAIN}") from error

    def _csv_batches(self, wanted: Sequence[str]) -> Iterator[Callable[[], pl.DataFrame]]:
        own = self._own
        asked = [name for name in wanted if name in own]

        def read(block: Block) -> pl.DataFrame:
            return block.rows(own, asked).with_columns(**self._completed()).select(ROW, *wanted)

        return (partial(read, block) for block in self._blocks())

    def _blocks(self) -> Iterator[Block]:
        return blocks(self.path, self.name, len(self._own), packed=self.packed)

    @property
    def _own(self) -> list[str]:
        return [name for name in self.names if name not in self.complete]

    def _completed(self) -> dict[str, pl.Expr]:
        return {name: pl.lit(value, dtype=pl.String) for name, value in self.complete.items()}


def open_bill(path: Path, name: str, complete: Mapping[str, str] | None = None) -> BillFile:
    """Look at a file: its form and its columns.

    Args:
        path: the file.
        name: what messages call it.
        complete: columns with their value, for those that the file lacks.

    Raises:
        BillRefused: it is cut off, empty, or of no form that is read.
        Unavailable: it is not there, or may not be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
        parquet, packed = start == b"PAR1", start[:2] == b"\x1f\x8b"
        if not start:
            raise BillRefused(f"{name}: the file is empty; {AGAIN}")
        if form := next((form for magic, form in _ARCHIVES.items() if start.startswith(magic)), None):
            raise BillRefused(f"{name}: {form} is not read; deliver CSV in UTF-8, plain or gzip, or Parquet")
        names = _parquet_names(path, name) if parquet else _csv_names(path, name, packed=packed)
        # gzip has its own length and checksum, Parquet its own end
        if not parquet and not packed and not _last_line_ends(path):
            raise BillRefused(
                f"{name}: the last line does not end, so it may be cut off; deliver it again, or where it is known to"
                " be whole, put a line end after it"
            )
    except OSError as error:
        raise Unavailable(f"{name}: cannot be read ({error}); check that it is there and may be read") from error
    more = {key: value for key, value in (complete or {}).items() if key not in names}
    return BillFile(path, name, parquet, packed, (*names, *more), more)


def _last_line_ends(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _parquet_names(path: Path, name: str) -> tuple[str, ...]:
    try:
        return tuple(pl.scan_parquet(path, glob=False).collect_schema().names())
    except pl.exceptions.PolarsError as error:
        raise BillRefused(f"{name}: {_first_line(error)}; {AGAIN}") from error


def _csv_names(path: Path, name: str, *, packed: bool) -> tuple[str, ...]:
    header = header_of(path, name, packed=packed)
    try:
        names = tuple(next(csv.reader(io.StringIO(header.decode(), newline=""), strict=True), list[str]()))
    except (csv.Error, UnicodeDecodeError) as error:
        raise BillRefused(f"{name}: the header cannot be read ({error}); deliver CSV in UTF-8") from error
    if len(names) == 1 and ";" in names[0]:
        raise BillRefused(f"{name}: its columns are separated by semicolons; export it with commas, and decimal points")
    if twice := sorted({column for column in names if names.count(column) > 1}):
        raise BillRefused(f"{name}: the columns {', '.join(twice[:5])} stand twice; export each once")
    return names


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
