"""An hour of a device counts once, whoever claims it, and only where the books tell of it; figures by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.scaling.down_spans import Key
from controller.scaling.savings import savings
from tests.controller.scaling.savings_rig import CHAT, MIN, OTHER, USD, Script, at, span

THIRD = Key("eu", "ml", "Deployment", "third")


def told(script, *downs):
    """By workload minutes freed, of them cash, and unmeasured."""
    rows = savings(downs, script.books()).rows(named=True)
    return {
        row["workload"]: tuple(row[name] / MIN for name in ("freed_ns", "cash_ns", "unmeasured_ns")) for row in rows
    }


def shared(capacity="on_demand", *, chat=30, other=30):
    """One GPU that two share at seven."""
    script = Script(capacity)
    script.node(19, "a", 60)
    script.held(19, "a-1", chat)
    script.held(19, "a-1", other, OTHER)
    return script


def turns(capacity="on_demand"):
    """One GPU that one has at seven and another at eight and nine; a third may have it at ten."""
    script = Script(capacity)
    for hour in (19, 20, 21):
        script.node(hour, "a", 60)
    script.held(19, "a-1", 60)
    script.held(20, "a-1", 60, OTHER)
    script.held(21, "a-1", 60, OTHER)
    return script


BOTH = span(at(20), at(21)), span(at(20), at(21), OTHER)
IN_TURN = span(at(22), at(23)), span(at(22), at(23), OTHER, reference=21)


def test_two_that_share_a_gpu_share_the_half_hour_for_which_its_node_was_gone():
    script = shared()
    script.node(20, "a", 30)
    assert told(script, *BOTH) == {"chat": (30, 15, 0), "other": (30, 15, 0)}


def test_a_quarter_of_a_gpu_saves_a_quarter_of_the_time_for_which_its_node_was_gone():
    script = shared(chat=15, other=0)
    script.node(20, "a", 45)
    assert told(script, span(at(20), at(21))) == {"chat": (15, 3.75, 0)}
    (row,) = savings([span(at(20), at(21))], script.books()).rows(named=True)
    assert row["cash_nano_usd"] == USD // 4  # of four dollars an hour a sixteenth


@pytest.mark.parametrize("capacity", ["on_demand", "reserved"])
def test_two_that_had_a_gpu_one_after_the_other_share_what_a_third_made_of_it(capacity):
    script = turns(capacity)
    script.node(22, "a", 60)
    script.held(22, "a-1", 60, THIRD)
    assert told(script, *IN_TURN) == {"chat": (30, 30, 30), "other": (30, 30, 30)}


def test_two_that_had_a_gpu_one_after_the_other_share_the_hour_for_which_its_node_was_gone():
    assert told(turns(), *IN_TURN) == {"chat": (30, 30, 30), "other": (30, 30, 30)}
    assert told(turns("reserved"), *IN_TURN) == {"chat": (30, 0, 30), "other": (30, 0, 30)}


def test_downs_of_several_days_share_a_gpu_as_well():
    """What one had yesterday, and another today."""
    script = Script()
    for hour in (19, 40):
        script.node(hour, "a", 60)
    script.held(19, "a-1", 60)
    script.held(40, "a-1", 60, OTHER)
    downs = span(at(42), at(43)), span(at(42), at(43), OTHER, reference=40)
    assert told(script, *downs) == {"chat": (30, 30, 30), "other": (30, 30, 30)}


def test_what_a_third_took_of_two_is_shared_by_what_each_could_have_held():
    """Each had 20 of 60, so 20 were free beside them: of the third's 50 it had 30 because both were down."""
    script = shared("reserved", chat=20, other=20)
    script.node(20, "a", 60)
    script.held(20, "a-1", 50, THIRD)
    assert told(script, *BOTH) == {"chat": (20, 15, 0), "other": (20, 15, 0)}
    # the third alone had room for 40 beside the one that is down
    assert told(script, BOTH[0]) == {"chat": (20, 10, 0)}


