from hypothesis import given
from hypothesis import strategies as st

from agent.hour_clock import STEP_TOLERANCE_NS, HourClock, split_wall
from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from ledger.hours import ClockStep

MINUTE = 60 * NS_PER_SECOND
NOON = 500_000 * NS_PER_HOUR


def test_an_interval_is_cut_at_full_hours():
    clock = HourClock.starting(0, NOON - 10 * MINUTE)

    assert clock.split(0, 90 * MINUTE) == [
        (NOON // NS_PER_SECOND - 3600, 10 * MINUTE),
        (NOON // NS_PER_SECOND, 60 * MINUTE),
        (NOON // NS_PER_SECOND + 3600, 20 * MINUTE),
    ]


@given(
    st.lists(st.tuples(st.integers(0, 3 * NS_PER_HOUR), st.integers(-2 * NS_PER_HOUR, 2 * NS_PER_HOUR)), max_size=5),
    st.integers(0, 5 * NS_PER_HOUR),
    st.integers(0, 5 * NS_PER_HOUR),
)
def test_slices_add_up_whatever_the_wall_clock_did(steps, start, length):
    clock = HourClock.starting(0, NOON)
    now = 0
    for passed, jump in steps:
        now += passed
        clock.observe(now, clock.wall_at(now) + jump)

    assert sum(part.duration_ns for part in clock.split(start, start + length)) == length


def test_an_hour_without_steps_is_3600_seconds_of_the_monotonic_clock():
    clock = HourClock.starting(7, NOON)

    slices = clock.split(7, 7 + 4 * NS_PER_HOUR)

    assert [part.duration_ns for part in slices] == [NS_PER_HOUR] * 4


def test_a_drift_below_the_tolerance_is_no_step():
    clock = HourClock.starting(0, NOON)

    assert clock.observe(MINUTE, NOON + MINUTE + STEP_TOLERANCE_NS - 1) is None
    assert clock.wall_at(MINUTE) == NOON + MINUTE


def test_a_step_is_told_and_names_the_hours_from_then_on():
    clock = HourClock.starting(0, NOON)

    step = clock.observe(10 * MINUTE, NOON - 50 * MINUTE)

    assert step == ClockStep(NOON + 10 * MINUTE, NOON - 50 * MINUTE)
    assert clock.split(5 * MINUTE, 15 * MINUTE) == [
        (NOON // NS_PER_SECOND, 5 * MINUTE),
        (NOON // NS_PER_SECOND - 3600, 5 * MINUTE),
    ]


def test_wall_time_that_did_not_pass_has_no_slices():
    assert split_wall(NOON, NOON) == []
    assert split_wall(NOON, NOON - 1) == []
