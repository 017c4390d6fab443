"""One gRPC call with one answer over a unix socket, on ``h2`` alone: no grpc library, no thread, no kept connection.

Owns deadline, size cap and the meaning of ``grpc-status``; knows no service. An answer counts only when its status is
OK and its message is whole: an error is never an empty answer.
"""

import contextlib
import re
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error

from collectors.errors import Misconfigured, Unavailable, Unsupported

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Default cap of an answer, as the kubelet's own clients have it."""
TIMEOUT_SECONDS = 2.0
"""Default deadline of a call, from connecting to the last byte."""

MAX_REQUEST_BYTES = 16_000
"""Most bytes of a request: it is sent in one frame."""

_PREFIX = struct.Struct(">BI")
_STATUS = re.compile("[0-9]{1,3}")
_FRAME_TYPE_AT, _SETTINGS = 3, 4
_BLOCK_BYTES = 65_536
_OK, _UNIMPLEMENTED = 0, 12
_STATUS_NAMES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


class CallFailed(Unavailable):
    """The server answered with a status other than OK; ``code`` is gRPC's number of it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class UnaryCall:
    """Where to call and within which bounds."""

    socket_path: Path
    method: str
    """Full path, ``/package.Service/Method``."""
    timeout_seconds: float = TIMEOUT_SECONDS
    max_message_bytes: int = MAX_MESSAGE_BYTES

    def __str__(self) -> str:
        return f"{self.method} at {self.socket_path}"


def call_unary(call: UnaryCall, request: bytes) -> bytes:
    """Send one serialised request of at most ``MAX_REQUEST_BYTES``; the serialised answer.

    Raises:
        CallFailed: the server's status is not OK.
        Unsupported: the server does not know the method.
        Unavailable: no socket, nobody listening, no right to it, no answer in time, an answer that is too large, cut
            off or not gRPC.
        Misconfigured: the socket's path is no possible one.
    """
    if len(request) > MAX_REQUEST_BYTES:
        raise ValueError(f"request of {len(request)} bytes; allowed: {MAX_REQUEST_BYTES}")
    # Sockets wait in real time, so their deadline is real time too.
    deadline = time.monotonic() + call.timeout_seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            _connect(connection, call)
            return _Exchange(call, connection, deadline).run(request)
        except TimeoutError as error:
            raise Unavailable(f"{call} did not answer within {call.timeout_seconds:g} s; is it overloaded?") from error
        except H2Error as error:
            raise Unavailable(f"{call} does not speak gRPC: {error}; is it another program's socket?") from error
        except OSError as error:
            raise Unavailable(f"{call} broke off: {error.strerror or error}; is it restarting?") from error


def _connect(connection: socket.socket, call: UnaryCall) -> None:
    connection.settimeout(call.timeout_seconds)
    path = call.socket_path
    try:
        connection.connect(str(path))
    except FileNotFoundError as error:
        raise Unavailable(f"no socket {path}: mount its directory (not the file) from the node") from error
    except PermissionError as error:
        raise Unavailable(f"no right to socket {path}: its directory is for uid 0, run as root") from error
    except ConnectionRefusedError as error:
        raise Unavailable(f"nobody listens on socket {path}; its owner is stopped or restarting") from error
    except TimeoutError:
        raise
    except OSError as error:
        raise Misconfigured(f"cannot connect to {path}: {error}; allowed: a unix socket's path") from error


class _Exchange:
    """The one stream of one connection, from request to status."""

    def __init__(self, call: UnaryCall, connection: socket.socket, deadline: float) -> None:
        self._call = call
        self._socket = connection
        self._deadline = deadline
        self._http = H2Connection(H2Configuration(client_side=True))
        self._stream_id = 0
        self._body = bytearray()
        self._headers: dict[str, str] = {}
        self._ended = False

    def run(self, request: bytes) -> bytes:
        self._send_request(request)
        block = self._receive()
        if len(block) > _FRAME_TYPE_AT and block[_FRAME_TYPE_AT] != _SETTINGS:
            raise Unavailable(f"{self._call} does not speak gRPC: it starts {block[:16]!r}")
        while True:
            self._take(self._http.receive_data(block))
            if self._ended:
                break
            self._flush()
            block = self._receive()
        answer = self._answer()
        with contextlib.suppress(H2Error, OSError):
            self._http.close_connection()
            self._flush()
        return answer

    def _send_request(self, request: bytes) -> None:
        self._http.initiate_connection()
        self._stream_id = self._http.get_next_available_stream_id()
        milliseconds = max(1, round(self._call.timeout_seconds * 1000))
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", self._call.method),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", f"{milliseconds}m"),
            ("user-agent", "wattledger"),
        ]
        self._http.send_headers(self._stream_id, headers)
        self._http.send_data(self._stream_id, _PREFIX.pack(0, len(request)) + request, end_stream=True)
        self._flush()

    def _receive(self) -> bytes:
        self._socket.settimeout(self._seconds_left())
        block = self._socket.recv(_BLOCK_BYTES)
        if not block:
            raise Unavailable(f"{self._call} closed the connection before its answer was whole")
        return block

    def _seconds_left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _flush(self) -> None:
        data = self._http.data_to_send()
        if data:
            self._socket.settimeout(self._seconds_left())
            self._socket.sendall(data)

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, ResponseReceived | TrailersReceived):
                self._headers.update({_text(name): _text(value) for name, value in event.headers or ()})
                self._check_http_status()
            elif isinstance(event, DataReceived):
                self._take_data(event)
            elif isinstance(event, StreamEnded):
                self._ended = True
            elif isinstance(event, StreamReset):
                raise Unavailable(f"{self._call} reset the call (HTTP/2 error {event.error_code})")
            elif isinstance(event, ConnectionTerminated) and event.error_code:
                raise Unavailable(f"{self._call} ended the connection (HTTP/2 error {event.error_code})")

    def _take_data(self, event: DataReceived) -> None:
        self._body += event.data
        limit = self._call.max_message_bytes
        announced = _PREFIX.unpack_from(self._body)[1] if len(self._body) >= _PREFIX.size else 0
        if announced > limit or len(self._body) > limit + _PREFIX.size:
            raise Unavailable(f"{self._call} answers with over the limit of {limit} bytes ({announced} announced)")
        self._http.acknowledge_received_data(event.flow_controlled_length, self._stream_id)

    def _answer(self) -> bytes:
        self._check_status()
        if len(self._body) < _PREFIX.size:
            raise Unavailable(f"{self._call} says OK and gives no message")
        compressed, length = _PREFIX.unpack_from(self._body)
        if compressed:
            raise Unavailable(f"{self._call} answers with a compressed message, which was not offered")
        message = bytes(self._body[_PREFIX.size :])
        if len(message) != length:
            raise Unavailable(f"{self._call} gives {len(message)} bytes of a message of {length}")
        return message

    def _check_http_status(self) -> None:
        status = self._headers.get(":status")
        if status != "200":
            raise Unavailable(f"{self._call} answers HTTP status {status}, not gRPC; is it another program's socket?")

    def _check_status(self) -> None:
        status = self._headers.get("grpc-status", "")
        if _STATUS.fullmatch(status) is None:
            raise Unavailable(f"{self._call} ends its answer without a gRPC status; its message is not used")
        code = int(status)
        if code == _OK:
            return
        name = _STATUS_NAMES[code] if code < len(_STATUS_NAMES) else "an unknown status"
        text = f"{self._call} answers {name} ({code}): {unquote(self._headers.get('grpc-message', ''))}"
        if code == _UNIMPLEMENTED:
            raise Unsupported(text)
        raise CallFailed(text, code)


def _text(header: bytes | str) -> str:
    return header if isinstance(header, str) else header.decode("ascii", "replace")
