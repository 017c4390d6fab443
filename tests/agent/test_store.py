import errno
import json
import os

import pytest

from agent.books import FINISHED, Books, Meter
from agent.entry import Base, Control, Entry, NoteRow, Row
from agent.log_file import decode_line, encode_line
from agent.store import StateStore
from collectors.errors import Misconfigured
from ledger.hours import CellKey, ClockStep, HolderKey, HolderNote, NodeNote, PriceNote, RowKey

HOUR = 1_763_791_200
NOTE = PriceNote(2_000_000_000, "config", "2026-01-01", "on_demand", False)


def cell(holder="a", account="active"):
    return CellKey("GPU-1", "", "container", holder, account, "exclusive")


def entry(at_ns, *, ns=10, mj=3, holder="a", hour_s=HOUR):
    return Entry(
        at_ns,
        rows=[Row(hour_s, RowKey(cell(holder), "whole", "p"), ns, mj)],
        controls=[Control(hour_s, "GPU-1", ns, mj, "p")],
        bases={"GPU-1": Base(at_ns, at_ns, 100 + mj, 5)},
        names={"GPU-1": "H100"},
        prices={"p": NOTE},
        idle_mw={"GPU-1": 70_000},
        steps=[],
    )


@pytest.fixture
def opened(tmp_path):
    made = []

    def open_store(source="nvml"):
        store = StateStore(tmp_path / "data", "node", source)
        made.append(store)
        if store.books is None:
            store.begin(Books("boot", [(0, HOUR * 10**9)]))
        return store

    yield open_store
    for store in made:
        try:
            store.close()
        except OSError:
            continue


def kill(store):
    os.close(store._lock)
    store._file.close()


def sums(store):
    return {key.holder: (meter.gpu_ns, meter.energy_mj) for key, meter in store.books.meters.items()}


def test_what_was_saved_comes_back_after_a_kill(opened):
    store = opened()
    store.save([entry(1)])
    store.save([entry(2, holder="b"), entry(3)])
    books = store.books
    kill(store)

    again = opened().books

    assert again.meters == books.meters
    assert again.devices == books.devices
    assert again.bases == books.bases
    assert again.hours == books.hours
    assert (again.idle_mw, again.prices, again.last_price) == (books.idle_mw, books.prices, books.last_price)


def test_notes_come_back_after_a_kill_and_go_into_the_journal(opened):
    key, note, node = HolderKey("container", "a"), HolderNote(team="ads", dimensions={"k": "v"}), NodeNote("n", "eu")
    store = opened()
    store.save([entry(1)])
    store.save([Entry(2, notes=[NoteRow(HOUR, key, HolderNote(team="search"))])])
    store.save([Entry(3, notes=[NoteRow(HOUR, key, note)], node_facts={HOUR: node})])
    kill(store)

    again = opened()
    again.close_hours_but(HOUR + 3600)

    closed = again.journal.read(HOUR)
    assert (closed.holders, closed.node_facts) == ({key: note}, node)
    assert len(closed.rows) == 1


def test_notes_that_waited_for_the_disk_are_kept(opened, monkeypatch):
    key, store = HolderKey("container", "a"), opened()
    store.save([entry(1)])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        store.save([Entry(2, notes=[NoteRow(HOUR, key, HolderNote(team="ads"))], node_facts={HOUR: NodeNote("n")})])
        store.save([entry(3)])
    store.save([entry(4)])
    assert store.books.hours[HOUR].holders == {key: HolderNote(team="ads")}
    assert store.books.hours[HOUR].node_facts == NodeNote("n")


def test_a_note_of_an_hour_that_is_closed_opens_none(opened):
    store = opened()
    store.save([Entry(1, notes=[NoteRow(HOUR, HolderKey("a", "b"), HolderNote())], node_facts={HOUR: NodeNote()})])
    assert store.books.hours == {}


def test_a_record_that_the_snapshot_already_holds_is_not_booked_twice(opened):
    store = opened()
    store.save([entry(1)])
    log = store._file.path.read_bytes()
    store.compact()
    kill(store)
    store._file.path.write_bytes(log)

    again = opened()

    assert sums(again) == {"a": (10, 3)}
    again.save([entry(2, holder="b")])
    kill(again)
    assert sums(opened()) == {"a": (10, 3), "b": (10, 3)}


def test_a_log_cut_in_the_middle_loses_only_its_last_record(opened, caplog):
    store = opened()
    store.save([entry(1)])
    store.save([entry(2)])
    kill(store)
    path = store._file.path
    path.write_bytes(path.read_bytes()[:-7])

    assert sums(opened()) == {"a": (10, 3)}
    assert "torn tail" in caplog.text


def test_a_full_disk_lets_entries_wait_and_loses_nothing(opened, monkeypatch, caplog):
    store = opened()
    store.save([entry(1)])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert not store.save([entry(2, holder="b")])
    assert not store.save([entry(3)])
    assert sums(store) == {"a": (10, 3)}
    assert store.close_hours_but(HOUR + 3600) == []
    monkeypatch.undo()
    assert store.save([entry(4)])

    assert sums(store) == {"a": (30, 9), "b": (10, 3)}
    assert store.save_failures == 2
    assert caplog.text.count("No space left") == 1
    kill(store)
    assert sums(opened()) == {"a": (30, 9), "b": (10, 3)}


