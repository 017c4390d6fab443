"""`wattledger agent`: the node agent alone; it waits for a driver and never simulates."""

from typing import TYPE_CHECKING

import click

from cli.node_options import NodeOptions, configured
from cli.process_memory import keep_memory_down

if TYPE_CHECKING:
    from cli.config import Config


@click.command()
@configured
def agent(config: "Config") -> None:
    """Run the node agent: measure this machine's GPUs, book them, serve /metrics and /v1.

    Meant for a service manager or a DaemonSet. Without a driver it says so, stays up, and begins once there is one.

    \b
    Examples
      wattledger agent --data-dir /var/lib/wattledger
      WATTLEDGER_AGENT__INTERVAL_SECONDS=5 wattledger agent
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    keep_memory_down()
    from cli.node import run_node  # noqa: PLC0415  (--help needs no node)

    raise SystemExit(run_node(NodeOptions(config)))
