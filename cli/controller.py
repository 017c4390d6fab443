"""`wattledger controller`: pulls the agents' journals, keeps the books, serves them."""

import os
from pathlib import Path

import click

from cli.config_source import Value
from cli.node_options import config_option
from cli.process_memory import keep_pages


@click.command()
@config_option
@click.option("--listen", metavar="HOST:PORT", help="Address of API and metrics.  [default: 127.0.0.1:9478]")
@click.option(
    "--data-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Directory that holds the ledger, unless `ledger.root` is another place.",
)
@click.option("--agent", "agents", metavar="URL", multiple=True, help="An agent to pull; may be given several times.")
@click.option(
    "--agents-token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File with the bearer token that agents ask for.",
)
@click.option("--simulated", is_flag=True, help="Keep books of simulated nodes, which say so on every row.")
@click.option("--child-of", "own_node", hidden=True, help="Of `wattledger up`: the node's name; ends with its input.")
def controller(  # noqa: PLR0917  (click gives options by name)
    config_file: Path | None,
    listen: str | None,
    data_dir: Path | None,
    agents: tuple[str, ...],
    agents_token_file: Path | None,
    simulated: bool,  # noqa: FBT001  (click gives options by name)
    own_node: str | None,
) -> None:
    """Keep the books of a fleet: pull the agents' journals, price, reconcile with the bill, serve the API.

    The API is at http://127.0.0.1:9478/api/v1/, its description at /api/v1/openapi.json, metrics are at /metrics. One
    of several controllers keeps the books, the others stand by. Exit status 75: another one took over.

    \b
    Examples
      wattledger controller --agent http://node-1:9477 --agent http://node-2:9477
      wattledger controller --config wattledger.yaml --data-dir /var/lib/wattledger
      curl 'http://127.0.0.1:9478/api/v1/allocation?window=7d&aggregate=team'
    """  # noqa: D301  (\b is click's mark for text that keeps its lines)
    from cli.config_load import ConfigFile, load_config  # noqa: PLC0415  (--help needs no configuration)
    from cli.controller_run import ControllerOptions, require_extra, run_controller  # noqa: PLC0415

    require_extra()
    keep_pages()
    options: dict[str, tuple[str, Value]] = {}
    if listen is not None:
        options["controller.server.listen"] = ("--listen", listen)
    if data_dir is not None:
        options["agent.data_dir"] = ("--data-dir", str(data_dir))
    if agents:
        options["controller.agents.urls"] = ("--agent", list(agents))
    if agents_token_file is not None:
        options["controller.agents.token_file"] = ("--agents-token-file", str(agents_token_file))
    config = load_config(config_file, os.environ, options)
    chosen = "listen" in config.controller.server.model_fields_set
    file = None if config_file is None else ConfigFile(config_file, dict(os.environ), options)
    given = ControllerOptions(config, simulated=simulated, own_node=own_node, any_port=not chosen, file=file)
    raise SystemExit(run_controller(given))
