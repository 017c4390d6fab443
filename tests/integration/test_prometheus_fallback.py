"""What a real Prometheus and a real VictoriaMetrics make up for, and what they change while they are away: nothing."""

import polars as pl
import pytest

from collectors.errors import Misconfigured, Unavailable
from collectors.prometheus_api import PrometheusApi
from collectors.prometheus_settings import PrometheusSettings
from ledger.hours import NodeNote
from ledger.prometheus_fallback import Fallback
from ledger.prometheus_own import own_hours
from ledger.store import Store
from ledger.tables import NODE_HOURS, USAGE
from ledger.verify import verify
from tests.certificates import self_signed
from tests.integration.kept_samples import address, backfill, gate, prometheus_with, victoria_with
from tests.integration.prometheus import Prometheus
from tests.ledger.ledger_rig import agent_hour, row
from tests.ledger.scraped_agent import BEGIN, CHAT, HOUR, NOBODY, TRAIN, ScrapedAgent, at, openmetrics
from tests.ledger.test_prometheus_fallback import Books, by_account, lives, table, versions

S = 10**9
HALF = (("A", CHAT, "active", 0.5), ("A", CHAT, "idle", 0.5))
AWAY = (("A", NOBODY, "unobserved", 1.0),)
LIVED = 6 * HOUR
NOW = at(12 * HOUR)

pytestmark = [pytest.mark.tool("prometheus"), pytest.mark.tool("promtool")]


def went_away():
    """Its agent was away from 01:20 to 04:20; the node lived for six hours, and its journal is lost."""
    agent = ScrapedAgent("away")
    agent.scrape()
    agent.run(4800, *HALF)
    agent.run(3 * HOUR, *AWAY, scraped=False)
    agent.run(LIVED - 4800 - 3 * HOUR + 300, *HALF)
    return agent


def vanished():
    """It was last scraped at 00:50:00 and ended twenty seconds later; a holder of it had finished."""
    agent = ScrapedAgent("gone")
    agent.scrape()
    agent.run(900, *HALF)
    agent.run(660, ("A", TRAIN, "active", 1.0))
    agent.retire(CHAT)
    agent.run(1440, ("A", TRAIN, "active", 1.0))
    return agent


@pytest.fixture(scope="module")
def samples():
    return openmetrics(went_away(), vanished())


@pytest.fixture(scope="module")
def prometheus(samples, require_tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    with prometheus_with(samples, folder, require_tool("promtool"), require_tool("prometheus")) as url:
        yield url


@pytest.fixture(scope="module")
def victoria(samples, require_tool, tmp_path_factory):
    with victoria_with(samples, tmp_path_factory.mktemp("victoria"), require_tool("victoria-metrics")) as url:
        yield url


@pytest.fixture(params=["prometheus", "victoria"])
def api(request):
    return api_of(request.getfixturevalue(request.param))


def api_of(url, **settings):
    return PrometheusApi(PrometheusSettings(url=url, **settings), pause=lambda _: None)


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path / "ledger"))
    lives(store, ("away", "api", 0, LIVED, LIVED), ("gone", "api", 0, 3020, 3020), ("new", "api", 0, None, 12 * HOUR))
    Books(store).keeper.keep([], since=at(0), now=NOW)
    return store


