"""What a look at a cluster leads to: who is first, what stands in the way, and whose change stands."""

import json
from datetime import timedelta

import pytest

from controller.scaling.act import Wrote
from controller.scaling.model import Refusal, Size, Wish
from controller.scaling.record import COMMAND, RECORD
from ledger.store_errors import StoreError
from tests.controller.scaling.engine_rig import (
    AFTER,
    BEFORE,
    BEGIN,
    END,
    INSIDE,
    REGISTRY,
    Notes,
    make_engine,
    nightly,
    settle,
)
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.test_every_step import become_ready, essence
from tests.controller.scaling.toy_server import ToyServer, merge


@pytest.fixture
def server():
    return ToyServer(REGISTRY, follow=become_ready)


def deployment(server, name="llama", **more):
    item = merge(OBJECTS["Deployment"], {"metadata": {"name": name, **more.pop("metadata", {})}, **more})
    return server.add("Deployment", item)


def replicas(server, ref):
    return server.objects[ref]["spec"]["replicas"]


def action(tick, ref):
    return next(report.step.action for report in tick.reports if report.ref == ref)


def test_a_dry_run_writes_nothing_and_tells_what_it_would(server):
    ref = deployment(server)
    engine = make_engine(server, wish=lambda *asked: Wish(**dict_of(nightly()(*asked), dry_run=True)))
    tick = engine.tick(INSIDE)
    assert action(tick, ref) == "down"
    assert server.writes == 0


def dict_of(wish, **changes):
    return {**{name: getattr(wish, name) for name in wish.__slots__}, **changes}


def test_a_policy_that_becomes_a_dry_run_still_brings_back_what_is_down(server):
    ref = deployment(server)
    settle(make_engine(server), INSIDE)
    dry = make_engine(server, wish=lambda *asked: Wish(**dict_of(nightly()(*asked), dry_run=True)))
    settle(dry, INSIDE)
    assert replicas(server, ref) == 0
    settle(dry, AFTER)
    assert replicas(server, ref) == 3


def test_a_guard_that_refuses_keeps_a_workload_up_and_never_one_down(server):
    ref = deployment(server)
    refuse = {"refusals": lambda downs, _: {down.ref: (Refusal("activity", "its GPUs work"),) for down, _ in downs}}
    tick = settle(make_engine(server, **refuse), INSIDE)
    assert (action(tick, ref), replicas(server, ref)) == ("down", 3)
    settle(make_engine(server), INSIDE)
    settle(make_engine(server, **refuse, hold=lambda _now: "open", allowance=lambda _now: 0), AFTER)
    assert replicas(server, ref) == 3


def test_an_open_breaker_holds_downs_back_by_name(server):
    ref = deployment(server)
    tick = settle(make_engine(server, hold=lambda _now: "the API server fails"), INSIDE)
    assert replicas(server, ref) == 3
    assert [report.refusals for report in tick.reports] == [(Refusal("breaker", "the API server fails"),)]


def test_the_cap_leaves_the_rest_for_later(server):
    refs = [deployment(server, f"w{number}") for number in range(5)]
    engine = make_engine(server, allowance=lambda _now: 2)
    assert engine.tick(INSIDE).waiting == 3
    assert sum(replicas(server, ref) == 0 for ref in refs) == 2
    settle(engine, INSIDE)
    assert all(replicas(server, ref) == 0 for ref in refs)


def test_without_its_intents_no_down_is_made_and_every_restore_is(server):
    down, up = deployment(server, "down"), deployment(server, "up")
    settle(make_engine(server, wish=only("up")), INSIDE)
    engine = make_engine(server, Notes(fails=StoreError("disk full")), wish=only("down"))
    for _ in range(4):
        assert str(engine.tick(INSIDE).error) == "disk full"
    assert (replicas(server, down), replicas(server, up)) == (3, 3)


def only(name):
    night = nightly()

    def wish(seen, *rest):
        return night(seen, *rest) if seen.ref.name == name else Wish("none", "no policy concerns it")

    return wish


def test_intents_of_a_batch_are_committed_once_and_before_its_first_write(server):
    refs = [deployment(server, f"w{number}") for number in range(3)]
    book = Notes()
    seen = []
    server.before = lambda _number: seen.append(len(book.intents))
    make_engine(server, book).tick(INSIDE)
    assert book.intents == [[("down", ref) for ref in refs]]
    assert set(seen) == {1}


