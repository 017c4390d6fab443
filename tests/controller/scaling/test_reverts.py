"""A new process goes on with the count of reverts where its forerunner was killed, as if it were the same."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.controller.scaling.engine_rig import BEGIN, INSIDE
from tests.controller.scaling.restart_rig import House

KINDS = {"": {}, "HorizontalPodAutoscaler": {"to": 1}, "ScaledObject": {}}
MOVES = ("revert", "take the record too", "snooze", "another size", "wait")


@pytest.fixture(params=KINDS)
def house(request, tmp_path):
    return House(str(tmp_path), request.param, **KINDS[request.param])


def move(house, what):
    """What somebody does; how it stands once all that follows from it has come about."""
    if what == "snooze":
        house.annotate(exclude_until=(house.now + timedelta(minutes=30)).isoformat())
        house.settle()
        house.now += timedelta(minutes=31)
    elif what == "another size":
        house.annotate(to="2" if house.now.minute % 2 else "1")
    elif what != "wait" and house.is_down:
        house.revert(record_too=what == "take the record too")
    house.settle()
    return house.is_down, house.steps[str(house.lever)]


def test_a_process_contests_after_the_second_revert_that_took_the_record_along_whoever_put_it_down(house):
    house.at(INSIDE)
    for stands in ((True, "nothing"), (True, "nothing"), (False, "contested")):
        assert (house.is_down, house.steps[str(house.lever)]) == stands
        house.revert()
        house.start()
        house.settle()
    assert house.steps[str(house.lever)] == "contested"


def test_a_down_whose_result_died_with_its_process_counts(house):
    house.now = INSIDE
    for stands in ((True, "nothing"), (True, "nothing"), (False, "contested")):
        house.loses_results = True
        assert move(house, "wait") == stands
        house.start()
        house.look()
        house.revert()


def test_what_we_gave_back_ourselves_is_no_revert(house):
    house.at(INSIDE)
    for _ in range(3):
        assert move(house, "snooze") == (True, "nothing")
        house.start()
    assert [move(house, "take the record too") for _ in range(2)] == [(True, "nothing"), (False, "contested")]


def test_a_down_to_another_size_is_no_second_one(tmp_path):
    house = House(str(tmp_path), to=2)
    house.at(INSIDE)
    for size in ("1", "0"):
        house.annotate(to=size)
        house.settle()
    house.start()
    assert [move(house, "take the record too") for _ in range(2)] == [(True, "nothing"), (False, "contested")]


def test_reverts_of_a_policy_without_windows_are_remembered_too(tmp_path):
    house = House(str(tmp_path), down="always")
    house.at(INSIDE)
    for stands in (True, False):
        house.revert()
        house.start()
        house.settle()
        assert house.is_down is stands


@pytest.mark.parametrize("record_too", [False, True])
@pytest.mark.parametrize("new_process", [False, True])
def test_without_windows_what_was_put_back_twice_is_left_alone_for_a_day(tmp_path, record_too, new_process):
    house = House(str(tmp_path), down="always")
    house.at(INSIDE)

    def stands():
        return house.server.objects[house.lever]["spec"]["replicas"], house.steps[str(house.lever)]

    def put_back():
        house.revert(record_too=record_too)
        house.settle()
        return stands()

    assert [put_back() for _ in range(2)] == [(0, "nothing"), (3, "contested")]
    if new_process:
        house.start()
    house.at(INSIDE + timedelta(hours=23))
    assert stands() == (3, "contested")
    house.at(INSIDE + timedelta(hours=25))
    assert stands() == (0, "nothing")
    assert [put_back() for _ in range(2)] == [(0, "nothing"), (3, "contested")]


def test_reverts_of_a_former_night_are_no_reverts_of_this_one(house):
    house.at(INSIDE)
    assert [move(house, "take the record too") for _ in range(2)] == [(True, "nothing"), (False, "contested")]
    house.start()
    house.at(BEGIN + timedelta(days=1, minutes=1))
    assert house.is_down


def test_one_that_was_made_anew_is_another(tmp_path):
    house = House(str(tmp_path))
    house.at(INSIDE)
    house.revert()
    house.settle()
    house.revert()
    house.server.objects[house.lever]["metadata"]["uid"] = "made-anew"
    house.start()
    house.settle()
    assert house.is_down


@settings(max_examples=12)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    moves=st.lists(st.tuples(st.sampled_from(MOVES), st.booleans()), min_size=2, max_size=5),
)
def test_processes_in_a_row_do_what_one_would_have_done(tmp_path_factory, kind, moves):
    traces = []
    for restarts in (False, True):
        house = House(str(tmp_path_factory.mktemp("ledger")), kind, **KINDS[kind])
        house.at(INSIDE)
        trace = []
        for what, killed in moves:
            if killed and restarts:
                house.start()
            trace.append(move(house, what))
        traces.append(trace)
    assert traces[0] == traces[1]
