"""The measured saving: a night worked by hand, what is no saving, and laws that hold for any night."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.scaling.down_spans import Key
from controller.scaling.savings import Saved, by_workload, measure, savings, total
from ledger.audit import AuditRow, Target, append
from ledger.store import Store
from ledger.tables import AUDIT, COST, LIFETIMES, NODE_HOURS, USAGE
from tests.controller.scaling.savings_rig import HOUR, MIN, OTHER, USD, Script, at, span

NIGHT = range(21, 31)
UNKNOWN = Key("eu", "ml", "Deployment", "gone")


def night(capacity="on_demand", *, node_ends=20):
    """Two GPUs of node a until 20:06; node a ends ``node_ends`` minutes past eight; back on node b from 07:55."""
    script = Script(capacity)
    for device in ("a-1", "a-2"):
        script.held(19, device, 60)
        script.held(20, device, 6)
    for device in ("b-1", "b-2"):
        script.held(31, device, 5)
    script.node(19, "a", 60)
    script.node(31, "b", 10)
    script.node(20, "a", node_ends)
    if node_ends == 60:
        for hour in (*NIGHT, 31):
            script.node(hour, "a", 60)
    return script


def measured(script, *downs):
    return savings(downs or [span(at(20, 5), at(31, 50))], script.books()).rows(named=True)


def test_a_night_worked_by_hand():
    """Down 705 minutes, so two GPUs would have stayed 1410.

    20:05 to 21:00: they would have held 110 and held 2 (12 in the hour, 10 of them before); 108 freed, of which each
    device's node was gone for 40 minutes: 80 cash. Ten hours of 120, all cash. 07:00 to 07:50: 100, all cash, since
    node a was gone, and node b came only afterwards. At 4 dollars an hour.
    """
    (row,) = measured(night())
    minutes = {name: amount / MIN for name, amount in row.items() if name.endswith("_ns")}
    assert minutes == {"stayed_ns": 1410, "held_ns": 2, "freed_ns": 1408, "cash_ns": 1380, "unmeasured_ns": 0}
    # four dollars are 66,666,666.6 nano-dollars a minute, rounded down for each device and hour
    dollars = [amount / USD for amount in (row["freed_nano_usd"], row["cash_nano_usd"])]
    assert dollars == [pytest.approx(1408 * 4 / 60, abs=3e-8), pytest.approx(92, abs=3e-8)]
    assert row["cost_nano_usd"] == 2 * 4 * USD // 60
    assert (row["estimate"], row["unknown"], row["workload"]) == (True, "", "chat")


def test_a_node_that_stays_saves_nothing_though_all_was_freed():
    (row,) = measured(night(node_ends=60))
    assert (row["freed_ns"] / MIN, row["cash_ns"], row["cash_nano_usd"]) == (1408, 0, 0)


@pytest.mark.parametrize("capacity", ["reserved", "on_prem", "capacity_block", ""])
def test_a_node_that_is_paid_for_anyhow_saves_nothing_by_ending(capacity):
    (row,) = measured(night(capacity))
    assert (row["freed_ns"] / MIN, row["cash_ns"]) == (1408, 0)


@pytest.mark.parametrize("capacity", ["reserved", "on_prem", "on_demand"])
def test_what_others_did_with_it_is_cash(capacity):
    script = night(capacity, node_ends=60)
    script.held(22, "a-1", 60, OTHER)
    script.held(23, "a-1", 15, OTHER, account="idle")
    script.held(23, "a-2", 30, None, account="unallocated")
    script.held(24, "a-2", 60, None, account="system")
    (row,) = measured(script)
    assert row["cash_ns"] / MIN == 75


def test_others_that_had_room_beside_it_are_no_saving():
    script = Script()
    script.node(19, "a", 60)
    script.held(19, "a-1", 20)
    script.held(19, "a-1", 40, OTHER)
    for hour in (20, 21):
        script.node(hour, "a", 60)
    script.held(20, "a-1", 40, OTHER)
    script.held(21, "a-1", 55, OTHER)
    (row,) = measured(script, span(at(20), at(22)))
    assert (row["freed_ns"] / MIN, row["cash_ns"] / MIN) == (40, 15)


def test_what_it_held_all_the_same_is_not_freed():
    script = night()
    script.held(23, "c-1", 60)  # somebody brought it back for an hour
    (row,) = measured(script)
    assert (row["freed_ns"] / MIN, row["held_ns"] / MIN) == (1408 - 60, 62)
    assert row["cost_nano_usd"] == 4 * USD + 2 * 4 * USD // 60


def test_a_gpu_that_was_not_observed_is_neither_held_nor_freed():
    script = night(node_ends=60)
    script.held(25, "a-1", 60, None, account="unobserved")
    (row,) = measured(script)
    assert (row["freed_ns"] / MIN, row["unmeasured_ns"] / MIN) == (1408 - 60, 60)
    assert row["stayed_ns"] == row["held_ns"] + row["freed_ns"] + row["unmeasured_ns"]


def test_the_bill_counts_where_it_has_come():
    script = Script()
    script.node(19, "a", 60)
    script.held(19, "a-1", 60, usd=4, effective=3)
    (row,) = measured(script, span(at(20), at(21)))
    assert (row["cash_nano_usd"], row["estimate"]) == (3 * USD, False)


def test_work_that_waits_is_put_off_and_saves_nothing():
    script, job = Script(), Key("eu", "ml", "Job", "train")
    script.node(19, "a", 60)
    script.held(19, "a-1", 60, job)
    (row,) = measured(script, span(at(20), at(21), job))
    assert (row["unknown"], row["freed_ns"], row["cash_nano_usd"]) == ("postponed", None, None)


def test_nothing_is_said_where_nothing_is_known():
    unpriced = Script()
    unpriced.node(19, "a", 60)
    unpriced.held(19, "a-1", 60, usd=None)
    (row,) = measured(unpriced, span(at(20), at(21)))
    assert (row["unknown"], row["cash_ns"] / MIN, row["cash_nano_usd"]) == ("unpriced", 60, None)
    (row,) = measured(unpriced, span(at(20), at(21), OTHER))
    assert (row["unknown"], row["freed_ns"]) == ("no_reference", None)
    assert measured(Script(), *[])[0]["unknown"] == "no_reference"
    assert savings([], unpriced.books()).is_empty()


def test_downs_of_several_days_keep_their_order():
    script = night()
    script.node(43, "a", 60)
    script.held(43, "a-1", 60, usd=2)
    downs = [span(at(44), at(45), reference=43), span(at(20, 5), at(31, 50)), span(at(45), at(46), reference=43)]
    rows = measured(script, *downs)
    assert [(row["begin"], row["cash_ns"] / MIN) for row in rows] == [(at(44), 60), (at(20, 5), 1380), (at(45), 60)]
    assert [row["cash_nano_usd"] for row in rows][::2] == [2 * USD, 2 * USD]


def test_sums_leave_out_what_is_not_known():
    script = night()
    rows = savings([span(at(20, 5), at(31, 50)), span(at(20), at(21), OTHER)], script.books())
    saved = total(rows)
    assert (saved.freed_ns / MIN, saved.cash_ns / MIN, saved.unknown) == (1408, 1380, 1)
    assert total(rows.clear()) == Saved()


moments = st.integers(0, 12 * 60 * 60)
minutes = st.integers(0, 60)


@settings(max_examples=20)
@given(
    st.sets(moments, min_size=2, max_size=6),
    st.lists(minutes, min_size=2, max_size=2),
    st.lists(st.tuples(minutes, minutes, minutes, minutes), min_size=13, max_size=13),
    st.sampled_from(["on_demand", "spot", "reserved"]),
    st.integers(1, 7),
)
def test_the_laws_hold_whatever_happened(cuts, before, hours, capacity, usd):
    """Cash is at most what was freed; parts add up to the whole; however a down is cut, its parts add up to it."""
    script = Script(capacity)
    script.node(19, "a", 60)
    for device, held in zip(("a-1", "a-2"), before, strict=True):
        script.held(19, device, 0, usd=usd, ns=held * MIN + 1)
    for hour, (own, other, existed, elsewhere) in enumerate(hours, 20):
        script.node(hour, "a", existed)
        script.held(hour, "a-1", min(own, existed))
        script.held(hour, "a-1", max(0, min(other, existed - own)), OTHER)
        script.held(hour, "b-1", elsewhere)
    edges = [at(20) + timedelta(seconds=cut) for cut in sorted(cuts)]
    books = script.books()
    whole = savings([span(edges[0], edges[-1])], books)
    parts = savings([span(begin, end) for begin, end in pairwise(edges)], books)
    for row in (*whole.rows(named=True), *parts.rows(named=True)):
        assert 0 <= row["cash_ns"] <= row["freed_ns"] <= row["stayed_ns"]
        assert 0 <= row["cash_nano_usd"] <= row["freed_nano_usd"]
        assert row["stayed_ns"] == row["held_ns"] + row["freed_ns"] + row["unmeasured_ns"]
        assert row["freed_nano_usd"] <= row["freed_ns"] * usd * USD // (60 * MIN) + len(hours)
    assert total(parts) == total(whole)
    for name in ("stayed_ns", "held_ns", "cost_nano_usd"):
        assert parts[name].sum() == whole[name].sum()


@pytest.fixture
def ledger(tmp_path):
    """A store of a script and of audit rows of the workload."""

    def made(script, *actions):
        store, books = Store(str(tmp_path), tables=(AUDIT, COST, USAGE, NODE_HOURS, LIFETIMES)), script.books()
        for table in (COST, USAGE, NODE_HOURS, LIFETIMES):
            store.append(table, getattr(books, table.name))
        done = {"phase": "result", "result": "done", "target": Target("eu", "Deployment", "ml", "chat")}
        append(store, [AuditRow(moment, what, action=what, until=until, **done) for moment, what, until in actions])
        return store

    return made


def test_the_ledger_is_measured_from_its_own_tables(ledger):
    store = ledger(night(), (at(20, 5), "down", at(32)), (at(31, 50), "restore", None))
    saved = total(measure(store, "eu", at(0), at(34)))
    assert (saved.freed_ns / MIN, saved.cash_ns / MIN) == (1408, 1380)
    assert total(measure(store, "", at(0), at(34))) == saved
    assert total(measure(store, "eu", at(0), at(22))).freed_ns / MIN == 108 + 120
    assert measure(store, "us", at(0), at(34)).is_empty()
    store.rewrite(USAGE, {"day": [at(0).date()]}, lambda rows: rows, rolled=(at(0) + 24 * HOUR).date())
    (row,) = measure(store, "eu", at(0), at(34)).rows(named=True)  # its reference hour is part of a day now
    assert (row["begin"], row["unknown"], row["freed_ns"]) == (at(24), "no_reference", None)


@pytest.mark.parametrize("now", [24, 166, 169, 200])
def test_a_long_down_counts_for_as_much_of_it_as_lies_in_the_window(ledger, now):
    """Down from 20:00 on for nine days: a window of seven has all of them, whatever lies before it."""
    script = Script()
    script.node(19, "a", 60)
    script.held(19, "a-1", 60)
    store = ledger(script, (at(20), "down", at(236)))
    rows = measure(store, "eu", at(now - 168), at(now))
    hours = min(now - 20, 168)
    assert total(rows).cash_ns / MIN == 60 * hours
    assert total(rows).cash_nano_usd == 4 * USD * hours
    assert rows["begin"].to_list() == [max(at(20), at(now - 168))]


def test_windows_side_by_side_add_up_to_the_whole(ledger):
    store = ledger(night(), (at(20, 5), "down", at(32)), (at(31, 50), "restore", None))
    whole = total(measure(store, "eu", at(0), at(34)))
    parts = [total(measure(store, "eu", at(begin), at(end))) for begin, end in ((0, 21), (21, 27), (27, 34))]
    for name in ("freed_ns", "cash_ns", "freed_nano_usd", "cash_nano_usd", "cash_list_nano_usd"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name)


def test_list_price_is_an_estimate_in_every_sum():
    script = Script()
    script.node(19, "a", 60)
    script.held(19, "a-1", 60, effective=3)
    script.held(19, "a-2", 60, OTHER)
    rows = savings([span(at(20), at(21)), span(at(20), at(22), OTHER), span(at(22), at(23), UNKNOWN)], script.books())
    saved = total(rows)
    assert (saved.cash_nano_usd, saved.cash_list_nano_usd, saved.freed_list_nano_usd) == (11 * USD, 8 * USD, 8 * USD)
    told = by_workload(rows).select("workload", "basis", "downs", "cash_nano_usd", "unknown").rows()
    assert told == [
        ("chat", "effective", 1, 3 * USD, ""),
        ("gone", None, 1, None, "no_reference"),
        ("other", "list", 1, 8 * USD, ""),
    ]
