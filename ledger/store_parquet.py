"""A table's files in a directory: written by polars on all cores, with the figures that readers pass files over by.

Owns no commit: what is written here counts once a commit names it. Must never give two files one name.
"""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from ledger.store_where import Where, expression, predicate, with_days
from ledger.tables import Table

ROWS_A_GROUP = 262_144
"""Few enough that a reader of one hour skips most of a compacted day, and that a writer holds little."""
_ROWS_A_RUN = 4
"""From this mean length on a column's dictionary is made of its runs, which costs less than one of its rows."""
_SAMPLE = 4096
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
    paths = [folder / _place(values) / f"part-{at:05}-{token}.zstd.parquet" for at, (values, _) in enumerate(parts)]
    try:
        for path in paths:
            path.parent.mkdir(exist_ok=True)
        pl.collect_all(
            [_sink(table, part, path) for path, (_, part) in zip(paths, parts, strict=True)], engine="streaming"
        )
        return [_add(table, folder, path, *part) for path, part in zip(paths, parts, strict=True)]
    except BaseException:
        for path in paths:
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
    asked = {name: table.schema[name] for name in with_days(table, where)}
    if not files or set(asked) <= set(table.partition):
        return True
    rows = pl.scan_parquet(
        [folder / file for file in files],
        glob=False,
        schema={name: dtype for name, dtype in asked.items() if name not in table.partition},
        hive_partitioning=bool(table.partition),
        hive_schema={name: table.schema[name] for name in table.partition} or None,
        extra_columns="ignore",
    )
    return rows.filter(~expression(table, where).fill_null(value=False)).head(1).collect().is_empty()


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
    return encoded.lazy().sink_parquet(
        path,
        compression="zstd",
        compression_level=1,
        row_group_size=ROWS_A_GROUP,
        metadata={_SCHEMA_KEY: _schema_text(part)},
        lazy=True,
    )


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


def _add(table: Table, folder: Path, path: Path, values: dict[str, str | None], part: pl.DataFrame) -> AddAction:
    about = path.stat()
    return AddAction(
        path=path.relative_to(folder).as_posix(),
        size=about.st_size,
        partition_values=values,
        modification_time=about.st_mtime_ns // 1_000_000,
        data_change=True,
        stats=_stats(table, part),
    )


def _stats(table: Table, part: pl.DataFrame) -> str:
    columns = [part[name] for name in pruned_by(table)]
    bounds = [(column.name, column.min(), column.max()) for column in columns if column.null_count() < len(column)]
    return json.dumps(
        {
            "numRecords": part.height,
            "minValues": {name: _json(least) for name, least, _ in bounds},
            "maxValues": {name: _json(greatest) for name, _, greatest in bounds},
            "nullCount": {column.name: column.null_count() for column in columns},
        }
    )


def _json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value
