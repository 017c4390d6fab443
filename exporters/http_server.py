"""The HTTP server: sockets, TLS, time limits and how many at once; what is answered stands in ``http_routes``.

One request a connection, each with a deadline, so that no client holds a thread for longer. No access log: failures
are told once.
"""

import errno
import functools
import ipaddress
import logging
import socket
import ssl
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Final

from collectors.errors import Misconfigured
from exporters.http_routes import HEADERS, Answer, App, Routes, Site, say
from exporters.http_secrets import Token, Watched, tls_contexts
from exporters.server_settings import ServerSettings, split_address

log = logging.getLogger(__name__)

_BUSY: Final = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_MOST_DIGITS: Final = 12
_CLOSING_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.25


class AddressTaken(Misconfigured):
    """Another process listens there."""


class RunningServer:
    """A server at work in threads of its own."""

    def __init__(self, server: "_Server", *, scheme: str) -> None:
        self._server = server
        self.address: tuple[str, int] = server.bound
        """Host and port as bound; the port is the one taken where 0 was asked for."""
        host = f"[{self.address[0]}]" if ":" in self.address[0] else self.address[0]
        self.url: str = f"{scheme}://{host}:{self.address[1]}"
        """Where a person finds it."""
        self._thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, cut what is still open and wait shortly for it to end."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.cut_connections(_CLOSING_SECONDS)


def serve(settings: ServerSettings, app: App) -> RunningServer:
    """Answer for an agent until closed; raises as :func:`serve_site` does."""
    return serve_site(settings, Site(app, Token(settings.token_file) if settings.token_file else None))


def serve_site(settings: ServerSettings, site: Routes, section: str = "server") -> RunningServer:
    """Listen and answer until closed.

    Args:
        settings: where to listen.
        site: what answers.
        section: what the settings stand under, for messages.

    Raises:
        Misconfigured: the address cannot be had, or a token, certificate or key cannot be read; the message says
            which, and the remedy.
    """
    tls = (
        tls_contexts(settings.tls_cert_file, settings.tls_key_file, section)
        if settings.tls_cert_file and settings.tls_key_file
        else None
    )
    server = _bind(settings, site, tls, section)
    if settings.token_file is None and not _is_loopback(server.bound[0]):
        log.warning(
            "%s.listen %s: whoever reaches it reads who runs what; set %s.token_file to ask for a token",
            section,
            settings.listen,
            section,
        )
    return RunningServer(server, scheme="https" if tls else "http")


def _bind(settings: ServerSettings, site: Routes, tls: Watched[ssl.SSLContext] | None, section: str) -> "_Server":
    host, port = split_address(settings.listen)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return _Server(family, address, site, settings, tls)
    except OSError as error:
        kind = AddressTaken if error.errno == errno.EADDRINUSE else Misconfigured
        raise kind(f"{section}.listen {settings.listen}: {_bind_problem(error)}") from error


