"""A second opinion: the same sums by SQL over the files that a Delta table consists of, without polars."""

import duckdb
from deltalake import DeltaTable


def query(uri: str, sql: str) -> list[tuple]:
    """The rows of ``sql`` over the table's current files, which it calls ``t``."""
    files = DeltaTable(uri).file_uris()
    with duckdb.connect() as connection:
        connection.read_parquet(files, hive_partitioning=True, union_by_name=True).create_view("t")
        return connection.execute(sql).fetchall()


def sums(uri: str, columns: list[str], by: list[str]) -> dict[tuple, tuple]:
    """Sums of whole numbers by group, as Python's own integers."""
    totals = ", ".join(f"sum({name}::HUGEINT)" for name in columns)
    groups = ", ".join(by)
    rows = query(uri, f"SELECT {groups}, {totals} FROM t GROUP BY {groups}")
    return {row[: len(by)]: tuple(int(value) for value in row[len(by) :]) for row in rows}
