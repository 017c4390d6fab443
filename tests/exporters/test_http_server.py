import concurrent.futures
import contextlib
import http.client
import logging
import shutil
import socket
import ssl
import time
from http import HTTPStatus
from pathlib import Path

import pytest

from collectors.errors import Misconfigured
from exporters import http_server
from exporters.http_routes import Routes, say
from exporters.http_server import serve, serve_site
from exporters.server_settings import ServerSettings

TOOL = pytest.mark.tool("openssl")


@pytest.fixture
def start(fake_app):
    """Starts servers on free ports and closes them."""
    running = []

    def start(app=None, **settings):
        server = serve(ServerSettings(**{"listen": "127.0.0.1:0", **settings}), app or fake_app.FakeApp())
        running.append(server)
        return server

    yield start
    for server in running:
        server.close()


def ask(server, path="/healthz", method="GET", context=None, **headers):
    host, port = server.address
    kind = http.client.HTTPSConnection if context else http.client.HTTPConnection
    connection = kind(host, port, timeout=10, **({"context": context} if context else {}))
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def say_raw(server, raw):
    """What a client that speaks for itself gets back."""
    with socket.create_connection(server.address, timeout=10) as client:
        client.sendall(raw)
        return b"".join(iter(lambda: client.recv(65536), b""))


def trusting(cert):
    return ssl.create_default_context(cafile=cert)


def test_it_answers_where_it_says(start):
    server = start()
    assert server.url == f"http://127.0.0.1:{server.address[1]}"
    status, headers, body = ask(server, "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert int(headers["Content-Length"]) == len(body)
    assert "Server" not in headers


def test_ipv6_is_as_good_or_said_to_be_absent(start):
    try:
        server = start(listen="[::1]:0")
    except Misconfigured as absent:
        assert "this machine has no such address" in str(absent)  # noqa: PT017  (a machine may have no IPv6)
        return
    assert server.url.startswith("http://[::1]:")
    assert ask(server)[0] == 200


def test_head_is_get_without_the_body(start):
    server = start()
    status, headers, body = ask(server, "/metrics", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(ask(server, "/metrics")[2])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_not_allowed(start, method):
    status, headers, body = ask(start(), "/metrics", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert body == b"method not allowed; there are GET and HEAD\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/3.0\r\n\r\n", b"505"),
    ],
)
def test_what_is_no_request_is_refused_plainly(start, raw, status):
    answer = say_raw(start(), raw)
    assert answer.split()[:2] == [b"HTTP/1.1", status]
    assert b"Traceback" not in answer
    assert b"<html" not in answer.lower()


def test_each_connection_carries_one_request(start):
    answer = say_raw(start(), b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in answer


def test_requests_leave_no_line_in_the_log(start, caplog, capfd):
    with caplog.at_level(logging.INFO):
        ask(start(), "/nothing")
    assert caplog.records == []
    assert capfd.readouterr().err == ""


def test_a_slow_client_is_cut_off_however_busily_it_drips(start):
    server = start(request_timeout_seconds=0.5)
    with socket.create_connection(server.address, timeout=10) as client:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 30:
                client.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() - began < 20


def test_silent_clients_hold_no_place_for_long(start):
    server = start(request_timeout_seconds=0.5, max_connections=2)
    silent = [socket.create_connection(server.address, timeout=10) for _ in range(2)]
    try:
        assert [client.recv(1) for client in silent] == [b"", b""]
        # A place is free an instant after its connection was cut: 503 asks to try again, so that is what happens here.
        deadline = time.monotonic() + 10
        while (status := ask(server)[0]) == 503 and time.monotonic() < deadline:
            pass
        assert status == 200
    finally:
        for client in silent:
            client.close()


def test_more_than_the_limit_is_turned_away(start):
    server = start(max_connections=1, request_timeout_seconds=5)
    with socket.create_connection(server.address, timeout=10) as holding:
        holding.sendall(b"GET")
        answers = [say_raw(server, b"") for _ in range(2)]
    assert all(answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n") for answer in answers)


def test_many_scrapers_at_once_get_the_same_page(start, fake_app):
    server = start(fake_app.FakeApp(series=2000))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda _: ask(server, "/metrics"), range(24)))
    assert {status for status, _, _ in pages} == {200}
    assert len({body for _, _, body in pages}) == 1


