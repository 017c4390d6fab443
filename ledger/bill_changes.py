"""What differs between two states of the charges: periods whose sums are others, so that only these are made again."""

import polars as pl

SUMMED_BY = (
    "instance_id",
    "period_start",
    "period_end",
    "billing_account",
    "category",
    "stack_layer",
    "provider",
    "region",
)
"""Lines that agree in these are one sum to reconciliation."""
_AMOUNTS = ("billed_nano_usd", "effective_nano_usd")


def changed_periods(before: pl.LazyFrame, after: pl.LazyFrame) -> pl.LazyFrame:
    """Instance (empty: none) and period of every sum that is another one now.

    Args:
        before: CHARGES rows as they were; of the months that matter, or of all.
        after: the same as they are.

    Returns:
        ``instance_id``, ``period_start``, ``period_end``, each once: what :func:`ledger.reconcile.touched_hours` takes.
    """
    signed = [
        frame.select(*SUMMED_BY, *[pl.col(name).fill_null(0).cast(pl.Int128) * sign for name in _AMOUNTS])
        for frame, sign in ((before, -1), (after, 1))
    ]
    sums = pl.concat(signed).group_by(SUMMED_BY).agg([pl.col(name).sum() for name in _AMOUNTS])
    differing = sums.filter(pl.any_horizontal(pl.col(name) != 0 for name in _AMOUNTS))
    return differing.select("instance_id", "period_start", "period_end").unique()
