"""Operational grams made again from the books alone: from energy, and from what each row says that it rests on.

Owns reading ``intensity`` back: it says all that a figure was made with, so settings and series are not asked.
"""

import polars as pl

from ledger.carbon import DEVICE_HOUR, MJ_PER_KWH, ROW, in_order, is_first, parts

_RESTS_ON = r", (\d+(?:\.\d+)?) gCO2e/kWh, PUE (\d+(?:\.\d+)?), scope (?:gpu|node, host (\d+(?:\.\d+)?) of GPU)$"
_MILLI = 1000


def grams_again(usage: pl.DataFrame, cost: pl.DataFrame) -> pl.DataFrame:
    """One row for each :data:`ledger.carbon.ROW` of usage, with ``carbon_ug``: null where no energy is known, and where
    no row of the device's hour says what grams rest on.

    Args:
        usage: all rows of the table ``usage`` of some device-hours.
        cost: all rows of the table ``cost`` of the same.
    """
    rows = in_order(usage.select(*ROW, "energy_mj", "gpu_ns"))
    starts = rows.select(is_first(DEVICE_HOUR)).to_series()
    known = (
        rows.filter(starts)
        .select(DEVICE_HOUR)
        .join(_fractions(cost), on=DEVICE_HOUR, how="left", maintain_order="left")
    )
    hour = starts.cum_sum().cast(pl.Int64) - 1
    carbon_ug = parts(rows["energy_mj"], hour, known, ("_factor", "_divisor"))
    return rows.select(*ROW, carbon_ug=carbon_ug)


def _fractions(cost: pl.DataFrame) -> pl.DataFrame:
    """Micrograms for a millijoule of each device's hour, as a fraction."""
    told = cost.filter(pl.col("intensity").is_not_null()).group_by(DEVICE_HOUR).agg(pl.col("intensity").min())
    mg, pue, ratio = (_thousandths(pl.col("intensity").str.extract(_RESTS_ON, place)) for place in (1, 2, 3))
    return told.select(
        *DEVICE_HOUR,
        _factor=mg * pue * (ratio.fill_null(0) + _MILLI),
        _divisor=pl.lit(MJ_PER_KWH * _MILLI, pl.Int128),
    )


def _thousandths(said: pl.Expr) -> pl.Expr:
    """Of decimals with at most three places."""
    return (said.cast(pl.Float64) * _MILLI).round().cast(pl.Int64).cast(pl.Int128)
