import runpy
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from collectors.carbon_intensity import HourIntensity, RegionIntensity, load, load_series
from collectors.errors import Misconfigured

HEADER = "provider,region,country,g_per_kwh,year,source,as_of"
GOOD = "aws,us-east-1,USA,369.473,2023,country-mix,2026-08-08"
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def table(tmp_path):
    def write(*lines):
        path = tmp_path / "table.csv"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write


def test_a_row_is_read_into_milligrams(table):
    assert load(table(HEADER, GOOD)) == (
        RegionIntensity("aws", "us-east-1", "USA", 369_473, 2023, "country-mix", date(2026, 8, 8)),
    )


@pytest.mark.parametrize(
    ("column", "value", "allowed"),
    [
        ("country", "us", "three capitals"),
        ("region", "", "a provider with a region, or neither"),
        ("g_per_kwh", "0", "above 0"),
        ("g_per_kwh", "-1", "above 0"),
        ("g_per_kwh", "2000.1", "at most 2000"),
        ("g_per_kwh", "nan", "a decimal"),
        ("g_per_kwh", "", "a decimal"),
        ("g_per_kwh", "1.2345", "at most 3 places"),
        ("year", "23", "a year, or nothing"),
        ("as_of", "2026-02-30", "YYYY-MM-DD"),
    ],
)
def test_a_wrong_cell_refuses_the_table_with_line_column_found_and_allowed(table, column, value, allowed):
    cells = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | {column: value}
    with pytest.raises(Misconfigured) as refused:
        load(table(HEADER, ",".join(cells.values())))
    assert "table.csv, line 2, " in str(refused.value)
    assert value in str(refused.value)
    assert allowed in str(refused.value)


def test_a_decimal_comma_is_one_cell_too_many(table):
    with pytest.raises(Misconfigured, match="line 2, row: found '8 cells', allowed is 7"):
        load(table(HEADER, GOOD.replace("369.473", "369,473")))


def test_a_region_that_stands_twice_a_wrong_header_and_an_empty_table_are_refused(table):
    with pytest.raises(Misconfigured, match="line 3, row: found 'aws us-east-1 ', allowed is each once; line 2 has it"):
        load(table(HEADER, GOOD, GOOD))
    with pytest.raises(Misconfigured, match="line 1, header: found 'region', allowed is exactly provider,region"):
        load(table("region"))
    with pytest.raises(Misconfigured, match="line 2, row: found 'no rows'"):
        load(table(HEADER))
    with pytest.raises(Misconfigured, match=r"nowhere.csv: cannot be read .* give one that can"):
        load(Path("nowhere.csv"))


def test_a_series_is_read_in_utc_whatever_its_offset(table):
    assert load_series(table("hour_utc,g_per_kwh", "2026-11-01T05:00:00Z,301.5", "2026-11-01T08:00:00+02:00,299")) == (
        HourIntensity(datetime(2026, 11, 1, 5, tzinfo=UTC), 301_500),
        HourIntensity(datetime(2026, 11, 1, 6, tzinfo=UTC), 299_000),
    )


@pytest.mark.parametrize("hour", ["2026-11-01T05:00:00", "2026-11-01T05:30:00Z", "yesterday", ""])
def test_an_hour_without_zone_or_within_an_hour_is_refused(table, hour):
    with pytest.raises(Misconfigured, match=r"line 2, hour_utc: .* allowed is the start of an hour with its time zone"):
        load_series(table("hour_utc,g_per_kwh", f"{hour},300"))


def test_an_hour_that_stands_twice_is_refused(table):
    rows = ("2026-11-01T05:00:00Z,300", "2026-11-01T06:00:00+01:00,301")
    with pytest.raises(Misconfigured, match=r"line 3, row: .* each once; line 2 has it"):
        load_series(table("hour_utc,g_per_kwh", *rows))


def test_every_region_of_the_bundled_price_list_has_an_intensity():
    known = {(row.provider, row.region) for row in load()}
    for region in ("us-east-1", "eu-west-1", "ap-southeast-7", "us-gov-west-1", "cn-north-1"):
        assert ("aws", region) in known
    assert {("azure", "eastus"), ("azure", "westeurope"), ("gcp", "us-central1"), ("gcp", "europe-north2")} <= known


def test_every_region_that_the_aws_library_knows_is_in_the_table():
    from botocore.loaders import Loader

    partitions = {part["partition"]: part for part in Loader().load_data("endpoints")["partitions"]}
    open_to_all = ("aws", "aws-cn", "aws-us-gov", "aws-eusc")
    regions = {region for name in open_to_all for region in partitions[name]["regions"]}
    assert regions - {row.region for row in load() if row.provider == "aws"} == set()


def test_a_region_has_its_countrys_figure_where_its_provider_gives_none():
    rows = {(row.provider, row.region, row.country): row for row in load()}
    assert rows["aws", "eu-central-1", "DEU"].mg_per_kwh == rows["", "", "DEU"].mg_per_kwh == 380_950
    assert rows["gcp", "europe-west3", "DEU"].mg_per_kwh == 345_000
    assert rows["gcp", "me-central1", "QAT"].source == "google-region-carbon"


def test_the_table_is_what_its_sources_say(shared_data):
    compiler = runpy.run_path(str(CHECKOUT / "tests/collectors/carbon_intensity_compiler.py"))
    text, fell_out = compiler["compile_table"](shared_data)
    assert (CHECKOUT / "collectors/data/carbon_intensity.csv").read_text(encoding="utf-8") == text
    assert fell_out == ["CAF (Central African Republic): intensity 0.0, where no grid has none"]
