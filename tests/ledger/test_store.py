"""What the store promises of rows: replaced by predicate, in one commit, in the table's own columns."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from ledger.store import Store
from ledger.store_errors import Fenced
from ledger.tables import NODE_HOURS, TIME

HOUR_5, HOUR_6 = (datetime(2026, 11, 1, hour, tzinfo=UTC) for hour in (5, 6))


def hours(*rows: tuple[datetime, str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "day": [hour.date() for hour, _, _ in rows],
            "hour_utc": [hour for hour, _, _ in rows],
            "node": [node for _, node, _ in rows],
            "existed_ns": [ns for _, _, ns in rows],
        },
        schema={"day": pl.Date, "hour_utc": TIME, "node": pl.String, "existed_ns": pl.Int64},
    )


def read(store, version=None):
    frame = store.scan(NODE_HOURS, version).sort("hour_utc", "node").collect()
    return [(hour.hour, node, ns) for hour, node, ns in frame.select("hour_utc", "node", "existed_ns").rows()]


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "ledger"))


def test_a_table_that_is_not_there_yet_is_empty_and_has_no_version(store):
    assert store.version(NODE_HOURS) is None
    assert store.scan(NODE_HOURS).collect().schema == NODE_HOURS.schema


def test_replacing_an_hour_leaves_the_others_and_other_nodes(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1), (HOUR_5, "b", 2), (HOUR_6, "a", 3)))
    store.replace(NODE_HOURS, hours((HOUR_5, "a", 9)), {"hour_utc": [HOUR_5], "node": ["a"]})
    assert read(store) == [(5, "a", 9), (5, "b", 2), (6, "a", 3)]


def test_a_former_version_can_be_read_again(store):
    first = store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    store.replace(NODE_HOURS, hours((HOUR_5, "a", 9)), {"hour_utc": [HOUR_5]})
    assert read(store, first) == [(5, "a", 1)]


def test_replacing_by_nothing_takes_rows_away(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1), (HOUR_6, "a", 3)))
    store.replace(NODE_HOURS, hours().lazy(), {"day": [date(2026, 11, 1)], "hour_utc": [HOUR_5]})
    assert read(store) == [(6, "a", 3)]


def test_no_condition_replaces_the_whole_table(store):
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1), (HOUR_6, "a", 3)))
    store.replace(NODE_HOURS, hours((HOUR_6, "b", 4)), {})
    assert read(store) == [(6, "b", 4)]


def test_a_claim_shuts_the_former_leader_out(tmp_path):
    former, latter = (Store(str(tmp_path)) for _ in range(2))
    assert former.claim_epoch() == 1
    former.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    assert latter.claim_epoch() == 2
    with pytest.raises(Fenced, match=r"newer leader \(epoch 2, ours 1\).*stop this process"):
        former.append(NODE_HOURS, hours((HOUR_6, "a", 1)))
    assert read(latter) == [(5, "a", 1)]
