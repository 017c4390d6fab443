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

if TYPE_CHECKING:
    from controller.api_window import Window

_UG_PER_G = 1_000_000
ESTIMATE = "*"
_FIGURES = ("GPU-hours", "active", "kWh", "cost", "of it idle", "shared to it", "kg CO2e")
_POOLS = {
    "idle": "nobody held it",
    "unattributed": "work that no holder explains",
    "unobserved": "not observed",
    "system": "driver and cluster daemons",
    "host": "CPU and memory of the nodes",
    "shared": "of no node",
}
_SUMMED = (
    "gpu_ns",
    "active_ns",
    "energy_mj",
    "cost_nano_usd",
    "idle_nano_usd",
    "estimate_nano_usd",
    "spread_nano_usd",
    "carbon_ug",
)


def told(
    rows: pl.DataFrame, columns: Sequence[str], window: "Window", top: int, sources: Collection[str]
) -> Iterator[RenderableType]:
    """Tables and the lines below them.

    Args:
        rows: of :func:`ledger.allocate.allocate`.
        columns: what it is by.
        window: of what hours.
        top: rows of each table; the rest is one row.
        sources: where its hours are from: measured, simulated, prometheus.
    """
    about = f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC"
    if rows.is_empty():
        yield f"nothing is booked from {about}"
        return
    for step in rows.partition_by(STEP, maintain_order=True) if STEP in rows.columns else [rows]:
        title = f"from {step[STEP][0]:%Y-%m-%d %H:%M} UTC" if STEP in rows.columns else about
        yield _table(step, columns, f"{title}{' (simulated)' if SIMULATED in sources else ''}", top)
    estimate = int(rows["estimate_nano_usd"].cast(pl.Int128).sum())
    if estimate:
        yield f"{ESTIMATE} list price, where no bill has come: {_dollars(estimate)} of this"
    own = rows.filter(pl.col("pool") == OWN)
    if own.height and not own.select(pl.any_horizontal(pl.col(name) != "" for name in columns).any()).item():
        yield f"no holder has a {' or '.join(columns).replace('dimension:', '')}: try --by holder"
    if PROMETHEUS in sources:
        yield "hours that were made from Prometheus are estimates"


def _table(rows: pl.DataFrame, columns: Sequence[str], title: str, top: int) -> Table:
    shown = [figure for figure in _FIGURES if figure != "shared to it" or (rows["spread_nano_usd"] != 0).any()]
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
    gpu_ns, active_ns, cost = row["gpu_ns"], row["active_ns"], row["cost_nano_usd"]
    spread = row["spread_nano_usd"] or 0
    mark = ESTIMATE if row["estimate_nano_usd"] else ""
    told = {
        "GPU-hours": or_absent(lambda ns: f"{ns / NS_PER_HOUR:,.2f}", gpu_ns),
        "active": f"{100 * (active_ns or 0) / gpu_ns:.0f} %" if gpu_ns and row.get("pool", OWN) == OWN else "-",
        "kWh": or_absent(lambda mj: _amount(mj / MJ_PER_KWH), row["energy_mj"]),
        "cost": "-" if cost is None and not spread else f"{_dollars((cost or 0) + spread)}{mark}",
        "of it idle": or_absent(_dollars, row["idle_nano_usd"]),
        "shared to it": _dollars(spread),
        "kg CO2e": or_absent(lambda ug: _amount(ug / _UG_PER_G / 1000), row["carbon_ug"]),
    }
    return [told[figure] for figure in shown]


def _amount(value: float) -> str:
    return f"{value:,.2f}" if value >= 1 or value == 0 else f"{value:.4f}"


def _dollars(nano_usd: int) -> str:
    usd = nano_usd / NANO_PER_USD
    return f"{'-' if usd < 0 else ''}${abs(usd):,.2f}"
