"""Who the agents are, and which GPU nodes there are, by an API server over a real socket."""

import pytest

from collectors.errors import Unavailable
from collectors.journal_pull import AgentAddress
from collectors.kube_api import KubeApi
from collectors.kube_endpoint import KubeEndpoint, own_namespace
from collectors.kube_errors import Forbidden
from controller.agents import KnownAgents, PodAgents, PodSearch
from controller.nodes import NodeWitness
from ledger.store import Store
from ledger.tables import LIFETIMES
from tests.collectors.kube_server import KubeServer, pod
from tests.controller.agent_server import at

PODS, NODES = "/api/v1/namespaces/wattledger/pods", "/api/v1/nodes"
SEARCH = PodSearch("wattledger", "app=agent", "http", 9477)


@pytest.fixture
def server():
    made = KubeServer()
    made.objects = {PODS: {}, NODES: {}}
    yield made
    made.close()


@pytest.fixture
def api(server):
    return KubeApi(KubeEndpoint(server.url), timeout_seconds=5, page_objects=2)


def agent_pod(name, node, ip="10.0.0.7", **metadata):
    return pod(name, node=node, status={"podIP": ip}, metadata=metadata)


def test_each_running_pod_is_an_agent_of_its_node(server, api):
    server.set(
        agent_pod("w-2", "node-b", "fd00::7"), agent_pod("w-1", "node-a"), agent_pod("w-3", "node-c", ""), path=PODS
    )
    server.set(agent_pod("w-4", "node-d", deletionTimestamp="2026-11-22T06:00:00Z"), path=PODS)
    assert PodAgents(api, SEARCH).addresses() == [
        AgentAddress("http://10.0.0.7:9477", "node-a"),
        AgentAddress("http://[fd00::7]:9477", "node-b"),
    ]
    asked = server.asked[0][1]
    assert (asked["labelSelector"], asked["fieldSelector"]) == ("app=agent", "status.phase=Running")


def test_a_right_that_is_missing_is_named(server, api):
    server.forbid()
    with pytest.raises(Forbidden, match="the verbs get, list and watch on pods"):
        PodAgents(api, SEARCH).addresses()


def test_a_listed_agent_is_not_asked_twice():
    found = (AgentAddress("http://a:1", "node-a"), AgentAddress("http://b:1", "node-b"))
    known = KnownAgents((AgentAddress("http://a:1"),), lambda: found)
    assert known.addresses() == [AgentAddress("http://a:1"), AgentAddress("http://b:1", "node-b")]


class Api:
    """Tells of one agent, or why it does not."""

    def __init__(self):
        self.found, self.error = [AgentAddress("http://b:1", "node-b")], None

    def __call__(self):
        if self.error:
            raise self.error
        return self.found


def test_while_the_api_server_is_away_the_listed_and_those_told_last_stay_and_the_reason_is_kept():
    api = Api()
    known = KnownAgents((AgentAddress("http://a:1"),), api)
    api.error = Unavailable("the API server is away")
    assert (known.addresses(), known.failure) == ([AgentAddress("http://a:1")], api.error)
    api.error = None
    both = known.addresses()
    assert (len(both), known.failure) == (2, None)
    api.error = Unavailable("the API server is away")
    assert (known.addresses(), known.failure) == (both, api.error)
    api.error, api.found = None, []
    assert known.addresses() == both[:1]


def test_while_it_is_away_and_nobody_is_known_the_reason_is_raised():
    api = Api()
    api.error = Unavailable("the API server is away")
    with pytest.raises(Unavailable, match="the API server is away"):
        KnownAgents((), api).addresses()


def node(
    name,
    created="2026-11-01T03:00:00Z",
    labels=None,
    capacity=None,
    provider_id="aws:///eu-west-1a/i-0123456789abcdef0",
):
    return {
        "metadata": {"name": name, "uid": name, "creationTimestamp": created, "labels": labels or {}},
        "spec": {"providerID": provider_id},
        "status": {"capacity": capacity or {}},
    }


GPU_LABELS = {
    "nvidia.com/gpu.count": "8",
    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    "node.kubernetes.io/instance-type": "p5.48xlarge",
    "topology.kubernetes.io/region": "eu-west-1",
    "topology.kubernetes.io/zone": "eu-west-1a",
    "karpenter.sh/capacity-type": "spot",
}


def test_gpu_nodes_are_witnessed_with_what_the_api_knows_of_them(server, api, tmp_path):
    store = Store(str(tmp_path / "ledger"))
    server.set(node("gpu", labels=GPU_LABELS), node("plain"), path=NODES)
    server.set(
        node("mig", "2026-11-01T04:00:00Z", capacity={"nvidia.com/mig-1g.10gb": "7"}, provider_id=""), path=NODES
    )
    server.set(node("cpu", capacity={"cpu": "64", "example.com/fpga": "2", "nvidia.com/gpu": "0"}), path=NODES)
    NodeWitness(api, store, "eu", lambda: at(6)).run()
    rows = store.scan(LIFETIMES).sort("began").collect()
    assert rows.select("cluster", "node", "began", "ended", "seen", "evidence").rows() == [
        ("eu", "gpu", at(3), None, at(6), "api"),
        ("eu", "mig", at(4), None, at(6), "api"),
    ]
    gpu = rows.row(0, named=True)
    assert (gpu["provider"], gpu["instance_id"], gpu["instance_type"]) == ("aws", "i-0123456789abcdef0", "p5.48xlarge")
    assert (gpu["capacity_type"], gpu["gpu_count"], gpu["zone"]) == ("spot", 8, "eu-west-1a")
    assert (rows["instance_id"][1], rows["gpu_count"][1]) == ("", None)


def test_a_node_without_a_time_is_left_out(server, api, tmp_path):
    store = Store(str(tmp_path / "ledger"))
    server.set(node("gpu", "soon", labels=GPU_LABELS), path=NODES)
    NodeWitness(api, store, "eu", lambda: at(6)).run()
    assert store.version(LIFETIMES) is None


def test_the_namespace_is_the_pods_own_or_the_default(tmp_path):
    assert own_namespace(tmp_path) == "default"
    (tmp_path / "namespace").write_text("gpu-ops\n")
    assert own_namespace(tmp_path) == "gpu-ops"
