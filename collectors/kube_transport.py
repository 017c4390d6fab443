"""One request to the API server on the standard library's HTTP client: deadline, stop, and bounds on what is read.

Owns the connection. Each request has its own, since lists are rare and a watch takes one for minutes; who writes many
times a second may keep them. Must never wait longer than it was told, whoever trickles bytes, and never read more than
a bounded amount into memory.
"""

import http.client
import io
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Protocol, Self, cast
from urllib.parse import urlsplit

from collectors.errors import Unavailable
from collectors.kube_endpoint import KubeEndpoint, Tls, read_token
from collectors.kube_errors import Failure, Malformed, Refused
from collectors.kube_json import JsonObject, child, children, text

CONNECT_SECONDS = 5.0
TICK_SECONDS = 0.5
"""How often a wait for bytes looks at the stop event."""
IDLE_SECONDS = 5.0
"""A kept connection that was not used for so long is not used again: servers and balancers close theirs later."""
KEPT_SECONDS = 60.0
"""Nor is one of this age: certificates are renewed, and load is to move to servers that were added."""
_MOST_KEPT = 16
_METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
_CONTENT_TYPES = {"patch": "application/merge-patch+json"}
_CHUNK_BYTES = 65_536
_MOST_ERROR_BYTES = 65_536
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 20), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Stopped(Unavailable):
    """The agent is ending; the request was given up."""


class Deadline:
    """When a request has to be done, or to be given up before.

    Args:
        seconds: for the whole of it.
        stop: gives up when set.
        silent_seconds: between two pieces of what is answered; may be set anew at any time.
    """

    def __init__(
        self, seconds: float, stop: threading.Event | None = None, silent_seconds: float | None = None
    ) -> None:
        self.silent_seconds = silent_seconds
        self._heard = time.monotonic()
        self._ends = self._heard + seconds
        self._stop = stop

    def heard(self) -> None:
        """A piece has come."""
        self._heard = time.monotonic()

    def check(self) -> None:
        """Raise ``TimeoutError`` when time is up and ``Stopped`` when the agent ends."""
        if self._stop is not None and self._stop.is_set():
            raise Stopped("the agent is stopping")
        now = time.monotonic()
        if now >= self._ends:
            raise TimeoutError("no whole answer in time")
        if self.silent_seconds is not None and now >= self._heard + self.silent_seconds:
            raise TimeoutError(f"silent for {self.silent_seconds:.0f} s")


class _Buffer(Protocol):
    def __buffer__(self, flags: int, /) -> memoryview: ...


class _PatientReader(io.RawIOBase):
    """Reads a socket in ticks, so that each wait ends at the deadline."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._connected = connected
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: _Buffer) -> int:
        while True:
            self._deadline.check()
            try:
                size = self._connected.recv_into(cast("memoryview", buffer))
            except TimeoutError:
                continue
            self._deadline.heard()
            return size


class _PatientSocket:
    """As much of a socket as the HTTP client uses; it is closed by its owner, not by the client."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._connected = connected
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._connected.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_PatientReader(self._connected, self._deadline), _CHUNK_BYTES)

    def close(self) -> None:
        """Leave it open: an answer may still be read from it."""


class Connections:
    """Connections that wait for their next request; several threads may use it.

    Args:
        most: that are kept at a time; 0: none.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._idle: list[tuple[float, float, socket.socket]] = []
        """Made when, used last when."""

    def take(self) -> tuple[float, socket.socket] | None:
        """One that is still good, with when it was made."""
        now = time.monotonic()
        while True:
            with self._lock:
                if not self._idle:
                    return None
                made, used, connected = self._idle.pop()
            # whatever there is to read on it, it is no answer: the server has closed it, or has lost count
            if not _has_unread(connected) and now - used < IDLE_SECONDS and now - made < KEPT_SECONDS:
                return made, connected
            connected.close()

    def give(self, made: float, connected: socket.socket) -> None:
        """Keep one, all of whose answer was read."""
        now = time.monotonic()
        with self._lock:
            old = [each for each in self._idle if now - each[1] >= IDLE_SECONDS]
            self._idle = [each for each in self._idle if now - each[1] < IDLE_SECONDS]
            if len(self._idle) < self._most:
                self._idle.append((made, now, connected))
            else:
                old.append((made, now, connected))
        for _, _, each in old:
            each.close()

    def close(self) -> None:
        """Close all that wait."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, _, each in idle:
            each.close()

    def __del__(self) -> None:
        """Whoever forgot to close them."""
        self.close()


