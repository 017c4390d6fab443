import csv

import pytest

from collectors.gpu_model import canonical_model


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA H100 80GB HBM3", "H100-80GB"),
        ("NVIDIA H100 PCIe", "H100-80GB"),
        ("NVIDIA H100 NVL", "H100-NVL-94GB"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA H200 NVL", "H200"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA A100-PCIE-40GB", "A100-40GB"),
        ("Tesla T4", "T4"),
        ("NVIDIA T4G", "T4G"),
        ("Tesla V100-SXM2-16GB", "V100-16GB"),
        ("NVIDIA Tesla V100-PCIE-32GB", "V100-32GB"),
        ("Tesla V100S-PCIE-32GB", "V100-32GB"),
        ("Tesla P100-PCIE-16GB", "P100-16GB"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A10-24Q", "A10"),
        ("NVIDIA GeForce RTX 4090", "GeForce-RTX-4090"),
        ("NVIDIA GeForce RTX 3080 Ti", "GeForce-RTX-3080-Ti"),
        ("NVIDIA GH200 480GB", "GH200-96GB"),
        ("NVIDIA GH200 144G HBM3e", "GH200-144GB"),
        ("NVIDIA GB200", "GB200"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA B300 SXM6 AC", "B300"),
        ("NVIDIA RTX A6000", "RTX-A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX-6000-Ada"),
        ("Quadro RTX 6000", "Quadro-RTX-6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"),
        ("Simulated H100 80GB", "H100-80GB"),
        ("Simulated NVIDIA A100-SXM4-40GB", "A100-40GB"),
    ],
)
def test_a_drivers_name_gives_the_key_of_its_model(name, key):
    assert canonical_model(name) == key


@pytest.mark.parametrize(
    "name",
    [
        "",
        "NVIDIA",
        "NVIDIA Graphics Device",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA A10-4Q",
        "GRID T4-8Q",
        "NVIDIA A100-SXM-64GB",
        "NVIDIA A100",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA H1000",
        "AMD Instinct MI300X",
    ],
)
def test_a_name_that_is_not_known_for_sure_has_no_key(name):
    assert canonical_model(name) is None


def test_every_name_that_cloud_instances_reported_is_known(shared_data):
    with (shared_data / "aws_gpu_instances/instance_gpu_map.csv").open(encoding="utf-8") as lines:
        names = {row["gpu_name"] for row in csv.DictReader(lines)}
    assert {name for name in names if canonical_model(name) is None} == set()
