import pytest

from collectors.clock import SystemClock
from collectors.pod_resources import PodResources
from collectors.pod_resources_messages import ClaimedDevice
from tests.cluster.claims import SLICES, claiming
from tests.cluster.node import DRA_DRIVER
from tests.cluster.pods import container, pod
from tests.cluster.waiting import wait_until

DEVICES = {
    "gpu-0": {"uuid": "GPU-5a0f2d8e-6f0c-5a3e-9a51-000000000010", "type": "gpu", "index": 0},
    "gpu-1-mig-9-4-1": {"uuid": "MIG-0b7c9a34-7a11-5d5e-8c44-000000000010", "type": "mig", "profile": "3g.40gb"},
}


@pytest.fixture
def claims(cluster, make_claims):
    """A device class for each type, and a claim of each that the tests' pods may name."""
    node = cluster.nodes["node-a"]
    node.write_claimable(DEVICES)
    make_claims({"one-gpu": "gpu", "one-mig": "mig"})
    wait_until(lambda: published(cluster).keys() == DEVICES.keys(), 30, "the ResourceSlices")
    yield
    node.write_claimable({})


def published(cluster):
    slices = cluster.admin.get(SLICES)["items"]
    return {device["name"]: device["attributes"] for one in slices for device in one["spec"].get("devices") or []}


def test_claimed_devices_are_told_by_driver_pool_and_name_and_lead_to_their_uuids(cluster, claims, run_pod):
    claimed = [{"name": kind, "resourceClaimName": f"one-{kind}"} for kind in ("gpu", "mig")]
    parts = [claiming(container(kind), kind) for kind in ("gpu", "mig")]
    run_pod(pod("claiming", *parts, node="node-a", resourceClaims=claimed))
    socket = cluster.nodes["node-a"].pod_resources_socket
    (told,) = PodResources(SystemClock(), socket_path=socket).read_if_due()
    held = {part.name: part.claims for part in told.containers}
    names = {"gpu": "gpu-0", "mig": "gpu-1-mig-9-4-1"}
    for kind, device_name in names.items():
        (claim,) = held[kind]
        (device,) = claim.devices
        assert (claim.namespace, claim.name) == ("default", f"one-{kind}")
        assert device == ClaimedDevice(DRA_DRIVER, "node-a", device_name, device.cdi_devices)
        assert len(device.cdi_devices) == 1
        assert published(cluster)[device.device]["uuid"] == {"string": DEVICES[device_name]["uuid"]}
