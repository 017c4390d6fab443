import json
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors import bill_csv
from collectors.bill_cur_legacy import snake
from collectors.bill_refused import BillRefused
from ledger import charge_kinds
from ledger import charges as charges_module
from ledger.tables import CHARGES
from tests.ledger.bill_rig import CUR, FOCUS, charges, csv_of, line, lines, staged

EUR = {"EUR": ((date(2026, 11, 1), Decimal("1.10")), (date(2026, 11, 6), Decimal("1.2")))}


def refused(tmp_path, *rows, form=FOCUS, **how):
    with pytest.raises(BillRefused) as error:
        lines(tmp_path, *rows, form=form, **how)
    return str(error.value)


def test_a_line_of_focus_says_all_that_the_ledger_keeps(tmp_path):
    found = line(tmp_path, {"SubAccountId": "222", "RegionId": "us-east-1", "SkuMeter": "BoxUsage:p5.48xlarge"})
    assert found == {
        "month": date(2026, 11, 1),
        "bill_id": "test/2026-11",
        "line_id": found["line_id"],
        "billing_account": "111",
        "sub_account": "222",
        "period_start": datetime(2026, 11, 5, 5, tzinfo=UTC),
        "period_end": datetime(2026, 11, 5, 6, tzinfo=UTC),
        "provider": "aws",
        "region": "us-east-1",
        "zone": "",
        "service": "Amazon Elastic Compute Cloud",
        "service_category": "Compute",
        "sku": "",
        "resource_id": "i-0123456789abcdef0",
        "instance_id": "i-0123456789abcdef0",
        "instance_type": "p5.48xlarge",
        "category": "usage",
        "correction": False,
        "pricing": "other",
        "commitment_id": "",
        "stack_layer": "compute",
        "description": "",
        "quantity": "1",
        "unit": "",
        "list_nano_usd": 2_000_000_000,
        "billed_nano_usd": 1_250_000_000,
        "effective_nano_usd": 1_000_000_000,
        "currency": "USD",
        "fx": "1",
        "tags": '{"team": "vision"}',
    }


def test_charges_have_the_columns_of_the_table(tmp_path):
    assert charges(tmp_path, csv_of(tmp_path / "b.csv", {})).schema == CHARGES.schema


@pytest.mark.parametrize(
    ("row", "category"),
    [
        ({"ChargeCategory": "Usage"}, "usage"),
        ({"ChargeCategory": "Purchase"}, "purchase"),
        ({"ChargeCategory": "Tax"}, "tax"),
        ({"ChargeCategory": "Credit"}, "credit"),
        ({"ChargeCategory": "Adjustment"}, "adjustment"),
        ({"ServiceName": "AWS Support (Enterprise)"}, "support"),
        ({"ServiceName": "AWS Support (Enterprise)", "ChargeCategory": "Tax"}, "tax"),
        ({"CommitmentDiscountId": "sp", "CommitmentDiscountStatus": "Unused"}, "unused_commitment"),
        ({"CommitmentDiscountId": "sp", "CommitmentDiscountStatus": "Used"}, "usage"),
    ],
)
def test_categories_of_focus_become_those_of_the_ledger(tmp_path, row, category):
    assert line(tmp_path, row)["category"] == category


@pytest.mark.parametrize(
    ("row", "pricing"),
    [
        ({"PricingCategory": "Standard"}, "on_demand"),
        ({"PricingCategory": "Dynamic"}, "spot"),
        ({"PricingCategory": "Committed"}, "commitment"),
        ({"PricingCategory": "Other"}, "other"),
        (
            {"PricingCategory": "Standard", "CommitmentDiscountId": "s", "CommitmentDiscountStatus": "Used"},
            "commitment",
        ),
    ],
)
def test_pricing_of_focus_becomes_that_of_the_ledger(tmp_path, row, pricing):
    assert line(tmp_path, row)["pricing"] == pricing


def test_a_correction_is_marked_and_a_negative_line_stays_negative(tmp_path):
    found = line(tmp_path, {"ChargeClass": "Correction", "BilledCost": "-3.5", "EffectiveCost": "-0.5"})
    assert (found["correction"], found["billed_nano_usd"], found["effective_nano_usd"]) == (
        True,
        -3_500_000_000,
        -500_000_000,
    )


SAVINGS = "savingsPlan/SavingsPlanEffectiveCost"
FEE = "savingsPlan/TotalCommitmentToDate", "savingsPlan/UsedCommitment"
UNUSED = "reservation/UnusedAmortizedUpfrontFeeForBillingPeriod", "reservation/UnusedRecurringFee"


