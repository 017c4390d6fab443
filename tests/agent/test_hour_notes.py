"""What the journal says of holders and node beside their figures."""

import logging

import pytest

from agent import hour_notes
from agent.books import Books
from agent.entry import Control, Entry, Row, WorkRow
from agent.hour_notes import REFRESH_NS, HourNotes, note_of
from agent.installation import HolderFacts
from collectors.clock import NS_PER_SECOND
from collectors.holder import Holder
from collectors.host import HostReading
from ledger.hours import CellKey, HolderKey, HolderNote, NodeNote, RowKey, WorkKey

HOUR = 1_763_791_200
NEXT = HOUR + 3600
CHAT = HolderKey("pod", "ml/chat-0/server")
CHAT_FACTS = HolderFacts(
    "StatefulSet/chat", "u-1", {"team": "search", "cost_center": "42"}, run="", requested_devices=2
)
CHAT_NOTE = HolderNote(
    workload_kind="StatefulSet",
    workload="chat",
    namespace="ml",
    pod="chat-0",
    container="server",
    pod_uid="u-1",
    team="search",
    requested_devices=2,
    dimensions={"cost_center": "42"},
)


def sweep_entry(now_ns, *holders, hour_s=HOUR):
    keys = [RowKey(CellKey("GPU-1", "", *holder, "active", "exclusive"), "whole", "") for holder in holders]
    return Entry(
        now_ns,
        rows=[Row(hour_s, key, 1, 0) for key in keys],
        controls=[Control(hour_s, "GPU-1", len(keys), 0, "")],
        names={"GPU-1": "H100"},
    )


class Known:
    """What is known of holders and node, and how often it was asked."""

    def __init__(self):
        self.facts = {CHAT: CHAT_FACTS}
        self.node = NodeNote(node="n", provider="aws", instance_id="i-1")
        self.asked = 0
        self.books = Books("boot", [(0, HOUR * NS_PER_SECOND)])
        self.notes = HourNotes(self._facts, lambda: self.node)

    def _facts(self, holder):
        self.asked += 1
        return self.facts.get(holder)

    def look(self, now_ns=0, *, current_s=HOUR, host=None):
        entry = self.notes.learnt(self.books, current_s, now_ns, host)
        if entry is not None:
            self.books.apply(entry)
        return entry

    def holders(self, hour_s=HOUR):
        return self.books.hours[hour_s].holders


@pytest.fixture
def known():
    return Known()


def test_a_holder_is_noted_in_the_sweep_that_books_it(known):
    known.books.apply(sweep_entry(1, CHAT, ("none", "")))
    known.look()
    assert known.holders() == {CHAT: CHAT_NOTE}


def test_nothing_is_asked_while_no_row_is_new_and_no_look_is_due(known):
    known.books.apply(sweep_entry(1, CHAT))
    known.look()
    known.books.apply(sweep_entry(2, CHAT))
    known.asked = 0
    assert known.look(REFRESH_NS - 1) is None
    assert known.asked == 0


def test_an_edited_label_replaces_the_note_and_splits_no_row(known):
    known.books.apply(sweep_entry(1, CHAT))
    known.look()
    known.facts[CHAT] = HolderFacts("StatefulSet/chat", "u-1", {"team": "ads"})
    known.books.apply(sweep_entry(2, CHAT))
    known.look(REFRESH_NS)
    assert (known.holders()[CHAT].team, known.holders()[CHAT].dimensions) == ("ads", {})
    assert len(known.books.hours[HOUR].rows) == len(known.books.meters) == 1


def test_a_pod_that_is_not_known_any_more_keeps_its_note(known):
    known.books.apply(sweep_entry(1, CHAT))
    known.look()
    known.facts.clear()
    known.look(REFRESH_NS)
    assert known.holders() == {CHAT: CHAT_NOTE}


def test_devices_taken_from_a_pod_that_ended_are_still_what_it_was_given():
    ended = HolderFacts("StatefulSet/chat", "u-1", requested_devices=None)
    assert note_of(CHAT, ended, CHAT_NOTE).requested_devices == 2
    assert note_of(CHAT, HolderFacts("StatefulSet/chat", "u-2"), CHAT_NOTE).requested_devices is None


