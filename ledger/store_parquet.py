"""A table's files in a directory: written by polars on all cores, with the figures that readers pass files over by.

Owns no commit: what is written here counts once a commit names it. Must never give two files one name.
"""

import json
import secrets
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from typing import Literal, TypedDict
from urllib.parse import unquote, urlsplit

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from ledger.store_errors import StoreError
from ledger.store_where import Where, expression, predicate, with_days
from ledger.tables import Table

ROWS_A_GROUP = 262_144
"""Few enough that a reader of one hour skips most of a compacted day, and that a writer holds little."""
_ROWS_A_RUN = 4
"""From this mean length on a column's dictionary is made of its runs, which costs less than one of its rows."""
_SAMPLE = 4096
_SWEEPS, _SWEEP_SECONDS = 10, 0.02
"""A write that failed is cleared away so often: polars raises while threads of it still open other files, which takes
them milliseconds. One that comes later yet is in no commit, and a vacuum takes it.
"""
_SCHEMA_KEY = "ARROW:schema"


def pruned_by(table: Table) -> list[str]:
    """The columns whose least and greatest values are kept for each file."""
    return [name for name in table.key if name not in table.partition][:2]


def folder_of(handle: DeltaTable) -> Path | None:
    """The table's directory; None: it is in a bucket."""
    address = urlsplit(handle.table_uri)
    return Path(unquote(address.path)) if address.scheme == "file" else None


def write_files(table: Table, folder: Path, rows: pl.DataFrame) -> list[AddAction]:
    """Write the rows into new files, one for each day or month; returns what a commit is to add.

    Args:
        table: The table, whose columns the rows are of.
        folder: The table's directory.
        rows: In the order in which they are to stand; none lacks its day or month.

    Raises:
        OSError: they cannot be written; what was begun is taken away.
        polars.exceptions.PolarsError: likewise.
    """
    token = secrets.token_hex(16)
    parts = list(_parts(table, rows))
    paths = [folder / _place(values) / _file(at, token) for at, (values, _) in enumerate(parts)]
    with _taken_away_on_failure(folder, token):
        for path in paths:
            path.parent.mkdir(exist_ok=True)
        pl.collect_all(
            [_sink(table, part, path) for path, (_, part) in zip(paths, parts, strict=True)], engine="streaming"
        )
        return [
            _add(folder, path, values, _stats(table, part.lazy()))
            for path, (values, part) in zip(paths, parts, strict=True)
        ]


def stream_files(table: Table, folder: Path, rows: pl.LazyFrame, where: Where) -> list[AddAction]:
    """As :func:`write_files`, of rows that are never held whole.

    Args:
        table: The table.
        folder: The table's directory.
        rows: With the table's columns; text that is an ``Enum`` is written with its dictionary, and reads as text.
        where: What each row has to match.

    Raises:
        StoreError: one does not; what was written is taken away.
        OSError: they cannot be written; likewise.
        polars.exceptions.PolarsError: likewise.
    """
    token = secrets.token_hex(16)
    texts = {name: dtype for name, dtype in table.schema.items() if name not in table.partition}
    target = pl.PartitionBy(
        folder,
        key=[pl.col(name) for name in table.partition] or None,
        include_key=False if table.partition else None,
        file_path_provider=lambda of: str(_place(_texts_of(of.partition_keys)) / _file(of.index_in_partition, token)),
        approximate_bytes_per_file=None,
    )
    with _taken_away_on_failure(folder, token):
        rows.sink_parquet(target, mkdir=True, engine="streaming", **_format(pl.DataFrame(schema=texts)))
        files = sorted(path.relative_to(folder).as_posix() for path in _written(folder, token))
        refuse_outside(table, where, not files or not where or _each_matches(table, folder, files, where))
        return [
            _add(folder, folder / file, _values(file), _stats(table, pl.scan_parquet(folder / file, glob=False)))
            for file in files
        ]


def _file(number: int, token: str) -> str:
    return f"part-{number:05}-{token}.zstd.parquet"


def _written(folder: Path, token: str) -> Iterator[Path]:
    return folder.rglob(f"*-{token}.zstd.parquet")


@contextmanager
def _taken_away_on_failure(folder: Path, token: str) -> Generator[None]:
    try:
        yield
    except BaseException:
        for at in range(_SWEEPS):
            time.sleep(_SWEEP_SECONDS if at else 0)
            for path in list(_written(folder, token)):
                with suppress(OSError):
                    path.unlink()
        raise


def files_of(table: Table, handle: DeltaTable, where: Where) -> list[str]:
    """The files that may hold rows that match, as paths within the table."""
    uris = handle.file_uris(file_pruning_predicate=predicate(table, where))
    return ["/".join(uri.split("/")[-1 - len(table.partition) :]) for uri in uris]


def all_match(table: Table, folder: Path, files: Sequence[str], where: Where) -> bool:
    """Whether the files hold no row beside those that match.

    Raises:
        OSError: they cannot be read.
        polars.exceptions.PolarsError: likewise.
    """
    return (
        not files or set(with_days(table, where)) <= set(table.partition) or _each_matches(table, folder, files, where)
    )


def _each_matches(table: Table, folder: Path, files: Sequence[str], where: Where) -> bool:
    asked = {name: table.schema[name] for name in with_days(table, where)}
    rows = pl.scan_parquet(
        [folder / file for file in files],
        glob=False,
        schema={name: dtype for name, dtype in asked.items() if name not in table.partition},
        hive_partitioning=bool(table.partition),
        hive_schema={name: table.schema[name] for name in table.partition} or None,
        extra_columns="ignore",
    )
    outside = rows.filter(~expression(table, where).fill_null(value=False)).head(1)
    return outside.collect(engine="streaming").is_empty()


