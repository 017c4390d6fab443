import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import NS_PER_SECOND
from collectors.errors import Misconfigured
from collectors.simulated_clock import WEEK_NS, SimulatedClock, start_for, sweep_interval_ns
from tests.collectors.simulated_rig import MONDAY_NS, HandClock


def running(real: HandClock, start_ns: int, speed: float) -> SimulatedClock:
    clock = SimulatedClock(real, start_ns, speed)
    clock.begin()
    return clock


speeds = st.floats(1, 100_000)
behind = st.integers(0, 30 * 24 * 3600 * NS_PER_SECOND)
steps = st.lists(st.integers(0, 3600 * NS_PER_SECOND), max_size=30)


@given(speeds, behind, steps)
def test_never_passes_the_present_and_never_falls(speed, behind_ns, moves):
    real = HandClock(monotonic_ns=5)
    clock = running(real, MONDAY_NS - behind_ns, speed)
    before = clock.wall_ns()
    for move in moves:
        real.advance(move)
        now = clock.wall_ns()
        assert before <= now <= real.wall
        before = now


@given(st.floats(1.1, 100_000), behind)
def test_reaches_the_present_and_then_is_the_real_clock(speed, behind_ns):
    real = HandClock()
    clock = running(real, MONDAY_NS - behind_ns, speed)
    real.advance(int(behind_ns / (round(speed * 1000) / 1000 - 1)) + NS_PER_SECOND)
    assert clock.wall_ns() == real.wall
    assert (clock.behind_ns, clock.speed) == (0, 1.0)
    real.advance(7_000_000_001)
    assert clock.wall_ns() == clock.monotonic_ns() == real.wall


@given(speeds, behind, steps, st.lists(st.integers(-(10**13), 10**13), max_size=30))
def test_never_falls_however_the_real_wall_clock_steps(speed, behind_ns, moves, jumps):
    real = HandClock()
    clock = running(real, MONDAY_NS - behind_ns, speed)
    before = clock.monotonic_ns()
    for move, jump in zip(moves, jumps, strict=False):
        real.advance(move)
        real.wall += jump
        now = clock.monotonic_ns()
        assert now >= before
        before = now


def test_stands_still_while_the_real_wall_clock_is_set_back():
    real = HandClock()
    clock = running(real, MONDAY_NS, 1)
    shown = clock.wall_ns()
    real.wall -= 60 * NS_PER_SECOND
    real.advance(30 * NS_PER_SECOND)
    assert clock.wall_ns() == shown
    real.advance(31 * NS_PER_SECOND)
    assert clock.wall_ns() == real.wall == shown + NS_PER_SECOND


def test_runs_at_its_speed_while_behind():
    real = HandClock()
    clock = running(real, MONDAY_NS - WEEK_NS, 600)
    real.advance(NS_PER_SECOND)
    assert clock.wall_ns() == MONDAY_NS - WEEK_NS + 600 * NS_PER_SECOND
    assert clock.speed == 600


def test_a_week_at_speed_20000_takes_less_than_31_real_seconds():
    real = HandClock()
    clock = running(real, start_for(20_000, real.wall), 20_000)
    event, sweeps = threading.Event(), 0
    while clock.speed > 1 and (interval_ns := clock.sweep_interval_ns(NS_PER_SECOND)) > NS_PER_SECOND:
        assert not clock.wait(event, interval_ns)
        sweeps += 1
    assert real.wall - MONDAY_NS < 31 * NS_PER_SECOND
    assert real.wall - clock.wall_ns() <= NS_PER_SECOND
    assert 604 <= sweeps <= 610


@given(speeds, behind, st.integers(1, 10**13))
def test_waits_for_exactly_the_simulated_time_asked_for(speed, behind_ns, duration_ns):
    real = HandClock()
    clock = running(real, MONDAY_NS - behind_ns, speed)
    start = clock.wall_ns()
    assert not clock.wait(threading.Event(), duration_ns)
    assert 0 <= clock.wall_ns() - start - duration_ns <= speed + 1


def test_a_wait_over_the_present_goes_on_at_real_speed():
    real = HandClock()
    clock = running(real, MONDAY_NS - 1000 * NS_PER_SECOND, 1000)
    clock.wait(threading.Event(), 1100 * NS_PER_SECOND)
    assert real.wall == MONDAY_NS + 100 * NS_PER_SECOND


