"""A table that was looked at is opened again only when something was committed, and nothing committed is missed."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from ledger.store import Store
from ledger.tables import NODE_HOURS
from tests.ledger.store_rig import HOUR_5, HOUR_6, hours, read


@pytest.fixture
def root(tmp_path):
    return tmp_path / "ledger"


@pytest.fixture
def store(root):
    made = Store(str(root))
    made.append(NODE_HOURS, hours((HOUR_5, "a", 1)))
    return made


def look(store):
    return store.place.look(NODE_HOURS).handle


def test_who_looks_again_has_the_same_handle_until_something_is_committed(store):
    first = look(store)
    assert look(store) is first
    store.append(NODE_HOURS, hours((HOUR_6, "a", 2)))
    assert look(store) is not first
    assert look(store) is look(store)


def test_a_writer_does_not_open_again_what_it_wrote(store, monkeypatch):
    version = store.append(NODE_HOURS, hours((HOUR_6, "a", 2)))
    monkeypatch.setattr("ledger.store_delta.DeltaTable", None)
    assert store.version(NODE_HOURS) == version
    assert read(store) == [(5, "a", 1), (6, "a", 2)]


def test_what_another_commits_is_seen_at_once(store, root):
    other = Store(str(root))
    for ns in range(2, 30):
        (store, other)[ns % 2].replace(NODE_HOURS, hours((HOUR_5, "a", ns)), {"hour_utc": [HOUR_5]})
        assert read(store) == read(other) == [(5, "a", ns)]


def test_a_version_is_that_version_whatever_was_looked_at(store):
    first, second = store.version(NODE_HOURS), store.append(NODE_HOURS, hours((HOUR_6, "a", 2)))
    assert read(store, first) == [(5, "a", 1)]
    assert read(store, second) == read(store) == [(5, "a", 1), (6, "a", 2)]
    assert read(store, first) == [(5, "a", 1)]


def test_a_handle_that_was_looked_at_is_not_moved_on_by_a_write(store):
    handle, version = look(store), store.version(NODE_HOURS)
    store.append(NODE_HOURS, hours((HOUR_6, "a", 2)))
    assert handle.version() == version


def test_a_checkpoint_and_a_log_that_was_cleaned_hide_nothing(store, root):
    other = Store(str(root))
    assert read(store) == [(5, "a", 1)]
    version = other.append(NODE_HOURS, hours((HOUR_6, "a", 2)))
    other.place.checkpoint(NODE_HOURS)
    for entry in (root / "node_hours" / "_delta_log").glob("*.json"):
        entry.unlink()
    assert store.version(NODE_HOURS) == version
    assert read(store) == [(5, "a", 1), (6, "a", 2)]


def test_a_ledger_that_was_put_in_the_place_of_another_is_read(store, root, tmp_path):
    backup = shutil.copytree(root, tmp_path / "backup")
    store.append(NODE_HOURS, hours((HOUR_6, "a", 2)))
    shutil.rmtree(root)
    assert store.version(NODE_HOURS) is None
    shutil.move(backup, root)
    assert read(store) == [(5, "a", 1)]


def test_threads_that_read_while_one_writes_see_whole_commits_in_their_order(store):
    done = Event()

    def read_on():
        seen = []
        while not done.is_set():
            rows = read(store)
            assert len(rows) == 2
            assert rows[0][2] == rows[1][2]
            seen.append(rows[0][2])
        return seen

    store.replace(NODE_HOURS, hours((HOUR_5, "a", 0), (HOUR_6, "a", 0)), {})
    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(read_on) for _ in range(4)]
        try:
            for ns in range(1, 20):
                store.replace(NODE_HOURS, hours((HOUR_5, "a", ns), (HOUR_6, "a", ns)), {})
        finally:
            done.set()
        for reader in readers:
            assert reader.result() == sorted(reader.result())
