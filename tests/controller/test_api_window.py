"""The words of a question: each form by example, and whatever else is refused with what is allowed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api_window import BadQuestion, Parameters, parse_window, rfc3339

NOW = datetime(2026, 11, 26, 10, 25, 7, tzinfo=UTC)
"""A Thursday."""


def span(said, now=NOW):
    window = parse_window(said, now)
    return f"{window.start:%m-%dT%H:%M}", f"{window.end:%m-%dT%H:%M}"


@pytest.mark.parametrize(
    ("said", "start", "end"),
    [
        ("24h", "11-25T11:00", "11-26T11:00"),
        ("1h", "11-26T10:00", "11-26T11:00"),
        ("1d", "11-26T00:00", "11-27T00:00"),
        ("7d", "11-20T00:00", "11-27T00:00"),
        ("2w", "11-13T00:00", "11-27T00:00"),
        ("today", "11-26T00:00", "11-27T00:00"),
        ("yesterday", "11-25T00:00", "11-26T00:00"),
        ("week", "11-23T00:00", "11-27T00:00"),
        ("lastweek", "11-16T00:00", "11-23T00:00"),
        ("month", "11-01T00:00", "11-27T00:00"),
        ("lastmonth", "10-01T00:00", "11-01T00:00"),
        ("2026-11-01T00:00:00Z,2026-11-03T00:00:00Z", "11-01T00:00", "11-03T00:00"),
        ("2026-11-01T05:30:00+02:00,2026-11-01T06:01:00+02:00", "11-01T03:00", "11-01T05:00"),
        ("2026-11-01T05:30:00 02:00,2026-11-01T06:01:00 02:00", "11-01T03:00", "11-01T05:00"),
        ("2026-11-01,2026-11-03", "11-01T00:00", "11-03T00:00"),
        ("1793491200,1793494801", "11-01T00:00", "11-01T02:00"),
    ],
)
def test_each_form_of_a_window(said, start, end):
    assert span(said) == (start, end)


@pytest.mark.parametrize(
    "said",
    [
        "9999-12-31T22:00:00Z,9999-12-31T23:30:00Z",
        "0999-01-01T00:00:00Z,0999-01-02T00:00:00Z",
        "1969-12-31T23:00:00Z,1970-01-01T01:00:00Z",
        "253402300000,253402300100",
        "0001-01-01T00:00:00+14:00,2026-11-02T00:00:00Z",
        "9999-12-31T22:00:00Z,9999-12-31T23:59:59-14:00",
    ],
)
def test_years_in_which_no_books_can_be_are_refused(said):
    with pytest.raises(BadQuestion, match=r"window: found .*, allowed: (years from 1970 to 9998|24h, 7d)"):
        parse_window(said, NOW)


def test_midnight_on_a_monday_and_on_the_first():
    assert span("week", datetime(2026, 11, 23, tzinfo=UTC)) == ("11-23T00:00", "11-24T00:00")
    assert span("lastmonth", datetime(2027, 1, 1, tzinfo=UTC)) == ("12-01T00:00", "01-01T00:00")
    assert span("3h", datetime(2026, 11, 23, 3, tzinfo=UTC)) == ("11-23T00:00", "11-23T03:00")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "7",
        "0d",
        "7 d",
        "-7d",
        "5m",
        "never",
        "2026-11-01",
        "2026-11-01T00:00:00,2026-11-02T00:00:00",
        "1,2,3",
        "1e9,2e9",
    ],
)
def test_what_is_no_window_is_refused_with_what_is(said):
    with pytest.raises(BadQuestion, match=r"window: found .* allowed: 24h, 7d or 2w"):
        parse_window(said, NOW)


def test_a_window_that_runs_backwards_or_for_ever_is_refused():
    with pytest.raises(BadQuestion, match="ends before it begins"):
        parse_window("1793494800,1793491200", NOW)
    with pytest.raises(BadQuestion, match="at most 3660 days"):
        parse_window("99999d", NOW)
    with pytest.raises(BadQuestion, match="at most 3660 days"):
        parse_window("0,1793491200", NOW)


@given(st.text(max_size=40))
def test_whatever_is_asked_is_a_window_or_a_bad_question(said):
    try:
        window = parse_window(said, NOW)
    except BadQuestion:
        return
    assert window.start < window.end
    assert window.end - window.start >= timedelta(hours=1)
    assert (window.start.minute, window.end.minute) == (0, 0)


def test_a_parameter_is_taken_once_and_by_its_name():
    given = Parameters("a=1&b=x&b=y", ("a",), ("b",))
    assert (given.number("a", 5, 10), given.texts("b"), given.number("c", 5, 10)) == (1, ["x", "y"], 5)
    with pytest.raises(BadQuestion, match="no parameter 'agregate'; there are aggregate"):
        Parameters("agregate=team", ("aggregate",))
    with pytest.raises(BadQuestion, match="a is given 2 times"):
        Parameters("a=1&a=2", ("a",))


@pytest.mark.parametrize("query", ["n=0", "n=11", "n=x", "n=1e3", "n=-1", "n=99999999999999999999", "n="])
def test_a_number_out_of_bounds_is_refused(query):
    with pytest.raises(BadQuestion, match="allowed: a whole number from 1 to 10"):
        Parameters(query, ("n",)).number("n", 5, 10)


def test_words_that_are_none_of_those_allowed():
    with pytest.raises(BadQuestion, match=r"how: found 'x', allowed: a, b"):
        Parameters("how=x", ("how",)).choice("how", ("a", "b"), "a")
    with pytest.raises(BadQuestion, match=r"yes: found '1', allowed: false, true"):
        Parameters("yes=1", ("yes",)).flag("yes")


def test_times_are_told_in_utc():
    assert rfc3339(NOW) == "2026-11-26T10:25:07Z"
