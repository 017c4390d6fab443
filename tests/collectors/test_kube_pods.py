import contextlib
import json
import logging
import threading
import time

import pytest

from collectors import kube_follow, kube_transport
from collectors.clock import NS_PER_SECOND
from collectors.errors import Unavailable
from collectors.kube_api import KubeApi
from collectors.kube_endpoint import KubeEndpoint
from collectors.kube_follow import Backoff
from collectors.kube_owners import Owner, Workload
from collectors.kube_pod_facts import MAX_KEPT, ContainerFacts, Kept, Port, pod_facts
from collectors.kube_pods import LINGER_NS, PodCache
from tests.collectors.kube_server import PODS, KubeServer, container_id, pod


class FastClock:
    """Waits a moment only, and counts what it was asked to wait as passed."""

    boot_id = "boot"

    def __init__(self):
        self.now_ns = 0
        self.waits = []

    def monotonic_ns(self):
        return self.now_ns

    def wall_ns(self):
        return self.now_ns

    def wait(self, event, duration_ns):
        self.waits.append(duration_ns / NS_PER_SECOND)
        self.now_ns += duration_ns
        return event.wait(0.005)


@pytest.fixture
def kube(monkeypatch):
    monkeypatch.setattr(kube_transport, "TICK_SECONDS", 0.02)
    server = KubeServer()
    yield server
    server.close()


@pytest.fixture
def clock():
    return FastClock()


@pytest.fixture
def following(clock):
    """Starts caches and ends their threads."""
    stop, threads = threading.Event(), []

    def follow(url, **more):
        cache = PodCache(KubeApi(KubeEndpoint(url, **more), timeout_seconds=5), "node-a", clock)
        threads.append(cache.start(stop))
        return cache

    yield follow
    stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def until(happens):
    """Wait for another thread."""
    ends = time.monotonic() + 10
    while not happens():
        assert time.monotonic() < ends, "it did not happen in 10 seconds"
        time.sleep(0.005)


def names(cache):
    return sorted(each.name for each in cache.pods().values())


def test_pods_are_listed_then_followed(kube, following):
    kube.set(pod("a"), pod("elsewhere", node="node-b"))
    cache = following(kube.url)
    until(lambda: names(cache) == ["a"])
    kube.set(pod("b"))
    until(lambda: names(cache) == ["a", "b"])
    assert kube.requests()[0]["fieldSelector"] == "spec.nodeName=node-a"
    assert kube.requests()[0]["resourceVersion"] == "0"


def test_a_pod_is_found_by_name_uid_and_container(kube, following):
    kube.set(pod("a", uid="u"))
    cache = following(kube.url)
    until(cache.pods)
    facts = cache.by_name("ml", "a")
    assert facts.uid == "u"
    assert cache.by_uid("u") == facts
    assert cache.by_container_id(container_id("a")) == (facts, "main")
    assert cache.by_container_id(f"containerd://{container_id('a')}") == (facts, "main")


def test_what_nobody_knows_is_none(kube, following):
    kube.set(pod("a"))
    cache = following(kube.url)
    until(cache.pods)
    assert (cache.by_name("ml", "b"), cache.by_uid("x"), cache.by_container_id("f" * 64)) == (None, None, None)
    assert cache.by_container_id("") is None


def test_a_deleted_pod_stays_known_for_ten_minutes(kube, following, clock):
    kube.set(pod("a"), pod("b"))
    cache = following(kube.url)
    until(cache.pods)
    kube.wait_for_watch()
    kube.delete("uid-a")
    kube.set(pod("c"))
    until(lambda: "c" in names(cache))
    assert cache.by_container_id(container_id("a"))[0].name == "a"
    clock.now_ns += LINGER_NS - 1
    assert names(cache) == ["a", "b", "c"]
    clock.now_ns += 1
    assert names(cache) == ["b", "c"]
    assert cache.by_container_id(container_id("a")) is None


def test_a_pod_that_has_ended_stays_known_for_ten_minutes(kube, following, clock):
    kube.set(pod("a", status={"phase": "Succeeded"}))
    cache = following(kube.url)
    until(cache.pods)
    assert cache.by_name("ml", "a").finished
    clock.now_ns += LINGER_NS
    assert cache.by_name("ml", "a") is None


