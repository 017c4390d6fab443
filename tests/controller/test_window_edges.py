"""When windows turn, against asking minute by minute: over changes of the clock, week's ends, and several windows."""

from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.time_windows import parse
from controller.window_edges import clock_changes
from controller.window_kinds import WEEKDAYS

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
CLOCK_CHANGES = [  # zone, a day near which its clock changes
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),  # by half an hour
    ("Africa/Cairo", "2026-04-24"),  # midnight does not come
    ("Africa/Cairo", "2026-10-30"),  # midnight comes twice
    ("America/Havana", "2026-11-01"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Pacific/Apia", "2011-12-30"),  # the whole day does not come
    ("Asia/Kathmandu", "2026-06-15"),
]


def minutes_of_wall_clock(zone, first, last, begin, end, around):
    """Minutes of the week that a weekly window has, by counting; of a clock that is put back the latest time counts."""
    covered = set()
    for day in range(first, first + (last - first) % 7 + 1):
        stop = end if end > begin else end + 1440
        covered |= {(day % 7 * 1440 + minute) % (7 * 1440) for minute in range(begin, stop)}
    start = around.replace(second=0, microsecond=0) - 4 * DAY
    walls = (
        (start + number * MINUTE).astimezone(zone).replace(tzinfo=None) for number in range(8 * 1440)
    )  # of what brute() may ask
    latest = list(accumulate(walls, max))

    def has(moment):
        local = latest[(moment - start) // MINUTE]
        return local.weekday() * 1440 + local.hour * 60 + local.minute in covered

    return has


def brute(has, moment, step, limit):
    """The last moment, going minute by minute, at which the answer is still that of ``moment``."""
    at = moment.replace(second=0, microsecond=0)
    for _ in range(limit):
        if has(at + step) != has(moment):
            return at
        at += step
    return None


@st.composite
def spots(draw):
    name, day = draw(st.sampled_from(CLOCK_CHANGES))
    moment = (
        datetime.fromisoformat(day).replace(tzinfo=UTC) - 2 * DAY + draw(st.integers(0, 5 * 1440 * 60)) * MINUTE / 60
    )
    return name, moment


minute_of_day = st.integers(0, 1439) | st.sampled_from([0, 30, 60, 90, 120, 150, 180, 1410])


@settings(max_examples=100)
@given(spots(), st.integers(0, 6), st.integers(0, 6), minute_of_day, minute_of_day)
def test_a_weekly_window_turns_at_the_minutes_that_asking_each_minute_finds(spot, first, last, begin, end):
    name, moment = spot
    if begin == end:
        return
    times = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    windows = parse(f"{WEEKDAYS[first]}-{WEEKDAYS[last]} {times} {name}")
    has = minutes_of_wall_clock(ZoneInfo(name), first, last, begin, end, moment)
    assert windows.has(moment) is has(moment)
    before = brute(has, moment, MINUTE, 3 * 1440)
    assert windows.next_change(moment, within=3 * DAY) == (before and before + MINUTE)
    since = brute(has, moment, -MINUTE, 3 * 1440)
    if since is not None:
        assert windows.began(moment) == since


def stretches(windows, begin):
    """How many times a window begins to hold within two days, minute by minute."""
    told = [windows.has(begin + number * MINUTE) for number in range(2 * 1440)]
    return told[0] + sum(after and not before for before, after in pairwise(told))


BACK = [
    *(each for each in CLOCK_CHANGES if each != ("Pacific/Apia", "2011-12-30")),
    ("America/St_Johns", "2010-11-07"),  # a minute after midnight, into the day before
]


@settings(max_examples=60)
@given(st.sampled_from(BACK), st.integers(0, 6), minute_of_day, minute_of_day | st.just(1440))
def test_no_window_holds_ceases_and_holds_again_since_a_clock_was_put_back(where, weekday, begin, end):
    if begin == end:
        return
    name, day = where
    start = datetime.fromisoformat(day).replace(tzinfo=UTC) - DAY / 2
    times = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    assert stretches(parse(f"{WEEKDAYS[weekday]} {times} {name}"), start) <= 1
    assert stretches(parse(f"{day} {name}"), start) == 1


SPECS = [
    "Mon-Fri 07:30-20:30 {zone}",
    "Mon-Fri 20:00-07:00 {zone}, Sat-Sun {zone}",
    "Sat-Sun 00:00-24:00 Asia/Tokyo; Mon-Sun 01:30-02:30 {zone}",
    "2026-10-25 {zone}, 2026-03-29..2026-03-30 {zone}, 2026-04-24 {zone}, 2026-10-30 {zone}, 2011-12-30 {zone}",
    "2026-03-28T12:34:00Z-2026-03-29T11:00:00+02:00, Sun 02:30-03:30 {zone}",
    "00:00-00:30 {zone}, 23:30-24:00 {zone}",
]


@settings(max_examples=60)
@given(spots(), st.sampled_from(SPECS))
def test_several_windows_turn_at_the_minutes_that_asking_each_minute_finds(spot, spec):
    name, moment = spot
    windows = parse(spec.format(zone=name))
    before = brute(windows.has, moment, MINUTE, 3 * 1440)
    assert windows.next_change(moment, within=3 * DAY) == (before and before + MINUTE)
    since = brute(windows.has, moment, -MINUTE, 3 * 1440)
    if since is not None:
        assert windows.began(moment) == since


@pytest.mark.parametrize(
    "spec", ["always", "never", "Mon-Sun", "Mon-Sun 00:00-24:00 Europe/Berlin", "12:00-24:00, 00:00-12:00"]
)
def test_what_never_turns_never_began(spec):
    moment = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert parse(spec).began(moment) is None
    assert parse(spec).next_change(moment) is None


def test_a_stretch_of_years_began_when_it_did():
    windows = parse("2019-04-01..2026-12-31 UTC, Mon-Fri 20:00-07:00 UTC")
    assert windows.began(datetime(2026, 11, 25, 12, tzinfo=UTC)) == datetime(2019, 4, 1, tzinfo=UTC)
    assert windows.began(datetime(2027, 6, 8, 12, tzinfo=UTC)) == datetime(2027, 6, 8, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spec", "began"),
    [
        ("2026-12-25 UTC", "2026-12-25T00:00:00+00:00"),
        ("2026-12-24..2026-12-27 Asia/Tokyo", "2026-12-23T15:00:00+00:00"),
        ("2026-11-24T18:00:00Z-2027-02-27T07:00:00Z", "2026-11-24T18:00:00+00:00"),
    ],
)
def test_what_holds_once_began_then_though_nothing_was_before(spec, began):
    assert parse(spec).began(datetime(2026, 12, 25, 9, tzinfo=UTC)) == datetime.fromisoformat(began)


def test_a_gap_that_the_clock_skips_does_not_break_a_stretch():
    windows = parse("Sun 00:00-02:00 Europe/Berlin, Sun 03:00-24:00 Europe/Berlin, Mon-Sat Europe/Berlin")
    monday_after = datetime(2026, 3, 30, 12, tzinfo=UTC)
    assert windows.began(monday_after) == datetime(2026, 3, 22, 2, tzinfo=UTC)


def test_a_period_turns_at_its_second():
    windows = parse("2019-01-01T00:00:00+00:00-2019-01-02T12:34:56+00:00")
    assert windows.next_change(datetime(2019, 1, 2, tzinfo=UTC)) == datetime(2019, 1, 2, 12, 34, 56, tzinfo=UTC)


def test_changes_of_the_clock_are_found_to_the_second_in_every_zone():
    begin, end = datetime(2026, 3, 25, tzinfo=UTC), datetime(2026, 4, 8, tzinfo=UTC)
    found = {name: list(clock_changes(ZoneInfo(name), begin, end)) for name in available_timezones()}
    assert found["Europe/Berlin"] == [datetime(2026, 3, 29, 1, tzinfo=UTC)]
    assert found["Australia/Lord_Howe"] == [datetime(2026, 4, 4, 15, tzinfo=UTC)]
    assert found["Asia/Tokyo"] == []
    for name, moments in found.items():
        zone = ZoneInfo(name)
        for moment in moments:
            assert moment.astimezone(zone).utcoffset() != (moment - timedelta(seconds=1)).astimezone(zone).utcoffset()
