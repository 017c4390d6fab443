"""`wattledger ledger explain`: what one hour's dollars rest on."""

import dataclasses
import json
from datetime import UTC, date, datetime

import click

from cli.ledger_place import LedgerPlace, of_ledger, progress_bar
from collectors.errors import Misconfigured


@click.command()
@of_ledger
@click.argument("hour")
@click.option("--holder", metavar="NAME", help="As the books have it: NAMESPACE/POD/CONTAINER, a unit, a user, a job.")
@click.option("--team", metavar="NAME", help="All rows of a team.")
@click.option("--workload", metavar="NAME", help="All rows of a workload.")
@click.option("--run", metavar="NAME", help="All rows of a run.")
@click.option("--node", metavar="NAME", help="All rows of a node.")
@click.option("--gpu", "gpu_uuid", metavar="UUID", help="All rows of a device.")
@click.option("--account", metavar="NAME", help="active, idle, unallocated, unobserved, shared ...")
@click.option("--rows", "most", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, integers in the ledger's units.")
def explain(place: LedgerPlace, *, hour: str, most: int, as_json: bool, **selected: str | None) -> None:
    """Print price, shares, method and bill lines behind the dollars of HOUR, enough to work them out by hand.

    HOUR is the start of an hour, such as 2026-11-01T05:00Z. Options narrow the rows; without any all rows of the hour
    are told. Hours that became days cannot be explained any more.

    \b
    Examples
      wattledger ledger explain 2026-11-01T05:00Z --holder ml/train-0/worker
      wattledger ledger explain 2026-11-01T05:00Z --team vision --account idle
      wattledger ledger explain 2026-11-01T05:00Z --account shared --json
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    from cli.ledger_words import lines_of  # noqa: PLC0415  (polars: --help needs none)
    from ledger.explain import HoursGone, NothingBooked  # noqa: PLC0415
    from ledger.explain import explain as explained  # noqa: PLC0415

    wanted = {name: value for name, value in selected.items() if value is not None}
    try:
        with progress_bar("rows") as done:
            told = explained(place.open(), _hour(hour), wanted, most, done)
    except (NothingBooked, HoursGone) as error:
        raise click.ClickException(str(error)) from error
    except ValueError as error:
        raise Misconfigured(f"HOUR: {error}") from error
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(told), default=_plain, indent=2))
    else:
        for line in lines_of(told):
            click.echo(line)


def _hour(said: str) -> datetime:
    try:
        moment = datetime.fromisoformat(said)
    except ValueError as error:
        raise ValueError(f"found {said!r}, allowed: the start of an hour, such as 2026-11-01T05:00Z") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")