def test_what_is_forgotten_takes_no_memory(kube, following, clock):
    kube.set(pod("a"))
    cache = following(kube.url)
    until(cache.pods)
    kube.wait_for_watch()
    kube.delete("uid-a")
    kube.set(pod("b"))
    until(lambda: "b" in names(cache))
    clock.now_ns += LINGER_NS
    kube.set(pod("c"))
    until(lambda: names(cache) == ["b", "c"])
    assert set(cache._pods) == {"uid-b", "uid-c"}
    assert cache._until_ns == {}


def test_of_two_pods_of_one_name_the_living_one_is_found(kube, following):
    kube.set(pod("a", uid="old"))
    cache = following(kube.url)
    until(cache.pods)
    kube.wait_for_watch()
    kube.set(pod("a", uid="new"))
    kube.delete("old")
    kube.set(pod("z"))
    until(lambda: "z" in names(cache))
    assert cache.by_name("ml", "a").uid == "new"
    assert cache.by_uid("old").name == "a"


def test_a_restarted_container_is_found_by_both_its_ids(kube, following):
    status = {"name": "main", "containerID": "containerd://" + "1" * 64}
    ended = {"terminated": {"containerID": "containerd://" + "0" * 64}}
    kube.set(pod("a", status={"containerStatuses": [status | {"lastState": ended}]}))
    cache = following(kube.url)
    until(cache.pods)
    assert cache.by_name("ml", "a").containers["main"].ids == ("1" * 64, "0" * 64)
    assert cache.by_container_id("0" * 64) == cache.by_container_id("1" * 64)


def test_a_static_pod_is_found_by_the_uid_of_its_cgroup(kube, following):
    kube.set(pod("etcd-node-a", metadata={"annotations": {"kubernetes.io/config.hash": "ab" * 16}}))
    cache = following(kube.url)
    until(cache.pods)
    assert cache.by_uid("ab" * 16).name == "etcd-node-a"


def test_a_watch_that_breaks_off_goes_on_where_it_was(kube, following):
    kube.set(pod("a"))
    cache = following(kube.url)
    kube.wait_for_watch()
    kube.set(pod("b"))
    until(lambda: "b" in names(cache))
    kube.cut()
    kube.wait_for_requests(2, "watch")
    kube.set(pod("c"))
    until(lambda: names(cache) == ["a", "b", "c"])
    assert len(kube.requests("list")) == 1
    assert kube.requests("watch")[1]["resourceVersion"] == "102"


def test_after_a_version_that_expired_pods_are_listed_again_and_the_gone_are_known(kube, following, clock):
    kube.set(pod("a"), pod("b"))
    cache = following(kube.url)
    kube.wait_for_watch()
    kube.objects[PODS].pop("uid-a")
    kube.objects[PODS]["uid-c"] = pod("c")
    kube.forget()
    until(lambda: "c" in names(cache))
    assert names(cache) == ["a", "b", "c"]
    clock.now_ns += LINGER_NS
    until(lambda: names(cache) == ["b", "c"])
    assert kube.requests("list")[1]["resourceVersion"] == "102"


def test_a_list_whose_version_is_gone_too_is_read_from_the_store(kube, following):
    expired = (410, {}, json.dumps({"reason": "Expired", "message": "too old"}))
    kube.fail(expired)
    kube.set(pod("a"))
    cache = following(kube.url)
    until(lambda: names(cache) == ["a"])
    assert [query.get("resourceVersion") for query in kube.requests("list")] == ["0", None]


def test_a_server_away_at_the_start_is_waited_for(following, closed_port, clock):
    cache = following(closed_port)
    until(lambda: len(clock.waits) > 8)
    health = cache.health()
    assert (health.synced, health.age_ns) == (False, None)
    assert "ConnectionRefusedError" in health.error
    assert cache.pods() == {}


def test_waits_grow_to_half_a_minute_and_no_further(following, closed_port, clock):
    following(closed_port)
    until(lambda: len(clock.waits) > 12)
    assert 0.25 <= clock.waits[0] <= 0.5
    assert 15 <= max(clock.waits) <= 30


