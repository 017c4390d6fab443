"""A down is decided on figures of just now: who is asked when, and what is left as it is meanwhile."""

from dataclasses import replace
from datetime import timedelta

import pytest

from collectors.errors import Misconfigured
from controller.scaling.activity import ActivityBook
from controller.scaling.guard_desk import DeskFacts, GuardDesk
from controller.scaling.model import NodeSeen, Queue, Ref
from controller.scaling.queues import NO_ENGINE, Queued
from tests.controller.scaling.guard_rig import at, hour, pod, wish, worked, workload

NOW = at(10, 45)
CHAT = workload(pod())
DOWN = replace(wish(), dry_run=False)


class Agents:
    """Stand for the agents of all nodes: the books hear what they serve when they are asked."""

    def __init__(self, book):
        self.book = book
        self.asked = []
        self.documents = {}
        self.silent = {}
        self.queued = {}
        self.error = None

    def ask(self, nodes, minutes):
        if self.error:
            raise self.error
        self.asked.append((sorted(nodes), minutes))
        for node in nodes:
            if node in self.documents:
                self.book.take(node, [self.documents[node]], self.now)
        return {node: why for node, why in self.silent.items() if node in nodes}

    def of(self, workloads, now):
        return {each.ref: self.queued.get(each.ref, NO_ENGINE) for each in workloads}


@pytest.fixture
def agents():
    made = Agents(ActivityBook())
    made.now = NOW
    made.book.take("n1", [hour(10, *worked(0, 42), booked=42)], NOW - timedelta(minutes=3))
    made.documents["n1"] = hour(10, *worked(0, 45), booked=45)
    return made


def desk_of(agents, **facts):
    return GuardDesk(agents.book, agents, agents, DeskFacts(**facts))


def guards(desk, now=NOW, asked=CHAT, wished=DOWN):
    return [each.guard for each in desk.refusals(asked, wished, now)]


def later(seconds):
    return NOW + timedelta(seconds=seconds)


def test_an_idle_workload_goes_down_once_its_agents_were_asked_again(agents):
    desk = desk_of(agents)
    assert guards(desk) == ["telemetry"]
    assert guards(desk) == ["telemetry"]
    assert desk.ask(NOW) == 1
    assert agents.asked == [(["n1"], 30)]
    assert guards(desk, later(5)) == []
    assert desk.ask(later(5)) == 0


def test_work_that_began_since_the_last_pull_is_seen(agents):
    agents.documents["n1"] = hour(10, *worked(3, 42), booked=45)
    desk = desk_of(agents)
    guards(desk), desk.ask(NOW)
    assert guards(desk, later(5)) == ["activity"]


def test_requests_are_asked_for_before_a_down_and_again_until_there_are_none(agents):
    desk = desk_of(agents)
    agents.queued[CHAT.ref] = Queued(Queue(0, 3, 1), serves=True)
    guards(desk), desk.ask(NOW)
    assert guards(desk, later(5)) == ["queue"]
    assert desk.ask(later(5)) == 0
    agents.queued.clear()
    assert guards(desk, later(61)) == ["queue"]
    desk.ask(later(61))
    assert guards(desk, later(66)) == []


def test_what_is_refused_for_other_reasons_costs_no_question(agents):
    desk = desk_of(agents)
    agents.book.take("n1", [hour(10, *worked(3, 42), booked=45)], NOW)
    assert guards(desk) == ["activity"]
    assert guards(desk, asked=workload(pod(), created=NOW)) == ["young", "activity"]
    assert guards(desk, wished=replace(DOWN, wished="up")) == []
    assert desk.ask(NOW) == 0


def test_a_dry_run_asks_seldom(agents):
    desk = desk_of(agents)
    dry = replace(DOWN, dry_run=True)
    guards(desk, wished=dry), desk.ask(NOW)
    assert guards(desk, later(300), wished=dry) == []
    assert desk.ask(later(300)) == 0


def test_a_node_that_is_silent_when_asked_keeps_its_workloads_up_and_is_asked_again(agents):
    desk = desk_of(agents)
    agents.silent["n1"] = "does not answer"
    guards(desk), desk.ask(NOW)
    (found,) = desk.refusals(CHAT, DOWN, later(5))
    assert found.guard == "telemetry"
    assert "node n1: does not answer" in found.why
    assert desk.ask(later(5)) == 0
    agents.silent.clear()
    guards(desk, later(301))
    assert desk.ask(later(301)) == 1
    assert guards(desk, later(303)) == []


def test_agents_that_cannot_be_asked_keep_everything_up_and_are_told_once(agents, caplog):
    desk = desk_of(agents)
    agents.error = Misconfigured("the agents' token cannot be read")
    guards(desk), desk.ask(NOW)
    assert guards(desk, later(5)) == ["queue"]
    guards(desk, later(70)), desk.ask(later(70))
    assert len(caplog.messages) == 1


def test_a_workload_without_gpus_goes_down_without_a_question(agents):
    plain = workload(pod(gpus=0), gpus_per_pod=0)
    assert guards(desk_of(agents), asked=plain) == []


def test_two_workloads_of_a_node_do_not_let_each_other_go(agents):
    other = Ref("Deployment", "ml", "other")
    second = workload(pod("other-0", workload=other), ref=other)
    agents.documents["n1"] = hour(10, *worked(0, 45), *worked(0, 45, uuid="GPU-2", holder="ml/other-0/c"), booked=45)
    agents.book.take("n1", [agents.documents["n1"]], NOW)
    nodes = {"n1": NodeSeen("n1", "p5", "spot", 8)}
    desk = desk_of(agents, gpu_pods=lambda: [*CHAT.pods, *second.pods], nodes=lambda: nodes, scarce=lambda: ["p5"])
    guards(desk), guards(desk, asked=second), desk.ask(NOW)
    assert guards(desk, later(5)) == []
    assert guards(desk, later(5), asked=second) == ["last_on_node"]
    gone = desk_of(
        agents, gpu_pods=lambda: second.pods, down=lambda: [CHAT.ref], nodes=lambda: nodes, scarce=lambda: ["p5"]
    )
    assert guards(gone, later(5), asked=second) == ["last_on_node"]


def test_each_node_is_asked_as_far_back_as_its_most_careful_policy_wants(agents):
    desk = desk_of(agents)
    careful = replace(DOWN, options=replace(DOWN.options, idle_minutes=40))
    other = replace(CHAT, subject=replace(CHAT.subject, ref=Ref("Deployment", "ml", "chat-too")))
    guards(desk), guards(desk, asked=other, wished=careful)
    assert desk.ask(NOW) == 2
    assert agents.asked == [(["n1"], 40)]


def test_the_requests_of_an_engine_without_gpus_are_asked_for_before_it_goes_down(agents):
    desk = desk_of(agents)
    engine = workload(pod(gpus=0, announces=True), gpus_per_pod=0)
    agents.queued[engine.ref] = Queued(Queue(1, 0, 2), serves=True)
    assert guards(desk, asked=engine) == ["telemetry"]
    desk.ask(NOW)
    assert agents.asked == []  # nobody asks for the hours of GPUs that it does not have
    assert guards(desk, later(5), engine) == ["queue"]
    agents.queued[engine.ref] = Queued(Queue(0, 0, 2), serves=True)
    guards(desk, later(70), engine), desk.ask(later(70))
    assert guards(desk, later(75), engine) == []
