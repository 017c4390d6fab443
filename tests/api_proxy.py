"""A proxy in front of an API server that fails as it is told to: plain HTTP before it, TLS behind it.

Requests are numbered from 1, watches apart from all others, since how many watches there are is a matter of time. A
test counts what a run asks for, then runs again with a fault on each number in turn.
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

REASONS = {409: "Conflict", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive", "host", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request; whichever of it is set, in the order of the fields."""

    delay_seconds: float = 0.0
    forward: bool = False
    """The server gets the request, and does what it asks, though the client hears something else."""
    status: int = 0
    """Answered in the server's place."""
    retry_after: str = ""
    cut: Literal["", "at once", "within the answer"] = ""
    """The connection breaks, without an answer or in the middle of the server's own."""
    late_seconds: float = 0.0
    """The connection breaks first, and the server gets the request so long after."""


CUT_BEFORE = Fault(cut="at once")
CUT_AFTER = Fault(cut="at once", forward=True)
"""A write that did happen, and whose answer is lost."""
CUT_WITHIN = Fault(cut="within the answer", forward=True)
LATE = Fault(cut="at once", forward=True, late_seconds=0.05)
"""A write that happens when its client has given it up."""
CONFLICT = Fault(status=409)
BUSY = Fault(status=429, retry_after="1")
ERROR = Fault(status=500)
ERROR_AFTER = Fault(status=500, forward=True)
DOWN = Fault(status=503, retry_after="1")
FAULTS = {
    "cut before": CUT_BEFORE,
    "cut after": CUT_AFTER,
    "cut within": CUT_WITHIN,
    "late": LATE,
    "409": CONFLICT,
    "429": BUSY,
    "500": ERROR,
    "500 after": ERROR_AFTER,
    "503": DOWN,
}
"""Every way in which one request can fail, by name."""


@dataclass(slots=True)
class Request:
    """One that came, and what became of it."""

    number: int
    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    watch: bool = False
    status: int = 0
    """What the client was answered with; 0: nothing, or not yet."""
    fault: Fault | None = None

    @property
    def write(self) -> bool:
        return self.method in WRITES

    def __str__(self) -> str:
        return f"{'watch ' if self.watch else ''}{self.number} {self.method} {self.path}: {self.status}"


