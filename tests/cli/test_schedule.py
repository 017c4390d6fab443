"""`wattledger schedule check`: one word first, the reason below, and a refusal that marks the place."""

import pytest
from click.testing import CliRunner

from cli.schedule import schedule


def check(*arguments):
    return CliRunner().invoke(schedule, ["check", *arguments])


@pytest.mark.parametrize(
    ("at", "word", "then"),
    [
        ("2026-11-23T12:00:00+01:00", "inside", "outside from 2026-11-23T20:30:00+01:00"),
        ("2026-11-22T12:00:00Z", "outside", "inside from 2026-11-23T06:30:00+00:00"),
    ],
)
def test_the_first_line_is_the_answer_and_the_reason_follows(at, word, then):
    told = check("Mon-Fri 07:30-20:30 Europe/Berlin", "--at", at)
    assert told.exit_code == 0
    first, *rest = told.output.splitlines()
    assert first == word
    assert any("Mon, Tue, Wed, Thu, Fri from 07:30 to before 20:30, Europe/Berlin" in line for line in rest)
    assert rest[-1] == then


def test_a_time_without_an_offset_and_windows_without_a_zone_are_of_the_zone_given():
    told = check("Mon 09:00-10:00", "--timezone", "Asia/Tokyo", "--at", "2026-11-23T09:30")
    assert told.output.splitlines()[0] == "inside"


def test_without_a_time_it_is_asked_for_now():
    assert check("always").output.startswith("inside\n")


def test_a_spec_that_is_refused_ends_with_2_and_the_place_marked():
    told = check("Mon-Fri 25:00-26:00 UTC")
    assert told.exit_code == 2
    assert "there is no 25:00" in told.stderr
    assert told.stderr.splitlines()[-1] == "          ^^^^^"


@pytest.mark.parametrize("wrong", [("always", "--at", "soon"), ("always", "--timezone", "Mars")])
def test_a_time_or_zone_that_is_none_ends_with_2(wrong):
    told = check(*wrong)
    assert told.exit_code == 2
    assert "soon" in told.stderr or "Mars" in told.stderr
