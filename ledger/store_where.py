"""What a write replaces: lists of allowed values by column, as the text of a predicate.

Owns quoting. Nothing from outside reaches a predicate unquoted.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

from ledger.tables import Table

Where = Mapping[str, Sequence[str | datetime | date | int]]
"""Column to allowed values; all columns must match. Empty: every row of the table."""


def predicate(table: Table, where: Where) -> str | None:
    """The condition as text; None: every row; the days of hours are added, so that other days' files stay unread.

    Raises:
        ValueError: a column that the table lacks, a time without its zone, or no value at all for a column.
    """
    told = with_days(table, where)
    return " AND ".join(_column(table, name, values) for name, values in told.items()) or None


def with_days(table: Table, where: Where) -> Where:
    """The condition with ``day`` beside ``hour_utc`` where the table is partitioned by it."""
    if "hour_utc" not in where or "day" in where or "day" not in table.partition:
        return where
    days = {value.astimezone(UTC).date() for value in where["hour_utc"] if isinstance(value, datetime)}
    return {"day": sorted(days), **where}


def _column(table: Table, name: str, values: Sequence[str | datetime | date | int]) -> str:
    if name not in table.schema:
        raise ValueError(f"{table.name} has no column {name!r}: it has {', '.join(table.schema)}")
    if not values:
        raise ValueError(f"no value of {table.name}.{name} is given to replace: leave the column out, or write nothing")
    texts = sorted({_literal(f"{table.name}.{name}", value) for value in values})
    return f"{name} IN ({', '.join(texts)})"


def _literal(column: str, value: str | datetime | date | int) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"a time to replace in {column} has no zone: {value}")
        return f"'{value.astimezone(UTC).isoformat().replace('+00:00', 'Z')}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value) if isinstance(value, int) else f"'{value.isoformat()}'"
