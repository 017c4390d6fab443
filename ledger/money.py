"""Money as text to nano-units, exactly: no float comes near it, and no digit of it is lost.

A column of decimal texts becomes ``nano`` (what a line is booked with, rounded half to even), ``atto`` (units of 1e-18,
what is below cut off) and ``deep`` (what is below that, as text; null nearly always). ``atto`` and ``deep`` are the
text's exact value: summed over a bill they give the total that is rounded once, and so the bill's rounding line.
"""

import re
from decimal import Decimal, localcontext
from fractions import Fraction

import polars as pl

ATTO_PER_UNIT = 10**18
NANO_PER_UNIT = 10**9
ATTO_PER_NANO = 10**9
MOST_UNITS = 9_000_000_000
"""More in one line does not fit into 64 bits of nano-units."""
ALLOWED = f"a plain decimal such as 1234.5 or 1.2e-7, no comma, no sign of a currency, below {MOST_UNITS:,}"

_MOST_ATTO = MOST_UNITS * ATTO_PER_UNIT
_EXACT_TO_ATTO = pl.Decimal(38, 18)
_EASY = r"^[+-]?(\d*\.?\d{0,18}|\d(\.\d{0,9})?[eE]-\d)$"
"""Texts whose value has at most 18 decimals; the decimal parser takes them exactly. It rounds those with more."""
_SHORT_BYTES = 19
"""A text of so many bytes without exponent is easy."""
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_LARGEST_EXPONENT = 400
"""Past what a double can have; longer ones would only cost memory."""


def read(texts: pl.Series) -> pl.DataFrame:
    """Columns ``nano`` (Int64), ``atto`` (Int128), ``deep`` (String) and ``valid`` of a String column.

    Null is null, and valid. A text that is no number, or too large for a line, is null, and not valid.
    """
    decimal = texts.cast(_EXACT_TO_ATTO, strict=False)
    if decimal.null_count() > texts.null_count():
        texts = texts.str.strip_chars()
        decimal = texts.cast(_EXACT_TO_ATTO, strict=False)
    hard = _hard(texts)
    frame = pl.DataFrame({"text": texts, "atto": decimal.to_physical()})
    if hard.len() == 0 and decimal.null_count() == texts.null_count() and _all_fit(frame["atto"]):
        return frame.select(
            nano=decimal.cast(pl.Decimal(38, 9)).to_physical().cast(pl.Int64),  # half to even, as _half_even
            atto="atto",
            deep=pl.lit(None, dtype=pl.String),
            valid=pl.lit(value=True),
        )
    exact = pl.DataFrame([_exact(text) for text in hard], schema=_EXACT, orient="row")
    frame = frame.join(exact, on="text", how="left", maintain_order="left")
    known = pl.col("known").fill_null(value=False)
    frame = frame.with_columns(atto=pl.when(known).then("exact").otherwise("atto"))
    frame = frame.with_columns(atto=pl.when(pl.col("atto").is_between(-_MOST_ATTO, _MOST_ATTO)).then("atto"))
    return frame.select(
        nano=_half_even(pl.col("atto"), ATTO_PER_NANO).cast(pl.Int64),
        atto="atto",
        deep="deep",
        valid=pl.col("atto").is_not_null() | pl.col("text").is_null(),
    )


def exact_sum(frame: pl.DataFrame) -> Fraction:
    """The exact sum, in whole units, of what :func:`read` made."""
    deep = frame["deep"].drop_nulls()
    below = sum((Fraction(text) for text in deep), Fraction(0))
    return Fraction(int(frame["atto"].sum() or 0), ATTO_PER_UNIT) + below


def nano(units: Fraction) -> int:
    """Nano-units, rounded once, half to even."""
    return round(units * NANO_PER_UNIT)


def plus(frame: pl.DataFrame, more: pl.DataFrame, sign: int = 1) -> pl.DataFrame:
    """What :func:`read` made of two columns, row by row in one; a null on the right side is nothing."""
    both = pl.DataFrame([*frame, *(column.alias(f"more_{column.name}") for column in more)])
    deep = [*zip(both["deep"], both["more_deep"], strict=True)] if both["more_deep"].null_count() < both.height else []
    atto = pl.col("atto") + pl.col("more_atto").fill_null(0) * sign
    return both.select(
        nano=_half_even(atto, ATTO_PER_NANO).cast(pl.Int64, strict=False),
        atto=atto,
        deep=pl.Series([_sum_of(*pair, sign) for pair in deep], dtype=pl.String) if deep else pl.col("deep"),
        valid=pl.col("valid") & pl.col("more_valid"),
    )


def in_usd(nano_units: pl.Expr, numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """Nano-dollars of nano-units of another currency, each rounded half to even; Int64, null where it does not fit.

    Args:
        nano_units: below :data:`MOST_UNITS` units.
        numerator: of the dollars for one unit, Int128; below 10**18, or the product does not fit into 128 bits.
        denominator: of the same.
    """
    return _half_even(nano_units.cast(pl.Int128) * numerator, denominator).cast(pl.Int64, strict=False)


def _sum_of(left: str | None, right: str | None, sign: int) -> str | None:
    """Texts of what lies below 1e-18, as one; exact, since no more than a few hundred digits come."""
    with localcontext(prec=2 * _LARGEST_EXPONENT) as context:
        total = context.create_decimal(left or 0) + context.create_decimal(right or 0) * sign
        return str(total) if total else None


def _half_even(amount: pl.Expr, unit: int | pl.Expr) -> pl.Expr:
    """An Int128 amount in units of ``unit``."""
    unit = pl.lit(unit, dtype=pl.Int128) if isinstance(unit, int) else unit
    floor = amount // unit
    twice = (amount - floor * unit) * 2
    up = (twice > unit) | ((twice == unit) & (floor % 2 == 1))
    return floor + up.cast(pl.Int128)


_EXACT = {"text": pl.String, "exact": pl.Int128, "deep": pl.String, "known": pl.Boolean}


def _all_fit(atto: pl.Series) -> bool:
    least, most = atto.min(), atto.max()
    return least is None or (
        isinstance(least, int) and isinstance(most, int) and -_MOST_ATTO <= least <= most <= _MOST_ATTO
    )


def _hard(texts: pl.Series) -> pl.Series:
    long = texts.filter((texts.str.len_bytes() > _SHORT_BYTES) | texts.str.contains_any(["e", "E"]))
    return long.filter(~long.str.contains(_EASY)).unique()


def _exact(text: str) -> tuple[str, int | None, str | None, bool]:
    """The text, its whole atto-units, what is below them as text, and that this is what counts."""
    unreadable = (text, None, None, True)
    if not _DECIMAL.fullmatch(text):
        return unreadable
    sign, digits, exponent = Decimal(text).as_tuple()
    if not isinstance(exponent, int) or abs(exponent) > _LARGEST_EXPONENT:
        return unreadable
    amount = int("".join(map(str, digits)))
    whole, rest = divmod(amount * 10 ** max(exponent + 18, 0), 10 ** max(-exponent - 18, 0))
    if whole > _MOST_ATTO:
        return unreadable
    signed = -whole if sign else whole
    return text, signed, f"{'-' if sign else ''}{rest}e{exponent}" if rest else None, True
