"""What is wrong with one object is that one's alone: it is left and reported, and all others come back."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import pytest

from collectors.kube_errors import Malformed
from controller.scaling.bring_back import BringBack, Server
from controller.scaling.decide import decide, record_or_none
from controller.scaling.model import Refusal
from controller.scaling.record import COMMAND, RECORD
from controller.scaling.registry import KINDS
from controller.time_windows import SpecRefused, known_zone
from tests.controller.scaling.engine_rig import AFTER, INSIDE, REGISTRY, make_engine, nightly, settle
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.restart_rig import House
from tests.controller.scaling.scaling_rig import HandClock
from tests.controller.scaling.test_every_step import become_ready
from tests.controller.scaling.toy_server import ToyServer, merge

PAUSED = "autoscaling.keda.sh/paused-replicas"
NESTED = "[" * 5000


@pytest.fixture
def server():
    return ToyServer(REGISTRY, follow=become_ready)


def add(server, kind, name):
    own = {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "elsewhere"}}} if kind == "ScaledObject" else {}
    return server.add(kind, merge(OBJECTS[kind], {"metadata": {"name": name}, **own}))


def mark(server, ref, record):
    server.edit(ref, {"metadata": {"annotations": {RECORD: record}}})


def edited(server, ref, **said):
    return json.dumps({**json.loads(server.objects[ref]["metadata"]["annotations"][RECORD]), **said})


def step(tick, ref):
    return next(report.step for report in tick.reports if report.ref == ref)


def put_down(server, kind):
    """The one that is to be broken, and another."""
    broken, other = add(server, kind, "aaa"), add(server, "Deployment", "bbb")
    settle(make_engine(server), INSIDE)
    return broken, other


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("Deployment", None),
        ("Deployment", {"at": "0001-01-01T00:00:00+23:00"}),
        ("Deployment", {"was": {"replicas": 10**30}}),
        ("CronJob", {"was": {"suspend": "no"}}),
        ("Notebook", {"was": {"stopped": 1}}),
        *(("ScaledObject", {"was": {"pausedReplicas": text}}) for text in ("two", "", "-1", "²", "9" * 5000)),
    ],
    ids=lambda each: str(each)[:40],
)
def test_a_record_edited_to_what_nothing_stands_at_is_broken_and_all_others_come_back(server, kind, said):
    ref, other = put_down(server, kind)
    if kind == "CronJob":
        server.edit(ref, {"spec": {"suspend": None}})  # nothing there tells of which type it is
    mark(server, ref, NESTED if said is None else edited(server, ref, **said))
    stands = server.objects[ref]
    for now in (INSIDE, AFTER):
        found = step(settle(make_engine(server), now), ref)
        assert (found.action, "set it by hand and remove the annotation" in found.why) == ("broken", True)
        assert f"{kind} team-a/aaa" in found.why
        assert len(found.why) < 500
    assert server.objects[ref] == stands
    assert server.objects[other]["spec"]["replicas"] == 3


def test_metrics_and_the_command_that_restores_all_leave_a_broken_record_aside(server):
    ref = add(server, "Deployment", "aaa")
    mark(server, ref, NESTED)
    assert record_or_none(server.get(ref)) is None


def test_how_scaling_stands_is_told_with_the_broken_one_among_the_skipped(tmp_path):
    house = House(str(tmp_path))
    house.at(INSIDE)
    mark(house.server, house.lever, NESTED)
    house.look()
    stand = house.scaler.stand()
    assert (stand.skipped, stand.down) == ({("broken",): 1}, {})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_can_stand_at_its_own_levers_and_at_none_of_another_type(kind):
    levers = kind.seen(OBJECTS[kind.name]).levers
    assert kind.stands(levers)
    assert not kind.stands(dict.fromkeys(levers, b""))


@pytest.mark.parametrize("paused", ["9" * 5000, "two"])
def test_a_pause_of_keda_that_is_no_count_cannot_be_read(server, paused):
    item = merge(OBJECTS["ScaledObject"], {"metadata": {"annotations": {PAUSED: paused}}})
    with pytest.raises(Malformed, match="which is no count") as refused:
        REGISTRY["ScaledObject"].seen(item)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("folders", [50, 600, 2000])
def test_a_zone_of_many_folders_is_none(folders):
    with pytest.raises(SpecRefused, match="is no time zone"):
        known_zone("a/" * folders + "b")


def test_the_longest_zone_is_one():
    zone = known_zone("America/Argentina/ComodRivadavia")
    assert datetime(2026, 1, 1, tzinfo=UTC).astimezone(zone).hour == 21


def fails_for(name, answer):
    """Of whatever it is asked, nothing can be made for one object."""

    def ask(asked, *rest, **more):
        named = getattr(asked, "ref", asked)
        if getattr(named, "name", "") == name:
            raise ArithmeticError("out of all bounds")
        return answer(asked, *rest, **more)

    return ask


def guards(downs, _now):
    for workload, _wish in downs:
        fails_for("aaa", lambda _: None)(workload.ref)
    return {workload.ref: (Refusal("young", "it is new"),) for workload, _ in downs if workload.ref.name == "ccc"}


@pytest.mark.parametrize("part", ["wish", "lead"])
@pytest.mark.parametrize("kind", ["Deployment", "ScaledObject"])
def test_whatever_befalls_one_object_it_is_left_and_told_once_and_the_others_come_back(server, caplog, part, kind):
    ref, other = put_down(server, kind)
    stands = server.objects[ref]
    answer = nightly() if part == "wish" else lambda _ref: timedelta(0)
    engine = make_engine(server, **{part: fails_for("aaa", answer)})
    ticks = [settle(engine, INSIDE + timedelta(minutes=minute)) for minute in range(3)]
    assert step(ticks[-1], ref).action == "broken"
    assert caplog.messages == [
        f"{ref}: it is left as it is, since nothing can be made of it: ArithmeticError: out of all bounds"
    ]
    if part == "wish":
        settle(engine, AFTER)
        assert server.objects[ref] == stands
        assert server.objects[other]["spec"]["replicas"] == 3


def test_the_command_that_restores_all_tells_which_object_failed_and_brings_back_the_others(server, monkeypatch):
    ref, other = put_down(server, "Deployment")
    command = server.objects[ref]["metadata"]["annotations"][COMMAND]
    write = server.write
    monkeypatch.setattr(server, "write", lambda kind, ref, *rest: fails_for("aaa", partial(write, kind))(ref, *rest))
    api = SimpleNamespace(get=lambda path, _dropped: server.objects[ref._replace(name=path.rpartition("/")[2])])
    everything = BringBack(Server(api, REGISTRY, lambda _kind: "v1", server), HandClock(), lambda: AFTER)
    brought = {each.ref: each for each in everything.run(server.objects_of("Deployment"), lambda _brought: None)}
    assert (brought[ref].result, brought[ref].why) == ("failed", "ArithmeticError: out of all bounds")
    assert brought[ref].command == command
    assert (brought[other].result, server.objects[other]["spec"]["replicas"]) == ("back", 3)


def test_an_object_beside_any_workload_of_which_nothing_can_be_made_is_left_alone_too(server, monkeypatch):
    ref, other = put_down(server, "HorizontalPodAutoscaler")
    mark(server, ref, server.objects[other]["metadata"]["annotations"][RECORD])
    failing = fails_for("aaa", decide)
    monkeypatch.setattr("controller.scaling.engine.decide", failing)
    engine = make_engine(server)
    monkeypatch.setattr(engine, "subjects", list)
    tick = settle(engine, AFTER)
    assert step(tick, ref).action == "broken"
    assert server.objects[other]["spec"]["replicas"] == 3


def test_a_guard_that_fails_for_one_workload_lets_the_others_be_guarded_and_go_down(server):
    refs = [add(server, "Deployment", name) for name in ("aaa", "bbb", "ccc")]
    tick = settle(make_engine(server, refusals=guards), INSIDE)
    assert [server.objects[ref]["spec"]["replicas"] for ref in refs] == [3, 0, 3]
    assert step(tick, refs[0]).action == "broken"
    assert [r.refusals for r in tick.reports if r.ref == refs[2]] == [(Refusal("young", "it is new"),)]


def test_a_write_that_fails_in_an_unforeseen_way_waits_and_the_others_are_made(server, monkeypatch, caplog):
    ref, other = put_down(server, "Deployment")
    write = server.write
    monkeypatch.setattr(server, "write", lambda kind, ref, *rest: fails_for("aaa", partial(write, kind))(ref, *rest))
    engine = make_engine(server)
    for late in range(3):
        engine.tick(AFTER + timedelta(seconds=late))
    assert server.objects[other]["spec"]["replicas"] == 3
    assert caplog.messages == [f"restore of {ref} cannot be written: ArithmeticError: out of all bounds"]
    monkeypatch.undo()
    settle(engine, AFTER + timedelta(minutes=5))
    assert server.objects[ref]["spec"]["replicas"] == 3
