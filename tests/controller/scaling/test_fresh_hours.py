"""Agents asked just before a down: what they serve is remembered, and of each that gives nothing it is said why."""

import pytest

from collectors.journal_pull import AgentAddress, JournalPull
from controller.scaling.activity import ActivityBook
from controller.scaling.fresh_hours import FreshHours
from tests.controller.agent_server import Agent, at
from tests.controller.scaling.guard_rig import minutes, pod, worked, workload

NOW = at(10, 5)


@pytest.fixture
def agent():
    made = Agent("n1")
    yield made
    made.server.close()


def asker(agent, book, **where):
    known = {"n1": AgentAddress(agent.url), **where}
    return FreshHours(JournalPull(seconds=5), lambda: known, book, lambda: NOW)


def test_the_closed_hours_that_are_needed_come_with_the_open_one(agent):
    agent.close(at(8), *worked(60, 0))
    agent.close(at(9), *worked(0, 60))
    agent.begin(at(10), *worked(0, 5), booked_ns=5 * 60 * 10**9)
    book = ActivityBook()
    assert asker(agent, book).ask(["n1"], 30) == {}
    assert agent.asked == ["since=2026-11-01T09%3A00%3A00Z"]
    found = book.of(workload(pod()), NOW, 30)
    assert (found.active_ratio, found.covered_seconds, found.age_seconds) == (0, 65 * 60, 0)


def test_each_node_that_gives_nothing_is_named_with_the_reason(agent):
    agent.begin(at(10), minutes(5, "no such account"), booked_ns=5 * 60 * 10**9)
    book = ActivityBook()
    failed = asker(agent, book, n2=AgentAddress("http://127.0.0.1:9"), n3=AgentAddress(agent.url + "/")).ask(
        ["n1", "n2", "n3", "n4"], 30
    )
    assert "no such account" in failed["n1"]
    assert "does not answer" in failed["n2"]
    assert failed["n3"] == "its agent serves the hours of n1 now"
    assert failed["n4"] == "no agent of it has answered yet"
    assert book.of(workload(pod()), NOW, 30) is None
