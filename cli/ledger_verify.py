"""`wattledger ledger verify`: proves the laws of the books."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

import click

from cli.ledger_place import LedgerPlace, in_window, of_ledger, progress_bar

if TYPE_CHECKING:
    from controller.api_window import Window
    from ledger.verify_law import Break


@click.command()
@of_ledger
@in_window("")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@click.option(
    "--most", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="Breaks named at most."
)
@click.pass_context
def verify(ctx: click.Context, place: LedgerPlace, *, window: "Window | None", as_json: bool, most: int) -> None:
    """Prove from the tables alone that the books balance, and name what does not, the first first.

    Each device's accounts add up to the time its node existed, each node-hour's dollars to its price and to its lines
    of the bill, every charge stands in cost once. Exit status 0 when every law holds, 1 when one is broken.

    \b
    Examples
      wattledger ledger verify
      wattledger ledger verify --window lastmonth
      wattledger ledger verify --since 7d --json | jq .breaks
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    from controller.api_window import HOUR  # noqa: PLC0415  (--help needs none of these)
    from ledger import verify as proof  # noqa: PLC0415

    store = place.open()
    first, last = (window.start, window.end - HOUR) if window else (None, None)
    with progress_bar("days") as told:
        found = list(islice(proof.verify(store, first, last, told), most))
    pending = [hour for hour in proof.pending_hours(store) if window is None or window.start <= hour < window.end]
    if as_json:
        _print_json(found, pending)
    else:
        _print_text(found, pending, most)
    ctx.exit(int(bool(found)))


def _print_text(found: Sequence["Break"], pending: Sequence[datetime], most: int) -> None:
    from ledger.verify_law import LAWS  # noqa: PLC0415  (polars: --help needs none)

    for each in found:
        click.echo(str(each))
    broken = list(dict.fromkeys(each.law for each in found))
    if len(found) == most:
        click.echo(f"{most} breaks are named; there may be more (--most)")
    if broken:
        click.echo(f"broken: {', '.join(broken)}")
    else:
        click.echo(f"all {len(LAWS)} laws hold")
    if pending:
        click.echo(
            f"cost of {len(pending)} hours is still to be made ({pending[0]:%Y-%m-%dT%H:%MZ} to"
            f" {pending[-1]:%Y-%m-%dT%H:%MZ}): it was not looked at; a running controller makes it within minutes"
        )


def _print_json(found: Sequence["Break"], pending: Sequence[datetime]) -> None:
    from ledger.verify_law import LAWS  # noqa: PLC0415  (polars: --help needs none)

    breaks = [
        {**dataclasses.asdict(each), "hour": None if each.hour is None else each.hour.isoformat()} for each in found
    ]
    said = {
        "holds": not found,
        "laws": [{"law": each.name, "says": each.says} for each in LAWS],
        "breaks": breaks,
        "pending": [hour.isoformat() for hour in pending],
    }
    click.echo(json.dumps(said, indent=2))
