"""The Lease on the wire: what is sent, and how each answer is taken."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from collectors.errors import Unavailable, Unsupported
from collectors.kube_api import KubeApi
from collectors.kube_endpoint import KubeEndpoint
from collectors.kube_errors import Forbidden
from collectors.kube_lease import KubeLease

FOLDER = "/apis/coordination.k8s.io/v1/namespaces/gpu%20ops/leases"


class Server(ThreadingHTTPServer):
    """Keeps Leases as the API server does: one version after another, written only upon the last."""

    def __init__(self):
        self.kept, self.version, self.asked, self.answer = {}, 7, [], None
        super().__init__(("127.0.0.1", 0), self.handler())

    def take(self, method, path, body):
        self.asked.append((method, path, body))
        if self.answer:
            return self.answer
        if method == "GET":
            return (200, self.kept[path]) if path in self.kept else (404, {"reason": "NotFound"})
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            return (409, {"reason": "AlreadyExists"}) if path in self.kept else self.store(path, body, 201)
        if self.kept[path]["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            return 409, {"reason": "Conflict"}
        return self.store(path, body, 200)

    def store(self, path, body, status):
        self.version += 1
        self.kept[path] = body | {"metadata": body["metadata"] | {"resourceVersion": str(self.version)}}
        return status, self.kept[path]

    def handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def reply(self):
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length)) if length else None
                status, said = server.take(self.command, self.path.partition("?")[0], body)
                data = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = reply  # noqa: N815

            def log_message(self, *_):
                """Nothing."""

        return Handler


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def lease(server):
    api = KubeApi(KubeEndpoint(f"http://127.0.0.1:{server.server_port}"), timeout_seconds=5)
    return KubeLease(api, "gpu ops", "books")


def test_none_is_there_at_first(lease):
    assert lease.read() is None


def test_what_is_written_is_read(lease, server):
    assert lease.write("a", 14.2, None)
    found = lease.read()
    assert (found.holder, found.duration_seconds, found.transitions, found.version) == ("a", 15, 0, "8")
    assert server.asked[0][:2] == ("POST", FOLDER)


def test_a_new_holder_is_a_transition_and_a_renewal_none(lease):
    lease.write("a", 15, None)
    lease.write("a", 15, lease.read())
    assert lease.read().transitions == 0
    lease.write("b", 15, lease.read())
    assert lease.read().transitions == 1


def test_who_comes_second_has_not_written(lease):
    lease.write("a", 15, None)
    seen = lease.read()
    assert lease.write("b", 15, seen)
    assert not lease.write("c", 15, seen)
    assert not lease.write("d", 15, None)
    assert lease.read().holder == "b"


def test_a_right_that_is_missing_is_named(lease, server):
    server.answer = 403, {"reason": "Forbidden"}
    with pytest.raises(Forbidden, match="the verbs get, create and update on leases of coordination"):
        lease.read()


def test_a_namespace_that_is_not_there_is_an_error_when_writing(lease, server):
    server.answer = 404, {"reason": "NotFound", "message": 'namespaces "gpu ops" not found'}
    with pytest.raises(Unsupported, match="not found"):
        lease.write("a", 15, None)


def test_a_server_in_trouble_is_unavailable(lease, server):
    server.answer = 500, {"message": "etcd is away"}
    with pytest.raises(Unavailable, match="etcd is away"):
        lease.write("a", 15, None)
