"""Pulling journals over real sockets: what is asked of whom, what is booked, what is named."""

import logging

import pytest

from collectors.errors import Unavailable
from collectors.journal_pull import AgentAddress, JournalPull
from controller.agents import KnownAgents
from controller.gather import KEPT_DAYS, Gather, Mark
from controller.marks import LedgerMarks
from controller.present import SimulatedPresent
from ledger.store import Store
from ledger.store_errors import StoreError
from ledger.store_progress import note_progress
from ledger.tables import PROGRESS
from tests.controller.agent_server import Agent, at
from tests.ledger.ledger_rig import row


class Ledger:
    """Takes what is booked, or fails as a full disk does."""

    def __init__(self):
        self.booked = []
        self.full = False
        self.refuses = {}

    def book(self, hours, now):
        if self.full:
            raise StoreError("no room is left there")
        self.booked += [(hour.node, hour.book.hour_s, hour.closed) for hour in hours]
        return self.refuses

    def take(self):
        taken, self.booked = self.booked, []
        return taken


@pytest.fixture
def agent():
    made = Agent("a")
    yield made
    made.server.close()


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def make(agent, ledger, tmp_path):
    """``make()`` is a controller's gather of the same ledger, begun anew."""

    def gather(*addresses, simulated=False, hearer=None):
        present = SimulatedPresent(lambda: at(12))
        known = KnownAgents(addresses or (AgentAddress(agent.url),))
        marks = LedgerMarks(Store(str(tmp_path / "ledger")))
        return Gather(known, JournalPull(seconds=5), ledger, marks, present, simulated=simulated, hearer=hearer)

    return gather


def hour(number, node="a", closed=True):
    return node, int(at(number).timestamp()), closed


def test_closed_hours_come_once_and_the_open_one_each_time(agent, ledger, make):
    agent.close(at(5)), agent.begin(at(6))
    gather = make()
    gather.run()
    assert ledger.take() == [hour(5), hour(6, closed=False)]
    gather.run()
    assert ledger.take() == [hour(6, closed=False)]
    agent.close(at(6)), agent.begin(at(7))
    gather.run()
    assert ledger.take() == [hour(6), hour(7, closed=False)]
    assert agent.asked == ["", "since=change%3A1", "since=change%3A1"]


def test_another_controller_goes_on_where_this_one_was(agent, ledger, make):
    agent.close(at(5)), agent.begin(at(6))
    make().run()
    ledger.take()
    agent.close(at(6))
    make().run()
    assert hour(6) in ledger.take()
    assert agent.asked == ["", "since=change%3A1"]


def test_a_node_at_another_address_is_known_by_its_name(agent, ledger, make):
    agent.close(at(5))
    make(AgentAddress(agent.url, "a")).run()
    make(AgentAddress(agent.url + "/", "a")).run()
    assert agent.asked == ["", "since=change%3A1"]


def test_a_node_that_is_long_gone_is_forgotten(agent, make, tmp_path):
    marks = LedgerMarks(Store(str(tmp_path / "ledger")))
    today = at(12).toordinal()
    marks.write({"old": Mark(5, None, today - KEPT_DAYS - 1, "u"), "new": Mark(5, None, today - 1, "v")}, at(12))
    make().run()
    assert set(marks.read()) == {"a", "new"}


def test_a_pull_of_nothing_new_writes_nothing(agent, make, tmp_path):
    agent.close(at(5)), agent.begin(at(6))
    gather = make()
    gather.run()
    before = Store(str(tmp_path / "ledger")).version(PROGRESS)
    gather.run()
    assert Store(str(tmp_path / "ledger")).version(PROGRESS) == before


def test_what_could_not_be_booked_comes_again(agent, ledger, make):
    agent.close(at(5))
    gather = make()
    ledger.full = True
    with pytest.raises(StoreError):
        gather.run()
    ledger.full = False
    gather.run()
    assert ledger.take() == [hour(5)]


@pytest.mark.parametrize("booted_s", [None, 2000])
def test_books_that_begin_anew_are_read_whole(agent, ledger, make, booted_s):
    for number in range(3):
        agent.close(at(number))
    gather = make()
    gather.run()
    ledger.take()
    agent.forget(booted_s)
    agent.close(at(8)), agent.close(at(9))
    if booted_s:  # another machine of the name, that has come further by the time it is asked
        agent.close(at(10)), agent.close(at(11))
    gather.run()
    assert {hour(8), hour(9)} <= set(ledger.take())
    assert agent.asked[-1] == ""
    gather.run()
    assert ledger.take() == []


