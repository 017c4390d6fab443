"""Real bills, against sums that Python's own decimals make of the raw text, and against figures worked out by hand."""

import csv
import gzip
from datetime import date
from decimal import Decimal

import polars as pl
import pytest

from collectors.bill_refused import BillRefused
from tests.ledger.bill_rig import charges, staged

EXCERPT = {"BillingCurrency": "USD", "BillingAccountId": "1", "ProviderName": "AWS", "ServiceName": "EC2"}
"""What 11 of the worked examples leave out."""
DATES = "%m/%d/%y"

FLEXIBLE = "commitment_discount_flexibility__"
SCENARIO = "commitment_discount_scenarios__commitment_discount_"
SIMPLE = "saas_examples__simple_agreements__simple_saas_agreements_"
SPEND = "saas_examples__spend_agreements__saas_spend_agreements_"
TOKENS = "saas_examples__virtual_currency_pricing_model_"

# name: (lines, billed, effective), dollars, added up by hand from the published tables
COMPLETED = {
    f"{FLEXIBLE}one_hundred_percent_utilization_with_commitment_discount_flexibility_with_1_resource": (
        3,
        "2.75",
        "2.75",
    ),
    f"{FLEXIBLE}one_hundred_percent_utilization_with_commitment_discount_flexibility_with_2_resources": (3, "2", "2"),
    f"{FLEXIBLE}one_hundred_percent_utilization_without_commitment_discount_flexibility": (2, "1.5", "1.5"),
    f"{FLEXIBLE}zero_percent_utilization_without_commitment_discount_flexibility": (3, "3.5", "3.5"),
    f"{SCENARIO}purchase_scenario_1": (1, "8760", "0"),
    f"{SCENARIO}usage_scenario_1": (1, "0", "1"),
    f"{SCENARIO}usage_scenario_2": (1, "0", "1"),
    f"{SCENARIO}usage_scenario_3": (2, "0", "1"),
    f"{SCENARIO}usage_scenario_4": (2, "0.5", "1.5"),
}
NO_SUCH_HOUR = {f"{SCENARIO}purchase_scenario_2": 4, f"{SCENARIO}purchase_scenario_3": 5}
"""Their last line ends at 2023-02-01T30:00:00Z."""
DATED = {
    f"{SPEND}a1": (4, "1200", "1200"),
    f"{SPEND}a2": (13, "1200", "1200"),
    f"{SPEND}b1": (5, "1200", "1200"),
    f"{SPEND}b2": (14, "1200", "1200"),
    f"{TOKENS}a1": (1, "200000", "0"),
    f"{TOKENS}a2": (3, "0", "1230"),
    f"{TOKENS}b1": (1, "100000", "0"),
    f"{TOKENS}b2": (3, "0", "615"),
    f"{TOKENS}b3": (3, "0", "495"),
    f"{TOKENS}c": (2, "53000", "0"),
}
OPEN = (*DATED, f"{SIMPLE}c")
"""Their last line does not end."""
DOLLAR_SIGNS = tuple(f"{SIMPLE}{name}" for name in ("a1", "a2", "a3", "b", "c"))


@pytest.fixture
def examples(shared_data):
    return shared_data / "focus" / "spec_examples"


def totals(frame):
    sums = frame.select(pl.col("billed_nano_usd", "effective_nano_usd").cast(pl.Int128).sum()).row(0)
    return frame.height - frame.filter(pl.col("category") == "rounding").height, *sums


def in_nano(lines, billed, effective):
    return lines, int(Decimal(billed) * 10**9), int(Decimal(effective) * 10**9)


def test_the_thousand_rows_add_up_to_the_sums_of_their_raw_text(shared_data, tmp_path):
    path = shared_data / "focus" / "focus_sample.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    frame = charges(tmp_path, path)
    for month in (date(2024, 9, 1), date(2024, 10, 1)):
        mine = [row for row in rows if row["BillingPeriodStart"].startswith(f"{month}")]
        booked = frame.filter(pl.col("month") == month)
        for column, name in (("BilledCost", "billed"), ("EffectiveCost", "effective"), ("ListCost", "list")):
            exact = sum(Decimal(row[column]) for row in mine)
            assert booked[f"{name}_nano_usd"].cast(pl.Int128).sum() == round(exact * 10**9)


