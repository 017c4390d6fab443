"""`wattledger ledger show`: who spent what."""

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

import click

from cli.ledger_place import LedgerPlace, in_window, of_ledger, progress_bar
from collectors.errors import Misconfigured

if TYPE_CHECKING:
    import polars as pl

    from controller.api_window import Window
    from ledger.allocate import Sharing

_STEPS = {"hour": "1h", "day": "1d", "week": "1w", "month": "1mo"}
_SPREADS = ("apart", "even", "proportional", "metric")
_METRICS = ("gpu_ns", "active_ns", "energy_mj", "requested_ns")
_LABEL = "label:"


@click.command()
@of_ledger
@in_window("7d")
@click.option(
    "--by",
    metavar="COLUMNS",
    default="team,workload",
    show_default=True,
    help="team, namespace, workload, run, node, gpu_model, account ..., label:NAME for a dimension of your own.",
)
@click.option("--step", type=click.Choice(list(_STEPS)), help="Cut the window into these.")
@click.option(
    "--basis",
    type=click.Choice(["best", "list", "effective"]),
    default="best",
    show_default=True,
    help="List price, effective cost by the bill, or the bill where it has come.",
)
@click.option("--share-idle", type=click.Choice(_SPREADS), default="apart", help="What nobody held.  [default: apart]")
@click.option("--share-cost", type=click.Choice(_SPREADS), default="apart", help="Shared and host cost, likewise.")
@click.option("--share-by", type=click.Choice(_METRICS), default="gpu_ns", help="The metric.  [default: gpu_ns]")
@click.option("--top", metavar="N", type=click.IntRange(min=1), default=40, show_default=True, help="Rows of a step.")
@click.option("--json", "form", flag_value="json", help="All rows, integers in the ledger's units.")
@click.option("--csv", "form", flag_value="csv", help="The same as CSV.")
def show(
    place: LedgerPlace,
    *,
    window: "Window",
    by: str,
    step: str | None,
    basis: str,
    share_idle: str,
    share_cost: str,
    share_by: str,
    top: int,
    form: str | None,
) -> None:
    """Show GPU-hours, energy, dollars and grams by team, workload, run or whatever else the books know.

    `*` marks cost that is list price in part or whole, since no bill has come for it; a dash is "not known", `+` a sum
    of which a part is not known. What nobody held, and what belongs to nobody, stands in rows of its own, in brackets,
    unless it is shared out.

    \b
    Examples
      wattledger ledger show --by team,workload,run --since 7d
      wattledger ledger show --by namespace --window lastmonth --share-idle proportional --share-cost proportional
      wattledger ledger show --by label:cost_center --step day --csv > days.csv
      wattledger ledger show --by node --window 2026-11-01T00:00Z,2026-11-08T00:00Z --json
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    from ledger.allocate import Metric, Sharing, Spread  # noqa: PLC0415  (polars: --help needs none)

    question = _Question(
        window,
        _columns(by),
        basis,
        Sharing(idle=_one_of(Spread, share_idle), shared=_one_of(Spread, share_cost), metric=_one_of(Metric, share_by)),
        _STEPS.get(step or ""),
    )
    with progress_bar("parts") as done:
        rows, versions, sources = _allocated(place, question, done)
    if form == "json":
        meta = {
            "window": window.as_json(),
            "basis": basis,
            "sources": sources,
            "versions": versions,
            "unpriced_ns": int(rows["unpriced_ns"].sum()),
        }
        click.echo(json.dumps({"meta": meta, "rows": rows.to_dicts()}, default=_plain, indent=2))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(rows.columns)
        writer.writerows([_plain(value) for value in row] for row in rows.iter_rows())
    else:
        _print_table(rows, question, top, sources)


def _columns(by: str) -> list[str]:
    names = [name.strip() for name in by.split(",") if name.strip()]
    if not names:
        raise Misconfigured("--by: found nothing, allowed: columns with commas, such as team,workload")
    return [
        f"dimension:{name.removeprefix(_LABEL)}" if name.startswith(_LABEL) else name for name in dict.fromkeys(names)
    ]


def _one_of(choice: Any, said: str) -> Any:
    return next(each for each in get_args(choice) if each == said)


@dataclass(frozen=True, slots=True)
class _Question:
    window: "Window"
    columns: Sequence[str]
    basis: Any
    sharing: "Sharing"
    step: str | None


def _allocated(
    place: LedgerPlace, asked: _Question, done: Callable[[int, int], None]
) -> "tuple[pl.DataFrame, Mapping[str, int | None], Sequence[str]]":
    """Rows, versions of the tables, and where the hours are from."""
    import polars as pl  # noqa: PLC0415

    from ledger.allocate import allocate  # noqa: PLC0415
    from ledger.tables import COST, NODE_HOURS, TIME, USAGE  # noqa: PLC0415

    store = place.open()
    versions = {table.name: store.version(table) for table in (COST, USAGE)}
    start, end = (pl.lit(moment).cast(TIME) for moment in (asked.window.start, asked.window.end))
    within = (
        pl.col("day").is_between(asked.window.start.date(), asked.window.end.date()),
        pl.col("hour_utc").is_between(start, end, closed="left"),
    )
    cost, usage = (store.scan(table, versions[table.name]).filter(*within) for table in (COST, USAGE))
    try:
        rows = allocate(
            cost, usage, asked.columns, basis=asked.basis, sharing=asked.sharing, step=asked.step, progress=done
        )
    except ValueError as error:
        raise Misconfigured(f"--by: {error}".replace("dimension:", _LABEL)) from error
    sources = store.scan(NODE_HOURS).filter(*within).select(pl.col("source").unique().sort()).collect()
    return rows.collect(engine="streaming"), versions, sources["source"].to_list()


def _print_table(rows: "pl.DataFrame", asked: _Question, top: int, sources: Sequence[str]) -> None:
    from rich.console import Console  # noqa: PLC0415  (only where a table is shown)

    from cli.ledger_table import told  # noqa: PLC0415

    console = Console(width=None if sys.stdout.isatty() else 200)
    for each in told(rows, asked.columns, asked.window, top, sources, basis=asked.basis):
        console.print(each)


def _plain(value: object) -> object:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value