def test_who_went_on_a_gpu_of_one_that_is_down_saves_for_that_one_alone():
    """The second had it until half past, and is down since; nobody has it then."""
    script = Script("reserved")
    for hour in (19, 20, 21):
        script.node(hour, "a", 60)
    script.held(19, "a-1", 60)
    script.held(20, "a-1", 60, OTHER)
    script.held(21, "a-1", 30, OTHER)
    found = told(script, span(at(21), at(22)), span(at(21, 30), at(22), OTHER, reference=20))
    assert found == {"chat": (40, 30, 20), "other": (20, 0, 10)}


def test_an_hour_without_books_is_no_hour_in_which_the_node_was_gone():
    """It was there until nine by its witness; nobody booked it after eight."""
    script = shared(other=0, chat=60)
    script.lived("a", at(19), at(22))
    assert told(script, span(at(20), at(25))) == {"chat": (180, 180, 120)}


def test_nothing_is_said_of_a_node_that_no_witness_knows():
    script = shared(chat=60, other=0)
    script.lives.clear()
    assert told(script, span(at(20), at(25))) == {"chat": (0, 0, 300)}
    script.node(20, "a", 45)
    script.lives.clear()
    assert told(script, span(at(20), at(21))) == {"chat": (45, 0, 15)}


def test_a_node_that_nobody_ended_ends_where_it_was_last_seen():
    script = shared(chat=60, other=0)
    script.lives.clear()
    script.lived("a", at(19), None, seen=at(20, 15))
    script.node(20, "a", 15)
    script.lives.pop()
    assert told(script, span(at(20), at(22))) == {"chat": (120, 105, 0)}


def test_a_node_that_was_stopped_and_came_again_was_gone_between():
    script = shared(chat=60, other=0)
    script.node(22, "a", 60)
    assert told(script, span(at(20), at(24))) == {"chat": (240, 180, 0)}


def test_an_hour_that_no_journal_covers_is_not_observed_though_its_devices_have_no_names():
    script = shared(chat=60, other=0)
    for hour in (20, 21):
        script.node(hour, "a", 60)
    script.held(20, "a/gpu-0", 60, None, account="unobserved")
    script.usage[-1] |= {"node": "a", "instance_id": "i-a"}
    script.held(21, "a-1", 60, None, account="unallocated")
    assert told(script, span(at(20), at(22))) == {"chat": (60, 0, 60)}


def test_a_bill_alone_tells_no_end():
    script = shared(chat=60, other=0)
    script.lives = [{**life, "evidence": "bill"} for life in script.lives]
    assert told(script, span(at(20), at(21))) == {"chat": (0, 0, 60)}


minutes = st.integers(0, 60)


@settings(max_examples=8)
@given(st.tuples(minutes, minutes), minutes, minutes, st.booleans())
def test_a_device_s_hour_is_never_more_than_an_hour_whoever_claims_it(before, existed, third, paid):
    script = Script("reserved" if paid else "spot")
    for hour, (key, held) in enumerate(zip((CHAT, OTHER), before, strict=True), 18):
        script.node(hour, "a", 60)
        script.held(hour, "a-1", 0, key, ns=held * MIN + 1)
    script.node(20, "a", existed)
    script.held(20, "a-1", min(existed, third), THIRD)
    rows = savings([span(at(20), at(21), reference=18), span(at(20), at(21), OTHER)], script.books())
    assert rows["freed_ns"].sum() <= 60 * MIN
    assert rows["cash_ns"].sum() <= (min(existed, third) + (0 if paid else 60 - existed)) * MIN
    for row in rows.rows(named=True):
        assert 0 <= row["cash_ns"] <= row["freed_ns"]
        assert row["stayed_ns"] == row["held_ns"] + row["freed_ns"] + row["unmeasured_ns"]