def test_a_client_that_leaves_early_is_no_news(start, fake_app, caplog, capfd):
    server = start(fake_app.FakeApp(series=50_000))
    with socket.create_connection(server.address, timeout=10) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    assert ask(server)[0] == 200
    server.close()
    assert caplog.text + capfd.readouterr().err == ""


def test_closing_frees_the_port_with_a_client_still_there(fake_app, monkeypatch):
    monkeypatch.setattr(http_server, "_CLOSING_SECONDS", 60)  # so long it takes where nobody cuts the client off
    server = serve(ServerSettings(listen="127.0.0.1:0"), fake_app.FakeApp())
    with socket.create_connection(server.address, timeout=10) as client:
        client.sendall(b"GET")
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 9  # a request may take ten
    again = serve(ServerSettings(listen=f"127.0.0.1:{server.address[1]}"), fake_app.FakeApp())
    again.close()


def test_a_taken_port_stops_the_start_with_the_remedy(start, fake_app):
    port = start().address[1]
    with pytest.raises(Misconfigured) as stopped:
        serve(ServerSettings(listen=f"127.0.0.1:{port}"), fake_app.FakeApp())
    assert str(stopped.value) == (
        f"server.listen 127.0.0.1:{port}: another process listens there; "
        "stop it, or choose another port with --listen HOST:PORT"
    )


@pytest.mark.parametrize("listen", ["192.0.2.1:9477", "no-such-host.invalid:9477"])
def test_an_address_of_another_machine_stops_the_start(fake_app, listen):
    with pytest.raises(Misconfigured, match=f"server.listen {listen}: this machine has no such address; choose one"):
        serve(ServerSettings(listen=listen), fake_app.FakeApp())


def test_an_open_door_is_told_once(start, caplog):
    start(listen="0.0.0.0:0")
    assert [record.getMessage() for record in caplog.records] == [
        "server.listen 0.0.0.0:0: whoever reaches it reads who runs what; set server.token_file to ask for a token"
    ]


def test_a_token_guards_the_server(start, tmp_path, caplog):
    (tmp_path / "token").write_text("s3cret")
    server = start(listen="0.0.0.0:0", token_file=tmp_path / "token")
    assert caplog.records == []
    local = type("Local", (), {"address": ("127.0.0.1", server.address[1])})
    assert ask(local, "/v1/state")[0] == 401
    assert ask(local, "/v1/state", Authorization="Bearer s3cret")[0] == 200


@TOOL
def test_tls_serves_the_certificate(start, make_certificate):
    cert, key = make_certificate("one")
    server = start(tls_cert_file=cert, tls_key_file=key)
    assert server.url.startswith("https://")
    assert ask(server, "/metrics", context=trusting(cert))[0] == 200


@TOOL
def test_a_renewed_certificate_holds_for_new_connections(start, make_certificate):
    cert, key = make_certificate("one")
    server = start(tls_cert_file=cert, tls_key_file=key)
    new_cert, new_key = make_certificate("two")
    shutil.copy(new_cert, cert)
    shutil.copy(new_key, key)
    assert ask(server, "/metrics", context=trusting(new_cert))[0] == 200


@TOOL
def test_plain_words_to_a_tls_port_hurt_nobody(start, make_certificate, caplog, capfd):
    cert, key = make_certificate("one")
    server = start(tls_cert_file=cert, tls_key_file=key)
    assert b"200" not in say_raw(server, b"GET /healthz HTTP/1.1\r\n\r\n")
    assert ask(server, context=trusting(cert))[0] == 200
    assert caplog.text + capfd.readouterr().err == ""


@TOOL
def test_a_tls_client_that_never_shakes_hands_is_cut_off(start, make_certificate):
    cert, key = make_certificate("one")
    server = start(tls_cert_file=cert, tls_key_file=key, request_timeout_seconds=0.5)
    with socket.create_connection(server.address, timeout=10) as client:
        assert client.recv(1) == b""


