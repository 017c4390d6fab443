"""Compiles collectors/data/carbon_intensity.csv from the sources that DATA-SOURCES.md names.

    python tests/collectors/carbon_intensity_compiler.py [SHARED_DATA]

It stands beside the test that compares its result with the committed table, and not in the package, because its
inputs are not part of the repository and no installation needs it. Prints what falls out, and why.
"""

import csv
import json
import sys
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).parents[2]
REGIONS = Path(__file__).parent / "cloud_regions.csv"
"""Which country a region stands in, as its provider says; those of Google that its own list does not name."""
AS_OF = "2026-08-08"
HEADER = "provider,region,country,g_per_kwh,year,source,as_of"
MISSPELT = {"me-cenrtal1": "me-central1"}


def countries(path: Path) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Country to its intensity and the year it is of; and what fell out."""
    mixes = json.loads(path.read_text(encoding="utf-8"), parse_float=str)
    found: dict[str, tuple[str, int]] = {}
    fell_out: list[str] = []
    for country, mix in mixes.items():
        intensity = Decimal(mix["carbon_intensity"])
        if intensity > 0:
            found[country] = decimal_text(intensity), mix["year"]
        else:
            fell_out.append(f"{country} ({mix['country_name']}): intensity {intensity}, where no grid has none")
    return found, fell_out


def google(path: Path) -> list[tuple[str, ...]]:
    """Google's own figures of its regions; the list names no year."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return [
            (
                row["provider"],
                MISSPELT.get(row["region"], row["region"]),
                row["countryIsoCode"],
                decimal_text(Decimal(row["impact"])),
                "",
                "google-region-carbon",
            )
            for row in csv.DictReader(lines)
        ]


def compile_table(shared_data: Path) -> tuple[str, list[str]]:
    """The text of the table, and what did not make it."""
    mixes, fell_out = countries(shared_data / "carbon_intensity/global_energy_mix.json")
    rows = google(shared_data / "carbon_intensity/impact.csv")
    named = {row[:2] for row in rows}
    with REGIONS.open(encoding="utf-8", newline="") as lines:
        for place in csv.DictReader(lines):
            if (place["provider"], place["region"]) in named:
                continue
            intensity, year = mixes[place["country"]]
            rows.append((place["provider"], place["region"], place["country"], intensity, str(year), "country-mix"))
    rows += [("", "", country, intensity, str(year), "country-mix") for country, (intensity, year) in mixes.items()]
    return "\n".join([HEADER, *(",".join([*row, AS_OF]) for row in sorted(rows))]) + "\n", fell_out


def decimal_text(figure: Decimal) -> str:
    text = f"{figure:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


if __name__ == "__main__":
    shared = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
    text, left_out = compile_table(shared)
    (ROOT / "collectors/data/carbon_intensity.csv").write_text(text, encoding="utf-8")
    for what in left_out:
        print(f"left out: {what}")
