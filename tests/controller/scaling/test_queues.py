"""Requests of serving engines, asked of real servers: what is not known is never an empty queue."""

import pytest

from collectors.journal_pull import AgentAddress, JournalPull
from controller.scaling.model import Queue
from controller.scaling.queues import NO_ENGINE, Queues
from exporters.state import NodeState, ServingState
from tests.controller.agent_server import Agent
from tests.controller.scaling.guard_rig import NOW, pod, workload


def engine(holder="ml/chat-0/server", *, up=True, running=0.0, depth=0.0, message=None):
    return {
        "holder_kind": "pod",
        "holder": holder,
        "up": up,
        "message": message,
        "running_requests": running,
        "queue_depth": depth,
    }


def state(*serving, node="n1", age=2.0):
    return {"node": node, "sweep_age_seconds": age, "serving": list(serving)}


@pytest.fixture
def make():
    """``make(n1=state, ...)`` serves the states and gives what asks them; ``worked``: pods that did work."""
    made = []

    def queues(worked=(), **states):
        where = {}
        for node, told in states.items():
            agent = Agent(node)
            made.append(agent)
            agent.state = told
            where[node] = AgentAddress(agent.url)
        return Queues(JournalPull(seconds=5), lambda: where, lambda each, _now: each.name in worked)

    yield queues
    for agent in made:
        agent.server.close()


def test_the_states_of_these_tests_are_as_agents_write_them():
    assert state(engine()).keys() <= NodeState.__required_keys__
    assert engine().keys() <= ServingState.__required_keys__


def of(queues, *pods):
    asked = workload(*(pods or (pod(),)))
    return queues.of([asked], NOW)[asked.ref]


def test_requests_of_all_pods_and_models_are_added_up(make):
    queues = make(
        n1=state(engine(running=1.0), engine(depth=2.0), engine("ml/other/server", running=50.0)),
        n2=state(engine("ml/chat-1/server", running=4.0, depth=8.0), node="n2", age=9.0),
    )
    assert of(queues, pod(), pod("chat-1", "n2")) == (Queue(5, 10, 9), True, "")


def test_an_engine_with_nothing_to_do_has_an_empty_queue(make):
    assert of(make(n1=state(engine()))) == (Queue(0, 0, 2), True, "")


def test_what_no_page_tells_of_serves_nothing(make):
    assert of(make(n1=state())) == NO_ENGINE
    assert of(make()) == NO_ENGINE
    assert of(make(n1=state(engine(running=None, depth=None)))) == NO_ENGINE


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (state(engine(up=False, running=None, depth=None, message="connection refused")), "refused"),
        (state(), "counted work of it in the last 24 hours and reads its page no more"),
        (state(engine(), age=300.0), "last sweep is 300 s old"),
        (state(engine(), age=None), "last sweep is not known"),
        (state(engine(), node="other"), "speaks for other now"),
        (["no state"], "answered what is no state"),
    ],
)
def test_an_engine_whose_queue_is_not_known_says_why(make, told, why):
    found = of(make(n1=told, worked=["chat-0"]))
    assert found.queue is None
    assert found.serves
    assert found.gap.startswith("pod ml/chat-0 on node n1: ")
    assert why in found.gap


def test_a_node_that_does_not_answer_is_no_empty_queue(make):
    where = {"n1": AgentAddress("http://127.0.0.1:9")}
    queues = Queues(JournalPull(seconds=2), lambda: where, lambda *_: True)
    assert "does not answer" in of(queues).gap
    nobody = Queues(JournalPull(seconds=2), dict, lambda *_: True)
    assert "no agent of it has answered yet" in of(nobody).gap


def test_one_silent_pod_hides_the_queues_of_the_others(make):
    queues = make(n1=state(engine(running=1.0)), worked=["chat-1"])
    assert of(queues, pod(), pod("chat-1", "n2")).queue is None


def test_an_engine_without_gpus_that_announces_itself_is_asked_about(make):
    announced = pod(gpus=0, announces=True)
    assert of(make(n1=state(engine(running=1.0, depth=2.0))), announced) == (Queue(1, 2, 2), True, "")
    assert of(make(n1=state(engine())), announced) == (Queue(0, 0, 2), True, "")
    assert of(make(n1=state(engine(running=1.0))), pod(gpus=0)) == NO_ENGINE


@pytest.mark.parametrize(("told", "why"), [({}, "no agent of it"), ({"n1": state()}, "reads no page of it")])
def test_an_announced_engine_of_which_no_page_is_read_has_no_empty_queue(make, told, why):
    found = of(make(**told), pod(gpus=0, announces=True))
    assert (found.queue, found.serves) == (None, True)
    assert why in found.gap
    starting = pod(gpus=0, announces=True, ready=False)
    assert of(make(**told), starting) == NO_ENGINE  # nobody sends it requests
