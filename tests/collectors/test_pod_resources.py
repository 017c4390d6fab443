import subprocess
import sys
import threading
from pathlib import Path

import pytest

from collectors.clock import NS_PER_SECOND
from collectors.errors import Unavailable
from collectors.pod_resources import DEFAULT_SOCKET, PodResources
from collectors.pod_resources_messages import ContainerDevices, DeviceIds, PodDevices

ANSWER = bytes.fromhex("0a190a01701201611a110a0163120c0a05762e672f781203475055")
PODS = (PodDevices("a", "p", (ContainerDevices("c", (DeviceIds("v.g/x", ("GPU",)),)),)),)


class FakeClock:
    boot_id = "boot"

    def __init__(self):
        self.now_ns = 5

    def monotonic_ns(self):
        return self.now_ns

    def wall_ns(self):
        return self.now_ns

    def wait(self, event: threading.Event, duration_ns):
        raise NotImplementedError

    def pass_seconds(self, seconds):
        self.now_ns += int(seconds * NS_PER_SECOND)


class FakeKubelet:
    def __init__(self):
        self.calls = []
        self.error = None
        self.answer = ANSWER

    def __call__(self, call, request):
        self.calls.append((call, request))
        if self.error is not None:
            raise self.error
        return self.answer


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def kubelet():
    return FakeKubelet()


@pytest.fixture
def pod_resources(clock, kubelet):
    return PodResources(clock, call=kubelet)


def test_the_first_read_asks_the_kubelet_for_its_list(pod_resources, kubelet):
    assert pod_resources.read_if_due() == PODS
    ((call, request),) = kubelet.calls
    assert (call.socket_path, call.method, request) == (DEFAULT_SOCKET, "/v1.PodResourcesLister/List", b"")
    assert (call.timeout_seconds, call.max_message_bytes) == (2.0, 16 * 1024 * 1024)


def test_the_kubelet_is_asked_once_per_interval(pod_resources, clock, kubelet):
    answers = []
    for _ in range(41):
        answers.append(pod_resources.read_if_due())
        clock.pass_seconds(0.5)
    assert len(kubelet.calls) == 3
    assert [index for index, answer in enumerate(answers) if answer is not None] == [0, 20, 40]


def test_an_answer_that_stays_is_the_same_one_and_one_that_changes_is_told(pod_resources, clock, kubelet):
    told = [pod_resources.read_if_due()]
    for answer in (ANSWER, b"", ANSWER):
        clock.pass_seconds(60)
        kubelet.answer = answer
        told.append(pod_resources.read_if_due())
    assert told == [PODS, PODS, (), PODS]
    assert told[1] is told[0]


def test_a_hurried_read_asks_at_once_but_never_over_once_a_second(pod_resources, clock, kubelet):
    assert pod_resources.read_if_due() == PODS
    clock.pass_seconds(0.9)
    assert pod_resources.read_if_due(hurry=True) is None
    clock.pass_seconds(0.1)
    assert pod_resources.read_if_due(hurry=True) == PODS
    for _ in range(100):
        clock.pass_seconds(0.1)
        pod_resources.read_if_due(hurry=True)
    assert len(kubelet.calls) == 12


def test_a_hurried_read_puts_the_next_one_off(pod_resources, clock):
    pod_resources.read_if_due()
    clock.pass_seconds(9)
    assert pod_resources.read_if_due(hurry=True) == PODS
    clock.pass_seconds(2)
    assert pod_resources.read_if_due() is None


def test_a_failed_call_is_told_once_and_counts_for_the_rate(pod_resources, clock, kubelet):
    kubelet.error = Unavailable("no socket")
    with pytest.raises(Unavailable, match="no socket"):
        pod_resources.read_if_due()
    assert pod_resources.read_if_due(hurry=True) is None
    kubelet.error = None
    clock.pass_seconds(1)
    assert pod_resources.read_if_due(hurry=True) == PODS


def test_an_interval_that_the_kubelet_would_refuse_is_refused(clock, kubelet):
    with pytest.raises(ValueError, match="interval is 1 ns; allowed: 1000000000 or more"):
        PodResources(clock, interval_ns=1, call=kubelet)


def test_a_real_grpc_server_is_listed(tmp_path, clock):
    pytest.importorskip("grpc", reason="grpcio is not installed: pip install grpcio")
    path = tmp_path / "s"
    command = [sys.executable, str(Path(__file__).with_name("grpc_kubelet.py")), str(path), ANSWER.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "listening\n"
        assert PodResources(clock, socket_path=path).read_if_due() == PODS
        process.stdin.close()