class _Plan:
    """Which fault the next requests meet; told and asked under one lock."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.seen: list[Request] = []
        self.by_number: dict[tuple[bool, int], Fault] = {}
        self.by_wish: list[tuple[Callable[[Request], bool], Fault, list[int]]] = []
        self.last: Counter[bool] = Counter()

    def enter(self, method: str, path: str) -> Request:
        address = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        watch = bool(query.get("watch"))
        with self.lock:
            self.last[watch] += 1
            request = Request(self.last[watch], method, address.path, query, watch)
            request.fault = self.by_number.pop((watch, request.number), None) or self._wished(request)
            self.seen.append(request)
            self.lock.notify_all()
        return request

    def _wished(self, request: Request) -> Fault | None:
        for concerns, fault, left in self.by_wish:
            if left[0] and concerns(request):
                left[0] -= 1
                return fault
        return None


class ApiProxy:
    """Stands until it is closed; ``url`` is for the client under test, who brings its own token."""

    def __init__(self, server_url: str, ca: Path) -> None:
        self._address = urlsplit(server_url)
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._plan = _Plan()
        self._watches: set[socket.socket] = set()
        self._frozen = threading.Event()
        self._closing = threading.Event()
        self.before: Callable[[Request], None] = _nothing
        """Called before each request is forwarded, in its thread."""
        self.after: Callable[[Request], None] = _nothing
        """Called when the server has answered a request, before its client hears of it; not for watches."""
        self._server = _Quiet(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self.cut_watches()
        self._server.server_close()
        self._thread.join()

    def fail(self, number: int, fault: Fault, *, watch: bool = False) -> None:
        """The request of this number, or watch of this number, meets ``fault``."""
        with self._plan.lock:
            self._plan.by_number[watch, number] = fault

    def fail_next(self, fault: Fault, *, times: int = 1, watch: bool = False) -> None:
        """The next so many requests, or watches, meet ``fault``."""
        self.fail_where(lambda request: request.watch is watch, fault, times=times)

    def fail_where(self, concerns: Callable[[Request], bool], fault: Fault, *, times: int = 1) -> None:
        """The first so many requests that it concerns meet ``fault``; ``times=-1``: all of them."""
        with self._plan.lock:
            self._plan.by_wish.append((concerns, fault, [times]))

    def heal(self) -> None:
        """No faults from here on."""
        with self._plan.lock:
            self._plan.by_number.clear()
            self._plan.by_wish.clear()
        self._frozen.clear()

    def forget(self) -> None:
        """Count anew from 1, without faults."""
        self.heal()
        with self._plan.lock:
            self._plan.seen.clear()
            self._plan.last.clear()

    @property
    def requests(self) -> list[Request]:
        """All but watches, in order of number."""
        with self._plan.lock:
            return [request for request in self._plan.seen if not request.watch]

    @property
    def watches(self) -> list[Request]:
        with self._plan.lock:
            return [request for request in self._plan.seen if request.watch]

    @property
    def writes(self) -> list[Request]:
        return [request for request in self.requests if request.write]

    def wait_for(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Returns once ``condition`` holds, which is looked at whenever a request comes."""
        with self._plan.lock:
            held = self._plan.lock.wait_for(condition, seconds)
        assert held, [str(request) for request in self._plan.seen]

    def cut_watches(self) -> None:
        """Break all open watches off without an end."""
        with self._plan.lock:
            for connected in self._watches:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connected, socket.SHUT_RDWR)  # not the TLS layer's: another thread reads

    def freeze_watches(self) -> None:
        """Open watches stay open and say nothing more, as behind a balancer whose server is gone; until ``heal``."""
        self._frozen.set()

    @property
    def open_watches(self) -> int:
        return len(self._watches) // 2  # the two ends of each

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    proxy._answer(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *_words: object) -> None:
                pass

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        request = self._plan.enter(handler.command, handler.path)
        fault = request.fault or Fault(forward=True)
        if self._closing.wait(fault.delay_seconds) and fault.delay_seconds:
            return
        if request.fault and not (fault.status or fault.cut):
            fault = Fault(forward=True)
        if not fault.forward:
            self._fail(handler, request, fault)
            return
        if fault.late_seconds:
            handler.connection.shutdown(socket.SHUT_RDWR)
            self._closing.wait(fault.late_seconds)
        self.before(request)
        with self._forwarded(handler, body) as (response, connected):
            whole = not fault.status and fault.cut != "at once"
            if request.watch and response.status == http.client.OK:
                if whole:
                    self._stream(handler, request, response, connected)
                else:
                    self._fail(handler, request, fault)
                return
            said = response.read()
            self.after(request)
            if fault.status or fault.cut == "at once":
                self._fail(handler, request, fault)
                return
            _send(handler, request, response, said, cut=fault.cut == "within the answer")

    @contextlib.contextmanager
    def _forwarded(
        self, handler: BaseHTTPRequestHandler, body: bytes
    ) -> Generator[tuple[http.client.HTTPResponse, socket.socket]]:
        host, port = self._address.hostname or "", self._address.port
        connection = http.client.HTTPSConnection(host, port, context=self._tls, timeout=60)
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in _HOP}
        try:
            connection.request(handler.command, handler.path, body or None, headers)
            connected = connection.sock
            assert connected is not None
            with connection.getresponse() as response:
                yield response, connected
        finally:
            connection.close()

    def _fail(self, handler: BaseHTTPRequestHandler, request: Request, fault: Fault) -> None:
        if not fault.status:
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        request.status = fault.status
        said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": fault.status}
        said |= {"reason": REASONS.get(fault.status, "Unknown"), "message": "the proxy was told to say so"}
        body = json.dumps(said).encode()
        handler.send_response(fault.status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Connection", "close")
        if fault.retry_after:
            handler.send_header("Retry-After", fault.retry_after)
        handler.end_headers()
        handler.wfile.write(body)

    def _stream(
        self,
        handler: BaseHTTPRequestHandler,
        request: Request,
        response: http.client.HTTPResponse,
        connected: socket.socket,
    ) -> None:
        connected.settimeout(None)
        with self._plan.lock:
            self._watches |= {connected, handler.connection}
        try:
            request.status = response.status
            handler.send_response(response.status)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            handler.wfile.flush()
            while said := response.read1(65536):
                if self._frozen.is_set():
                    continue
                if request.fault and request.fault.cut:
                    handler.wfile.write(b"%x\r\n%s" % (len(said), said[: len(said) // 2]))
                    handler.wfile.flush()
                    handler.connection.shutdown(socket.SHUT_RDWR)
                    return
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(said), said))
                handler.wfile.flush()
            # read1 tells an end from a break-off by nothing: only what ended well has no bytes left to come
            if response.isclosed():
                handler.wfile.write(b"0\r\n\r\n")
        except http.client.HTTPException:
            handler.connection.shutdown(socket.SHUT_RDWR)
        finally:
            with self._plan.lock:
                self._watches -= {connected, handler.connection}


class _Quiet(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def handle_error(self, *_request: object) -> None:
        """A client that breaks off is no error here."""


def _nothing(_request: Request) -> None:
    pass


def _send(
    handler: BaseHTTPRequestHandler, request: Request, response: http.client.HTTPResponse, said: bytes, *, cut: bool
) -> None:
    request.status = response.status
    handler.send_response(response.status)
    for name, value in response.getheaders():
        if name.lower() not in _HOP:
            handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(said)))
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(said[: len(said) // 2] if cut else said)
    if cut:
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
