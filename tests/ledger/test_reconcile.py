"""Every dollar of the bill on exactly one row: which node-hour pays, how it is shared, what stands apart."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.reconcile import reconcile, touched_hours
from ledger.tables import CHARGES, COST, NODE_HOURS

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOUR_NS = 3_600_000_000_000
NANO = 1_000_000_000


def rows(table, records, **more):
    """Records as a frame of the table's columns: text that is not given is empty, all else null."""
    texts = {name: "" for name, dtype in table.schema.items() if dtype == pl.String}
    full = [texts | record for record in records]
    return pl.LazyFrame(full, schema={**table.schema, **more}, infer_schema_length=None)


def node_hour(hour=NOON, node="a", instance="i-a", existed=HOUR_NS):
    return {
        "hour_utc": hour,
        "day": hour.date(),
        "node": node,
        "instance_id": instance,
        "existed_ns": existed,
        "revision": 1,
    }


def listed(hour=NOON, node="a", instance="i-a", holder="x", usd=3 * NANO, account="active", gpu_ns=HOUR_NS):
    return {
        "hour_utc": hour,
        "day": hour.date(),
        "node": node,
        "instance_id": instance,
        "gpu_uuid": "GPU-1",
        "holder": holder,
        "account": account,
        "charge": "list",
        "list_nano_usd": usd,
        "carbon_ug": 7,
        "gpu_ns": gpu_ns,
    }


def line(usd, instance="i-a", start=NOON, length=HOUR, category="usage", account="acct"):
    return {
        "instance_id": instance,
        "period_start": start,
        "period_end": start + length,
        "category": category,
        "billing_account": account,
        "stack_layer": "compute",
        "effective_nano_usd": usd,
    }


def made(list_rows, lines, nodes, hours=None):
    hours = hours or sorted({row["hour_utc"] for row in [*nodes, *list_rows]})
    return reconcile(
        rows(COST, list_rows, gpu_ns=pl.Int64), rows(CHARGES, lines), rows(NODE_HOURS, nodes), hours
    ).collect()


def dollars(frame, **where):
    for name, value in where.items():
        frame = frame.filter(pl.col(name) == value)
    return frame["effective_nano_usd"].sum()


def test_a_line_goes_over_its_node_hours_rows_by_their_list_cost():
    cost = made([listed(holder="x", usd=3 * NANO), listed(holder="y", usd=NANO)], [line(10)], [node_hour()])
    assert sorted(cost.select("holder", "effective_nano_usd").rows()) == [("x", 8), ("y", 2)]
    assert cost["list_nano_usd"].sum() == 4 * NANO
    assert cost["charge"].unique().to_list() == ["usage"]


def test_without_a_list_price_gpu_time_tells_the_shares():
    cost = made(
        [listed(holder="x", usd=None, gpu_ns=1), listed(holder="y", usd=NANO, gpu_ns=3)], [line(8)], [node_hour()]
    )
    assert sorted(cost.select("holder", "effective_nano_usd").rows()) == [("x", 2), ("y", 6)]


def test_a_row_bears_list_and_carbon_once_whatever_its_charges():
    cost = made([listed()], [line(100), line(-40, category="credit"), line(9, category="tax")], [node_hour()])
    assert cost.sort("charge").select("charge", "effective_nano_usd", "list_nano_usd", "carbon_ug").rows() == [
        ("credit", -40, None, None),
        ("tax", 9, None, None),
        ("usage", 100, 3 * NANO, 7),
    ]


def test_two_billing_accounts_on_one_node_hour_bear_its_list_cost_once():
    cost = made([listed()], [line(100), line(50, account="other")], [node_hour()])
    assert cost["list_nano_usd"].sum() == 3 * NANO
    assert dollars(cost, billing_account="other") == 50


def test_a_node_hour_that_no_line_pays_keeps_its_list_estimate():
    cost = made([listed(), listed(hour=NOON + HOUR)], [line(5)], [node_hour(), node_hour(hour=NOON + HOUR)])
    later = cost.filter(pl.col("hour_utc") == NOON + HOUR)
    assert later.select("charge", "effective_nano_usd", "list_nano_usd").rows() == [("list", None, 3 * NANO)]


def test_a_node_hour_with_a_credit_alone_keeps_its_list_estimate_beside_it():
    cost = made([listed()], [line(-5, category="credit")], [node_hour()])
    assert cost.sort("charge").select("charge", "effective_nano_usd", "list_nano_usd").rows() == [
        ("credit", -5, None),
        ("list", None, 3 * NANO),
    ]


