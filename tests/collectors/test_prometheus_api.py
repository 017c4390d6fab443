"""A Prometheus HTTP API that answers whole, in part, wrongly or not at all."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from collectors.errors import Misconfigured, Unavailable
from collectors.prometheus_api import PrometheusApi, QueryRefused
from collectors.prometheus_settings import PrometheusSettings


def vector(*values, **more):
    result = [{"metric": {"n": str(at)}, "value": [10, value]} for at, value in enumerate(values)]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}} | more)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.asked.append((self.path, form, dict(self.headers)))
        status, body = self.server.answers[min(len(self.server.asked), len(self.server.answers)) - 1]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@contextmanager
def prometheus(*answers):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.asked = answers, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked(server, pauses=None, **settings):
    waited = [] if pauses is None else pauses
    api = PrometheusApi(PrometheusSettings(url=f"{server.url}/prometheus", **settings), waited.append)
    return api.query("up", 1793494800)


def test_an_instant_query_gives_labels_and_values():
    with prometheus((200, vector("1.5", "NaN"))) as server:
        first, second = asked(server)
        assert (first.labels, first.value) == ({"n": "0"}, 1.5)
        assert second.value != second.value
        path, form, _ = server.asked[0]
    assert (path, form) == ("/prometheus/api/v1/query", {"query": ["up"], "time": ["1793494800.000"]})


def test_a_range_selector_gives_raw_samples():
    matrix = {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "2"], [3, "4"]]}]}
    with prometheus((200, json.dumps({"status": "success", "data": matrix}))) as server:
        assert asked(server)[0].points == ((1.0, 2.0), (3.0, 4.0))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again_after_longer_and_longer_pauses(status):
    pauses = []
    with prometheus((status, ""), (status, ""), (200, vector("1"))) as server:
        assert asked(server, pauses)[0].value == 1
    assert pauses == [2.0, 4.0]


def test_after_some_tries_it_is_away_and_nothing_is_booked():
    with (
        prometheus((503, "busy")) as server,
        pytest.raises(Unavailable, match="answers 503, 3 times: nothing is booked"),
    ):
        asked(server)


def test_nobody_there_is_said_with_the_address():
    api = PrometheusApi(PrometheusSettings(url="http://127.0.0.1:9"), lambda _: None)
    with pytest.raises(Unavailable, match=r"http://127.0.0.1:9 does not answer"):
        api.query("up", 0)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((422, json.dumps({"status": "error", "error": "too many samples"})), "answers 422 to up: too many samples"),
        ((200, vector("1", warnings=["store away"])), r"in part only \(store away\): nothing is booked"),
        ((200, vector("1", isPartial=True)), "in part only"),
        ((200, "<html>"), "no Prometheus API"),
        ((404, "not found"), "no Prometheus API: mend prometheus.url"),
        ((200, "{}"), "no Prometheus API"),
        ((200, json.dumps({"status": "success", "data": {"result": [{"metric": {}}]}})), "no Prometheus API"),
    ],
)
def test_half_an_answer_and_no_answer_are_refused_alike(answer, told):
    with prometheus(answer) as server, pytest.raises(Unavailable, match=told):
        asked(server)


@pytest.mark.parametrize(
    ("answer", "of_the_query"),
    [
        ((422, json.dumps({"status": "error", "error": "too many samples"})), True),
        ((200, vector("1", warnings=["store away"])), True),
        ((503, ""), False),
        ((404, "not found"), False),
    ],
)
def test_a_refusal_of_one_query_is_told_apart_from_a_server_that_does_not_answer(answer, of_the_query):
    with prometheus(answer) as server, pytest.raises(Unavailable) as told:
        asked(server)
    assert isinstance(told.value, QueryRefused) is of_the_query


def test_a_token_a_password_and_a_tenant_are_sent_and_never_told(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    with prometheus((403, "")) as server:
        with pytest.raises(Misconfigured) as token:
            asked(server, token_file=secret, tenant="ml")
        with pytest.raises(Misconfigured) as password:
            asked(server, username="me", password_file=secret)
        (_, _, first), (_, _, second) = server.asked
    assert (first["Authorization"], first["X-Scope-OrgID"]) == ("Bearer hush", "ml")
    assert second["Authorization"] == f"Basic {base64.b64encode(b'me:hush').decode()}"
    assert "hush" not in f"{token.value}{password.value}"


def test_a_secret_that_is_not_there_is_named(tmp_path):
    with prometheus((200, vector())) as server, pytest.raises(Misconfigured, match="none cannot be read"):
        asked(server, token_file=tmp_path / "none")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"url": "prometheus:9090"}, "http or https"),
        ({"url": "http://me:hush@prometheus:9090"}, "bears a name or a password .* set username and password_file"),
        ({"username": "me"}, "both or neither"),
        ({"username": "me", "password_file": "a", "token_file": "b"}, "one of the two"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, told):
    with pytest.raises(ValidationError, match=told):
        PrometheusSettings(**wrong)
