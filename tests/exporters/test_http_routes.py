import base64
import gzip
import json
import logging

import pytest

from collectors.errors import Misconfigured
from exporters.http_routes import Site
from exporters.http_secrets import Token


@pytest.fixture
def app(fake_app):
    return fake_app.FakeApp()


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    return path


def body(answer):
    return answer.body.decode()


def test_metrics_come_as_text_by_default(app):
    answer = Site(app).answer("/metrics", {})
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert body(answer).endswith('wattledger_collector_up{node="n1",collector="collector-0"} 1\n')


def test_metrics_come_as_openmetrics_and_gzip_when_asked(app):
    asked = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
    answer = Site(app).answer("/metrics", asked)
    assert answer.content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.headers == {"Vary": "Accept, Accept-Encoding", "Content-Encoding": "gzip"}
    assert gzip.decompress(answer.body).endswith(b"# EOF\n")


def test_scrapers_of_one_sweep_share_one_rendering(app):
    site = Site(app, monotonic_ns=lambda: 0)
    first, second = site.answer("/metrics", {}), site.answer("/metrics", {})
    assert first.body is second.body
    site.answer("/metrics", {"Accept-Encoding": "gzip"})
    assert app.asked == 1


def test_a_new_sweep_is_rendered_anew(app):
    site = Site(app, monotonic_ns=lambda: 0)
    site.answer("/metrics", {})
    app.sweep, app.series = 2, 2
    assert "collector-1" in body(site.answer("/metrics", {}))


def test_a_rendering_is_not_kept_while_sweeps_stand_still(app):
    now_ns = 0
    site = Site(app, monotonic_ns=lambda: now_ns)
    site.answer("/metrics", {})
    now_ns = 1_000_000_000
    app.series = 2
    assert "collector-1" in body(site.answer("/metrics", {}))


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize(("good", "status"), [(True, 200), (False, 503)])
def test_a_probe_tells_by_status_and_says_why(app, path, good, status):
    app.probe = (good, "last sweep 61 s ago")
    answer = Site(app).answer(path, {})
    assert (answer.status, body(answer)) == (status, "last sweep 61 s ago\n")


def test_hours_pass_the_wish_on(app):
    site = Site(app)
    assert json.loads(site.answer("/v1/hours?since=2026-11-22T06", {}).body) == {"since": "2026-11-22T06"}
    assert json.loads(site.answer("/v1/hours", {}).body) == {"since": None}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("since=yesterday", "bad request: since: found yesterday, allowed: 2026-11-22T06\n"),
        ("since=1&since=2", "bad request: allowed is one parameter, since\n"),
        ("sicne=1", "bad request: allowed is one parameter, since\n"),
    ],
)
def test_a_wish_that_is_not_understood_is_refused(app, query, message):
    answer = Site(app).answer(f"/v1/hours?{query}", {})
    assert (answer.status, body(answer)) == (400, message)


def test_the_state_is_json_and_carries_any_name(app, fake_app):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    answer = Site(fake_app.FakeApp(state=lambda: fake_app.state(node=name))).answer("/v1/state", {})
    assert answer.content_type == "application/json"
    assert json.loads(answer.body)["node"] == name


def test_large_answers_are_compressed_for_those_who_take_it(app):
    answer = Site(app).answer("/v1/state", {"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.body))["node"] == "node-1"


def test_without_the_page_the_root_lists_what_there_is(fake_app):
    answer = Site(fake_app.FakeApp(page=False)).answer("/", {})
    assert (answer.status, answer.content_type) == (200, "text/plain; charset=utf-8")
    assert "/v1/hours?since=" in body(answer)


@pytest.mark.parametrize("path", ["/metric", "/metrics/", "//metrics", "/../etc/passwd", "*", "/v1"])
def test_what_is_not_there_is_not_found_and_told(app, path):
    answer = Site(app).answer(path, {})
    assert answer.status == 404
    assert "/metrics" in body(answer)


def test_a_target_that_is_no_url_is_refused(app):
    assert Site(app).answer("http://[/metrics", {}).status == 400


def test_a_failing_app_is_told_once_and_leaves_the_rest(app, caplog):
    def fail():
        raise RuntimeError("books are closed")

    site, app.state = Site(app), fail
    with caplog.at_level(logging.INFO):
        answers = [site.answer("/v1/state", {}) for _ in range(3)]
    assert [answer.status for answer in answers] == [500, 500, 500]
    assert [record.getMessage() for record in caplog.records] == ["/v1/state fails: RuntimeError: books are closed"]
    assert site.answer("/metrics", {}).status == 200


@pytest.mark.parametrize("path", ["/", "/metrics", "/v1/state", "/v1/hours", "/nothing"])
def test_with_a_token_everything_asks_for_it(app, token_file, path):
    answer = Site(app, Token(token_file)).answer(path, {})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="wattledger", Basic')


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_with_a_token_probes_stay_open(app, token_file, path):
    assert Site(app, Token(token_file)).answer(path, {}).status == 200


def basic(user_and_password):
    return "Basic " + base64.b64encode(user_and_password.encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer s3cret", 200),
        ("bearer  s3cret ", 200),
        (basic("anybody:s3cret"), 200),
        ("Bearer s3cre", 401),
        ("Bearer s3cret2", 401),
        ("Bearer", 401),
        ("s3cret", 401),
        ("Digest s3cret", 401),
        (basic("s3cret:"), 401),
        ("Basic s3cret!", 401),
        ("Bearer caf\udce9", 401),
    ],
)
def test_only_the_token_lets_in(app, token_file, authorization, status):
    site = Site(app, Token(token_file))
    assert site.answer("/metrics", {"Authorization": authorization}).status == status


def test_a_new_token_holds_at_once(app, token_file):
    site = Site(app, Token(token_file))
    token_file.write_text("another-one\n")
    assert site.answer("/metrics", {"Authorization": "Bearer s3cret"}).status == 401
    assert site.answer("/metrics", {"Authorization": "Bearer another-one"}).status == 200


def test_a_token_that_is_taken_away_stays_in_force_and_is_told_once(app, token_file, caplog):
    site = Site(app, Token(token_file))
    token_file.unlink()
    answers = [site.answer("/metrics", {"Authorization": "Bearer s3cret"}) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert len(caplog.records) == 1
    assert "what was read before stays in force" in caplog.text


@pytest.mark.parametrize("content", [b"", b"\n \n", b"two\nlines", b"caf\xe9"])
def test_a_file_without_a_token_stops_the_start(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"server.token_file .*/token: holds no token; write one line"):
        Token(path)


def test_an_unreadable_token_stops_the_start(tmp_path):
    with pytest.raises(Misconfigured, match=r"server.token_file .*/token: cannot be read \(No such file.*create it"):
        Token(tmp_path / "token")
