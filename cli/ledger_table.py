"""An allocation as a person reads it: one table for each step, the dearest first, with a sum."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cli.figures import or_absent
from collectors.clock import NS_PER_HOUR
from ledger.agent_hours import SIMULATED
from ledger.allocate import OWN, STEP
from ledger.carbon import MJ_PER_KWH
from ledger.prometheus_hours import PROMETHEUS
from ledger.tables import NANO_PER_USD
from ledger.unpriced import UNPRICED

if TYPE_CHECKING:
    from controller.api_window import Window

_UG_PER_G = 1_000_000
ESTIMATE = "*"
INCOMPLETE = "+"
_FIGURES = ("GPU-hours", "requested", "active", "kWh", "cost", "of it idle", "shared to it", "kg CO2e")
_POOLS = {
    "idle": "nobody held it",
    "unattributed": "work that no holder explains",
    "unobserved": "not observed",
    "system": "driver and cluster daemons",
    "host": "CPU and memory of the nodes",
    "shared": "of no node",
}
_MEASURED = "measured_ns"
_SUMMED = (
    _MEASURED,
    "gpu_ns",
    UNPRICED,
    "active_ns",
    "requested_ns",
    "energy_mj",
    "cost_nano_usd",
    "idle_nano_usd",
    "estimate_nano_usd",
    "spread_nano_usd",
    "carbon_ug",
)


def told(
    rows: pl.DataFrame,
    columns: Sequence[str],
    window: "Window",
    top: int,
    sources: Collection[str],
    *,
    basis: str,
) -> Iterator[RenderableType]:
    """Tables and the lines below them.

    Args:
        rows: of :func:`ledger.allocate.allocate`.
        columns: what it is by.
        window: of what hours.
        top: rows of each table; the rest is one row.
        sources: where its hours are from: measured, simulated, prometheus.
        basis: what a dollar is.
    """
    about = f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC"
    if rows.is_empty():
        yield f"nothing is booked from {about}"
        return
    rows = rows.with_columns(_measured().alias(_MEASURED))
    for step in rows.partition_by(STEP, maintain_order=True) if STEP in rows.columns else [rows]:
        title = f"from {step[STEP][0]:%Y-%m-%d %H:%M} UTC" if STEP in rows.columns else about
        yield _table(step, columns, f"{title}{' (simulated)' if SIMULATED in sources else ''}", top)
    estimate = int(rows["estimate_nano_usd"].cast(pl.Int128).sum())
    if estimate:
        why = "as asked for" if basis == "list" else "where no bill has come"
        yield f"{ESTIMATE} list price, {why}: {_dollars(estimate)} of this"
    if unpriced := int(rows[UNPRICED].cast(pl.Int128).sum()):
        yield f"{INCOMPLETE} the cost of {_hours(unpriced)} GPU-hours is not known; it is in no sum"
    own = rows.filter(pl.col("pool") == OWN)
    if own.height and not own.select(pl.any_horizontal(pl.col(name) != "" for name in columns).any()).item():
        yield f"no holder has a {' or '.join(columns).replace('dimension:', '')}: try --by holder"
    if PROMETHEUS in sources:
        yield "hours that were made from Prometheus are estimates"


def _measured() -> pl.Expr:
    """Time of which it is known whether a holder worked in it."""
    held = pl.col("active_ns") + pl.col("idle_ns")
    return pl.when(pl.col("pool") == OWN).then(held).when(pl.col("pool") != "unobserved").then("gpu_ns").otherwise(0)


def _table(rows: pl.DataFrame, columns: Sequence[str], title: str, top: int) -> Table:
    # who has what was asked for is not told twice: requests differ from what is held where GPUs are shared
    beside = {
        "requested": (rows["requested_ns"] != rows["gpu_ns"]).any(),
        "shared to it": (rows["spread_nano_usd"] != 0).any(),
    }
    shown = [figure for figure in _FIGURES if beside.get(figure, True)]
    table = Table(title=title, title_justify="left", show_footer=True)
    total = dict(zip(shown, _figures(_sums(rows), shown), strict=True))
    for place, name in enumerate(columns):
        table.add_column(name.removeprefix("dimension:"), footer="all" if place == 0 else "")
    for figure in shown:
        table.add_column(figure, footer=total[figure], justify="right", no_wrap=True)
    ordered = rows.sort(pl.col("cost_nano_usd").fill_null(0) + pl.col("spread_nano_usd").fill_null(0), descending=True)
    for row in ordered.head(top).iter_rows(named=True):
        table.add_row(*_names(row, columns), *_figures(row, shown))
    if (rest := ordered.slice(top)).height:
        table.add_row(
            Text(f"{rest.height} more", style="dim"), *[""] * (len(columns) - 1), *_figures(_sums(rest), shown)
        )
    return table


def _sums(rows: pl.DataFrame) -> Mapping[str, Any]:
    """Exact; None where nothing is known."""
    known = [pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).cast(pl.Int128).sum()) for name in _SUMMED]
    return rows.select(expr.alias(name) for expr, name in zip(known, _SUMMED, strict=True)).row(0, named=True)


def _names(row: Mapping[str, Any], columns: Sequence[str]) -> list[str | Text]:
    names: list[str | Text] = [str(row[name] or "") for name in columns]
    if row["pool"] == OWN:
        return [name or Text("none", style="dim") for name in names]
    pool = f"[{row['pool']}: {_POOLS.get(row['pool'], 'of nobody')}]"
    place = next((at for at, name in enumerate(names) if not name), 0)
    names[place] = Text(f"{names[place]} {pool}".lstrip(), style="dim")
    return names


def _figures(row: Mapping[str, Any], shown: Sequence[str]) -> list[str]:
    measured_ns, cost = row[_MEASURED], row["cost_nano_usd"]
    spread = row["spread_nano_usd"] or 0
    of_holders = row.get("pool", OWN) == OWN
    lacks = INCOMPLETE if row[UNPRICED] else ""
    mark = (ESTIMATE if row["estimate_nano_usd"] else "") + lacks
    told = {
        "GPU-hours": or_absent(_hours, row["gpu_ns"]),
        "requested": or_absent(_hours, row["requested_ns"]),
        "active": f"{100 * (row['active_ns'] or 0) / measured_ns:.0f} %" if measured_ns and of_holders else "-",
        "kWh": or_absent(lambda mj: _amount(mj / MJ_PER_KWH), row["energy_mj"]),
        "cost": "-" if cost is None and not spread else f"{_dollars((cost or 0) + spread)}{mark}",
        "of it idle": or_absent(lambda nano: _dollars(nano) + lacks, row["idle_nano_usd"]),
        "shared to it": _dollars(spread),
        "kg CO2e": or_absent(lambda ug: _amount(ug / _UG_PER_G / 1000), row["carbon_ug"]),
    }
    return [told[figure] for figure in shown]


def _amount(value: float) -> str:
    return f"{value:,.2f}" if value >= 1 or value == 0 else f"{value:.4f}"


def _hours(ns: int) -> str:
    return f"{ns / NS_PER_HOUR:,.2f}"


def _dollars(nano_usd: int) -> str:
    usd = nano_usd / NANO_PER_USD
    return f"{'-' if usd < 0 else ''}${abs(usd):,.2f}"
