"""What is deleted while it is down is told; a workload that its autoscaler leaves at nothing is named loudly."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from collectors.kube_follow import FollowState
from controller.scaling.trimmed import Unreadable
from tests.controller.scaling.engine_rig import INSIDE
from tests.controller.scaling.restart_rig import LLAMA, House

HOUR = timedelta(hours=1)
unseen = pytest.mark.parametrize("state", [{"synced": False}, {"forbidden": True, "error": "403 Forbidden"}])


def told(house, reason):
    return [message for said, message in house.api.told if said == reason]


def follow(house, **state):
    for kind in ("Deployment", "ScaledObject"):
        house.view.attach(kind, SimpleNamespace(state=FollowState(**{"synced": True, **state})), "v1")


@unseen
def test_of_a_kind_that_is_listed_anew_or_may_not_be_seen_nothing_was_deleted(tmp_path, state):
    house = House(str(tmp_path))
    house.at(INSIDE)
    follow(house, **state)
    del house.server.objects[house.lever]
    house.settle()
    assert [row for row in house.rows if row["result"] == "gone"] == []


@unseen
def test_what_went_while_nobody_could_see_its_kind_is_told_once_it_can_be_seen(tmp_path, state):
    house = House(str(tmp_path))
    house.at(INSIDE)
    follow(house, **state)
    del house.server.objects[house.lever]
    house.settle()
    follow(house)
    house.settle()
    house.look()
    assert [row["reason"] for row in house.rows if row["result"] == "gone"] == ["it was deleted while it was down"]


@unseen
def test_what_came_back_before_it_went_unseen_was_not_deleted_while_it_was_down(tmp_path, state):
    house = House(str(tmp_path))
    follow(house)
    house.at(INSIDE)
    house.at(INSIDE + 14 * HOUR)
    assert not house.is_down
    follow(house, **state)
    del house.server.objects[house.lever]
    house.settle()
    follow(house)
    house.settle()
    assert [row for row in house.rows if row["result"] == "gone"] == []


def test_what_is_there_and_cannot_be_read_was_not_deleted(tmp_path, monkeypatch):
    house = House(str(tmp_path), "ScaledObject")
    follow(house)
    house.at(INSIDE)
    readable, broken = house.server.objects_of, Unreadable(house.lever, "its pause is no count")
    monkeypatch.setattr(
        house.server, "objects_of", lambda kind: [broken] if kind == house.lever.kind else readable(kind)
    )
    house.settle()
    assert [row for row in house.rows if row["result"] == "gone"] == []
    assert told(house, "ScheduleLeftDown") == []


def test_what_is_made_anew_under_its_name_was_deleted(tmp_path):
    house = House(str(tmp_path))
    follow(house)
    house.at(INSIDE)
    house.server.objects[house.lever]["metadata"] |= {"uid": "made-anew", "annotations": {}, "labels": {}}
    house.look()
    assert [row["reason"] for row in house.rows if row["result"] == "gone"] == ["it was deleted while it was down"]


def test_a_workload_whose_autoscaler_is_deleted_while_it_holds_it_down_is_named(tmp_path, caplog):
    house = House(str(tmp_path), "ScaledObject")
    follow(house)
    house.at(INSIDE)
    house.server.edit(LLAMA, {"spec": {"replicas": 0}})  # as KEDA does
    house.look()
    del house.server.objects[house.lever]
    house.settle()
    why = (
        f"ScaledObject {house.lever.name}: it was deleted while it was down; "
        "Deployment team-a/llama stays at replicas=0, which it was put to: set what it shall be"
    )
    assert told(house, "ScheduleLeftDown") == [why]
    assert why in caplog.text
    assert [(row["action"], row["reason"]) for row in house.rows if row["result"] == "gone"] == [("give_way", why)]


def test_what_is_deleted_as_a_whole_leaves_nobody_behind(tmp_path):
    house = House(str(tmp_path))
    follow(house)
    house.at(INSIDE)
    del house.server.objects[house.lever]
    house.settle()
    assert told(house, "ScheduleLeftDown") == []
    assert [row["reason"] for row in house.rows if row["result"] == "gone"] == ["it was deleted while it was down"]
