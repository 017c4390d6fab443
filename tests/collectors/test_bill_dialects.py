import polars as pl
import pytest

from collectors.bill_cur_legacy import CUR_LEGACY, snake
from collectors.bill_dialect import CATEGORIES, FACTS, FIGURES, Header, columns_as_json, map_as_json
from collectors.bill_dialects import DIALECTS, dialect_of
from collectors.bill_focus import AWS_TYPE
from collectors.bill_refused import BillRefused

FOCUS = [
    "BillingAccountId",
    "BillingCurrency",
    "BillingPeriodStart",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ChargeCategory",
    "BilledCost",
    "EffectiveCost",
    "ProviderName",
    "ServiceName",
]
CUR = [
    "bill_payer_account_id",
    "bill_billing_period_start_date",
    "line_item_usage_start_date",
    "line_item_usage_end_date",
    "line_item_line_item_type",
    "line_item_product_code",
    "line_item_unblended_cost",
    "line_item_currency_code",
]
MAP = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))


@pytest.mark.parametrize(
    ("names", "dialect"),
    [
        (FOCUS, "focus-1.0"),
        ([*FOCUS, "InvoiceId"], "focus-1.2"),
        ([*FOCUS, *(f"x_{n}" for n in range(400))], "focus-1.0"),
        ([name for name in FOCUS if name != "ProviderName"] + ["ServiceProviderName"], "focus-1.0"),
        (CUR, "cur-2.0"),
        ([*CUR, "resource_tags"], "cur-2.0"),
        ([*CUR, "resource_tags_user_team"], "cur-legacy"),
        (
            [
                "bill/PayerAccountId",
                "bill/BillingPeriodStartDate",
                "lineItem/UsageStartDate",
                "lineItem/UsageEndDate",
                "lineItem/LineItemType",
                "lineItem/ProductCode",
                "lineItem/UnblendedCost",
                "lineItem/CurrencyCode",
            ],
            "cur-legacy",
        ),
    ],
)
def test_a_file_is_told_by_its_columns_in_any_order(names, dialect):
    assert dialect_of(names[::-1], "file").name == dialect


def test_a_file_that_lacks_columns_is_refused_by_name_with_the_nearest_dialect():
    with pytest.raises(
        BillRefused, match=r"june.csv: nearest to focus-1.0, but without BillingCurrency, BilledCost; .*"
    ):
        dialect_of([name for name in FOCUS if name not in {"BillingCurrency", "BilledCost"}], "june.csv")
    with pytest.raises(BillRefused, match=r"nearest to cur-2\.0, but without line_item_unblended_cost"):
        dialect_of([name for name in CUR if name != "line_item_unblended_cost"], "file")


def test_a_file_that_is_no_bill_is_refused_with_what_it_has():
    with pytest.raises(BillRefused, match=r"none of its 6 columns \(a, b, c, d, e, \.\.\.\) is one that cur-legacy, "):
        dialect_of(["a", "b", "c", "d", "e", "f"], "file")


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_each_table_speaks_of_known_facts_and_figures_only_and_of_all_that_is_needed(dialect):
    assert set(dialect.facts) == set(FACTS)
    assert set(dialect.figures) <= set(FIGURES)
    assert {"billing_start", "period_start", "period_end", "billed", "effective"} <= set(dialect.figures)


def test_names_of_legacy_reports_become_those_that_aws_gives_them_in_athena():
    assert snake("savingsPlan/SavingsPlanARN") == "savings_plan_savings_plan_a_r_n"
    assert snake("lineItem/UnblendedCost") == "line_item_unblended_cost"
    assert snake("pricing/publicOnDemandCost") == "pricing_public_on_demand_cost"
    assert snake("resourceTags/user:team") == "resourceTags/user:team"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("USE1-BoxUsage:p5.48xlarge", "p5.48xlarge"),
        ("$1.624 per On Demand Linux g5.4xlarge Instance Hour", "g5.4xlarge"),
        ("EU-SpotUsage:p6-b300.48xlarge", "p6-b300.48xlarge"),
        ("USW2-Host:ml.p4d.24xlarge", "ml.p4d.24xlarge"),
        ("InstanceUsage:db.r5.large", "db.r5.large"),
        ("u-6tb1.metal", "u-6tb1.metal"),
        ("$0.090 per GB - first 10 TB", None),
        ("amazonaws.com", None),
    ],
)
def test_instance_types_are_found_within_longer_texts(text, found):
    assert pl.DataFrame({"t": [text]}).select(pl.col("t").str.extract(AWS_TYPE)).item() == found


def test_a_map_of_tags_is_a_flat_json_object_whatever_it_holds():
    tags = [[{"key": 'a"b', "value": "c\\d\n"}, {"key": "gone", "value": None}], [], None]
    frame = pl.DataFrame({"tags": pl.Series(tags, dtype=MAP)})
    assert frame.select(map_as_json(pl.col("tags"))).to_series().to_list() == ['{"a\\"b":"c\\\\d\\n"}', "{}", None]


def test_columns_of_tags_are_a_flat_json_object_of_those_that_are_filled():
    frame = pl.DataFrame({"a": ["x", None], "b": ["y", None]})
    tags = columns_as_json({"{team}": pl.col("a"), "b": pl.col("b")})
    assert frame.select(tags).to_series().to_list() == ['{"{team}":"x","b":"y"}', "{}"]


def test_every_type_that_parquet_has_is_read_as_the_text_that_it_stands_for():
    frame = pl.DataFrame(
        {
            "double": [1e-7, 0.1],
            "decimal": pl.Series(["1.50", "-0.000000001"]).cast(pl.Decimal(38, 9)),
            "whole": [1, 2],
            "empty": ["", "x"],
        }
    )
    header = Header(frame.schema)
    read = frame.select(header.text(name).alias(name) for name in frame.columns)
    assert read.to_dict(as_series=False) == {
        "double": ["1e-7", "0.1"],
        "decimal": ["1.500000000", "-0.000000001"],
        "whole": ["1", "2"],
        "empty": [None, "x"],
    }


def test_tags_of_legacy_reports_lose_the_prefix_that_aws_puts_before_them():
    frame = pl.DataFrame({"resourceTags/user:team": ["v"], "resourceTags/aws:createdBy": ["me"]})
    rules = dict(zip(FACTS, CUR_LEGACY.fact_columns(Header(frame.schema)), strict=True))
    assert frame.select(rules["tags"]).item() == '{"aws:createdBy":"me","team":"v"}'


def test_categories_are_those_of_the_ledger():
    assert "rounding" not in CATEGORIES
    assert "unused_commitment" in CATEGORIES
