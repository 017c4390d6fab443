import contextlib

import pytest

from collectors.clock import SystemClock
from collectors.errors import Unavailable
from collectors.pod_resources import PodResources
from collectors.process_holders import ProcessHolders
from tests.cluster.api import Api, ApiError
from tests.cluster.pods import container, container_ids, pod
from tests.cluster.waiting import wait_until

WHOLE = ("GPU-5a0f2d8e-6f0c-5a3e-9a51-000000000000", "GPU-5a0f2d8e-6f0c-5a3e-9a51-000000000001")
SHARED = "GPU-5a0f2d8e-6f0c-5a3e-9a51-000000000002"
REPLICAS = tuple(f"{SHARED}::{replica}" for replica in range(4))
MIG = ("MIG-0b7c9a34-7a11-5d5e-8c44-000000000000", "MIG-0b7c9a34-7a11-5d5e-8c44-000000000001")
OFFER = {"nvidia.com/gpu": WHOLE, "nvidia.com/gpu.shared": REPLICAS, "nvidia.com/mig-1g.10gb": MIG}


@pytest.fixture(autouse=True)
def offered(cluster):
    for node in cluster.nodes:
        cluster.offer(node, OFFER)


def ask(node):
    """The kubelet's answer through our own client: namespace/pod/container to resource to ids."""
    answer = PodResources(SystemClock(), socket_path=node.pod_resources_socket).read_if_due()
    found = {}
    for one in answer:
        for part in one.containers:
            held = found.setdefault(f"{one.namespace}/{one.pod}/{part.name}", {})
            for device in part.devices:
                held.setdefault(device.resource_name, set()).update(device.ids)
    return found


def test_pods_with_whole_shared_and_mig_devices_are_told_by_the_kubelets_of_both_nodes(cluster, run_pod):
    run_pod(pod("whole", container(devices={"nvidia.com/gpu": 2}), node="node-a"))
    run_pod(pod("shared", container(devices={"nvidia.com/gpu.shared": 1}), node="node-b"))
    both = (container("one", {"nvidia.com/mig-1g.10gb": 1}), container("two", {"nvidia.com/mig-1g.10gb": 1}))
    run_pod(pod("mig", *both, node="node-b"))
    run_pod(pod("none", node="node-b"))
    on_a, on_b = ask(cluster.nodes["node-a"]), ask(cluster.nodes["node-b"])
    assert on_a == {"default/whole/main": {"nvidia.com/gpu": set(WHOLE)}}
    assert on_b["default/none/main"] == {}
    assert len(on_b["default/shared/main"]["nvidia.com/gpu.shared"] & set(REPLICAS)) == 1
    migs = [on_b[f"default/mig/{name}"]["nvidia.com/mig-1g.10gb"] for name in ("one", "two")]
    assert sorted(map(len, migs)) == [1, 1]
    assert set.union(*migs) == set(MIG)


def test_a_pod_that_is_gone_is_told_no_more(cluster, run_pod):
    run_pod(pod("short", container(devices={"nvidia.com/gpu": 1}), node="node-a"))
    assert "default/short/main" in ask(cluster.nodes["node-a"])
    cluster.remove_pod("short")
    assert ask(cluster.nodes["node-a"]) == {}


def test_a_container_sees_the_ids_that_it_was_given(cluster, run_pod):
    run_pod(pod("seer", container(devices={"nvidia.com/gpu": 2}), node="node-a"))
    seen = cluster.kubectl("exec", "seer", "--", "sh", "-c", "echo $NVIDIA_VISIBLE_DEVICES").strip()
    assert sorted(seen.split(",")) == sorted(WHOLE)


def test_what_more_pods_ask_for_than_there_is_waits(cluster, run_pod):
    run_pod(pod("first", container(devices={"nvidia.com/gpu": 2}), node="node-a"))
    cluster.admin.post(
        "/api/v1/namespaces/default/pods", pod("second", container(devices={"nvidia.com/gpu": 1}), node="node-a")
    )
    try:
        wait_until(lambda: "Insufficient nvidia.com/gpu" in reason(cluster, "second"), 60, "the scheduler to refuse")
    finally:
        cluster.remove_pod("second")


def reason(cluster, name):
    conditions = cluster.admin.get(f"/api/v1/namespaces/default/pods/{name}")["status"].get("conditions", [])
    return " ".join(condition.get("message", "") for condition in conditions)


def test_processes_resolve_to_the_containers_of_their_pods(cluster, run_pod):
    both = (container("one"), container("two", {"nvidia.com/gpu": 1}))
    seen = run_pod(pod("holder", *both, node="node-b"))
    uid, node = seen["metadata"]["uid"], cluster.nodes["node-b"]
    pids = {name: node.pids_of(uid, long_id)[0] for name, long_id in container_ids(seen).items()}
    identities = ProcessHolders().identities_of(pids.values())
    told = {name: (identities[pid].cgroup.kind, identities[pid].cgroup.pod_uid) for name, pid in pids.items()}
    assert told == {"one": ("pod", uid), "two": ("pod", uid)}
    assert {name: identities[pid].cgroup.container_id for name, pid in pids.items()} == container_ids(seen)


