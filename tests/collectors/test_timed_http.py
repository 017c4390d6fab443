"""Whatever a server drips, status line, headers or body: who asks it is let go when the time is over."""

import threading
import time
from urllib.parse import urlsplit

import pytest

from collectors.errors import Unavailable
from collectors.journal_pull import AgentAddress, JournalPull
from collectors.prometheus_api import TRIES, PrometheusApi
from collectors.prometheus_settings import PrometheusSettings
from collectors.timed_http import connection_until
from tests.certificates import self_signed
from tests.collectors.dripping_server import BODY, HEADERS, STATUS_LINE, dripping

SECONDS = 0.15
A_MOMENT = 8.0
"""More than any of them takes on a busy machine, and less than a server drips."""


@pytest.fixture(params=[b"", STATUS_LINE, HEADERS, BODY], ids=["nothing", "status line", "headers", "body"])
def server(request):
    with dripping(request.param) as url:
        yield url


@pytest.fixture(autouse=True)
def prompt():
    began, threads = time.monotonic(), threading.active_count()
    yield
    assert time.monotonic() - began < A_MOMENT
    assert threading.active_count() <= threads


def test_an_agent_that_drips_is_silent_when_its_time_is_over(server):
    (told,) = JournalPull(seconds=SECONDS).pull([(AgentAddress(server, "a"), "")])
    assert told.reason == f"does not answer (no whole answer within {SECONDS} s): does the agent run there?"


@pytest.mark.tool("openssl")
@pytest.mark.parametrize("begin", [HEADERS, BODY], ids=["headers", "body"])
def test_so_is_one_that_drips_over_tls(require_tool, tmp_path, begin):
    tls = self_signed(require_tool("openssl"), tmp_path)
    with dripping(begin, tls) as url:
        (told,) = JournalPull(seconds=0.3, ca_file=tls[0]).pull([(AgentAddress(url, "a"), "")])
    assert "no whole answer within 0.3 s" in told.reason


def test_a_prometheus_that_drips_is_away_when_its_time_is_over(server):
    api = PrometheusApi(PrometheusSettings(url=server, timeout_seconds=SECONDS), lambda _: None)
    with pytest.raises(Unavailable, match=rf"no whole answer within {SECONDS} s\), {TRIES} times"):
        api.query("up", 0)


def test_a_time_that_is_over_opens_no_connection():
    with pytest.raises(TimeoutError):
        connection_until(time.monotonic() - 1, urlsplit("http://127.0.0.1:9"), None).connect()
