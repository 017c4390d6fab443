"""What a look leaves behind, in figures."""

from datetime import timedelta

import pytest

from controller.scaling.follow_up import SCARCE_FOR, gpus_put_down, put_down
from controller.scaling.model import NodeSeen, PodSeen
from tests.controller.scaling.engine_rig import BEGIN, END, INSIDE, REGISTRY, make_engine, settle
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.restart_rig import LLAMA, MINUTE, House
from tests.controller.scaling.test_every_step import become_ready
from tests.controller.scaling.toy_server import ToyServer, merge

KINDS = ("Deployment", "CronJob", "ScaledJob", "Job")


def test_gpus_that_are_down_are_those_that_were_held():
    server = ToyServer(REGISTRY, follow=become_ready)
    for kind in KINDS:
        server.add(kind, OBJECTS[kind])
    assert gpus_put_down(put_down(seen for kind in KINDS for seen in server.objects_of(kind))) == {}
    settle(make_engine(server), INSIDE)
    down = put_down(seen for kind in KINDS for seen in server.objects_of(kind))
    assert {seen.ref.kind for seen in down} == set(KINDS)
    (job,) = server.objects_of("Job")
    # three replicas of two GPUs, and the Job; a CronJob or ScaledJob holds what its runs hold, which nobody counted
    assert gpus_put_down(down) == {("team-a",): 3 * 2 + job.gpus_per_pod}


def test_a_rollout_holds_the_gpus_of_the_pod_template_that_it_runs(tmp_path):
    house = House(str(tmp_path))
    described = {"metadata": {"name": "pods"}, "spec": {"replicas": 0}}
    house.server.add("Deployment", merge(OBJECTS["Deployment"], described))
    rollout = merge(OBJECTS["Rollout"], {"spec": {"workloadRef": {"kind": "Deployment", "name": "pods"}}})
    del rollout["spec"]["template"]
    house.server.add("Rollout", rollout)
    settle(make_engine(house.server), INSIDE)
    house.at(INSIDE)
    assert house.scaler.stand().gpus_down == {("team-a",): 3 * 2}


QUOTA = "FailedCreate: pods is forbidden: exceeded quota: none"
LATE = END + timedelta(minutes=6)


def never_ready(item):
    """What the controllers of its kind say of an object whose pods are refused."""
    become_ready(item)
    if item["spec"].get("replicas"):
        item["status"] |= {"readyReplicas": 0}


def refused(house):
    house.at(INSIDE)
    house.server.follow = never_ready
    house.at(END - timedelta(minutes=2))
    house.now = LATE
    house.look()
    return house.scaler.stand().overdue


def test_a_restore_that_a_quota_holds_up_is_overdue_for_it(tmp_path):
    house = House(str(tmp_path))
    reason, _, message = QUOTA.partition(": ")
    said = [{"type": "ReplicaFailure", "status": "True", "reason": reason, "message": message}]
    house.server.edit(LLAMA, {"status": {"conditions": said}})
    assert refused(house) == {("quota",): 1}
    assert f"not Ready, quota: {QUOTA}" in {row["reason"] for row in house.rows}


def test_where_only_events_tell_of_the_quota_they_are_asked_after_the_look_that_missed_it(tmp_path):
    house = House(str(tmp_path))
    reason, _, message = QUOTA.partition(": ")
    house.api.events = [{"reason": reason, "message": message, "lastTimestamp": LATE.isoformat()}]
    assert refused(house) == {("other",): 1}
    house.look()
    assert house.scaler.stand().overdue == {("quota",): 1}
    assert f"not Ready, quota: {QUOTA}" in {row["reason"] for row in house.rows}


def pod(waiting="", node="gpu-7"):
    return PodSeen(
        "team-a", "llama-1", "p", LLAMA, node, "Pending", ready=False, gpus=0, created=BEGIN, waiting=waiting
    )


@pytest.mark.parametrize("restarts", [False, True])
def test_a_type_that_a_restore_waited_for_stays_out_of_capacity_for_days_through_restarts(tmp_path, restarts):
    house = House(str(tmp_path))
    node = NodeSeen("gpu-7", "p5.48xlarge", "on_demand", 8)
    house.view.set_nodes([node])
    house.view.replace_pods([pod()])
    house.at(INSIDE)
    house.view.replace_pods([pod("Unschedulable: 0/4 nodes are available", node="")])
    house.server.follow = never_ready
    house.at(END - timedelta(minutes=2))
    assert house.scaler.tally.scarce == {}
    house.now = LATE
    house.look()
    since = house.now
    house.view.replace_pods([])
    house.server.follow = become_ready
    house.server.edit(LLAMA, {"status": {"readyReplicas": 3}})
    become_ready(house.server.objects[LLAMA])
    house.settle()
    assert not house.is_down
    if restarts:
        house.start()
        assert house.scaler.tally.scarce == {}
        house.settle()
    assert house.scaler.tally.scarce == {"p5.48xlarge": since}
    house.now = since + SCARCE_FOR - 2 * MINUTE
    house.look()
    assert list(house.scaler.tally.scarce) == ["p5.48xlarge"]
    house.look()
    assert house.scaler.tally.scarce == {}
