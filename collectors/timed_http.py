"""HTTP connections that end at a given time: connection, handshake, status line, headers and body alike.

A socket's own timeout begins anew with each byte, so a peer that sends one now and then could hold its reader for ever.
Here each wait is only as long as what is left. Takes no thread. Never goes through a proxy, never follows a redirect.
"""

import http.client
import socket
import ssl
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import SplitResult

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as _Buffer


def connection_until(ends: float, address: SplitResult, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
    """A connection, not opened yet; whatever waits on it raises TimeoutError when its time is over.

    Args:
        ends: when, by the monotonic clock.
        address: an http or https URL.
        tls: for https, and for such connections alone; ``None``: whom the system trusts.

    Raises:
        ValueError: the address has a port that is none.
    """
    host = address.hostname or ""
    if address.scheme == "http":
        return _Connection(host, address.port, ends)
    context = tls or ssl.create_default_context()
    context.sslsocket_class = _TlsSocket
    return _TlsConnection(host, address.port, ends, context)


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class _Socket(socket.socket):
    ends = 0.0

    def recv_into(self, buffer: "_Buffer", nbytes: int = 0, flags: int = 0) -> int:
        """At most what fits into ``buffer``."""
        self.settimeout(_left(self.ends))
        return super().recv_into(buffer, nbytes, flags)


class _TlsSocket(ssl.SSLSocket):
    ends = 0.0

    def recv_into(self, buffer: "_Buffer", nbytes: int | None = None, flags: int = 0) -> int:
        """At most what fits into ``buffer``."""
        self.settimeout(_left(self.ends))
        return super().recv_into(buffer, nbytes, flags)


def _connected(host: str, port: int, ends: float) -> _Socket:
    plain = socket.create_connection((host, port), _left(ends))
    timed = _Socket(plain.family, plain.type, plain.proto, plain.detach())
    with ExitStack() as undo:
        undo.callback(timed.close)
        timed.ends = ends
        timed.settimeout(_left(ends))
        timed.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        undo.pop_all()
    return timed


class _Connection(http.client.HTTPConnection):
    def __init__(self, host: str, port: int | None, ends: float) -> None:
        super().__init__(host, port)
        self._ends = ends

    def connect(self) -> None:
        """Connect."""
        self.sock = _connected(self.host, self.port, self._ends)


class _TlsConnection(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int | None, ends: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, context=context)
        self._tls = context
        self._ends = ends

    def connect(self) -> None:
        """Connect and shake hands."""
        sock = self._tls.wrap_socket(_connected(self.host, self.port, self._ends), server_hostname=self.host)
        if isinstance(sock, _TlsSocket):
            sock.ends = self._ends
        self.sock = sock