def test_a_server_that_is_cut_off_for_an_hour_costs_nothing_that_is_known(kube, following, clock):
    kube.set(pod("a"))
    cache = following(kube.url)
    until(cache.pods)
    kube.wait_for_watch()
    refused = (500, {}, "")
    kube.fail(*[refused] * 400)
    kube.cut()
    until(lambda: clock.now_ns > 3600 * NS_PER_SECOND)
    health = cache.health()
    assert names(cache) == ["a"]
    assert health.synced
    assert health.age_ns >= 3590 * NS_PER_SECOND
    assert "HTTP 500" in health.error
    with kube.changed:
        kube.faults.clear()
    kube.set(pod("b"))
    until(lambda: names(cache) == ["a", "b"])
    assert cache.health().error is None


def test_a_token_that_expired_is_read_again(kube, following, tmp_path):
    token = tmp_path / "token"
    token.write_text("old")
    kube.tokens = {"old"}
    cache = following(kube.url, token_file=token)
    kube.wait_for_watch()
    kube.tokens = {"new"}
    kube.cut()
    until(lambda: "HTTP 401" in (cache.health().error or ""))
    token.write_text("new")
    kube.set(pod("b"))
    until(lambda: names(cache) == ["b"])


def test_a_server_that_asks_for_peace_gets_it(kube, following, clock):
    kube.fail((429, {"Retry-After": "77"}, ""))
    kube.set(pod("a"))
    until(following(kube.url).pods)
    assert clock.waits[0] == 77


def test_a_server_that_ends_each_watch_at_once_is_not_asked_without_pause(kube, following, clock):
    kube.set(pod("a"))
    cache = following(kube.url)
    kube.wait_for_watch()
    kube.fail(*[(200, {}, "")] * 4)
    kube.cut()
    kube.wait_for_requests(6, "watch")
    assert len(clock.waits) >= 5
    assert names(cache) == ["a"]


@pytest.mark.parametrize(
    "said", [b"<html>\n", b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "1"}}}\n']
)
def test_garbage_in_a_watch_leads_to_a_new_list(kube, following, said):
    kube.set(pod("a"))
    cache = following(kube.url)
    kube.wait_for_watch()
    kube.fail(said)
    kube.cut()
    kube.wait_for_requests(2, "list")
    kube.set(pod("b"))
    until(lambda: names(cache) == ["a", "b"])


def test_one_failure_is_one_line_in_the_log_and_so_is_its_end(kube, following, clock, caplog):
    caplog.set_level(logging.INFO)
    kube.fail(*[(500, {}, "")] * 5)
    kube.set(pod("a"))
    until(following(kube.url).pods)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "following /api/v1/pods: the API server at" in caplog.text


def test_the_age_is_the_time_since_the_server_last_spoke(kube, following, clock):
    cache = following(kube.url)
    kube.wait_for_watch()
    until(lambda: cache.health().synced)
    clock.now_ns += 55
    until(lambda: cache.health().age_ns == 55)
    kube.bookmark()
    until(lambda: cache.health().age_ns == 0)


def test_the_thread_ends_soon_after_the_agent_does(kube, clock):
    stop = threading.Event()
    thread = PodCache(KubeApi(KubeEndpoint(kube.url)), "node-a", clock).start(stop)
    kube.wait_for_watch()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_watches_of_a_fleet_do_not_end_together():
    assert Backoff(chance=lambda: 0.0).spread(kube_follow.WATCH_SECONDS) == 240
    assert Backoff(chance=lambda: 1.0).spread(kube_follow.WATCH_SECONDS) == 300


def test_waits_double_with_half_left_to_chance():
    backoff = Backoff(1.0, 8.0, lambda: 0.0)
    assert [backoff.next_seconds() for _ in range(5)] == [0.5, 1.0, 2.0, 4.0, 4.0]
    backoff.reset()
    assert backoff.next_seconds() == 0.5
    assert Backoff(1.0, 8.0, lambda: 1.0).next_seconds() == 1.0


def facts(kept=None, **more):
    return pod_facts(pod("a", **more), kept or Kept())


def test_a_job_s_pod_says_what_run_it_is_of():
    owners = [{"kind": "Job", "name": "nightly-29384760", "controller": True}]
    found = facts(metadata={"ownerReferences": owners})
    assert (found.workload, found.run) == (Workload("CronJob", "nightly"), "nightly-29384760")


