"""A real Prometheus and a real VictoriaMetrics that keep samples of a test's own, and a gate before them."""

import http.client
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.integration.prometheus import Prometheus
from tests.integration.victoria import flush, victoria


@contextmanager
def prometheus_with(openmetrics: str, folder: Path, promtool: str, program: str) -> Iterator[str]:
    """The address of a Prometheus that has these samples."""
    backfill(openmetrics, folder, promtool)
    with Prometheus(folder, program, []) as running:
        yield running.api.removesuffix("/api/v1")


def backfill(openmetrics: str, folder: Path, promtool: str) -> None:
    """Write the samples as blocks of a Prometheus that runs in that folder later."""
    history = folder / "history.om"
    history.write_text(openmetrics)
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(history), str(folder / "tsdb")]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def victoria_with(openmetrics: str, folder: Path, program: str) -> Iterator[str]:
    """The address of a VictoriaMetrics that has these samples."""
    plain = (line for line in openmetrics.splitlines() if not line.startswith("#"))
    milliseconds = "".join(f"{line}000\n" for line in plain)
    with victoria(folder, program) as url:
        asked = urllib.request.Request(f"{url}/api/v1/import/prometheus", milliseconds.encode())
        urllib.request.urlopen(asked, timeout=30).close()
        flush(url)
        yield url


class _Gate(ThreadingHTTPServer):
    behind: str | None
    wanted: Mapping[str, str]
    passed: list[str]


class _Keeper(BaseHTTPRequestHandler):
    server: _Gate

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        refused = any(self.headers.get(name) != value for name, value in self.server.wanted.items())
        status, answer = (401, b"") if refused else self._ask(body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _ask(self, body: bytes) -> tuple[int, bytes]:
        if self.server.behind is None:
            return 502, b""
        connection = http.client.HTTPConnection(urlsplit(self.server.behind).netloc, timeout=30)
        try:
            connection.request("POST", self.path, body, {"Content-Type": self.headers["Content-Type"]})
            with connection.getresponse() as response:
                self.server.passed.append(self.path)
                return response.status, response.read()
        except OSError:
            return 502, b""
        finally:
            connection.close()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def gate(
    behind: str | None = None, wanted: Mapping[str, str] | None = None, tls: Sequence[Path] = ()
) -> Iterator[_Gate]:
    """A proxy that lets in who brings these headers; ``tls`` are certificate and key. What stands ``behind`` it may
    change, ``None``: nothing does.
    """
    with _Gate(("127.0.0.1", 0), _Keeper) as server:
        server.behind, server.wanted, server.passed = behind, wanted or {}, []
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def address(server: _Gate) -> str:
    """Where it serves."""
    scheme = "https" if isinstance(server.socket, ssl.SSLSocket) else "http"
    return f"{scheme}://localhost:{server.server_address[1]}"
