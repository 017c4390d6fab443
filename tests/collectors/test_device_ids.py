import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.device_ids import Accepted, Allocation, DeviceId, DeviceMaps, allocations, resolve
from collectors.pod_resources_messages import ClaimedDevice, ContainerDevices, DeviceIds, DynamicClaim, PodDevices

GPU0 = "GPU-11111111-1111-1111-1111-111111111111"
GPU1 = "GPU-22222222-2222-2222-2222-222222222222"
MIG = "MIG-33333333-3333-3333-3333-333333333333"
OLD_MIG = f"MIG-{GPU0}/1/0"
MAPS = DeviceMaps({0: GPU0, 1: GPU1}, {(GPU1, 3, 0): MIG, (GPU0, 1, 0): OLD_MIG, (GPU0, 2, 0): "a", (GPU0, 2, 1): "b"})


@pytest.mark.parametrize(
    ("device_id", "found"),
    [
        (GPU0, DeviceId(GPU0)),
        (MIG, DeviceId(MIG)),
        (f"{GPU0}::3", DeviceId(GPU0, "3")),
        (f"{MIG}::0", DeviceId(MIG, "0")),
        (OLD_MIG, DeviceId(OLD_MIG)),
        (f"MIG-{GPU1}/3/0", DeviceId(MIG)),
        (f"MIG-{GPU1}/3/0::2", DeviceId(MIG, "2")),
        ("nvidia0", DeviceId(GPU0)),
        ("nvidia1/gi3", DeviceId(MIG)),
        ("nvidia0/vgpu1", DeviceId(GPU0, "vgpu1")),
        ("nvidia1/gi3/vgpu12", DeviceId(MIG, "vgpu12")),
    ],
)
def test_an_id_names_its_device(device_id, found):
    assert resolve(device_id, MAPS) == found


@pytest.mark.parametrize(
    "device_id",
    [
        "",
        "0",
        "nvidia2",
        "nvidia1/gi4",
        "nvidia0/gi2",  # two compute instances share it
        "nvidia0/",
        "nvidiactl",
        f"{GPU0}-3",  # a plugin whose scheduler chooses the device elsewhere
        f"{GPU0}::",
        f"{GPU0}\n",
        "GPU-1234",
        f"MIG-{GPU1}/9/0",
        "0000:3b:00.0",
    ],
)
def test_an_id_that_is_not_understood_names_nothing(device_id):
    assert resolve(device_id, MAPS) is None


@given(st.text())
def test_no_id_whatever_breaks_the_reader(device_id):
    resolve(device_id, MAPS)


def pod(name, *devices, claims=(), container="c"):
    named = tuple(DeviceIds(resource, tuple(ids)) for resource, *ids in devices)
    held = (DynamicClaim("claim", "ns", tuple(ClaimedDevice(*each) for each in claims)),) if claims else ()
    return PodDevices("ns", name, (ContainerDevices(container, named, held),))


def hold(name, replicas=1, resource="nvidia.com/gpu", container="c"):
    return Allocation("ns", name, container, replicas, resource)


def test_whole_devices_of_several_entries_are_one_holders():
    found = allocations([pod("p", ("nvidia.com/gpu", GPU0), ("nvidia.com/gpu", GPU1))], {}, MAPS)
    assert found.by_device == {GPU0: (hold("p"),), GPU1: (hold("p"),)}
    assert found.unknown == ()


def test_replicas_of_a_device_are_counted_by_holder():
    shared = "nvidia.com/gpu.shared"
    pods = [pod("p", (shared, f"{GPU0}::0"), (shared, f"{GPU0}::2")), pod("q", (shared, f"{GPU0}::1"))]
    assert allocations(pods, {}, MAPS).by_device == {GPU0: (hold("p", 2, shared), hold("q", 1, shared))}


def test_a_mig_resource_leads_to_the_instance():
    found = allocations([pod("p", ("nvidia.com/mig-1g.10gb", MIG))], {}, MAPS)
    assert found.by_device == {MIG: (hold("p", 1, "nvidia.com/mig-1g.10gb"),)}


def test_other_resources_are_passed_over():
    found = allocations([pod("p", ("rdma/hca", "mlx5_0"), ("nvidia.com/gpu", GPU0))], {}, MAPS)
    assert found == allocations([pod("p", ("nvidia.com/gpu", GPU0))], {}, MAPS)


def test_a_resource_may_be_configured():
    pods = [pod("p", ("example.com/a100", GPU0))]
    assert allocations(pods, {}, MAPS, Accepted(("example.com/*",))).by_device == {
        GPU0: (hold("p", 1, "example.com/a100"),)
    }


