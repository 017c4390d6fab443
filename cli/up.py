"""`wattledger up`: the first command anyone types; measures what is there, or simulates."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.node_options import NodeOptions, Simulation, configured
from cli.process_memory import keep_memory_down

if TYPE_CHECKING:
    from cli.config import Config


@click.command()
@configured
@click.option("--simulate", is_flag=True, help="Simulate a machine even where there is a driver.")
@click.option("--scenario", metavar="FILE", type=click.Path(path_type=Path), help="Simulate what this file tells.")
@click.option(
    "--speed",
    metavar="N",
    type=click.FloatRange(min=1, max=100_000),
    help="Simulate N times faster, from a week back up to the present.  [default: 1]",
)
@click.option("--seed", metavar="N", type=click.IntRange(min=0), help="Seed of the simulation.  [default: 0]")
def up(config: "Config", simulate: bool, scenario: Path | None, speed: float | None, seed: int | None) -> None:  # noqa: FBT001  (click gives options by name)
    """Measure this machine's GPUs, or simulate some where there is no driver; serve page and metrics.

    The page is at http://127.0.0.1:9477/, Prometheus metrics are at /metrics. Nothing is ever set on a GPU. Books are
    kept in the data directory and served at http://127.0.0.1:9478/api/v1/ where wattledger[controller] is installed.
    --scenario, --speed and --seed imply --simulate; a simulation says so on every surface and keeps books of its own.

    \b
    Examples
      wattledger up
      wattledger up --simulate --speed 600
      wattledger up --listen 0.0.0.0:9477 --config wattledger.yaml
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    keep_memory_down()
    from cli.node import run_node  # noqa: PLC0415  (--help needs no node)

    config_file = click.get_current_context().params.get("config_file")
    wanted = simulate or any(given is not None for given in (scenario, speed, seed))
    simulation = Simulation(scenario, speed or 1.0, seed or 0) if wanted else None
    options = NodeOptions(config, simulation, simulate_without_driver=True, books=True, config_file=config_file)
    raise SystemExit(run_node(options))
