import re
import time

import pytest

from collectors.errors import Misconfigured, Unavailable
from collectors.openmetrics import PageRefused
from collectors.serving_fetch import fetch_page
from tests.engines.server import ScriptedEngine


@pytest.fixture
def engine():
    with ScriptedEngine("vllm", model="m") as engine:
        yield engine


def fetch(engine, **limits):
    return fetch_page(engine.url, **limits)


def test_a_page_is_fetched_whole(engine):
    page = fetch(engine)
    assert page.whole
    assert page.body == engine.page().encode()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("error", r"answers 500 .*: check the port and path of its metrics"),
        ("redirect", r"redirects \(302\), which is not followed: give the address of the page itself"),
        ("gzip", r"answers in 'gzip' although plain text was asked for: turn compression off"),
        ("cut", r"does not answer \(IncompleteRead\(\d+ bytes read, 100 more expected\)\)"),
    ],
)
def test_a_faulty_answer_names_the_page_and_the_remedy(engine, fault, message):
    engine.fault = fault
    with pytest.raises(Unavailable, match=re.escape(engine.url) + " " + message):
        fetch(engine)


@pytest.mark.parametrize("fault", ["endless", "silent"])
def test_a_page_that_does_not_end_is_given_up_in_time(engine, fault):
    engine.fault = fault
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"did not end within 0.3 s: .*raise serving.timeout_seconds"):
        fetch(engine, timeout_seconds=0.3)
    assert time.monotonic() - began < 20


def test_a_page_of_200_000_series_is_refused_by_its_size(engine):
    engine.fault = "huge"
    with pytest.raises(PageRefused, match="longer than the limit of 4194304 bytes"):
        fetch(engine, timeout_seconds=10)


def test_a_page_at_another_path_says_so(engine):
    with pytest.raises(Unavailable, match="answers 404"):
        fetch_page(engine.url + "/else")


def test_nobody_listening_says_so():
    with ScriptedEngine("vllm") as gone:
        url = gone.url
    with pytest.raises(Unavailable, match=r"does not answer .*refused.*check that the engine runs"):
        fetch_page(url)


def test_proxies_of_the_environment_are_not_used(engine, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert fetch(engine).body


@pytest.mark.parametrize(
    "url",
    ["", "10.0.0.1:8000", "ftp://h/m", "http://", "http://h:0/m", "http://u:p@h/m", "http://h/a b", "http://[::1/m"],
)
def test_what_is_no_address_is_told(url):
    with pytest.raises(Misconfigured, match="it has to be http://HOST:PORT/PATH"):
        fetch_page(url)
