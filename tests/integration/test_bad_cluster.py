"""What goes wrong between a node's agent and its cluster: each a clear state, and nothing goes to a wrong holder."""

import json
import socket

import pytest

from tests.collectors import kubelet as told_by
from tests.collectors.kube_server import PODS, KubeServer, container_id, pod
from tests.collectors.kubelet import Kubelet
from tests.fakedriver import profiles
from tests.fakedriver.driver import Process
from tests.integration.agent_process import NAMES, AgentProcess, eventually
from tests.integration.processes import FakeHost

pytestmark = pytest.mark.tool("gcc")

TIME, ACCOUNT_TIME = NAMES["time"][1], NAMES["time"][0]
UP, AGE = "wattledger_collector_up", "wattledger_collector_age_seconds"
STRANGE = "wattledger_device_ids_not_understood"
SLICES = "/apis/resource.k8s.io/v1/resourceslices"
POD_UID = "11111111-1111-1111-1111-111111111111"
NODE = {"metadata": {"name": "node-a", "labels": {}}, "spec": {}, "status": {}}
PID = 4711


@pytest.fixture
def kubelet(tmp_path):
    standing = Kubelet(tmp_path / "kubelet")
    yield standing
    standing.stop()


@pytest.fixture
def kube(tmp_path):
    server = KubeServer()
    (tmp_path / "token").write_text("good", encoding="ascii")
    server.tokens = {"good"}
    furnish(server)
    yield server
    server.close()


def furnish(server, **more):
    server.set(NODE, path="/api/v1/nodes")
    server.set(pod("train", uid=POD_UID, **more))


class Node:
    """One GPU that works at half, a process of the pod `train` on it, and the agent."""

    def __init__(self, folder, driver, kubelet):
        self.folder, self.kubelet = folder, kubelet
        self.driver, self.device = driver, driver.device(0)
        self.device.set(utilization=0.5, power_mw=300_000)
        self.host = FakeHost(folder / "host")
        self.agent = None

    def work(self, pod_uid=POD_UID, name="train"):
        cgroup = f"0::/kubepods.slice/kubepods-pod{pod_uid.replace('-', '_')}.slice"
        pid = self.host.process(PID, f"{cgroup}/cri-containerd-{container_id(name)}.scope\n")
        self.device.processes([Process(pid=pid, share=0.5)])

    def start(self, api_url):
        settings = {"mode": "on", "node": "node-a", "kubelet_socket": str(self.kubelet.socket)}
        settings |= {"kubelet_interval_seconds": 1, "api_url": api_url, "token_file": str(self.folder / "token")}
        config = {"kubernetes": settings, **self.host.config}
        self.agent = AgentProcess(self.folder / "agent", self.driver.environment(), config=config)

    def given(self):
        """What the kubelet says when all is well."""
        return told_by.pod("ml", "train", held=[told_by.devices("nvidia.com/gpu", self.device.uuid)])

    def held(self, scrape, **labels):
        return scrape.total(ACCOUNT_TIME, gpu_uuid=self.device.uuid, **labels)

    def booked(self, scrape):
        return scrape.value(TIME, gpu_uuid=self.device.uuid) or 0

    def until_up(self, collector, up):
        return self.agent.until(f"{collector} is {up}", lambda s: s.value(UP, collector=collector) == up)

    def message(self, collector):
        states = self.agent.json("/v1/state")["collectors"]
        return next((each["message"] for each in states if each["collector"] == collector), None)

    def until_said(self, collector, words):
        look = lambda: words in (self.message(collector) or "")  # noqa: E731
        eventually(f"{collector} says {words!r}", look, every=0.1)

    def after(self, scrape, seconds=1):
        """A scrape with so much more of the device booked."""
        begun = self.booked(scrape)
        return self.agent.until(f"{seconds} s more are booked", lambda s: self.booked(s) >= begun + seconds)

    def pods_named(self, scrape):
        return {sample.labels["pod"] for sample in scrape.find(ACCOUNT_TIME) if sample.value and sample.labels["pod"]}


@pytest.fixture
def node(tmp_path, make_driver, kubelet):
    made = Node(tmp_path, make_driver(profiles.h100()), kubelet)
    yield made
    if made.agent is not None:
        made.agent.kill()


# The kubelet


def absent(_):
    """Nobody has made the socket."""


def slow(kubelet):
    kubelet.slow()


def garbage(kubelet):
    kubelet.say(b"\x00\xff\x17 not HTTP/2 at all, whatever it is")


def error(kubelet):
    kubelet.abort("RESOURCE_EXHAUSTED")


def half(kubelet):
    kubelet.answer(told_by.field(1, b"\x0a\x05tr"))


