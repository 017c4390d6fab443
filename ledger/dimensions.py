"""The value of one of the installation's own dimensions, from the JSON in which rows have them."""

import polars as pl

from ledger.dimension_names import ALLOWED, DIMENSION, is_dimension


def dimension_value(column: str) -> pl.Expr:
    """The value; empty where a row has none.

    Raises:
        ValueError: no dimension can have that name.
    """
    if not is_dimension(column):
        raise ValueError(f"{column!r} is no dimension; allowed: {ALLOWED}")
    path = f"$['{column.removeprefix(DIMENSION)}']"
    return pl.col("dimensions").replace("", "{}").str.json_path_match(path).fill_null("")
