import pytest

from collectors.cloud_metadata import CloudIdentity
from collectors.errors import Unsupported
from collectors.kube_api import KubeApi
from collectors.kube_endpoint import KubeEndpoint
from collectors.kube_node import GpuFeatures, NodeFacts, capacity_type, node_facts, read_node
from tests.collectors.kube_server import KubeServer

NODES = "/api/v1/nodes"


def node(provider_id="", labels=None, annotations=None, capacity=None):
    return {
        "metadata": {"name": "node-a", "labels": labels or {}, "annotations": annotations or {}},
        "spec": {"providerID": provider_id},
        "status": {"capacity": capacity or {}},
    }


def placed(region, zone, instance_type, **more):
    return {
        "topology.kubernetes.io/region": region,
        "topology.kubernetes.io/zone": zone,
        "node.kubernetes.io/instance-type": instance_type,
        **more,
    }


EKS = node(
    "aws:///us-east-1a/i-0123456789abcdef0",
    placed("us-east-1", "us-east-1a", "p5.48xlarge") | {"eks.amazonaws.com/capacityType": "SPOT"},
)
GKE = node(
    "gce://my-project/us-central1-a/gke-pool-1-abcd",
    placed("us-central1", "us-central1-a", "a3-highgpu-8g") | {"cloud.google.com/gke-nodepool": "pool-1"},
    {"container.googleapis.com/instance_id": "1234567890123456789"},
)
SCALE_SET = (
    "/subscriptions/5f0a/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/s/virtualMachines/0"
)
AKS = node(
    f"azure://{SCALE_SET}",
    placed("eastus", "0", "Standard_ND96isr_H100_v5") | {"kubernetes.azure.com/scalesetpriority": "spot"},
)


@pytest.mark.parametrize(
    ("found", "identity"),
    [
        (EKS, CloudIdentity("aws", "i-0123456789abcdef0", "p5.48xlarge", "us-east-1", "us-east-1a", "spot", None)),
        (
            GKE,
            CloudIdentity(
                "gcp",
                "1234567890123456789",
                "a3-highgpu-8g",
                "us-central1",
                "us-central1-a",
                "on_demand",
                "my-project",
            ),
        ),
        (AKS, CloudIdentity("azure", SCALE_SET, "Standard_ND96isr_H100_v5", "eastus", None, "spot", "5f0a")),
    ],
    ids=["eks", "gke", "aks"],
)
def test_a_clouds_node_leads_to_its_price(found, identity):
    assert node_facts(found).cloud_identity() == identity


@pytest.mark.parametrize("provider_id", ["", "kind://docker/kind/node-a", "k3s://node-a", "aws:///x/fargate-10-0-0-1"])
def test_a_node_of_no_known_cloud_has_no_list_price(provider_id):
    facts = node_facts(node(provider_id, placed("us-east-1", "us-east-1a", "p5.48xlarge")))
    assert facts.provider is None
    assert facts.cloud_identity() is None
    assert facts.provider_id == (provider_id or None)


def test_a_node_without_a_type_or_region_has_no_list_price():
    assert node_facts(node("aws:///us-east-1a/i-0123456789abcdef0")).cloud_identity() is None


def test_old_labels_of_place_and_type_are_read():
    old = {
        "failure-domain.beta.kubernetes.io/region": "r",
        "failure-domain.beta.kubernetes.io/zone": "z",
        "beta.kubernetes.io/instance-type": "t",
    }
    facts = node_facts(node(labels=old))
    assert (facts.region, facts.zone, facts.instance_type) == ("r", "z", "t")


def test_a_zone_of_azure_is_kept_where_it_is_one():
    labels = placed("eastus", "eastus-2", "Standard_NC24ads_A100_v4")
    assert node_facts(node(f"azure://{SCALE_SET}", labels)).zone == "eastus-2"


