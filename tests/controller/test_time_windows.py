"""Windows of schedules: what is inside, at which minute it changes, and what is refused with the place marked."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.time_windows import SpecRefused, parse

BERLIN = ZoneInfo("Europe/Berlin")


def at(text, zone=BERLIN):
    return datetime.fromisoformat(text).replace(tzinfo=zone)


# 2026-11-23 is a Monday
@pytest.mark.parametrize(
    ("spec", "moment", "inside"),
    [
        ("Mon-Fri 07:30-20:30 Europe/Berlin", "2026-11-23T07:30", True),
        ("Mon-Fri 07:30-20:30 Europe/Berlin", "2026-11-23T07:29:59", False),
        ("Mon-Fri 07:30-20:30 Europe/Berlin", "2026-11-23T20:29:59.999", True),
        ("Mon-Fri 07:30-20:30 Europe/Berlin", "2026-11-23T20:30", False),
        ("Mon-Fri 07:30-20:30 Europe/Berlin", "2026-11-22T12:00", False),
        ("mon-FRI 7:30-20:30 Europe/Berlin", "2026-11-23T08:00", True),
        ("Fri-Mon 00:00-24:00 Europe/Berlin", "2026-11-22T23:59", True),
        ("Fri-Mon 00:00-24:00 Europe/Berlin", "2026-11-24T00:00", False),
        ("Mon-Fri 20:00-07:00 Europe/Berlin", "2026-11-23T06:59", False),
        ("Mon-Fri 20:00-07:00 Europe/Berlin", "2026-11-24T06:59", True),
        ("Mon-Fri 20:00-07:00 Europe/Berlin", "2026-11-28T06:59", True),
        ("Mon-Fri 20:00-07:00 Europe/Berlin", "2026-11-28T07:00", False),
        ("Sun 22:00-02:00 Europe/Berlin", "2026-11-23T01:59", True),
        ("20:00-07:00 Europe/Berlin", "2026-11-25T03:00", True),
        ("Sat-Sun Europe/Berlin", "2026-11-22T00:00", True),
        ("Sat-Sun", "2026-11-23T00:30", True),  # UTC: it still is Sunday
        ("Wed", "2026-11-25T12:00", True),
        ("2026-12-25 Europe/Berlin", "2026-12-25T00:00", True),
        ("2026-12-25 Europe/Berlin", "2026-12-26T00:00", False),
        ("2026-12-24..2026-12-26 Europe/Berlin", "2026-12-26T23:59", True),
        ("2026-12-24T18:00:00+01:00-2026-12-27T07:00:00+01:00", "2026-12-24T18:00", True),
        ("2026-12-24T18:00:00Z/2026-12-27T07:00:00Z", "2026-12-27T08:00", False),
        ("Mon-Fri 07:30-20:30 Europe/Berlin, Sat 10:00-12:00 Europe/Berlin", "2026-11-28T11:00", True),
        ("Mon 08:00-09:00 UTC; always", "2026-11-28T11:00", True),
        ("never", "2026-11-28T11:00", False),
    ],
)
def test_a_moment_is_inside_or_not(spec, moment, inside):
    assert parse(spec).has(at(moment)) is inside


def test_a_window_without_a_zone_takes_the_one_given_with_the_spec():
    assert parse("Mon 00:00-01:00", "Europe/Berlin").has(at("2026-11-23T00:30"))
    assert not parse("Mon 00:00-01:00 UTC", "Europe/Berlin").has(at("2026-11-23T00:30"))


def test_an_hour_that_the_clock_skips_is_in_no_window_and_a_window_over_one_that_it_repeats_holds_both():
    windows = parse("Sun 02:00-03:00 Europe/Berlin")
    spring = datetime(2026, 3, 29, tzinfo=UTC)
    assert not any(windows.has(spring + timedelta(minutes=n)) for n in range(24 * 60))
    autumn = datetime(2026, 10, 25, tzinfo=UTC)
    assert sum(windows.has(autumn + timedelta(minutes=n)) for n in range(24 * 60)) == 120


# Berlin's clock goes from 03:00 back to 02:00 on Sunday 2026-10-25 at 01:00 UTC
@pytest.mark.parametrize(
    ("spec", "begin", "end"),
    [
        ("Sat 20:00-02:30", "24T18:00", "25T00:30"),
        ("Sun 02:30-07:00", "25T00:30", "25T06:00"),
        ("Sun 02:15-02:45", "25T00:15", "25T00:45"),
        ("Sat 20:00-02:00", "24T18:00", "25T00:00"),
        ("Sat 20:00-03:00", "24T18:00", "25T02:00"),
        ("Sun 03:00-04:00", "25T02:00", "25T03:00"),
        ("2026-10-25", "24T22:00", "25T23:00"),
    ],
)
def test_what_began_or_ended_in_an_hour_that_comes_again_does_so_once(spec, begin, end):
    windows = parse(spec, "Europe/Berlin")
    start = datetime(2026, 10, 24, 12, tzinfo=UTC)
    held = [moment for n in range(2 * 1440) if windows.has(moment := start + timedelta(minutes=n))]
    assert (f"{held[0]:%dT%H:%M}", f"{held[-1] + timedelta(minutes=1):%dT%H:%M}") == (begin, end)
    assert len(held) == (held[-1] - held[0]) // timedelta(minutes=1) + 1
    assert windows.next_change(held[0]) == held[-1] + timedelta(minutes=1)
    assert windows.began(held[-1]) == held[0]


def test_the_next_change_is_the_minute_at_which_the_answer_turns():
    windows = parse("Mon-Fri 07:30-20:30 Europe/Berlin")
    assert windows.next_change(at("2026-11-23T12:00")) == at("2026-11-23T20:30")
    assert windows.next_change(at("2026-11-20T21:00")) == at("2026-11-23T07:30")
    assert parse("always").next_change(at("2026-11-23T12:00")) is None


def test_the_next_change_over_a_clock_change_is_right():
    windows = parse("Sun 08:00-09:00 Europe/Berlin")
    change = windows.next_change(at("2026-10-25T00:30"))
    assert change == at("2026-10-25T08:00")
    assert change - at("2026-10-25T00:30").astimezone(UTC) == timedelta(hours=8, minutes=30)


def test_every_iana_zone_is_accepted():
    for zone in available_timezones():
        parse(f"Mon-Fri 07:30-20:30 {zone}")


@pytest.mark.parametrize(
    ("spec", "marked", "why"),
    [
        ("Mon-Fri 25:00-26:00 UTC", "25:00", "there is no 25:00"),
        ("Mon-Fri 07:30-24:01 UTC", "24:01", "there is no 24:01"),
        ("Mon-Fri 07:60-08:00 UTC", "07:60", "there is no 07:60"),
        ("Mon-Fry 07:30-20:30 UTC", "Fry", "no weekday"),
        ("Funday 07:30-20:30", "Funday", "no weekday"),
        ("Mon-Fri 07:30-20:30 Europe/Berln", "Europe/Berln", "no time zone"),
        ("Mon-Fri 07:30-20:30 CEST", "CEST", "no time zone"),
        ("Mon-Fri 07:30 UTC", "07:30", "no range of times"),
        ("Mon-Fri 08:00-08:00 UTC", "08:00-08:00", "ends where it begins"),
        ("Mon-Fri 24:00-08:00 UTC", "24:00-08:00", "cannot begin at 24:00"),
        ("Mon-Fri 08:00-09:00 UTC now", "now", "one word too many"),
        ("2026-02-30", "2026-02-30", "no date"),
        ("2026-12-26..2026-12-24", "2026-12-26..2026-12-24", "is before"),
        ("2026-12-26T00:00:00Z-2026-12-24T00:00:00Z", "2026-12-24T00:00:00Z", "ends before it begins"),
        ("2026-12-25T00:00:00-2026-12-26T00:00:00", "2026-12-25T00:00:00", "2026-12-25T00:00:00 has no offset: write"),
        (
            "2026-12-25T00:00-2026-12-26T00:00Z",
            "2026-12-25T00:00",
            "has no offset: write such as 2026-12-25T00:00\\+01:00",
        ),
        ("Sat, 2026-12-25T00:00:00-0100 - 2026-12-26T00:00:00", "2026-12-26T00:00:00", "or 2026-12-26T00:00:00Z for"),
        ("2026-12-25T00:00:00+0100-2026-12-26T00:00", "2026-12-26T00:00", "has no offset"),
        ("2026-12-25T00:00:00 Europe/Berlin", "2026-12-25T00:00:00", "has no offset"),
        ("2026-12-25T00:00:00Z", "2026-12-25T00:00:00Z", "is no period: write two moments"),
        ("Mon 08:00-09:00 UTC, whenever", "whenever", "no weekday"),
        ("../etc/passwd", "../etc/passwd", "no weekday"),
        ("Mon 08:00-09:00 ../../etc/passwd", "../../etc/passwd", "no time zone"),
        ("Mon ٠٨:00-09:00 UTC", "٠٨:00-09:00", "no range of times"),
        ("", "", "no window"),
        (" , ;", " , ;", "no window"),
    ],
)
def test_nonsense_is_refused_with_the_place_marked(spec, marked, why):
    with pytest.raises(SpecRefused, match=why) as refused:
        parse(spec)
    *_, line, mark = str(refused.value).split("\n")
    begin = mark.index("^")
    assert line[begin : begin + mark.count("^")] == (marked or line[begin : begin + 1])


def test_a_default_zone_that_is_none_is_refused():
    with pytest.raises(SpecRefused, match="'Mars' is no time zone"):
        parse("Mon 08:00-09:00", "Mars")


days = st.integers(0, 6)
names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@given(days, days, st.integers(0, 1439), st.integers(1, 1440), st.integers(0, 8 * 1440))
def test_a_weekly_window_has_the_minutes_that_counting_from_monday_gives(first, last, begin, end, minute):
    if begin == end:
        return
    spec = f"{names[first]}-{names[last]} {begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02} UTC"
    covered = set()
    day = first
    while True:
        stop = end if end > begin else end + 1440
        covered |= {(day * 1440 + each) % (7 * 1440) for each in range(begin, stop)}
        if day == last:
            break
        day = (day + 1) % 7
    moment = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(minutes=minute)
    assert parse(spec).has(moment) is (minute % (7 * 1440) in covered)


def understood(text):
    try:
        parse(text)
    except SpecRefused as refused:
        return str(refused)
    return None


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused_with_a_mark(text):
    told = understood(text)
    assert told is None or "^" in told


# as the documentation of kube-downscaler (hjacobs, py-kube-downscaler, GoKubeDownscaler) writes and means them
@pytest.mark.parametrize(
    ("spec", "inside", "outside"),
    [
        ("Mon-Fri 07:30-20:30 Europe/Berlin", "2026-11-23T06:30Z", "2026-11-23T19:30Z"),
        ("Mon-Fri 09:00-17:00 America/Buenos_Aires", "2026-11-23T12:00Z", "2026-11-23T11:59Z"),
        ("Sat-Sun 00:00-24:00 CET,Fri-Fri 20:00-24:00 CET", "2026-11-20T19:00Z", "2026-11-22T23:00Z"),
        ("Mon-Sun 19:00-20:00 Europe/Berlin", "2026-11-22T18:59Z", "2026-11-22T19:00Z"),
        ("Sun-Fri 08:00-20:00 UTC", "2026-11-22T08:00Z", "2026-11-21T12:00Z"),
        (
            "2019-01-01T00:00:00+00:00-2019-01-02T12:34:56+00:00",
            "2019-01-02T12:34:55+00:00",
            "2019-01-02T12:34:57+00:00",
        ),
        ("2024-07-29T08:30:00Z - 2024-07-29T16:00:00+02:00", "2024-07-29T13:59Z", "2024-07-29T14:00Z"),
        ("Mon-Fri 20:00-08:00 Australia/Sydney", "2026-11-23T07:59+11:00", "2026-11-28T07:59+11:00"),
        ("Mon-Tue 20:00-24:00 Africa/Johannesburg", "2026-11-24T23:59+02:00", "2026-11-25T00:00+02:00"),
        ("Mon-Tue 20:00-00:00 Europe/Amsterdam", "2026-11-24T23:59+01:00", "2026-11-25T00:00+01:00"),
        (
            "Sat-Sun 00:00-24:00 Europe/Berlin, Mon-Fri 20:00-07:00 Europe/Berlin",
            "2026-11-23T05:59Z",
            "2026-11-23T06:00Z",
        ),
        ("ALWAYS", "2026-11-23T06:00Z", None),
        ("true", "2026-11-23T06:00Z", None),
        ("never", None, "2026-11-23T06:00Z"),
        ("false", None, "2026-11-23T06:00Z"),
        ("Mon-Sun 00:00-00:00 America/New_York", None, "2026-11-23T05:00Z"),
    ],
)
def test_what_kube_downscaler_documents_means_here_what_it_means_there(spec, inside, outside):
    windows = parse(spec, reading="downscaler")
    assert inside is None or windows.has(datetime.fromisoformat(inside))
    assert outside is None or not windows.has(datetime.fromisoformat(outside))


def test_over_midnight_its_days_are_those_of_both_ends_and_ours_where_it_begins():
    monday, saturday = at("2026-11-23T03:00"), at("2026-11-28T03:00")
    spec = "Mon-Fri 20:00-07:00 Europe/Berlin"
    assert (parse(spec).has(monday), parse(spec).has(saturday)) == (False, True)
    theirs = parse(spec, reading="downscaler")
    assert (theirs.has(monday), theirs.has(saturday)) == (True, False)


@pytest.mark.parametrize("spec", ["Mon-Fri 08:00-20:00 PST", "Mon-Fri 08:00-20:00 CEST", "Mon-Fri 25:00-26:00 UTC"])
def test_what_kube_downscaler_refuses_or_never_matches_is_refused_in_its_reading_too(spec):
    with pytest.raises(SpecRefused):
        parse(spec, reading="downscaler")


@pytest.mark.parametrize("spec", ["0001-01-01", "9999-12-31", "0001-01-01T00:00:00Z-9999-12-31T00:00:00Z"])
def test_a_year_out_of_reach_is_refused(spec):
    with pytest.raises(SpecRefused, match="out of reach"):
        parse(spec)


def test_more_windows_than_anybody_means_are_refused():
    parse(",".join(["Mon 08:00-09:00"] * 100))
    with pytest.raises(SpecRefused, match="101 windows are more than the 100 of one spec"):
        parse(",".join(["Mon 08:00-09:00"] * 101))


@pytest.mark.parametrize(
    ("spec", "marked"),
    [("Mon,Wed,Fri 20:00-07:00", "Wed"), ("sat , Mon-Fri 20:00-07:00 UTC", "sat"), ("Sun;Tue,Thu 08:00-09:00", "Tue")],
)
@pytest.mark.parametrize("reading", ["own", "downscaler"])
def test_a_list_of_days_before_times_is_refused_since_it_may_mean_either(spec, marked, reading):
    with pytest.raises(SpecRefused, match="may be the whole day, or have the times that follow") as refused:
        parse(spec, reading=reading)
    assert spec[refused.value.at :].startswith(marked)


@pytest.mark.parametrize(
    "spec", ["Sat,Sun", "Sat;Mon-Fri 20:00-07:00", "Sat-Sun,Mon-Fri 20:00-07:00", "Mon 20:00-24:00,Sun"]
)
def test_whole_days_that_cannot_be_meant_otherwise_are_read(spec):
    assert parse(spec).windows


def test_dates_without_a_last_one_are_refused():
    with pytest.raises(SpecRefused, match=r"2026-12-24\.\. has no last day: write such as 2026-12-24\.\.2026-12-24"):
        parse("2026-12-24..")


@pytest.mark.parametrize("zone", ["europe/berlin", "EUROPE/BERLIN", "Europe/Berlin"])
def test_a_zone_is_known_in_letters_of_either_size(zone):
    assert parse(f"Mon 08:00-09:00 {zone}").has(datetime.fromisoformat("2026-11-23T07:30Z"))


@pytest.mark.parametrize("spec", ["Mon 08:00-09:00 utc", "08:00-09:00 utc", "utc 08:00-09:00"])
def test_utc_in_small_letters_is_a_zone_where_zones_stand(spec):
    if spec.startswith("utc"):
        with pytest.raises(SpecRefused, match="'utc' is no weekday"):
            parse(spec)
    else:
        assert parse(spec, "Asia/Tokyo").has(datetime.fromisoformat("2026-11-23T08:30Z"))


def test_what_is_refused_is_shown_without_what_would_steer_a_terminal():
    with pytest.raises(SpecRefused) as caught:
        parse("Mon \x1b[31mRED\x1b[0m 08:00-09:00")
    shown, mark = str(caught.value).splitlines()[1:]
    assert "\x1b" not in str(caught.value)
    assert shown == "  Mon \ufffd[31mRED\ufffd[0m 08:00-09:00"
    assert shown[mark.index("^") :] == "08:00-09:00"


def test_of_a_long_spec_the_place_is_shown_with_what_stands_around_it():
    with pytest.raises(SpecRefused) as caught:
        parse("Mon 08:00-09:00 UTC, " * 90 + "Tue 25:00-26:00, " + "Wed 08:00-09:00 UTC, " * 5)
    _, shown, mark = str(caught.value).splitlines()
    assert shown[mark.index("^") : mark.rindex("^") + 1] == "25:00"
    assert (len(shown) < 140, shown.strip()[0], shown[-1]) == (True, "…", "…")


def test_of_a_word_without_end_only_so_much_is_told():
    with pytest.raises(SpecRefused, match="is no weekday") as caught:
        parse("a" * 100_000)
    assert len(str(caught.value)) < 700
