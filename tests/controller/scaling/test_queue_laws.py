"""ScaledObjects that are kept: recorded first, never in a fight, and taken back once they leave the settings."""

import contextlib
from datetime import timedelta

import pytest

from collectors.errors import Unavailable
from controller.scaling.act import Wrote
from controller.scaling.audit_log import found_again
from controller.scaling.queue_mark import MARK
from controller.scaling.record import RECORD
from ledger.audit import RESULT, frame_of
from tests.controller.scaling.queue_rig import CHAT, DAY, NIGHT, WORKLOAD, Rig

OURS = {"labels": {"app.kubernetes.io/managed-by": "wattledger"}}
WIDE, NARROW = '{"maxReplicaCount":9,"minReplicaCount":3}', '{"maxReplicaCount":2,"minReplicaCount":1}'


def test_what_is_made_and_moved_is_recorded_first_and_told():
    rig = Rig()
    rig.add("Deployment")
    rig.run(DAY)
    rig.run(NIGHT)
    assert rig.chat.bounds == (1, 2)
    assert rig.told == [
        ("intent", "make_scaler", "", "", WIDE),
        ("result", "make_scaler", "done", "", WIDE),
        ("intent", "move_bounds", "", WIDE, NARROW),
        ("result", "move_bounds", "done", WIDE, NARROW),
    ]
    first, made, *_ = rig.rows.rows
    assert (first.id, first.target.kind, first.through) == (made.id, "Deployment", "ScaledObject llama")
    assert [(kind, text.reason) for kind, text in rig.events] == [
        ("Deployment", "QueueScalingMade"),
        ("ScaledObject", "QueueScalingBounds"),
    ]


def test_without_its_intent_in_the_ledger_nothing_is_written():
    rig = Rig()
    rig.rows.fails = True
    with pytest.raises(Unavailable, match="no change of a ScaledObject is made: the disk is full"):
        rig.run()
    assert rig.server.asked == []


def test_a_dry_run_tells_once_what_it_would_write_and_writes_nothing():
    rig = Rig(dry_run=True)
    rig.add("Deployment")
    for _ in range(3):
        rig.run()
    assert (rig.server.asked, rig.chat) == ([], None)
    (row,) = rig.rows.rows
    assert (row.phase, row.dry_run, row.result, row.after) == (RESULT, True, "done", WIDE)
    assert row.reason == "dry run: bounds of 3 to 9 replicas, outside of all windows"


def test_a_workload_that_is_not_there_is_named():
    rig = Rig()
    rig.run()
    (row, _) = rig.rows.rows
    assert row.reason == "bounds of 3 to 9 replicas, outside of all windows; no Deployment team-a/llama is seen"


def put_back(rig, times):
    for _ in range(times):
        with contextlib.suppress(Unavailable):
            rig.run()
        rig.server.edit(CHAT, {"spec": {"minReplicaCount": 1, "maxReplicaCount": 8}})


def test_bounds_that_somebody_puts_back_twice_are_contested_until_the_window_ends():
    rig = Rig()
    rig.add("ScaledObject", metadata=OURS)
    put_back(rig, 20)
    assert rig.server.asked == ["write"] * 2
    with pytest.raises(Unavailable, match="contested: somebody put its bounds back 2 times, so theirs stand until"):
        rig.run()
    assert [text.reason for _, text in rig.events].count("QueueScalingLeftAlone") == 1
    rig.run(NIGHT)
    assert rig.chat.bounds == (1, 2)


def test_a_new_process_goes_on_counting_what_was_put_back():
    rig = Rig()
    rig.add("ScaledObject", metadata=OURS)
    put_back(rig, 2)
    rig.begin_anew(WORKLOAD)
    with pytest.raises(Unavailable, match="contested"):
        rig.run()


@pytest.mark.parametrize(("kind", "name"), [("HorizontalPodAutoscaler", "llama"), ("ScaledObject", "another")])
def test_beside_another_scaler_of_the_workload_none_is_made(kind, name):
    rig = Rig()
    rig.add("Deployment")
    rig.add(kind, metadata={"name": name})
    with pytest.raises(
        Unavailable, match=f"not made, since {kind} team-a/{name} scales Deployment team-a/llama already"
    ):
        rig.run()
    assert rig.server.asked == []
    assert [text.reason for _, text in rig.events] == ["QueueScalingLeftAlone"]


def test_where_autoscalers_cannot_be_seen_none_is_made():
    rig = Rig()
    rig.view.forbidden = {"HorizontalPodAutoscaler": "give it the verb list"}
    with pytest.raises(Unavailable, match="another HorizontalPodAutoscaler scales the workload cannot be seen: give"):
        rig.run()
    assert rig.server.asked == []


