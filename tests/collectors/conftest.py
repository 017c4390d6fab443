"""A metadata server of our own, on the loopback, that the tests script."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


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
