"""Reading the file of a bill: CSV, plain or gzip, or Parquet, in batches of bounded size, whole or not at all.

Owns the form of files; knows nothing of what columns mean. polars reads a row that is too short as one with nulls, so
each CSV's cells are counted as well: a file that was cut off anywhere is refused, with the line where it goes wrong.
"""

import csv
import gzip
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import polars as pl

from collectors.bill_refused import BillRefused
from collectors.errors import Unavailable

ROWS = 100_000
"""Rows of a batch; bounds memory, whatever the size of the file."""
ROW = "__row"
"""Column with the row's number in the file, from 0."""

_NULLS = ["", "NULL", "null"]
_AGAIN = "the file is cut off or damaged; deliver it again"
_BLOCK = 1 << 23
_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xff\xfe": "UTF-16"}


@dataclass(frozen=True, slots=True)
class BillFile:
    """One file, told by its first bytes, not by its name."""

    path: Path
    name: str
    """As messages call it."""
    parquet: bool
    names: tuple[str, ...]
    ends_open: bool
    """The file's last line does not end, so its last cell may be cut."""
    complete: Mapping[str, str] = field(default_factory=dict[str, str])
    """Columns that the file lacks, with the value that each line has."""

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The rows in their order, with :data:`ROW`; wholly empty lines are left out.

        Args:
            columns: what is needed of Parquet; of CSV all is read, since all is checked.

        Raises:
            BillRefused: the file cannot be read to its end. Batches that came before are worth nothing then.
        """
        reading = self._parquet_batches(columns) if self.parquet else self._csv_batches()
        try:
            yield from reading
        except pl.exceptions.PolarsError as error:
            raise self._broken(error) from error

    def line_of(self, row: int) -> int:
        """The line on which a row of a CSV ends; of Parquet the row counted from 1."""
        if self.parquet:
            return row + 1
        with _lines(self.path) as lines:
            reader = csv.reader(lines)
            for number, _cells in enumerate(reader, start=-1):
                if number == row:
                    return reader.line_num
        return row + 2

    def _parquet_batches(self, columns: Sequence[str] | None) -> Iterator[pl.DataFrame]:
        scan = pl.scan_parquet(self.path, glob=False).with_columns(**self._completed())
        if columns is not None:
            scan = scan.select([name for name in columns if name in self.names])
        return self._numbered(scan)

    def _csv_batches(self) -> Iterator[pl.DataFrame]:
        scan = pl.scan_csv(self.path, infer_schema=False, null_values=_NULLS, glob=False)
        width = len(self.names) - len(self.complete)
        rows = inside = blank = 0
        for frame in self._numbered(scan):
            cells = pl.exclude(ROW)
            rows += frame.height
            inside += frame.select(pl.sum_horizontal(cells.str.count_matches(",", literal=True).sum())).item()
            empty = pl.all_horizontal(cells.is_null())
            kept = frame.filter(~empty)
            blank += frame.height - kept.height
            yield kept.with_columns(**self._completed())
        missing = (rows + 1) * (width - 1) + inside - self._separators()
        if missing and not (missing % (width - 1) == 0 and 0 < missing // (width - 1) <= blank):
            self._refuse_first_short_row(width)

    def _completed(self) -> dict[str, pl.Expr]:
        return {name: pl.lit(value, dtype=pl.String) for name, value in self.complete.items()}

    @staticmethod
    def _numbered(scan: pl.LazyFrame) -> Iterator[pl.DataFrame]:
        first = 0
        for frame in scan.collect_batches(chunk_size=ROWS, maintain_order=True, engine="streaming"):
            yield frame.with_row_index(ROW, first)
            first += frame.height

    def _separators(self) -> int:
        """Commas in the file, less those within the header's names."""
        inside_header = sum(name.count(",") for name in self.names if name not in self.complete)
        with self.path.open("rb") as file:
            blocks = iter(lambda: file.read(_BLOCK), b"")
            return sum(block.count(b",") for block in blocks) - inside_header

    def _refuse_first_short_row(self, width: int) -> None:
        """Raises where a row is short; else the counts differ for a reason that loses nothing."""
        if fault := self._first_fault(width):
            raise BillRefused(f"{self.name}: {fault}; {_AGAIN}")

    def _first_fault(self, width: int) -> str | None:
        with _lines(self.path) as lines:
            reader = csv.reader(lines, strict=True)
            try:
                for cells in reader:
                    if cells and len(cells) != width:
                        return f"line {reader.line_num} has {len(cells)} cells where the header has {width}"
                    "".join(cells).encode()
            except csv.Error as error:
                return f"line {reader.line_num} cannot be read ({error})"
            except UnicodeEncodeError:
                return f"line {reader.line_num} is not in UTF-8"
        return None

    def _broken(self, error: Exception) -> BillRefused:
        fault = None if self.parquet else self._first_fault(len(self.names) - len(self.complete))
        return BillRefused(f"{self.name}: {fault or _first_line(error)}; {_AGAIN}")


