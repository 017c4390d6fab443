r"""An append-only file of checksummed JSON lines that survives being cut anywhere.

A record is ``crc32 JSON\n``. What a process wrote before it was killed is in the kernel's page cache and is read again
by the next one; :meth:`LogFile.sync` guards against the loss of power. A tail that is not whole is dropped on reading.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from ledger.json_text import compact


def encode_line(record: Mapping[str, Any]) -> bytes:
    """One record as it stands in the file."""
    return _line(json.dumps(record, separators=(",", ":")).encode())


def encode_large_line(record: Mapping[str, Any]) -> bytes:
    """The same for a record as large as whole books, slower and in a fraction of the memory."""
    return _line(compact(record).encode())


def _line(body: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode_line(line: bytes) -> dict[str, Any]:
    """The inverse of :func:`encode_line`.

    Raises:
        ValueError: the line is cut or damaged.
    """
    checksum, _, body = line.partition(b" ")
    if not line.endswith(b"\n") or int(checksum, 16) != zlib.crc32(body[:-1]):
        raise ValueError("a record is cut or damaged")
    record: dict[str, Any] = json.loads(body)
    return record


class LogFile:
    """The log, open for appending; its length is that of its whole records."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.length = 0
        self.dropped_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def records(self) -> Iterator[dict[str, Any]]:
        """All whole records from the start; afterwards the log stands behind the last of them."""
        self.length = 0
        with self.path.open("rb") as file:
            for line in file:
                try:
                    record = decode_line(line)
                except ValueError:
                    break
                self.length += len(line)
                yield record
        self.dropped_bytes = os.fstat(self._descriptor).st_size - self.length
        if self.dropped_bytes:
            os.ftruncate(self._descriptor, self.length)

    def append(self, data: bytes) -> None:
        """Write encoded lines; on failure the file is as it was before.

        Raises:
            OSError: the disk is full or fails.
        """
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self.length + written)
        except OSError:
            os.ftruncate(self._descriptor, self.length)
            raise
        self.length += len(data)

    def sync(self) -> None:
        """Force what was written to the disk."""
        os.fdatasync(self._descriptor)

    def clear(self) -> None:
        """Drop all records."""
        os.ftruncate(self._descriptor, 0)
        self.length = 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``, on the disk before it returns; a reader sees the old or the new, never a part."""
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