@pytest.mark.parametrize(
    ("kind", "more", "category", "effective"),
    [
        ("Usage", {}, "usage", "98.32"),
        ("DiscountedUsage", {"reservation/EffectiveCost": "40.1"}, "usage", "40.1"),
        ("SavingsPlanCoveredUsage", {SAVINGS: "50.5"}, "usage", "50.5"),
        ("SavingsPlanNegation", {}, "usage", "0"),
        ("SavingsPlanRecurringFee", dict(zip(FEE, ("70", "69.25"), strict=True)), "unused_commitment", "0.75"),
        ("SavingsPlanUpfrontFee", {}, "purchase", "0"),
        ("RIFee", dict(zip(UNUSED, ("1.5", "2.25"), strict=True)), "unused_commitment", "3.75"),
        ("Fee", {"reservation/ReservationARN": "arn:aws:ec2:us-east-1:1:reserved-instances/x"}, "purchase", "0"),
        ("Fee", {}, "purchase", "98.32"),
        ("Tax", {}, "tax", "98.32"),
        ("Credit", {}, "credit", "98.32"),
        ("Refund", {}, "refund", "98.32"),
        ("EdpDiscount", {}, "credit", "98.32"),
        ("Usage", {"lineItem/ProductCode": "AWSSupportEnterprise"}, "support", "98.32"),
    ],
)
def test_effective_cost_of_cur_follows_the_kind_of_line(tmp_path, kind, more, category, effective):
    found = line(tmp_path, {"lineItem/LineItemType": kind, **more}, form=CUR)
    assert (found["category"], found["effective_nano_usd"]) == (category, int(Fraction(effective) * 10**9))
    assert found["billed_nano_usd"] == 98_320_000_000


def test_covered_usage_without_its_share_of_the_commitment_is_refused(tmp_path):
    why = refused(tmp_path, {}, {"lineItem/LineItemType": "DiscountedUsage", "reservation/EffectiveCost": ""}, form=CUR)
    assert why.startswith("bill.csv: line 3: effective: is empty; a line cannot be booked without it")


@pytest.mark.parametrize(
    ("kind", "more", "lacks"),
    [
        ("RIFee", {}, "unused_amortized_upfront_fee_for_billing_period and reservation_unused_recurring_fee, which"),
        ("RIFee", {UNUSED[0]: "1.5"}, "'RIFee' needs reservation_unused_recurring_fee, which"),
        (
            "SavingsPlanRecurringFee",
            {},
            "needs savings_plan_total_commitment_to_date and savings_plan_used_commitment,",
        ),
        ("SavingsPlanRecurringFee", {FEE[1]: "60"}, "needs savings_plan_total_commitment_to_date, which"),
        ("SavingsPlanRecurringFee", {FEE[0]: "60"}, "needs savings_plan_used_commitment, which"),
        ("SavingsPlanCoveredUsage", {}, "needs savings_plan_savings_plan_effective_cost, which"),
        ("DiscountedUsage", {}, "needs reservation_effective_cost, which"),
    ],
)
@pytest.mark.parametrize("rename", [str, snake], ids=["legacy", "2.0"])
def test_a_commitments_line_is_refused_where_the_file_lacks_its_columns(tmp_path, kind, more, lacks, rename):
    form = {rename(name): cell for name, cell in CUR.items() if rename is str or "Tags" not in name}
    row = {rename(name): cell for name, cell in {"lineItem/LineItemType": kind, **more}.items()}
    why = refused(tmp_path, {}, row, form=form)
    assert why.startswith(f"bill.csv: line 3: {rename('lineItem/LineItemType')}: '{kind}' needs ")
    assert lacks in why
    assert why.endswith(", which the file lacks; export these columns too; nothing of it was booked")


@pytest.mark.parametrize(("kind", "columns"), [("RIFee", UNUSED), ("SavingsPlanRecurringFee", FEE)])
def test_an_empty_cell_of_a_commitments_fee_is_nothing(tmp_path, kind, columns):
    found = line(tmp_path, {"lineItem/LineItemType": kind, columns[0]: "2", columns[1]: ""}, form=CUR)
    assert found["effective_nano_usd"] == 2 * 10**9


def test_a_line_of_cur_knows_its_account_place_type_and_tags(tmp_path):
    found = line(tmp_path, form=CUR)
    names = ("billing_account", "sub_account", "provider", "region", "zone", "instance_type", "pricing", "tags")
    assert [found[name] for name in names] == [
        "111", "222", "aws", "us-east-1", "us-east-1a", "p5.48xlarge", "on_demand", '{"team":"vision"}',
    ]  # fmt: skip


