"""`wattledger ledger export`: FOCUS 1.2, or a table as it stands."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.ledger_place import LedgerPlace, in_window, of_ledger, progress_bar
from collectors.errors import Misconfigured

if TYPE_CHECKING:
    from controller.api_window import Window

_TABLES = ("usage", "node_hours", "profile", "work", "prices", "charges", "bills", "cost", "lifetimes", "audit")
_STEPS = {"day": "1d", "hour": "1h"}


@click.command()
@of_ledger
@in_window("30d")
@click.option("--focus", type=click.Choice(["1.2"]), help="Allocated cost as FOCUS of this version.")
@click.option("--table", type=click.Choice(_TABLES), help="A table of the ledger, in its own columns and units.")
@click.option(
    "--step", type=click.Choice(list(_STEPS)), default="day", show_default=True, help="What a FOCUS row spans."
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def export(
    place: LedgerPlace, *, window: "Window", focus: str | None, table: str | None, step: str, file: Path
) -> None:
    """Write FILE.csv or FILE.parquet: FOCUS 1.2 for FinOps tools, or a table for anything else.

    FILE is replaced once the new one is whole. Amounts are decimals in dollars in FOCUS, integers in a table
    (nano-dollars, nanoseconds, millijoules, micrograms).

    \b
    Examples
      wattledger ledger export --focus 1.2 november.parquet --window lastmonth
      wattledger ledger export --focus 1.2 hours.csv --since 7d --step hour
      wattledger ledger export --table usage usage.parquet --since 7d
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    if (focus is None) == (table is None):
        raise Misconfigured("give one of --focus 1.2 and --table NAME: which of the two is to be written")
    try:
        if focus is not None:
            _focus(place, window, file, step)
        else:
            _table(place, window, file, str(table))
    except OSError as error:
        raise click.ClickException(f"cannot write {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise Misconfigured(str(error)) from error


def _focus(place: LedgerPlace, window: "Window", file: Path, step: str) -> None:
    from collectors.clock import NS_PER_HOUR  # noqa: PLC0415  (--help needs none of these)
    from exporters.focus_file import write_focus  # noqa: PLC0415

    with progress_bar("days") as told:
        written = write_focus(
            place.open(), file, window.start, window.end, step="1h" if step == "hour" else "1d", progress=told
        )
    click.echo(f"{file}: {written.rows} rows, FOCUS 1.2, from version {written.versions['cost']} of cost")
    if written.unpriced_gpu_ns:
        click.echo(
            f"{written.unpriced_gpu_ns / NS_PER_HOUR:,.1f} GPU-hours are not in it: they have no price and no bill,"
            " and FOCUS has no word for a cost that is not known; set prices (see docs/guides/prices.md)",
            err=True,
        )


def _table(place: LedgerPlace, window: "Window", file: Path, name: str) -> None:
    import polars as pl  # noqa: PLC0415  (--help needs none of these)

    from exporters.table_file import write_in_parts  # noqa: PLC0415
    from ledger.tables import ALL, TIME  # noqa: PLC0415

    table = next(each for each in ALL if each.name == name)
    store = place.open()
    version = store.version(table)
    rows = store.scan(table, version)
    if "hour_utc" in table.schema:
        first, end = (pl.lit(moment).cast(TIME) for moment in (window.start, window.end))
        rows = rows.filter(
            pl.col("day").is_between(window.start.date(), window.end.date()),
            pl.col("hour_utc").is_between(first, end, closed="left"),
        )
    elif "at_utc" in table.schema:
        first, end = (pl.lit(moment).cast(TIME) for moment in (window.start, window.end))
        rows = rows.filter(pl.col("at_utc").is_between(first, end, closed="left"))
    elif "month" in table.schema:
        rows = rows.filter(pl.col("month").is_between(window.start.date().replace(day=1), window.end.date()))
    with progress_bar(f"{table.partition[0]}s" if table.partition else "parts") as told:
        parts = [rows]
        if table.partition:
            by = pl.col(table.partition[0])
            values = rows.select(by.unique().sort()).collect(engine="streaming").to_series()
            parts = [rows.filter(by == value) for value in values] or parts
        write_in_parts([part.sort(table.key) for part in parts], file, told)
    count = "nothing yet" if version is None else f"version {version} of {name}"
    click.echo(f"{file}: {count}")
