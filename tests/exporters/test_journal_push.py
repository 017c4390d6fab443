"""The open hour on its way to the controller, through real sockets."""

import logging
import socket
import threading
import time
from http import HTTPStatus

import pytest

from exporters.http_routes import Routes, say
from exporters.http_server import serve_site
from exporters.journal_push import JournalPush
from exporters.server_settings import ServerSettings


class Controller(Routes):
    most_body_bytes = 1 << 20

    def __init__(self):
        super().__init__({})
        self.taken = []

    def refusal(self, target, headers):
        return None if headers.get("Authorization") == "Bearer mine" else say(HTTPStatus.UNAUTHORIZED, "not yours")

    def post(self, target, headers, body):
        self.taken.append((target, headers["Content-Type"], body))
        return say(HTTPStatus.OK, "booked")


@pytest.fixture
def controller():
    site = Controller()
    server = serve_site(ServerSettings(listen="127.0.0.1:0"), site)
    yield server.url, site.taken
    server.close()


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text("mine\n")
    return file


def test_the_hour_arrives_whole(controller, token):
    url, taken = controller
    assert JournalPush(url, token).push(b'{"hours":[]}')
    assert taken == [("/api/v1/hours", "application/json", b'{"hours":[]}')]


def test_a_path_before_it_is_kept(controller, token):
    url, taken = controller
    assert JournalPush(f"{url}/books/", token).push(b"{}")
    assert taken[0][0] == "/books/api/v1/hours"


def test_a_refusal_is_told_once_and_is_no_error(controller, token, caplog):
    token.write_text("other")
    assert not JournalPush(controller[0], token).push(b"{}")
    assert caplog.messages == [f"the open hour was not sent to {controller[0]}: it answered 401: not yours"]


def test_a_controller_that_never_answers_does_not_hold_the_agent(token, caplog):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        began = time.monotonic()
        assert not JournalPush(f"http://127.0.0.1:{deaf.getsockname()[1]}", token, seconds=0.3).push(b"{}")
        assert time.monotonic() - began < 5
    assert "time" in caplog.messages[0] or "no answer within" in caplog.messages[0]
    for thread in threading.enumerate():
        if thread.name == "push":
            thread.join(5)


@pytest.mark.parametrize(
    ("url", "said"), [("http://127.0.0.1:9", "refused"), ("http://no.such.name.invalid:1", "not known")]
)
def test_nobody_there_is_said(url, said, token, caplog):
    caplog.set_level(logging.WARNING)
    assert not JournalPush(url, token, seconds=5).push(b"{}")
    assert said in caplog.messages[0].lower() or "resolution" in caplog.messages[0].lower()


def test_a_token_that_is_not_there_is_said(controller, tmp_path, caplog):
    assert not JournalPush(controller[0], tmp_path / "none").push(b"{}")
    assert "No such file" in caplog.messages[0]