def test_a_pod_that_the_api_server_did_not_tell_of_is_noted_by_its_name_until_it_does(known):
    known.facts.clear()
    known.books.apply(sweep_entry(1, CHAT))
    known.look()
    assert known.holders() == {CHAT: HolderNote(namespace="ml", pod="chat-0", container="server")}
    known.facts[CHAT] = CHAT_FACTS
    known.look(REFRESH_NS)
    assert known.holders() == {CHAT: CHAT_NOTE}


def test_a_slurm_step_is_noted_with_its_job_and_a_user_not_at_all(known):
    known.books.apply(sweep_entry(1, ("slurm", "4711.0"), ("user", "ann")))
    known.look()
    assert known.holders() == {HolderKey("slurm", "4711.0"): HolderNote(run="4711")}


def test_a_leader_that_holds_no_device_is_noted_by_its_work(known):
    known.books.apply(Entry(1, work=[WorkRow(HOUR, WorkKey(*CHAT, "m", "", "steps"), 5)]))
    known.look()
    assert known.holders() == {CHAT: CHAT_NOTE}


def test_each_hour_has_its_own_notes_and_an_hour_that_is_over_is_not_refreshed(known):
    known.books.apply(sweep_entry(1, CHAT))
    known.look()
    known.facts[CHAT] = HolderFacts("StatefulSet/chat", "u-1", {"team": "ads"})
    known.books.apply(sweep_entry(2, CHAT, hour_s=NEXT))
    known.look(REFRESH_NS, current_s=NEXT)
    assert (known.holders(HOUR)[CHAT].team, known.holders(NEXT)[CHAT].team) == ("search", "ads")


def test_the_node_is_noted_with_what_the_machine_tells(known):
    known.books.apply(sweep_entry(1, CHAT))
    known.look(host=HostReading(0, cpu_count=192, memory_total_bytes=1 << 40))
    assert known.books.hours[HOUR].node_facts == NodeNote(
        node="n", provider="aws", instance_id="i-1", vcpus=192, memory_bytes=1 << 40, booted_s=HOUR
    )


def test_a_node_that_is_not_told_of_any_more_keeps_its_facts(known):
    known.books.apply(sweep_entry(1, CHAT))
    known.look()
    known.node = NodeNote(node="n", capacity_type="spot")
    known.look(REFRESH_NS)
    found = known.books.hours[HOUR].node_facts
    assert (found.instance_id, found.capacity_type) == ("i-1", "spot")


def test_more_holders_than_there_is_room_for_are_told_once(known, monkeypatch, caplog):
    monkeypatch.setattr(hour_notes, "MOST_HOLDERS", 2)
    known.books.apply(sweep_entry(1, *(("slurm", str(job)) for job in range(5))))
    with caplog.at_level(logging.WARNING):
        known.look()
        known.look(REFRESH_NS)
    assert [key.holder for key in known.holders()] == ["0", "1"]
    assert [r.message for r in caplog.records] == ["more than 2 holders in one hour: the journal names the others only"]


def test_a_full_hour_still_takes_what_is_new_of_those_that_it_has(known, monkeypatch):
    monkeypatch.setattr(hour_notes, "MOST_HOLDERS", 1)
    known.books.apply(sweep_entry(1, CHAT))
    known.look()
    known.books.apply(sweep_entry(2, ("pod", "a/a/a")))
    known.facts[CHAT] = HolderFacts("StatefulSet/chat", "u-1", {"team": "ads"})
    known.look(REFRESH_NS)
    assert {key: note.team for key, note in known.holders().items()} == {CHAT: "ads"}


def test_long_values_are_cut():
    facts = HolderFacts("Deployment/" + "w" * 999, dimensions={"team": "t" * 999})
    note = note_of(HolderKey(*Holder("pod", "a/b/c")), facts)
    assert (len(note.workload), len(note.team)) == (253, 253)
