import polars as pl
import pytest

from ledger.instance_ids import instance_id

AZURE = "/subscriptions/AB-12/resourceGroups/MC_x/providers/Microsoft.Compute"


@pytest.mark.parametrize(
    ("resource", "instance"),
    [
        ("i-0123456789abcdef0", "i-0123456789abcdef0"),
        ("i-078311l462ea78l50", "i-078311l462ea78l50"),
        ("arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0", "i-0123456789abcdef0"),
        ("arn:aws-us-gov:ec2:us-gov-west-1:1:instance/i-01234567", "i-01234567"),
        ("arn:aws:sqs:us-east-1:1:queue-i-032l64f2065481b12", ""),
        ("vol-0123456789abcdef0", ""),
        ("arn:aws:ec2:us-east-1:1:natgateway/nat-0123", ""),
        (f"{AZURE}/virtualMachines/Gpu-1", f"{AZURE}/virtualMachines/Gpu-1".lower()),
        (
            f"{AZURE}/virtualMachineScaleSets/aks-gpu/virtualMachines/3",
            f"{AZURE}/virtualMachineScaleSets/aks-gpu/virtualMachines/3".lower(),
        ),
        (f"{AZURE}/virtualMachineScaleSets/aks-gpu", ""),
        (f"{AZURE}/disks/d", ""),
        (
            "//compute.googleapis.com/projects/12/zones/us-central1-a/instances/8123456789012345678",
            "8123456789012345678",
        ),
        (
            "//compute.googleapis.com/projects/12/zones/us-central1-a/instance/8123456789012345678",
            "8123456789012345678",
        ),
        ("projects/12/instances/gpu-node-1", "gpu-node-1"),
        ("//compute.googleapis.com/projects/12/zones/us-central1-a/disk/77", ""),
        ("", ""),
    ],
)
def test_a_resource_gives_the_instance_as_nodes_know_it(resource, instance):
    assert pl.DataFrame({"r": [resource]}).select(instance_id(pl.col("r"))).item() == instance
