"""What a write replaces: lists of allowed values by column, as the text of a predicate and as an expression.

Owns quoting: nothing from outside reaches a predicate unquoted.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

import polars as pl

from ledger.tables import Table

Value = str | datetime | date | int
Where = Mapping[str, Sequence[Value]]
"""Column to allowed values; all columns must match. Empty: every row of the table."""


def predicate(table: Table, where: Where) -> str | None:
    """The condition as text; None: every row.

    Raises:
        ValueError: a column that the table lacks, a time without its zone, or no value at all for a column.
    """
    lists = with_days(table, where)
    return " AND ".join(f"{name} IN ({_texts(table, name, values)})" for name, values in lists.items()) or None


def expression(table: Table, where: Where) -> pl.Expr:
    """The same condition for a frame of the table; raises as :func:`predicate` does."""
    predicate(table, where)
    lists = with_days(table, where)
    return pl.all_horizontal(pl.lit(value=True), *(_within(table, name, values) for name, values in lists.items()))


def with_days(table: Table, where: Where) -> Where:
    """The condition with ``day`` beside ``hour_utc``, so that the files of other days stay unread."""
    if "hour_utc" not in where or "day" in where or "day" not in table.partition:
        return where
    days = {value.astimezone(UTC).date() for value in where["hour_utc"] if isinstance(value, datetime)}
    return {"day": sorted(days), **where}


def _within(table: Table, name: str, values: Sequence[Value]) -> pl.Expr:
    series = pl.Series(values, dtype=table.schema[name])
    if len(series) == 1:  # an equality prunes files, a list of one does not
        return pl.col(name) == pl.lit(series.item(), dtype=table.schema[name])
    return pl.col(name).is_in(pl.lit(series).implode())


def _texts(table: Table, name: str, values: Sequence[Value]) -> str:
    if name not in table.schema:
        raise ValueError(f"{table.name} has no column {name!r}: it has {', '.join(table.schema)}")
    if not values:
        raise ValueError(f"no value of {table.name}.{name} is given to replace: leave the column out, or write nothing")
    return ", ".join(sorted({_literal(f"{table.name}.{name}", value) for value in values}))


def _literal(column: str, value: Value) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"a time to replace in {column} has no zone: {value}")
        return f"'{value.astimezone(UTC).isoformat().replace('+00:00', 'Z')}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value) if isinstance(value, int) else f"'{value.isoformat()}'"
