"""Each node-hour's rows add up to its node's price, to the nano-dollar; what has no price has none."""

from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.apportion import apportion
from ledger.booking import book
from ledger.list_cost import PRICED_COLUMNS, list_cost
from ledger.node_split import NodeSplit
from ledger.tables import COST, PRICES
from tests.ledger.ledger_rig import HOUR_NS, MINUTE_NS, MODEL, SCOPE, agent_hour, at, row, witnessed

USD = 10**9
BUSY = row("GPU-1", "active", 20 * MINUTE_NS, 900)
REST = row("GPU-1", "idle", 40 * MINUTE_NS, 100, energy="idle_split")
NO_NOTES = pl.DataFrame(schema=PRICES.schema)
NOTE = {"price_id": "p", "nano_usd_per_gpu_hour": 3 * USD}


def asks(*told):
    rows = [(at(5), node, "i-1", MODEL, f"ledger/{nano}", nano) for node, nano in told]
    schema = {name: COST.schema.get(name, pl.Int64) for name in PRICED_COLUMNS}
    return pl.DataFrame(rows, schema=schema, orient="row")


def notes(**prices):
    rows = [{"price_id": name, "nano_usd_per_gpu_hour": nano} for name, nano in prices.items()]
    return pl.DataFrame(rows, schema=PRICES.schema)


def cost(rows, *, priced=None, noted=NO_NOTES, split=NodeSplit.EQUAL, minutes=60, **facts):
    booked = book([agent_hour(at(5), *rows)], witnessed((at(5), "a", minutes, facts)), SCOPE)
    return list_cost(booked.usage, booked.node_hours, asks(*(priced or [])), noted, split)


def dollars(frame, *by):
    return {tuple(key): nano for *key, nano in frame.group_by(*by).agg(pl.col("list_nano_usd").sum()).iter_rows()}


def test_a_node_hours_price_goes_over_its_rows_by_gpu_time():
    frame = cost([BUSY, REST], priced=[("a", 9 * USD + 1)])
    assert dollars(frame, "account") == {("active",): 3 * USD, ("idle",): 6 * USD + 1}
    assert set(frame["price_id"]) == {f"ledger/{9 * USD + 1}"}
    assert set(frame["charge"]) == {"list"}
    assert frame["effective_nano_usd"].null_count() == frame.height


def test_only_the_time_that_the_node_existed_is_paid_for():
    frame = cost([BUSY], priced=[("a", 3 * USD)], minutes=40)
    assert dollars(frame, "account") == {("active",): USD, ("unobserved",): USD}


def test_the_node_hour_is_rounded_once_half_to_even():
    for nano, expected in ((1, 0), (3, 2), (5, 2)):
        frame = cost([row("GPU-1", "active", 30 * MINUTE_NS)], priced=[("a", nano)], minutes=30)
        assert frame["list_nano_usd"].sum() == expected


def test_devices_that_no_journal_names_bear_their_share():
    frame = cost([BUSY, REST], priced=[("a", 8 * USD)], gpu_count=8)
    assert dollars(frame.filter(account="unobserved"), "gpu_uuid") == {(f"a/gpu-{n}",): USD for n in range(1, 8)}


def test_where_the_ledger_has_no_price_the_agents_notes_stand_in():
    frame = cost([BUSY, REST], noted=notes(p=3 * USD))
    assert dollars(frame, "account", "price_id") == {("active", "p"): USD, ("idle", "p"): 2 * USD}


def test_the_ledgers_price_is_taken_before_the_agents():
    assert cost([BUSY, REST], priced=[("a", USD)], noted=notes(p=3 * USD))["list_nano_usd"].sum() == USD


def test_what_has_no_price_has_none_and_is_never_free():
    frame = cost([BUSY, REST, row("GPU-2", "idle", HOUR_NS, price="")], noted=notes(p=3 * USD))
    assert frame.filter(gpu_uuid="GPU-2")["list_nano_usd"].to_list() == [None]
    assert frame["list_nano_usd"].sum() == 3 * USD


def test_a_price_of_another_model_is_not_taken():
    priced = asks(("a", 5 * USD)).with_columns(gpu_model=pl.lit("Tesla T4"))
    booked = book([agent_hour(at(5), BUSY)], witnessed((at(5), "a", 60, {})), SCOPE)
    assert list_cost(booked.usage, booked.node_hours, priced, NO_NOTES)["list_nano_usd"].null_count() == 2


def test_a_price_that_changed_within_the_hour_counts_for_its_own_time():
    before = row("GPU-1", "active", 15 * MINUTE_NS, price="p")
    after = row("GPU-1", "active", 45 * MINUTE_NS, price="q")
    frame = cost([before, after], noted=notes(p=4 * USD, q=8 * USD))
    assert dollars(frame, "price_id") == {("p",): USD, ("q",): 6 * USD}


def test_rows_that_differ_in_their_energys_method_only_are_one():
    same = row("GPU-1", "active", 40 * MINUTE_NS, 5, energy="idle_split")
    frame = cost([BUSY, same], priced=[("a", 3 * USD)])
    assert frame.select("account", "gpu_ns", "list_nano_usd").rows() == [("active", HOUR_NS, 3 * USD)]