class Answer:
    """A successful answer, to be read once and closed."""

    def __init__(
        self,
        response: http.client.HTTPResponse,
        connected: socket.socket,
        what: tuple[str, str],
        give_back: Callable[[socket.socket], None],
    ) -> None:
        self._response = response
        self._connected = connected
        self._give_back = give_back
        server, self._path = what
        self._what = f"the API server at {server}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection up, or back where it can serve again."""
        read = self._response.isclosed() or self._response.length == 0
        whole = read and not self._response.will_close
        self._response.close()
        if whole:
            self._give_back(self._connected)
        else:
            self._connected.close()

    def read(self, most_bytes: int) -> bytes:
        """The whole body.

        Raises:
            Unavailable: it was cut off or did not come in time.
            Malformed: it is longer than ``most_bytes``.
        """
        body = bytearray()
        for chunk in self._chunks():
            body += chunk
            if len(body) > most_bytes:
                raise Malformed(f"{self._what} answered {self._path} with more than {most_bytes} bytes")
        return bytes(body)

    def lines(self, most_bytes: int) -> Iterator[bytes]:
        """The body's lines as they come; a last one without an end is not given.

        Raises:
            Unavailable: the stream was cut off or its time is up.
            Malformed: a line is longer than ``most_bytes``.
        """
        rest = bytearray()
        for chunk in self._chunks():
            *whole, tail = chunk.split(b"\n")
            for line in whole:
                yield bytes(rest + line)
                rest.clear()
            rest += tail
            if len(rest) > most_bytes:
                raise Malformed(f"{self._what} sent an event of more than {most_bytes} bytes on {self._path}")

    def _chunks(self) -> Iterator[bytes]:
        try:
            while chunk := self._response.read1(_CHUNK_BYTES):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{self._what} broke off {self._path} ({said_of(error)})") from error


class Transport:
    """Asks one API server; ``keep`` connections for the next request, where many are made."""

    def __init__(self, endpoint: KubeEndpoint, *, keep: bool = False) -> None:
        self._endpoint = endpoint
        self._kept = Connections(_MOST_KEPT if keep else 0)
        address = urlsplit(endpoint.base_url)
        self._host, self._port = address.hostname or "", address.port
        self._prefix = address.path.rstrip("/")
        self._tls = Tls(endpoint) if address.scheme == "https" else None

    def open(self, verb: str, path: str, query: str, deadline: Deadline, body: bytes | None = None) -> Answer:
        """Ask for ``path`` with ``query``; ``verb`` is Kubernetes' word for it, and tells the method.

        Raises:
            Unavailable: the server does not answer; or refuses, by the kinds of ``collectors.kube_errors``.
            Unsupported: there is no such resource.
        """
        token = self._token()
        try:
            return self._ask(verb, path, query, token, deadline, body)
        except Refused:
            renewed = self._token()
            if renewed == token:
                raise
            return self._ask(verb, path, query, renewed, deadline, body)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._kept.close()

    def _token(self) -> str | None:
        return None if self._endpoint.token_file is None else read_token(self._endpoint.token_file)

    def _ask(  # noqa: PLR0917
        self, verb: str, path: str, query: str, token: str | None, deadline: Deadline, body: bytes | None
    ) -> Answer:
        connection = self._connection()
        connected: socket.socket | None = None
        try:
            made, connected = self._kept.take() or _connect(connection)
            connection.sock = cast("socket.socket", _PatientSocket(connected, deadline))
            headers = {"Accept": "application/json", "User-Agent": "wattledger-agent"}
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            if body is not None:
                headers["Content-Type"] = _CONTENT_TYPES.get(verb, "application/json")
            connection.request(_METHODS.get(verb, "GET"), f"{self._prefix}{path}?{query}", body=body, headers=headers)
            response = connection.getresponse()
            if response.status in {http.client.OK, http.client.CREATED}:
                give_back = partial(self._kept.give, made)
                answer = Answer(response, connected, (self._endpoint.base_url, path), give_back)
                connected = None
                return answer
            raise self._failure(verb, path, response).error()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unavailable(
                f"the API server at {self._endpoint.base_url} does not answer {verb} {path}"
                f" ({type(error).__name__}: {error}); see that the agent's pod may reach it (network policy)"
            ) from error
        finally:
            if connected is not None:
                connected.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)
        context = self._tls.context()
        return http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_SECONDS, context=context)

    def _failure(self, verb: str, path: str, response: http.client.HTTPResponse) -> Failure:
        with response:
            said = status_of(response.read1(_MOST_ERROR_BYTES))
        return Failure(
            server=self._endpoint.base_url,
            path=path,
            verb=verb,
            status=response.status,
            message=text(said, "message")[:200],
            reasons=reasons_of(said),
            retry_after=response.headers.get("Retry-After", ""),
        )


def said_of(error: Exception) -> str:
    """The error's kind, and what it says where that is ours."""
    return f"TimeoutError: {error}" if type(error) is TimeoutError else type(error).__name__


def status_of(body: bytes) -> JsonObject:
    """The Status object that explains a refusal; an empty one where there is none."""
    try:
        return child({"said": json.loads(body)}, "said")
    except (ValueError, RecursionError):
        return {}


def reasons_of(status: JsonObject) -> frozenset[str]:
    """The reason of a Status object and of its causes."""
    causes = children(status, "details", "causes")
    return frozenset({text(status, "reason"), *(text(cause, "reason") for cause in causes)} - {""})


def _has_unread(connected: socket.socket) -> bool:
    poll = select.poll()  # select itself takes no descriptor above 1023
    poll.register(connected, select.POLLIN)
    return bool(poll.poll(0))


def _connect(connection: http.client.HTTPConnection) -> tuple[float, socket.socket]:
    made = time.monotonic()
    connection.connect()
    connected = cast("socket.socket", connection.sock)
    _keep_alive(connected)
    return made, connected


def _keep_alive(connected: socket.socket) -> None:
    """Let the kernel find out within a minute that nobody is at the other end of a quiet watch."""
    connected.settimeout(TICK_SECONDS)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, amount in _KEEPALIVE:
        connected.setsockopt(socket.IPPROTO_TCP, option, amount)
