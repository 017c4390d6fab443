"""What is deleted while it is down is told; a workload that its autoscaler leaves at nothing is named loudly."""

from tests.controller.scaling.engine_rig import INSIDE
from tests.controller.scaling.restart_rig import LLAMA, House


def told(house, reason):
    return [message for said, message in house.api.told if said == reason]


def test_a_workload_whose_autoscaler_is_deleted_while_it_holds_it_down_is_named(tmp_path, caplog):
    house = House(str(tmp_path), "ScaledObject")
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
    house.at(INSIDE)
    del house.server.objects[house.lever]
    house.settle()
    assert told(house, "ScheduleLeftDown") == []
    assert [row["reason"] for row in house.rows if row["result"] == "gone"] == ["it was deleted while it was down"]