def test_a_workload_comes_back_its_lead_time_before_the_window_ends(server):
    ref = deployment(server)
    engine = make_engine(server, lead=lambda _ref: timedelta(minutes=10))
    settle(engine, INSIDE)
    settle(engine, END - timedelta(minutes=11))
    assert replicas(server, ref) == 0
    server.follow = lambda _item: None  # its pods do not start
    engine.tick(END - timedelta(minutes=10))
    assert replicas(server, ref) == 3
    assert json.loads(server.objects[ref]["metadata"]["annotations"][RECORD])["due"] == END.isoformat()
    assert action(settle(engine, END - timedelta(minutes=5)), ref) == "await"
    become_ready(server.objects[ref])
    settle(engine, END - timedelta(minutes=4))
    assert RECORD not in server.objects[ref]["metadata"]["annotations"]
    settle(engine, END - timedelta(minutes=3))
    assert replicas(server, ref) == 3


def test_what_comes_back_is_written_by_priority(server):
    refs = [deployment(server, f"w{number}") for number in range(4)]
    settle(make_engine(server), INSIDE)
    night = nightly()
    engine = make_engine(
        server, wish=lambda seen, *rest: Wish(**dict_of(night(seen, *rest), priority=int(seen.ref.name[1:])))
    )
    server.log.clear()
    engine.tick(AFTER)
    assert [ref.name for ref, patch in server.log if patch.place == "scale"] == ["w3", "w2", "w1", "w0"]
    assert len(refs) == 4


def test_a_policy_removed_while_things_are_down_brings_them_back(server):
    ref = deployment(server)
    was = essence(server.objects[ref])
    settle(make_engine(server), INSIDE)
    settle(make_engine(server, wish=lambda *_: Wish("none", "no policy concerns it")), INSIDE)
    assert essence(server.objects[ref]) == was


def test_what_somebody_set_while_it_was_down_stands_for_the_window_and_after(server):
    ref = deployment(server)
    engine = make_engine(server)
    settle(engine, INSIDE)
    server.edit(ref, {"spec": {"replicas": 2}})
    tick = settle(engine, INSIDE)
    assert "theirs stands" in tick.reports[0].step.why
    assert replicas(server, ref) == 2
    book = Notes()
    settle(make_engine(server, book), AFTER)
    assert replicas(server, ref) == 2
    assert RECORD not in server.objects[ref]["metadata"]["annotations"]
    assert [result[0] for result in book.results] == ["give_way"]


def test_the_second_revert_of_a_window_leaves_it_alone_until_the_window_ends(server):
    ref = deployment(server)
    engine = make_engine(server)
    for put_down in (True, True, False):
        tick = settle(engine, INSIDE)
        assert (replicas(server, ref) == 0) is put_down
        server.edit(ref, {"spec": {"replicas": 3}})
    assert action(tick, ref) == "contested"
    settle(engine, AFTER)
    assert RECORD not in server.objects[ref]["metadata"]["annotations"]
    settle(engine, INSIDE + timedelta(days=1))
    assert replicas(server, ref) == 0


def test_a_restore_cut_in_two_is_made_even_where_one_at_the_same_time_was_made_before():
    server = ToyServer(REGISTRY)  # nothing becomes Ready: the record stays from one restore to the next down
    ref = deployment(server)
    engine = make_engine(server)
    for now in (INSIDE, AFTER, INSIDE):
        settle(engine, now)
    second = server.writes + 2
    server.before = lambda number: Wrote("unknown") if number == second else None
    engine.tick(AFTER)
    assert replicas(server, ref) == 0
    settle(engine, AFTER)
    assert replicas(server, ref) == 3


def test_a_restore_of_what_is_held_by_an_autoscaler_now_is_made_once():
    server = ToyServer(REGISTRY)  # nothing becomes Ready
    ref = deployment(server)
    engine = make_engine(server, wish=nightly(Size(2)))
    settle(engine, INSIDE)
    server.add("HorizontalPodAutoscaler", OBJECTS["HorizontalPodAutoscaler"])
    engine.tick(INSIDE)
    assert replicas(server, ref) == 3
    server.edit(ref, {"spec": {"replicas": 2}})  # somebody means it
    settle(engine, INSIDE)
    assert replicas(server, ref) == 2
    assert RECORD not in server.objects[ref]["metadata"]["annotations"]


