"""Connections that are kept for the next request, and those that must not be."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from collectors import kube_transport
from collectors.errors import Unavailable
from collectors.kube_api import KubeApi
from collectors.kube_endpoint import KubeEndpoint

SAID = json.dumps({"metadata": {"name": "x", "resourceVersion": "1"}}).encode()


class Server(ThreadingHTTPServer):
    """Answers everything alike, and counts connections and requests."""

    daemon_threads = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.connections, self.open, self.asked = 0, 0, []
        self.chunked = self.closes = self.hangs_up = self.fails = False
        self.ended = threading.Condition()

    def wait_for_end(self):
        with self.ended:
            assert self.ended.wait_for(lambda: self.open == 0, 10)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def setup(self):
        super().setup()
        with self.server.ended:
            self.server.connections += 1
            self.server.open += 1

    def finish(self):
        super().finish()
        self.server.shutdown_request(self.connection)
        with self.server.ended:
            self.server.open -= 1
            self.server.ended.notify_all()

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(self.command)
        self.send_response(500 if self.server.fails else 200)
        if self.server.closes:
            self.send_header("Connection", "close")
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(SAID), SAID))
        else:
            self.send_header("Content-Length", str(len(SAID)))
            self.end_headers()
            self.wfile.write(SAID)
        if self.server.hangs_up:
            self.close_connection = True

    do_PATCH = do_GET  # noqa: N815

    def log_message(self, *_words):
        pass


@pytest.fixture
def server():
    standing = Server()
    thread = threading.Thread(target=standing.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield standing
    standing.shutdown()
    standing.server_close()
    thread.join()


@pytest.fixture
def api(server):
    client = KubeApi(KubeEndpoint(f"http://127.0.0.1:{server.server_port}"), keep_connections=True)
    yield client
    client.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_connection_serves_one_request_after_another(server, api, chunked):
    server.chunked = chunked
    for _ in range(5):
        assert api.patch("/x", {"a": 1})["metadata"] == {"name": "x", "resourceVersion": "1"}
    assert (server.connections, len(server.asked)) == (1, 5)


def test_none_is_kept_unless_that_was_wished(server):
    api = KubeApi(KubeEndpoint(f"http://127.0.0.1:{server.server_port}"))
    for _ in range(3):
        api.get("/x")
    assert server.connections == 3


def test_one_that_the_server_has_closed_is_not_written_to(server, api):
    server.hangs_up = True
    for _ in range(3):
        api.patch("/x", {})
        server.wait_for_end()
    assert (server.connections, server.asked) == (3, ["PATCH"] * 3)


def test_one_that_the_server_will_close_is_not_kept(server, api):
    server.closes = True
    for _ in range(3):
        api.get("/x")
    assert server.connections == 3


def test_one_that_failed_is_not_kept(server, api):
    server.fails = True
    for _ in range(2):
        with pytest.raises(Unavailable, match="HTTP 500"):
            api.get("/x")
    assert server.connections == 2


@pytest.mark.parametrize("limit", ["IDLE_SECONDS", "KEPT_SECONDS"])
def test_one_that_is_old_is_not_used_again(server, api, monkeypatch, limit):
    monkeypatch.setattr(kube_transport, limit, 0.0)
    for _ in range(3):
        api.get("/x")
    assert server.connections == 3


def test_threads_share_them_and_none_has_more_than_one(server, api):
    gate = threading.Barrier(4)

    def ask():
        gate.wait()
        for _ in range(10):
            api.get("/x")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 40
    assert server.connections <= 4