def test_an_agent_away_for_three_hours_gives_hours_that_each_add_up(store, api):
    state = Fallback(store, Books(store), api, journal_days=14).run(NOW)
    assert (state.error, state.booked) == ("", 5)
    hours = [by_account(store, "away", hour) for hour in range(6)]
    assert [sum(hour.values()) for hour in hours] == [HOUR * S] * 6
    assert [hour.get("active", 0) for hour in hours] == [1800 * S, 600 * S, 0, 0, 2370 // 2 * S, 1800 * S]
    assert hours[2] == hours[3] == {"unobserved": HOUR * S}


def test_a_node_that_vanishes_loses_what_was_not_scraped_which_is_unobserved(store, api):
    Fallback(store, Books(store), api, journal_days=14).run(NOW)
    assert by_account(store, "gone") == {"active": (450 + 2100) * S, "idle": 450 * S, "unobserved": 20 * S}
    own = table(store, USAGE).filter(node="gone", account="active")
    assert dict(own.select("holder", "gpu_ns").iter_rows()) == {CHAT[1]: 450 * S, TRAIN[1]: 2100 * S}
    assert own["energy_mj"].sum() == 100_000 * (450 + 2100)


def test_an_hour_made_again_is_the_same_and_of_both_servers(prometheus, victoria):
    places = {"gone": NodeNote(node="gone"), "away": NodeNote(node="away")}
    digests = {
        tuple(each.digest for each in own_hours(api_of(url), BEGIN, places))
        for url in (prometheus, prometheus, victoria, victoria)
    }
    assert len(digests) == 1


def test_no_law_of_the_books_is_broken_by_estimates(store, api):
    Fallback(store, Books(store), api, journal_days=14).run(NOW)
    assert list(verify(store)) == []


def test_run_again_nothing_changes(store, api):
    Fallback(store, Books(store), api, journal_days=14).run(NOW)
    before = versions(store)
    Fallback(store, Books(store), api, journal_days=14).run(NOW)
    assert versions(store) == before


def test_a_prometheus_away_for_three_hours_changes_nothing(store, samples, require_tool, tmp_path):
    backfill(samples, tmp_path, require_tool("promtool"))
    books = Books(store)
    journal = row("A", "active", HOUR * S)
    with gate() as door:
        fallback = Fallback(store, books, api_of(address(door)), journal_days=14)
        for hour in range(3):
            books.book([agent_hour(at(hour * HOUR), journal, node="new", facts={"instance_id": "i-new"})], NOW)
            before = versions(store)
            state = fallback.run(at((12 + hour) * HOUR))
            assert versions(store) == before
            assert (state.booked, state.lost) == (0, 7)
            assert "answers 502" in state.error
            assert by_account(store, "new", hour) == {"active": HOUR * S}
        with Prometheus(tmp_path, require_tool("prometheus"), []) as running:
            door.behind = running.api.removesuffix("/api/v1")
            state = fallback.run(at(15 * HOUR))
    assert (state.error, state.booked, state.lost, state.silent) == ("", 5, 0, 2)
    final = store.scan(NODE_HOURS).filter(pl.col("source") == "prometheus").collect()
    assert sorted(final["node"].unique()) == ["away", "gone"]


def test_a_query_that_is_refused_as_too_large_changes_nothing(store, samples, require_tool, tmp_path):
    """The real 422."""
    backfill(samples, tmp_path, require_tool("promtool"))
    books = Books(store)
    with Prometheus(tmp_path, require_tool("prometheus"), [], options=["--query.max-samples=10"]) as running:
        before = versions(store)
        fallback = Fallback(store, books, api_of(running.api.removesuffix("/api/v1")), journal_days=14)
        state = fallback.run(NOW)
    assert "422" in state.error
    assert "too many samples" in state.error
    assert versions(store) == before


@pytest.fixture(scope="module")
def certificate(require_tool, tmp_path_factory):
    return self_signed(require_tool("openssl"), tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "secret"
    file.write_text("s3cr3t\n")
    return file


WAYS = {
    "bearer": ({"Authorization": "Bearer s3cr3t"}, lambda file: {"token_file": file}),
    "basic": ({"Authorization": "Basic dXM6czNjcjN0"}, lambda file: {"username": "us", "password_file": file}),
    "tenant": ({"X-Scope-OrgID": "ml"}, lambda _: {"tenant": "ml"}),
}


@pytest.mark.tool("openssl")
@pytest.mark.parametrize("way", WAYS)
def test_it_is_asked_over_tls_by_who_may(prometheus, certificate, secret, way):
    wanted, settings = WAYS[way]
    with gate(prometheus, wanted, certificate) as door:
        url = address(door)
        made = own_hours(
            api_of(url, ca_file=certificate[0], **settings(secret)), BEGIN, {"gone": NodeNote(node="gone")}
        )
        assert [each.node for each in made] == ["gone"]
        passed = len(door.passed)
        with pytest.raises(Misconfigured, match=r"refuses us \(401\)"):
            api_of(url, ca_file=certificate[0]).query("up", BEGIN)
        assert len(door.passed) == passed


@pytest.mark.tool("openssl")
def test_a_server_that_nobody_vouches_for_is_not_asked(prometheus, certificate, secret):
    with gate(prometheus, tls=certificate) as door:
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            api_of(address(door), token_file=secret).query("up", BEGIN)
        assert door.passed == []
