"""Rows in a file, CSV or Parquet by its name: there whole, or the former file stays."""

import os
import secrets
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


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
