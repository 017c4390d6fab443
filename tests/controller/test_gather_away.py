"""An API server that is away keeps nobody's hours: who is known is pulled, and the reason is told."""

from contextlib import closing

import pytest

from collectors.errors import Unavailable
from collectors.journal_pull import AgentAddress, JournalPull
from controller.agents import KnownAgents
from controller.gather import Gather
from controller.marks import LedgerMarks
from controller.present import SimulatedPresent
from ledger.store import Store
from tests.controller.agent_server import Agent, at


class Ledger:
    """Takes what is booked."""

    def __init__(self):
        self.booked = []

    def book(self, hours, now):
        self.booked += [hour.book.hour_s for hour in hours]


def away():
    raise Unavailable("the API server does not answer")


def test_listed_agents_are_pulled_while_the_api_server_is_away_and_the_reason_is_told(tmp_path):
    agent, ledger = Agent("a"), Ledger()
    agent.close(at(5))
    known = KnownAgents((AgentAddress(agent.url),), away)
    marks = LedgerMarks(Store(str(tmp_path / "ledger")))
    gather = Gather(known, JournalPull(seconds=5), ledger, marks, SimulatedPresent(lambda: at(12)), simulated=False)
    told = "^1 known agents were pulled, new ones are not found: the API server does not answer$"
    with closing(agent.server), pytest.raises(Unavailable, match=told):
        gather.run()
    assert ledger.booked == [int(at(5).timestamp())]
    assert (gather.gathered.answering, set(marks.read())) == (1, {"a"})
