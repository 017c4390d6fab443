"""Many agents' journals at once, and each that does not give one told by name."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from collectors.errors import Misconfigured
from collectors.journal_pull import AgentAddress, Journal, JournalPull, Silent


class Agents(ThreadingHTTPServer):
    request_queue_size = 512
    block_on_close = False

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.asked = []
        self.now = 0
        self.most = 0
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        with self.server.lock:
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
            self.server.asked.append((self.path, self.headers.get("Authorization")))
        try:
            status, body, length = self.server.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(length or len(body)))
            self.end_headers()
            self.wfile.write(body)
        finally:
            with self.server.lock:
                self.server.now -= 1

    def log_message(self, *_):
        pass


def journal(path, node=None):
    name = node or path.split("/")[1]
    body = {"node": name, "source": "nvml", "change": 7, "hours": [{"hour_utc": "2026-11-22T06:00:00Z"}]}
    return 200, json.dumps(body).encode(), None


@contextmanager
def agents(answer=journal):
    server = Agents(answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def one(server, **options):
    (told,) = JournalPull(**options).pull([(AgentAddress(f"{server.url}/a", "a"), "")])
    return told


def test_a_thousand_agents_answer_and_no_more_than_allowed_are_asked_at_once():
    with agents() as server:
        asked = [(AgentAddress(f"{server.url}/n{n}", f"n{n}"), "change:3") for n in range(1000)]
        told = list(JournalPull(at_once=16).pull(asked))
        assert sorted(each.node for each in told) == sorted(f"n{n}" for n in range(1000))
        assert server.most <= 16
        assert {path.split("?")[1] for path, _ in server.asked} == {"since=change%3A3"}


def test_an_answer_has_the_hours_and_what_to_ask_with_next_time():
    with agents() as server:
        told = one(server)
    assert isinstance(told, Journal)
    assert (told.node, told.source, told.change, len(told.hours)) == ("a", "nvml", 7, 1)


def test_the_token_is_sent_and_read_again(tmp_path):
    file = tmp_path / "token"
    with agents() as server:
        pull = JournalPull(token_file=file)
        for word in ("one", "two"):
            file.write_text(word + "\n")
            list(pull.pull([(AgentAddress(server.url + "/a"), "")]))
        assert [sent for _, sent in server.asked] == ["Bearer one", "Bearer two"]


def test_a_token_that_is_not_there_stops_the_pull_with_its_file(tmp_path):
    with pytest.raises(Misconfigured, match=r"token .*/none cannot be read"):
        list(JournalPull(token_file=tmp_path / "none").pull([]))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: journal("", node="b"), "serves those of b: nothing of it is booked"),
        (lambda _: (200, b"<html>", None), "is it a wattledger agent"),
        (lambda _: (200, b"[]", None), "is it a wattledger agent"),
        (lambda _: (401, b"", None), "refuses the token"),
        (lambda _: (503, b"", None), "answered 503"),
        (lambda _: (200, b'{"node', 4000), "does not answer"),
        (lambda _: (200, b" " * 2000, None), "more than 1000 bytes"),
    ],
)
def test_an_agent_that_gives_no_journal_is_silent_with_the_reason(answer, reason):
    with agents(answer) as server:
        told = one(server, most_bytes=1000)
    assert isinstance(told, Silent)
    assert reason in told.reason


def test_an_agent_that_is_not_there_holds_up_no_other():
    with agents() as server:
        asked = [(AgentAddress("http://127.0.0.1:9", "gone"), ""), (AgentAddress(server.url + "/a", "a"), "")]
        told = {each.address.node: type(each) for each in JournalPull().pull(asked)}
    assert told == {"gone": Silent, "a": Journal}


@pytest.mark.parametrize("url", ["http://a..b:9477", "http://a:99999", "a:9477"])
def test_an_address_that_is_none_holds_up_no_other(url):
    with agents() as server:
        asked = [(AgentAddress(url), ""), (AgentAddress(server.url + "/a", "a"), "")]
        told = {each.address.url: each for each in JournalPull().pull(asked)}
    assert isinstance(told[server.url + "/a"], Journal)
    assert "is no address" in told[url].reason


def test_an_agent_that_hangs_is_given_up_when_its_time_is_over():
    release = threading.Event()
    with agents(lambda path: release.wait(30) and journal(path)) as server:
        began = time.monotonic()
        told = one(server, seconds=0.2)
        release.set()
    assert isinstance(told, Silent)
    assert time.monotonic() - began < 20


def test_an_address_that_is_none_is_told():
    (told,) = JournalPull().pull([(AgentAddress("node-1:9477"), "")])
    assert "write http://HOST:PORT" in told.reason


def test_states_are_asked_for_and_each_that_gives_none_is_told_by_name():
    def answer(path):
        said = {"/good/v1/state": b'{"node": "good"}', "/other/v1/state": b'{"node": "good"}', "/odd/v1/state": b"[]"}
        return 200, said.get(path, b"<html>"), None

    names = ("good", "other", "odd", "page")
    with agents(answer) as server:
        asked = [AgentAddress(f"{server.url}/{name}", name) for name in names]
        told = {each.address.node: each for each in JournalPull().states(asked)}
    assert told["good"].state == {"node": "good"}
    assert "is asked for the state of other and serves that of good" in told["other"].reason
    assert "answered what is no state" in told["odd"].reason
    assert "answered what is no JSON" in told["page"].reason