def test_a_wait_ends_when_its_event_is_set():
    real = HandClock(on_wait=lambda event: event.set())
    clock = running(real, MONDAY_NS - WEEK_NS, 2)
    assert clock.wait(threading.Event(), WEEK_NS)
    assert len(real.waits) == 1


def test_a_wait_for_an_event_that_is_set_returns_at_once():
    real, event = HandClock(), threading.Event()
    event.set()
    assert SimulatedClock(real, MONDAY_NS, 1).wait(event, WEEK_NS)
    assert real.waits == []


def test_a_wait_without_length_returns_at_once():
    real = HandClock()
    assert not SimulatedClock(real, MONDAY_NS, 1).wait(threading.Event(), 0)
    assert real.waits == []


def test_the_sweep_interval_is_stretched_while_fast_and_plain_at_the_present():
    real = HandClock()
    clock = running(real, MONDAY_NS - WEEK_NS, 20_000)
    assert clock.sweep_interval_ns(NS_PER_SECOND) == 1000 * NS_PER_SECOND
    real.advance(31 * NS_PER_SECOND)
    assert clock.sweep_interval_ns(NS_PER_SECOND) == NS_PER_SECOND


def test_the_last_fast_sweep_ends_at_the_present():
    clock = running(HandClock(), MONDAY_NS - 300 * NS_PER_SECOND, 20_000)
    assert clock.sweep_interval_ns(NS_PER_SECOND) == 300 * NS_PER_SECOND


@pytest.mark.parametrize(("interval_s", "speed", "expected_s"), [(1, 1, 1), (1, 10, 1), (1, 100, 5), (60, 100, 60)])
def test_a_sweep_takes_at_least_50_real_milliseconds(interval_s, speed, expected_s):
    assert sweep_interval_ns(interval_s * NS_PER_SECOND, speed) == expected_s * NS_PER_SECOND


def test_starts_a_week_back_when_fast_and_now_when_not():
    assert start_for(20_000, MONDAY_NS) == MONDAY_NS - WEEK_NS
    assert start_for(1, MONDAY_NS) == MONDAY_NS


def test_never_starts_before_what_is_in_the_books():
    booked = MONDAY_NS - 3600 * NS_PER_SECOND
    assert start_for(20_000, MONDAY_NS, booked) == booked
    assert start_for(20_000, MONDAY_NS, MONDAY_NS - 2 * WEEK_NS) == MONDAY_NS - WEEK_NS


def test_books_ahead_of_a_wall_clock_that_was_set_back_are_never_undercut():
    real = HandClock()
    booked = MONDAY_NS + 5 * NS_PER_SECOND
    clock = running(real, start_for(100, real.wall, booked), 100)
    assert clock.wall_ns() == booked
    real.advance(6 * NS_PER_SECOND)
    assert clock.wall_ns() == real.wall


@pytest.mark.parametrize("speed", [0, -1, 0.5, float("nan"), float("inf"), 1_000_001])
def test_a_speed_that_is_none_is_refused(speed):
    with pytest.raises(
        Misconfigured, match=r"^speed: found .*; allowed: 1 to 1000000 simulated seconds a real second$"
    ):
        SimulatedClock(HandClock(), MONDAY_NS, speed)


def test_its_boot_id_never_changes():
    assert SimulatedClock(HandClock(), MONDAY_NS, 1).boot_id == "simulated"


def test_fast_time_stands_still_until_the_first_wait():
    real = HandClock()
    clock = SimulatedClock(real, MONDAY_NS - WEEK_NS, 20_000)
    real.advance(10 * NS_PER_SECOND)
    assert clock.wall_ns() == MONDAY_NS - WEEK_NS
    clock.wait(threading.Event(), NS_PER_SECOND)
    assert NS_PER_SECOND <= clock.wall_ns() - (MONDAY_NS - WEEK_NS) < 1.001 * NS_PER_SECOND


def test_time_at_speed_1_runs_from_the_start():
    real = HandClock()
    clock = SimulatedClock(real, MONDAY_NS, 1)
    real.advance(NS_PER_SECOND)
    assert clock.wall_ns() == MONDAY_NS + NS_PER_SECOND


def test_beginning_twice_changes_nothing():
    real = HandClock()
    clock = running(real, MONDAY_NS - WEEK_NS, 100)
    real.advance(NS_PER_SECOND)
    clock.begin()
    assert clock.wall_ns() == MONDAY_NS - WEEK_NS + 100 * NS_PER_SECOND
