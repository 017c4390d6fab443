import pytest

from collectors.clock import SystemClock
from collectors.pod_resources import PodResources
from collectors.pod_resources_messages import ClaimedDevice
from tests.cluster.node import DRA_DRIVER
from tests.cluster.pods import container, pod
from tests.cluster.waiting import wait_until

RESOURCE_API = "/apis/resource.k8s.io/v1"
CLAIMS = f"{RESOURCE_API}/namespaces/default/resourceclaims"
DEVICES = {
    "gpu-0": {"uuid": "GPU-5a0f2d8e-6f0c-5a3e-9a51-000000000010", "type": "gpu", "index": 0},
    "gpu-1-mig-9-4-1": {"uuid": "MIG-0b7c9a34-7a11-5d5e-8c44-000000000010", "type": "mig", "profile": "3g.40gb"},
}


@pytest.fixture
def claims(cluster):
    """A device class for each type, and a claim of each that the tests' pods may name."""
    node = cluster.nodes["node-a"]
    node.write_claimable(DEVICES)
    node.start_dra_driver()
    made = []

    def make(collection, body):
        cluster.admin.post(collection, body)
        made.append(f"{collection}/{body['metadata']['name']}")

    for kind in ("gpu", "mig"):
        chosen = f'device.driver == "{DRA_DRIVER}" && device.attributes["{DRA_DRIVER}"].type == "{kind}"'
        selectors = [{"cel": {"expression": chosen}}]
        make(f"{RESOURCE_API}/deviceclasses", {"metadata": {"name": kind}, "spec": {"selectors": selectors}})
        request = {"name": "device", "exactly": {"deviceClassName": kind}}
        make(CLAIMS, {"metadata": {"name": f"one-{kind}"}, "spec": {"devices": {"requests": [request]}}})
    wait_until(lambda: published(cluster).keys() == DEVICES.keys(), 30, "the ResourceSlices")
    yield
    for path in made:
        cluster.admin.delete(path)
    node.stop_dra_driver()


def published(cluster):
    slices = cluster.admin.get(f"{RESOURCE_API}/resourceslices")["items"]
    return {device["name"]: device["attributes"] for one in slices for device in one["spec"].get("devices", [])}


def test_claimed_devices_are_told_by_driver_pool_and_name_and_lead_to_their_uuids(cluster, claims, run_pod):
    claimed = [{"name": kind, "resourceClaimName": f"one-{kind}"} for kind in ("gpu", "mig")]
    parts = [container(kind) for kind in ("gpu", "mig")]
    for part in parts:
        part["resources"] = {"claims": [{"name": part["name"]}]}
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