@pytest.mark.parametrize(
    ("requests", "kind"),
    [({}, "BestEffort"), ({"cpu": "10m"}, "Burstable"), ({"cpu": "50m", "memory": "32Mi"}, "Guaranteed")],
)
def test_every_class_of_pod_is_found_by_its_cgroup(cluster, run_pod, requests, kind):
    limits = requests if kind == "Guaranteed" else {}
    one = container() | {"resources": {"requests": requests, "limits": limits}}
    seen = run_pod(pod("classed", one, node="node-a"))
    assert seen["status"]["qosClass"] == kind
    (pid,) = cluster.nodes["node-a"].pids_of(seen["metadata"]["uid"], container_ids(seen)["main"])
    identity = ProcessHolders().identities_of([pid])[pid]
    assert identity.cgroup.pod_uid == seen["metadata"]["uid"]


def test_a_kubelet_that_is_away_is_an_error_and_knows_everything_again_afterwards(cluster, run_pod):
    node = cluster.nodes["node-a"]
    run_pod(pod("stays", container(devices={"nvidia.com/gpu": 1}), node="node-a"))
    before = ask(node)
    with restarted(node), pytest.raises(Unavailable):
        ask(node)
    # at first it answers with no pod at all: it knows of none before the API server has told it
    wait_until(lambda: answers(node) == before, 30, "PodResources to answer as before")
    cluster.wait_for_allocatable("node-a", {"nvidia.com/gpu": "2"})
    run_pod(pod("new", container(devices={"nvidia.com/gpu": 1}), node="node-a"))
    held = ask(node)
    assert held["default/stays/main"] == before["default/stays/main"]
    assert held["default/new/main"]["nvidia.com/gpu"].isdisjoint(held["default/stays/main"]["nvidia.com/gpu"])


@contextlib.contextmanager
def restarted(node):
    node.stop_kubelet()
    try:
        yield
    finally:
        node.start_kubelet()


def answers(node):
    try:
        return ask(node)
    except Unavailable:
        return None


def test_a_kubelet_that_hangs_is_an_error_within_the_time_a_call_may_take(cluster):
    node = cluster.nodes["node-b"]
    node.freeze_kubelet()
    try:
        with pytest.raises(Unavailable):
            ask(node)
    finally:
        node.thaw_kubelet()
    wait_until(lambda: answers(node) is not None, 30, "PodResources to answer again")


def test_a_device_plugin_that_restarts_leaves_pods_what_they_hold(cluster, run_pod):
    node = cluster.nodes["node-a"]
    run_pod(pod("stays", container(devices={"nvidia.com/gpu": 1}), node="node-a"))
    before = ask(node)
    node.stop_device_plugin()
    cluster.wait_for_allocatable("node-a", {"nvidia.com/gpu": "0"})
    assert ask(node) == before
    node.start_device_plugin()
    cluster.wait_for_allocatable("node-a", {"nvidia.com/gpu": "2"})
    run_pod(pod("new", container(devices={"nvidia.com/gpu": 1}), node="node-a"))
    assert (
        ask(node)["default/new/main"]["nvidia.com/gpu"] == set(WHOLE) - before["default/stays/main"]["nvidia.com/gpu"]
    )


def test_an_unhealthy_device_is_given_to_no_pod(cluster, run_pod):
    cluster.offer("node-a", OFFER, unhealthy=[WHOLE[0]])
    run_pod(pod("picky", container(devices={"nvidia.com/gpu": 1}), node="node-a"))
    assert ask(cluster.nodes["node-a"])["default/picky/main"] == {"nvidia.com/gpu": {WHOLE[1]}}


def test_the_agents_account_may_read_what_it_needs_and_no_more(cluster):
    agent = Api(cluster.api_url, cluster.token, cluster.ca)
    assert agent.get("/api/v1/pods?fieldSelector=spec.nodeName=node-a")["kind"] == "PodList"
    assert agent.get("/api/v1/nodes/node-a")["metadata"]["name"] == "node-a"
    assert agent.get("/apis/resource.k8s.io/v1/resourceslices")["kind"] == "ResourceSliceList"
    for method, path in (("GET", "/api/v1/secrets"), ("GET", "/api/v1/nodes"), ("DELETE", "/api/v1/nodes/node-a")):
        with pytest.raises(ApiError, match="403"):
            agent.request(method, path)


def test_pods_are_reached_from_this_machine(cluster, run_pod):
    page = ("sh", "-c", "mkdir /tmp/www && echo hello >/tmp/www/metrics && httpd -f -p 8000 -h /tmp/www")
    seen = run_pod(pod("served", container(command=page), node="node-b"))
    address = seen["status"]["podIP"]
    api = Api(f"http://{address}:8000", "", cluster.ca)
    wait_until(lambda: fetches(api), 60, "the page")
    assert api.get("/metrics") == "hello\n"


def fetches(api):
    try:
        return bool(api.get("/metrics"))
    except OSError:
        return False
