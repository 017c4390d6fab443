import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.pod_resources_messages import (
    ClaimedDevice,
    ContainerDevices,
    DeviceIds,
    DynamicClaim,
    MalformedMessage,
    PodDevices,
    decode_list,
)

# One pod as the Go type of k8s.io/kubelet v0.34.4 marshals it: two containers, CPU ids, memory with topology, two GPUs,
# a replica, two MIG devices and a claim.
KUBELET_BYTES = bytes.fromhex(
    "0ac1020a05706f642d3012077465616d2dc3bc1aa3020a046d61696e12420a0e6e76696469612e636f6d2f67707512284750552d613832376135"
    "61322d303030302d303030302d303030302d3030303030303030303030311a060a000a020801123d0a0e6e76696469612e636f6d2f677075122b"
    "4750552d61383237613561322d303030302d303030302d303030302d3030303030303030303030323a3a3312260a166e76696469612e636f6d2f"
    "6d69672d31672e3130676212054d49472d3112054d49472d321a040001ac0222140a066d656d6f72791080808080201a040a0208012a54120563"
    "6c61696d1a077465616d2dc3bc22420a210a1f6b38732e6770752e6e76696469612e636f6d2f6465766963653d6770752d30120e6770752e6e76"
    "696469612e636f6d1a066e6f64652d6122056770752d301a090a0773696465636172"
)
KUBELET_POD = PodDevices(
    "team-ü",
    "pod-0",
    (
        ContainerDevices(
            "main",
            (
                DeviceIds("nvidia.com/gpu", ("GPU-a827a5a2-0000-0000-0000-000000000001",)),
                DeviceIds("nvidia.com/gpu", ("GPU-a827a5a2-0000-0000-0000-000000000002::3",)),
                DeviceIds("nvidia.com/mig-1g.10gb", ("MIG-1", "MIG-2")),
            ),
            (
                DynamicClaim(
                    "claim",
                    "team-ü",
                    (ClaimedDevice("gpu.nvidia.com", "node-a", "gpu-0", ("k8s.gpu.nvidia.com/device=gpu-0",)),),
                ),
            ),
        ),
        ContainerDevices("sidecar"),
    ),
)


def varint(number):
    groups = []
    while True:
        number, group = number >> 7, number & 0x7F
        groups.append(group | (0x80 if number else 0))
        if not number:
            return bytes(groups)


def field(number, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def encode_claim(claim):
    devices = b""
    for device in claim.devices:
        cdi = b"".join(field(1, field(1, name)) for name in device.cdi_devices)
        identity = field(2, device.driver) + field(3, device.pool) + (field(4, device.device) if device.device else b"")
        devices += field(4, cdi + identity)
    return field(2, claim.name) + field(3, claim.namespace) + devices


def encode_pod(pod):
    containers = b""
    for container in pod.containers:
        devices = b"".join(
            field(2, field(1, entry.resource_name) + b"".join(field(2, device) for device in entry.ids))
            for entry in container.devices
        )
        claims = b"".join(field(5, encode_claim(claim)) for claim in container.claims)
        containers += field(3, field(1, container.name) + devices + claims)
    return field(1, field(1, pod.pod) + field(2, pod.namespace) + containers)


names = st.text(min_size=1, max_size=200)
some = {"max_size": 3}
claimed = st.builds(ClaimedDevice, names, names, st.text(max_size=20), st.lists(names, **some).map(tuple))
claims = st.builds(DynamicClaim, names, names, st.lists(claimed, **some).map(tuple))
device_ids = st.builds(DeviceIds, names, st.lists(st.text(max_size=200), **some).map(tuple))
containers = st.builds(
    ContainerDevices, names, st.lists(device_ids, **some).map(tuple), st.lists(claims, **some).map(tuple)
)
pods = st.builds(PodDevices, names, names, st.lists(containers, **some).map(tuple))


def test_what_a_kubelet_marshals_is_read():
    assert decode_list(KUBELET_BYTES) == (KUBELET_POD,)


def test_an_empty_answer_is_a_node_without_pods():
    assert decode_list(b"") == ()


@given(st.lists(pods, max_size=3).map(tuple))
def test_what_was_encoded_is_decoded(expected):
    assert decode_list(b"".join(encode_pod(pod) for pod in expected)) == expected


@pytest.mark.parametrize("length", [*range(1, 5), 100, 200, 300, len(KUBELET_BYTES) - 1])
def test_a_message_that_is_cut_off_is_refused(length):
    with pytest.raises(MalformedMessage, match="cut off"):
        decode_list(KUBELET_BYTES[:length])


@given(st.binary(max_size=64))
def test_any_bytes_behind_a_good_pod_are_read_whole_or_refused(noise):
    try:
        found = decode_list(KUBELET_BYTES + noise)
    except MalformedMessage:
        return
    assert found[0] == KUBELET_POD


def test_fields_of_a_newer_kubelet_are_skipped():
    newer = b"\x98\x06\x96\x01" + b"\x91\x06" + bytes(8) + b"\x95\x06" + bytes(4) + field(99, b"anything")
    pod = field(1, field(1, "p") + field(2, "n") + newer + field(3, newer + field(1, "c")))
    assert decode_list(newer + pod) == (PodDevices("n", "p", (ContainerDevices("c"),)),)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (field(1, field(1, "p")), r"lacks a pod's namespace \(field 2\)"),
        (field(1, field(2, "n")), "lacks a pod's name"),
        (field(1, field(1, "p") + field(2, "n") + field(3, b"")), "lacks a container's name"),
        (field(1, field(1, b"\xff") + field(2, "n")), r"not UTF-8: b'\\xff'"),
        (b"\x0b", "wire type 3"),
        (b"\x0f", "wire type 7"),
        (b"\x08" + b"\xff" * 11, "a number of over 10 bytes"),
        (b"<html>", "PodResources answer"),
    ],
)
def test_a_message_that_is_no_list_of_pods_is_refused(message, words):
    with pytest.raises(MalformedMessage, match=words):
        decode_list(message)


def test_an_answer_of_countless_tiny_fields_is_refused():
    with pytest.raises(MalformedMessage, match="over 500000 fields"):
        decode_list(b"\x1a\x00" * 600_000)
