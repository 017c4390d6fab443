"""An hour on paper and back: what is added to it leaves old hours readable."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.hours import HolderKey, HolderNote, HourBook, NodeNote, encode, from_json, to_json

HOUR = 1_763_791_200
CHAT = HolderKey("pod", "ml/chat-0/server")
NOTE = HolderNote(
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
NODE = NodeNote(node="n", cluster="eu-1", provider="aws", instance_id="i-0abc", gpu_count=8, vcpus=192, booted_s=HOUR)
WORDS = st.text(max_size=8)


def again(book):
    return from_json(json.loads(encode(book, node="n")))


def test_holders_and_node_come_back():
    book = HourBook(HOUR, holders={CHAT: NOTE, HolderKey("slurm", "7.0"): HolderNote(run="7")}, node_facts=NODE)
    assert again(book) == book


@given(
    st.dictionaries(
        st.builds(HolderKey, WORDS, WORDS),
        st.builds(HolderNote, workload=WORDS, run=WORDS, dimensions=st.dictionaries(WORDS, WORDS, max_size=3)),
        max_size=4,
    ),
    st.none() | st.builds(NodeNote, node=WORDS, memory_bytes=st.none() | st.integers(0, 1 << 50)),
)
def test_any_notes_come_back(holders, node):
    book = HourBook(HOUR, holders=holders, node_facts=node)
    assert again(book) == book


def test_an_hour_from_before_notes_were_kept_is_read():
    old = to_json(HourBook(HOUR, holders={CHAT: NOTE}, node_facts=NODE))
    for key in ("holders", "holders_columns", "node_facts"):
        del old[key]
    assert from_json(old) == HourBook(HOUR)


def test_columns_and_facts_of_a_later_version_are_left_out():
    later = to_json(HourBook(HOUR, holders={CHAT: NOTE}, node_facts=NODE))
    later["holders_columns"].insert(2, "mood")
    later["holders"][0].insert(2, "calm")
    later["node_facts"]["rack"] = "r1"
    assert from_json(later) == HourBook(HOUR, holders={CHAT: NOTE}, node_facts=NODE)


def test_a_holder_with_a_column_missing_is_refused():
    torn = to_json(HourBook(HOUR, holders={CHAT: NOTE}))
    del torn["holders"][0][-1]
    with pytest.raises(ValueError, match="argument"):
        from_json(torn)


def test_a_holder_that_is_not_named_is_refused():
    torn = to_json(HourBook(HOUR, holders={CHAT: NOTE}))
    torn["holders_columns"][0] = "kind"
    with pytest.raises(ValueError, match="not whole: KeyError\\('holder_kind'\\)"):
        from_json(torn)
