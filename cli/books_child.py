"""The controller beside a node: a child process of `wattledger up` that keeps the node's books.

Owns that process: it ends when this one does, however that comes about, since it reads from a pipe whose other end
only this process holds; when it dies alone it is started again, ever more slowly; one that refuses to start is tried
again now and then, since a setting, a port or a full disk may have been mended. The node goes on without it.
"""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.app import AgentApp
from cli.controller_run import missing_extra
from cli.node_options import NodeOptions
from exporters.http_server import RunningServer, serve
from exporters.server_settings import ServerSettings

_log = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-c", "from cli.main import main; main(prog_name='wattledger')")
_MISCONFIGURED = 2
"""Exit status of a refusal: starting again at once would change nothing."""
_FIRST_SECONDS, _MOST_SECONDS = 1.0, 60.0
_REFUSED_SECONDS = 600.0
_LIVED_SECONDS = 60.0
"""One that lived for so long and died is started again at once."""
_ENDING_SECONDS = 20.0


class BooksChild:
    """The child, and the thread that watches it.

    Args:
        arguments: of `wattledger controller`.
        program: what runs it.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        program: Sequence[str] = PROGRAM,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = [*program, "controller", *arguments]
        self._clock = clock
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name="books", daemon=True)

    @property
    def pid(self) -> int | None:
        """Of the child that runs now."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def start(self) -> None:
        """Start it, and keep it running."""
        self._process = self._run()
        self._thread.start()

    def end(self) -> None:
        """Let it book what is there and end; a child that does not is killed."""
        self._stop.set()
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
        self._thread.join(_ENDING_SECONDS)
        if process is not None and process.poll() is None:
            _log.warning("the controller does not end and is killed; it loses nothing by that")
            process.kill()
            process.wait()

    def _run(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603  (our own)

    def _watch(self) -> None:
        pause = _FIRST_SECONDS
        while (process := self._process) is not None:
            began = self._clock()
            status = process.wait()
            if self._stop.is_set():
                return
            if process.stdin is not None:
                process.stdin.close()
            if status == _MISCONFIGURED:
                wait = _REFUSED_SECONDS
                _log.error(
                    "the controller refuses to start, so no books are kept; its line above says why; it is tried again "
                    "in %.0f s",
                    wait,
                )
            else:
                lived = self._clock() - began >= _LIVED_SECONDS
                wait = pause = _FIRST_SECONDS if lived else min(2 * pause, _MOST_SECONDS)
                _log.warning("the controller ended with status %d; it is started again in %.0f s", status, wait)
            if self._stop.wait(wait):
                return
            self._process = self._run()


@dataclass(frozen=True, slots=True)
class NodeBooks:
    """The books beside a node."""

    child: BooksChild
    own_server: RunningServer | None
    """Where the child reads the journal, if not where everybody does."""

    @classmethod
    def beside(cls, app: AgentApp, server: RunningServer, options: NodeOptions) -> "NodeBooks | None":
        """Keep books beside a node, where what that needs is installed; else say once what is missing."""
        missing = missing_extra()
        if missing is not None:
            _log.warning("no books are kept: %s", missing)
            return None
        # a certificate is for the name that others call this machine by
        own = serve(_loopback(options), app) if options.config.server.tls_cert_file else None
        child = BooksChild(arguments(app, (own or server).url, options))
        try:
            child.start()
        except OSError as error:
            _log.warning("no books are kept: the controller cannot be started (%s)", error.strerror)
            return None
        return cls(child, own)

    def end(self) -> None:
        """Book what is there and end."""
        self.child.end()
        if self.own_server is not None:
            self.own_server.close()


def arguments(app: AgentApp, url: str, options: NodeOptions) -> list[str]:
    """What `wattledger controller` is told of the node beside which it runs."""
    store = app.agent.parts.store
    given = ["--child-of", app.node, "--agent", url, "--data-dir", str(store.folder)]
    if app.agent.parts.sampler.source_name == "simulated":
        given.append("--simulated")
    if options.config.server.token_file is not None:
        given += ["--agents-token-file", str(options.config.server.token_file)]
    if options.config_file is not None:
        given += ["--config", str(options.config_file)]
    return given


def _loopback(options: NodeOptions) -> ServerSettings:
    return ServerSettings(listen="127.0.0.1:0", token_file=options.config.server.token_file)
