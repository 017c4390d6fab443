"""Cost of the fleet over the windows that metrics show, from the table of cost."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from ledger.allocate import POOLS
from ledger.store import Store
from ledger.tables import CHARGES, COST, NODE_HOURS
from ledger.variance import variance

WINDOWS: Final[Mapping[str, timedelta]] = {
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
"""Up to now, in whole hours; ``month`` is the calendar month so far."""
MONTH: Final = "month"
BASES: Final[Mapping[str, str]] = {"list": "list_nano_usd", "effective": "effective_nano_usd"}
OTHER: Final = "__other__"
_HELD: Final = ("active", "idle", "unmeasured")

Labels = tuple[str, ...]


def ledger_costs(store: Store, now: datetime, cap: int) -> dict[Labels, int]:
    """Nano-dollars by basis, window, team and workload.

    A holder without a workload goes by its own name. A basis of which nothing is known in a window has no series.

    Args:
        store: the ledger.
        now: the time of the books.
        cap: most series of a basis and window; the smallest beyond it are one.

    Raises:
        StoreError: the table cannot be read.
    """
    starts = {name: now - length for name, length in WINDOWS.items()}
    starts[MONTH] = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    first = min(starts.values())
    held = pl.col("account").is_in(_HELD)
    pool = pl.col("account").replace_strict(POOLS, default=pl.col("account"))
    workload = pl.when(pl.col("workload") != "").then("workload").otherwise("holder")
    sums = [
        _sum(column, pl.col("hour_utc") >= pl.lit(start)).alias(f"{basis} {name}")
        for basis, column in BASES.items()
        for name, start in starts.items()
    ]
    rows = (
        store.scan(COST)
        .filter(pl.col("day") >= first.date())
        .group_by(
            team=pl.when(held).then("team").otherwise(pl.lit("")),
            workload=pl.when(held).then(workload).otherwise(pl.format("__{}__", pool)),
        )
        .agg(sums)
        .collect(engine="streaming")
    )
    found: dict[Labels, int] = {}
    for basis in BASES:
        for window in starts:
            known = rows.select("team", "workload", nano=pl.col(f"{basis} {window}")).drop_nulls("nano")
            found |= {(basis, window, team, name): nano for team, name, nano in _capped(known, cap)}
    return found


def variances(store: Store, now: datetime) -> dict[Labels, int]:
    """Nano-dollars by window and reason, where a bill has come.

    Raises:
        StoreError: a table cannot be read.
    """
    since = now - WINDOWS["30d"]
    if store.version(CHARGES) is None:
        return {}
    cost, nodes = (store.scan(table).filter(pl.col("day") >= since.date()) for table in (COST, NODE_HOURS))
    lines = store.scan(CHARGES).filter(pl.col("period_end") >= pl.lit(since))
    sums = variance(cost, lines, nodes).group_by("reason").agg(_sum("variance_nano_usd", pl.lit(value=True)))
    return {("30d", reason): nano for reason, nano in sums.drop_nulls().collect().iter_rows()}


def _capped(rows: pl.DataFrame, cap: int) -> list[tuple[str, str, int]]:
    ordered = sorted(rows.iter_rows(), key=lambda row: (-abs(row[2]), row[0], row[1]))
    if len(ordered) <= cap:
        return ordered
    rest = sum(nano for _, _, nano in ordered[cap - 1 :])
    return [*ordered[: cap - 1], ("", OTHER, rest)]


def _sum(column: str, within: pl.Expr) -> pl.Expr:
    """An exact sum; null where every value is null."""
    amount = pl.col(column).filter(within)
    return pl.when(amount.is_not_null().any()).then(amount.cast(pl.Int128).sum())
