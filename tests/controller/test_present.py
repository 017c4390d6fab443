from datetime import timedelta

import pytest

from controller.present import BEHIND, MachinePresent, SimulatedPresent
from tests.controller.agent_server import at

MACHINE = at(12)


@pytest.fixture
def present():
    return SimulatedPresent(lambda: MACHINE)


def open_hour(hour, minutes):
    return {"hour_utc": f"2026-11-01T{hour:02}:00:00Z", "closed": False, "booked_ns": minutes * 60 * 10**9}


def closed(hour):
    return {"hour_utc": f"2026-11-01T{hour:02}:00:00Z", "closed": True}


def test_the_machines_clock_counts_until_a_node_was_heard_of(present):
    assert present.now() == MACHINE
    assert present.behind()


def test_it_is_as_far_as_the_furthest_node(present):
    present.observe([closed(4), open_hour(5, 20)])
    present.observe([closed(3), open_hour(4, 50)])
    assert present.now() == at(5, 20)


def test_a_closed_hour_counts_to_its_end(present):
    present.observe([closed(5)])
    assert present.now() == at(6)


@pytest.mark.parametrize(
    "bad", [{}, {"hour_utc": "yesterday"}, {"hour_utc": 5, "closed": True}, open_hour(4, 0) | {"booked_ns": "x"}]
)
def test_what_cannot_be_read_tells_nothing(present, bad):
    present.observe([bad])
    assert present.now() == MACHINE


def test_it_is_behind_until_the_past_is_lived_through(present):
    present.observe([open_hour(11, 50)])
    assert present.behind()
    present.observe([open_hour(11, 59)])
    assert not present.behind()
    assert MACHINE - present.now() <= BEHIND


def test_a_machine_is_never_behind():
    present = MachinePresent()
    before = present.now()
    present.observe([closed(5)])
    assert not present.behind()
    assert present.now() - before < timedelta(minutes=1)
