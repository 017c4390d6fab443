"""Runs a slow collector in a thread of its own, so that no page that hangs ever holds a sweep."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.snapshot import CollectorRunner
from collectors.clock import NS_PER_SECOND, Clock
from collectors.errors import SourceError, Unavailable

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Poller:
    """Calls ``read`` every ``every_seconds`` and notes how it went."""

    name: str
    read: Callable[[], object]
    every_seconds: float
    clock: Clock
    runner: CollectorRunner

    def start(self, stop: threading.Event) -> threading.Thread:
        """Poll until ``stop`` is set."""
        thread = threading.Thread(target=self._run, args=(stop,), name=self.name, daemon=True)
        thread.start()
        return thread

    def poll(self) -> None:
        """One call."""
        began = time.perf_counter()
        error: SourceError | None = None
        try:
            self.read()
        except SourceError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001  (a defect in one collector must not end its thread)
            _log.exception("collector %s failed", self.name)
            error = Unavailable(f"internal error: {failure!r}")
        if self.runner.note(self.name, self.clock.monotonic_ns(), time.perf_counter() - began, error):
            _log.warning("%s: %s", self.name, error)

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.poll()
            self.clock.wait(stop, int(self.every_seconds * NS_PER_SECOND))
