"""Killed at every single step of down and up, cut at every single write: every object ends as it was."""

import copy

import pytest

from controller.scaling.act import Wrote
from controller.scaling.model import Size
from controller.scaling.record import COMMAND, RECORD
from controller.scaling.refused_writes import FIRST_WAIT
from tests.controller.scaling.engine_rig import AFTER, BEFORE, INSIDE, REGISTRY, make_engine, nightly, settle
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.toy_server import Killed, ToyServer

FIRST = (
    "Deployment",
    "StatefulSet",
    "CronJob",
    "Job",
    "HorizontalPodAutoscaler",
    "ScaledObject",
    "ScaledJob",
    "Rollout",
    "LeaderWorkerSet",
    "Notebook",
)
ALL = (*FIRST, "RayCluster", "RayService", "PyTorchJob", "InferenceService")
POLICIES = {"HorizontalPodAutoscaler": {"wish": nightly(Size(1))}}
"""By kind, where it is not the usual one: at a size above 0 a Deployment goes down by the bounds of its HPA."""
MOST_WRITES = 12


def become_ready(item):
    """What the object's controller does to its status."""
    replicas = item["spec"].get("replicas", 1)
    item["status"] = {
        **item.get("status", {}),
        "observedGeneration": item["metadata"]["generation"],
        "replicas": replicas,
        "readyReplicas": replicas,
        "updatedReplicas": replicas,
        "availableReplicas": replicas,
    }


def world(kind):
    """A server with an object of a kind; what an HPA scales is there as well."""
    server = ToyServer(REGISTRY, follow=become_ready)
    if kind == "HorizontalPodAutoscaler":
        server.add("Deployment", OBJECTS["Deployment"])
    return server, server.add(kind, OBJECTS[kind])


def essence(item):
    """All of an object that its owner wrote."""
    meta = item["metadata"]
    return copy.deepcopy({"spec": item["spec"], "labels": meta["labels"], "annotations": meta.get("annotations", {})})


def everything(server):
    """All of every object that its owner wrote."""
    return {ref: essence(item) for ref, item in server.objects.items()}


def through_a_night(server, kind=""):
    """Before, inside and after the window, with a new process whenever the one at work is killed.

    A write that was refused is tried again a little later.
    """
    policy = POLICIES.get(kind, {})
    engine = make_engine(server, **policy)
    for now in (BEFORE, INSIDE, INSIDE + FIRST_WAIT, AFTER, AFTER + FIRST_WAIT):
        while True:
            try:
                settle(engine, now)
                break
            except Killed:
                engine = make_engine(server, **policy)


@pytest.mark.parametrize("kind", ALL)
def test_an_undisturbed_night_puts_it_down_and_gives_it_back(kind):
    server, ref = world(kind)
    was = everything(server)
    engine = make_engine(server, **POLICIES.get(kind, {}))
    settle(engine, INSIDE)
    down = server.get(ref)
    assert down.levers != REGISTRY[kind].seen(OBJECTS[kind]).levers
    assert {RECORD, COMMAND} <= server.objects[ref]["metadata"]["annotations"].keys()
    settle(engine, AFTER)
    assert everything(server) == was


def times(kind):
    """How many writes an undisturbed night takes."""
    server, _ = world(kind)
    through_a_night(server, kind)
    assert 0 < server.writes < MOST_WRITES
    return server.writes


STEPS = [(kind, write) for kind in ALL for write in range(1, times(kind) + 1)]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("kind", "write"), STEPS)
def test_a_controller_killed_around_any_write_changes_nothing_in_the_end(kind, write, moment):
    server, _ = world(kind)
    was = everything(server)
    killed = []

    def kill(number):
        if number == write and not killed:
            killed.append(number)
            raise Killed

    setattr(server, moment, kill)
    through_a_night(server, kind)
    assert killed == [write]
    assert everything(server) == was


FAULTS = {
    "cut before": ("before", Wrote("unknown", why="connection cut")),
    "cut after": ("after", Wrote("unknown", why="connection cut")),
    "conflict": ("before", Wrote("conflict", why="409")),
    "refused": ("before", Wrote("refused", why="400")),
    "forbidden": ("before", Wrote("forbidden", why="403")),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("kind", "write"), STEPS)
def test_an_answer_that_fails_at_any_write_changes_nothing_in_the_end(kind, write, fault):
    server, _ = world(kind)
    was = everything(server)
    moment, answer = FAULTS[fault]
    setattr(server, moment, lambda number: answer if number == write else None)
    through_a_night(server, kind)
    assert server.writes >= write
    assert everything(server) == was


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Rollout", "LeaderWorkerSet"])
@pytest.mark.parametrize("write", range(1, 6))
def test_killed_between_two_sizes_it_still_comes_back(kind, write):
    server, ref = world(kind)
    was = everything(server)
    sizes = iter([Size(0), Size(1), Size(0)])
    engine = make_engine(server, wish=nightly(next(sizes)))
    settle(engine, INSIDE)
    for size in sizes:

        def kill(number, at=server.writes + write):
            if number == at:
                raise Killed

        server.after = kill
        try:
            settle(make_engine(server, wish=nightly(size)), INSIDE)
        except Killed:
            server.after = lambda _number: None
        settle(make_engine(server, wish=nightly(size)), INSIDE)
        assert server.get(ref).levers == {"replicas": size.number}
    through_a_night(server)
    assert everything(server) == was


BY_SCALE = ("Deployment", "StatefulSet", "Rollout", "LeaderWorkerSet")


@pytest.mark.parametrize("kind", BY_SCALE)
@pytest.mark.parametrize("edits", range(4))
@pytest.mark.parametrize("write", range(1, 6))
def test_killed_after_any_write_and_edited_by_its_owner_meanwhile_it_still_comes_back(kind, edits, write):
    server, ref = world(kind)
    was = everything(server)

    def kill(number):
        if number == write:
            for edit in range(edits):
                server.edit(ref, {"spec": {"minReadySeconds": edit + 1}})
            raise Killed

    server.after = kill
    through_a_night(server)
    server.edit(ref, {"spec": {"minReadySeconds": None}})
    assert everything(server) == was


def unready(item):
    become_ready(item)
    item["status"]["readyReplicas"] = 0


@pytest.mark.parametrize("kind", BY_SCALE)
def test_who_puts_it_down_again_while_it_comes_back_has_the_last_word(kind):
    server, ref = world(kind)
    engine = make_engine(server)
    settle(engine, INSIDE)
    server.follow = unready
    settle(engine, AFTER)
    assert server.objects[ref]["spec"]["replicas"] == 3
    server.edit(ref, {"spec": {"replicas": 0}})
    settle(engine, AFTER)
    assert server.objects[ref]["spec"]["replicas"] == 0
    assert RECORD not in server.objects[ref]["metadata"]["annotations"]


@pytest.mark.parametrize("kind", BY_SCALE)
def test_who_does_so_under_one_process_after_another_has_it_in_the_end(kind):
    server, ref = world(kind)
    settle(make_engine(server), INSIDE)
    server.follow = unready
    for times_down in range(4):
        settle(make_engine(server), AFTER)
        assert server.objects[ref]["spec"]["replicas"] == (3 if times_down < 3 else 0)
        server.edit(ref, {"spec": {"replicas": 0}})
    assert RECORD not in server.objects[ref]["metadata"]["annotations"]
