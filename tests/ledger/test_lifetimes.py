"""Who is believed about when a node existed."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.lifetimes import existence, with_shapes
from ledger.tables import INSTANCE_TYPES, LIFETIMES

MINUTE = 60 * 10**9


def at(hour, minute=0):
    return datetime(2026, 11, 1, hour, minute, tzinfo=UTC)


def witness(evidence, began, ended=None, seen=None, **facts):
    known = {"cluster": "eu", "node": "a", "provider": "", "region": "", "zone": "", "instance_id": "i-1"}
    row = {**known, "instance_type": "", "capacity_type": "", "gpu_count": None, "gpu_model": "", **facts}
    return {**row, "began": began, "ended": ended, "seen": seen or ended or began, "evidence": evidence}


def existed(*rows, first=None, last=None, now=None):
    frame = pl.DataFrame(rows, schema=LIFETIMES.schema)
    return existence(frame.lazy(), first or at(0), last or at(23), now or at(23, 59))


def minutes(frame):
    return {
        (row["hour_utc"].hour, row["instance_id"]): row["existed_ns"] // MINUTE for row in frame.iter_rows(named=True)
    }


def test_a_node_that_lived_twelve_minutes_existed_twelve_minutes():
    assert minutes(existed(witness("api", at(5, 10), at(5, 22)))) == {(5, "i-1"): 12}


def test_a_life_over_several_hours_is_cut_at_each():
    assert minutes(existed(witness("api", at(5, 50), at(7, 5)))) == {(5, "i-1"): 10, (6, "i-1"): 60, (7, "i-1"): 5}


def test_only_the_hours_asked_for_are_given_and_nothing_exists_after_now():
    frame = existed(witness("api", at(1), seen=at(9)), first=at(5), last=at(7), now=at(7, 30))
    assert minutes(frame) == {(5, "i-1"): 60, (6, "i-1"): 60, (7, "i-1"): 30}


def test_a_node_without_an_end_existed_until_it_was_last_seen():
    assert minutes(existed(witness("api", at(5, 30), seen=at(6, 20)))) == {(5, "i-1"): 30, (6, "i-1"): 20}


def test_an_open_end_lasts_until_any_witness_but_the_bill_saw_it_last():
    rows = witness("event", at(5)), witness("journal", at(5, 10), seen=at(5, 40)), witness("bill", at(5), at(8))
    assert minutes(existed(*rows)) == {(5, "i-1"): 40}


def test_the_clouds_own_event_is_believed_before_the_api_and_the_bill():
    rows = witness("bill", at(5), at(6)), witness("api", at(5, 12), at(5, 34)), witness("event", at(5, 10), at(5, 30))
    frame = existed(*rows)
    assert minutes(frame) == {(5, "i-1"): 20}
    assert frame["evidence"].to_list() == ["event"]


def test_an_event_of_a_start_ends_where_the_api_saw_the_end():
    rows = (
        witness("event", at(5, 10)),
        witness("api", at(5, 12), at(5, 34)),
        witness("journal", at(5, 12), seen=at(5, 50)),
    )
    assert minutes(existed(*rows)) == {(5, "i-1"): 24}


def test_the_bill_which_rounds_up_counts_where_nobody_else_knows():
    frame = existed(witness("bill", at(5), at(6), node="", cluster=""))
    assert minutes(frame) == {(5, "i-1"): 60}
    assert frame["node"].to_list() == ["i-1"]


def test_the_bill_and_the_api_speak_of_one_instance_though_only_one_knows_its_name():
    frame = existed(
        witness("bill", at(5), at(6), node="", cluster="", instance_type="p5.48xlarge", region="eu-west-1"),
        witness("api", at(5, 10), at(5, 22), gpu_count=8),
    )
    assert frame.select("node", "cluster", "instance_type", "region", "gpu_count").rows() == [
        ("a", "eu", "p5.48xlarge", "eu-west-1", 8)
    ]
    assert minutes(frame) == {(5, "i-1"): 12}


def test_a_stop_and_a_start_leave_a_gap():
    rows = witness("event", at(5), at(5, 20)), witness("event", at(5, 50), at(6))
    assert minutes(existed(*rows, witness("api", at(5), at(6)))) == {(5, "i-1"): 30}


def test_a_start_whose_former_stop_was_missed_counts_no_time_twice():
    rows = witness("event", at(5), seen=at(5)), witness("event", at(5, 30), at(6), seen=at(6))
    assert minutes(existed(*rows)) == {(5, "i-1"): 60}


def test_stretches_that_overlap_count_once():
    rows = witness("api", at(5), at(5, 40)), witness("api", at(5, 10), at(5, 20)), witness("api", at(5, 30), at(5, 50))
    assert minutes(existed(*rows)) == {(5, "i-1"): 50}


def test_a_name_borne_by_two_instances_within_one_hour_has_two_rows():
    rows = witness("api", at(5), at(5, 20)), witness("api", at(5, 25), at(6), instance_id="i-2")
    assert minutes(existed(*rows)) == {(5, "i-1"): 20, (5, "i-2"): 35}


def test_before_the_first_begin_that_events_know_the_next_best_is_believed():
    rows = (
        witness("event", at(7, 30), at(8)),
        witness("api", at(5, 10), seen=at(9)),
        witness("journal", at(4), seen=at(9)),
        witness("bill", at(3), at(9)),
    )
    frame = existed(*rows)
    assert minutes(frame) == {(5, "i-1"): 50, (6, "i-1"): 60, (7, "i-1"): 60}
    assert frame["evidence"].to_list() == ["api", "api", "api"]


def test_before_a_restart_an_instance_existed_no_longer_than_it_was_seen():
    rows = witness("event", at(7)), witness("api", at(5), seen=at(5, 40)), witness("api", at(7, 2), seen=at(7, 30))
    assert minutes(existed(*rows)) == {(5, "i-1"): 40, (7, "i-1"): 30}


def test_an_event_names_what_nobody_else_does_and_nothing_else():
    own = witness("event", at(5), at(6), node="ip-10-0-0-1", instance_type="p5", capacity_type="on_demand", cluster="")
    alone = witness("event", at(5), at(6), node="ip-10-0-0-2", cluster="", instance_id="i-2")
    api = witness("api", at(5), node="gpu-1", capacity_type="reserved")
    bill = witness("bill", at(5), at(6), node="", cluster="", instance_type="p4d", instance_id="i-2")
    frame = existed(own, alone, api, bill).sort("instance_id")
    assert frame.select("node", "cluster", "instance_type", "capacity_type").rows() == [
        ("gpu-1", "eu", "p5", "reserved"),
        ("ip-10-0-0-2", "", "p4d", ""),
    ]


def test_a_bare_host_exists_while_it_is_listed():
    frame = existed(witness("host", at(5), seen=at(8), instance_id=""))
    assert minutes(frame) == {(5, ""): 60, (6, ""): 60, (7, ""): 60}


def test_a_witness_of_another_kind_is_not_believed():
    assert existed(witness("rumour", at(5), at(6))).is_empty()


def test_nobody_says_anything():
    assert existed().is_empty()


def test_what_the_witnesses_do_not_know_is_told_by_the_instance_type():
    shape = {"provider": "aws", "instance_type": "p5.48xlarge", "vcpus": 192, "memory_mib": 2_097_152, "gpu_count": 8}
    shapes = pl.DataFrame([shape], schema=INSTANCE_TYPES.schema)
    frame = existed(
        witness("bill", at(5), at(6), provider="aws", instance_type="p5.48xlarge"),
        witness("api", at(5), at(6), provider="aws", instance_type="p5.48xlarge", instance_id="i-2", gpu_count=7),
        witness("api", at(5), at(6), provider="aws", instance_type="unknown", instance_id="i-3"),
    )
    facts = with_shapes(frame, shapes.lazy()).sort("instance_id").select("gpu_count", "vcpus", "memory_mib")
    assert facts.rows() == [(8, 192, 2_097_152), (7, 192, 2_097_152), (None, None, None)]


MINUTES = st.integers(0, 600)


@given(st.lists(st.tuples(MINUTES, st.integers(1, 300)), min_size=1, max_size=6))
def test_the_hours_add_up_to_the_union_of_the_stretches(spans):
    start = at(0)
    rows = [witness("api", start + timedelta(minutes=a), start + timedelta(minutes=a + n)) for a, n in spans]
    alive = {minute for a, n in spans for minute in range(a, a + n)}
    assert existed(*rows)["existed_ns"].sum() == len(alive) * MINUTE


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_witnesses_does_not_matter(order):
    rows = [witness("event", at(5)), witness("api", at(5, 12), at(5, 34)), witness("bill", at(5), at(6))]
    assert minutes(existed(*rows[::order])) == {(5, "i-1"): 34}