def test_a_pods_facts():
    owner = {"kind": "ReplicaSet", "name": "llm-5d9", "controller": True}
    found = facts(
        Kept(frozenset({"team"})),
        metadata={"labels": {"team": "search", "pod-template-hash": "5d9", "x": "y"}, "ownerReferences": [owner]},
        spec={"hostNetwork": True, "containers": [{"name": "main", "ports": [{"containerPort": 80, "name": "web"}]}]},
    )
    assert (found.uid, found.namespace, found.name, found.phase) == ("uid-a", "ml", "a", "Running")
    assert found.owner == Owner("ReplicaSet", "llm-5d9")
    assert found.workload == Workload("Deployment", "llm")
    assert found.labels == {"team": "search"}
    assert found.host_network
    assert found.pod_ip == "10.0.0.7"
    assert found.containers == {"main": ContainerFacts("main", "main", (container_id("a"),), (Port(80, "web"),))}


def test_init_and_ephemeral_containers_are_known_by_their_ids():
    found = facts(
        spec={"initContainers": [{"name": "load"}], "ephemeralContainers": [{"name": "debug"}]},
        status={
            "initContainerStatuses": [{"name": "load", "state": {"terminated": {"containerID": "cri-o://1"}}}],
            "ephemeralContainerStatuses": [{"name": "debug", "containerID": "docker://2"}],
        },
    )
    assert found.containers["load"] == ContainerFacts("load", "init", ("1",))
    assert found.containers["debug"] == ContainerFacts("debug", "ephemeral", ("2",))


def test_a_pod_that_has_not_started_has_no_container_ids():
    assert facts(status={"containerStatuses": []}).containers == {"main": ContainerFacts("main")}


def test_labels_and_annotations_are_kept_by_name_or_beginning():
    kept = Kept(frozenset({"a*", "b"}), frozenset({"prometheus.io/*"}))
    annotations = {"prometheus.io/port": "8000", "other": "x"}
    found = facts(kept, metadata={"labels": {"a1": "1", "a2": "2", "b": "3", "b2": "4"}, "annotations": annotations})
    assert found.labels == {"a1": "1", "a2": "2", "b": "3"}
    assert found.annotations == {"prometheus.io/port": "8000"}


def test_a_pod_with_thousands_of_labels_costs_no_more_than_sixty_four():
    labels = {f"a{i}": "x" for i in range(5000)}
    found = facts(Kept(frozenset({"a*"})), metadata={"labels": labels, "annotations": {"a": "x" * 100_000}})
    assert len(found.labels) == MAX_KEPT
    assert facts(metadata={"labels": labels}).labels == {}


def test_an_annotation_that_is_a_document_is_not_kept():
    assert facts(Kept(annotations=frozenset({"a"})), metadata={"annotations": {"a": "x" * 5000}}).annotations == {}


def test_an_owner_that_does_not_control_is_no_owner():
    assert facts(metadata={"ownerReferences": [{"kind": "Job", "name": "j"}]}).owner is None


@pytest.mark.parametrize("found", [{}, {"metadata": []}, {"metadata": {"name": "a", "namespace": "b", "uid": 3}}])
def test_an_object_that_is_no_pod_is_refused(found):
    with pytest.raises(Unavailable, match="a pod without UID, namespace or name"):
        pod_facts(found, Kept())


@pytest.mark.parametrize("part", ["metadata", "spec", "status"])
def test_a_pod_of_odd_shape_never_breaks_the_reader(part):
    with contextlib.suppress(Unavailable):
        pod_facts({**pod("a"), part: [1, "two", None]}, Kept(frozenset({"x*"})))
    odd = {"labels": 3, "containers": [{"name": 5, "ports": [{"containerPort": "x"}]}, 7], "containerStatuses": {}}
    pod_facts(pod("a", **{part: odd}), Kept(frozenset({"x*"})))


def test_a_pod_is_present_until_it_ends_or_goes(kube, clock):
    cache = PodCache(KubeApi(KubeEndpoint(kube.url)), "node-a", clock)
    there = pod_facts(pod("train"), Kept())
    cache.put(there)
    assert cache.present(there.namespace, "train")
    assert not cache.present(there.namespace, "other")
    cache.remove(there)

    assert not cache.present(there.namespace, "train")
    assert cache.by_name(there.namespace, "train") == there
