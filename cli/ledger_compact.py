"""`wattledger ledger compact`: fewer files, the same books."""

from datetime import UTC, datetime

import click

from cli.ledger_place import LedgerPlace, of_ledger, progress_bar


@click.command()
@of_ledger
def compact(place: LedgerPlace) -> None:
    """Merge each day's files, roll closed months into days, and delete files that no kept version needs.

    A controller does the same by itself, every `controller.keep_house_hours`. Hours become days
    `ledger.roll_after_days` after their bill was closed; versions are kept for `ledger.history_days`. It may run beside
    a controller, and be cut off at any moment.

    \b
    Examples
      wattledger ledger compact
      wattledger ledger compact --config wattledger.yaml --data-dir /var/lib/wattledger
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    from ledger.house import keep_house  # noqa: PLC0415  (polars: --help needs none)

    rolled, closed = place.config.ledger.roll_after_days, place.config.bills.closed_after_days
    store, now = place.open(), datetime.now(UTC)
    with progress_bar("steps") as told:
        done = keep_house(store, now=now, roll_after_days=rolled, closed_after_days=closed, told=told)
    click.echo(
        f"{done.compacted_parts} days or tables compacted, {done.rolled_days} days rolled, "
        f"{done.deleted_files} files deleted"
    )