def hung_up(kubelet):
    kubelet.say(b"")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (absent, "no socket"),
        (slow, "did not answer within 2 s"),
        (garbage, "does not speak gRPC"),
        (error, "answers RESOURCE_EXHAUSTED (8)"),
        (half, "PodResources answer"),
        (hung_up, "closed the connection"),
    ],
)
def test_a_kubelet_that_does_not_tell_is_down_and_time_unattributed_until_it_does(node, kube, kubelet, state, words):
    state(kubelet)
    node.start(kube.url)
    node.until_up("kubelet", 0)
    node.until_said("kubelet", words)
    blind = node.agent.until("time is unattributed", lambda s: node.held(s, account="unattributed") > 1)
    assert blind.value(UP, collector="kubelet") == 0
    assert blind.value(AGE, collector="kubelet") is None
    assert blind.value(UP, collector="gpu") == 1
    assert blind.value(STRANGE) is None
    assert node.held(blind, account="unattributed") == node.booked(blind)
    assert node.pods_named(blind) == set()
    kubelet.answer(node.given())
    seen = node.until_up("kubelet", 1)
    train = node.agent.until("the pod holds it", lambda s: node.held(s, pod="train", account="active") > 0)
    later = node.after(train)
    gained = node.booked(later) - node.booked(train)
    assert node.held(later, pod="train") - node.held(train, pod="train") == gained
    assert node.message("kubelet") is None
    assert seen.imbalance() is later.imbalance() is None


def test_while_the_kubelet_is_away_a_pods_process_still_names_its_pod(node, kube):
    node.work()
    node.start(kube.url)
    node.until_up("kubelet", 0)
    begun = node.agent.until("the pod works", lambda s: node.held(s, pod="train", account="active") > 0)
    later = node.after(begun)
    assert node.held(later, account="unattributed") == node.held(begun, account="unattributed")
    assert node.pods_named(later) == {"train"}


def test_a_kubelet_that_goes_away_is_told_and_its_last_answer_stands_for_a_while(node, kube, kubelet):
    kubelet.answer(node.given())
    node.work()
    node.start(kube.url)
    node.agent.until("the pod works", lambda s: node.held(s, pod="train", account="active") > 0)
    kubelet.stop()
    away = node.until_up("kubelet", 0)
    later = node.after(away, 2)
    assert later.value(UP, collector="kubelet") == 0  # between two questions too
    gained = node.booked(later) - node.booked(away)
    assert node.held(later, pod="train") - node.held(away, pod="train") == gained
    assert "no socket" in node.message("kubelet")


# Device ids


@pytest.mark.parametrize(
    ("resource", "device_id", "words"),
    [
        ("nvidia.com/gpu", "slot-7", "nvidia.com/gpu slot-7 of ml/train/main: the id is not understood"),
        ("example.com/gpu", None, "the resource is not among those configured as GPUs"),
    ],
)
def test_an_id_that_nobody_understands_is_counted_named_and_its_time_unattributed(
    node, kube, kubelet, resource, device_id, words
):
    device_id = device_id or node.device.uuid
    kubelet.answer(told_by.pod("ml", "train", held=[told_by.devices(resource, device_id)]))
    node.start(kube.url)
    page = node.agent.until("the id is counted", lambda s: s.value(STRANGE) == 1)
    node.until_said("kubelet", f"1 device ids are not understood: {resource} {device_id} of ml/train/main: ")
    node.until_said("kubelet", words)
    later = node.after(page)
    assert later.value(UP, collector="kubelet") == 1
    gained = node.booked(later) - node.booked(page)
    assert node.held(later, account="unattributed") - node.held(page, account="unattributed") == gained
    assert node.pods_named(later) == set()
    kubelet.answer(node.given())
    node.agent.until("all is understood", lambda s: s.value(STRANGE) == 0 and node.held(s, pod="train") > 0)
    eventually("the message is gone", lambda: node.message("kubelet") is None)
    assert node.agent.said.count("device ids are not understood") == 1


def test_one_device_given_to_two_pods_is_neithers(node, kube, kubelet):
    kubelet.answer(node.given(), node.given().replace(b"train", b"other"))
    node.start(kube.url)
    page = node.agent.until("both are named", lambda s: s.value(STRANGE) == 2)
    later = node.after(page)
    assert node.pods_named(later) == set()
    assert node.held(later, account="unattributed") > 1
    assert node.held(later, account="unallocated") == node.held(page, account="unallocated")


def resource_slice(generation, *uuids):
    devices = [{"name": f"gpu-{n}", "attributes": {"uuid": {"string": uuid}}} for n, uuid in enumerate(uuids)]
    pool = {"name": "node-a", "generation": generation, "resourceSliceCount": 1}
    spec = {"driver": "gpu.nvidia.com", "nodeName": "node-a", "pool": pool, "devices": devices}
    return {"metadata": {"name": "slice"}, "spec": spec}


def test_a_device_that_is_claimed_as_soon_as_it_is_offered_is_found_within_seconds(node, kube, kubelet):
    kube.set(resource_slice(1), path=SLICES)
    kubelet.answer()
    node.start(kube.url)
    node.agent.until("it is free", lambda s: node.held(s, account="unallocated") > 0)
    kube.set(resource_slice(2, node.device.uuid), path=SLICES)
    kubelet.answer(told_by.pod("ml", "train", claims=[told_by.claim("gpu.nvidia.com", "node-a", "gpu-0")]))
    page = node.agent.until("the pod holds it", lambda s: node.held(s, pod="train") > 0)
    assert page.value(STRANGE) == 0


