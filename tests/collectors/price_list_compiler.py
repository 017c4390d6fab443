"""Compiles collectors/data/gpu_prices.csv from the sources that DATA-SOURCES.md names.

    python tests/collectors/price_list_compiler.py [SHARED_DATA]

It stands beside the test that compares its result with the committed list, and not in the package, because its
inputs are not part of the repository and no installation needs it. Prints what falls out, and why.
"""

import csv
import gzip
import json
import re
import sys
from collections import defaultdict
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
EXTRACTS = Path(__file__).parent / "price_extracts.csv"
AS_OF = {
    "aws-us-east-1-2026-02": "2026-02-09",
    "azure-eastus-2023-12": "2023-12-18",
    "gcp-us-central1-2026-08": "2026-08-16",
    "full-stack-2025-03": "2025-03-07",
    "oci-2024-10": "2024-10-24",
}
LABELS = {
    "A100 (40 GB)": "A100-40GB",
    "A100 (80 GB)": "A100-80GB",
    "A10G (24 GB)": "A10G",
    "A10 (24 GB)": "A10",
    "A10": "A10",
    "A40 (48 GB)": "A40",
    "GH200 (96 GB)": "GH200-96GB",
    "H100 (80 GB)": "H100-80GB",
    "H100 HGX (80GB)": "H100-80GB",
    "H100 PCIe (80GB)": "H100-80GB",
    "K80 (12 GB)": "K80",
    "L4 (24 GB)": "L4",
    "P100 (16 GB)": "P100-16GB",
    "P4 (8 GB)": "P4",
    "T4 (16 GB)": "T4",
    "V100 (16 GB)": "V100-16GB",
    "V100 (32 GB)": "V100-32GB",
    "A4000 (16 GB)": "RTX-A4000",
    "A5000 (24 GB)": "RTX-A5000",
    "A6000 (48 GB)": "RTX-A6000",
    "RTX A6000 (48 GB)": "RTX-A6000",
    "RTX4000 (8 GB)": "Quadro-RTX-4000",
    "RTX5000 (16 GB)": "Quadro-RTX-5000",
    "Quadro RTX 6000 (24 GB)": "Quadro-RTX-6000",
    "3080Ti (12 GB)": "GeForce-RTX-3080-Ti",
}
OCI_SKUS = {"B95907": "A100-80GB", "B95909": "A10", "B98415": "H100-80GB"}
"""The GPU SKUs whose display name says which GPU it is; the other four (X7, V2, E3) do not."""


class Offer(NamedTuple):
    provider: str
    region: str
    instance_type: str
    gpu_model: str
    gpu_count: int
    capacity_type: str
    usd_per_hour: Decimal
    source: str

    @property
    def key(self) -> tuple[str, str, str, str, int, str]:
        return self[:6]


class FellOut(NamedTuple):
    what: str
    why: str


def extracts() -> list[Offer]:
    """Figures read from public price files, one region each; as published, here rounded to a nano-dollar."""
    with EXTRACTS.open(encoding="utf-8", newline="") as lines:
        return [
            Offer(
                row["provider"],
                row["region"],
                row["instance_type"],
                row["gpu_model"],
                int(row["gpu_count"]),
                row["capacity_type"],
                Decimal(row["usd_per_hour"]).quantize(Decimal("1e-9"), ROUND_HALF_EVEN),
                row["source"],
            )
            for row in csv.DictReader(lines)
        ]


def refusal(row: dict[str, str]) -> str | None:
    """Why a row of the hand-kept table cannot be trusted, or None."""
    if not row["On-demand"]:
        return "no price of the whole offer; its per-GPU column holds it instead, since it grows with the count"
    whole, count, each = Decimal(row["On-demand"]), int(row["GPUs"]), Decimal(row["Per-GPU"])
    if abs(whole / count - each) > Decimal("0.011"):
        return f"whole price {whole} over {count} GPUs is not its per-GPU price {each}"
    if row["Cloud"] == "Lambda" and row["GPU Type"].startswith("Quadro RTX 6000"):
        return "vCPUs, memory and price are those of its 8 x V100 row"
    if row["Cloud"] != "AWS" and row["GPU Type"].startswith("A10G"):
        return "the A10G is sold by AWS alone"
    return None