def test_a_daily_line_goes_over_the_hours_in_which_its_instance_existed():
    hours = [NOON, NOON + HOUR, NOON + 2 * HOUR]
    nodes = [node_hour(hour=hours[0]), node_hour(hour=hours[1]), node_hour(hour=hours[2], existed=HOUR_NS // 5)]
    day = line(1_100, start=NOON.replace(hour=0), length=timedelta(days=1))
    cost = made([listed(hour=hour) for hour in hours], [day], nodes)
    assert cost.sort("hour_utc")["effective_nano_usd"].to_list() == [500, 500, 100]


def test_an_hour_made_alone_gets_what_it_gets_among_all():
    hours = [NOON + n * HOUR for n in range(7)]
    nodes = [node_hour(hour=hour) for hour in hours]
    day = line(100, start=NOON.replace(hour=0), length=timedelta(days=1))
    among = made([listed(hour=hour) for hour in hours], [day], nodes)
    alone = [made([listed(hour=hour)], [day], nodes, hours=[hour])["effective_nano_usd"].sum() for hour in hours]
    assert alone == among.sort("hour_utc")["effective_nano_usd"].to_list()
    assert sum(alone) == 100


def test_a_line_for_an_hour_in_which_its_node_was_gone_stays_with_the_node_as_unobserved():
    cost = made([listed()], [line(5), line(3, start=NOON + HOUR)], [node_hour()], hours=[NOON, NOON + HOUR])
    gone = cost.filter(pl.col("hour_utc") == NOON + HOUR)
    assert gone.select("node", "account", "gpu_uuid", "effective_nano_usd").rows() == [("a", "unobserved", "", 3)]


def test_what_belongs_to_no_node_is_shared_evenly_over_the_hours_of_its_period():
    storage = line(10, instance="", start=NOON, length=3 * HOUR)
    hours = [NOON + n * HOUR for n in range(3)]
    cost = made([], [storage], [], hours=hours)
    assert cost.sort("hour_utc").select("account", "node", "effective_nano_usd").rows() == [
        ("shared", "", 4),
        ("shared", "", 3),
        ("shared", "", 3),
    ]


def test_a_charge_without_length_stands_in_the_hour_that_it_is_dated():
    cost = made([], [line(77, instance="", length=timedelta(0), category="tax")], [], hours=[NOON])
    assert cost.select("charge", "effective_nano_usd").rows() == [("tax", 77)]


def test_lines_of_an_instance_that_no_node_has_are_shared():
    cost = made([listed()], [line(5), line(9, instance="i-cpu")], [node_hour()])
    assert dollars(cost, account="shared") == 9
    assert dollars(cost, node="a") == 5


@pytest.mark.parametrize("length", [HOUR, timedelta(days=1), timedelta(days=30)])
def test_a_changed_line_touches_the_hours_of_its_node_within_it(length):
    nodes = [node_hour(hour=NOON + n * HOUR) for n in range(50)]
    changed = line(1, start=NOON, length=length)
    touched = touched_hours(rows(CHARGES, [changed]), rows(CHARGES, [changed]), rows(NODE_HOURS, nodes))
    assert touched == [NOON + n * HOUR for n in range(min(50, length // HOUR))]


def test_a_node_hour_that_changed_touches_all_hours_of_a_monthly_line_of_its_instance_and_no_other():
    nodes = [node_hour(hour=NOON + n * HOUR) for n in range(5)] + [node_hour(hour=NOON, node="b", instance="i-b")]
    monthly = line(1, start=NOON.replace(hour=0), length=timedelta(days=30))
    changed = rows(CHARGES, [line(0, start=NOON + 2 * HOUR)])
    assert touched_hours(changed, rows(CHARGES, [monthly]), rows(NODE_HOURS, nodes)) == [
        NOON + n * HOUR for n in range(5)
    ]


amounts = st.integers(-(10**13), 10**13)
lengths = st.sampled_from([timedelta(0), HOUR, HOUR, timedelta(minutes=30), timedelta(days=1), timedelta(days=30)])
instances = st.sampled_from(["i-a", "i-b", "i-elsewhere", ""])


@st.composite
def months(draw):
    nodes = [
        node_hour(hour=NOON + n * HOUR, node=name, instance=f"i-{name}", existed=draw(st.integers(0, HOUR_NS)))
        for name in "ab"
        for n in draw(st.sets(st.integers(0, 30), max_size=8))
    ]
    list_rows = [
        listed(row["hour_utc"], row["node"], row["instance_id"], holder, draw(st.none() | st.integers(0, 10**12)))
        for row in nodes
        for holder in draw(st.lists(st.sampled_from("xyz"), unique=True, max_size=3))
    ]
    lines = [
        line(
            draw(amounts),
            draw(instances),
            NOON + draw(st.integers(-30, 30)) * HOUR,
            draw(lengths),
            draw(st.sampled_from(["usage", "credit", "tax"])),
            draw(st.sampled_from(["acct", "other"])),
        )
        for _ in range(draw(st.integers(0, 12)))
    ]
    return list_rows, lines, nodes


@settings(max_examples=60)
@given(months())
def test_every_dollar_of_the_bill_lands_on_exactly_one_row_and_no_list_dollar_is_lost(month):
    list_rows, lines, nodes = month
    begin = datetime(2026, 9, 20, tzinfo=UTC)
    hours = [begin + n * HOUR for n in range(24 * 120)]
    cost = made(list_rows, lines, nodes, hours=hours)
    for account in ("acct", "other"):
        for charge in ("usage", "credit", "tax"):
            owed = sum(
                each["effective_nano_usd"]
                for each in lines
                if (each["billing_account"], each["category"]) == (account, charge)
            )
            assert dollars(cost, billing_account=account, charge=charge) == owed
    assert cost["list_nano_usd"].sum() == sum(row["list_nano_usd"] or 0 for row in list_rows)
    assert not cost.select(COST.key).is_duplicated().any()
    assert cost.schema == COST.schema
