"""Windows put together, against asking each half hour; and what is kept of an answer changes none."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.scaling.down_times import DownTimes, PeriodTimes, Timeline
from controller.time_windows import parse

MINUTE, HALF, DAY = timedelta(minutes=1), timedelta(minutes=30), timedelta(days=1)
SPECS = st.sampled_from(
    [
        "Mon-Fri 20:00-07:00 Europe/Berlin",
        "Sat-Sun Europe/Berlin",
        "Mon-Sun 01:30-03:30 America/New_York, Wed",
        "2026-03-29 Europe/Berlin",
        "2026-03-07T23:30:00Z-2026-03-08T09:00:00Z",
        "never",
    ]
)
SOME = st.none() | SPECS
MOMENTS = st.sampled_from(["2026-03-07", "2026-03-28", "2026-10-24", "2026-10-31", "2026-06-10"]).flatmap(
    lambda day: st.integers(0, 4 * 1440).map(
        lambda minute: datetime.fromisoformat(day).replace(tzinfo=UTC) + minute * MINUTE
    )
)


def windows(spec):
    return None if spec is None else parse(spec)


def half_hour(moment):
    """When the half hour began in which nothing turns: all of these windows do at half hours."""
    return moment.replace(minute=moment.minute // 30 * 30)


@settings(max_examples=60)
@given(SPECS, SOME, SOME, SOME, MOMENTS)
def test_windows_put_together_are_what_each_half_hour_says(down, up, holidays, kept_up, moment):
    times = DownTimes(*(windows(spec) for spec in (down, up, holidays, kept_up)))

    def is_down(at):
        if times.kept_up and times.kept_up.has(at):
            return False
        return any([times.down.has(at), times.up and not times.up.has(at), times.holidays and times.holidays.has(at)])

    answer = Timeline(times).at(moment)
    assert answer.down is is_down(moment)
    ahead = (half_hour(moment) + step * HALF for step in range(1, 8 * 48))
    assert answer.until == next((at for at in ahead if is_down(at) != answer.down), answer.until)
    back = (half_hour(moment) - step * HALF for step in range(1, 8 * 48))
    before = next((at for at in back if not is_down(at)), None)
    if answer.down and before is not None:
        assert answer.began == before + HALF


@settings(max_examples=60)
@given(SPECS, SPECS, MOMENTS)
def test_periods_set_the_direction_that_going_through_the_half_hours_gives(down, up, moment):
    times = PeriodTimes(parse(down), parse(up))

    def sets(at):
        pair = times.down.has(at), times.up.has(at)
        return pair[0] if pair[0] != pair[1] else None

    back = (half_hour(moment) - step * HALF for step in range(9 * 48))
    direction = next((found for at in back if (found := sets(at)) is not None), None)
    answer = Timeline(times).at(moment)
    if direction is not None:
        assert answer.down is direction
    ahead = (half_hour(moment) + step * HALF for step in range(1, 8 * 48))
    turn = next((at for at in ahead if sets(at) not in {None, answer.down}), answer.until)
    assert answer.until == turn


@settings(max_examples=60)
@given(SPECS, SPECS, st.lists(MOMENTS, max_size=6))
def test_what_is_kept_changes_no_answer(down, up, moments):
    for times in (DownTimes(parse(down), parse(up)), PeriodTimes(parse(down), parse(up))):
        kept = Timeline(times)
        for moment in moments:
            assert kept.at(moment) == Timeline(times).at(moment)


def test_an_end_more_than_eight_days_ahead_is_not_told_until_it_is_near():
    timeline = Timeline(DownTimes(down=parse("2026-11-01..2026-11-30")))
    end = datetime(2026, 12, 1, tzinfo=UTC)
    assert timeline.at(end - 9 * DAY).until is None
    assert timeline.at(end - 8 * DAY).until == end