def full_stack(path: Path) -> tuple[list[Offer], list[FellOut]]:
    """The hand-kept table of US offers: whole prices, on-demand and spot."""
    offers: list[Offer] = []
    fell_out: list[FellOut] = []
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            cloud, label, count = row["Cloud"], row["GPU Type"], int(row["GPUs"])
            name = row["Name"] or label
            if reason := refusal(row):
                fell_out.append(FellOut(f"{cloud} {name} x{count}", reason))
                continue
            if cloud == "Azure":
                name = "Standard_" + name.replace(" ", "_")
            provider = re.sub(r"[^a-z0-9]+", "-", cloud.lower())
            for capacity, cell in (("on_demand", row["On-demand"]), ("spot", row["Spot"])):
                if cell:
                    offer = (provider, "*", name, LABELS[label], count, capacity, Decimal(cell), "full-stack-2025-03")
                    offers.append(Offer(*offer))
    return offers, fell_out


def oci(path: Path) -> list[Offer]:
    """Oracle's own list: dollars per GPU-hour, whatever the shape."""
    with gzip.open(path, "rt", encoding="utf-8") as text:
        items = {item["partNumber"]: item for item in json.load(text, parse_float=Decimal)["items"]}
    return [
        Offer(
            "oracle-cloud",
            "*",
            "*",
            model,
            1,
            "on_demand",
            Decimal(items[sku]["currencyCodeLocalizations"][0]["prices"][0]["value"]),
            "oci-2024-10",
        )
        for sku, model in OCI_SKUS.items()
    ]


def unambiguous(offers: list[Offer]) -> tuple[list[Offer], list[FellOut]]:
    """Each offer once; offers that a source prices in more than one way, without saying why, fall out."""
    prices: dict[tuple[object, ...], dict[Decimal, Offer]] = defaultdict(dict)
    for offer in offers:
        prices[offer.key].setdefault(offer.usd_per_hour, offer)
    fell_out = [
        FellOut(
            f"{key[0]} {key[2]} x{key[4]} {key[5]}",
            f"{len(found)} prices and nothing that tells them apart: {', '.join(str(usd) for usd in sorted(found))}",
        )
        for key, found in prices.items()
        if len(found) > 1
    ]
    return [offer for found in prices.values() if len(found) == 1 for offer in found.values()], fell_out


def implausible(offer: Offer) -> bool:
    return not Decimal("0.03") <= offer.usd_per_hour / offer.gpu_count <= 60


def compile_list(shared_data: Path) -> tuple[str, list[FellOut]]:
    """The text of the list, and what did not make it."""
    table, fell_out = full_stack(shared_data / "cloud_gpu_prices/cloud-gpus.csv")
    candidates = [*extracts(), *table, *oci(shared_data / "opencost_fixtures/oracle_prices_usd.json.gz")]
    offers, ambiguous = unambiguous(candidates)
    wild = [
        FellOut(" ".join(map(str, offer)), "not between 0.03 and 60 USD a GPU-hour")
        for offer in offers
        if implausible(offer)
    ]
    lines = ["provider,region,instance_type,gpu_model,gpu_count,capacity_type,usd_per_hour,source,as_of"]
    for offer in sorted(offer for offer in offers if not implausible(offer)):
        *cells, usd, source = offer
        lines.append(",".join([*map(str, cells), decimal_text(usd), source, AS_OF[source]]))
    return "\n".join(lines) + "\n", [*fell_out, *ambiguous, *wild]


def decimal_text(usd: Decimal) -> str:
    text = f"{usd:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


if __name__ == "__main__":
    shared = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
    text, left_out = compile_list(shared)
    (ROOT / "collectors/data/gpu_prices.csv").write_text(text, encoding="utf-8")
    for what, why in left_out:
        print(f"left out: {what}: {why}")