def test_a_claimed_device_whose_uuid_another_has_too_is_counted_named_and_neithers(node, kube, kubelet):
    kube.set(resource_slice(1, node.device.uuid, node.device.uuid), path=SLICES)
    kubelet.answer(told_by.pod("ml", "train", claims=[told_by.claim("gpu.nvidia.com", "node-a", "gpu-0")]))
    node.start(kube.url)
    page = node.agent.until("the claim is counted", lambda s: s.value(STRANGE) == 1)
    node.until_said("kubelet", "gpu.nvidia.com node-a/gpu-0 of ml/train/main: the node's ResourceSlices do not tell")
    later = node.after(page)
    assert node.pods_named(later) == set()
    assert node.held(later, account="unattributed") > node.held(page, account="unattributed")
    assert f"one UUID to several devices, so none has it: {node.device.uuid}" in node.agent.said


# The API server


def test_an_api_server_that_is_away_at_the_start_is_waited_for(node, kubelet, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (tmp_path / "token").write_text("good", encoding="ascii")
    kubelet.answer(node.given())
    node.work()
    node.start(f"http://127.0.0.1:{port}")
    node.until_up("kube_api", 0)
    node.until_said("kube_api", "does not answer list /api/v1/pods")
    page = node.agent.until("it is booked", lambda s: node.held(s, account="unattributed") > 1)
    assert node.held(page, account="active") == 0  # whose process it is cannot be told
    assert node.pods_named(page) <= {"train"}  # by the kubelet it holds the device, and so its idle time
    server = KubeServer(port=port)
    try:
        furnish(server)
        node.until_up("kube_api", 1)
        node.agent.until("the pod works", lambda s: node.held(s, pod="train", account="active") > 0)
        assert node.message("kube_api") is None
    finally:
        server.close()


def refusal(code, reason, message):
    return code, {}, json.dumps({"kind": "Status", "code": code, "reason": reason, "message": message})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(403, "Forbidden", "pods is forbidden"), "give the service account that asks the verbs get, list and"),
        (refusal(500, "InternalError", "etcd is away"), "HTTP 500 (etcd is away)"),
        ((200, {}, "<!doctype html><title>login</title>"), "which is no JSON"),
        ((200, {}, '{"kind": "Status"}'), "without a list"),
    ],
)
def test_an_api_server_that_refuses_or_talks_nonsense_is_down_with_its_words(node, kube, kubelet, answer, words):
    kube.fail(*[answer] * 200)
    kubelet.answer(node.given())
    node.work()
    node.start(kube.url)
    node.until_up("kube_api", 0)
    node.until_said("kube_api", words)
    page = node.after(node.agent.until_booked(node.device.uuid))
    assert page.value(UP, collector="kubelet") == 1
    assert node.held(page, account="active") == 0
    kube.faults.clear()
    node.agent.until("the pod works", lambda s: node.held(s, pod="train", account="active") > 0, seconds=40)
    node.until_up("kube_api", 1)


def test_a_token_that_expires_is_told_and_a_new_one_is_used_at_once(node, kube, kubelet, tmp_path):
    kubelet.answer(node.given())
    node.work()
    node.start(kube.url)
    node.agent.until("the pod works", lambda s: node.held(s, pod="train", account="active") > 0)
    kube.tokens = {"renewed"}
    kube.cut()
    node.until_up("kube_api", 0)
    node.until_said("kube_api", "it does not accept the token of the service account")
    away = node.agent.scrape()
    later = node.after(away)
    assert node.held(later, pod="train") - node.held(away, pod="train") == node.booked(later) - node.booked(away)
    (tmp_path / "token").write_text("renewed", encoding="ascii")
    node.until_up("kube_api", 1)
    assert node.message("kube_api") is None


def test_a_pod_with_a_thousand_labels_is_booked_like_any_other(node, kube, kubelet):
    labels = {f"label-{n}": "x" * 63 for n in range(1000)} | {"team": "vision"}
    furnish(kube, metadata={"labels": labels})
    kubelet.answer(node.given())
    node.work()
    node.start(kube.url)
    page = node.agent.until("the pod works", lambda s: node.held(s, pod="train", account="active") > 0)
    (info,) = page.find("wattledger_holder_info", pod="train")
    assert info.labels["team"] == "vision"
    assert not [name for name in info.labels if name.startswith("label")]


def test_a_process_of_a_pod_that_nobody_names_is_nobodys(node, kube, kubelet):
    kubelet.answer()
    node.work(pod_uid="22222222-2222-2222-2222-222222222222", name="stranger")
    node.start(kube.url)
    page = node.agent.until("it works for nobody known", lambda s: node.held(s, account="unattributed") > 1)
    assert node.pods_named(page) == set()
    assert PODS in {path for path, *_ in kube.asked}
