"""A round over all tables: what one table lacks stops no other."""

from datetime import UTC, datetime

import pytest

from ledger.house import keep_house
from ledger.store import Store
from ledger.store_errors import Fenced, StoreError
from ledger.tables import ALL, BILLS, COST, NODE_HOURS, USAGE
from tests.ledger.newer_delta import commit_newer
from tests.ledger.store_rig import hours

NOW = datetime(2026, 11, 9, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    made = Store(str(tmp_path))
    made.claim_epoch()
    for hour in (3, 4, 5):
        at = datetime(2026, 11, 1, hour, tzinfo=UTC)
        made.replace(NODE_HOURS, hours((at, "a", hour)), {"hour_utc": [at]})
    return made


def kept(store, **how):
    return keep_house(store, now=NOW, roll_after_days=90, **how)


@pytest.mark.parametrize("broken", [BILLS, USAGE, COST], ids=lambda table: table.name)
def test_a_table_that_cannot_be_read_is_named_once_and_the_others_are_kept(store, tmp_path, broken):
    commit_newer(tmp_path / broken.name)
    with pytest.raises(StoreError, match=rf"^cannot read {broken.name} at .*needs a newer Delta") as error:
        kept(store)
    assert str(error.value).count("needs a newer Delta") == 1
    assert len(store.place.open(NODE_HOURS).file_uris()) == 1


def test_all_tables_that_cannot_be_read_are_named(store, tmp_path):
    for table in (BILLS, COST):
        commit_newer(tmp_path / table.name)
    with pytest.raises(StoreError) as error:
        kept(store)
    assert {table.name for table in ALL if f"cannot read {table.name} at" in str(error.value)} == {"cost", "bills"}


def test_who_is_fenced_stops_at_once(store, tmp_path):
    Store(str(tmp_path)).claim_epoch()
    steps = []
    with pytest.raises(Fenced):
        kept(store, told=lambda step, _: steps.append(step))
    assert len(steps) < 2 + len(ALL)
    assert len(store.place.open(NODE_HOURS).file_uris()) == 3


def test_each_step_is_told_before_it_is_done(store):
    steps = []
    assert kept(store, told=lambda step, of: steps.append((step, of))).compacted_parts >= 1
    assert steps == [(step, 2 + len(ALL)) for step in range(2 + len(ALL))]