def test_spot_usage_of_cur_is_told_by_its_usage_type(tmp_path):
    assert line(tmp_path, {"lineItem/UsageType": "SpotUsage:p5.48xlarge"}, form=CUR)["pricing"] == "spot"


def test_cur_2_in_parquet_with_maps_doubles_and_timestamps(tmp_path):
    entry = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))
    at = datetime(2026, 11, 5, 5)  # noqa: DTZ001  (Parquet has timestamps without a zone)
    frame = pl.DataFrame(
        {
            "bill_payer_account_id": ["111"],
            "bill_billing_period_start_date": [datetime(2026, 11, 1)],  # noqa: DTZ001
            "line_item_usage_start_date": [at],
            "line_item_usage_end_date": [at.replace(hour=6)],
            "line_item_line_item_type": ["Usage"],
            "line_item_product_code": ["AmazonEC2"],
            "line_item_unblended_cost": [0.1],
            "line_item_currency_code": ["USD"],
            "line_item_resource_id": ["i-0123456789abcdef0"],
            "resource_tags": pl.Series([[{"key": "user_team", "value": "vision"}]], dtype=entry),
            "product": pl.Series([[{"key": "instance_type", "value": "p5.48xlarge"}]], dtype=entry),
            "pricing_public_on_demand_cost": [1e-7],
        }
    )
    frame.write_parquet(tmp_path / "cur.parquet")
    found = charges(tmp_path, tmp_path / "cur.parquet").row(0, named=True)
    assert found["billed_nano_usd"] == 100_000_000
    assert found["list_nano_usd"] == 100
    assert found["tags"] == '{"team":"vision"}'
    assert found["instance_type"] == "p5.48xlarge"
    assert found["period_start"] == at.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"BilledCost": "1,25"}, "BilledCost: '1,25' is no amount; allowed: a plain decimal"),
        ({"EffectiveCost": "1,000.00"}, "EffectiveCost: '1,000.00' is no amount"),
        ({"ListCost": "NaN"}, "ListCost: 'NaN' is no amount"),
        ({"BilledCost": ""}, "BilledCost: is empty"),
        ({"BillingCurrency": ""}, "BillingCurrency: is empty"),
        ({"ChargeCategory": ""}, "ChargeCategory: is empty"),
        ({"ChargeCategory": "Rent"}, "ChargeCategory: 'Rent' is no kind of charge that is known"),
        ({"ChargePeriodStart": ""}, "ChargePeriodStart: is empty"),
        ({"ChargePeriodStart": "2026-11-05T05:00:00+02:00"}, "is of another time zone; export times in UTC"),
        ({"ChargePeriodEnd": "2026-11-05T30:00:00Z"}, "is no time (hour must be in 0..23)"),
        ({"ChargePeriodEnd": "11/5/26"}, "is no time; write it as 2026-11-01T05:00:00Z"),
        ({"ChargePeriodEnd": "2026-11-05T04:00:00Z"}, "lies before the start of the line's period"),
        ({"BilledCost": "1e30"}, "is no amount"),
        ({"BillingAccountId": ""}, "BillingAccountId: is empty"),
        ({"ChargePeriodEnd": "9999-11-19T00:00:00Z"}, "ChargePeriodEnd: lies in the year 9999; allowed: years"),
        ({"ChargePeriodStart": "1970-11-18T00:00:00Z"}, "ChargePeriodStart: lies in the year 1970"),
        ({"ChargePeriodStart": "2020-11-05T05:00:00Z"}, "ChargePeriodEnd: lies more than 5 years after the"),
    ],
)  # fmt: skip
def test_what_cannot_be_booked_refuses_the_file_with_line_column_and_reason(tmp_path, row, why):
    said = refused(tmp_path, {}, row, {})
    assert said.startswith("bill.csv: line 3: ")
    assert why in said
    assert said.endswith("; nothing of it was booked")


def test_the_reason_names_columns_as_the_file_does(tmp_path):
    assert "lineItem/UnblendedCost: 'x' is no amount" in refused(tmp_path, {"lineItem/UnblendedCost": "x"}, form=CUR)


