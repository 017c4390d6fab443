"""Reading the file of a bill: CSV, plain or gzip, or Parquet, in batches of bounded size, whole or not at all.

Owns the form of files; knows nothing of what columns mean. polars reads a row that is too short as one with nulls, so
each CSV's cells are counted as well: a file that was cut off anywhere is refused, with the line where it goes wrong.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from collectors.bill_refused import BillRefused
from collectors.errors import Unavailable

ROWS = 131_072
"""Rows of a batch of Parquet."""
BLOCK = 1 << 25
"""Bytes of a batch of CSV. Both bound memory, whatever the size of the file."""
ROW = "__row"
"""Column with the row's number in the file, from 0."""

_Stream = io.BufferedReader | gzip.GzipFile | io.BytesIO
_NULLS = ["", "NULL", "null"]
_AGAIN = "the file is cut off or damaged; deliver it again"
_LONGEST_RECORD = 8
"""In blocks; a quoted cell that does not end within them is a fault, not a cell."""
_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xff\xfe": "UTF-16"}
_MARK = b"\xef\xbb\xbf"


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

    def batches(self, columns: Collection[str], uncut: Collection[str] = ()) -> Iterator[pl.DataFrame]:
        """The rows in their order, with :data:`ROW`; wholly empty lines are left out.

        Args:
            columns: those that are given; of CSV all are checked.
            uncut: columns whose last cell matters: where the last line does not end, it may be cut.

        Raises:
            BillRefused: the file cannot be read to its end. Batches that came before are worth nothing then.
        """
        wanted = [name for name in self.names if name in columns]
        if not self.parquet:
            yield from self._csv_batches(wanted, uncut)
            return
        try:
            yield from self._parquet_batches(wanted)
        except pl.exceptions.PolarsError as error:
            raise BillRefused(f"{self.name}: {_first_line(error)}; {_AGAIN}") from error

    def line_of(self, row: int) -> int:
        """The line on which a row of a CSV ends; of Parquet the row counted from 1."""
        if self.parquet:
            return row + 1
        with _opened(self.path, packed=self.packed) as stream, _text(stream) as lines:
            reader = csv.reader(lines)
            for number, _cells in enumerate(reader, start=-1):
                if number == row:
                    return reader.line_num
        return row + 2

    def _parquet_batches(self, wanted: Sequence[str]) -> Iterator[pl.DataFrame]:
        # slices and not collect_batches, which reads ahead without bound
        scan = pl.scan_parquet(self.path, glob=False)
        for first in range(0, scan.select(pl.len()).collect().item(), ROWS):
            rows = scan.slice(first, ROWS).with_columns(**self._completed()).select(wanted)
            yield rows.collect(engine="streaming").with_row_index(ROW, first)

    def _csv_batches(self, wanted: Sequence[str], uncut: Collection[str]) -> Iterator[pl.DataFrame]:
        own = [name for name in self.names if name not in self.complete]
        row, line, last = 0, 0, b"\n"
        # a header of our own: without one the first row would say how many columns there are
        header = ",".join(f"c{place}" for place in range(len(own))).encode() + b"\n"
        with _opened(self.path, packed=self.packed) as stream:
            records = _records(stream, self.name, header)
            line += next(records).count(b"\n")
            for block in records:
                rows = self._rows_of(block, own, line).with_row_index(ROW, row)
                row, line, last = row + rows.height, line + block.count(b"\n") - 1, block[-1:]
                empty = pl.all_horizontal(pl.col(own).is_null())
                yield rows.filter(~empty).with_columns(**self._completed()).select(ROW, *wanted)
        if last not in b"\r\n" and own[-1] in uncut:
            raise BillRefused(
                f"{self.name}: the last line does not end, so {own[-1]} may be cut off; deliver it again, with a"
                " line end after the last line"
            )

    def _rows_of(self, block: bytes, own: Sequence[str], line: int) -> pl.DataFrame:
        """The rows of a block, which has a header of our own, and begins after so many lines.

        Raises:
            BillRefused: some have too few or too many cells, or cannot be read.
        """
        try:
            rows = pl.read_csv(block, infer_schema=False, null_values=_NULLS)
        except pl.exceptions.PolarsError as error:
            why = _first_fault(block, len(own), line - 1) or _first_line(error)
            raise BillRefused(f"{self.name}: {why}; {_AGAIN}") from error
        rows.columns = list(own)
        if len(own) > 1:
            inside = rows.select(pl.sum_horizontal(pl.all().str.count_matches(",", literal=True).sum())).item()
            missing = (rows.height + 1) * (len(own) - 1) + inside - block.count(b",")
            if missing and (fault := _first_fault(block, len(own), line - 1)):
                raise BillRefused(f"{self.name}: {fault}; {_AGAIN}")
        return rows

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
            raise BillRefused(f"{name}: the file is empty; {_AGAIN}")
        if form := next((form for magic, form in _ARCHIVES.items() if start.startswith(magic)), None):
            raise BillRefused(f"{name}: {form} is not read; deliver CSV in UTF-8, plain or gzip, or Parquet")
        names = _parquet_names(path, name) if parquet else _csv_names(path, name, packed=packed)
    except OSError as error:
        raise Unavailable(f"{name}: cannot be read ({error}); check that it is there and may be read") from error
    more = {key: value for key, value in (complete or {}).items() if key not in names}
    return BillFile(path, name, parquet, packed, (*names, *more), more)


