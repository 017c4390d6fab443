"""How far back node-hours are looked at again: as far as any witness says something else, and no further."""

from datetime import timedelta

import polars as pl
import pytest

from controller.bookkeeper import Bookkeeper
from ledger.cost_keeper import CostKeeper
from ledger.costing import Costing
from ledger.keeper import Keeper
from ledger.store import Store
from ledger.tables import LIFETIMES, NODE_HOURS
from ledger.unsettled import FURTHEST, note_settled, settled_through, unsettled_since
from ledger.verify import verify
from tests.ledger import books_rig as rig
from tests.ledger.ledger_rig import at

DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path):
    made = Store(str(tmp_path))
    made.claim_epoch()
    return made


def lives(store, *spans):
    """Rows of LIFETIMES: (node, evidence, began, ended or None, seen)."""
    texts = {name: "" for name, dtype in LIFETIMES.schema.items() if dtype == pl.String}
    rows = [
        {
            **texts,
            "node": node,
            "instance_id": f"i-{node}",
            "provider": "aws",
            "region": "eu-west-1",
            "instance_type": "p5",
            "capacity_type": "on_demand",
            "gpu_count": 2,
            "evidence": evidence,
            "began": began,
            "ended": ended,
            "seen": seen,
        }
        for node, evidence, began, ended, seen in spans
    ]
    store.replace(LIFETIMES, pl.DataFrame(rows, schema=LIFETIMES.schema), {})


def since(store, now):
    return unsettled_since(store, store.version(LIFETIMES), now)


def settle(store, now):
    keeper = Keeper(store, Costing(store, rig.rules()), cluster="eu")
    Bookkeeper(store, keeper, CostKeeper(store, rig.rules())).settle(now)


def existed(store):
    """Hours by node, and the sum of their nanoseconds in hours."""
    frame = store.scan(NODE_HOURS).group_by("node").agg(pl.len(), pl.col("existed_ns").sum()).collect()
    return {node: (hours, ns / 3.6e12) for node, hours, ns in frame.iter_rows()}


def test_a_ledger_without_an_hour_has_nothing_behind_it(store):
    lives(store, ("a", "event", at(1), None, at(9)))
    assert since(store, at(9)) == at(9)


def test_what_a_bill_alone_knows_counts_though_nothing_is_booked_yet(store):
    lives(
        store,
        ("a", "event", at(1), None, at(9)),
        ("b", "bill", at(3), at(4), at(4)),
        ("a", "bill", at(2), at(3), at(3)),
    )
    assert since(store, at(9)) == at(3)


def test_where_nothing_changed_it_is_since_it_was_last_done(store):
    rig.keep(store)
    note_settled(store, store.version(LIFETIMES), at(12))
    assert since(store, at(20)) == at(12)


def test_a_stretch_that_grew_is_another_one_from_its_former_end_on(store):
    rig.keep(store)
    lives(store, ("a", "event", at(5), None, at(9)), ("b", "event", at(5), at(8), at(8)))
    note_settled(store, store.version(LIFETIMES), at(12))
    lives(store, ("a", "event", at(5), at(11), at(11)), ("b", "event", at(5), at(8), at(8)))
    assert since(store, at(20)) == at(9)


@pytest.mark.parametrize(
    "spans",
    [
        [("a", "event", at(5), None, at(9)), ("new", "bill", at(6), at(7), at(7))],
        [],
        [("a", "event", at(6), None, at(9))],
    ],
    ids=["new", "gone", "began otherwise"],
)
def test_a_stretch_that_came_or_went_is_looked_at_from_its_beginning(store, spans):
    rig.keep(store)
    lives(store, ("a", "event", at(5), None, at(9)))
    note_settled(store, store.version(LIFETIMES), at(12))
    lives(store, *spans)
    assert since(store, at(20)) == (at(6) if len(spans) == 2 else at(5))


def test_an_older_stretch_may_go_on_to_where_another_witness_now_sees_its_machine(store):
    rig.keep(store)
    lives(store, ("a", "event", at(5), None, at(6)))
    note_settled(store, store.version(LIFETIMES), at(12))
    lives(store, ("a", "event", at(5), None, at(6)), ("a", "journal", at(10), None, at(11)))
    assert since(store, at(20)) == at(6)


def test_it_is_never_before_the_first_hour_nor_further_back_than_bills_come(store):
    rig.keep(store)
    lives(store, ("a", "event", at(5) - 90 * DAY, None, at(9)))
    assert since(store, at(20)) == at(5)
    assert since(store, at(20) + 80 * DAY) == at(20) + 80 * DAY - FURTHEST


def test_a_version_that_is_kept_no_more_has_all_looked_at(store):
    rig.keep(store)
    note_settled(store, 10_000, at(12))
    assert since(store, at(20)) == at(5)


def test_a_controller_that_was_away_for_days_loses_no_hour_of_a_silent_node(store):
    rig.keep(store)
    settle(store, at(12))
    lives(store, ("a", "event", at(5), None, at(12) + 4 * DAY), ("c", "api", at(20), None, at(12) + 4 * DAY))
    settle(store, at(12) + 4 * DAY)
    assert existed(store) == {"a": (103, 103.0), "b": (3, 3.0), "c": (88, 88.0)}
    assert list(verify(store)) == []


def test_what_an_event_tells_days_late_is_booked(store):
    rig.keep(store)
    settle(store, at(12))
    lives(store, ("late", "event", at(6, 6), at(6, 18), at(6, 18)))
    settle(store, at(12) + 9 * DAY)
    assert existed(store)["late"] == (1, 0.2)


def test_an_hour_is_settled_half_an_hour_after_its_end(store):
    assert settled_through(store) is None
    for minute, through in ((29, at(9)), (30, at(10)), (59, at(10))):
        note_settled(store, None, at(10) + timedelta(minutes=minute))
        assert settled_through(store) == through
