"""What is old or cannot be seen holds downs for as long as it lasts, and no restore; what was short keeps its node."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from collectors.clock import NS_PER_SECOND
from collectors.kube_follow import FollowState
from controller.scaling.activity import ActivityBook
from controller.scaling.guard_desk import DeskFacts, GuardDesk
from controller.scaling.model import NodeSeen, PodSeen
from controller.scaling.scaler import STALE_SECONDS
from tests.controller.scaling.engine_rig import AFTER, BEGIN, END, INSIDE
from tests.controller.scaling.restart_rig import LLAMA, MINUTE, House

FORBIDDEN = FollowState(error="403 Forbidden", forbidden=True)
TYPE = "p5.48xlarge"


class Seeing(House):
    """A house whose view is told how well it follows, and whose guards see nodes."""

    def follows(self, kind, state):
        self.view.attach(kind, SimpleNamespace(state=state), "v1")

    def follows_badly(self, kind, seconds):
        """The last good word was heard so long ago."""
        heard_ns = self._clock.monotonic_ns() - int(seconds * NS_PER_SECOND)
        self.follows(kind, FollowState(synced=True, heard_ns=heard_ns, error="HTTP 500"))

    def follows_well(self, kind):
        self.follows(kind, FollowState(synced=True, heard_ns=self._clock.monotonic_ns()))

    def guards(self):
        return {refusal.guard: refusal.why for report in self.scaler.reports for refusal in report.refusals}

    def _desk(self, scaler):
        facts = DeskFacts(
            gpu_pods=lambda: [pod for node in self.view.nodes for pod in self.view.pods_on(node)],
            nodes=lambda: self.view.nodes,
            down=scaler.down_refs,
            scarce=lambda: scaler.tally.scarce,
        )
        return GuardDesk(ActivityBook(), self, self, facts)


@pytest.fixture
def house(tmp_path):
    made = Seeing(str(tmp_path))
    made.look()
    return made


@pytest.mark.parametrize("kind", ["Pod", "Node", "Namespace", "HorizontalPodAutoscaler", "ScaledObject"])
def test_a_view_that_is_old_opens_the_breaker_until_it_is_followed_again(house, kind):
    house.follows_badly(kind, STALE_SECONDS + 1)
    house.at(INSIDE)
    assert (house.is_down, house.scaler.stand().breaker_open) == (False, True)
    assert f"({kind}: HTTP 500)" in house.guards()["breaker"]
    house.follows_well(kind)
    house.settle()
    assert (house.is_down, house.scaler.stand().breaker_open) == (True, False)


def test_a_view_that_failed_for_a_short_while_holds_nothing(house):
    house.follows_badly("Pod", STALE_SECONDS - 1)
    house.at(INSIDE)
    assert (house.is_down, house.scaler.stand().breaker_open) == (True, False)


def test_another_kind_that_is_old_opens_no_breaker_and_keeps_its_own_up(house):
    house.follows_badly("Deployment", STALE_SECONDS + 1)
    house.at(INSIDE)
    assert (house.is_down, house.scaler.stand().breaker_open) == (False, False)
    assert house.guards() == {"breaker": "Deployment is not followed: HTTP 500"}


@pytest.mark.parametrize("kind", ["Pod", "Deployment", "ScaledObject"])
@pytest.mark.parametrize("forbidden", [False, True])
def test_no_restore_waits_for_a_view_that_is_old_or_may_not_be_seen(house, kind, forbidden):
    house.at(INSIDE)
    assert house.is_down
    house.follows_badly(kind, STALE_SECONDS + 1)
    if forbidden:
        house.follows(kind, FORBIDDEN)
    house.at(AFTER)
    assert not house.is_down


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "ScaledObject"])
def test_downs_go_on_once_autoscalers_may_be_seen(house, kind):
    house.follows(kind, FORBIDDEN)
    house.at(INSIDE)
    assert not house.is_down
    assert "403 Forbidden" in house.guards()["breaker"]
    house.follows_well(kind)
    house.settle()
    assert house.is_down


def pod(**more):
    made = PodSeen("team-a", "l-1", "p", LLAMA, "gpu-7", "Running", ready=True, gpus=8, created=BEGIN - MINUTE * 600)
    return replace(made, **more)


def test_a_type_that_a_late_restore_waited_for_keeps_the_last_workload_on_its_node(house):
    house.view.set_nodes([NodeSeen("gpu-7", TYPE, "on_demand", 8)])
    house.view.replace_pods([pod(gpus=0, ready=False)])  # without GPUs, of which agents would have to tell
    house.at(INSIDE)
    assert house.is_down
    house.view.replace_pods([pod(node="", ready=False, phase="Pending", waiting="Unschedulable: 0/4 nodes")])
    house.server.follow = lambda _item: None
    house.at(END - 2 * MINUTE)
    house.now = END + timedelta(minutes=6)
    house.look()
    assert house.scaler.stand().overdue == {("no capacity",): 1}
    house.view.replace_pods([pod()])
    house.now = INSIDE + timedelta(days=1)
    house.look()
    assert f"whose type {TYPE} was seen out of capacity" in house.guards().get("last_on_node", "")
