import csv
import runpy
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from collectors import price_list
from collectors.errors import Misconfigured
from collectors.gpu_model import canonical_model

HEADER = "provider,region,instance_type,gpu_model,gpu_count,capacity_type,usd_per_hour,source,as_of"
GOOD = "aws,us-east-1,p5.48xlarge,H100-80GB,8,on_demand,55.04,a-source,2026-02-09"
CHECKOUT = Path(__file__).parents[2]


def parse(*lines):
    return list(price_list.parse([f"{line}\n" for line in lines], "list.csv"))


def test_a_row_is_read_into_integers():
    (row,) = parse(HEADER, GOOD)
    assert row.nano_usd_per_hour == 55_040_000_000
    assert (row.provider, row.region, row.gpu_count, row.as_of) == ("aws", "us-east-1", 8, date(2026, 2, 9))


@pytest.mark.parametrize(
    ("column", "value", "allowed"),
    [
        ("provider", "AWS", "small letters"),
        ("region", "", "a name"),
        ("instance_type", " p5", "without blanks"),
        ("gpu_model", "", "a name"),
        ("gpu_count", "0", "whole number"),
        ("gpu_count", "-8", "whole number"),
        ("gpu_count", "8.0", "whole number"),
        ("gpu_count", "99999", "whole number"),
        ("capacity_type", "Spot", "on_demand or spot"),
        ("usd_per_hour", "0", "above 0"),
        ("usd_per_hour", "-1", "above 0"),
        ("usd_per_hour", "", "above 0"),
        ("usd_per_hour", "nan", "above 0"),
        ("usd_per_hour", "1e3", "above 0"),
        ("usd_per_hour", "$55.04", "above 0"),
        ("usd_per_hour", "0.2399", "from 0.03"),
        ("usd_per_hour", "480.01", "to 60"),
        ("usd_per_hour", "55.0400000001", "9 places"),
        ("source", "A source", "an id"),
        ("as_of", "09.02.2026", "YYYY-MM-DD"),
        ("as_of", "2026-02-30", "YYYY-MM-DD"),
    ],
)
def test_a_wrong_cell_refuses_the_list_with_line_column_found_and_allowed(column, value, allowed):
    cells = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | {column: value}
    with pytest.raises(Misconfigured) as refused:
        parse(HEADER, ",".join(cells.values()))
    message = str(refused.value)
    assert message.startswith(f"price list list.csv, line 2, {column}: found {value!r}")
    assert allowed in message


def test_a_list_with_other_columns_is_refused():
    with pytest.raises(Misconfigured, match="line 1, header: found 'provider,price', allowed is exactly provider,"):
        parse("provider,price", "aws,1")


def test_a_row_that_was_cut_off_is_refused():
    with pytest.raises(Misconfigured, match="line 3, row: found '4 cells', allowed is 9"):
        parse(HEADER, GOOD, "aws,us-east-1,p5.4xlarge,H100-80GB")


def test_an_offer_with_two_prices_is_refused():
    with pytest.raises(Misconfigured, match=r"line 3, row.*one price for an offer; line 2 has it"):
        parse(HEADER, GOOD, GOOD.replace("55.04", "98.32"))


def test_a_list_without_rows_is_refused():
    with pytest.raises(Misconfigured, match="found 'no rows'"):
        parse(HEADER)


def test_an_empty_file_is_refused():
    with pytest.raises(Misconfigured, match="line 1, header"):
        parse()


def test_an_open_quote_is_refused():
    with pytest.raises(Misconfigured, match="comma-separated values"):
        parse(HEADER, '"aws')


def test_one_bad_row_refuses_the_list_even_where_it_would_not_be_kept(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("\n".join([HEADER, GOOD, GOOD.replace("aws", "gcp").replace("55.04", "0")]), encoding="utf-8")
    with pytest.raises(Misconfigured, match=rf"{path}, line 3, usd_per_hour"):
        price_list.load(path, keep=lambda row: row.provider == "aws")


def test_a_list_that_is_not_there_says_so(tmp_path):
    with pytest.raises(Misconfigured, match=r"nowhere\.csv: cannot be read"):
        price_list.load(tmp_path / "nowhere.csv")


def test_a_list_that_is_no_text_says_so(tmp_path):
    (tmp_path / "prices.csv").write_bytes(b"\xff\xfe\x00provider")
    with pytest.raises(Misconfigured, match="cannot be read"):
        price_list.load(tmp_path / "prices.csv")


def test_only_the_rows_asked_for_are_kept():
    rows = price_list.load(keep=lambda row: row.provider == "gcp")
    assert {row.provider for row in rows} == {"gcp"}


def test_the_bundled_list_prices_the_gpus_of_the_three_clouds_on_demand_and_spot():
    counted = Counter((row.provider, row.capacity_type) for row in price_list.load())
    for cloud in ("aws", "azure", "gcp"):
        assert counted[(cloud, "on_demand")] >= 40
        assert counted[(cloud, "spot")] >= 15


def test_the_bundled_list_holds_prices_as_their_sources_publish_them():
    figures = {
        (row.provider, row.region, row.instance_type, row.gpu_model, row.capacity_type): row.nano_usd_per_hour
        for row in price_list.load()
    }
    assert figures["aws", "us-east-1", "p5.48xlarge", "H100-80GB", "on_demand"] == 55_040_000_000
    assert figures["azure", "eastus", "Standard_ND96isr_H100_v5", "H100-80GB", "on_demand"] == 98_320_000_000
    assert figures["gcp", "us-central1", "a3-highgpu-8g", "H100-80GB", "on_demand"] == 88_489_999_903
    assert figures["gcp", "*", "n1-highmem-8", "T4", "spot"] == 210_000_000
    assert figures["oracle-cloud", "*", "*", "H100-80GB", "on_demand"] == 10_000_000_000


def test_spot_never_costs_more_than_on_demand_in_one_source():
    rows = price_list.load()
    whole = {
        (row.provider, row.region, row.instance_type, row.gpu_model, row.gpu_count): row.nano_usd_per_hour
        for row in rows
        if row.capacity_type == "on_demand"
    }
    dearer = [
        row
        for row in rows
        if row.capacity_type == "spot"
        and row.nano_usd_per_hour >= whole[row.provider, row.region, row.instance_type, row.gpu_model, row.gpu_count]
    ]
    assert dearer == []


def test_every_source_of_the_bundled_list_is_described():
    described = (CHECKOUT / "DATA-SOURCES.md").read_text(encoding="utf-8")
    assert [row.source for row in price_list.load() if f"`{row.source}`" not in described] == []


def test_the_bundled_list_is_what_its_compiler_makes_of_its_sources(shared_data):
    compiler = runpy.run_path(str(Path(__file__).with_name("price_list_compiler.py")))
    text, _left_out = compiler["compile_list"](shared_data)
    assert price_list.BUNDLED_LIST.read_text(encoding="utf-8") == text


def test_the_bundled_list_agrees_with_the_gpus_that_running_instances_reported(shared_data):
    with (shared_data / "aws_gpu_instances/instance_gpu_map.csv").open(encoding="utf-8") as lines:
        reported = {
            row["instance_type"]: (canonical_model(row["gpu_name"]), int(row["gpu_count"]))
            for row in csv.DictReader(lines)
        }
    wrong = [
        (row.instance_type, row.gpu_model, row.gpu_count)
        for row in price_list.load(keep=lambda row: row.provider == "aws")
        if (row.gpu_model, row.gpu_count) != reported.get(row.instance_type, (row.gpu_model, row.gpu_count))
    ]
    assert wrong == []
