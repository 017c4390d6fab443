import socket
from urllib.parse import urlsplit

import pytest

from cli.config import Config
from cli.doctor_finding import Machine
from cli.doctor_kubernetes import check_kubernetes
from collectors.clock import SystemClock
from collectors.readings import DeviceFacts, DeviceSweep, GpuReading, ProcessReading
from collectors.serving_targets import USUAL_PATHS
from tests.collectors import kubelet as told_by
from tests.collectors.kube_server import KubeServer, container_id, pod
from tests.collectors.kubelet import Kubelet
from tests.engines.server import ScriptedEngine
from tests.integration.processes import FakeHost

GPU = "GPU-00000000-0000-0000-0000-000000000001"
OTHER = "GPU-00000000-0000-0000-0000-000000000002"
DEVICE = DeviceFacts(GPU, 0, "NVIDIA H100 80GB HBM3")
NODES, SLICES = "/api/v1/nodes", "/apis/resource.k8s.io/v1/resourceslices"
POD_UID = "11111111-1111-1111-1111-111111111111"
NODE = {
    "metadata": {"name": "node-a", "labels": {"node.kubernetes.io/instance-type": "p5.48xlarge"}},
    "spec": {},
    "status": {},
}


@pytest.fixture
def kube(tmp_path):
    server = KubeServer()
    server.tokens = {"good"}
    server.set(NODE, path=NODES)
    server.set(pod("train", uid=POD_UID), pod("elsewhere", node="node-b"))
    (tmp_path / "token").write_text("good", encoding="ascii")
    yield server
    server.close()


@pytest.fixture
def kubelet(tmp_path):
    standing = Kubelet(tmp_path / "kubelet")
    yield standing
    standing.stop()


@pytest.fixture
def host(tmp_path):
    return FakeHost(tmp_path / "host")


@pytest.fixture
def look(tmp_path, kube, kubelet, host):
    """The findings of a node as it stands: ``look(kubernetes settings, pids=PIDs on the GPU)``."""

    def findings(pids=(), environ=None, **changed):
        settings = {"mode": "on", "node": "node-a", "kubelet_socket": kubelet.socket}
        settings |= {"api_url": kube.url, "token_file": tmp_path / "token"} | changed
        reading = GpuReading(DEVICE, 0, processes=tuple(ProcessReading(pid, "compute") for pid in pids))
        config = Config.model_validate({"kubernetes": settings, **host.config})
        machine = Machine(config, SystemClock(), (DEVICE,), {GPU: DeviceSweep(reading)}, environ=environ or {})
        found = list(check_kubernetes(machine))
        assert all(bool(finding.remedy) == (finding.verdict != "ok") for finding in found)
        return found

    return findings


def lines(found, *checks):
    return [(finding.verdict, finding.what) for finding in found if finding.check in checks]


@pytest.fixture
def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def only(found, check):
    (finding,) = [finding for finding in found if finding.check == check]
    return finding


def test_outside_kubernetes_nothing_is_asked(look, kube):
    assert look(mode="off") == []
    assert look(mode="auto", environ={}) == []
    assert kube.asked == []


def test_node_where_all_is_well_is_told_with_its_figures(look, kubelet, kube, host):
    held = told_by.devices("nvidia.com/gpu", GPU)
    kubelet.answer(
        told_by.pod("ml", "train", held=[held]),
        told_by.pod("ml", "plain"),
        offered=told_by.allocatable("nvidia.com/gpu", GPU, OTHER),
    )
    kube.set(slice_of("gpu-0", OTHER), path=SLICES)
    pid = host.process(7, kubepods(container_id("train")))
    assert lines(look([pid]), "api", "node", "pods", "claims", "kubelet", "ids", "processes") == [
        ("ok", f"{kube.url} answers and accepts the token"),
        ("ok", "the cluster has node node-a: p5.48xlarge"),
        ("ok", "1 pods of this node can be listed and watched"),
        ("ok", "ResourceSlices of this node tell of 1 devices, 1 with a UUID"),
        (
            "ok",
            f"{kubelet.socket} answers: 2 pods, 1 with 1 GPU devices of 2 offered, 0 containers with claims",
        ),
        ("ok", "every id of a GPU that the kubelet names is understood"),
        ("ok", "1 of 1 GPU processes are of pods of this node, 0 of none"),
    ]


