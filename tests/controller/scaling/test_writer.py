"""One write, against every way in which a real API server can fail it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from collectors.kube_follow import Backoff
from controller.scaling.model import Ref
from controller.scaling.patches import Patch
from controller.scaling.rate import TokenBucket
from controller.scaling.writer import MOST_TRIES, Pace, Writer
from tests.api_proxy import (
    BUSY,
    CONFLICT,
    CUT_AFTER,
    CUT_BEFORE,
    CUT_WITHIN,
    DOWN,
    ERROR,
    ERROR_AFTER,
    Fault,
)
from tests.controller.scaling.scaling_rig import DEPLOYMENT, HandClock, deployment, folder

DOWN_TO_0 = Patch("scale", {"spec": {"replicas": 0}})
MARK = Patch("object", {"metadata": {"annotations": {"wattledger.io/x": "1"}}})


class Health:
    def __init__(self):
        self.said = []

    def good(self, now_ns):
        self.said.append("good")

    def bad(self, now_ns, why):
        self.said.append(why)


class Rig:
    def __init__(self, api_server, proxy, namespace):
        self.proxy, self.admin = proxy, api_server.admin
        self.clock, self.stop, self.health = HandClock(), threading.Event(), Health()
        self.path = f"{folder(namespace)}/web"
        self.ref = Ref("Deployment", namespace, "web")
        self.version = self.admin.post(folder(namespace), deployment())["metadata"]["resourceVersion"]
        self.served = {"Deployment": "v1"}
        self.writer = self.make(api_server.client(url=proxy.url))

    def make(self, api, per_second=50.0):
        backoff = Backoff(first_seconds=1, most_seconds=8, chance=lambda: 1.0)
        pace = Pace(self.clock, self.stop, TokenBucket(per_second), backoff)
        return Writer(api, lambda kind: self.served.get(kind, ""), pace, self.health)

    def write(self, patch=DOWN_TO_0, version=None):
        return self.writer.write(DEPLOYMENT, self.ref, patch, version or self.version)

    @property
    def stands(self):
        return self.admin.get(self.path)


@pytest.fixture
def rig(api_server, proxy, namespace):
    return Rig(api_server, proxy, namespace)


def test_a_write_tells_the_version_that_the_next_is_made_upon(rig):
    marked = rig.write(MARK)
    assert (marked.result, rig.write(version=marked.version).result) == ("done", "done")
    assert rig.stands["spec"]["replicas"] == 0
    assert rig.stands["metadata"]["annotations"]["wattledger.io/x"] == "1"
    assert rig.health.said == ["good", "good"]


@pytest.mark.parametrize("patch", [MARK, DOWN_TO_0])
def test_a_write_upon_what_has_changed_is_a_conflict_and_nothing_is_written(rig, patch):
    rig.admin.request("PUT", rig.path, rig.stands | {"spec": rig.stands["spec"] | {"replicas": 5}})
    wrote = rig.write(patch)
    assert wrote.result == "conflict"
    assert "modified" in wrote.why
    assert rig.stands["spec"]["replicas"] == 5
    assert "annotations" not in rig.stands["metadata"] or "wattledger.io/x" not in rig.stands["metadata"]["annotations"]
    assert len(rig.proxy.writes) == 1


@pytest.mark.parametrize(
    ("fault", "result", "replicas"),
    [
        (CUT_BEFORE, "unknown", 3),
        (CUT_AFTER, "unknown", 0),
        (CUT_WITHIN, "unknown", 0),
        (ERROR, "unknown", 3),
        (ERROR_AFTER, "unknown", 0),
        (DOWN, "unknown", 3),
        (CONFLICT, "conflict", 3),
    ],
)
def test_a_write_that_may_have_happened_is_never_sent_twice(rig, fault, result, replicas):
    rig.proxy.fail_next(fault)
    wrote = rig.write()
    assert (wrote.result, len(rig.proxy.writes)) == (result, 1)
    assert wrote.why
    assert rig.stands["spec"]["replicas"] == replicas
    assert (rig.health.said == ["good"]) is (result == "conflict")


def test_what_was_written_without_an_answer_is_a_conflict_for_whoever_still_has_the_old_version(rig):
    rig.proxy.fail_next(CUT_AFTER)
    rig.write()
    assert rig.write(Patch("scale", {"spec": {"replicas": 9}})).result == "conflict"


def test_a_busy_server_is_asked_again_when_it_said_and_the_write_happens_once(rig):
    rig.proxy.fail_next(Fault(status=429, retry_after="7"), times=2)
    assert rig.write().result == "done"
    assert rig.clock.waits == [7, 7]
    assert [request.status for request in rig.proxy.writes] == [429, 429, 200]


def test_what_is_made_and_deleted_keeps_the_same_waits_and_happens_once(rig):
    item = deployment()
    item["metadata"]["name"] = "other"
    ref = rig.ref._replace(name="other")
    rig.proxy.fail_next(Fault(status=429, retry_after="7"))
    assert rig.writer.create(DEPLOYMENT, ref, item).result == "done"
    assert rig.writer.create(DEPLOYMENT, ref, item).result == "conflict"
    rig.proxy.fail_next(Fault(status=429, retry_after="9"))
    other = DEPLOYMENT.seen(rig.admin.get(f"{rig.path.rpartition('/')[0]}/other"))
    assert rig.writer.delete(DEPLOYMENT, other).result == "done"
    assert rig.writer.delete(DEPLOYMENT, other).result == "gone"
    assert [seconds for seconds in rig.clock.waits if seconds > 1] == [7, 9]
    assert [request.status for request in rig.proxy.writes] == [429, 201, 409, 429, 200, 404]


def test_a_server_that_stays_busy_is_given_up(rig):
    rig.proxy.fail_next(BUSY, times=-1)
    wrote = rig.write()
    assert (wrote.result, len(rig.proxy.writes)) == ("unknown", MOST_TRIES)
    assert wrote.why.startswith("not written, 5 times: ")
    assert rig.clock.waits == [1, 2, 4, 8]
    assert len(rig.health.said) == MOST_TRIES


def test_a_server_that_wants_minutes_is_not_asked_meanwhile(rig):
    rig.proxy.fail_next(Fault(status=429, retry_after="120"))
    assert "asks to be left alone for 120 s" in rig.write().why
    assert "not written" in rig.write().why
    assert len(rig.proxy.writes) == 1
    rig.clock.now_ns += 120 * 10**9
    assert rig.write().result == "done"


def test_after_failures_each_write_waits_longer_until_one_is_answered(rig):
    rig.proxy.fail_next(ERROR, times=3)
    results = [rig.write().result for _ in range(4)]
    assert results == ["unknown", "unknown", "unknown", "done"]
    assert rig.clock.waits == [1, 2, 4]
    rig.proxy.fail_next(ERROR)
    rig.write(version=rig.stands["metadata"]["resourceVersion"])
    rig.write(version=rig.stands["metadata"]["resourceVersion"])
    assert rig.clock.waits[-1] == 1


def test_writes_keep_to_their_rate(rig, api_server):
    rig.writer = rig.make(api_server.client(), per_second=2)
    for number in range(3):
        rig.write(
            Patch("object", {"metadata": {"annotations": {"n": str(number)}}}),
            rig.stands["metadata"]["resourceVersion"],
        )
    assert rig.clock.waits == [0.5, 0.5]


def test_many_writes_of_several_threads_go_over_kept_connections(rig, api_server):
    api = api_server.client(keep_connections=True)
    rig.writer = rig.make(api, per_second=1000)

    def write(name):
        ref = Ref("Deployment", rig.ref.namespace, name)
        version = rig.admin.post(folder(rig.ref.namespace), deployment(name))["metadata"]["resourceVersion"]
        marked = rig.writer.write(DEPLOYMENT, ref, MARK, version)
        return rig.writer.write(DEPLOYMENT, ref, DOWN_TO_0, marked.version).result

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(write, [f"many-{number}" for number in range(24)]))
    api.close()
    assert results == ["done"] * 24
    listed = rig.admin.get(folder(rig.ref.namespace))["items"]
    assert {item["metadata"]["name"]: item["spec"]["replicas"] for item in listed} == {
        "web": 3,
        **{f"many-{number}": 0 for number in range(24)},
    }


def test_an_object_that_is_gone_is_told(rig):
    rig.admin.delete(rig.path)
    assert rig.write().result == "gone"


def test_a_kind_that_the_server_does_not_have_is_not_asked_for(rig):
    rig.served.clear()
    wrote = rig.write()
    assert (wrote.result, wrote.why, rig.proxy.writes) == ("gone", "the API server has no Deployment", [])


def test_an_object_made_anew_under_the_same_name_is_not_written_for_the_former_one(rig, namespace):
    rig.admin.delete(rig.path)
    rig.admin.post(folder(namespace), deployment(replicas=7))
    assert rig.write().result == "conflict"
    assert rig.stands["spec"]["replicas"] == 7


def test_what_the_server_does_not_accept_is_refused_with_its_words(rig):
    wrote = rig.write(Patch("scale", {"spec": {"replicas": -1}}))
    assert wrote.result == "refused"
    assert "greater than or equal to 0" in wrote.why


def test_a_missing_right_is_told_with_its_remedy(rig, api_server, proxy):
    api_server.grant("scaler", [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}])
    rig.writer = rig.make(api_server.client("scaler", url=proxy.url))
    wrote = rig.write()
    assert wrote.result == "forbidden"
    assert "the verb patch on deployments/scale of apps" in wrote.why
    assert rig.health.said == ["good"]


def test_a_stopping_controller_writes_nothing_more(rig):
    rig.stop.set()
    wrote = rig.write()
    assert (wrote.result, wrote.why, rig.proxy.writes) == ("unknown", "not written: the controller is stopping", [])
