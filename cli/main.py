"""The `wattledger` command: finds a subcommand by name and imports only that one."""

from typing import Any

import click

from cli.lazy_group import LazyGroup
from collectors.errors import Misconfigured, SourceError

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("cli.up:up", "Measure this machine, or simulate one; serve page and metrics."),
    "agent": ("cli.agent:agent", "Run the node agent on this machine's GPUs."),
    "controller": ("cli.controller:controller", "Keep the books of a fleet, and serve them."),
    "top": ("cli.top:top", "Show a running agent's devices and books, live."),
    "doctor": ("cli.doctor:doctor", "Check what works on this machine, and how to mend the rest."),
    "ledger": ("cli.ledger:ledger", "Show the books, prove them, explain them, carry them out."),
    "schedule": ("cli.schedule:schedule", "See what schedules mean and will do; bring everything back."),
    "metrics": ("cli.metrics:metrics", "List every metric and what it says."),
    "config": ("cli.config_command:config", "Show or check the configuration, its page or its schema."),
}
"""Name to (module and function, one line for ``--help``): the help of all needs the import of none."""


class Refusal(click.ClickException):
    """Something a person must change; one line, exit status 2."""

    exit_code = 2


class _Commands(LazyGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Misconfigured as error:
            raise Refusal(str(error)) from error
        except SourceError as error:
            raise click.ClickException(str(error)) from error


@click.group(
    cls=_Commands,
    commands_by_name=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="wattledger", message="wattledger %(version)s")
def main() -> None:
    """Book every GPU-second, joule and dollar of this machine to exactly one account.

    \b
    Begin with
      wattledger up        page on http://127.0.0.1:9477, Prometheus metrics on /metrics
      wattledger top       the same in the terminal
      wattledger doctor    what works here, what does not, and the remedy
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