def test_another_currency_goes_by_the_rate_of_the_day_and_keeps_its_name(tmp_path):
    later = {"ChargePeriodStart": "2026-11-06T00:00:00Z", "ChargePeriodEnd": "2026-11-06T01:00:00Z"}
    found = lines(tmp_path, {"BillingCurrency": "EUR"}, {"BillingCurrency": "EUR", **later}, rates=EUR)
    assert [(row["fx"], row["billed_nano_usd"], row["currency"]) for row in found] == [
        ("1.10", 1_375_000_000, "EUR"),
        ("1.2", 1_500_000_000, "EUR"),
    ]


def test_a_currency_in_small_letters_is_the_same(tmp_path):
    (found,) = lines(tmp_path, {"BillingCurrency": "eur"}, rates=EUR)
    assert (found["fx"], found["currency"]) == ("1.10", "EUR")


@pytest.mark.parametrize("day", ["2026-10-31", "2027-01-31"])
def test_a_currency_without_a_rate_for_the_day_refuses_the_file_by_name(tmp_path, day):
    row = {"BillingCurrency": "EUR", "ChargePeriodStart": f"{day}T00:00:00Z", "ChargePeriodEnd": f"{day}T01:00:00Z"}
    said = refused(tmp_path, row, rates=EUR)
    assert said.startswith(f"bill.csv: no rate for EUR on {day} (")
    assert "add one under bills.rates.EUR" in said


amounts = st.one_of(
    st.decimals(-1000, 1000, places=11).map(str),
    st.builds("{}e-{}".format, st.integers(-(10**6), 10**6), st.integers(8, 30)),
)


@settings(max_examples=25)
@given(st.lists(st.tuples(amounts, amounts, st.sampled_from(["USD", "EUR"])), min_size=1, max_size=12))
def test_lines_and_rounding_line_add_up_to_the_exact_total_rounded_once(tmp_path_factory, rows):
    tmp_path = tmp_path_factory.mktemp("bill")
    cells = [{"BilledCost": b, "EffectiveCost": e, "BillingCurrency": c} for b, e, c in rows]
    frame = charges(tmp_path, csv_of(tmp_path / "b.csv", *cells), rates=EUR)
    rate = {"USD": Fraction(1), "EUR": Fraction("1.10")}
    for place, name in ((0, "billed_nano_usd"), (1, "effective_nano_usd")):
        exact = sum(Fraction(row[place]) * rate[row[2]] for row in rows)
        assert frame[name].cast(pl.Int128).sum() == round(exact * 10**9)
    assert frame.filter(pl.col("category") == "rounding").height == 1


def test_the_rounding_line_touches_one_hour_of_its_month_and_says_what_it_is(tmp_path):
    row = {"BilledCost": "0.0000000004"}
    frame = charges(tmp_path, csv_of(tmp_path / "b.csv", row, row, row)).filter(pl.col("category") == "rounding")
    found = frame.to_dicts()[0]
    assert found["billed_nano_usd"] == 1
    assert found["period_start"] == datetime(2026, 11, 1, tzinfo=UTC)
    assert found["period_end"] == datetime(2026, 11, 1, 1, tzinfo=UTC)
    assert found["line_id"] == "rounding"


def test_equal_lines_are_told_apart_and_a_second_delivery_gives_the_same_ids(tmp_path):
    rows = ({}, {"BilledCost": "2"}, {}, {})
    first = charges(tmp_path, csv_of(tmp_path / "a.csv", *rows))
    again = charges(tmp_path, csv_of(tmp_path / "b.csv", *rows[::-1]))
    assert first["line_id"].is_unique().all()
    assert set(first["line_id"]) == set(again["line_id"])
    assert sum("-" in each for each in first["line_id"]) == 2


def test_ids_do_not_change_from_version_to_version(tmp_path):
    assert line(tmp_path)["line_id"] == "10870992224847535653"


@pytest.mark.parametrize(("name", "value"), [("BilledCost", "1.26"), ("PricingQuantity", "2"), ("Tags", "{}")])
def test_lines_that_differ_in_anything_have_ids_of_their_own(tmp_path, name, value):
    first, second = lines(tmp_path, {}, {name: value})
    assert first["line_id"].partition("-")[0] != second["line_id"].partition("-")[0]


def test_a_file_in_many_batches_gives_what_one_batch_gives(tmp_path, monkeypatch):
    rows = [{"ResourceId": f"i-0000000{n % 7:03d}", "BilledCost": str(n % 5)} for n in range(200)]
    whole = charges(tmp_path, csv_of(tmp_path / "b.csv", *rows))
    monkeypatch.setattr(bill_csv, "BLOCK", 2048)
    monkeypatch.setattr(charge_kinds, "MOST_KINDS", 5)
    assert charges(tmp_path, tmp_path / "b.csv").equals(whole)