@pytest.mark.parametrize(
    ("label", "value", "capacity"),
    [
        ("karpenter.sh/capacity-type", "spot", "spot"),
        ("karpenter.sh/capacity-type", "on-demand", "on_demand"),
        ("karpenter.sh/capacity-type", "reserved", "reserved"),
        ("eks.amazonaws.com/capacityType", "SPOT", "spot"),
        ("eks.amazonaws.com/capacityType", "ON_DEMAND", "on_demand"),
        ("eks.amazonaws.com/capacityType", "CAPACITY_BLOCK", "capacity_block"),
        ("cloud.google.com/gke-spot", "true", "spot"),
        ("cloud.google.com/gke-preemptible", "true", "spot"),
        ("cloud.google.com/gke-provisioning", "spot", "spot"),
        ("cloud.google.com/gke-nodepool", "pool", "on_demand"),
        ("kubernetes.azure.com/scalesetpriority", "spot", "spot"),
        ("kubernetes.azure.com/cluster", "mc_rg", "on_demand"),
        ("node.kubernetes.io/lifecycle", "Ec2Spot", "spot"),
        ("cloud.google.com/gke-spot", "false", None),
        ("karpenter.sh/capacity-type", "something-new", None),
        ("team", "spot", None),
    ],
)
def test_the_kind_of_capacity_is_read_from_any_clouds_label(label, value, capacity):
    assert capacity_type({label: value}) == capacity


@pytest.mark.parametrize(
    ("label", "listed"), [("reserved", "on_demand"), ("CAPACITY_BLOCK", None), ("on-demand", "on_demand")]
)
def test_reserved_capacity_has_the_price_on_demand_and_a_block_one_of_its_own(label, listed):
    labels = placed("us-east-1", "us-east-1a", "p5.48xlarge") | {"karpenter.sh/capacity-type": label}
    facts = node_facts(node("aws:///us-east-1a/i-0123456789abcdef0", labels))
    assert facts.cloud_identity().capacity_type == listed


def test_gpu_features_are_read_from_their_labels():
    labels = {
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-SHARED",
        "nvidia.com/gpu.count": "8",
        "nvidia.com/gpu.memory": "81559",
        "nvidia.com/gpu.family": "hopper",
        "nvidia.com/gpu.compute.major": "9",
        "nvidia.com/gpu.compute.minor": "0",
        "nvidia.com/gpu.replicas": "4",
        "nvidia.com/gpu.sharing-strategy": "time-slicing",
        "nvidia.com/mig.strategy": "single",
        "nvidia.com/cuda.driver.major": "550",
        "nvidia.com/cuda.driver.minor": "54",
        "nvidia.com/cuda.driver.rev": "15",
    }
    assert node_facts(node(labels=labels)).gpu == GpuFeatures(
        "NVIDIA-H100-80GB-HBM3-SHARED", 8, 81559, "hopper", "9.0", 4, "time-slicing", "single", "550.54.15"
    )


def test_features_that_are_not_labelled_or_no_numbers_are_absent():
    assert node_facts(node(labels={"nvidia.com/gpu.count": "many"})).gpu == GpuFeatures()


def test_extended_resources_are_counted():
    capacity = {"cpu": "96", "memory": "1Ti", "nvidia.com/gpu": "8", "nvidia.com/mig-1g.10gb": "7", "rdma/hca": "1k"}
    assert node_facts(node(capacity=capacity)).extended == {"nvidia.com/gpu": 8, "nvidia.com/mig-1g.10gb": 7}


def test_an_empty_object_has_no_facts():
    assert node_facts({}) == NodeFacts("")


@pytest.fixture
def kube():
    server = KubeServer()
    yield server
    server.close()


def test_the_node_is_read_from_the_server(kube):
    kube.set(EKS, path=NODES)
    assert read_node(KubeApi(KubeEndpoint(kube.url)), "node-a").instance_id == "i-0123456789abcdef0"


def test_a_node_that_is_not_there_is_told(kube):
    with pytest.raises(Unsupported, match="node-b not found"):
        read_node(KubeApi(KubeEndpoint(kube.url)), "node-b")
