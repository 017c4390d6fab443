"""Notes of how far the keepers have come: each under its name, all in one file."""

from datetime import UTC, datetime

import polars as pl
import pytest

from ledger.store import Store
from ledger.store_progress import note_progress, progress
from ledger.tables import PROGRESS

AT = datetime(2026, 11, 1, 5, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "ledger"))


def test_nothing_was_noted_yet(store):
    assert progress(store, "booking") == {}


def test_a_note_takes_the_place_of_the_former_of_its_name_alone(store):
    note_progress(store, "booking", {"since": 1}, AT)
    note_progress(store, "cost", {"version": 7}, AT)
    note_progress(store, "booking", {"since": 2}, AT)
    assert progress(store, "booking") == {"since": 2}
    assert progress(store, "cost") == {"version": 7}


def test_all_notes_stand_in_one_file(store):
    for name in ("booking", "cost", "marks", "booking"):
        note_progress(store, name, {}, AT)
    assert len(store.place.open(PROGRESS).file_uris()) == 1


def test_a_note_that_a_newer_version_made_is_none(store):
    note_progress(store, "cost", {}, AT)
    rows = store.scan(PROGRESS).with_columns(state=pl.lit("{ v9")).collect()
    store.replace(PROGRESS, rows, {})
    assert progress(store, "cost") == {}