def test_reverts_that_take_the_record_away_too_are_counted(server):
    ref = deployment(server)
    engine = make_engine(server)
    gone = {"metadata": {"annotations": {RECORD: None, COMMAND: None}}, "spec": {"replicas": 3}}
    for put_down in (True, True, False):
        tick = settle(engine, INSIDE)
        assert (replicas(server, ref) == 0) is put_down
        server.edit(ref, gone)
    assert action(tick, ref) == "contested"


@pytest.mark.parametrize(
    "record",
    ["nonsense", "{}", "[]", '{"v":2}', '{"v":1,"kind":"Deployment","was":{"replicas":"three"},"put":{"replicas":0}}'],
)
def test_a_record_that_was_edited_to_nonsense_is_reported_and_nothing_is_guessed(server, record):
    ref = deployment(server)
    settle(make_engine(server), INSIDE)
    server.edit(ref, {"metadata": {"annotations": {RECORD: record}}})
    tick = settle(make_engine(server), AFTER)
    assert action(tick, ref) == "broken"
    assert "Deployment team-a/llama" in tick.reports[0].step.why
    assert "set it by hand" in tick.reports[0].step.why
    assert replicas(server, ref) == 0


@pytest.mark.parametrize(("key", "value"), [("was", {"replicas": "3"}), ("was", {"replicas": -1}), ("put", {})])
def test_a_lever_of_another_type_is_no_original(server, key, value):
    ref = deployment(server)
    settle(make_engine(server), INSIDE)
    record = json.loads(server.objects[ref]["metadata"]["annotations"][RECORD])
    server.edit(ref, {"metadata": {"annotations": {RECORD: json.dumps({**record, key: value})}}})
    assert action(settle(make_engine(server), AFTER), ref) == "broken"


def test_what_is_not_understood_about_a_workload_leaves_it_untouched(server):
    ref = deployment(server)
    tick = settle(make_engine(server, wish=lambda *_: Wish("unclear", "25:00")), INSIDE)
    assert (action(tick, ref), replicas(server, ref)) == ("unclear", 3)


def test_a_copy_made_while_it_was_down_comes_back_too(server):
    ref = deployment(server)
    settle(make_engine(server), INSIDE)
    item = server.objects.pop(ref)
    again = merge(item, {"metadata": {"uid": "another"}})
    server.add("Deployment", again)
    settle(make_engine(server), AFTER)
    assert replicas(server, ref) == 3


def test_a_workload_made_while_its_window_holds_goes_down_as_itself(server):
    ref = deployment(server)
    settle(make_engine(server), INSIDE)
    del server.objects[ref]
    deployment(server, spec={"replicas": 5})
    engine = make_engine(server)
    settle(engine, INSIDE)
    settle(engine, AFTER)
    assert replicas(server, ref) == 5


def autoscaled(server):
    ref = deployment(server)
    scaler = merge(
        OBJECTS["HorizontalPodAutoscaler"],
        {"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}}},
    )
    return ref, server.add("HorizontalPodAutoscaler", scaler)


def test_under_an_autoscaler_nothing_is_by_replicas_and_its_bounds_stay(server):
    ref, scaler = autoscaled(server)
    bounds = server.objects[scaler]["spec"]
    engine = make_engine(server)
    settle(engine, INSIDE)
    assert replicas(server, ref) == 0
    assert server.objects[scaler]["spec"] == bounds
    settle(engine, AFTER)
    assert replicas(server, ref) == 3


def test_under_an_autoscaler_a_smaller_size_is_by_its_bounds(server):
    ref, scaler = autoscaled(server)
    was = essence(server.objects[scaler])
    engine = make_engine(server, wish=nightly(Size(1)))
    settle(engine, INSIDE)
    assert replicas(server, ref) == 3
    spec = server.objects[scaler]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 1)
    settle(engine, AFTER)
    assert essence(server.objects[scaler]) == was


def test_an_autoscaled_workload_below_the_size_is_not_raised_to_it(server):
    ref, scaler = autoscaled(server)
    bounds = dict(server.objects[scaler]["spec"])
    server.edit(ref, {"spec": {"replicas": 1}})
    tick = settle(make_engine(server, wish=nightly(Size(2))), INSIDE)
    assert "would make it more" in tick.reports[0].step.why
    assert (replicas(server, ref), server.objects[scaler]["spec"]) == (1, bounds)


