"""Which ledger a command is about, and what all such commands are told."""

import functools
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from cli.node_options import config_option, data_dir
from collectors.errors import Misconfigured

if TYPE_CHECKING:
    from cli.config import Config
    from cli.config_source import Value
    from controller.api_window import Window
    from ledger.store import Store

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class LedgerPlace:
    """The configuration, and where the ledger is by it."""

    config: "Config"
    root: str
    simulated: bool

    def open(self) -> "Store":
        """The ledger, to read from, or to write without leadership.

        Raises:
            Misconfigured: there is none.
            StoreError: it cannot be read.
        """
        from ledger.ledger_settings import storage_options  # noqa: PLC0415  (polars and the like: --help needs none)
        from ledger.store import Store  # noqa: PLC0415
        from ledger.store_disk import is_local  # noqa: PLC0415
        from ledger.tables import COST, NODE_HOURS  # noqa: PLC0415

        options = {} if is_local(self.root) else storage_options(os.environ)
        store = Store(self.root, options=options, history_days=self.config.ledger.history_days)
        if all(store.version(table) is None for table in (NODE_HOURS, COST)):
            raise Misconfigured(f"no ledger at {self.root}: {self._elsewhere()}")
        return store

    def _elsewhere(self) -> str:
        other = data_dir(self.config, simulated=not self.simulated) / "ledger"
        if not self.config.ledger.root and other.is_dir() and str(other.absolute()) != self.root:
            return f"there is one at {other}; add --simulated, or give --data-dir"
        return "run `wattledger up` or `wattledger controller`, or give --data-dir or ledger.root"


def of_ledger(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command ``--config``, ``--data-dir``, ``--simulated`` and, first, the place that they name."""

    @config_option
    @click.option(
        "--data-dir",
        "folder",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Directory that holds the ledger, unless `ledger.root` is another place.",
    )
    @click.option("--simulated", is_flag=True, help="The books of simulated nodes, where --data-dir is not given.")
    @functools.wraps(command)
    def with_place(config_file: Path | None, folder: Path | None, simulated: bool, **rest: object) -> R:  # noqa: FBT001  (click gives options by name)
        return command(_place(config_file, folder, simulated=simulated), **rest)

    return with_place


def _place(config_file: Path | None, folder: Path | None, *, simulated: bool) -> LedgerPlace:
    from cli.config_load import load_config  # noqa: PLC0415  (--help needs no configuration)
    from cli.controller_run import require_extra  # noqa: PLC0415
    from ledger.ledger_settings import ledger_root  # noqa: PLC0415

    require_extra()
    given: dict[str, tuple[str, Value]] = {}
    if folder is not None:
        given["agent.data_dir"] = ("--data-dir", str(folder))
    config = load_config(config_file, os.environ, given)
    where = data_dir(config, simulated=simulated).absolute()
    return LedgerPlace(config, ledger_root(config.ledger, str(where)), simulated)


def in_window(default: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a command ``--window`` and ``--since``, and ``window``; empty: all there is, None."""

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        shown = f"  [default: {default}]" if default else "  [default: all there is]"

        @click.option("--since", metavar="AGO", help="7d, 24h, 2w: today and the days before it, or so many hours.")
        @click.option(
            "--window", "said", metavar="WINDOW", help="As --since, or today, month, lastmonth, START,END." + shown
        )
        @functools.wraps(command)
        def with_window(*args: object, since: str | None, said: str | None, **rest: object) -> R:
            return command(*args, window=_window(since, said, default), **rest)

        return with_window

    return decorate


def _window(since: str | None, said: str | None, default: str) -> "Window | None":
    from controller.api_window import BadQuestion, parse_window  # noqa: PLC0415  (--help needs no window)

    if since is not None and said is not None:
        raise Misconfigured("--since and --window say the same; give one")
    wanted = since or said or default
    try:
        return parse_window(wanted, datetime.now(UTC)) if wanted else None
    except BadQuestion as error:
        option = "--since" if since else "--window"
        raise Misconfigured(f"{option}: {str(error).removeprefix('window: ')}") from error


@contextmanager
def progress_bar(what: str) -> Generator[Callable[[int, int], None]]:
    """Tells done and all on a terminal's error stream; nothing where there is none."""
    from rich.console import Console  # noqa: PLC0415  (only where something is shown)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield told