def test_the_thousand_rows_come_to_what_was_added_up_by_hand(shared_data, tmp_path):
    made = staged(tmp_path, shared_data / "focus" / "focus_sample.csv.gz")
    assert made.dialect == "focus-1.0"
    assert {month: (sums.lines, sums.total("billed")) for month, sums in made.months.items()} == {
        date(2024, 9, 1): (999, 20_280_226_729),
        date(2024, 10, 1): (1, 240_000_000),
    }


def test_the_gpu_hours_among_the_thousand_rows_are_known_by_instance_and_type(shared_data, tmp_path):
    frame = charges(tmp_path, shared_data / "focus" / "focus_sample.csv.gz")
    gpu = frame.filter(pl.col("instance_type") == "g5.4xlarge")
    assert gpu.height == 8
    assert gpu["list_nano_usd"].max() == 1_624_000_000
    assert gpu["instance_id"].str.starts_with("i-").all()
    assert set(frame["provider"]) == {"aws", "azure", "oci"}


def ended(tmp_path, path):
    """The example, as a file of which the last line ends: 11 of them end within it."""
    content = path.read_bytes()
    (tmp_path / path.name).write_bytes(content if content.endswith(b"\n") else content + b"\n")
    return tmp_path / path.name


@pytest.mark.parametrize("name", COMPLETED)
def test_excerpts_are_refused_as_they_are_and_booked_once_completed(name, examples, tmp_path):
    with pytest.raises(BillRefused, match="without BillingAccountId, BillingCurrency, ProviderName"):
        staged(tmp_path, examples / f"{name}.csv")
    frame = charges(tmp_path, examples / f"{name}.csv", complete=EXCERPT)
    assert totals(frame) == in_nano(*COMPLETED[name])


@pytest.mark.parametrize("name", NO_SUCH_HOUR)
def test_two_excerpts_with_an_hour_that_is_none_are_refused_by_line(name, examples, tmp_path):
    with pytest.raises(
        BillRefused, match=f"line {NO_SUCH_HOUR[name]}: ChargePeriodEnd: '2023-02-01T30:00:00Z' is no time"
    ):
        staged(tmp_path, examples / f"{name}.csv", complete=EXCERPT)


@pytest.mark.parametrize("name", DATED)
def test_examples_with_american_dates_are_booked_where_the_source_says_so(name, examples, tmp_path):
    with pytest.raises(BillRefused, match="is no time; write it as"):
        staged(tmp_path, ended(tmp_path, examples / f"{name}.csv"))
    frame = charges(tmp_path, tmp_path / f"{name}.csv", timestamps=DATES)
    assert totals(frame) == in_nano(*DATED[name])


@pytest.mark.parametrize("name", DOLLAR_SIGNS)
def test_examples_with_dollar_signs_and_thousands_are_refused(name, examples, tmp_path):
    with pytest.raises(BillRefused, match=r"line 2: \w+Cost: '\$[\d,.]+ ' is no amount; allowed: a plain decimal"):
        staged(tmp_path, ended(tmp_path, examples / f"{name}.csv"), timestamps=DATES)


@pytest.mark.parametrize("name", OPEN)
def test_examples_that_end_within_their_last_line_are_refused_as_they_are(name, examples, tmp_path):
    with pytest.raises(BillRefused, match="the last line does not end, so it may be cut off; deliver it again"):
        staged(tmp_path, examples / f"{name}.csv", timestamps=DATES)


def test_every_worked_example_is_among_these(examples):
    known = {*COMPLETED, *NO_SUCH_HOUR, *DATED, *DOLLAR_SIGNS}
    assert {path.stem for path in examples.glob("*.csv")} == known
    assert len(COMPLETED) + len(NO_SUCH_HOUR) == 11


def test_legacy_cur_comes_to_its_savings_plan_and_volume(shared_data, tmp_path):
    frame = charges(tmp_path, shared_data / "cur_legacy_synthetic" / "cur-2026-03-synthetic.csv.gz")
    volume = Decimal("0.0268817204") * 168
    assert totals(frame) == (
        504,
        round((Decimal("32.7726") * 168 + Decimal("1.006") * 168 + volume) * 10**9),
        round((Decimal("20.5") * 168 + Decimal("0.6") * 168 + volume) * 10**9),
    )
    p4d = frame.filter(pl.col("instance_type") == "p4d.24xlarge")
    assert p4d["instance_id"].unique().to_list() == ["i-55555551"]
    assert p4d["pricing"].unique().to_list() == ["commitment"]
    assert p4d["tags"].unique().to_list() == ['{"team":"research","workload":"train-llm"}']