def test_equal_lines_are_found_in_any_number_of_passes(tmp_path, monkeypatch):
    rows = [{"ResourceId": f"i-0000000{n % 7:03d}", "BilledCost": str(n % 5)} for n in range(200)]
    at_once = charges(tmp_path, csv_of(tmp_path / "b.csv", *rows))
    assert at_once["line_id"].str.contains("-").sum() == 200 - 35
    monkeypatch.setattr(bill_csv, "BLOCK", 2048)
    for most in (199, 60, 1):
        monkeypatch.setattr(charges_module, "MOST_HASHES", most)
        assert charges(tmp_path, tmp_path / "b.csv").equals(at_once)


def test_facts_as_numbers_are_the_same_facts(tmp_path):
    rows = [{"ResourceId": f"i-0000000{n % 7:03d}", "BilledCost": f"0.{n % 5}123456789"} for n in range(200)]
    made = staged(tmp_path, csv_of(tmp_path / "b.csv", *rows))
    ids = {month: f"test/{month:%Y-%m}" for month in made.months}
    coded = made.rows(ids, coded=True).collect()
    assert isinstance(coded.schema["category"], pl.Enum)
    assert coded.cast(dict(CHARGES.schema)).equals(made.rows(ids).collect())


def test_lines_whose_columns_share_a_hash_keep_their_own_facts(tmp_path, monkeypatch):
    hash_of = charge_kinds.hash_of
    monkeypatch.setattr(
        charge_kinds,
        "hash_of",
        lambda columns, family: pl.lit(7, dtype=pl.UInt64) if family == 0 else hash_of(columns, 1),
    )
    found = lines(tmp_path, {"ResourceId": "i-00000001"}, {"ResourceId": "i-00000002"})
    assert [row["instance_id"] for row in found] == ["i-00000001", "i-00000002"]


def test_a_file_with_several_months_is_a_bill_for_each(tmp_path):
    made = staged(tmp_path, csv_of(tmp_path / "b.csv", {}, {"BillingPeriodStart": "2026-10-01T00:00:00Z"}))
    assert {month: sums.lines for month, sums in made.months.items()} == {date(2026, 11, 1): 1, date(2026, 10, 1): 1}


def test_files_of_one_delivery_are_one_bill(tmp_path):
    frame = charges(tmp_path, csv_of(tmp_path / "a.csv", {}), csv_of(tmp_path / "b.csv", {"BilledCost": "2"}))
    assert frame["billed_nano_usd"].to_list() == [1_250_000_000, 2_000_000_000, 0]


def test_files_of_two_dialects_in_one_delivery_are_refused(tmp_path):
    files = csv_of(tmp_path / "a.csv", {}), csv_of(tmp_path / "b.csv", {}, form=CUR)
    with pytest.raises(BillRefused, match=r"b\.csv: is cur-legacy, but a\.csv is focus-1\.0; deliver one form"):
        staged(tmp_path, *files)


def test_a_file_without_lines_is_refused(tmp_path):
    with pytest.raises(BillRefused, match="no lines; there is nothing to book"):
        staged(tmp_path, csv_of(tmp_path / "b.csv"))


@pytest.mark.parametrize("last", ["BilledCost", "Tags"])
@pytest.mark.parametrize("cut", [2, 3, 12])
def test_a_bill_that_is_cut_off_in_its_last_cell_is_refused_whatever_the_cell_is(tmp_path, last, cut):
    form = {name: cell for name, cell in FOCUS.items() if name != last}
    path = csv_of(tmp_path / "b.csv", {}, form={**form, last: "1.25" if last == "BilledCost" else FOCUS["Tags"]})
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(BillRefused, match=r"b\.csv: the last line does not end, so it may be cut off; deliver"):
        staged(tmp_path, path)


@pytest.mark.parametrize("tags", ['"team": "vision"', '{"team": "vision"}', "vision", ""])
def test_tags_are_always_a_json_object(tmp_path, tags):
    assert isinstance(json.loads(line(tmp_path, {"Tags": tags})["tags"]), dict)


def test_columns_that_the_source_completes_make_an_excerpt_a_bill(tmp_path):
    form = {name: cell for name, cell in FOCUS.items() if name != "BillingCurrency"}
    assert "without BillingCurrency; export these columns too" in refused(tmp_path, {}, form=form)
    assert line(tmp_path, form=form, complete={"BillingCurrency": "USD"})["currency"] == "USD"
