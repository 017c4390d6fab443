from dataclasses import replace

import pytest

from agent.holdings import Allocation
from agent.kube_holdings import GRACE_NS, KubeHoldings, pod_holder
from collectors.cgroup_path import parse_cgroups
from collectors.clock import NS_PER_SECOND
from collectors.device_ids import DeviceMaps
from collectors.errors import Unavailable, Unsupported
from collectors.holder import Holder
from collectors.kube_owners import Workload
from collectors.kube_pod_facts import ContainerFacts, PodFacts
from collectors.pod_resources_messages import ContainerDevices, DeviceIds, PodDevices
from collectors.process_holders import ProcessIdentity, holder_of

GPU = "GPU-00000000-0000-0000-0000-000000000001"
UID = "11111111-1111-1111-1111-111111111111"
CONTAINER = "a" * 64


class Clock:
    boot_id = "boot"
    now = 0

    def monotonic_ns(self):
        return self.now

    def wall_ns(self):
        return self.now

    def wait(self, event, duration_ns):
        return event.is_set()


class Kubelet:
    def __init__(self):
        self.pods = ()
        self.offered = ()
        self.error = None
        self.hurried = []

    def read_if_due(self, *, hurry=False):
        self.hurried.append(hurry)
        if self.error:
            raise self.error
        return self.pods

    def read_allocatable(self):
        if self.offered is None:
            raise Unsupported("no such method")
        return self.offered


class Pods:
    def __init__(self):
        self.known = {}
        self.uids = {}

    def by_uid(self, uid):
        return self.uids.get(uid)

    def by_container_id(self, container_id):
        return self.known.get(container_id)

    def present(self, namespace, name):
        return self.by_name(namespace, name) is not None

    def by_name(self, namespace, name):
        return next((pod for pod, _ in self.known.values() if (pod.namespace, pod.name) == (namespace, name)), None)


class Identities:
    def __init__(self):
        self.known = {}

    def identities_of(self, pids):
        return {pid: self.known[pid] for pid in pids if pid in self.known}


def pod(name="train", namespace="ml", phase="Running"):
    return PodFacts(UID, namespace, name, None, Workload("Deployment", "train"), phase, {}, {}, {})


def identity(cgroup, holder=None):
    cgroups = parse_cgroups(f"0::{cgroup}\n")
    found = cgroups.identity
    return ProcessIdentity(holder or holder_of(found), cgroups, 0, 1)


def given(*ids, name="train", container="main", resource="nvidia.com/gpu"):
    devices = tuple(DeviceIds(resource, (device_id,)) for device_id in ids)
    return PodDevices("ml", name, (ContainerDevices(container, devices),))


@pytest.fixture
def rig():
    made = KubeHoldings(
        Clock(),
        Kubelet(),
        Pods(),
        Identities(),
        lambda: DeviceMaps({0: GPU}),
        system_namespaces=frozenset({"gpu-operator"}),
    )
    made.identities.known[7] = identity(
        f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{CONTAINER}.scope"
    )
    made.pods.known[CONTAINER] = (pod(), "main")
    return made


MAIN = pod_holder("ml", "train", "main")


def test_an_allocation_is_held_and_its_process_belongs_to_the_container(rig):
    rig.kubelet.pods = (given(GPU),)
    rig.poll()

    holdings = rig.holdings([7])

    assert holdings.by_pid == {7: MAIN}
    assert holdings.allocated == {GPU: (Allocation(MAIN),)}
    assert not holdings.unknown


def test_replicas_are_counted_by_what_is_offered(rig):
    rig.kubelet.pods = (given(f"{GPU}::0", f"{GPU}::2"),)
    rig.kubelet.offered = (DeviceIds("nvidia.com/gpu", tuple(f"{GPU}::{n}" for n in range(4))),)
    rig.poll()

    holdings = rig.holdings([])

    assert holdings.allocated == {GPU: (Allocation(MAIN, 2),)}
    assert holdings.replicas == {GPU: 4}


def test_a_container_was_given_as_many_as_the_kubelet_names(rig):
    assert rig.given(MAIN) is None
    rig.kubelet.pods = (given(f"{GPU}::0", f"{GPU}::2"), given(f"{GPU}::1", name="other"))
    rig.poll()
    rig.holdings([])

    assert [rig.given(holder) for holder in (MAIN, pod_holder("ml", "other", "main"), Holder("user", "ann"))] == [
        2,
        1,
        None,
    ]


def test_gke_ids_are_found_by_index(rig):
    rig.kubelet.pods = (given("nvidia0"),)
    rig.poll()

    assert rig.holdings([]).allocated == {GPU: (Allocation(MAIN),)}


def test_before_the_first_answer_who_holds_what_is_unknown(rig):
    holdings = rig.holdings([7])

    assert holdings.unknown
    assert holdings.by_pid == {7: MAIN}


def test_an_answer_stands_for_a_minute_after_the_kubelet_went_silent(rig):
    rig.kubelet.pods = (given(GPU),)
    rig.poll()
    rig.kubelet.error = Unavailable("no socket")
    with pytest.raises(Unavailable):
        rig.poll()

    rig.clock.now = GRACE_NS
    assert not rig.holdings([]).unknown
    rig.clock.now = GRACE_NS + 1
    assert rig.holdings([]).unknown


def test_a_process_whose_pod_is_not_known_is_nobody_s_and_hurries_the_kubelet(rig):
    rig.poll()
    rig.pods.known.clear()

    assert rig.holdings([7]).by_pid == {}
    rig.poll()
    assert rig.kubelet.hurried == [False, True]