def _opened(path: Path, *, packed: bool) -> _Stream:
    return gzip.open(path) if packed else path.open("rb")


def _text(stream: _Stream) -> io.TextIOWrapper:
    """Bytes that are not UTF-8 come as what cannot be encoded again, so that their line can be told."""
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _records(stream: _Stream, name: str, before: bytes = b"") -> Iterator[bytes]:
    """The header's bytes, then blocks of whole records, each with these bytes before it. A line end within quotes ends
    no record.

    Raises:
        BillRefused: gzip that ends too early, or a cell that does not end.
    """
    # read into the same memory again and again: to take and give back a block's pages costs more than to read it
    left, filled, header = bytearray(), 0, True
    try:
        while read := stream.readinto(_room(left, filled)):
            filled += read
            if header and (end := _first_end(left, filled)):
                header = False
                yield _taken(left, end).removeprefix(_MARK)
                filled = _moved_up(left, end, filled)
            if not header and (end := _last_end(left, filled)):
                yield _taken(left, end, before)
                filled = _moved_up(left, end, filled)
            if filled > BLOCK * _LONGEST_RECORD:
                raise BillRefused(f"{name}: a quoted cell does not end; {_AGAIN}")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BillRefused(f"{name}: the gzip ends too early or is damaged ({error}); {_AGAIN}") from error
    if filled:
        yield _taken(left, filled, b"" if header else before)


def _room(left: bytearray, filled: int) -> memoryview:
    """Where the next block goes."""
    left.extend(bytes(max(filled + BLOCK - len(left), 0)))
    return memoryview(left)[filled : filled + BLOCK]


def _taken(left: bytearray, end: int, before: bytes = b"") -> bytes:
    return b"".join((before, memoryview(left)[:end]))


def _moved_up(left: bytearray, end: int, filled: int) -> int:
    """What follows the end comes to the front; its length."""
    left[: filled - end] = left[end:filled]
    return filled - end


def _first_end(block: bytearray, filled: int) -> int:
    """Where the first record ends; 0: not in this block."""
    end, open_ = 0, False
    while place := block.find(b"\n", end, filled) + 1:
        open_ ^= bool(block.count(b'"', end, place) % 2)
        end = place
        if not open_:
            return end
    return 0


def _last_end(block: bytearray, filled: int) -> int:
    """Where the last whole record ends; 0: none does."""
    end = block.rfind(b"\n", 0, filled) + 1
    open_ = block.count(b'"', 0, end) % 2
    while end and open_:
        before = block.rfind(b"\n", 0, end - 1) + 1
        open_ ^= block.count(b'"', before, end) % 2
        end = before
    return end


def _first_fault(block: bytes, width: int, line: int) -> str | None:
    """The first row that is too short or too long, or cannot be read, after so many lines; None: there is none."""
    with _text(io.BytesIO(block)) as lines:
        reader = csv.reader(lines, strict=True)
        try:
            for cells in reader:
                if cells and len(cells) != width:
                    return f"line {line + reader.line_num} has {len(cells)} cells where the header has {width}"
                "".join(cells).encode()
        except csv.Error as error:
            return f"line {line + reader.line_num} cannot be read ({error})"
        except UnicodeEncodeError:
            return f"line {line + reader.line_num} is not in UTF-8"
    return None


def _parquet_names(path: Path, name: str) -> tuple[str, ...]:
    try:
        return tuple(pl.scan_parquet(path, glob=False).collect_schema().names())
    except pl.exceptions.PolarsError as error:
        raise BillRefused(f"{name}: {_first_line(error)}; {_AGAIN}") from error


def _csv_names(path: Path, name: str, *, packed: bool) -> tuple[str, ...]:
    with _opened(path, packed=packed) as stream:
        header = next(_records(stream, name), b"")
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