def test_what_is_refused_is_tried_again_ever_later_and_told_once():
    rig = Rig()
    rig.server.answers = [Wrote("forbidden", why="no right")] * 100
    for second in range(0, 600, 5):
        with pytest.raises(Unavailable, match="no right"):
            rig.run(DAY + timedelta(seconds=second))
    assert len(rig.server.asked) == 7  # after 5, 15, 35, 75, 155 and 315 s
    assert [row.result for row in rig.rows.rows] == ["", "forbidden"]


@pytest.mark.parametrize("leaves", [False, True], ids=["made", "deleted"])
def test_a_write_whose_answer_was_lost_is_told_as_done_once_it_stands_so(leaves):
    rig = Rig()
    if leaves:
        rig.run()
        rig.begin_anew()
    rig.server.answers = [Wrote("unknown", why="cut")]
    with pytest.raises(Unavailable, match="cut"):
        rig.run()
    if leaves:
        del rig.server.objects[CHAT]
    else:
        rig.add("ScaledObject", metadata=OURS, spec={"minReplicaCount": 3, "maxReplicaCount": 9})
    rig.run()
    rig.run()
    intent, lost, done = rig.rows.rows[-3:]
    assert (intent.phase, lost.result, done.result) == ("intent", "unknown", "done")
    assert intent.id == lost.id == done.id


def test_what_a_process_that_died_had_in_mind_is_told_by_how_it_stands():
    rig = Rig()
    rig.run()
    intent, _ = rig.rows.rows
    (done,) = found_again(frame_of([intent]), rig.server.get, NIGHT)
    assert (done.id, done.result, done.reason) == (intent.id, "done", "found so after a restart")
    del rig.server.objects[CHAT]
    (lost,) = found_again(frame_of([intent]), rig.server.get, NIGHT)
    assert lost.result == "unknown"


def test_one_that_is_made_and_not_seen_yet_is_not_made_again():
    rig = Rig()
    rig.server.answers = [Wrote("done", "1")]
    rig.run()
    rig.run()
    assert rig.server.asked == ["create"]
    rig.run(DAY + timedelta(minutes=2))
    assert rig.server.asked == ["create"] * 2


def test_one_that_was_made_is_deleted_once_it_leaves_the_settings():
    rig = Rig()
    rig.run(DAY)
    rig.run(NIGHT)
    rig.begin_anew()
    rig.run()
    assert rig.chat is None
    assert rig.told[-2:] == [
        ("intent", "undo_scaler", "", NARROW, ""),
        ("result", "undo_scaler", "done", NARROW, ""),
    ]


def test_one_that_was_made_and_changed_since_stays_and_is_named_with_the_command():
    rig = Rig()
    rig.run(DAY)
    rig.server.edit(CHAT, {"spec": {"cooldownPeriod": 7}})
    rig.run(NIGHT)
    rig.begin_anew()
    with pytest.raises(
        Unavailable, match=r"somebody changed it, or made it anew, since: .* kubectl delete -n team-a scaledobjects"
    ):
        rig.run()
    assert rig.chat is not None


def test_what_somebody_made_anew_of_its_export_is_theirs():
    rig = Rig()
    rig.run(DAY)
    item = rig.server.objects.pop(CHAT)
    gone = ("uid", "resourceVersion", "generation")
    meta = {key: value for key, value in item["metadata"].items() if key not in gone}
    spec = {**item["spec"], "cooldownPeriod": 7}
    anew = {**meta, "creationTimestamp": (DAY + timedelta(minutes=11)).isoformat()}
    rig.server.add("ScaledObject", {**item, "metadata": anew, "spec": spec})
    rig.begin_anew()
    with pytest.raises(Unavailable, match="made it anew"):
        rig.run(NIGHT)
    assert rig.chat is not None


def test_a_copy_of_one_whose_bounds_were_moved_gets_its_own_bounds_back():
    rig = Rig()
    rig.add("ScaledObject", metadata=OURS)
    rig.run(DAY)
    meta = {"name": "copy", "annotations": dict(rig.chat.annotations), **OURS}
    spec = {"scaleTargetRef": {"name": "copy"}, "minReplicaCount": 4, "maxReplicaCount": 6}
    copy = rig.add("ScaledObject", metadata=meta, spec=spec)
    rig.begin_anew(WORKLOAD, {**WORKLOAD, "name": "copy"})
    rig.run(NIGHT)
    assert rig.server.get(copy).bounds == (1, 2)
    rig.begin_anew(WORKLOAD)
    rig.run()
    assert rig.server.get(copy).bounds == (4, 6)
    assert MARK not in rig.server.get(copy).annotations


