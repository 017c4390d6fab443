"""What the view answers, by tables; that it is filled from a real API server is told by test_informers."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import NS_PER_SECOND
from collectors.kube_follow import FollowState
from controller.scaling.cluster_view import SETTLE_SECONDS, ClusterView
from controller.scaling.model import Owner, PodSeen, Readiness, Ref, Seen
from controller.scaling.trimmed import Unreadable
from tests.controller.scaling.scaling_rig import HandClock

AT = datetime(2026, 1, 1, tzinfo=UTC)
REF = Ref("Deployment", "ml", "web")


def seen(ref=REF, version="1", **more):
    return Seen(ref, "uid", version, 1, AT, {"replicas": 3}, Readiness(3, 3), **more)


def pod(uid="p", gpus=1, **more):
    made = PodSeen("ml", uid, uid, REF, "node-a", "Running", ready=True, gpus=gpus, created=AT)
    return replace(made, **more)


@pytest.fixture
def view():
    return ClusterView(HandClock())


def attach(view, kind, **state):
    source = SimpleNamespace(state=FollowState(**state))
    view.attach(kind, source, "v1")
    return source


def changed(view, act):
    view.changed.clear()
    act()
    return view.changed.is_set()


def test_a_new_version_of_what_is_otherwise_the_same_wakes_nobody(view):
    assert changed(view, lambda: view.put_object(seen()))
    assert not changed(view, lambda: view.put_object(seen(version="2")))
    assert view.get(REF).version == "2"
    assert changed(view, lambda: view.put_object(seen(version="3", annotations={"wattledger.io/x": "1"})))
    assert changed(view, lambda: view.put_pod(pod()))
    assert not changed(view, lambda: view.put_pod(pod()))


def test_pods_that_tell_nothing_are_not_kept(view):
    assert not changed(view, lambda: view.put_pod(pod("cpu", gpus=0)))
    view.replace_pods([pod("gpu"), pod("coming", gpus=0, ready=False), pod("ended", phase="Failed")])
    assert [each.name for each in view.pods_of(REF)] == ["gpu", "coming"]
    view.put_pod(pod("coming", gpus=0, ready=True))
    assert [each.name for each in view.pods_on("node-a")] == ["gpu"]


CLUSTER, SERVICE = Ref("RayCluster", "ml", "api-x7k2p"), Ref("RayService", "ml", "api")
DAY, NIGHTS = Ref("Job", "ml", "train-29112026"), Ref("CronJob", "ml", "train")


@pytest.mark.parametrize(
    ("maker", "owner", "told", "belongs"),
    [
        (CLUSTER, Owner("ray.io", "RayService", "api", "u"), CLUSTER, SERVICE),
        (CLUSTER, None, SERVICE, CLUSTER),
        (CLUSTER, Owner("example.com", "RayService", "api", "u"), SERVICE, CLUSTER),
        (DAY, None, NIGHTS, DAY),
        (DAY, Owner("batch", "CronJob", "train", "u"), NIGHTS, NIGHTS),
    ],
    ids=["a service's cluster", "nobody's cluster", "another's cluster", "a day's job", "a night's job"],
)
def test_a_pod_belongs_to_what_its_makers_owners_say_whichever_is_seen_first(view, maker, owner, told, belongs):
    mine = pod(workload=told, maker=maker)
    made = seen(maker, owners=(owner,) if owner else ())
    view.put_pod(mine)
    assert view.pods_of(told) == (mine,)
    view.put_object(made)
    assert (
        [each.workload for each in view.pods_of(belongs)]
        == [belongs]
        == [each.workload for each in view.pods_on("node-a")]
    )
    assert belongs == told or view.pods_of(told) == ()
    assert not changed(view, lambda: view.put_pod(mine))
    view.replace_pods([mine])
    assert [each.workload for each in view.pods_of(belongs)] == [belongs]
    view.remove_object(maker)
    assert view.pods_of(told) == (mine,)
    view.remove_pod(mine.uid)
    assert view.pods_of(told) == () == view.pods_of(belongs)


def test_an_object_that_becomes_unreadable_is_not_acted_upon_as_it_was(view):
    view.put_object(seen())
    view.put_object(Unreadable(REF, "spec.replicas is -1"))
    assert (view.get(REF), view.objects("Deployment"), view.unreadable) == (None, (), {REF: "spec.replicas is -1"})
    view.remove_object(REF)
    assert view.unreadable == {}


def test_a_kind_that_goes_takes_its_scalers_along(view):
    view.put_object(seen(Ref("ScaledObject", "ml", "s"), scales=("Deployment", "web")))
    assert len(view.scalers_of("ScaledObject", REF)) == 1
    view.detach("ScaledObject")
    assert view.scalers_of("ScaledObject", REF) == ()


@pytest.mark.parametrize(
    ("states", "ready"),
    [
        ([], True),
        ([{"synced": True}], True),
        ([{"synced": True}, {}], False),
        ([{"synced": True}, {"error": "no", "forbidden": True}], True),
        ([{"synced": True}, {"error": "HTTP 500"}], False),
    ],
)
def test_it_is_ready_when_all_was_listed_but_what_is_forbidden(view, states, ready):
    for number, state in enumerate(states):
        attach(view, f"Kind{number}", **state)
    assert not view.ready()
    view.decide(["Undecided"])
    assert not view.ready()
    view.decide([])
    assert view.ready() is ready


def test_a_kind_that_cannot_be_listed_does_not_keep_the_others_waiting_for_good(view):
    attach(view, "Kind", error="HTTP 500")
    view.decide([])
    assert not view.ready()
    view._clock.now_ns += SETTLE_SECONDS * NS_PER_SECOND
    assert view.ready()
    assert view.stale_seconds(view._clock.now_ns) == SETTLE_SECONDS


def test_a_new_kind_does_not_make_unready_what_was_ready(view):
    view.decide([])
    assert view.ready()
    attach(view, "Kind")
    assert view.ready()


def test_only_what_fails_is_stale_and_quiet_is_no_failure(view):
    now_ns = view._clock.now_ns
    attach(view, "Quiet", synced=True, heard_ns=now_ns - 900 * NS_PER_SECOND)
    attach(view, "Cut", synced=True, heard_ns=now_ns - 30 * NS_PER_SECOND, error="cut")
    attach(view, "Forbidden", heard_ns=now_ns - 999 * NS_PER_SECOND, error="no", forbidden=True)
    assert view.stale_seconds(now_ns) == 30
    assert view.stale_seconds(now_ns, {"Quiet", "Forbidden"}) == 0
    assert (view.failing, view.forbidden) == ({"Cut": "cut"}, {"Forbidden": "no"})


PODS = st.builds(
    lambda uid, gpus, ready, node, owner: pod(
        uid, gpus, ready=ready, node=node, workload=Ref("Deployment", "ml", owner)
    ),
    *(st.sampled_from("abc"), st.integers(0, 1), st.booleans(), st.sampled_from(["", "x", "y"]), st.sampled_from("mn")),
)


@given(st.lists(st.tuples(st.sampled_from(["put", "remove", "replace"]), PODS), max_size=30))
def test_indexes_say_what_a_scan_would(steps):
    view, there = ClusterView(HandClock()), {}
    for act, item in steps:
        if act == "replace":
            there = {item.uid: item}
            view.replace_pods([item])
        elif act == "put":
            there[item.uid] = item
            view.put_pod(item)
        else:
            there.pop(item.uid, None)
            view.remove_pod(item.uid)
        kept = [each for each in there.values() if each.gpus or not each.ready]
        for owner in "mn":
            workload = Ref("Deployment", "ml", owner)
            assert set(view.pods_of(workload)) == {each for each in kept if each.workload == workload}
        for node in "xy":
            assert set(view.pods_on(node)) == {each for each in kept if each.node == node}
    assert view._pods.workloads <= len({each.workload for each in there.values()})
