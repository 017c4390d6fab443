"""`wattledger top`: a running agent's devices and books in the terminal, refreshed like top."""

import sys
import time
from pathlib import Path

import click
from rich.console import Console, RenderableType
from rich.live import Live

from cli.state_client import StateClient
from cli.top_view import lost, picture
from collectors.errors import Unavailable


@click.command()
@click.option(
    "--url", metavar="URL", default="http://127.0.0.1:9477", show_default=True, help="Where the agent serves."
)
@click.option(
    "--token-file", metavar="FILE", type=click.Path(path_type=Path), help="File that holds the agent's token."
)
@click.option("--ca-file", metavar="FILE", type=click.Path(path_type=Path), help="Certificate to trust, in PEM.")
@click.option("--once", is_flag=True, help="Print one picture and end; so it does without a terminal.")
@click.option(
    "--every", metavar="S", type=click.FloatRange(min=0.2), default=1.0, show_default=True, help="Seconds between two."
)
def top(url: str, token_file: Path | None, ca_file: Path | None, once: bool, every: float) -> None:  # noqa: FBT001  (click gives options by name)
    """Show who holds each GPU, what it does, draws and costs, and the books so far; Ctrl-C ends it.

    Busy is the share of time in which anything ran; SM is how much of the chip was at work. A dash is "not
    measured". `est.` marks a price that is an estimate.

    \b
    Examples
      wattledger top
      wattledger top --once | less
      wattledger top --url https://node-7:9477 --token-file /etc/wattledger/token --ca-file ca.pem
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    client = StateClient(url, token_file, ca_file)
    console = Console()
    if once or not sys.stdout.isatty():
        console.print(picture(client.fetch()))
        return
    with Live(_frame(client), console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every)
                live.update(_frame(client), refresh=True)
        except KeyboardInterrupt:
            return


def _frame(client: StateClient) -> RenderableType:
    try:
        return picture(client.fetch())
    except Unavailable as error:
        return lost(client.url, str(error))
