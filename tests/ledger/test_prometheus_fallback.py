"""Lost hours are made from Prometheus, once, and a journal that comes after all takes their place."""

import logging
from datetime import date, timedelta

import polars as pl
import pytest

from collectors.errors import Misconfigured, Unavailable
from collectors.price_list import PriceRow
from collectors.prometheus_api import QueryRefused
from ledger.hours import NodeNote
from ledger.keeper import Keeper
from ledger.list_costing import ListCosting
from ledger.price_live_settings import LivePriceSettings
from ledger.price_settings import PriceSettings
from ledger.price_table import LedgerPrices
from ledger.prometheus_fallback import Fallback, Recovered, lost_hours
from ledger.prometheus_own import own_hours
from ledger.store import Store
from ledger.tables import COST, LIFETIMES, NODE_HOURS, USAGE, WORK
from tests.ledger.ledger_rig import agent_hour, row
from tests.ledger.scraped_agent import CHAT, HOUR, NOBODY, Scraped, ScrapedAgent, at

S, USD = 10**9, 10**9
HALF = (("A", CHAT, "active", 0.5), ("A", CHAT, "idle", 0.5))
LISTED = PriceRow("aws", "eu-west-1", "p5", "H100-80GB", 1, "on_demand", 4 * USD, "list", date(2026, 10, 1))
JOURNAL_DAYS = 14


class Books:
    """The keeper as the controller calls it."""

    def __init__(self, store):
        known = LedgerPrices(PriceSettings(fallback="none"), [LISTED], LivePriceSettings())
        self.keeper = Keeper(store, ListCosting(store, known), cluster="eu")

    def book(self, hours, now):
        return self.keeper.keep(hours, since=now, now=now)


def lives(store, *spans):
    """(node, evidence, began, ended or None, seen), seconds."""
    place = {"cluster": "eu", "provider": "aws", "region": "eu-west-1", "zone": "", "instance_type": "p5"}
    more = {"capacity_type": "on_demand", "gpu_count": 1, "gpu_model": "NVIDIA H100 80GB HBM3"}
    rows = [
        {
            **place,
            **more,
            "node": node,
            "instance_id": f"i-{node}",
            "evidence": evidence,
            "began": at(began),
            "ended": None if ended is None else at(ended),
            "seen": at(seen),
        }
        for node, evidence, began, ended, seen in spans
    ]
    store.replace(LIFETIMES, pl.DataFrame(rows, schema=LIFETIMES.schema), {})


def table(store, which):
    return store.scan(which).sort(which.key).collect()


def versions(store):
    return [store.version(which) for which in (USAGE, COST, WORK, NODE_HOURS)]


def by_account(store, node, hour=0):
    rows = table(store, USAGE).filter(node=node, hour_utc=at(hour * HOUR))
    return dict(rows.group_by("account").agg(pl.col("gpu_ns").sum()).iter_rows())


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "ledger"))


@pytest.fixture
def vanished(store):
    """Node n1 lived until 00:50:20, its agent was scraped until 00:50:00, its journal never came; n2 lives on."""
    lives(store, ("n1", "api", 0, 3020, 3020), ("n2", "api", 0, None, 5 * HOUR))
    books = Books(store)
    books.keeper.keep([], since=at(0), now=at(5 * HOUR))
    agent = ScrapedAgent()
    agent.scrape()
    agent.run(3000, *HALF)
    return books, agent


NOW = at(5 * HOUR)


def fallback(store, books, api):
    return Fallback(store, books, api, journal_days=JOURNAL_DAYS)


def names(lost):
    return {(each.hour, each.place.node) for each in lost}


def lost(store, now=NOW):
    return lost_hours(store.scan(NODE_HOURS), store.scan(LIFETIMES), JOURNAL_DAYS, now)


def test_an_hour_is_lost_when_its_node_is_gone(store, vanished):
    (one,) = lost(store)
    assert (one.hour, one.place.node, one.place.instance_id, one.place.region) == (at(0), "n1", "i-n1", "eu-west-1")


def test_an_hour_is_lost_when_its_journals_days_have_passed(store, vanished):
    days = JOURNAL_DAYS * 86_400
    assert names(lost(store, at(days + HOUR))) == {(at(0), "n1"), (at(0), "n2")}
    assert names(lost(store, at(days + HOUR - 1))) == {(at(0), "n1")}


def test_a_node_that_the_api_server_names_no_more_is_gone_though_nobody_saw_it_end(store):
    lives(store, ("n1", "api", 0, None, 3020), ("n2", "api", 0, None, 3 * HOUR), ("n3", "journal", 0, None, 3020))
    Books(store).keeper.keep([], since=at(0), now=NOW)
    assert {node for _, node in names(lost(store))} == {"n1"}


def test_while_nobody_asks_the_api_server_no_node_is_gone(store):
    lives(store, ("n1", "api", 0, None, 3020), ("n2", "api", 0, None, 3080))
    Books(store).keeper.keep([], since=at(0), now=NOW)
    assert lost(store) == []