def open_bill(path: Path, name: str, scratch: Path, complete: Mapping[str, str] | None = None) -> BillFile:
    """Look at a file: its form and its columns.

    Args:
        path: the file.
        name: what messages call it.
        scratch: a folder of one's own; gzip is unpacked into it, since only its end proves that nothing is missing.
        complete: columns with their value, for those that the file lacks.

    Raises:
        BillRefused: it is cut off, empty, or of no form that is read.
        Unavailable: it is not there, or may not be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start[:2] == b"\x1f\x8b":
            return open_bill(_unpacked(path, name, scratch), name, scratch, complete)
        parquet = start == b"PAR1"
        names = _parquet_names(path, name) if parquet else _csv_names(path, name, start)
        return BillFile(
            path=path,
            name=name,
            parquet=parquet,
            names=(*names, *(more := {key: value for key, value in (complete or {}).items() if key not in names})),
            ends_open=not parquet and not _ends_with_a_line(path),
            complete=more,
        )
    except OSError as error:
        raise Unavailable(f"{name}: cannot be read ({error}); check that it is there and may be read") from error


def _unpacked(path: Path, name: str, scratch: Path) -> Path:
    target = scratch / f"{path.name}.unpacked"
    try:
        with gzip.open(path) as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain, _BLOCK)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BillRefused(f"{name}: the gzip ends too early or is damaged ({error}); {_AGAIN}") from error
    return target


def _parquet_names(path: Path, name: str) -> tuple[str, ...]:
    try:
        return tuple(pl.scan_parquet(path, glob=False).collect_schema().names())
    except pl.exceptions.PolarsError as error:
        raise BillRefused(f"{name}: {_first_line(error)}; {_AGAIN}") from error


def _csv_names(path: Path, name: str, start: bytes) -> tuple[str, ...]:
    if not start:
        raise BillRefused(f"{name}: the file is empty; {_AGAIN}")
    if form := next((form for magic, form in _ARCHIVES.items() if start.startswith(magic)), None):
        raise BillRefused(f"{name}: {form} is not read; deliver CSV in UTF-8, plain or gzip, or Parquet")
    with _lines(path) as lines:
        try:
            names = tuple(next(csv.reader(lines, strict=True), list[str]()))
        except csv.Error as error:
            raise BillRefused(f"{name}: the header cannot be read ({error}); deliver CSV in UTF-8") from error
    if len(names) == 1 and ";" in names[0]:
        raise BillRefused(f"{name}: its columns are separated by semicolons; export it with commas, and decimal points")
    if twice := sorted({column for column in names if names.count(column) > 1}):
        raise BillRefused(f"{name}: the columns {', '.join(twice[:5])} stand twice; export each once")
    return names


def _lines(path: Path) -> TextIO:
    """Bytes that are not UTF-8 come as what cannot be encoded again, so that their line can be told."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) in b"\r\n"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
