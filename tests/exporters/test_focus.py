"""Allocated cost as FOCUS rows: the sums are the ledger's, every column says what FOCUS means by it."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from exporters.focus import focus_rows, unpriced
from exporters.focus_columns import CATEGORIES, FOCUS, OWN, SERVICES
from exporters.focus_file import write_focus
from exporters.table_file import write_whole
from ledger.rolldays import roll_days
from ledger.stack_layers import LAYERS
from ledger.tables import COST, USAGE, conform
from tests.ledger.books_rig import DAY, HOUR, LINES, USD, books, line
from tests.ledger.ledger_rig import at

ODD = (
    line("refund", -5 * USD, "", at(6), category="refund"),
    line("negative", -USD - 7, "", at(6)),
    line("fee", USD, "", at(6), category="purchase"),
    line("support", USD, "", at(6), category="support", stack_layer="data_governance"),
    line("unused", USD, "", at(6), category="unused_commitment"),
    line("fix", 3, "i-a", at(7), category="adjustment"),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two nodes; for the last hour of node a no usage was billed yet."""
    lines = [each for each in LINES if each["line_id"] != "a2"]
    return books(tmp_path_factory.mktemp("books") / "ledger", lines=(*lines, *ODD))


def rows_of(store, step="1d"):
    return focus_rows(store.scan(COST), store.scan(USAGE), step).collect()


@pytest.fixture(scope="module")
def rows(store):
    return rows_of(store)


def total(frame, column):
    return frame.select(pl.col(column).cast(pl.Int128).sum()).item()


@pytest.mark.parametrize("step", ["1d", "1h"])
def test_the_sums_are_those_of_the_ledger_to_the_nano_dollar(store, step):
    rows, cost, usage = rows_of(store, step), store.scan(COST).collect(), store.scan(USAGE).collect()
    best = cost.select(pl.coalesce("effective_nano_usd", "list_nano_usd").sum()).item()
    assert rows["EffectiveCost"].sum() == Decimal(best).scaleb(-9)
    assert rows["x_ListCost"].sum() == Decimal(total(cost, "list_nano_usd")).scaleb(-9)
    assert rows["x_GpuSeconds"].sum() == Decimal(total(usage, "gpu_ns")).scaleb(-9)
    assert rows["x_CarbonGrams"].sum() == Decimal(total(cost, "carbon_ug")).scaleb(-6)
    kwh = Decimal(total(usage, "energy_mj")) / 3_600_000_000
    assert abs(rows["x_EnergyKwh"].sum() - kwh) < Decimal("1e-10")


def test_the_columns_of_focus_come_first_then_our_own(rows):
    assert rows.columns == [*FOCUS, *OWN]
    assert len(FOCUS) == 57
    assert all(name.startswith("x_") for name in OWN)


def test_unit_price_times_quantity_is_the_list_cost(rows):
    priced = rows.filter(pl.col("ListUnitPrice").is_not_null())
    assert priced.height > 8
    for price, quantity, cost in priced.select("ListUnitPrice", "PricingQuantity", "ListCost").iter_rows():
        assert abs(price * quantity - cost) < Decimal("1e-9")


def test_one_row_tells_a_workloads_time_energy_and_money_of_a_day(rows):
    chat = rows.filter(x_Workload="chat", x_Node="b", x_Account="active", x_Charge="usage").to_dicts()
    (row,) = chat
    assert (row["x_GpuHours"], row["PricingUnit"]) == (Decimal("0.666666666667"), "GPU-Hours")
    assert row["x_Team"] == "search"
    assert row["ListCost"] == Decimal("2.666666666")
    assert row["ChargeDescription"] == "GPU time at work"
    assert (row["ResourceId"], row["ResourceName"], row["ResourceType"]) == ("i-b", "b", "GPU node")
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == (DAY, DAY + timedelta(days=1))
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (DAY, datetime(2026, 12, 1, tzinfo=UTC))
    assert row["SkuPriceId"].startswith(row["SkuId"])
    assert json.loads(row["Tags"]) == {"namespace": "ml", "team": "search", "workload": "chat"}


def test_what_no_bill_reached_is_marked_an_estimate_and_has_no_billing_account(rows):
    estimates = rows.filter("x_Estimate")
    assert set(estimates["x_Charge"]) == {"list"}
    assert set(estimates["BillingAccountId"]) == {"unbilled"}
    assert estimates["EffectiveCost"].sum() == 8


