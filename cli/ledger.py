"""`wattledger ledger`: the books, shown, proven, explained, kept small, carried out."""

from typing import Any

import click

from cli.lazy_group import LazyGroup
from ledger.store_errors import StoreError

COMMANDS: dict[str, tuple[str, str]] = {
    "show": ("cli.ledger_show:show", "Who spent what: GPU-hours, energy, dollars, grams."),
    "verify": ("cli.ledger_verify:verify", "Prove the laws of the books; exit status 1 when one is broken."),
    "explain": ("cli.ledger_explain:explain", "Price, shares and bill lines behind one hour's dollars."),
    "export": ("cli.ledger_export:export", "Write FOCUS 1.2, or a table, as CSV or Parquet."),
    "import": ("cli.ledger_import:import_", "Books of past hours from a Prometheus, as estimates."),
    "compact": ("cli.ledger_compact:compact", "Fewer files, the same books."),
}


class _Commands(LazyGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StoreError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, commands_by_name=COMMANDS)
def ledger() -> None:
    """Look into the books that a controller keeps, prove them, and take them elsewhere.

    \b
    Examples
      wattledger ledger show --by team,workload --since 7d
      wattledger ledger verify
      wattledger ledger explain 2026-11-01T05:00Z --holder ml/train-0/worker
      wattledger ledger export --focus 1.2 november.parquet --window lastmonth
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
