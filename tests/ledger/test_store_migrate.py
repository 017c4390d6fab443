"""Tables of another age: older ones become ours whole or not at all, newer ones are refused unharmed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import polars as pl
import pytest

from ledger.store import Store
from ledger.store_delta import touch
from ledger.store_errors import NewerTable, StoreError
from ledger.store_migrate import SCHEMA, Migrations, schema_of
from ledger.tables import NODE_HOURS, USAGE, Table
from tests.ledger import duck
from tests.ledger.newer_delta import commit_newer
from tests.ledger.store_rig import HOUR_5, HOUR_6, hours

OLD = Table("bricks", pl.Schema({"day": pl.Date, "node": pl.String, "cents": pl.Int64}), key=("node",))
NEW = replace(OLD, schema=pl.Schema({"day": pl.Date, "node": pl.String, "nano_usd": pl.Int64, "note": pl.String}))
BRICKS = pl.DataFrame({"day": [HOUR_5.date()] * 2, "node": ["a", "b"], "cents": [5, 7]}, schema=OLD.schema)


def to_nano(frame):
    return frame.select("day", "node", nano_usd=pl.col("cents") * 10_000_000)


FIRST, SECOND = Migrations(1), Migrations(2, {("bricks", 1): to_nano})


@pytest.fixture
def root(tmp_path):
    Store(str(tmp_path), migrations=FIRST, tables=[OLD]).append(OLD, BRICKS)
    return str(tmp_path)


def second(root):
    return Store(root, migrations=SECOND, tables=[NEW])


def amounts(store, version=None):
    return store.scan(NEW, version).sort("node").select("node", "nano_usd", "note").collect().rows()


def test_an_older_table_is_read_as_it_will_be_and_left_as_it_is(root):
    store = second(root)
    assert amounts(store) == [("a", 50_000_000, None), ("b", 70_000_000, None)]
    assert store.version(NEW) == 1
    assert schema_of(store.place.open(NEW)) == 1


def test_the_first_write_migrates_in_one_commit(root):
    store = second(root)
    version = store.append(NEW, pl.DataFrame({"day": [HOUR_6.date()], "node": ["c"], "nano_usd": [1], "note": ["new"]}))
    assert version == 3
    assert schema_of(store.place.open(NEW, 2)) == 2
    assert amounts(store) == [("a", 50_000_000, None), ("b", 70_000_000, None), ("c", 1, "new")]
    assert duck.sums(store.place.uri(NEW), ["nano_usd"], ["node"])["b",] == (70_000_000,)


def test_a_version_from_before_the_migration_is_read_through_it(root):
    store = second(root)
    store.claim_epoch()
    assert amounts(store, 1) == amounts(store) == [("a", 50_000_000, None), ("b", 70_000_000, None)]


def test_two_that_migrate_at_once_migrate_once(root):
    row = pl.DataFrame({"day": [HOUR_6.date()], "node": ["c"], "nano_usd": [1], "note": ["new"]})
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: second(root).append(NEW, row), range(4)))
    assert amounts(second(root)) == [("a", 50_000_000, None), ("b", 70_000_000, None), *[("c", 1, "new")] * 4]


def test_a_migration_that_fails_leaves_the_old_table(root):
    def broken(frame):
        return frame.select("day", "node", nano_usd=pl.lit("five cents"))

    store = Store(root, migrations=Migrations(2, {("bricks", 1): broken}), tables=[NEW])
    with pytest.raises(StoreError, match=r"cannot write bricks at .*a value does not fit its column"):
        store.append(NEW, pl.DataFrame(schema=NEW.schema))
    assert amounts(second(root)) == [("a", 50_000_000, None), ("b", 70_000_000, None)]


def test_without_a_step_a_new_column_is_there_and_empty(root):
    more = replace(OLD, schema=pl.Schema({**OLD.schema, "note": pl.String}))
    store = Store(root, migrations=Migrations(2), tables=[more])
    store.claim_epoch()
    assert store.scan(more).sort("node").select("cents", "note").collect().rows() == [(5, None), (7, None)]
    assert "note" in store.place.open(more).schema().to_json()


def test_an_older_wattledger_refuses_a_migrated_table_and_leaves_it_alone(root):
    second(root).claim_epoch()
    before = second(root).version(NEW)
    old = Store(root, migrations=FIRST, tables=[OLD])
    reason = r"(bricks|epochs)/? is of schema 2, this wattledger knows up to 1: nothing was changed; run"
    for attempt in (
        lambda: old.scan(OLD),
        lambda: old.append(OLD, BRICKS),
        lambda: old.replace(OLD, BRICKS, {}),
        old.claim_epoch,
    ):
        with pytest.raises(NewerTable, match=reason):
            attempt()
    assert second(root).version(NEW) == before
    second(root).append(NEW, pl.DataFrame(schema=NEW.schema))


def test_an_older_wattledger_does_not_take_the_leadership_from_a_newer_one(root):
    leader = second(root)
    leader.claim_epoch()
    with pytest.raises(NewerTable):
        Store(root, migrations=FIRST, tables=[OLD]).claim_epoch()
    leader.append(NEW, pl.DataFrame(schema=NEW.schema))


@pytest.mark.parametrize(
    "protocol",
    [
        {"minReaderVersion": 99, "minWriterVersion": 99},
        {"minReaderVersion": 1, "minWriterVersion": 99},
        {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["fancy"], "writerFeatures": ["fancy"]},
        {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["fancy"]},
    ],
    ids=["reader", "writer", "reader feature", "writer feature"],
)
def test_a_newer_delta_is_refused_and_left_alone(tmp_path, protocol):
    store = Store(str(tmp_path), tables=[NODE_HOURS])
    store.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    log = commit_newer(tmp_path / "node_hours", protocol).parent
    before = sorted(path.name for path in log.iterdir())
    for attempt in (
        lambda: store.append(NODE_HOURS, hours((HOUR_6, "a", 1))),
        lambda: store.replace(NODE_HOURS, hours(), {}),
        lambda: store.commit(NODE_HOURS, touch),
    ):
        with pytest.raises(NewerTable, match=r"needs a newer Delta than this wattledger has, nothing was changed"):
            attempt()
    assert sorted(path.name for path in log.iterdir()) == before


def test_a_delta_table_of_somebody_else_is_refused(tmp_path):
    BRICKS.write_delta(str(tmp_path / "usage"))
    with pytest.raises(StoreError, match=rf"was not written by wattledger \(its {SCHEMA} is ''\): move it away"):
        Store(str(tmp_path)).scan(USAGE)