def test_a_row_says_whether_it_was_measured(tmp_path):
    store = books(tmp_path / "ledger", hours=2)
    assert set(rows_of(store).filter(pl.col("x_Node") == "a")["x_Source"]) <= {"measured", None}
    usage = store.scan(USAGE).with_columns(
        source=pl.when(pl.col("hour_utc") > at(5)).then(pl.lit("prometheus")).otherwise("source")
    )
    told = {step: focus_rows(store.scan(COST), usage, step).collect() for step in ("1h", "1d")}
    of_time = {step: frame.filter(pl.col("x_GpuHours") > 0)["x_Source"] for step, frame in told.items()}
    assert set(of_time["1h"]) == {"measured", "prometheus"}
    assert "measured, prometheus" in set(of_time["1d"])
    assert told["1d"].filter(x_Account="shared")["x_Source"].null_count() > 0


def test_idle_unobserved_and_shared_cost_go_by_their_names(rows):
    paid = rows.filter(pl.col("x_Charge").is_in(["list", "usage"]))
    told = dict(paid.select("x_Account", "ChargeDescription").iter_rows())
    assert told["idle"] == "GPU time held and not worked"
    assert told["unallocated"] == "GPU time that nobody held"
    assert told["unobserved"] == "GPU time that was not observed"
    assert told["shared"] == "Cost that belongs to no node"
    assert rows.filter(x_Account="unobserved")["x_Workload"].null_count() == rows.filter(x_Account="unobserved").height


@pytest.mark.parametrize(
    ("charge", "category", "quantity"),
    [
        ("tax", "Tax", None),
        ("credit", "Credit", None),
        ("refund", "Credit", None),
        ("rounding", "Adjustment", None),
        ("adjustment", "Adjustment", None),
        ("purchase", "Purchase", 1),
        ("support", "Usage", 1),
        ("unused_commitment", "Usage", 1),
    ],
)
def test_each_charge_has_its_category_and_only_what_is_sold_has_a_quantity_and_a_sku(rows, charge, category, quantity):
    found = rows.filter(x_Charge=charge)
    assert set(found["ChargeCategory"]) == {category}
    assert set(found["PricingQuantity"]) == {quantity}
    assert found["SkuId"].is_null().any() == (quantity is None)
    assert CATEGORIES[charge] == category


def test_usage_below_nothing_that_nobody_lists_is_an_adjustment(rows):
    (row,) = rows.filter(x_Charge="usage", ChargeCategory="Adjustment").to_dicts()
    assert row["EffectiveCost"] == row["ListCost"] == Decimal("-1.000000007")
    assert row["ListUnitPrice"] is None


def test_a_charge_beside_the_one_that_bears_the_list_cost_has_none_of_its_own_and_no_second_time(rows):
    given = rows.filter(x_Charge="credit")
    assert set(given["x_ListCost"]) == {None}
    assert set(given["x_GpuSeconds"]) == {None}
    assert given["ListCost"].sum() == given["EffectiveCost"].sum() == -1


def test_every_layer_and_service_has_its_category():
    assert {kind for kind, _ in SERVICES.values()} <= {
        "AI and Machine Learning",
        "Compute",
        "Management and Governance",
        "Other",
        "Storage",
    }
    assert len(LAYERS) + 2 == len(SERVICES)


def test_what_has_no_price_and_no_bill_is_left_out_and_its_time_is_told(tmp_path):
    made = books(tmp_path / "ledger", lines=())
    cost = made.scan(COST).with_columns(
        list_nano_usd=pl.when(pl.col("node") == "a").then(None).otherwise("list_nano_usd"),
        price_id=pl.when(pl.col("node") == "a").then(pl.lit("")).otherwise("price_id"),
    )
    rows = focus_rows(cost, made.scan(USAGE)).collect()
    assert set(rows["x_Node"]) == {"b"}
    assert unpriced(cost, made.scan(USAGE)).collect().item() == 6 * 3_600 * 10**9
    assert rows["EffectiveCost"].null_count() == 0


def test_a_machine_of_ones_own_is_on_premises_and_nameless_holders_go_by_their_own_name():
    texts = {name: "" for name, dtype in COST.schema.items() if dtype == pl.String}
    cell = {**texts, "hour_utc": at(5), "day": at(5).date(), "node": "lab", "gpu_uuid": "G", "holder_kind": "user"}
    cell |= {"holder": "anna", "account": "active", "method": "exclusive", "price_id": "p"}
    cost = conform(COST, pl.LazyFrame([{**cell, "charge": "list", "list_nano_usd": USD}]))
    usage = conform(USAGE, pl.LazyFrame([{**cell, "gpu_ns": 3_600 * 10**9}]))
    (row,) = focus_rows(cost, usage).collect().to_dicts()
    assert (row["ProviderName"], row["RegionId"], row["x_Holder"]) == ("On-premises", None, "anna")
    assert (row["ResourceId"], row["ResourceName"]) == ("lab", None)
    assert (row["ListUnitPrice"], row["PricingQuantity"]) == (1, 1)


