"""Servers of our own on the loopback that the tests script: metadata, AWS; and moto's."""

import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.collectors.aws_server import AwsServer


class ScriptedServer:
    """Answers each ``METHOD path`` with (status, headers, body); what is not scripted is 404. Keeps what was asked."""

    def __init__(self):
        self.answers = {}
        self.asked = []
        self.silence = threading.Event()
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                scripted.asked.append((f"{self.command} {self.path}", dict(self.headers.items())))
                status, headers, body = scripted.answers.get(f"{self.command} {self.path}", (404, {}, "not found"))
                if status is None:
                    scripted.silence.wait(10)
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = answer  # noqa: N815  (the standard library calls it so)
            do_PUT = answer  # noqa: N815

            def log_message(self, *_words):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self.silence.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def metadata_server():
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture
def closed_port():
    """The URL of a port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def credentials(monkeypatch):
    """Nobody's."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def aws(credentials):
    """AWS's services as the tests script them."""
    server = AwsServer()
    yield server
    server.close()


@pytest.fixture
def moto(credentials):
    """The address of moto's server, a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{url}/moto-api/", timeout=1):
                break
        except OSError:
            time.sleep(0.1)
    yield url
    server.terminate()
    server.wait()