def slice_of(device, uuid):
    attributes = {"uuid": {"string": uuid}, "type": {"string": "gpu"}}
    spec = {"driver": "gpu.nvidia.com", "nodeName": "node-a", "pool": {"name": "node-a", "generation": 1}}
    return {"metadata": {"name": "slice"}, "spec": {**spec, "devices": [{"name": device, "attributes": attributes}]}}


def kubepods(container, uid=POD_UID):
    return f"0::/kubepods.slice/kubepods-pod{uid.replace('-', '_')}.slice/cri-containerd-{container}.scope\n"


# The kubelet


def test_kubelet_socket_that_is_not_there_says_which_directory_to_mount(look, kubelet):
    finding = only(look(), "kubelet")
    assert (finding.verdict, finding.what) == ("fail", f"kubelet socket {kubelet.socket} is not there")
    assert finding.remedy.startswith(f"mount the node's {kubelet.socket.parent} (the directory")


def test_kubelet_that_answers_with_an_error_fails_with_its_words(look, kubelet):
    kubelet.abort("RESOURCE_EXHAUSTED")
    finding = only(look(), "kubelet")
    assert finding.verdict == "fail"
    assert "answers RESOURCE_EXHAUSTED (8): first line" in finding.what
    assert "journalctl -u kubelet" in finding.remedy


def test_another_programs_socket_fails(look, kubelet):
    kubelet.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    finding = only(look(), "kubelet")
    assert (finding.verdict, "does not speak gRPC" in finding.what) == ("fail", True)


def test_kubelet_without_allocatable_devices_is_warned_about(look, kubelet):
    kubelet.answer(offered=None)
    assert [finding.verdict for finding in look() if finding.check == "kubelet"] == ["warn", "ok"]


@pytest.mark.parametrize(
    ("held", "words", "remedy"),
    [
        (
            [("nvidia.com/gpu", "gpu-zero")],
            "nvidia.com/gpu gpu-zero of ml/train/main: the id is not",
            "deviceIDStrategy",
        ),
        ([("example.com/gpu", GPU)], "is not among those configured as GPUs", "add the resource's name to"),
    ],
)
def test_device_id_that_is_not_understood_is_named(look, kubelet, held, words, remedy):
    kubelet.answer(told_by.pod("ml", "train", held=[told_by.devices(*each) for each in held]))
    finding = only(look(), "ids")
    assert finding.verdict == "warn"
    assert words in finding.what
    assert remedy in finding.remedy


def test_claimed_device_that_no_slice_tells_of_is_named(look, kubelet):
    kubelet.answer(told_by.pod("ml", "train", claims=[told_by.claim("gpu.nvidia.com", "node-a", "gpu-0")]))
    finding = only(look(), "ids")
    assert (
        finding.what == "gpu.nvidia.com node-a/gpu-0 of ml/train/main: the node's ResourceSlices do not tell its UUID"
    )
    assert "attribute uuid" in finding.remedy


def test_one_id_given_to_two_pods_is_named_for_both(look, kubelet):
    held = told_by.devices("nvidia.com/gpu", GPU)
    kubelet.answer(told_by.pod("ml", "one", held=[held]), told_by.pod("ml", "two", held=[held]))
    found = [finding for finding in look() if finding.check == "ids"]
    assert [finding.verdict for finding in found] == ["warn", "warn"]
    assert all("restart the device plugin" in finding.remedy for finding in found)


def test_many_strange_ids_are_counted_not_listed(look, kubelet):
    strange = told_by.devices("nvidia.com/gpu", *(f"strange-{n}" for n in range(20)))
    kubelet.answer(told_by.pod("ml", "train", held=[strange]))
    found = lines(look(), "ids")
    assert len(found) == 6
    assert found[-1] == ("warn", "and 15 more ids that are not understood")


# The API server


def test_pod_without_an_api_server_fails_with_the_remedy(look):
    finding = only(look(api_url="", environ={}), "api")
    assert finding.verdict == "fail"
    assert "KUBERNETES_SERVICE_HOST is not set" in finding.what