def test_two_prices_of_one_cell_share_its_time_by_their_list_cost():
    texts = {name: "" for name, dtype in COST.schema.items() if dtype == pl.String}
    cell = {**texts, "hour_utc": at(5), "day": at(5).date(), "node": "lab", "gpu_uuid": "G", "account": "active"}
    rows = [{**cell, "charge": "list", "price_id": name, "list_nano_usd": nano} for name, nano in (("p", 1), ("q", 3))]
    usage = [{**cell, "price_id": "p", "gpu_ns": 40}, {**cell, "price_id": "q", "gpu_ns": 120, "energy_mj": 5}]
    made = focus_rows(conform(COST, pl.LazyFrame(rows)), conform(USAGE, pl.LazyFrame(usage))).collect()
    assert dict(made.select("SkuPriceId", "x_GpuSeconds").iter_rows()) == {
        "p": Decimal("0.000000040"),
        "q": Decimal("0.000000120"),
    }
    assert made["x_EnergyKwh"].null_count() == 1


def test_a_csv_and_a_parquet_file_say_the_same(store, tmp_path):
    first, end = DAY, DAY + 48 * HOUR
    told = [write_focus(store, tmp_path / name, first, end) for name in ("f.csv", "f.parquet")]
    assert told[0] == told[1]
    assert told[0].versions["cost"] == store.version(COST)
    parquet = pl.read_parquet(tmp_path / "f.parquet")
    text = pl.read_csv(tmp_path / "f.csv", infer_schema=False)
    assert text.height == parquet.height == told[0].rows
    assert text["EffectiveCost"].to_list() == [f"{cost:f}" for cost in parquet["EffectiveCost"]]
    assert set(text["ChargePeriodStart"]) == {"2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.csv", "f.parquet"]


def test_the_file_holds_the_window_and_nothing_else(store, tmp_path):
    told = []
    write_focus(store, tmp_path / "f.csv", at(5), at(6), step="1h", progress=lambda *done: told.append(done))
    starts = pl.read_csv(tmp_path / "f.csv", infer_schema=False)["ChargePeriodStart"]
    assert set(starts) == {"2026-11-01T05:00:00Z"}
    assert told == [(0, 1), (1, 1)]


def test_days_that_have_no_hours_any_more_are_exported_as_days(tmp_path):
    made = books(tmp_path / "ledger")
    write_focus(made, tmp_path / "hours.parquet", DAY, DAY + 24 * HOUR)
    roll_days(made, USAGE, closed=(DAY + 24 * HOUR).date())
    write_focus(made, tmp_path / "half.parquet", DAY, DAY + 24 * HOUR, step="1h")
    roll_days(made, COST, closed=(DAY + 24 * HOUR).date())
    write_focus(made, tmp_path / "days.parquet", DAY, DAY + 24 * HOUR)
    hours, half, days = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("hours", "half", "days"))
    assert hours.equals(days)
    assert half["EffectiveCost"].sum() == days["EffectiveCost"].sum()
    assert half["x_GpuSeconds"].sum() == days["x_GpuSeconds"].sum()


def test_rows_of_a_day_need_whole_days(store, tmp_path):
    with pytest.raises(ValueError, match="rows of a day need whole days, not 2026-11-01T05:00Z to 2026-11-02T00:00Z"):
        write_focus(store, tmp_path / "f.csv", at(5), DAY + 24 * HOUR)


def test_a_name_that_says_no_format_is_refused(store, tmp_path):
    with pytest.raises(ValueError, match=r"f.xlsx: the name must end in .csv or .parquet"):
        write_focus(store, tmp_path / "f.xlsx", DAY, DAY + 24 * HOUR)


def test_a_write_that_fails_leaves_the_former_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("former")
    bad = pl.LazyFrame({"a": ["x"]}).with_columns(pl.col("a").cast(pl.Int64))
    with pytest.raises(pl.exceptions.InvalidOperationError):
        write_whole(bad, path)
    assert path.read_text() == "former"
    assert [each.name for each in tmp_path.iterdir()] == ["t.csv"]
