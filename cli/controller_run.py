"""How a controller runs: signals, its parent's end, the seat, and the order in which it ends."""

import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from cli.config import Config
from collectors.errors import Misconfigured

if TYPE_CHECKING:
    from cli.config_load import ConfigFile

_log = logging.getLogger(__name__)

_EXTRA = ("polars", "deltalake", "apscheduler")


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """All that a controller needs to know to start."""

    config: Config
    simulated: bool = False
    own_node: str | None = None
    """The node whose `wattledger up` started this; it ends when its standard input does."""
    any_port: bool = False
    """Where the port is taken, any other will do."""
    file: "ConfigFile | None" = None
    """What the configuration was read from."""


def missing_extra() -> str | None:
    """What to install, where the controller cannot run; looks without importing."""
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    return f"{', '.join(missing)} not installed: pip install 'wattledger[controller]'" if missing else None


def require_extra() -> None:
    """Refuse to start without what the controller needs.

    Raises:
        Misconfigured: it is not installed; the message says how it is.
    """
    if (missing := missing_extra()) is not None:
        raise Misconfigured(f"the controller needs more than is here: {missing}")


def run_controller(options: ControllerOptions) -> int:
    """Run until SIGTERM or SIGINT, or until the seat is lost; returns the exit status.

    Raises:
        Misconfigured: a setting cannot be followed; the message is for the user.
    """
    from cli.controller_parts import Ends, build  # noqa: PLC0415  (polars and the like: --help needs none of them)

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _setter(ended))
    if options.own_node is not None:
        threading.Thread(target=_await_end_of_input, args=(ended,), name="parent", daemon=True).start()
    refusals: list[Exception] = []

    def refused(error: Exception) -> None:
        refusals.append(error)
        ended.set()

    parts = build(options, Ends(end_at_once, refused))
    click.echo(f"Books: {parts.server.url}/api/v1/allocation?window=7d   metrics: {parts.server.url}/metrics")
    seat_free = threading.Event()
    leading = threading.Thread(target=parts.leadership.run, args=(seat_free,), name="lease", daemon=True)
    leading.start()
    while not ended.wait(3600):
        pass
    parts.end(last_pull=options.own_node is not None)
    # only now: who leads next must not shut out the job that was at work
    seat_free.set()
    leading.join(5)
    for refusal in refusals:
        raise refusal
    return 0


def end_at_once(why: str) -> NoReturn:
    """End this process without another write: another keeps the books now."""
    from controller.lease import LOST  # noqa: PLC0415  (known by then)

    _log.error("this controller ends with status %d: %s", LOST, why)
    logging.shutdown()
    os._exit(LOST)


def _setter(event: threading.Event) -> Callable[[int, FrameType | None], None]:
    return lambda _number, _frame: event.set()


def _await_end_of_input(ended: threading.Event) -> None:
    """The parent holds the other end: however it dies, this ends too."""
    while sys.stdin.buffer.read(4096):
        pass
    ended.set()