def test_a_gpu_of_a_resource_that_nobody_configured_is_named():
    found = allocations([pod("p", ("example.com/a100", GPU0))], {}, MAPS)
    assert found.by_device == {}
    assert found.unknown == (f"example.com/a100 {GPU0} of ns/p/c: the resource is not among those configured as GPUs",)
    assert (found.doubtful, found.lost) == ({GPU0}, False)


def test_an_id_of_a_plugin_nobody_knows_is_named_and_the_rest_is_booked():
    found = allocations([pod("p", ("nvidia.com/gpu", "slot-7", GPU0))], {}, MAPS)
    assert found.by_device == {GPU0: (hold("p"),)}
    assert found.unknown == ("nvidia.com/gpu slot-7 of ns/p/c: the id is not understood",)
    assert (found.doubtful, found.lost) == (frozenset(), True)


def test_an_id_given_to_two_pods_is_neithers_and_named():
    pods = [pod("p", ("nvidia.com/gpu", GPU0)), pod("q", ("nvidia.com/gpu", GPU0)), pod("r", ("nvidia.com/gpu", GPU1))]
    found = allocations(pods, {}, MAPS)
    assert found.by_device == {GPU1: (hold("r"),)}
    assert found.unknown == (
        f"nvidia.com/gpu {GPU0} of ns/p/c: the same id is given to ns/q/c",
        f"nvidia.com/gpu {GPU0} of ns/q/c: the same id is given to ns/p/c",
    )
    assert (found.doubtful, found.lost) == ({GPU0}, False)


def test_a_device_that_another_resource_gives_to_its_holder_too_is_not_in_doubt():
    found = allocations([pod("p", ("nvidia.com/gpu", GPU0)), pod("q", ("example.com/nic-peer", GPU0))], {}, MAPS)
    assert found.by_device == {GPU0: (hold("p"),)}
    assert found.doubtful == frozenset()


def test_an_id_given_twice_to_one_container_is_held_once():
    found = allocations([pod("p", ("nvidia.com/gpu", GPU0, GPU0))], {}, MAPS)
    assert found.by_device == {GPU0: (hold("p"),)}


CLAIM = ("gpu.nvidia.com", "node-a", "gpu-0")


def test_a_claim_leads_to_its_device():
    found = allocations([pod("p", claims=[CLAIM])], {CLAIM: GPU0}, MAPS)
    assert found.by_device == {GPU0: (hold("p", 1, "gpu.nvidia.com"),)}


def test_a_claim_may_be_shared_by_pods():
    found = allocations([pod("p", claims=[CLAIM]), pod("q", claims=[CLAIM])], {CLAIM: MIG}, MAPS)
    assert [each.pod for each in found.by_device[MIG]] == ["p", "q"]
    assert found.unknown == ()


def test_a_device_named_by_two_requests_of_a_claim_is_held_once():
    found = allocations([pod("p", claims=[(*CLAIM, ("a",)), (*CLAIM, ("b",))])], {CLAIM: GPU0}, MAPS)
    assert found.by_device[GPU0] == (hold("p", 1, "gpu.nvidia.com"),)


@pytest.mark.parametrize("claims", [{}, {CLAIM: None}])
def test_a_claimed_gpu_without_a_uuid_is_named(claims):
    found = allocations([pod("p", claims=[CLAIM])], claims, MAPS)
    assert found.unknown == ("gpu.nvidia.com node-a/gpu-0 of ns/p/c: the node's ResourceSlices do not tell its UUID",)
    assert found.lost


def test_a_claimed_device_of_another_kind_is_passed_over():
    channel = ("compute-domain.nvidia.com", "node-a", "channel-0")
    assert allocations([pod("p", claims=[channel])], {channel: None}, MAPS) == allocations([], {}, MAPS)


IDS = st.sampled_from([GPU0, GPU1, MIG, f"{GPU0}::0", f"{GPU0}::1", f"{MIG}::5", "nvidia0", "nvidia9", "what", OLD_MIG])
PODS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.lists(IDS, max_size=6)), max_size=8)


@given(PODS)
def test_every_id_is_held_or_named_and_none_by_two_pods(given_ids):
    pods = [pod(name, ("nvidia.com/gpu", *ids), container=container) for name, container, ids in given_ids]
    found = allocations(pods, {}, MAPS)
    held = {(a.pod, a.container) for each in found.by_device.values() for a in each}
    for name, container, ids in given_ids:
        for device_id in ids:
            device = resolve(device_id, MAPS)
            named = any(f" {device_id} of ns/{name}/{container}:" in words for words in found.unknown)
            assert named or (device is not None and (name, container) in held)
    owners = {device_id: {name for name, _, ids in given_ids if device_id in ids} for device_id in (GPU0, GPU1, MIG)}
    for device_id, names in owners.items():
        assert len(names) < 2 or any(f" {device_id} of" in words for words in found.unknown)
