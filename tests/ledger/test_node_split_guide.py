"""The worked example of docs/guides/prices.md is what the code works out."""

from pathlib import Path

import polars as pl
import pytest

from ledger.apportion import apportion
from ledger.node_split import NodeSplit, gpu_weight, host_weight

GUIDE = Path(__file__).parents[2] / "docs/guides/prices.md"
P3 = pl.DataFrame({"gpu_count": [8], "vcpus": [64], "memory_mib": [488 * 1024]})


@pytest.mark.parametrize(
    ("split", "gpu", "host"),
    [
        (NodeSplit.EQUAL, 1_250_000_000, 0),
        (NodeSplit.AWS, 504_484_305, 5_964_125_561),
        (NodeSplit.OPENCOST, 812_607_564, 3_499_139_491),
    ],
)
def test_ten_dollars_of_a_p3_are_split_as_the_guide_says(split, gpu, host):
    gpus, rest = P3.select(gpu_weight(split).alias("gpus"), host_weight(split).alias("host")).row(0)
    whole, of_host = apportion(10_000_000_000, [gpus, rest])
    assert max(apportion(whole, [1] * 8)) == gpu
    assert of_host == host
    (line,) = [line for line in GUIDE.read_text(encoding="utf-8").splitlines() if line.startswith(f"    {split}  ")]
    assert f"{gpu / 1e9:.9f} USD" in line
    assert ("host 0" if host == 0 else f"host {host / 1e9:.9f}") in line
