"""A restore that the API server will not take is overdue like one whose pods do not start, and says so once."""

from collections import Counter
from datetime import timedelta

import pytest

from controller.scaling.act import Wrote
from controller.scaling.follow_up import LATE_AFTER
from tests.controller.scaling.engine_rig import END, INSIDE
from tests.controller.scaling.restart_rig import MINUTE, House

OVERDUE = END + LATE_AFTER


@pytest.fixture
def house(tmp_path):
    made = House(str(tmp_path))
    made.at(INSIDE)
    made.now = END - 10 * MINUTE
    made.look()
    return made


def refuse(house, result="forbidden", why="no right"):
    house.server.before = lambda _number: Wrote(result, why=why)


def allow(house):
    house.server.before = lambda _number: None


def look_until(house, moment):
    while house.now < moment:
        house.look()
    return house.scaler.stand()


def told(house, column, word):
    return Counter(row[column] for row in house.rows if word in row["reason"])


def test_a_restore_that_stays_refused_is_overdue_from_the_moment_for_which_it_was_due(house):
    refuse(house)
    stand = look_until(house, OVERDUE - MINUTE)
    assert (stand.overdue, stand.longest_overdue_seconds) == ({}, None)
    stand = look_until(house, OVERDUE + timedelta(minutes=40))
    assert stand.overdue == {("refused",): 1}
    assert stand.longest_overdue_seconds == (house.now - END).total_seconds()
    allow(house)
    look_until(house, house.now + 3 * MINUTE)
    assert (house.is_down, house.scaler.stand().overdue) == (False, {})


def test_it_is_told_once_in_the_audit_table_and_once_an_hour_in_events(house):
    refuse(house)
    look_until(house, END + timedelta(minutes=50))
    late = "not Ready, refused: no right"
    assert told(house, "phase", "no right") == {"result": 2}  # the refusal, and that it is late
    assert [row["result"] for row in house.rows if row["reason"] == late] == ["refused"]
    reasons = Counter(reason for reason, _ in house.api.told)
    assert (reasons["ScheduledRestoreFailed"], reasons["ScheduleOverdue"]) == (1, 1)


def test_the_next_late_morning_is_told_again(house):
    for day in range(2):
        refuse(house)
        look_until(house, OVERDUE + timedelta(days=day, minutes=2))
        allow(house)
        look_until(house, house.now + 3 * MINUTE)
        house.at(INSIDE + timedelta(days=day + 1))
        assert house.is_down
        house.now = END + timedelta(days=day + 1, minutes=-10)
    assert told(house, "result", "not Ready, refused") == {"refused": 2}


def test_one_whose_answer_never_comes_is_overdue_for_another_reason(house):
    refuse(house, "unknown", "timed out")
    assert look_until(house, OVERDUE + MINUTE).overdue == {("other",): 1}


def test_a_refused_down_counts_as_skipped_and_has_one_event(tmp_path):
    house = House(str(tmp_path))
    house.at(INSIDE - timedelta(minutes=30))
    refuse(house)
    stand = look_until(house, INSIDE + timedelta(minutes=30))
    assert (stand.skipped, stand.waiting) == ({("refused",): 1}, 0)
    assert [reason for reason, _ in house.api.told] == ["ScheduledDownFailed"]


def test_a_down_made_after_a_refusal_by_a_process_that_died_is_found_by_the_next(tmp_path):
    house = House(str(tmp_path))
    refuse(house)
    house.at(INSIDE)
    house.look()
    allow(house)
    house.loses_results = True
    look_until(house, INSIDE + timedelta(minutes=20))
    assert house.is_down
    assert [row["result"] for row in house.rows if row["action"] == "down"] == ["refused", "", "forbidden"]
    house.start()
    house.look()
    assert [row["reason"] for row in house.rows if row["result"] == "done"] == ["found on the object after a restart"]


def test_a_refusal_of_one_night_is_forgotten_in_the_next(house):
    refuse(house)
    look_until(house, END - MINUTE)
    house.annotate(force="down")
    house.look()
    house.annotate(force="none")
    house.now = END + timedelta(days=1, minutes=-10)
    stand = look_until(house, END + timedelta(days=1, minutes=4))
    assert stand.overdue == {}
