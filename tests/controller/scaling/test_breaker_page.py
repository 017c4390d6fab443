"""The guide's page of the breaker: its limits are those of the code, and what it quotes is what a scaler says."""

import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from collectors.clock import NS_PER_SECOND
from collectors.kube_follow import FollowState
from controller.scaling.breaker import Breaker, BreakerLimits
from controller.scaling.model import Claimed, NodeSeen, PodSeen, Ref
from controller.scaling.scaler import STALE_SECONDS
from tests.controller.scaling.engine_rig import INSIDE
from tests.controller.scaling.guard_rig import hour, worked
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.restart_rig import House
from tests.controller.scaling.test_policies_followed import MONDAY_NIGHT, MONDAY_NOON, Home
from tests.controller.scaling.toy_server import merge

PAGE = Path(__file__).parents[3] / "docs/guides/guards/breaker.md"
NOBODY_MAY = "whether an autoscaler holds a workload cannot be seen: 403 Forbidden"


def shape(text):
    return re.sub(r"[0-9]+ s\b", "0 s", text)


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text()


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def refusals(scaler):
    return [each.why for report in scaler.reports for each in report.refusals if each.guard == "breaker"]


def follow_badly(home, kind, error, *, forbidden=False):
    """So long ago that what is known of a kind is old."""
    heard_ns = time.monotonic_ns() - int((STALE_SECONDS + 20) * NS_PER_SECOND)
    state = FollowState(synced=True, heard_ns=heard_ns, error=error, forbidden=forbidden)
    home.view.attach(kind, SimpleNamespace(state=state), "v1")


def held_by(home):
    home.now = MONDAY_NIGHT
    home.scaler.run()
    assert home.replicas == 3
    (why,) = refusals(home.scaler)
    assert f"> {shape(why)}" in shape(PAGE.read_text()).splitlines()
    return why


def test_its_limits_are_those_of_the_code(page):
    limits, text = BreakerLimits(), " ".join(page.split())
    assert limits.failure_ratio == 0.5
    assert f"{limits.failures_in_row} failures in a row open it, or failures of half of the writes" in text
    assert f"of the last {limits.window_seconds:.0f} seconds, once there were {limits.least_writes}." in text
    assert f"waits {limits.first_wait_seconds:.0f} seconds after the last failure" in text
    assert f"up to {limits.most_wait_seconds:.0f} seconds" in text
    assert f"have not been followed for {STALE_SECONDS:.0f} seconds" in text


def test_what_it_says_of_writes_that_fail_is_quoted(page):
    breaker = Breaker(BreakerLimits(), 0)
    for number in range(BreakerLimits().failures_in_row):
        breaker.bad(number, "HTTP 500")
    assert f"> {breaker.hold(10)}" in page.splitlines()


@pytest.mark.parametrize("kind", ["Pod", "HorizontalPodAutoscaler"])
def test_a_view_that_is_old_is_told_with_the_kind(home, kind):
    follow_badly(home, kind, "HTTP 500")
    home.now = MONDAY_NIGHT
    home.scaler.run()
    assert f"cluster is stale: not followed for 200 s ({kind}: HTTP 500)" in refusals(home.scaler)[-1]
    assert home.replicas == 3


def test_an_old_view_of_pods_is_quoted(home):
    follow_badly(home, "Pod", "HTTP 500")
    assert held_by(home).startswith("cluster is stale")


def test_a_kind_that_is_not_followed_keeps_up_its_own(home):
    follow_badly(home, "Deployment", "HTTP 500")
    assert held_by(home) == "Deployment is not followed: HTTP 500"


def test_what_keda_scales_stays_up_with_its_own_kind_too(home):
    home.server.add("ScaledObject", merge(OBJECTS["ScaledObject"], {"spec": {"scaleTargetRef": {"name": "llama"}}}))
    follow_badly(home, "Deployment", "HTTP 500")
    assert held_by(home) == "Deployment is not followed: HTTP 500"


def test_another_kind_that_is_not_followed_keeps_nobody_else_up(home):
    follow_badly(home, "Notebook", "HTTP 500")
    home.now = MONDAY_NIGHT
    home.settle()
    assert home.replicas == 0


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "ScaledObject"])
def test_an_autoscaler_that_may_not_be_seen_holds_all_up(home, kind):
    follow_badly(home, kind, "403 Forbidden", forbidden=True)
    assert held_by(home) == NOBODY_MAY


@pytest.fixture
def silent(home):
    """Agents were heard at noon, and then never again."""
    home.activity.take("n1", [hour(0, *worked(0, 60))], MONDAY_NOON)
    home.server.edit(home.web, {"metadata": {"labels": {"seen": "now"}}})  # so that it looks
    home.scaler.run()
    return home


POD = PodSeen("ml", "trainer", "1", Ref("Job", "ml", "trainer"), "n1", "Running", True, 8, MONDAY_NOON)


@pytest.mark.parametrize(
    "see",
    [
        lambda view: view.put_node(NodeSeen("n2", "p5.48xlarge", "on-demand", 8)),
        lambda view: view.put_pod(POD),
        lambda view: view.put_pod(replace(POD, gpus=0, claims=(Claimed("ResourceClaim", "any"),))),
    ],
    ids=["node", "pod", "claim"],
)
def test_agents_that_were_heard_and_are_silent_hold_all_up_while_there_are_gpus(silent, see):
    home = silent
    see(home.view)
    assert held_by(home) == "telemetry is stale: no agent was heard for ten minutes"
    home.activity.take("n1", [hour(0, *worked(0, 60))], MONDAY_NIGHT)
    home.settle()
    assert home.replicas == 0


def test_nothing_is_to_be_heard_once_all_gpu_nodes_were_released(silent):
    silent.view.put_node(NodeSeen("n3", "m7i.large", "on-demand", 0))
    silent.view.put_pod(replace(POD, node="", phase="Pending"))
    silent.now = MONDAY_NIGHT
    silent.settle()
    assert silent.replicas == 0
    assert not silent.scaler.stand().breaker_open


def test_what_former_processes_did_is_awaited(tmp_path, page):
    house = House(str(tmp_path))
    house.now = INSIDE
    house.view.replace_objects(house.lever.kind, house.server.objects_of(house.lever.kind))
    house.scaler.run()
    (why,) = refusals(house.scaler)
    assert f"> {why}" in page.splitlines()
    assert not house.is_down
