import pytest

from collectors.clock import NS_PER_SECOND
from collectors.errors import Unavailable, Unsupported
from collectors.kube_api import KubeApi
from collectors.kube_dra import DraDevice, ResourceSlices, devices_of, slice_of, uuids
from collectors.kube_endpoint import KubeEndpoint
from tests.collectors.kube_server import KubeServer

DRIVER = "gpu.nvidia.com"
GPU = "GPU-11111111-1111-1111-1111-111111111111"
MIG = "MIG-33333333-3333-3333-3333-333333333333"
SLICES = "/apis/resource.k8s.io/{}/resourceslices"


def device(name, uuid=None, kind="gpu", parent=None, prefix=""):
    said = {"uuid": uuid, "type": kind, "parentUUID": parent}
    attributes = {f"{prefix}{key}": {"string": value} for key, value in said.items() if value}
    return {"name": name, "attributes": attributes | {"index": {"int": 0}}}


def resource_slice(*devices, generation=1, pool="node-a", driver=DRIVER, node="node-a", name="s"):
    spec = {"driver": driver, "nodeName": node, "devices": list(devices)}
    spec["pool"] = {"name": pool, "generation": generation, "resourceSliceCount": 1}
    return {"metadata": {"name": name}, "spec": spec}


def found(*slices):
    return devices_of(slice_of(each) for each in slices)[0]


def test_a_device_leads_to_its_gpu_or_mig_instance():
    devices = found(resource_slice(device("gpu-0", GPU), device("gpu-0-mig-1", MIG, "mig", GPU)))
    assert devices == {
        (DRIVER, "node-a", "gpu-0"): DraDevice(DRIVER, "node-a", "gpu-0", GPU, "gpu"),
        (DRIVER, "node-a", "gpu-0-mig-1"): DraDevice(DRIVER, "node-a", "gpu-0-mig-1", MIG, "mig", GPU),
    }
    assert uuids(devices)[DRIVER, "node-a", "gpu-0"] == GPU


def test_the_first_beta_keeps_attributes_one_level_down():
    plain = device("gpu-0", GPU)
    basic = {"name": "gpu-0", "basic": {"attributes": plain["attributes"]}}
    assert found(resource_slice(basic)) == found(resource_slice(plain))


def test_an_attribute_may_be_named_with_its_drivers_domain():
    devices = found(resource_slice(device("gpu-0", GPU, prefix=f"{DRIVER}/")))
    assert devices[DRIVER, "node-a", "gpu-0"].uuid == GPU


@pytest.mark.parametrize("uuid", [None, "channel-0", "0000:3b:00.0", ""])
def test_a_device_without_a_gpus_uuid_has_none(uuid):
    assert found(resource_slice(device("d", uuid)))[DRIVER, "node-a", "d"].uuid is None


def test_only_the_newest_generation_of_a_pool_counts():
    old = resource_slice(device("gpu-0", GPU), device("gpu-1", "GPU-00000000-old"), generation=1)
    new = resource_slice(device("gpu-0", MIG), generation=2)
    other = resource_slice(device("gpu-0", GPU), pool="other", generation=1)
    assert uuids(found(old, new, other)) == {(DRIVER, "node-a", "gpu-0"): MIG, (DRIVER, "other", "gpu-0"): GPU}


def test_several_slices_of_a_pool_are_put_together():
    devices = found(resource_slice(device("gpu-0", GPU)), resource_slice(device("gpu-1", MIG)))
    assert sorted(name for _, _, name in devices) == ["gpu-0", "gpu-1"]


def test_a_uuid_that_two_devices_claim_is_nobodys():
    devices, shared = devices_of([slice_of(resource_slice(device("a", GPU), device("b", GPU), device("c", MIG)))])
    assert sorted(uuids(devices).values(), key=str) == [MIG, None, None]
    assert shared == {GPU}


@pytest.mark.parametrize(
    "odd", [{}, {"spec": 3}, {"spec": {"devices": [1, {"attributes": {"uuid": "x"}}], "pool": []}}]
)
def test_a_slice_of_odd_shape_never_breaks_the_reader(odd):
    devices_of([slice_of(odd)])


class FakeClock:
    boot_id = "boot"

    def __init__(self):
        self.now_ns = 0

    def monotonic_ns(self):
        return self.now_ns

    def wall_ns(self):
        return self.now_ns

    def wait(self, event, duration_ns):
        raise NotImplementedError


@pytest.fixture
def kube():
    server = KubeServer()
    yield server
    server.close()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def slices(kube, clock):
    return ResourceSlices(KubeApi(KubeEndpoint(kube.url), timeout_seconds=5), "node-a", clock)


def publish(kube, version, *each):
    kube.objects.setdefault(SLICES.format(version), {})
    kube.set(*each, path=SLICES.format(version))


def test_the_slices_of_this_node_are_read(kube, slices):
    publish(kube, "v1", resource_slice(device("gpu-0", GPU)), resource_slice(device("x", MIG), node="node-b", name="t"))
    assert uuids(slices.read_if_due()) == {(DRIVER, "node-a", "gpu-0"): GPU}


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
def test_an_older_version_is_found_once_and_kept(kube, slices, clock, version):
    publish(kube, version, resource_slice(device("gpu-0", GPU)))
    slices.read_if_due()
    kube.asked.clear()
    clock.now_ns += 60 * NS_PER_SECOND
    assert slices.read_if_due() is not None
    assert [path for path, _, _ in kube.asked] == [SLICES.format(version)]


def test_a_cluster_that_is_upgraded_is_found_again(kube, slices, clock):
    publish(kube, "v1beta1", resource_slice(device("gpu-0", GPU)))
    slices.read_if_due()
    publish(kube, "v1", *kube.objects.pop(SLICES.format("v1beta1")).values())
    clock.now_ns += 60 * NS_PER_SECOND
    assert uuids(slices.read_if_due()) == {(DRIVER, "node-a", "gpu-0"): GPU}


def test_a_cluster_without_dynamic_allocation_is_unsupported(slices):
    with pytest.raises(Unsupported, match="it allocates no devices dynamically"):
        slices.read_if_due()


def test_a_missing_right_is_told(kube, slices):
    kube.fail((403, {}, ""))
    with pytest.raises(Unavailable, match=r"list and watch on resourceslices of resource\.k8s\.io"):
        slices.read_if_due()


def test_slices_are_read_once_a_minute_and_in_a_hurry_every_five_seconds(kube, slices, clock):
    publish(kube, "v1", resource_slice(device("gpu-0", GPU)))
    assert slices.read_if_due() is not None
    clock.now_ns += 4 * NS_PER_SECOND
    assert slices.read_if_due(hurry=True) is None
    clock.now_ns += 1 * NS_PER_SECOND
    assert slices.read_if_due() is None
    assert slices.read_if_due(hurry=True) is not None
    clock.now_ns += 60 * NS_PER_SECOND
    assert slices.read_if_due() is not None


def test_a_uuid_that_is_given_twice_is_told_once(kube, slices, clock, caplog):
    publish(kube, "v1", resource_slice(device("a", GPU), device("b", GPU)))
    slices.read_if_due()
    clock.now_ns += 60 * NS_PER_SECOND
    slices.read_if_due()
    assert [record.getMessage() for record in caplog.records] == [
        f"ResourceSlices give one UUID to several devices, so none has it: {GPU}"
    ]
