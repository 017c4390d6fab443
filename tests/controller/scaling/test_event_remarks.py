"""What keeps a workload as it is reaches its owner once an hour, and at once when it is something else."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.scaling import event_remarks
from controller.scaling.decide import Step
from controller.scaling.event_remarks import AGAIN, EventRemarks
from controller.scaling.registry import kind_of
from tests.controller.scaling.audit_rig import EVENING, down

LOOK = timedelta(seconds=5)
CONTESTED = replace(down(), step=Step("contested", "somebody put it back 2 times"), kind=kind_of("Deployment"))
BROKEN = replace(CONTESTED, step=Step("broken", "its record is not understood"))


@pytest.fixture
def told():
    return []


@pytest.fixture
def remarks(told):
    return EventRemarks(lambda about, text, now: told.append((about.name, text.reason, text.message, now)))


def test_a_night_of_looks_is_one_event_an_hour(remarks, told):
    for number in range(3 * 720):
        remarks.remark(CONTESTED, "refused", "", EVENING + number * LOOK)
    assert [now - EVENING for *_, now in told] == [timedelta(0), AGAIN, 2 * AGAIN]
    assert {each[:2] for each in told} == {("chat", "ScheduleContested")}


def test_another_reason_or_another_wording_is_told_at_once(remarks, told):
    waiting = replace(CONTESTED, step=Step("await", "its pods are not Ready yet"))
    for task, why in ((CONTESTED, ""), (BROKEN, ""), (waiting, "quota"), (waiting, "no capacity"), (waiting, "quota")):
        remarks.remark(task, "refused", why, EVENING)
        remarks.remark(task, "refused", why, EVENING + LOOK)
    said = ["ScheduleContested", "ScheduleRecordBroken", *["ScheduleOverdue"] * 3]
    assert [reason for _, reason, *_ in told] == said
    assert [message for *_, message, _ in told][2:] == ["quota", "no capacity", "quota"]


def test_what_is_done_or_refused_by_a_guard_is_no_event(remarks, told):
    remarks.remark(down(), "refused", "activity: its GPUs work", EVENING)
    remarks.remark(CONTESTED, "done", "", EVENING)
    assert told == []


def test_what_was_told_is_remembered_of_so_many_only(remarks, told, monkeypatch):
    monkeypatch.setattr(event_remarks, "MOST_TOLD", 1)
    for task in (CONTESTED, BROKEN, CONTESTED):
        remarks.remark(task, "refused", "", EVENING)
    assert len(told) == 3
