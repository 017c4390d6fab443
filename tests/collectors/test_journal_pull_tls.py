"""The agents' journals over TLS, from the server that agents serve with: whom we trust, and what is said otherwise."""

import json
from contextlib import contextmanager

import pytest

from collectors.errors import Misconfigured
from collectors.journal_pull import AgentAddress, Journal, JournalPull, Silent
from exporters.http_routes import JSON, Answer, Routes
from exporters.http_secrets import Token
from exporters.http_server import serve_site
from exporters.server_settings import ServerSettings
from tests.certificates import self_signed

pytestmark = pytest.mark.tool("openssl")
JOURNAL = {"node": "a", "source": "nvml", "change": 7, "hours": [{"hour_utc": "2026-11-22T06:00:00Z"}]}


@pytest.fixture
def certificate(require_tool, tmp_path):
    return lambda *named: self_signed(require_tool("openssl"), tmp_path, *named)


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text("s3cr3t\n")
    return file


@contextmanager
def agent(tls, token):
    """An agent's server; the addresses of who was let in are noted."""
    asked = []

    def hours(query, _headers):
        asked.append(query)
        return Answer(200, JSON, json.dumps(JOURNAL).encode())

    files = dict(zip(("tls_cert_file", "tls_key_file"), tls, strict=False))
    settings = ServerSettings(listen="127.0.0.1:0", **files)
    server = serve_site(settings, Routes({"/v1/hours": hours}, Token(token)))
    try:
        yield server.url, asked
    finally:
        server.close()


def pulled(url, **trust):
    (told,) = JournalPull(**trust).pull([(AgentAddress(url, "a"), "change:3")])
    return told


def test_an_agent_whose_authority_is_known_is_asked_with_the_token(certificate, token):
    tls = certificate()
    with agent(tls, token) as (url, asked):
        assert url.startswith("https://")
        told = pulled(url, ca_file=tls[0], token_file=token)
        assert isinstance(told, Journal)
        assert (told.node, told.change, told.hours) == ("a", 7, tuple(JOURNAL["hours"]))
        assert asked == ["since=change%3A3"]


def test_without_the_token_it_lets_nobody_in(certificate, token):
    tls = certificate()
    with agent(tls, token) as (url, asked):
        told = pulled(url, ca_file=tls[0])
        assert told.reason == "refuses the token (401): set controller.agents.token_file to the agents' own"
        assert asked == []


@pytest.mark.parametrize("known", [False, True], ids=["the system's authorities", "another authority"])
def test_who_nobody_vouches_for_is_not_asked_and_the_remedy_is_named(certificate, token, known):
    trust = {"ca_file": certificate("other")[0]} if known else {}
    with agent(certificate(), token) as (url, asked):
        told = pulled(url, token_file=token, **trust)
        assert isinstance(told, Silent)
        assert told.reason.startswith("shows a certificate that is not accepted (self-signed certificate)")
        assert told.reason.endswith(": set controller.agents.ca_file to what the agents' are signed with")
        assert asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_of_another_host_is_not_accepted(certificate, token, host):
    tls = certificate("elsewhere", "DNS:gpu-1.example")
    with agent(tls, token) as (url, asked):
        told = pulled(url.replace("127.0.0.1", host), ca_file=tls[0], token_file=token)
        assert f"certificate is not valid for '{host}')" in told.reason
        assert "give the agent one that bears the host of its address (subjectAltName)" in told.reason
        assert asked == []


def test_an_agent_without_tls_is_told_by_its_address(certificate, token):
    with agent((), token) as (url, _):
        told = pulled(url.replace("http:", "https:"), ca_file=certificate()[0])
        assert "is it http:// where its address says https://?" in told.reason


def test_certificates_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(Misconfigured, match=r"the certificates in .*none\.pem cannot be read: .*No such file"):
        pulled("https://127.0.0.1:1", ca_file=tmp_path / "none.pem")
    (tmp_path / "empty.pem").write_text("nothing\n")
    with pytest.raises(Misconfigured, match=r"the certificates in .*empty\.pem cannot be read"):
        pulled("https://127.0.0.1:1", ca_file=tmp_path / "empty.pem")