def test_a_kind_that_knows_no_size_between_says_so(server):
    ref = server.add("CronJob", OBJECTS["CronJob"])
    tick = settle(make_engine(server, wish=nightly(Size(1))), INSIDE)
    assert (action(tick, ref), "runs or does not" in tick.reports[0].step.why) == ("nothing", True)


def test_from_bounds_to_nothing_and_back_both_objects_are_as_they_were(server):
    ref, scaler = autoscaled(server)
    was = essence(server.objects[scaler]), essence(server.objects[ref])
    settle(make_engine(server, wish=nightly(Size(1))), INSIDE)
    settle(make_engine(server), INSIDE)
    assert replicas(server, ref) == 0
    assert essence(server.objects[scaler]) == was[0]
    settle(make_engine(server), AFTER)
    assert (essence(server.objects[scaler]), essence(server.objects[ref])) == was


def test_what_keda_scales_is_paused_at_its_scaled_object_alone(server):
    ref = deployment(server)
    scaled = merge(OBJECTS["ScaledObject"], {"spec": {"scaleTargetRef": {"name": "llama"}}})
    scaled["spec"]["scaleTargetRef"].pop("kind", None)
    paused = server.add("ScaledObject", scaled)
    was = essence(server.objects[paused])
    engine = make_engine(server)
    settle(engine, INSIDE)
    assert replicas(server, ref) == 3
    assert server.objects[paused]["metadata"]["annotations"]["autoscaling.keda.sh/paused-replicas"] == "0"
    settle(engine, AFTER)
    assert essence(server.objects[paused]) == was


def test_a_scaled_object_that_is_paused_where_it_is_stays_so_and_its_target_goes_down_by_itself(server):
    ref = deployment(server)
    still = {"autoscaling.keda.sh/paused": "true", "autoscaling.keda.sh/paused-replicas": None}
    scaled = {"metadata": {"annotations": still}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "llama"}}}
    paused = server.add("ScaledObject", merge(OBJECTS["ScaledObject"], scaled))
    was = essence(server.objects[paused])
    tick = settle(make_engine(server), INSIDE)
    assert (replicas(server, ref), essence(server.objects[paused])) == (0, was)
    assert [report.subject for report in tick.reports] == [ref]


def test_an_engine_that_has_not_seen_the_cluster_whole_does_nothing(server, monkeypatch):
    deployment(server)
    monkeypatch.setattr(server, "ready", lambda: False)
    assert make_engine(server).tick(INSIDE).reports == ()
    assert server.writes == 0


def test_a_tick_after_one_that_was_missed_leads_to_the_same(server):
    ref = deployment(server)
    engine = make_engine(server)
    for now in (BEFORE, BEGIN + timedelta(hours=11), BEGIN + timedelta(days=1, minutes=1), AFTER + timedelta(days=1)):
        settle(engine, now)
    assert replicas(server, ref) == 3


@pytest.mark.parametrize("stands", [1, 0])
def test_a_restore_by_an_autoscaler_s_bounds_is_finished_once_it_raised_what_it_scales(server, stands):
    ref, scaler = autoscaled(server)
    engine = make_engine(server, wish=nightly(Size(1)))
    settle(engine, INSIDE)
    server.edit(ref, {"spec": {"replicas": stands}})
    engine.tick(AFTER)
    assert server.objects[scaler]["spec"]["minReplicas"] == 2
    if stands:  # what stands at nothing it leaves there
        assert action(engine.tick(AFTER), scaler) == "await"
        server.edit(ref, {"spec": {"replicas": 2}})
    assert action(engine.tick(AFTER), scaler) == "finish"
    assert RECORD not in server.objects[scaler]["metadata"]["annotations"]


@pytest.mark.parametrize("pause", [None, "2"])
def test_a_restore_by_keda_s_pause_is_finished_once_keda_raised_what_it_scales(server, pause):
    ref = deployment(server)
    scaled = merge(OBJECTS["ScaledObject"], {"spec": {"scaleTargetRef": {"name": "llama"}, "minReplicaCount": 2}})
    scaled = merge(scaled, {"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": pause}}})
    paused = server.add("ScaledObject", scaled)
    engine = make_engine(server)
    settle(engine, INSIDE)
    server.edit(ref, {"spec": {"replicas": 0}})
    for stands, step in ((0, "await"), (1, "await"), (2, "finish")):
        server.edit(ref, {"spec": {"replicas": stands}})
        settle(engine, AFTER) if stands == 0 else None
        assert action(engine.tick(AFTER), paused) == step