def test_rows_that_differ_in_a_price_that_was_not_used_are_one():
    other = row("GPU-1", "active", 40 * MINUTE_NS, price="q")
    frame = cost([BUSY, other], priced=[("a", 3 * USD)], noted=notes(p=USD, q=USD))
    assert frame.select("gpu_ns", "list_nano_usd").rows() == [(HOUR_NS, 3 * USD)]
    assert not frame.select(pl.struct(COST.key).is_duplicated().any()).item()


P3 = {"gpu_count": 8, "vcpus": 64, "memory_mib": 488 * 1024}


@pytest.mark.parametrize(
    ("split", "per_gpu_hour"),
    [
        (NodeSplit.EQUAL, Fraction(10, 8)),
        (NodeSplit.AWS, Fraction(10 * 90, 720 + 576 + 488)),  # AWS's own example: $0.504
        (NodeSplit.OPENCOST, Fraction(10 * 950_000, 8 * 950_000 + 64 * 31_611 + 488 * 4_237)),
    ],
)
def test_a_nodes_price_is_split_between_its_gpus_and_its_host(split, per_gpu_hour):
    frame = cost([BUSY, REST], priced=[("a", 10 * USD)], split=split, **P3)
    gpu = frame.filter(gpu_uuid="GPU-1")["list_nano_usd"].sum()
    assert abs(gpu - per_gpu_hour * USD) <= 1
    assert frame["list_nano_usd"].sum() == 10 * USD
    host = frame.filter(account="host")
    assert host.height == (split != NodeSplit.EQUAL)
    assert all(host.select("gpu_uuid", "holder", "team", "node").row(0) == ("", "", "", "a") for _ in host.iter_rows())


def test_a_node_whose_cpus_nobody_knows_is_not_split():
    frame = cost([BUSY, REST], priced=[("a", 10 * USD)], split=NodeSplit.AWS, gpu_count=1)
    assert "host" not in frame["account"]
    assert frame["list_nano_usd"].sum() == 10 * USD


def test_the_order_of_rows_changes_nothing():
    booked = book([agent_hour(at(5), BUSY, REST)], witnessed((at(5), "a", 60, {"gpu_count": 3})), SCOPE)
    prices = asks(("a", 10 * USD + 1))
    one = list_cost(booked.usage, booked.node_hours, prices, NO_NOTES)
    assert list_cost(booked.usage.reverse(), booked.node_hours.reverse(), prices, NO_NOTES).equals(one)


def test_nothing_booked_costs_nothing():
    booked = book([], witnessed(), SCOPE)
    assert list_cost(booked.usage, booked.node_hours, asks(), NO_NOTES).is_empty()


NODES = st.lists(
    st.tuples(
        st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=4),
        st.integers(1, 60),
        st.integers(1, 100_000 * USD),
        st.integers(0, 200),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40)
@given(NODES, st.sampled_from(NodeSplit))
def test_law_each_node_hour_equals_its_price_to_the_unit(nodes, split):
    hours, lives, prices = [], [], []
    for index, (devices, minutes, nano, vcpus) in enumerate(nodes):
        node = f"n{index}"
        parts = [
            row(f"{node}-G{i}", account, ns)
            for i, weights in enumerate(devices)
            for account, ns in zip(
                ("active", "idle", "system", "unallocated", "unattributed"),
                apportion(minutes * MINUTE_NS, weights),
                strict=False,
            )
        ]
        hours.append(agent_hour(at(5), *parts, node=node))
        lives.append((at(5), node, minutes, {"vcpus": vcpus, "memory_mib": vcpus * 1000}))
        prices.append((node, nano))
    booked = book(hours, witnessed(*lives), SCOPE)
    frame = list_cost(booked.usage, booked.node_hours, asks(*prices), NO_NOTES, split)
    expected = {(n,): round(Fraction(nano * node[1], 60)) for (n, nano), node in zip(prices, nodes, strict=True)}
    assert dollars(frame, "node") == expected
    for key in frame.select(COST.key).iter_rows():
        assert None not in key
    assert not frame.select(pl.struct(COST.key).is_duplicated().any()).item()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, HOUR_NS // 4), st.integers(1, 100_000 * USD)), min_size=1, max_size=4))
def test_law_agents_notes_add_up_to_their_sum_rounded_once(times):
    parts = [row("GPU-1", "active", ns, price=f"p{i}") for i, (ns, _) in enumerate(times)]
    total = sum(ns for ns, _ in times)
    booked = book([agent_hour(at(5), *parts)], witnessed((at(5), "a", total / MINUTE_NS, {})), SCOPE)
    own = booked.usage.filter(pl.col("method") != "lifetime")
    frame = list_cost(own, booked.node_hours, asks(), notes(**{f"p{i}": nano for i, (_, nano) in enumerate(times)}))
    assert frame["list_nano_usd"].sum() == round(Fraction(sum(ns * nano for ns, nano in times), HOUR_NS))
