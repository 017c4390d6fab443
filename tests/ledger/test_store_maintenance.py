"""Compaction, vacuum and history change what is stored, never what is read."""

import os
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ledger.store import Store
from ledger.store_errors import Fenced
from ledger.store_maintenance import compact, history, many_files, vacuum
from ledger.tables import BILLS, NODE_HOURS
from tests.ledger.store_rig import HOUR_5, HOUR_6, hours, read

FIRST, SECOND = date(2026, 11, 1), date(2026, 11, 2)


@pytest.fixture
def store(tmp_path):
    made = Store(str(tmp_path), tables=[NODE_HOURS])
    for hour in (5, 3, 30, 4, 28):
        at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hour)
        made.replace(NODE_HOURS, hours((at, "b", hour), (at, "a", hour)), {"hour_utc": [at]})
    return made


def files(store):
    return [Path(uri) for uri in store.place.open(NODE_HOURS).file_uris()]


def test_compaction_makes_one_file_a_day_sorted_by_hour_and_node(store):
    before = read(store)
    assert many_files(store, NODE_HOURS, before=date(2026, 11, 9)) == [FIRST, SECOND]
    assert compact(store, NODE_HOURS, [FIRST, SECOND]) == 2
    assert read(store) == before
    assert sorted(path.parent.name for path in files(store)) == ["day=2026-11-01", "day=2026-11-02"]
    for path in files(store):
        stored = pl.read_parquet(path, hive_partitioning=False).select("hour_utc", "node")
        assert stored.equals(stored.sort("hour_utc", "node"))


def test_a_day_of_many_batches_is_sorted_throughout(tmp_path):
    store = Store(str(tmp_path))
    number = pl.int_range(0, 150_000, eager=True)
    rows = pl.LazyFrame({"existed_ns": number.shuffle(7)}).with_columns(
        hour_utc=pl.lit(HOUR_5) + pl.duration(hours=pl.col("existed_ns") % 3),
        node=pl.format("n{}", pl.col("existed_ns") // 3),
        day=FIRST,
    )
    for part in (rows.head(90_000), rows.tail(60_000)):
        store.append(NODE_HOURS, part)
    compact(store, NODE_HOURS, [FIRST])
    (path,) = files(store)
    stored = pl.read_parquet(path, hive_partitioning=False).select("hour_utc", "node")
    assert stored.equals(stored.sort("hour_utc", "node"))
    assert stored.height == 150_000


def test_what_is_one_file_already_is_left_alone(store):
    compact(store, NODE_HOURS, [FIRST])
    version = store.version(NODE_HOURS)
    assert compact(store, NODE_HOURS, [FIRST, date(2026, 12, 24)]) == 0
    assert store.version(NODE_HOURS) == version
    assert many_files(store, NODE_HOURS, before=date(2026, 11, 9)) == [SECOND]
    assert many_files(store, NODE_HOURS, before=SECOND) == []


def test_a_table_of_one_part_is_compacted_whole(tmp_path):
    store = Store(str(tmp_path))
    for name in "ba":
        store.append(BILLS, pl.DataFrame({"bill_id": [name]}))
    assert compact(store, BILLS) == 1
    assert store.scan(BILLS).collect()["bill_id"].to_list() == ["a", "b"]


def test_a_day_that_was_compacted_can_be_replaced_by_hour(store):
    compact(store, NODE_HOURS, [FIRST])
    store.replace(NODE_HOURS, hours((HOUR_5, "a", 99)), {"hour_utc": [HOUR_5], "node": ["a"]})
    assert (5, "a", 99) in read(store)
    assert len(read(store)) == 10


def age(paths, days):
    then = time.time() - days * 86_400
    for path in paths:
        os.utime(path, (then, then))


def test_vacuum_takes_what_no_version_of_the_last_days_needs(store):
    left = files(store)[0].with_name("part-0-left-by-a-killed-writer.parquet")
    left.write_bytes(b"half")
    age([left], days=8)
    assert vacuum(store, NODE_HOURS, older_than_days=7) == 1
    assert not left.exists()
    assert len(read(store)) == 10


def test_vacuum_leaves_the_files_of_a_writer_at_work_and_of_recent_versions(store):
    before = read(store, 2)
    young = files(store)[0].with_name("part-0-of-a-writer-at-work.parquet")
    young.write_bytes(b"half")
    compact(store, NODE_HOURS, [FIRST, SECOND])
    assert vacuum(store, NODE_HOURS, older_than_days=1) == 0
    assert young.exists()
    assert read(store, 2) == before


def test_vacuum_of_less_than_a_day_is_refused(store):
    with pytest.raises(ValueError, match="would take files from a writer at work: 0"):
        vacuum(store, NODE_HOURS, older_than_days=0)


def test_vacuum_keeps_the_days_in_the_table_for_other_programs(store):
    vacuum(store, NODE_HOURS, older_than_days=400)
    told = store.place.open(NODE_HOURS).metadata().configuration
    assert told["delta.logRetentionDuration"] == told["delta.deletedFileRetentionDuration"] == "interval 400 days"


def test_a_fenced_store_neither_compacts_nor_vacuums(store):
    store.claim_epoch()
    Store(store.place.root, tables=[NODE_HOURS]).claim_epoch()
    for attempt in (lambda: compact(store, NODE_HOURS, [FIRST]), lambda: vacuum(store, NODE_HOURS)):
        with pytest.raises(Fenced):
            attempt()


def test_history_tells_what_each_commit_did(store):
    compact(store, NODE_HOURS, [FIRST])
    last, *_, first = history(store, NODE_HOURS)
    assert (last.version, last.files_added, last.files_removed, last.rows_added) == (6, 1, 3, 6)
    assert (first.version, first.operation) == (0, "CREATE TABLE")
    assert abs(last.at - datetime.now(UTC)) < timedelta(minutes=5)
    assert history(store, BILLS) == ()


def test_a_long_history_opens_by_its_checkpoint(tmp_path):
    store = Store(str(tmp_path), tables=[NODE_HOURS])
    for n in range(110):
        store.replace(NODE_HOURS, hours((HOUR_6, "a", n)), {"hour_utc": [HOUR_6]})
    log = tmp_path / "node_hours" / "_delta_log"
    assert [path.name[:20] for path in sorted(log.glob("*.checkpoint.parquet"))] == [f"{50:020}", f"{100:020}"]
    for old in log.glob("0000000000000000000*.json"):
        old.unlink()
    assert read(store) == [(6, "a", 109)]
    assert store.version(NODE_HOURS) == 110
