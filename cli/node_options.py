"""What `up` and `agent` are told on the command line, read once into one value."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from cli.config_apart import load_config_apart

if TYPE_CHECKING:
    from cli.config import Config
    from cli.config_source import Value

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Simulation:
    """A simulated machine in place of the driver."""

    scenario: Path | None = None
    """The scenario file; without one the scenario that comes along."""
    speed: float = 1.0
    """Simulated seconds per second, until the present is reached."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """All that a node needs to know to start."""

    config: "Config"
    """``"data_dir" in config.agent.model_fields_set`` tells whether somebody chose the directory."""
    simulation: Simulation | None = None
    """Simulate, driver or not."""
    simulate_without_driver: bool = False
    """Where there is no driver, say so and simulate; otherwise wait for one."""
    books: bool = False
    """Keep books as well, in a controller beside the agent."""
    config_file: Path | None = None
    """What the configuration was read from."""


def data_dir(config: "Config", *, simulated: bool) -> Path:
    """The directory chosen, or one of the figures' own kind."""
    folder = config.agent.data_dir
    if simulated and "data_dir" not in config.agent.model_fields_set:
        return folder.with_name(f"{folder.name}-simulated")
    return folder


def config_option(command: Callable[..., R]) -> Callable[..., R]:
    """``--config FILE``."""
    return click.option(
        "--config",
        "config_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="YAML file of settings; `wattledger config --markdown` explains each.",
    )(command)


def configured(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command ``--config``, ``--listen`` and ``--data-dir`` and, first, the configuration they make."""

    @config_option
    @click.option("--listen", metavar="HOST:PORT", help="Address of page and metrics.  [default: 127.0.0.1:9477]")
    @click.option(
        "--data-dir",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Directory of the books. One belongs to one node, measured or simulated.",
    )
    @functools.wraps(command)
    def with_config(config_file: Path | None, listen: str | None, data_dir: Path | None, **rest: object) -> R:
        options: dict[str, tuple[str, Value]] = {}
        if listen is not None:
            options["server.listen"] = ("--listen", listen)
        if data_dir is not None:
            options["agent.data_dir"] = ("--data-dir", str(data_dir))
        return command(load_config_apart(config_file, os.environ, options), **rest)

    return with_config
