"""What an agent on a driver tells, pulled as the controller does, is what the script of its hour says of the GPUs."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from agent.app import AgentApp
from agent.node_families import NodeFamilies
from agent.node_state import NodeStates
from controller.scaling.activity import ActivityBook
from tests.controller.scaling.guard_rig import pod, workload
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver
from tests.integration.played_hour import Grant, Play, Pod, Script, Stint, Worker
from tests.integration.played_patterns import SECOND, alone

pytestmark = pytest.mark.tool("gcc")

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ENDED, AWAY, END = 3000, (600, 640), 4200
TRAIN, QUIET = Pod("train", 1), Pod("quiet", 2)
LEVEL = 0.4


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """A book that heard pulls every five minutes, what was told of it at some, and the agent's last answer."""
    folder = tmp_path_factory.mktemp("scaling")
    with contextlib.ExitStack() as stack:
        driver = stack.enter_context(FakeDriver.create(folder, [profiles.h100()] * 2, start_ns=5000 * SECOND))
        stack.enter_context(driver.load_into_pynvml())
        for device in driver.devices:
            device.set(sm_clock_mhz=device.profile.max_clocks_mhz[0])
            device.sampling(period_ms=333, lag_ms=500)
            device.utilization_window(1000)
        uuids = [device.uuid for device in driver.devices]
        grants = [Grant(each, 0, END + 99, ids=(uuid,)) for each, uuid in zip((TRAIN, QUIET), uuids, strict=True)]
        work = alone([round(LEVEL * 100)] * 7, seed=1)
        script = Script(grants, [Stint(0, 0, ENDED, work, {"main": Worker(1000, TRAIN)})], away=AWAY)
        play = Play(folder / "data", driver, {}, script)
        book, told, last = ActivityBook(), {}, []

        def pull(second):
            if second % 300 == 0 and second:
                app = AgentApp(play.agent, cast("NodeFamilies", None), cast("NodeStates", None), "node")
                last[:] = json.loads(app.hours("change:0"))["hours"]
                book.take("node", last[-2:], BEGIN + timedelta(seconds=second))
                told[second] = [of(book, each, second) for each in (TRAIN, QUIET)]

        play.play(END, pull)
        play.die()
        yield told, last


def of(book, who, second, minutes=30):
    asked = workload(pod(who.name, node="node", created=BEGIN))
    return book.of(asked, BEGIN + timedelta(seconds=second), minutes)


def test_a_gpu_at_work_and_one_at_rest_are_told_apart(heard):
    told, _ = heard
    train, quiet = told[2700]
    assert train.active_ratio == pytest.approx(LEVEL, rel=0.1)
    assert train.unknown_ratio == 0
    assert (quiet.active_ratio, quiet.unknown_ratio) == (0, 0)
    assert train.covered_seconds >= 1800
    assert train.age_seconds < 2


def test_while_the_agent_was_away_nothing_is_known(heard):
    told, _ = heard
    _, quiet = told[2400]
    assert quiet.active_ratio == 0
    assert quiet.unknown_ratio == pytest.approx((AWAY[1] - AWAY[0]) / 1800, rel=0.1)


def test_over_the_hour_the_last_minutes_alone_count(heard):
    told, _ = heard
    train, quiet = told[4200]
    assert train.active_ratio == pytest.approx(LEVEL * (ENDED - 2400) / 1800, rel=0.1)
    assert (quiet.active_ratio, quiet.unknown_ratio) == (0, 0)


def test_a_controller_that_begins_then_says_rather_too_much(heard):
    _, last = heard
    book = ActivityBook()
    book.take("node", last, BEGIN + timedelta(seconds=END))
    train, quiet = of(book, TRAIN, END), of(book, QUIET, END)
    assert train.active_ratio > LEVEL * (ENDED - 2400) / 1800
    assert quiet.active_ratio == 0
    assert quiet.covered_seconds == pytest.approx(END, abs=2)
