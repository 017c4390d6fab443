"""Largest-remainder apportioning over whole frames: :func:`ledger.apportion.apportion` for millions of groups at once.

Owns the arithmetic in Int128; must never take a float into an amount, nor let the order of rows decide anything.
"""

from collections.abc import Sequence

import polars as pl

LARGEST = 1 << 126
"""Amount times sum of weights of one group; above it the product may pass 128 bits, which wraps without a word."""
_RANKS = 1 << 32
_NARROW = (pl.UInt32(), pl.UInt16(), pl.UInt8())

_WHOLE, _WEIGHT, _TOTAL, _FLOOR, _OWED, _PLACE = (f"__apportion_{name}" for name in ("x", "w", "t", "f", "r", "o"))
_OWN = (_WHOLE, _WEIGHT, _TOTAL, _FLOOR, _OWED, _PLACE)


def apportion_over(
    frame: pl.LazyFrame, *, whole: str, weight: str, by: Sequence[str], order: Sequence[str], into: str
) -> pl.LazyFrame:
    """Split ``whole`` within each group in proportion to ``weight``; the parts of a group add up to it exactly.

    Hamilton's method: each row gets the floor of its exact share, and what is left goes, one unit each, to the largest
    remainders, ties to the row that is earlier by ``order``. Rows keep their places; the order they stand in never
    matters.

    Args:
        frame: the rows.
        whole: integer column with the amount, the same on all rows of a group; any sign; null stays null.
        weight: integer column, not negative. Where all of a group are zero the parts are as equal as integers allow. A
            row whose weight is null takes no part: it gets null, and the others add up to the whole.
        by: what makes a group; at least one column.
        order: columns that tell a group's rows apart. One column of at most 32 bits without sign is several times
            faster than text.
        into: the new column, of the type of ``whole``.

    Raises:
        ValueError: on collection: a weight is negative, or amount times sum of weights passes
            :data:`LARGEST`.
    """
    kind = frame.collect_schema()[whole]
    groups = list(by)
    total = pl.col(_TOTAL)
    share = pl.col(_WHOLE) * pl.col(_WEIGHT)
    part = _largest(groups)
    return (
        frame.with_columns(
            pl.col(whole).cast(pl.Int128).abs().alias(_WHOLE),
            pl.col(weight).cast(pl.Int128).map_batches(_not_negative, return_dtype=pl.Int128).alias(_WEIGHT),
            _place(frame, order, groups),
        )
        .with_columns(pl.col(_WEIGHT).sum().over(groups).alias(_TOTAL))
        .with_columns(
            pl.when(total == 0).then(pl.col(_WEIGHT) + 1).otherwise(pl.col(_WEIGHT)).alias(_WEIGHT),
            pl.when(total == 0).then(pl.col(_WEIGHT).count().over(groups)).otherwise(total).alias(_TOTAL),
        )
        .with_columns(pl.struct(_WHOLE, _TOTAL).map_batches(_in_range, return_dtype=pl.Int128).alias(_TOTAL))
        .with_columns((share // total).alias(_FLOOR))
        .with_columns((share - pl.col(_FLOOR) * total).alias(_OWED))
        .with_columns((pl.when(pl.col(whole) < 0).then(0 - part).otherwise(part)).cast(kind).alias(into))
        .drop(_OWN)
    )


def round_over(
    frame: pl.LazyFrame, *, numerator: str, denominator: int, by: Sequence[str], order: Sequence[str], into: str
) -> pl.LazyFrame:
    """Round numerators over one denominator to whole units, so that each group adds up to its sum, rounded once.

    The sum is rounded half to even; each row differs from its exact figure by less than 1. The remainders decide who
    gets the unit above its floor, as in :func:`apportion_over`.

    Args:
        frame: the rows.
        numerator: integer column, not negative; null stays null and takes no part.
        denominator: above 0.
        by: what makes a group.
        order: columns that tell a group's rows apart.
        into: the new Int64 column.

    Raises:
        ValueError: on collection: a numerator is negative.
    """
    groups = list(by)
    below = pl.lit(denominator, pl.Int128)
    return (
        frame.with_columns(
            pl.col(numerator).cast(pl.Int128).map_batches(_not_negative, return_dtype=pl.Int128).alias(_WEIGHT),
            _place(frame, order, groups),
        )
        .with_columns(half_even(pl.col(_WEIGHT).sum().over(groups), below).alias(_WHOLE))
        .with_columns((pl.col(_WEIGHT) // below).alias(_FLOOR))
        .with_columns((pl.col(_WEIGHT) - pl.col(_FLOOR) * below).alias(_OWED))
        .with_columns(_largest(groups).cast(pl.Int64).alias(into))
        .drop(name for name in _OWN if name != _TOTAL)
    )


def half_even(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """Their quotient in whole units, half to even; Int128, the numerator not negative."""
    floor = numerator // denominator
    twice = (numerator - floor * denominator) * 2
    up = (twice > denominator) | ((twice == denominator) & (floor % 2 == 1))
    return floor + up.cast(pl.Int128)


def _place(frame: pl.LazyFrame, order: Sequence[str], groups: list[str]) -> pl.Expr:
    place = pl.col(order[0])
    if len(order) > 1 or frame.collect_schema()[order[0]] not in _NARROW:
        place = (place if len(order) == 1 else pl.struct(list(order))).rank("ordinal").over(groups)
    return place.cast(pl.Int128).fill_null(0).alias(_PLACE)


def _largest(groups: list[str]) -> pl.Expr:
    """Each row's floor, and one more for those with the largest remainders, as many as there are units left."""
    extra = (pl.col(_OWED) * _RANKS - pl.col(_PLACE)).rank("ordinal", descending=True).over(groups)
    left = pl.col(_WHOLE) - pl.col(_FLOOR).sum().over(groups)
    return pl.col(_FLOOR) + (extra <= left).cast(pl.Int128)


def _product_of_greatest(first: pl.Series, second: pl.Series) -> int:
    one, other = first.max(), second.max()
    return one * other if isinstance(one, int) and isinstance(other, int) else 0


def _not_negative(weights: pl.Series) -> pl.Series:
    least = weights.min()
    if isinstance(least, int) and least < 0:
        raise ValueError(f"apportion: weights must not be negative, got {least} in {weights.name}")
    return weights


def _in_range(pair: pl.Series) -> pl.Series:
    whole, total = pair.struct.field(_WHOLE), pair.struct.field(_TOTAL)
    if _product_of_greatest(whole, total) <= LARGEST:
        return total
    largest = (whole.cast(pl.Float64) * total.cast(pl.Float64)).max()
    if isinstance(largest, float) and largest > LARGEST:
        raise ValueError(
            f"apportion: an amount times the sum of its weights comes to {largest:.3g}, past 128 bits: "
            "apportion smaller amounts, or weights in a larger unit"
        )
    return total
