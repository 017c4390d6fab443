"""What a cloud's records of starts and ends make of an instance's life."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.aws_instances import DescribedInstance, InstanceEvent, InstanceFacts
from ledger.event_witness import Told, event_lifetimes, note_event_lifetimes
from ledger.store import Store
from ledger.tables import LIFETIMES, empty
from ledger.witness import SeenNode, api_lifetimes, note_lifetimes
from tests.ledger.ledger_rig import at

TYPES = {("aws", "p5"): 8}
FACTS = InstanceFacts("i-1", "eu-west-1", "eu-west-1a", "p5", "spot", "ip-10-0-0-1")


def described(began, *, ended=None, there=None, facts=FACTS):
    return DescribedInstance(facts, began, there=ended is None if there is None else there, ended_at=ended)


def launch(began, facts=FACTS):
    return InstanceEvent(facts.instance_id, began, begins=True, facts=facts)


def start(began):
    return InstanceEvent("i-1", began, begins=True)


def end(ended):
    return InstanceEvent("i-1", ended, begins=False)


def after(*readings, nodes=frozenset(), types=TYPES):
    """The rows after (asked at, what was told ...) readings."""
    rows = empty(LIFETIMES)
    for asked_at, *told in readings:
        seen = [each for each in told if isinstance(each, DescribedInstance)]
        events = [each for each in told if isinstance(each, InstanceEvent)]
        rows = event_lifetimes(rows, Told(asked_at, seen, events), types, nodes)
    return rows


def lives(*readings):
    return after(*readings).select("began", "ended", "seen").rows()


def test_an_instance_that_runs_is_an_open_stretch_that_grows():
    assert lives((at(6), described(at(5))), (at(7), described(at(5)))) == [(at(5), None, at(7))]


def test_the_row_says_all_that_is_known():
    (row,) = after((at(6), described(at(5)))).iter_rows(named=True)
    assert {
        name: row[name] for name in ("node", "zone", "instance_type", "capacity_type", "gpu_count", "evidence")
    } == {
        "node": "ip-10-0-0-1",
        "zone": "eu-west-1a",
        "instance_type": "p5",
        "capacity_type": "spot",
        "gpu_count": 8,
        "evidence": "event",
    }


def test_the_name_that_ec2_forgets_with_the_end_stays():
    gone = InstanceFacts("i-1", "eu-west-1", "", "p5", "spot")
    rows = after((at(6), described(at(5))), (at(7), described(at(5), ended=at(6, 30), facts=gone)))
    assert rows.select("node", "zone", "ended").rows() == [("ip-10-0-0-1", "eu-west-1a", at(6, 30))]


def test_the_end_of_an_instance_that_vanished_is_what_was_recorded():
    assert lives((at(6), described(at(5))), (at(9), end(at(6, 3)))) == [(at(5), at(6, 3), at(6, 3))]


def test_an_instance_that_vanished_without_a_record_stays_open_as_last_seen():
    assert lives((at(6), described(at(5))), (at(9),)) == [(at(5), None, at(6))]


def test_a_life_that_was_never_described_is_known_by_its_records_in_any_order():
    told = [launch(at(5, 10)), end(at(5, 22))]
    assert lives((at(6), *told)) == lives((at(6), *told[::-1])) == [(at(5, 10), at(5, 22), at(5, 22))]


def test_records_of_different_readings_are_one_life():
    assert lives((at(6), launch(at(5, 10))), (at(6), end(at(5, 22)))) == [(at(5, 10), at(5, 22), at(5, 22))]


def test_an_end_of_which_no_start_is_known_tells_nothing():
    assert lives((at(6), end(at(5)))) == []


def test_of_a_stop_and_a_later_termination_the_stop_ended_it():
    assert lives((at(7), described(at(5), ended=at(6))), (at(10), described(at(5), ended=at(9)))) == [
        (at(5), at(6), at(6))
    ]


def test_a_stop_and_a_start_are_two_stretches():
    told = launch(at(5)), end(at(5, 20)), start(at(5, 50))
    assert lives((at(6), *told, described(at(5, 50, 2)))) == [
        (at(5), at(5, 20), at(5, 20)),
        (at(5, 50, 2), None, at(6)),
    ]


def test_the_request_to_start_that_is_heard_of_later_is_the_same_start():
    later = after((at(6), described(at(5, 50, 2))), (at(6), start(at(5, 50))))
    assert later["began"].to_list() == [at(5, 50, 2)]


def test_a_stop_and_a_start_within_seconds_are_two_stretches():
    told = launch(at(5)), end(at(5, 0, 40)), start(at(5, 1))
    assert lives((at(6), *told)) == [(at(5), at(5, 0, 40), at(5, 0, 40)), (at(5, 1), None, at(5, 1))]


def test_what_runs_now_did_not_end_before():
    assert lives((at(6), described(at(5)), end(at(5, 30)))) == [(at(5), None, at(6))]
    assert lives((at(6), end(at(5, 30)), launch(at(5))), (at(7), described(at(5)))) == [(at(5), None, at(7))]


def test_what_ended_after_it_was_described_ended():
    assert lives((at(6), described(at(5)), end(at(6, 1)))) == [(at(5), at(6, 1), at(6, 1))]


def test_an_end_that_nobody_knows_leaves_the_stretch_as_it_was_seen():
    assert lives((at(6), described(at(5))), (at(7), described(at(5), there=False))) == [(at(5), None, at(6))]
    assert lives((at(7), described(at(5), there=False))) == [(at(5), None, at(5))]


def test_what_has_no_gpu_and_is_no_node_is_left_out():
    cpu = InstanceFacts("i-1", "eu-west-1", "", "m5")
    assert after((at(6), described(at(5), facts=cpu), launch(at(5), cpu))).is_empty()
    ours = after((at(6), described(at(5), facts=cpu)), nodes=frozenset({"i-1"}))
    assert ours.select("instance_type", "gpu_count").rows() == [("m5", None)]


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "ledger"))


def test_what_is_told_again_is_no_news(store):
    told = Told(at(6), [described(at(5), ended=at(5, 30))])
    assert note_event_lifetimes(store, told, TYPES)
    before = store.version(LIFETIMES)
    assert not note_event_lifetimes(store, told, TYPES)
    assert not note_event_lifetimes(store, Told(at(7)), TYPES)
    assert store.version(LIFETIMES) == before


def test_a_node_of_another_witness_counts_whatever_its_type_and_that_witness_stays(store):
    cpu = InstanceFacts("i-1", "eu-west-1", "", "m5")
    assert not note_event_lifetimes(store, Told(at(6), [described(at(5), facts=cpu)]), TYPES)
    note_lifetimes(store, api_lifetimes([SeenNode("a", at(5, 3), {"instance_id": "i-1"})], at(6)))
    assert note_event_lifetimes(store, Told(at(6), [described(at(5), facts=cpu)]), TYPES)
    rows = store.scan(LIFETIMES).sort("evidence").select("evidence", "node", "began").collect().rows()
    assert rows == [("api", "a", at(5, 3)), ("event", "", at(5))]


MINUTES = st.lists(st.integers(0, 1400), min_size=2, max_size=12, unique=True)


@given(MINUTES, st.randoms(use_true_random=False))
def test_records_in_any_order_and_any_readings_are_the_same_life(minutes, random):
    """Starts and ends that take turns, at least a minute apart, told in pieces and told again."""
    moments = [at(0) + timedelta(minutes=3 * minute) for minute in sorted(minutes)]
    told = [launch(when) if n % 2 == 0 else end(when) for n, when in enumerate(moments)]
    shuffled = random.sample(told, len(told))
    cut = random.randint(0, len(told))
    once = lives((at(0), *told))
    assert [(began, ended) for began, ended, _ in once] == [
        (began, next(iter(moments[2 * n + 1 : 2 * n + 2]), None)) for n, began in enumerate(moments[::2])
    ]
    assert lives((at(0), *shuffled)) == once
    assert lives((at(0), *told[:cut]), (at(0), *told[cut:]), (at(0), *told)) == once
