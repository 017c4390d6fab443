"""What a look leaves behind in the records."""

from datetime import timedelta

import pytest

from controller.scaling.coming_back import LeadTimes
from controller.scaling.engine import Report, Tick
from controller.scaling.follow_up import FollowUp, Tally
from controller.scaling.guard_desk import ASKED_AGAIN
from controller.scaling.model import Refusal
from tests.controller.scaling.audit_rig import EVENING, down


@pytest.fixture
def told():
    return []


@pytest.fixture
def take(told):
    class Remarks:
        def remark(self, task, result, why, now):
            told.append((task.lever.ref.name, result, why))

    leads = LeadTimes(timedelta(0), timedelta(hours=1))
    follow_up = FollowUp(Tally(), leads, [Remarks()])

    def take(*refusals):
        task = down()
        report = Report(task.lever.ref, task.lever.ref, task.wish, task.step, task.workload, refusals)
        follow_up.take(Tick(EVENING, (report,)), {task.lever.ref: task})

    return take


def test_a_guard_s_refusal_is_recorded_with_its_name(take, told):
    take(Refusal("activity", "its GPUs work"), Refusal("young", "it is"))
    assert told == [("chat", "refused", "activity: its GPUs work")]


def test_that_agents_are_asked_once_more_is_no_refusal_and_hides_none(take, told):
    take(ASKED_AGAIN)
    assert told == []
    take(Refusal("telemetry", "node a does not answer"))
    assert told == [("chat", "refused", "telemetry: node a does not answer")]
