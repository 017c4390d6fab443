import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.simulated_week import (
    ALWAYS,
    ANCHOR_NS,
    DAY_NS,
    MINUTE_NS,
    STEP_NS,
    STEPS_PER_WEEK,
    WEEK_NS,
    WeekTable,
    Window,
    overlap,
    parse_instants,
    parse_windows,
)

TABLE = WeekTable(random.Random(1).choices(range(-5, 700_000), k=STEPS_PER_WEEK))
HOUR = 60 * MINUTE_NS
times = st.integers(0, 60 * 52 * WEEK_NS)


@given(times, st.integers(0, 5000 * STEP_NS))
def test_the_integral_between_two_instants_is_the_sum_over_the_grid(start_ns, length_ns):
    end_ns, at_ns, total = start_ns + length_ns, start_ns, 0
    while at_ns < end_ns:
        until_ns = min(end_ns, at_ns - at_ns % STEP_NS + STEP_NS)
        total += TABLE.at(at_ns) * (until_ns - at_ns)
        at_ns = until_ns
    assert TABLE.integral(end_ns) - TABLE.integral(start_ns) == total


@given(times)
def test_every_week_integrates_to_the_same(time_ns):
    assert TABLE.integral(time_ns + WEEK_NS) - TABLE.integral(time_ns) == sum(TABLE.steps) * STEP_NS
    assert TABLE.at(time_ns) == TABLE.at(time_ns + WEEK_NS)


def test_a_table_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a week has 60480 steps, not 2"):
        WeekTable([1, 2])


windows = st.builds(
    Window,
    st.integers(0, STEPS_PER_WEEK - 1).map(lambda n: n * STEP_NS),
    st.integers(1, STEPS_PER_WEEK).map(lambda n: n * STEP_NS),
)


@given(windows, times)
def test_a_window_covers_the_steps_that_it_says_it_covers(window, time_ns):
    step = (time_ns - ANCHOR_NS) % WEEK_NS // STEP_NS
    listed = any(step in part for part in window.steps())
    assert listed == window.covers((time_ns - ANCHOR_NS) % WEEK_NS) == (window.started(time_ns) is not None)


@given(windows, times)
def test_an_occurrence_lies_around_the_instant_it_covers(window, time_ns):
    start_ns = window.started(time_ns)
    if start_ns is None:
        assert window.last_start(time_ns) + window.length_ns <= time_ns
        assert window.last_end(time_ns) == window.last_start(time_ns) + window.length_ns
    else:
        assert start_ns == window.last_start(time_ns) <= time_ns < start_ns + window.length_ns


@settings(max_examples=20)
@given(windows, times, st.integers(1, 3 * WEEK_NS))
def test_spans_add_up_to_the_time_covered(window, after_ns, length_ns):
    covers = {step for part in window.steps() for step in part}
    indicator = WeekTable(int(step in covers) for step in range(STEPS_PER_WEEK))
    covered = indicator.integral(after_ns + length_ns) - indicator.integral(after_ns)
    assert sum(end - start for start, end in window.spans(after_ns, after_ns + length_ns)) == covered


@given(windows, times, st.integers(0, 3 * WEEK_NS), st.integers(0, 3 * WEEK_NS))
def test_no_start_is_missed_or_told_twice(window, after_ns, first_ns, second_ns):
    middle, end = after_ns + first_ns, after_ns + first_ns + second_ns
    parts = [*window.starts_between(after_ns, middle), *window.starts_between(middle, end)]
    assert parts == list(window.starts_between(after_ns, end))
    assert all(window.started(start_ns) == start_ns for start_ns in parts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("always", [ALWAYS]),
        ("Mon 08:30-18:00", [Window(8 * HOUR + HOUR // 2, 9 * HOUR + HOUR // 2)]),
        ("Sat,Sun 10:00-12:00", [Window(day * DAY_NS + 10 * HOUR, 2 * HOUR) for day in (5, 6)]),
        ("Fri-Mon 00:00-24:00", [Window(day * DAY_NS, DAY_NS) for day in (0, 4, 5, 6)]),
        ("daily 22:00-04:00", [Window(day * DAY_NS + 22 * HOUR, 6 * HOUR) for day in range(7)]),
        ("Fri 20:00 - Mon 06:00", [Window(4 * DAY_NS + 20 * HOUR, 2 * DAY_NS + 10 * HOUR)]),
        ("Mon 06:00 - Mon 06:00", [Window(6 * HOUR, WEEK_NS)]),
    ],
)
def test_reads_spans(text, expected):
    assert list(parse_windows(text)) == expected


@pytest.mark.parametrize(
    "text", ["", "8:00-9:00", "Mon 25:00-26:00", "mon 08:00-09:00", "daily", "Mon 08:00", "Mon 08:60-09:00"]
)
def test_refuses_what_is_no_span(text):
    with pytest.raises(ValueError, match="days and hours such as"):
        parse_windows(text)


def test_reads_instants():
    assert parse_instants("Wed 03:10") == [2 * DAY_NS + 3 * HOUR + 10 * MINUTE_NS]
    assert parse_instants("daily 00:00") == [day * DAY_NS for day in range(7)]
    with pytest.raises(ValueError, match="such as 'Wed 03:10'"):
        parse_instants("Wed,Thu 03:10")


@given(st.lists(windows, min_size=2, max_size=4))
def test_overlap_is_a_step_in_two_windows(chosen):
    covered = [step for window in chosen for part in window.steps() for step in part]
    assert overlap(chosen) == (len(set(covered)) < len(covered))