def test_an_hour_is_closed_into_the_journal_once(opened):
    store = opened()
    store.save([entry(1), entry(2, hour_s=HOUR + 3600)])

    assert store.close_hours_but(HOUR + 3600) == [HOUR]
    assert store.close_hours_but(HOUR + 3600) == []

    closed = store.journal.read(HOUR)
    assert closed.devices["GPU-1"].accounted_ns == 10
    assert closed.revision == 1
    assert list(store.books.hours) == [HOUR + 3600]


def test_a_closed_hour_that_gets_more_is_opened_again_and_closed_with_a_higher_revision(opened):
    store = opened()
    store.save([entry(1)])
    store.close_hours_but(HOUR + 3600)
    store.save([entry(2)])
    kill(store)
    store = opened()
    store.close_hours_but(HOUR + 3600)

    closed = store.journal.read(HOUR)

    assert (closed.revision, closed.devices["GPU-1"].accounted_ns) == (2, 20)


def test_a_kill_between_journal_and_log_closes_the_hour_again_with_the_same_sums(opened, monkeypatch):
    store = opened()
    store.save([entry(1)])
    store.close_hours_but(HOUR + 3600)
    store.save([entry(2)])

    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(store, "_append", refuse)
    store.close_hours_but(HOUR + 3600)
    kill(store)
    store = opened()
    store.close_hours_but(HOUR + 3600)

    assert store.journal.read(HOUR).devices["GPU-1"].accounted_ns == 20


def test_a_journal_that_cannot_be_written_keeps_the_hour_open(opened, monkeypatch):
    store = opened()
    store.save([entry(1)])

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("agent.journal.write_atomically", refuse)

    assert store.close_hours_but(HOUR + 3600) == []
    assert store.books.hours[HOUR].revision == 0


def test_finished_holders_are_moved_so_that_sums_stay(opened):
    store = opened()
    store.save([entry(1), entry(2, holder="b")])
    store.retire(store.books.finished({("container", "b")}, before_ns=10))
    kill(store)

    again = opened()

    assert sums(again) == {FINISHED: (10, 3), "b": (10, 3)}
    assert again.books.devices["GPU-1"].accounted_ns == 20


def test_a_holder_that_is_present_or_was_active_lately_is_not_finished():
    books = Books("boot", [(0, 0)])
    books.meters = {cell("old"): Meter(touched_ns=1), cell("new"): Meter(touched_ns=9), cell("here"): Meter()}

    assert books.finished({("container", "here")}, before_ns=5) == [cell("old")]


def test_clock_steps_stand_in_the_hour_where_the_clock_came_to_stand(opened):
    store = opened()
    step = ClockStep(HOUR * 10**9, (HOUR + 7200) * 10**9)
    store.save([Entry(1, steps=[step])])
    kill(store)

    assert opened().books.hours[HOUR + 7200].steps == [step]


def test_the_snapshot_of_a_newer_version_is_refused_and_kept(opened, tmp_path):
    store = opened()
    store.close()
    path = tmp_path / "data" / "state.json"
    data = decode_line(path.read_bytes()) | {"version": 99}
    path.write_bytes(encode_line(data))

    with pytest.raises(Misconfigured, match=r"state\.json: written by a newer version .*format 99.*move the directory"):
        StateStore(tmp_path / "data", "node", "nvml")
    assert decode_line(path.read_bytes()) == data


@pytest.mark.parametrize("content", [b"", b"{", encode_line({"version": 1})])
def test_a_damaged_snapshot_is_kept_aside_and_told(opened, tmp_path, caplog, content):
    opened().close()
    path = tmp_path / "data" / "state.json"
    path.write_bytes(content)

    store = opened()

    assert store.books.meters == {}
    assert (tmp_path / "data" / "state.json.damaged").read_bytes() == content
    assert "counters begin at 0" in caplog.text


def test_a_directory_is_measured_or_simulated_never_both(opened, tmp_path):
    opened("simulated").close()

    with pytest.raises(Misconfigured, match=r"data: holds simulated figures and measured ones .*--data-dir"):
        StateStore(tmp_path / "data", "node", "nvml")


def test_two_agents_do_not_share_a_directory(opened, tmp_path):
    opened()

    with pytest.raises(Misconfigured, match="another agent is at work there"):
        StateStore(tmp_path / "data", "node", "nvml")


def test_a_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(Misconfigured, match=r"file/data: Not a directory; name a writable directory"):
        StateStore(tmp_path / "file" / "data", "node", "nvml")


def test_old_hours_are_pruned(opened):
    store = opened()
    for hour in range(3):
        store.save([entry(hour + 1, hour_s=HOUR + hour * 3600)])
    store.close_hours_but(0)

    assert store.journal.prune(HOUR + 3600) == 1
    assert (store.journal.count(), store.journal.last_hour()) == (2, HOUR + 7200)


def test_a_journal_file_that_is_not_readable_is_left_out_and_told(opened, caplog):
    store = opened()
    store.save([entry(1), entry(2, hour_s=HOUR + 3600)])
    store.close_hours_but(0)
    min((store.folder / "journal").iterdir()).write_text("{")

    documents = [json.loads(document) for document in store.journal.documents()]

    assert [document["revision"] for document in documents] == [1]
    assert "left out" in caplog.text