@TOOL
@pytest.mark.parametrize(
    ("break_files", "message"),
    [
        (lambda cert, key, other: cert.unlink(), r"server.tls_cert_file .*one.crt: cannot be read \(No such file"),
        (lambda cert, key, other: key.unlink(), r"server.tls_key_file .*one.key: cannot be read \(No such file"),
        (lambda cert, key, other: cert.write_text("-"), r"server.tls_cert_file .*one.crt: holds no PEM certificate"),
        (lambda cert, key, other: key.write_text("-"), r"server.tls_key_file .*one.key: holds no PEM private key"),
        (lambda cert, key, other: shutil.copy(other, key), r"one.key: the key is not that of the certificate"),
        (
            lambda cert, key, other: cert.write_text(cert.read_text()[:120] + "\n-----END CERTIFICATE-----\n"),
            r"one.crt and server.tls_key_file .*one.key: cannot be used \(",
        ),
    ],
)
def test_bad_tls_files_stop_the_start_by_name(fake_app, make_certificate, break_files, message):
    cert, key = make_certificate("one")
    break_files(cert, key, make_certificate("two")[1])
    with pytest.raises(Misconfigured, match=message):
        serve(ServerSettings(tls_cert_file=cert, tls_key_file=key, listen="127.0.0.1:0"), fake_app.FakeApp())


@TOOL
def test_a_key_with_a_passphrase_stops_the_start_and_asks_nobody(fake_app, make_certificate):
    cert, key = make_certificate("one", "-passout", "pass:secret")
    with pytest.raises(Misconfigured, match=r"cannot be used \(.*the key without a passphrase"):
        serve(ServerSettings(tls_cert_file=cert, tls_key_file=key, listen="127.0.0.1:0"), fake_app.FakeApp())


@TOOL
def test_a_certificate_that_went_bad_leaves_the_last_good_one(start, make_certificate, caplog):
    cert, key = make_certificate("one")
    good = trusting(cert)
    server = start(tls_cert_file=cert, tls_key_file=key)
    Path(cert).write_text("half a file")
    assert [ask(server, context=good)[0] for _ in range(2)] == [200, 200]
    assert len(caplog.records) == 1
    assert "holds no PEM certificate; what was read before stays in force" in caplog.text


class Taking(Routes):
    """Takes what is posted to ``/in`` by those who say so."""

    most_body_bytes = 10

    def __init__(self):
        super().__init__({})
        self.taken = []

    def refusal(self, target, headers):
        return None if headers.get("Authorization") == "Bearer mine" else say(HTTPStatus.FORBIDDEN, "not yours")

    def post(self, target, headers, body):
        self.taken.append((target, body))
        return say(HTTPStatus.OK, "taken")


@pytest.fixture
def taking():
    site = Taking()
    server = serve_site(ServerSettings(listen="127.0.0.1:0", request_timeout_seconds=2), site)
    yield server, site.taken
    server.close()


def posted(server, body, **headers):
    said = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return say_raw(server, f"POST /in HTTP/1.1\r\nHost: x\r\n{said}\r\n".encode() + body)


def test_an_agent_takes_no_post(start):
    status, headers, body = ask(start(), "/v1/hours", "POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert body == b"method not allowed; there are GET and HEAD\n"


def test_a_post_is_taken_whole(taking):
    server, taken = taking
    answer = posted(server, b"0123456789", Authorization="Bearer mine", **{"Content-Length": "10"})
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert taken == [("/in", b"0123456789")]


@pytest.mark.parametrize(
    ("said", "body", "status"),
    [
        ({"Content-Length": "11"}, b"0123456789x", b"413"),
        ({"Content-Length": "9" * 5000}, b"", b"413"),
        ({"Content-Length": "-1"}, b"", b"411"),
        ({}, b"0123", b"411"),
    ],
)
def test_a_body_past_the_bound_is_not_read(taking, said, body, status):
    server, taken = taking
    assert posted(server, body, Authorization="Bearer mine", **said).startswith(b"HTTP/1.1 " + status)
    assert taken == []


def test_a_body_that_is_cut_off_is_not_taken(taking):
    server, taken = taking
    with socket.create_connection(server.address, timeout=10) as client:
        client.sendall(b"POST /in HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer mine\r\nContent-Length: 9\r\n\r\n123")
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert taken == []


def test_who_may_not_post_is_told_before_sending_the_body(taking):
    server, taken = taking
    assert posted(server, b"", **{"Content-Length": "9"}).startswith(b"HTTP/1.1 403 ")
    assert taken == []
