"""CSV of a bill in blocks of whole records, plain or gzip: each block read by itself, each of its rows counted to the
last cell.

polars reads a row that is too short as one with nulls. So one more cell is put before each line end: where it is not
the last one of a row, the row is too short or too long, and the block is read again with care, for the line where it
goes wrong. Owns no meaning of columns.
"""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl
from arro3.core import Array

from collectors.bill_refused import BillRefused

BLOCK = 1 << 24
"""Bytes of a batch of CSV; bounds memory, whatever the size of the file."""
ROW = "__row"
"""Column with a number that only the row's file can read: see ``line_of``."""
AGAIN = "the file is cut off or damaged; deliver it again"

_Stream = io.BufferedReader | gzip.GzipFile | io.BytesIO
_NULLS = ["", "NULL", "null"]
_LONGEST_RECORD = 16
"""In blocks; a quoted cell that does not end within them is a fault, not a cell."""
_MARK = b"\xef\xbb\xbf"
_LAST = "\x1f"
"""The added cell, and the name of its column; no bill has it in any cell, or its blocks are read with care."""
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records, under a header of our own: without one the first row would say how many columns there are."""

    name: str
    """The file's, as messages call it."""
    number: int
    """Of the block in its file, from 0."""
    content: bytes
    lines_before: Callable[[int], int]
    """How many lines of the file end before the records of a block with that number; it reads the file again."""

    def rows(self, own: Sequence[str], wanted: Sequence[str]) -> pl.DataFrame:
        """The wanted columns of its rows, all text, by their names, with :data:`ROW`; wholly empty lines are left out.

        Args:
            own: the names of all columns.
            wanted: some of them.

        Raises:
            BillRefused: a row has too few or too many cells, or cannot be read.
        """
        places = [f"c{own.index(name)}" for name in wanted]
        rows = self._swiftly(len(own), places)
        if rows is None:
            rows = self._with_care(len(own)).select(ROW, *places)
        return rows.rename(dict(zip(places, wanted, strict=True)))

    def line_of(self, row: int) -> int:
        """The line of the file on which a row ends; ``row`` as :data:`ROW` has it."""
        before = self._line_before
        with text_of(io.BytesIO(self.content)) as lines:
            reader = csv.reader(lines)
            for number, _cells in enumerate(reader, start=self._first_row - 1):
                if number == row:
                    return before + reader.line_num
        return before + 1

    def has(self, row: int) -> bool:
        """Whether a row is of this block; ``row`` as :data:`ROW` has it."""
        return row >> 32 == self.number

    @property
    def _line_before(self) -> int:
        """Of the file, before the header of our own."""
        return self.lines_before(self.number) - 1

    @property
    def _first_row(self) -> int:
        return self.number << 32

    def _numbered(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns((pl.int_range(pl.len(), dtype=pl.UInt64) + self._first_row).alias(ROW))

    def _swiftly(self, width: int, places: Sequence[str]) -> pl.DataFrame | None:
        """None: some row is not as most are, and needs to be looked at."""
        content = self.content
        end = b"\r\n" if content[: content.find(b"\n")].endswith(b"\r") else b"\n"
        last = _LAST.encode()
        odd = last in content or (end == b"\n" and b"\r" in content) or not _is_utf8(content)
        if odd or width == 1 or not places:
            return None
        marked = content.replace(end, b",%s%s" % (last, end))
        try:
            rows = pl.read_csv(marked, infer_schema=False, null_values=_NULLS, columns=[*places, _LAST])
        except pl.exceptions.PolarsError:
            return None
        # a row that is too long has another cell there: polars leaves out what follows
        ends = (len(marked) - len(content)) // len(last + b",")
        one_a_line = rows.height == ends - 1 and (rows[_LAST] == _LAST).all(ignore_nulls=False)
        none_empty = any(rows[place].null_count() == 0 for place in places)
        return self._numbered(rows.select(places)) if one_a_line and none_empty else None

    def _with_care(self, width: int) -> pl.DataFrame:
        try:
            rows = pl.read_csv(self.content, infer_schema=False, null_values=_NULLS)
        except pl.exceptions.PolarsError as error:
            why = self._first_fault(width) or str(error).strip().split("\n", 1)[0]
            raise BillRefused(f"{self.name}: {why}; {AGAIN}") from error
        if width > 1:
            inside = rows.select(pl.sum_horizontal(pl.all().str.count_matches(",", literal=True).sum())).item()
            missing = (rows.height + 1) * (width - 1) + inside - self.content.count(b",")
            if missing and (fault := self._first_fault(width)):
                raise BillRefused(f"{self.name}: {fault}; {AGAIN}")
        return self._numbered(rows).filter(~pl.all_horizontal(pl.exclude(ROW).is_null()))

    def _first_fault(self, width: int) -> str | None:
        """The first row that is too short or too long, or cannot be read; None: there is none."""
        before = self._line_before
        with text_of(io.BytesIO(self.content)) as lines:
            reader = csv.reader(lines, strict=True)
            try:
                for cells in reader:
                    if cells and len(cells) != width:
                        return f"line {before + reader.line_num} has {len(cells)} cells where the header has {width}"
                    "".join(cells).encode()
            except csv.Error as error:
                return f"line {before + reader.line_num} cannot be read ({error})"
            except UnicodeEncodeError:
                return f"line {before + reader.line_num} is not in UTF-8, in which it has to be"
        return None


def blocks(path: Path, name: str, width: int, *, packed: bool) -> Iterator[Block]:
    """The records of a file with so many columns, in blocks of about :data:`BLOCK` bytes.

    Raises:
        BillRefused: gzip that ends too early, or a cell that does not end.
    """
    header = header_of(path, name, packed=packed)
    end = b"\r\n" if header.endswith(b"\r\n") else b"\n"
    own = ",".join(f"c{place}" for place in range(width)).encode() + end

    def lines_before(number: int) -> int:
        with opened(path, packed=packed) as stream:
            return sum(records.count(b"\n") for records in islice(_records(stream, name), number + 1))

    with opened(path, packed=packed) as stream:
        for number, content in enumerate(islice(_records(stream, name, own), 1, None)):
            yield Block(name, number, content, lines_before)


def header_of(path: Path, name: str, *, packed: bool) -> bytes:
    """The first record; empty where there is none. Raises as :func:`blocks` does."""
    with opened(path, packed=packed) as stream:
        return next(_records(stream, name), b"")


def opened(path: Path, *, packed: bool) -> _Stream:
    """The bytes of a file, within gzip or not."""
    return gzip.open(path) if packed else path.open("rb")


def text_of(stream: _Stream) -> io.TextIOWrapper:
    """Bytes that are not UTF-8 come as what cannot be encoded again, so that their line can be told."""
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    decoder, view = codecs.getincrementaldecoder("utf-8")(), memoryview(content)
    try:
        for at in range(0, len(view), _PIECE):
            decoder.decode(view[at : at + _PIECE])
    except UnicodeDecodeError:
        return False
    return True


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
                raise BillRefused(f"{name}: a quoted cell does not end; {AGAIN}")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BillRefused(f"{name}: the gzip ends too early or is damaged ({error}); {AGAIN}") from error
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
    open_ = _quotes(block, end) % 2
    while end and open_:
        before = block.rfind(b"\n", 0, end - 1) + 1
        open_ ^= block.count(b'"', before, end) % 2
        end = before
    return end


def _quotes(block: bytearray, end: int) -> int:
    """How many are before the end; polars counts in an eighth of the time that Python takes, and lets others work."""
    if not end:
        return 0
    bytes_ = Array.from_buffer(memoryview(block)[:end])  # pyright: ignore[reportUnknownMemberType]  (numpy's, unused)
    return int((pl.Series(bytes_) == ord('"')).sum())
