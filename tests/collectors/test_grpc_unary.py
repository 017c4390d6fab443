import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded

from collectors.errors import Misconfigured, Unavailable, Unsupported
from collectors.grpc_unary import CallFailed, UnaryCall, call_unary

METHOD = "/test.Echo/Echo"
OK_TRAILERS = [("grpc-status", "0")]
HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


@pytest.fixture(scope="module")
def real_server(tmp_path_factory):
    pytest.importorskip("grpc", reason="grpcio is not installed: pip install grpcio")
    path = tmp_path_factory.mktemp("grpc") / "s"
    command = [sys.executable, str(Path(__file__).with_name("grpc_kubelet.py")), str(path), ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "listening\n"
        yield path
        process.stdin.close()


@contextmanager
def serving(path, answer):
    """A server for one connection; ``answer`` gets the accepted socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept():
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                answer(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield UnaryCall(path, METHOD, timeout_seconds=2)
        finally:
            thread.join()


def speak_http2(*, headers=HEADERS, body=b"", trailers=None, reset=None):
    """An answer on HTTP/2 with what is given; no trailers ends the stream with the body."""

    def answer(connection):
        http = H2Connection(H2Configuration(client_side=False))
        http.initiate_connection()
        while not any(isinstance(event, StreamEnded) for event in http.receive_data(connection.recv(65_536))):
            connection.sendall(http.data_to_send())
        if reset is not None:
            http.reset_stream(1, reset)
        else:
            http.send_headers(1, headers, end_stream=not body and trailers is None)
            if body:
                http.send_data(1, body, end_stream=trailers is None)
            if trailers is not None:
                http.send_headers(1, trailers, end_stream=True)
        connection.sendall(http.data_to_send())
        while connection.recv(65_536):
            pass

    return answer


def send(data):
    def answer(connection):
        connection.recv(65_536)
        connection.sendall(data)

    return answer


def message(data, *, length=None, compressed=0):
    return struct.pack(">BI", compressed, len(data) if length is None else length) + data


@pytest.mark.parametrize("size", [0, 1, 16_000])
def test_a_real_server_gets_the_request_and_gives_the_answer(real_server, size):
    request = os.urandom(size)
    assert call_unary(UnaryCall(real_server, METHOD), request) == request


def test_a_request_over_one_frame_is_a_mistake_of_the_caller(tmp_path):
    with pytest.raises(ValueError, match="request of 16001 bytes; allowed: 16000"):
        call_unary(UnaryCall(tmp_path / "s", METHOD), bytes(16_001))


def test_an_answer_of_many_windows_comes_whole(real_server):
    assert call_unary(UnaryCall(real_server, "/test.Sizes/5000000", timeout_seconds=30), b"") == b"x" * 5_000_000


def test_an_answer_over_the_limit_is_refused(real_server):
    call = UnaryCall(real_server, "/test.Sizes/1001", max_message_bytes=1000)
    with pytest.raises(Unavailable, match=r"over the limit of 1000 bytes \(1001 announced\)"):
        call_unary(call, b"")
    assert len(call_unary(UnaryCall(real_server, "/test.Sizes/1000", max_message_bytes=1000), b"")) == 1000


@pytest.mark.parametrize(
    ("name", "code"), [("RESOURCE_EXHAUSTED", 8), ("PERMISSION_DENIED", 7), ("INTERNAL", 13), ("UNAVAILABLE", 14)]
)
def test_an_error_status_is_an_error_with_its_name_and_text(real_server, name, code):
    with pytest.raises(CallFailed, match=rf"answers {name} \({code}\): first line\nü 100%") as failure:
        call_unary(UnaryCall(real_server, f"/test.Errors/{name}"), b"")
    assert failure.value.code == code


def test_a_method_that_the_server_does_not_know_is_unsupported(real_server):
    with pytest.raises(Unsupported, match=r"/test\.Other/Nothing at .* answers UNIMPLEMENTED \(12\)"):
        call_unary(UnaryCall(real_server, "/test.Other/Nothing"), b"")


def test_a_slow_server_is_left_at_the_deadline(real_server):
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"did not answer within 0\.2 s|DEADLINE_EXCEEDED"):
        call_unary(UnaryCall(real_server, "/test.Delays/Slow", timeout_seconds=0.2), b"")
    assert time.monotonic() - start < 2


def test_a_server_that_drips_bytes_is_left_at_the_deadline(tmp_path):
    def drip(connection):
        try:
            while True:
                connection.sendall(b"\0\0\0\4\0\0\0\0\0")  # an empty SETTINGS frame
                time.sleep(0.01)
        except OSError:
            return

    with serving(tmp_path / "s", drip) as call, pytest.raises(Unavailable, match=r"did not answer within 0\.2 s"):
        call_unary(UnaryCall(call.socket_path, METHOD, timeout_seconds=0.2), b"")


def test_no_socket_says_what_to_mount(tmp_path):
    with pytest.raises(Unavailable, match=r"no socket .*/none: mount its directory"):
        call_unary(UnaryCall(tmp_path / "none", METHOD), b"")


def test_a_socket_that_nobody_listens_on_says_so(tmp_path):
    with socket.socket(socket.AF_UNIX) as unheard:
        unheard.bind(str(tmp_path / "s"))
    with pytest.raises(Unavailable, match=r"nobody listens on socket .*/s"):
        call_unary(UnaryCall(tmp_path / "s", METHOD), b"")


def test_a_path_that_no_socket_can_have_is_misconfigured(tmp_path):
    with pytest.raises(Misconfigured, match="allowed: a unix socket's path"):
        call_unary(UnaryCall(tmp_path / ("x" * 200), METHOD), b"")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "does not speak gRPC"),
        (send(random.Random(1).randbytes(4096)), "does not speak gRPC"),
        (send(b""), "closed the connection|broke off"),
        (speak_http2(trailers=OK_TRAILERS), "says OK and gives no message"),
        (speak_http2(body=message(b"abc", length=100), trailers=OK_TRAILERS), "gives 3 bytes of a message of 100"),
        (speak_http2(body=message(b"abc") + message(b""), trailers=OK_TRAILERS), "gives 8 bytes of a message of 3"),
        (speak_http2(body=message(b"abc", compressed=1), trailers=OK_TRAILERS), "a compressed message"),
        (speak_http2(body=message(b"abc")), "without a gRPC status"),
        (speak_http2(headers=[(":status", "404")], body=b"not found"), "answers HTTP status 404, not gRPC"),
        (speak_http2(body=message(b"abc"), trailers=[("grpc-status", "x")]), "without a gRPC status"),
        (speak_http2(body=message(b"abc"), trailers=[("grpc-status", "0" * 5000)]), "without a gRPC status"),
        (speak_http2(body=message(b"abc"), trailers=[("grpc-status", "99")]), r"an unknown status \(99\)"),
        (speak_http2(body=message(b"", length=2**31), trailers=OK_TRAILERS), r"limit of 16777216 bytes \(2147483648"),
        (speak_http2(reset=8), r"reset the call \(HTTP/2 error .*8"),
    ],
)
def test_an_answer_that_is_not_whole_is_never_an_answer(tmp_path, answer, words):
    with serving(tmp_path / "s", answer) as call, pytest.raises(Unavailable, match=words):
        call_unary(call, b"")


def test_an_error_status_wins_over_a_message(tmp_path):
    answer = speak_http2(body=message(b"abc"), trailers=[("grpc-status", "13"), ("grpc-message", "broken")])
    with serving(tmp_path / "s", answer) as call, pytest.raises(CallFailed, match=r"INTERNAL \(13\): broken"):
        call_unary(call, b"")


@pytest.mark.parametrize("seed", range(40))
def test_noise_within_a_good_answer_is_refused_or_does_no_harm(tmp_path, seed):
    noise = random.Random(seed)
    good = H2Connection(H2Configuration(client_side=False))
    good.initiate_connection()
    frames = bytearray(good.data_to_send())
    frames += b"\0\0\x0f\1\4\0\0\0\1" + noise.randbytes(15) + b"\0\0\5\0\1\0\0\0\1" + message(b"")
    for _ in range(noise.randint(0, 4)):
        frames[noise.randrange(len(frames))] = noise.randrange(256)
    with serving(tmp_path / "s", send(bytes(frames))) as call, pytest.raises(Unavailable):
        call_unary(call, b"")


def test_the_transport_brings_no_grpc_library_with_it():
    code = "import sys, collectors.pod_resources; sys.exit('grpc' in sys.modules or 'google' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