def _bind_problem(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process listens there; stop it, or choose another port with --listen HOST:PORT"
    if error.errno == errno.EACCES:
        return "this user may not take that port; choose one above 1023 with --listen HOST:PORT"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return "this machine has no such address; choose one that it has with --listen HOST:PORT"
    return f"cannot listen there ({error.strerror})"


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, site: Routes, request: socket.socket, client_address: Any, server: "_Server") -> None:
        self._site = site
        super().__init__(request, client_address, server)

    def do_GET(self) -> None:
        answer = self._answer()
        self._send(answer, body=answer.body)

    def do_HEAD(self) -> None:
        self._send(self._answer(), body=b"")

    def do_POST(self) -> None:
        answer = self._taken()
        self._send(answer, body=answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the request parser refuses, in our words."""
        del message, explain
        # Until a version is parsed the base class takes it for HTTP/0.9 and would leave the status out.
        self.request_version = self.protocol_version
        if code == HTTPStatus.NOT_IMPLEMENTED:
            answer = say(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed; there are GET and HEAD", Allow="GET, HEAD")
        else:
            answer = say(HTTPStatus(code), HTTPStatus(code).phrase.lower())
        self._send(answer, body=answer.body)

    def _answer(self) -> Answer:
        return self._site.answer(self.path, self._sent())

    def _taken(self) -> Answer:
        sent = self._sent()
        refusal = self._site.refusal(self.path, sent)
        if refusal is not None:
            return refusal
        said = self.headers.get("Content-Length", "")
        if not (said.isascii() and said.isdecimal()):
            return say(HTTPStatus.LENGTH_REQUIRED, "bad request: a POST needs its Content-Length")
        if len(said) > _MOST_DIGITS or int(said) > self._site.most_body_bytes:
            most = f"bad request: allowed are {self._site.most_body_bytes} bytes"
            return say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, most)
        body = self.rfile.read(int(said))
        if len(body) != int(said):
            return say(HTTPStatus.BAD_REQUEST, f"bad request: {said} bytes were announced and {len(body)} came")
        return self._site.post(self.path, sent, body)

    def _sent(self) -> dict[str, str]:
        return {name: ", ".join(self.headers.get_all(name, [])) for name in HEADERS}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class names it so)
        """No access log."""

    def _send(self, answer: Answer, *, body: bytes) -> None:
        self.close_connection = True
        self.send_response_only(answer.status)
        self.send_header("Date", self.date_time_string())
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        family: int,
        address: Any,
        site: Routes,
        settings: ServerSettings,
        tls: Watched[ssl.SSLContext] | None,
    ) -> None:
        self.address_family = family
        self._timeout_seconds = settings.request_timeout_seconds
        self._tls = tls
        self._slots = threading.BoundedSemaphore(settings.max_connections)
        self._lock = threading.Condition()
        self._deadlines: dict[socket.socket, float] = {}
        super().__init__(address, functools.partial(_Handler, site))

    def server_bind(self) -> None:
        # The base class looks its own name up in the DNS, which may take many seconds.
        TCPServer.server_bind(self)
        host, port = self.socket.getsockname()[:2]
        self.bound: tuple[str, int] = str(host), int(port)
        self.server_name, self.server_port = self.bound

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._slots.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except RuntimeError:
                self._slots.release()
                raise
            return
        request.setblocking(False)  # noqa: FBT003  (the standard library's own)
        if self._tls is None:
            request.send(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        connection = request
        try:
            connection = self._start(request)
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            self.finish_request(connection, client_address)
        except OSError:
            # The client went away, was too slow or speaks no TLS: its own affair.
            log.debug("connection from %s ended early", client_address, exc_info=True)
        finally:
            self._end(connection)

    def service_actions(self) -> None:
        """Cut the connections whose time is over."""
        now = time.monotonic()
        with self._lock:
            late = [connection for connection, deadline in self._deadlines.items() if deadline <= now]
        for connection in late:
            _cut(connection)

    def cut_connections(self, wait_seconds: float) -> None:
        with self._lock:
            for connection in self._deadlines:
                _cut(connection)
            self._lock.wait_for(lambda: not self._deadlines, wait_seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:
        del request
        log.warning("no thread for the request from %s: %s", client_address, sys.exception())

    def _start(self, request: socket.socket) -> socket.socket:
        request.settimeout(self._timeout_seconds)
        connection = request
        if self._tls is not None:
            connection = self._tls.current().wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._deadlines[connection] = time.monotonic() + self._timeout_seconds
        return connection

    def _end(self, connection: socket.socket) -> None:
        self.shutdown_request(connection)
        self._slots.release()
        with self._lock:
            self._deadlines.pop(connection, None)
            self._lock.notify_all()


def _cut(connection: socket.socket) -> None:
    try:
        # Not SSLSocket.shutdown, which would let the thread at work go on without encryption.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        log.debug("connection was closed already")