@pytest.mark.parametrize(
    ("containers", "expected"), [(("main",), {7: pod_holder("ml", "train", "main")}), (("main", "sidecar"), {})]
)
def test_a_container_that_is_not_known_yet_is_its_pod_s_only_one_or_nobody_s(rig, containers, expected):
    rig.pods.known.clear()
    rig.pods.uids[UID] = replace(pod(), containers={name: ContainerFacts(name) for name in containers})

    assert rig.holdings([7]).by_pid == expected


def test_a_working_container_that_was_given_nothing_hurries_the_kubelet(rig):
    rig.poll()
    rig.holdings([7])
    rig.poll()

    assert rig.kubelet.hurried == [False, True]


def test_what_is_explained_hurries_nobody(rig):
    rig.kubelet.pods = (given(GPU),)
    rig.poll()
    rig.holdings([7])
    rig.poll()

    assert rig.kubelet.hurried == [False, False]


def test_a_pod_that_has_ended_holds_nothing_though_an_older_kubelet_names_it(rig):
    rig.kubelet.pods = (given(GPU),)
    rig.pods.known[CONTAINER] = (pod(phase="Succeeded"), "main")
    rig.poll()

    assert rig.holdings([]).allocated == {}


def test_an_id_that_is_not_understood_is_named_and_held_by_nobody(rig):
    rig.kubelet.pods = (given("0x1f"),)
    rig.poll()

    assert rig.holdings([]).allocated == {}
    assert rig.unknown_ids == ("nvidia.com/gpu 0x1f of ml/train/main: the id is not understood",)


def test_a_device_that_an_id_nobody_understands_may_name_is_not_taken_for_free(rig):
    rig.kubelet.pods = (given("0x1f"),)
    rig.poll()
    assert rig.holdings([]).more_given
    rig.kubelet.pods = (given(GPU),)
    rig.poll()
    assert not rig.holdings([]).more_given


@pytest.mark.parametrize("pods", [(given(GPU), given(GPU, name="other")), (given(GPU, resource="example.com/gpu"),)])
def test_a_device_that_was_given_to_it_cannot_be_told_whom_is_held_by_somebody(rig, pods):
    rig.kubelet.pods = pods
    rig.poll()
    assert rig.holdings([]).allocated == {GPU: (Allocation(None),)}
    assert not rig.holdings([]).more_given


def test_ids_are_not_known_while_no_answer_stands(rig):
    assert rig.holdings([]).unknown
    assert rig.unknown_ids is None
    rig.poll()
    rig.holdings([])
    assert rig.unknown_ids == ()


def test_a_failure_stands_until_the_kubelet_is_asked_again_with_success(rig):
    rig.kubelet.error = Unavailable("no socket")
    with pytest.raises(Unavailable, match="no socket"):
        rig.poll()
    rig.kubelet.error, rig.kubelet.pods = None, None
    with pytest.raises(Unavailable, match="no socket"):
        rig.poll()
    rig.kubelet.pods = ()
    rig.poll()


def test_a_kubelet_without_allocatable_devices_tells_of_no_free_replicas(rig):
    rig.kubelet.pods, rig.kubelet.offered = (given(f"{GPU}::0"),), None
    rig.poll()
    assert rig.holdings([]).allocated == {GPU: (Allocation(MAIN),)}
    assert rig.holdings([]).replicas == {}


def test_processes_of_system_namespaces_are_the_cluster_s_own(rig):
    rig.pods.known[CONTAINER] = (pod(namespace="gpu-operator"), "main")
    rig.poll()

    assert rig.holdings([7]).by_pid == {7: Holder("system", "gpu-operator/train")}


def test_a_process_of_the_host_keeps_its_own_holder(rig):
    rig.identities.known[8] = identity("/system.slice/ollama.service")
    rig.poll()

    assert rig.holdings([8]).by_pid == {8: Holder("systemd", "ollama.service")}


def test_devices_of_dra_claims_are_found_by_the_node_s_slices(rig):
    from collectors.pod_resources_messages import ClaimedDevice, DynamicClaim

    claim = DynamicClaim("c", "ml", (ClaimedDevice("gpu.nvidia.com", "node-a", "gpu-0"),))
    rig.claims = lambda: {("gpu.nvidia.com", "node-a", "gpu-0"): GPU}
    rig.kubelet.pods = (PodDevices("ml", "train", (ContainerDevices("main", (), (claim,)),)),)
    rig.poll()

    assert rig.holdings([]).allocated == {GPU: (Allocation(MAIN),)}


def test_what_is_offered_is_asked_once_a_minute(rig):
    rig.poll()
    rig.kubelet.offered = (DeviceIds("nvidia.com/gpu", (f"{GPU}::0",)),)
    rig.clock.now = 59 * NS_PER_SECOND
    rig.poll()
    assert rig.holdings([]).replicas == {}
    rig.clock.now = 61 * NS_PER_SECOND
    rig.poll()
    assert rig.holdings([]).replicas == {GPU: 1}


def test_a_pod_that_a_fresh_kubelet_does_not_know_yet_keeps_what_it_holds(rig):
    rig.kubelet.pods = (given(GPU),)
    rig.poll()
    rig.kubelet.pods = ()
    rig.poll()
    assert rig.holdings([]).allocated == {GPU: (Allocation(MAIN),)}
    rig.clock.now = GRACE_NS
    rig.poll()
    assert rig.holdings([]).allocated == {GPU: (Allocation(MAIN),)}
    rig.clock.now = GRACE_NS + 1
    rig.poll()
    assert rig.holdings([]).allocated == {}


def test_a_pod_that_is_gone_holds_nothing_once_the_kubelet_names_it_no_more(rig):
    rig.kubelet.pods = (given(GPU),)
    rig.poll()
    rig.kubelet.pods = ()
    rig.pods.known.clear()
    rig.poll()

    assert rig.holdings([]).allocated == {}
