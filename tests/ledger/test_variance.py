"""List against bill: the difference and its reason, and what only one of the two knows."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from ledger import variance as v
from ledger.tables import BILLS, CHARGES, COST, NODE_HOURS

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def rows(table, records):
    texts = {name: "" for name, dtype in table.schema.items() if dtype == pl.String}
    return pl.LazyFrame([texts | record for record in records], schema=table.schema, infer_schema_length=None)


def cost(effective, listed, charge="usage", node="a", hour=NOON):
    return {
        "day": hour.date(),
        "hour_utc": hour,
        "node": node,
        "provider": "aws",
        "instance_id": f"i-{node}" if node else "",
        "instance_type": "p5.48xlarge",
        "billing_account": "acct",
        "charge": charge,
        "list_nano_usd": listed,
        "effective_nano_usd": effective,
    }


def seen(revision=1, evidence="api", node="a"):
    return {
        "day": NOON.date(),
        "hour_utc": NOON,
        "node": node,
        "instance_id": f"i-{node}",
        "evidence": evidence,
        "revision": revision,
    }


def line(pricing="on_demand", listed=100, effective=100, node="a", category="usage"):
    return {
        "instance_id": f"i-{node}",
        "period_start": NOON,
        "period_end": NOON + timedelta(hours=1),
        "category": category,
        "pricing": pricing,
        "list_nano_usd": listed,
        "effective_nano_usd": effective,
    }


def told(costs, lines, hours):
    return v.variance(rows(COST, costs), rows(CHARGES, lines), rows(NODE_HOURS, hours)).collect()


@pytest.mark.parametrize(
    ("bill", "node", "effective", "reason"),
    [
        (line(pricing="commitment", effective=60), seen(), 60, v.COMMITMENT),
        (line(pricing="spot", effective=30), seen(), 30, v.SPOT),
        (line(listed=100, effective=90), seen(), 90, v.DISCOUNT),
        (line(listed=110, effective=110), seen(), 110, v.PRICE),
        (line(), seen(), 100, v.NONE),
        (line(effective=60), seen(revision=None, evidence="bill"), 60, v.UNOBSERVED),
    ],
)
def test_the_reason_is_told_by_the_bills_words_and_the_nodes_witnesses(bill, node, effective, reason):
    told_ = told([cost(effective, 100)], [bill], [node])
    assert told_.select("reason", "node_hours", "list_nano_usd", "effective_nano_usd", "variance_nano_usd").rows() == [
        (reason, 1, 100, effective, effective - 100)
    ]


def test_without_a_list_price_there_is_no_variance():
    told_ = told([cost(70, None)], [line()], [seen()])
    assert told_.select("reason", "variance_nano_usd").rows() == [(v.UNPRICED, None)]


def test_tax_credits_and_what_no_bill_has_come_for_are_no_variance():
    costs = [cost(7, None, charge="tax"), cost(None, 100, charge="list"), cost(5, None, charge="usage", node="")]
    assert told(costs, [], [seen()]).is_empty()


def test_how_most_of_a_days_dollars_were_priced_decides():
    lines = [line(pricing="on_demand", effective=10), line(pricing="commitment", effective=80)]
    assert told([cost(90, 100)], lines, [seen()])["reason"].to_list() == [v.COMMITMENT]


def test_paid_hours_without_telemetry_are_listed():
    costs = rows(COST, [cost(60, 100), cost(8, None, charge="tax"), cost(50, 100, node="b")])
    hours = rows(NODE_HOURS, [seen(revision=None, evidence="bill"), seen(node="b")])
    listed = v.billed_not_observed(costs, hours).collect()
    assert listed.select("node", "evidence", "effective_nano_usd").rows() == [("a", "bill", 68)]


def test_paid_instances_with_gpus_that_are_no_node_are_listed():
    def daily(instance, day, cost, **more):
        start = NOON.replace(hour=0) + timedelta(days=day)
        period = {"period_start": start, "period_end": start + timedelta(days=1), "effective_nano_usd": cost}
        named = {"provider": "azure", "instance_id": instance, "instance_type": "Standard_ND96", "category": "usage"}
        return named | period | more

    lines = [
        daily("gone", 0, 70),
        daily("gone", 1, 5),
        daily("i-a", 0, 80),
        daily("", 0, 90),
        daily("cpu", 0, 1, instance_type="Standard_D2"),
        daily("disk", 0, 2, category="tax"),
    ]
    listed = v.billed_without_node(rows(CHARGES, lines), rows(NODE_HOURS, [seen()]), {("azure", "Standard_ND96"): 8})
    told_ = listed.select("instance_id", "period_start", "period_end", "lines", "effective_nano_usd").collect().rows()
    assert told_ == [("gone", NOON.replace(hour=0), NOON.replace(day=3, hour=0), 2, 75)]


def test_hours_that_no_line_pays_are_listed_in_months_that_a_bill_came_for():
    costs = [cost(None, 100, charge="list"), cost(None, 9, charge="list", hour=NOON + timedelta(days=40))]
    bills = rows(
        BILLS, [{"month": date(2026, 11, 1), "state": "booked"}, {"month": date(2026, 12, 1), "state": "refused"}]
    )
    listed = v.observed_not_billed(rows(COST, costs), bills).collect()
    assert listed.select("node", "list_nano_usd").rows() == [("a", 100)]