def refuse_outside(table: Table, where: Where, inside: bool) -> None:  # noqa: FBT001  (the one thing it is told)
    """Nothing, where the rows are inside of what they are to replace.

    Raises:
        StoreError: they are not.
    """
    if not inside:
        raise StoreError(
            f"cannot write {table.name}: rows lie outside of what they were to replace: a fault of the program,"
            f" report it with this line ({predicate(table, where)})"
        )


def removals(folder: Path, files: Sequence[str]) -> list[RemoveAction]:
    """What a commit is to take out of the table; the files themselves stay, for readers of former versions.

    Raises:
        OSError: one of them is gone.
    """
    now = time.time_ns() // 1_000_000
    return [
        RemoveAction(file, data_change=True, deletion_timestamp=now, size=size, partition_values=values)
        for file in files
        for size, values in [((folder / file).stat().st_size, _values(file))]
    ]


def _values(file: str) -> dict[str, str | None]:
    return {name: value for name, _, value in (step.partition("=") for step in file.split("/")[:-1])}


def _texts_of(keys: pl.DataFrame) -> dict[str, str | None]:
    return {name: str(value) for name, value in keys.row(0, named=True).items()} if keys.width else {}


def _place(values: dict[str, str | None]) -> Path:
    return Path(*(f"{name}={value}" for name, value in values.items()))


def _parts(table: Table, rows: pl.DataFrame) -> Iterator[tuple[dict[str, str | None], pl.DataFrame]]:
    """The rows of each day or month, without that column; rows that stand by it already are not copied."""
    if not table.partition:
        if rows.height:
            yield {}, rows
        return
    (name,) = table.partition
    runs = rows[name].rle().struct.unnest()
    if runs["value"].is_duplicated().any():
        for (value,), part in rows.partition_by(name, maintain_order=True, as_dict=True, include_key=False).items():
            yield {name: str(value)}, part
        return
    at = 0
    for length, value in runs.iter_rows():
        yield {name: str(value)}, rows.slice(at, length).drop(name)
        at += length


def _sink(table: Table, part: pl.DataFrame, path: Path) -> pl.LazyFrame:
    texts = [part[name] for name, dtype in part.schema.items() if dtype == pl.String and name not in pruned_by(table)]
    with ThreadPoolExecutor() as pool:
        encoded = part.with_columns(pool.map(_encoded, texts))
    return encoded.lazy().sink_parquet(path, lazy=True, **_format(part))


class _Format(TypedDict):
    compression: Literal["zstd"]
    compression_level: int
    row_group_size: int
    metadata: dict[str, str]


def _format(part: pl.DataFrame) -> _Format:
    """How a file with that frame's columns is written."""
    return {
        "compression": "zstd",
        "compression_level": 1,
        "row_group_size": ROWS_A_GROUP,
        "metadata": {_SCHEMA_KEY: _schema_text(part)},
    }


def _schema_text(part: pl.DataFrame) -> str:
    """The columns' types as a file tells them, so that a dictionary, which is a matter of encoding, reads as text."""
    file = BytesIO()
    part.clear().write_parquet(file)
    file.seek(0)
    return pl.read_parquet_metadata(file)[_SCHEMA_KEY]


def _encoded(column: pl.Series) -> pl.Series:
    """The same text with its dictionary, where runs make that far cheaper than row by row in the writer."""
    rows, first = len(column), column[0]
    if column.null_count() == rows or (first is not None and (column == first).all(ignore_nulls=False)):
        return _as_enum(column.head(1)).new_from_index(0, rows)
    if len(column.head(_SAMPLE).rle()) * _ROWS_A_RUN <= _SAMPLE:
        runs = column.rle().struct.field("value")
        if len(runs) * _ROWS_A_RUN <= rows:
            return _as_enum(runs).gather(column.rle_id()).alias(column.name)
    return column


def _as_enum(texts: pl.Series) -> pl.Series:
    return texts.cast(pl.Enum(texts.unique().drop_nulls()))


def _add(folder: Path, path: Path, values: dict[str, str | None], stats: str) -> AddAction:
    about = path.stat()
    return AddAction(
        path=path.relative_to(folder).as_posix(),
        size=about.st_size,
        partition_values=values,
        modification_time=about.st_mtime_ns // 1_000_000,
        data_change=True,
        stats=stats,
    )


def _stats(table: Table, part: pl.LazyFrame) -> str:
    names = pruned_by(table)
    told = part.select(
        pl.len().alias("rows"),
        *(pl.col(name).min().alias(f"least_{name}") for name in names),
        *(pl.col(name).max().alias(f"greatest_{name}") for name in names),
        *(pl.col(name).null_count().alias(f"nulls_{name}") for name in names),
    )
    row = told.collect(engine="streaming").row(0, named=True)
    bounded = [name for name in names if row[f"nulls_{name}"] < row["rows"]]
    return json.dumps(
        {
            "numRecords": row["rows"],
            "minValues": {name: _json(row[f"least_{name}"]) for name in bounded},
            "maxValues": {name: _json(row[f"greatest_{name}"]) for name in bounded},
            "nullCount": {name: row[f"nulls_{name}"] for name in names},
        }
    )


def _json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value