def test_what_was_put_back_of_the_one_it_is_a_copy_of_counts_against_no_copy():
    rig = Rig()
    rig.add("ScaledObject", metadata=OURS)
    put_back(rig, 2)
    meta = {"name": "copy", "annotations": dict(rig.chat.annotations), **OURS}
    copy = rig.add("ScaledObject", metadata=meta, spec={"scaleTargetRef": {"name": "copy"}})
    rig.begin_anew({**WORKLOAD, "name": "copy"})
    rig.run()
    assert rig.server.get(copy).bounds == (3, 9)


@pytest.mark.parametrize("hidden", [False, True])
def test_taking_back_that_was_not_done_is_not_told_as_done(hidden):
    """Neither where the object stands so by chance, nor while it cannot be seen."""
    rig = Rig()
    rig.add("ScaledObject", metadata=OURS)
    rig.run(NIGHT)
    rig.begin_anew()
    rig.server.answers = [Wrote("unknown", why="cut")]
    with pytest.raises(Unavailable, match="cut"):
        rig.run()
    intent = rig.rows.rows[-2]
    if hidden:
        rig.view.get = lambda _ref: None
    else:
        rig.server.edit(CHAT, {"spec": {"minReplicaCount": 1, "maxReplicaCount": 8}})
    rig.view.objects = lambda _kind: []
    rig.run()
    assert [row.result for row in rig.rows.rows if row.id == intent.id] == ["", "unknown"]
    (row,) = found_again(frame_of([intent]), rig.view.get, NIGHT)
    assert row.result == "unknown"


def test_whatever_befalls_the_write_of_one_the_others_are_kept_and_it_is_tried_ever_later():
    rig = Rig(WORKLOAD, {**WORKLOAD, "name": "zebra"})
    create, tries = rig.server.create, []

    def fails_for_the_first(kind, ref, item):
        if ref == CHAT:
            tries.append(ref)
            raise TypeError("of no type")
        return create(kind, ref, item)

    rig.server.create = fails_for_the_first
    for second in range(0, 600, 5):
        with pytest.raises(Unavailable, match=f"{CHAT}: TypeError: of no type"):
            rig.run(DAY + timedelta(seconds=second))
    assert [ref.name for ref in rig.server.objects] == ["zebra"]
    assert [row.result for row in rig.rows.rows if row.through == "ScaledObject llama"] == ["", "unknown"]
    assert len(tries) == 7  # after 5, 15, 35, 75, 155 and 315 s


def test_one_that_cannot_be_looked_at_leaves_the_others_kept(monkeypatch):
    rig = Rig(WORKLOAD, {**WORKLOAD, "name": "zebra"})
    get = rig.view.get

    def fails_for_the_first(ref):
        if ref == CHAT:
            raise TypeError("of no type")
        return get(ref)

    monkeypatch.setattr(rig.view, "get", fails_for_the_first)
    with pytest.raises(Unavailable, match=f"{CHAT}: TypeError: of no type"):
        rig.run()
    assert [ref.name for ref in rig.server.objects] == ["zebra"]


def test_bounds_that_were_moved_are_given_back_once_it_leaves_the_settings():
    rig = Rig()
    rig.add("ScaledObject", metadata=OURS)
    rig.run(NIGHT)
    assert rig.chat.bounds == (1, 2)
    rig.begin_anew()
    rig.run()
    assert rig.chat.bounds == (1, 8)
    assert MARK not in rig.chat.annotations
    assert rig.server.asked == ["write"] * 2


def test_bounds_that_somebody_set_since_stay_theirs_once_it_leaves_the_settings():
    rig = Rig()
    rig.add("ScaledObject", metadata=OURS)
    rig.run(NIGHT)
    rig.server.edit(CHAT, {"spec": {"maxReplicaCount": 5}})
    rig.begin_anew()
    rig.run()
    assert rig.chat.bounds == (1, 5)
    assert MARK not in rig.chat.annotations


def test_one_that_a_schedule_has_put_down_waits_until_it_is_up_again():
    rig = Rig()
    rig.run()
    rig.server.edit(CHAT, {"metadata": {"annotations": {RECORD: "{}"}}})
    rig.begin_anew()
    with pytest.raises(Unavailable, match="a schedule has put it down"):
        rig.run()
    assert rig.chat is not None


@pytest.mark.parametrize(
    "text", ["three", "[]", "{}", '{"v":1,"put":[1],"was":null,"generation":1,"until":"","moves":0}', "[" * 100_000]
)
def test_a_mark_that_is_not_understood_is_left_and_named(text):
    rig = Rig()
    rig.add("ScaledObject", metadata={**OURS, "annotations": {MARK: text}})
    for leave in (False, True):
        if leave:
            rig.begin_anew()
        with pytest.raises(Unavailable, match=f"the annotation {MARK} is not as it was written"):
            rig.run()
    assert rig.server.asked == []
