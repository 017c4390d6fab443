from pathlib import Path

import pytest
from pydantic import ValidationError

from exporters.server_settings import ServerSettings, split_address


def test_defaults_are_loopback_without_token_or_tls():
    assert ServerSettings().model_dump() == {
        "listen": "127.0.0.1:9477",
        "token_file": None,
        "tls_cert_file": None,
        "tls_key_file": None,
        "request_timeout_seconds": 10.0,
        "max_connections": 32,
    }


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9477", ("127.0.0.1", 9477)),
        ("[::1]:0", ("::1", 0)),
        ("node-1.example:80", ("node-1.example", 80)),
    ],
)
def test_an_address_is_host_and_port(listen, address):
    assert split_address(listen) == address


@pytest.mark.parametrize(
    "listen", ["", "9477", ":9477", "host:", "host:http", "host:65536", "::1:9477", "host:-1", "h:²"]
)
def test_anything_else_is_refused_with_what_is_allowed(listen):
    with pytest.raises(ValidationError, match=r"allowed: HOST:PORT, such as 127\.0\.0\.1:9477"):
        ServerSettings(listen=listen)


@pytest.mark.parametrize(("given", "missing"), [("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")])
def test_half_of_tls_is_refused_by_name(given, missing):
    with pytest.raises(ValidationError, match=f"{given} is given without {missing}, allowed: both or neither"):
        ServerSettings(**{given: Path("a.pem")})


def test_an_unknown_key_is_refused():
    with pytest.raises(ValidationError, match="tls_certificate"):
        ServerSettings(tls_certificate="a.pem")