def test_an_hour_of_which_a_journal_told_something_is_not_lost(store):
    lives(store, ("n1", "api", 0, 3020, 3020))
    books = Books(store)
    opened = agent_hour(at(0), row("A", "active", 1200 * S), node="n1", closed=False, facts={"instance_id": "i-n1"})
    books.keeper.keep([opened], since=at(0), now=NOW)
    assert lost(store, at(20 * 86_400)) == []
    assert by_account(store, "n1") == {"active": 1200 * S, "unobserved": 1820 * S}


def test_of_a_name_that_two_instances_bore_within_the_hour_no_series_tells_whose_it_is(store):
    lives(store, ("n1", "api", 0, 1200, 1200), ("n1", "api", 1800, 3 * HOUR, 3 * HOUR))
    ids = store.scan(LIFETIMES).collect().with_columns(pl.Series("instance_id", ["i-1", "i-2"]))
    store.replace(LIFETIMES, ids, {})
    Books(store).keeper.keep([], since=at(0), now=NOW)
    assert names(lost(store)) == {(at(HOUR), "n1"), (at(2 * HOUR), "n1")}


def test_a_node_that_only_its_bill_tells_of_is_not_asked_for(store):
    lives(store, ("n1", "bill", 0, 3600, 3600))
    Books(store).keeper.keep([], since=at(0), now=NOW)
    assert lost(store, at(20 * 86_400)) == []


def test_a_lost_hour_is_booked_as_an_estimate_and_what_was_not_scraped_is_unobserved(store, vanished):
    books, agent = vanished
    state = fallback(store, books, Scraped(agent)).run(NOW)
    assert state == Recovered(lost=0, booked=1, asked_at=NOW)
    assert by_account(store, "n1") == {"active": 1500 * S, "idle": 1500 * S, "unobserved": 20 * S}
    own = table(store, USAGE).filter(node="n1")
    assert set(own["source"]) == {"prometheus"}
    assert dict(own.select("account", "method").iter_rows()) == {
        "active": "prometheus",
        "idle": "prometheus",
        "unobserved": "lifetime",
    }
    register = table(store, NODE_HOURS).filter(node="n1")
    assert register.select("existed_ns", "source", "instance_id").row(0) == (3020 * S, "prometheus", "i-n1")
    assert table(store, COST).filter(node="n1")["list_nano_usd"].sum() == round(4 * USD * 3020 / 3600)


def test_a_second_run_and_another_process_change_nothing_and_ask_nothing(store, vanished):
    books, agent = vanished
    fallback(store, books, Scraped(agent)).run(NOW)
    before, api = versions(store), Scraped(agent)
    fallback(store, Books(store), api).run(NOW + timedelta(hours=1))
    assert (api.asked, versions(store)) == ([], before)


@pytest.mark.parametrize("error", [Unavailable("http://p answers in part only"), Misconfigured("http://p refuses us")])
def test_a_prometheus_that_does_not_answer_whole_changes_nothing_and_is_told_once(store, vanished, error, caplog):
    books, agent = vanished
    api = Scraped(agent)
    made, before = fallback(store, books, api), versions(store)
    api.error = error
    with caplog.at_level(logging.WARNING):
        states = [made.run(at((5 + hour) * HOUR)) for hour in range(3)]
    assert versions(store) == before
    assert states[-1] == Recovered(lost=1, error=str(error))
    assert [record.message for record in caplog.records] == [
        f"hours whose journal is lost wait for Prometheus: {error}"
    ]
    api.error = None
    assert made.run(at(8 * HOUR)) == Recovered(booked=1, asked_at=at(8 * HOUR))


def test_what_prometheus_does_not_have_stays_unobserved_and_is_asked_for_once(store, vanished):
    books, _ = vanished
    api = Scraped()
    made, before = fallback(store, books, api), versions(store)
    assert made.run(NOW) == Recovered(silent=1, asked_at=NOW)
    asked = len(api.asked)
    made.run(NOW)
    assert (len(api.asked), versions(store)) == (asked, before)
    assert by_account(store, "n1") == {"unobserved": 3020 * S}


def test_a_journal_that_comes_after_all_takes_the_estimates_place_for_good(store, vanished):
    books, agent = vanished
    agent.tokens[CHAT, "output_tokens"] = 5
    agent.run(20, *HALF)
    fallback(store, books, Scraped(agent)).run(NOW)
    place = NodeNote(node="n1", instance_id="i-n1")
    (estimate,) = own_hours(Scraped(agent), int(at(0).timestamp()), {"n1": place})
    told = agent_hour(at(0), row("A", "active", 3000 * S), node="n1", revision=0, facts={"instance_id": "i-n1"})
    books.book([told], NOW)
    measured = table(store, USAGE).filter(node="n1")
    assert by_account(store, "n1") == {"active": 3000 * S, "unobserved": 20 * S}
    assert set(measured["source"]) == {"measured"}
    books.book([estimate], NOW)
    fallback(store, Books(store), Scraped(agent)).run(at(20 * 86_400))
    assert table(store, USAGE).filter(node="n1").equals(measured)
    assert table(store, WORK).filter(node="n1").is_empty()


