"""Who spent what: groups, pools, and spreading that loses nothing."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.api_allocation import AllocationQuestion
from controller.api_window import BadQuestion
from ledger.allocate import Sharing, allocate
from ledger.budget_settings import Budget
from ledger.tables import COST, USAGE

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def rows(table, records):
    texts = {name: "" for name, dtype in table.schema.items() if dtype == pl.String}
    return pl.LazyFrame([texts | record for record in records], schema=table.schema, infer_schema_length=None)


def row(team="", account="active", cost=None, hour=NOON, **more):
    return {"hour_utc": hour, "day": hour.date(), "team": team, "account": account, "holder": team} | (
        {"list_nano_usd": cost, "charge": "list"} | more
    )


def allocated(costs, times=(), by=("team",), **options):
    return allocate(rows(COST, list(costs)), rows(USAGE, list(times)), by, **options).collect()


def told(frame, *columns):
    return sorted(frame.select("team", "pool", *columns).rows())


FLEET = (
    row("red", cost=60),
    row("red", "idle", cost=20),
    row("blue", cost=20),
    row(account="unallocated", cost=30),
    row(account="shared", cost=None, charge="tax", effective_nano_usd=11),
    row(account="unobserved", cost=5),
)


def test_each_holders_own_cost_stands_beside_the_pools_of_what_nobody_held():
    assert told(allocated(FLEET), "cost_nano_usd", "idle_nano_usd") == [
        ("", "idle", 30, 0),
        ("", "shared", 11, 0),
        ("", "unobserved", 5, 0),
        ("blue", "own", 20, 0),
        ("red", "own", 80, 20),
    ]


def test_idle_is_spread_in_proportion_to_own_cost():
    spread = allocated(FLEET, sharing=Sharing(idle="proportional"))
    assert told(spread, "cost_nano_usd", "spread_nano_usd") == [
        ("", "idle", 0, 0),
        ("", "shared", 11, 0),
        ("", "unobserved", 5, 0),
        ("blue", "own", 20, 6),
        ("red", "own", 80, 24),
    ]


def test_shared_cost_is_spread_evenly_and_a_charge_may_be_an_exception():
    even = allocated(FLEET, sharing=Sharing(shared="even"))
    assert told(even, "spread_nano_usd")[-2:] in (
        [("blue", "own", 6), ("red", "own", 5)],
        [("blue", "own", 5), ("red", "own", 6)],
    )
    kept = allocated(FLEET, sharing=Sharing(shared="even", charges={"tax": "apart"}))
    assert told(kept, "spread_nano_usd")[-2:] == [("blue", "own", 0), ("red", "own", 0)]


def test_idle_is_spread_by_a_metric():
    times = [row("red", gpu_ns=1), row("blue", gpu_ns=2)]
    times = [{k: v for k, v in each.items() if k in USAGE.schema} for each in times]
    spread = allocated(FLEET, times, sharing=Sharing(idle="metric", metric="gpu_ns"))
    assert told(spread, "gpu_ns", "spread_nano_usd")[-2:] == [("blue", "own", 2, 20), ("red", "own", 1, 10)]


def test_effective_cost_counts_where_a_bill_came_and_the_rest_says_that_it_is_an_estimate():
    costs = [row("red", cost=100, effective_nano_usd=70, charge="usage"), row("red", cost=40)]
    assert told(allocated(costs), "cost_nano_usd", "estimate_nano_usd") == [("red", "own", 110, 40)]
    assert told(allocated(costs, basis="effective"), "cost_nano_usd", "estimate_nano_usd") == [("red", "own", 70, 0)]
    assert told(allocated(costs, basis="list"), "cost_nano_usd") == [("red", "own", 140)]


def test_of_unmeasured_time_nobody_says_that_it_worked_or_that_it_did_not():
    costs = [row("red", cost=60), row("red", "idle", cost=20), row("red", "unmeasured", cost=7)]
    found = told(allocated(costs), "cost_nano_usd", "idle_nano_usd", "unmeasured_nano_usd")
    assert found == [("red", "own", 87, 20, 7)]


def test_an_estimate_that_is_shared_out_stays_one():
    listed = allocated([row("red", cost=80), row(account="unallocated", cost=30)], sharing=Sharing(idle="proportional"))
    assert told(listed, "estimate_nano_usd") == [("", "idle", 0), ("red", "own", 110)]
    costs = [
        row("red", cost=80, effective_nano_usd=70, charge="usage"),
        row("blue", cost=5, effective_nano_usd=7, charge="usage"),
        row(account="unallocated", cost=20, effective_nano_usd=23, charge="usage"),
        row(account="unallocated", cost=12),
    ]
    # 70 to 7, ten to one: of 23 billed 20.9 and 2.1, of 12 estimated 10.9 and 1.1
    mixed = allocated(costs, sharing=Sharing(idle="proportional"))
    assert told(mixed, "spread_nano_usd", "estimate_nano_usd") == [
        ("", "idle", 0, 0),
        ("blue", "own", 3, 1),
        ("red", "own", 32, 11),
    ]


def test_without_a_bill_there_is_no_effective_cost_not_one_of_zero():
    assert told(allocated([row("red", cost=40)], basis="effective"), "cost_nano_usd") == [("red", "own", None)]


def used(*records):
    return [{name: value for name, value in each.items() if name in USAGE.schema} for each in records]


@pytest.mark.parametrize("basis", ["best", "list", "effective"])
def test_cost_that_nobody_knows_is_absent_and_its_time_is_told(basis):
    frame = allocated(
        [row("red"), row("red", "idle")], used(row("red", gpu_ns=7), row("red", "idle", gpu_ns=2)), basis=basis
    )
    assert told(frame, "cost_nano_usd", "idle_nano_usd", "unpriced_ns") == [("red", "own", None, None, 9)]


def test_a_sum_of_which_a_part_is_unknown_tells_the_time_that_it_lacks():
    costs = [
        row("red", cost=5, price_id="p"),
        row("red", "idle", price_id=""),
        row("red", "idle", effective_nano_usd=-1, charge="credit"),
        row("blue", cost=4, effective_nano_usd=3, charge="usage", price_id="p"),
        row("blue", effective_nano_usd=1, charge="support", price_id="p"),
        row(account="shared", effective_nano_usd=2, charge="tax"),
    ]
    times = used(row("red", gpu_ns=7), row("red", "idle", gpu_ns=2), row("blue", gpu_ns=4))
    listed, best = (
        told(allocated(costs, times, basis=basis), "cost_nano_usd", "unpriced_ns") for basis in ("list", "best")
    )
    assert listed == [("", "shared", None, None), ("blue", "own", 4, 0), ("red", "own", 5, 2)]
    assert best == [("", "shared", 2, None), ("blue", "own", 4, 0), ("red", "own", 4, 2)]
    effective = told(allocated(costs, times, basis="effective"), "cost_nano_usd", "unpriced_ns")
    assert effective[1:] == [("blue", "own", 4, 0), ("red", "own", -1, 9)]


def test_of_two_prices_of_one_holder_in_one_hour_the_unknown_alone_is_lacking():
    costs = [row("red", cost=5, price_id="known"), row("red", price_id="")]
    times = used(row("red", gpu_ns=7, price_id="known"), row("red", gpu_ns=2, price_id="lost"))
    assert told(allocated(costs, times), "cost_nano_usd", "unpriced_ns") == [("red", "own", 5, 2)]


def test_an_unknown_pool_is_spread_to_nobody_and_stays_unknown():
    costs, times = (
        [row("red", cost=5), row(account="unallocated")],
        used(row("red", gpu_ns=7), row(account="unallocated", gpu_ns=2)),
    )
    frame = allocated(costs, times, sharing=Sharing(idle="even"))
    assert told(frame, "cost_nano_usd", "spread_nano_usd", "unpriced_ns") == [
        ("", "idle", None, 0, 2),
        ("red", "own", 5, 0, 0),
    ]


def test_steps_are_spread_each_for_itself():
    later = NOON + timedelta(days=1)
    costs = [*FLEET, row("blue", cost=1, hour=later), row(account="unallocated", cost=9, hour=later)]
    stepped = allocated(costs, step="1d", sharing=Sharing(idle="proportional"))
    assert stepped.filter(pl.col("team") == "blue")["spread_nano_usd"].to_list() == [6, 9]


def test_own_dimensions_are_read_from_the_holders_facts():
    costs = [row("red", cost=5, dimensions='{"model":"llama"}'), row("red", cost=7), row(account="unallocated", cost=3)]
    frame = allocated(costs, by=("dimension:model",))
    assert sorted(frame.select("dimension:model", "pool", "cost_nano_usd").rows()) == [
        ("", "idle", 3),
        ("", "own", 7),
        ("llama", "own", 5),
    ]


def test_an_unknown_dimension_is_refused_and_the_known_are_named():
    with pytest.raises(
        ValueError, match=r"cannot aggregate by 'tema'; there are account, .*team.* and dimension:NAME with letters"
    ):
        allocated([], by=("tema",))


@pytest.mark.parametrize(
    "name", ["", "*", "[", "'", "$", "..x", "a b", "a[0]", "cost-center", "app.kubernetes.io/name"]
)
def test_a_dimension_that_nothing_can_be_called_is_refused_by_all_who_read_one(name):
    with pytest.raises(ValueError, match=r"cannot aggregate by .*dimension:NAME with letters, digits and _"):
        allocated([row("red", cost=5, dimensions='{"a":"x"}')], by=(f"dimension:{name}",))
    with pytest.raises(ValueError, match=r"is no column of the books: .* or dimension:NAME with letters"):
        Budget.model_validate({"name": "b", "match": {f"dimension:{name}": "x"}, "usd_per_month": 1})
    with pytest.raises(BadQuestion, match=r"aggregate: found .*allowed: .*label:NAME with letters, digits and _"):
        AllocationQuestion.read(f"window=7d&aggregate={quote('label:' + name)}", NOON)


def test_more_than_64_bits_add_up():
    costs = [row("red", cost=2**62) for _ in range(5)]
    assert allocated(costs)["cost_nano_usd"].to_list() == [5 * 2**62]


accounts = st.sampled_from(["active", "idle", "unmeasured", "unallocated", "unobserved", "shared", "host", "system"])
hows = st.sampled_from(["apart", "even", "proportional", "metric"])


@settings(max_examples=60)
@given(
    st.lists(
        st.builds(
            row,
            st.sampled_from(["", "red", "blue"]),
            accounts,
            st.integers(-(10**12), 10**12) | st.none(),
            st.sampled_from([NOON, NOON + timedelta(days=1)]),
            charge=st.sampled_from(["list", "tax"]),
            effective_nano_usd=st.integers(-(10**12), 10**12) | st.none(),
        ),
        max_size=15,
    ),
    hows,
    hows,
    st.sampled_from([None, "1d"]),
)
def test_whatever_is_spread_every_dollar_stands_in_exactly_one_group(costs, idle, shared, step):
    frame = allocated(costs, step=step, sharing=Sharing(idle=idle, shared=shared))
    billed = [each["effective_nano_usd"] for each in costs]
    listed = [each["list_nano_usd"] or 0 for each in costs]
    estimate = sum(nano for nano, known in zip(listed, billed, strict=True) if known is None)
    assert (frame["estimate_nano_usd"].sum() or 0) == estimate
    total = estimate + sum(nano or 0 for nano in billed)
    assert (frame["cost_nano_usd"].sum() or 0) + (frame["spread_nano_usd"].sum() or 0) == total


def test_progress_is_told_by_parts_of_both_tables(monkeypatch):
    monkeypatch.setattr("ledger.allocate.ROWS_AT_ONCE", 1)
    done = []
    days = [row("red", cost=1, hour=NOON + timedelta(days=day)) for day in range(3)]
    assert allocated(days, days[:2], progress=lambda *counts: done.append(counts))["cost_nano_usd"].to_list() == [3]
    assert done == [(number, 5) for number in range(6)]