def test_a_refused_hour_is_named_until_it_is_mended(agent, ledger, make, caplog):
    agent.close(at(5), row("GPU-1", "no such account", 5, price=""))
    gather = make()
    gather.run(), gather.run()
    assert list(gather.gathered.refused) == ["a 2026-11-01T05:00:00Z"]
    assert len([line for line in caplog.messages if "no such account" in line]) == 1
    agent.closed = []
    agent.close(at(5))
    gather.run()
    assert gather.gathered.refused == {}
    assert ledger.take() == [hour(5)]


def test_an_hour_that_the_books_have_no_place_for_is_named(agent, ledger, make, caplog):
    agent.close(at(5))
    ledger.refuses = {"a 2026-11-01T05:00:00Z": "node a of cluster two is refused"}
    gather = make()
    gather.run()
    assert gather.gathered.refused == ledger.refuses
    assert "node a of cluster two is refused" in caplog.messages


def test_a_bad_agent_leaves_the_others_alone(agent, ledger, make):
    agent.close(at(5))
    gather = make(AgentAddress("http://127.0.0.1:9"), AgentAddress(agent.url), AgentAddress(agent.url + "/", "b"))
    gather.run()
    assert ledger.take() == [hour(5)]
    assert gather.gathered.answering == 1
    reasons = gather.gathered.silent
    assert "does not answer" in reasons["http://127.0.0.1:9"]
    assert "is asked for the hours of b and serves those of a" in reasons[agent.url + "/"]


def test_an_agent_that_falls_silent_is_told_once(agent, make, caplog):
    caplog.set_level(logging.WARNING)
    gather = make(AgentAddress("http://127.0.0.1:9"))
    gather.run(), gather.run()
    assert len(caplog.messages) == 1


def test_simulated_and_measured_hours_do_not_mix(agent, ledger, make):
    agent.close(at(5))
    gather = make(simulated=True)
    gather.run()
    assert ledger.take() == []
    assert "it is measured, the ledger is simulated" in gather.gathered.refused["a 2026-11-01T05:00:00Z"]


def test_what_an_agent_pushes_is_booked_at_once(agent, ledger, make):
    gather = make()
    good, bad = agent.document(at(6), closed=False), agent.document(at(7), node="other")
    refused = gather.push("a", [good, bad])
    assert ledger.take() == [hour(6, closed=False)]
    assert list(refused) == ["a 2026-11-01T07:00:00Z"]


def test_who_the_agents_are_must_be_known(ledger, make):
    def unknown():
        raise Unavailable("the API server does not answer")

    gather = make()
    gather._agents = KnownAgents((), unknown)
    with pytest.raises(Unavailable):
        gather.run()
    assert ledger.take() == []


def test_a_mark_that_is_damaged_is_none(tmp_path, ledger):
    marks = LedgerMarks(Store(str(tmp_path / "ledger")))
    told = {"a": Mark(5, 1000, 7, "http://a:1"), "b": Mark(7, None, 7, "http://b:1")}
    marks.write(told, at(12))
    assert marks.read() == told

    note_progress(marks._store, "journals", {"a": ["x"], "b": 5, "c": [5, 1000, 7, "u"]}, at(12))
    assert marks.read() == {"c": Mark(5, 1000, 7, "u")}


def test_a_hearer_is_told_what_may_be_booked_and_nothing_else(agent, ledger, make):
    class Hearer:
        def __init__(self):
            self.heard = []

        def take(self, node, documents, now):
            self.heard.append((node, [each["hour_utc"] for each in documents], now))

    hearer = Hearer()
    gather = make(hearer=hearer)
    agent.close(at(5)), agent.close(at(6), row("GPU-1", "no such account", 5, price=""))
    gather.run()
    gather.push("a", [agent.document(at(7), closed=False, booked_ns=0)])
    assert hearer.heard[0][:2] == ("a", ["2026-11-01T05:00:00Z"])
    assert hearer.heard[1][:2] == ("a", ["2026-11-01T07:00:00Z"])


def test_it_is_known_where_each_node_answered(agent, make):
    agent.close(at(5))
    address = AgentAddress(agent.url)
    gather = make(address, AgentAddress("http://127.0.0.1:9"))
    gather.run()
    assert gather.gathered.where == {"a": address}
    gather._agents = KnownAgents((AgentAddress("http://127.0.0.1:9"),))
    gather.run()
    assert gather.gathered.where == {}
