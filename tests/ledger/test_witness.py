"""What journals, the API server and bills witness of when nodes existed."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from collectors.price_list import PriceRow
from ledger.bill_witness import bill_lifetimes, gpu_types, note_bill_lifetimes
from ledger.store import Store
from ledger.tables import CHARGES, INSTANCE_TYPES, LIFETIMES, empty
from ledger.witness import SeenNode, api_lifetimes, journal_lifetimes, note_lifetimes
from tests.ledger.books_rig import LISTED, line
from tests.ledger.ledger_rig import HOUR_NS, MINUTE_NS, agent_hour, at, row

TYPES = {("aws", "p5"): 8}


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "ledger"))


def known(store):
    return store.scan(LIFETIMES).sort("began").select("node", "instance_id", "began", "ended", "seen").collect().rows()


def seen(node, began=None, instance="i-1"):
    return SeenNode(node, began or at(1), {"instance_id": instance, "provider": "aws"}, 8)


def test_a_stretch_is_one_row_that_grows(store):
    assert note_lifetimes(store, api_lifetimes([seen("a")], at(5)))
    assert note_lifetimes(store, api_lifetimes([seen("a")], at(6)))
    assert known(store) == [("a", "i-1", at(1), None, at(6))]


def test_what_is_seen_again_at_the_same_time_is_no_news(store):
    note_lifetimes(store, api_lifetimes([seen("a")], at(5)))
    before = store.version(LIFETIMES)
    assert not note_lifetimes(store, api_lifetimes([seen("a")], at(5)))
    assert not note_lifetimes(store, api_lifetimes([], at(6)))
    assert store.version(LIFETIMES) == before


def test_a_node_that_is_gone_stays_as_it_was_last_seen(store):
    note_lifetimes(store, api_lifetimes([seen("a"), seen("b", instance="i-2")], at(5)))
    note_lifetimes(store, api_lifetimes([seen("a")], at(6)))
    assert known(store) == [("a", "i-1", at(1), None, at(6)), ("b", "i-2", at(1), None, at(5))]


def test_another_instance_of_the_name_is_another_row(store):
    note_lifetimes(store, api_lifetimes([seen("a")], at(5)))
    note_lifetimes(store, api_lifetimes([seen("a", at(6), "i-9")], at(7)))
    assert [row[:3] for row in known(store)] == [("a", "i-1", at(1)), ("a", "i-9", at(6))]


def test_a_journal_tells_from_the_boot_on():
    facts = {"booted_s": int(at(5, 12).timestamp())}
    told = journal_lifetimes([agent_hour(at(6), row("GPU-1", "active", HOUR_NS), facts=facts)])
    assert told.select("began", "seen", "evidence").rows() == [(at(5, 12), at(7), "journal")]


def test_an_open_hour_tells_up_to_what_it_covers():
    told = journal_lifetimes([agent_hour(at(6), row("GPU-1", "active", 20 * MINUTE_NS), closed=False)])
    assert told.select("began", "seen").rows() == [(at(6), at(6, 20))]


def test_a_bare_host_is_no_stretch_and_an_estimate_neither():
    bare = agent_hour(at(6), row("GPU-1", "active", HOUR_NS), facts={"instance_id": "", "provider": ""})
    estimate = agent_hour(at(6), row("GPU-1", "active", HOUR_NS))
    assert journal_lifetimes([bare]).is_empty()

    assert journal_lifetimes([replace(estimate, source="prometheus")]).is_empty()


def billed(*lines, others=()):
    frame = pl.DataFrame(
        [{**each, "instance_type": "p5", "zone": "eu-west-1a"} for each in lines], schema=CHARGES.schema
    )
    told = bill_lifetimes(frame.lazy(), TYPES, api_lifetimes(others, at(12)).lazy())
    return told.select("instance_id", "gpu_count", "began", "ended").rows()


def test_hourly_lines_that_follow_each_other_are_one_stretch():
    lines = [line(f"l{hour}", 1, "i-1", at(hour)) for hour in (3, 4, 5, 8)]
    assert billed(*lines) == [("i-1", 8, at(3), at(6)), ("i-1", 8, at(8), at(9))]


def test_lines_that_are_no_time_of_an_instance_witness_nothing():
    assert billed(line("tax", 1, "i-1", at(3), category="tax")) == []
    assert billed(line("day", 1, "i-1", at(0), timedelta(days=1))) == []
    assert billed(line("none", 1, "", at(3))) == []


def test_of_an_instance_that_another_knows_a_bill_has_nothing_to_tell():
    lines = [line("l", 1, "i-1", at(3)), line("m", 1, "i-2", at(3))]
    assert billed(*lines, others=[seen("a")]) == [("i-2", 8, at(3), at(4))]


def test_a_correction_is_no_witness():
    assert billed(line("l", -1, "i-1", at(3), correction=True)) == []


def test_an_instance_without_gpus_is_none_of_ours():
    frame = pl.DataFrame([{**line("l", 1, "i-1", at(3)), "instance_type": "m5.large"}], schema=CHARGES.schema)
    assert bill_lifetimes(frame.lazy(), TYPES, empty(LIFETIMES).lazy()).is_empty()


def test_the_cloud_tells_of_types_before_the_list():
    shapes = empty(INSTANCE_TYPES).vstack(
        pl.DataFrame(
            [("aws", "p5", 1, 1, 4, "H100", 1, "1", at(1)), ("aws", "m5", 1, 1, 0, "", 0, "1", at(1))],
            schema=INSTANCE_TYPES.schema,
            orient="row",
        )
    )
    other = PriceRow("gcp", "x", "a3", "H100-80GB", 8, "on_demand", 1, "list", LISTED.as_of)
    assert gpu_types([LISTED, other], shapes) == {("aws", "p5"): 4, ("gcp", "a3"): 8}


def test_a_type_that_is_sold_with_several_numbers_of_gpus_tells_none():
    one = PriceRow("gcp", "x", "n1", "T4", 1, "on_demand", 1, "list", LISTED.as_of)
    assert gpu_types([one, replace(one, gpu_count=4)], empty(INSTANCE_TYPES)) == {}


def test_charges_are_looked_at_once_and_again_when_they_change(store):
    store.append(CHARGES, pl.DataFrame([{**line("l", 1, "i-1", at(3)), "instance_type": "p5"}], schema=CHARGES.schema))
    assert note_bill_lifetimes(store, TYPES, at(12))
    assert not note_bill_lifetimes(store, TYPES, at(12))
    assert [row[1:4] for row in known(store)] == [("i-1", at(3), at(4))]
    store.replace(CHARGES, pl.DataFrame(schema=CHARGES.schema), {})
    assert note_bill_lifetimes(store, TYPES, at(12))
    assert known(store) == []
