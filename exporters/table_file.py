"""Rows in a file, CSV or Parquet by its name: there whole, or the former file stays."""

import os
import secrets
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

CSV_TIME = "%Y-%m-%dT%H:%M:%SZ"
"""UTC to the second, as FOCUS and RFC 3339 have it."""
FORMATS = (".csv", ".parquet")


def refuse_format(path: Path) -> None:
    """Raise ValueError where the name says neither CSV nor Parquet."""
    if path.suffix not in FORMATS:
        raise ValueError(f"{path.name}: the name must end in {' or '.join(FORMATS)}, which says what is written")


def write_whole(rows: pl.LazyFrame, path: Path) -> None:
    """Write the rows, streaming; absent values are empty in CSV, null in Parquet.

    Raises:
        ValueError: the name says neither CSV nor Parquet.
        OSError: it cannot be written; what stood there still stands.
    """
    refuse_format(path)
    made = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        # The file is opened here: polars, given a path, may still make it after its error has come, and then it stays.
        with made.open("xb") as out:
            if path.suffix == ".csv":
                rows.sink_csv(out, datetime_format=CSV_TIME)
            else:
                rows.sink_parquet(out, compression="zstd")
            out.flush()
            os.fsync(out.fileno())
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    _sync(path.parent)


def write_in_parts(parts: Sequence[pl.LazyFrame], path: Path, progress: Callable[[int, int], None]) -> None:
    """Write rows as :func:`write_whole` does, one part after the other, so that memory holds one.

    Args:
        parts: at least one, all of the same columns.
        path: the file.
        progress: told steps done, steps in all: one for each part, and one that puts them together.

    Raises:
        ValueError: the name says neither CSV nor Parquet.
        OSError: it cannot be written; what stood there still stands.
    """
    refuse_format(path)
    steps = len(parts) + 1
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
        made: list[Path] = []
        for done, rows in enumerate(parts):
            progress(done, steps)
            made.append(Path(folder) / f"{done:06d}.parquet")
            with made[-1].open("xb") as out:  # opened here, as above
                rows.sink_parquet(out)
        progress(len(parts), steps)
        write_whole(pl.scan_parquet(made, glob=False), path)
        progress(steps, steps)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