def test_api_server_that_is_away_fails_once(look, closed_port):
    found = look(api_url=closed_port)
    assert only(found, "api").verdict == "fail"
    assert "does not answer get /api/v1/nodes/node-a" in only(found, "api").what
    assert lines(found, "node", "pods", "claims", "processes") == []


def test_token_that_is_not_accepted_fails_once(look, kube):
    kube.tokens = {"another"}
    found = look()
    assert "HTTP 401" in only(found, "api").what
    assert "token" in only(found, "api").remedy
    assert lines(found, "node", "pods") == []


@pytest.mark.parametrize(
    ("nth", "check", "verdict", "rule"),
    [
        (0, "node", "fail", '{apiGroups: [""], resources: [nodes], verbs: [get]}'),
        (1, "pods", "fail", '{apiGroups: [""], resources: [pods], verbs: [list, watch]}'),
        (2, "pods", "fail", '{apiGroups: [""], resources: [pods], verbs: [list, watch]}'),
        (3, "claims", "warn", "{apiGroups: [resource.k8s.io], resources: [resourceslices], verbs: [list]}"),
    ],
)
def test_right_that_is_missing_is_told_by_the_rule_to_add(look, kube, nth, check, verdict, rule):
    kube.set(slice_of("gpu-0", OTHER), path=SLICES)
    kube.forbid(nth)
    found = look()
    assert only(found, check).verdict == verdict
    assert only(found, check).remedy == f"add to the rules of the agent's ClusterRole: {rule}"
    others = {"api", "node", "pods", "claims"} - {check}
    assert [v for v, _ in lines(found, *others)] == ["ok"] * 3


def test_node_of_another_name_fails_with_where_to_set_it(look):
    finding = only(look(node="node-z"), "node")
    assert (finding.verdict, "no node 'node-z'" in finding.what) == ("fail", True)
    assert "WATTLEDGER_KUBERNETES__NODE from fieldRef spec.nodeName" in finding.remedy


def test_cluster_without_dynamic_allocation_is_well(look):
    assert lines(look(), "claims") == [("ok", "the cluster has no dynamic resource allocation")]


# Serving pages


def test_page_of_a_pod_that_was_given_a_gpu_is_found_by_its_port(look, kube, kubelet, monkeypatch):
    with ScriptedEngine("vllm", model="llama") as engine:
        port = urlsplit(engine.url).port
        monkeypatch.setitem(USUAL_PATHS, port, ("/metrics",))
        containers = [{"name": "main", "ports": [{"containerPort": port}]}]
        kube.set(pod("chat", spec={"containers": containers}, status={"podIP": "127.0.0.1"}))
        assert "no pod of this node announces a page" in only(look(), "serving").what
        kubelet.answer(told_by.pod("ml", "chat", held=[told_by.devices("nvidia.com/gpu", GPU)]))
        assert only(look(), "serving").what.startswith(f"ml/chat:{port}/metrics is up (guessed by its port): vllm")


def test_page_that_a_pod_announces_is_found(look, kube):
    with ScriptedEngine("vllm", model="llama") as engine:
        said = {"wattledger.io/engine": "vllm", "wattledger.io/port": str(urlsplit(engine.url).port)}
        kube.set(pod("chat", metadata={"annotations": said}, status={"podIP": "127.0.0.1"}))
        assert "is up (by its annotations; its pod holds no GPU): vllm" in only(look(), "serving").what


# Processes


def test_process_of_a_pod_that_is_not_on_this_node_fails(look, host):
    elsewhere = kubepods("b" * 64, "22222222-2222-2222-2222-222222222222")
    finding = only(look([host.process(7, elsewhere)]), "processes")
    assert finding.verdict == "fail"
    assert finding.what == "1 of 1 GPU processes are of pods that the API server does not name on this node (PID 7)"


def test_process_that_cannot_be_read_fails(look):
    finding = only(look([4242]), "processes")
    assert (finding.verdict, "cannot be read under" in finding.what) == ("fail", True)
    assert "hostPID: true" in finding.remedy


def test_process_outside_any_pod_is_no_fault(look, host):
    pid = host.user_process(9, "ann")
    assert lines(look([pid]), "processes") == [("ok", "0 of 1 GPU processes are of pods of this node, 1 of none")]