def test_an_open_journal_is_better_than_an_estimate_too(store, vanished):
    books, agent = vanished
    fallback(store, books, Scraped(agent)).run(NOW)
    opened = agent_hour(
        at(0), row("A", "active", 600 * S), node="n1", closed=False, revision=0, facts={"instance_id": "i-n1"}
    )
    books.book([opened], NOW)
    assert by_account(store, "n1") == {"active": 600 * S, "unobserved": 2420 * S}


def test_an_estimate_stays_when_its_witnesses_are_looked_at_again(store, vanished):
    books, agent = vanished
    fallback(store, books, Scraped(agent)).run(NOW)
    before = by_account(store, "n1")
    Books(store).keeper.keep([], since=at(0), now=at(6 * HOUR))
    assert by_account(store, "n1") == before


def test_a_run_asks_for_some_hours_the_oldest_first(store):
    lives(store, ("n1", "api", 0, 8 * HOUR, 8 * HOUR))
    books = Books(store)
    books.keeper.keep([], since=at(0), now=at(8 * HOUR))
    agent = ScrapedAgent()
    agent.scrape()
    agent.run(8 * HOUR, ("A", NOBODY, "unallocated", 1.0))
    made = Fallback(store, books, Scraped(agent), journal_days=JOURNAL_DAYS, most=5)
    now = at(10 * HOUR)
    assert made.run(now) == Recovered(lost=3, booked=5, asked_at=now)
    assert {each.hour for each in lost(store, now)} == {at(hour * HOUR) for hour in (5, 6, 7)}
    assert made.run(now) == Recovered(booked=8, asked_at=now)
    assert table(store, USAGE)["account"].unique().to_list() == ["unallocated"]


def test_simulated_books_take_no_estimates(store, vanished):
    books, agent = vanished
    api = Scraped(agent)
    assert Fallback(store, books, api, journal_days=JOURNAL_DAYS, simulated=True).run(NOW) == Recovered()
    assert api.asked == []


def test_a_lost_hour_of_days_that_were_rolled_up_is_let_be(store, vanished):
    books, agent = vanished
    store.rewrite(USAGE, {"hour_utc": [at(0)]}, lambda rows: rows, rolled=date(2026, 11, 2))
    assert fallback(store, books, Scraped(agent)).run(NOW) == Recovered()


class Picky(Scraped):
    """Answers, but not for some hours."""

    def __init__(self, agent, refused, error):
        super().__init__(agent)
        self.refused, self.why = {int(at(hour * HOUR).timestamp()) for hour in refused}, error

    def query(self, expression, at):
        if at // HOUR * HOUR - HOUR in self.refused:
            raise self.why
        return super().query(expression, at)


REFUSED = QueryRefused("http://p answers 422 to up: too many samples")
AWAY = Unavailable("http://p answers 503, 3 times")


@pytest.fixture
def eight(store):
    """Eight lost hours of one node, and their agent."""
    lives(store, ("n1", "api", 0, 8 * HOUR, 8 * HOUR))
    books = Books(store)
    books.keeper.keep([], since=at(0), now=at(8 * HOUR))
    agent = ScrapedAgent()
    agent.scrape()
    agent.run(8 * HOUR, ("A", NOBODY, "unallocated", 1.0))
    return books, agent


LATER = at(10 * HOUR)


def hours_lost(store):
    return {int((each.hour - at(0)).total_seconds()) // HOUR for each in lost(store, LATER)}


def test_an_hour_that_is_refused_for_good_stays_due_and_shown_and_holds_up_no_other(store, eight, caplog):
    books, agent = eight
    made = fallback(store, books, Picky(agent, {0}, REFUSED))
    for _ in range(2):
        state = made.run(LATER)
        assert (state.lost, state.booked) == (1, 7)
        assert state.error == f"the hour 2026-11-01T00:00Z: {REFUSED}"
    assert hours_lost(store) == {0}
    assert len(caplog.messages) == 1


def test_a_few_hours_refused_end_a_run_and_the_next_begins_with_others(store, eight):
    books, agent = eight
    api = Picky(agent, {0, 1, 2, 3}, REFUSED)
    made = fallback(store, books, api)
    first = made.run(LATER)
    assert (first.lost, first.booked) == (8, 0)
    assert first.error == f"the hour 2026-11-01T00:00Z: {REFUSED} (and 2 more hours)"
    assert made.run(LATER).booked == 4
    assert hours_lost(store) == {0, 1, 2, 3}
    api.refused = set()
    assert made.run(LATER) == Recovered(booked=8, asked_at=LATER)


def test_a_server_that_is_away_ends_the_run_and_the_next_begins_with_another_hour(store, eight):
    books, agent = eight
    made = fallback(store, books, Picky(agent, {0}, AWAY))
    assert made.run(LATER) == Recovered(lost=8, error=str(AWAY))
    assert made.run(LATER) == Recovered(lost=1, booked=7, error=str(AWAY))


def test_hours_that_are_refused_take_no_others_place_in_a_run(store, eight):
    books, agent = eight
    made = Fallback(store, books, Picky(agent, {0, 1}, REFUSED), journal_days=JOURNAL_DAYS, most=2)
    assert [made.run(LATER).booked for _ in range(4)] == [0, 2, 4, 6]
