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


def test_a_window_over_midnight_is_told_to_mean_something_else_to_kube_downscaler():
    spec, saturday = "Mon-Fri 20:00-07:00 UTC", ("--at", "2026-11-28T03:00:00Z")
    first, *rest = check(spec, *saturday).output.splitlines()
    assert first == "inside"
    assert "in an annotation downscaler/... it is outside (--kube-downscaler)" in rest
    assert check(spec, "--kube-downscaler", *saturday).output.startswith("outside\n")
    assert "downscaler" not in check(spec, "--at", "2026-11-27T21:00:00Z").output


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("2024-07-29T08:30:00Z - 2024-07-29T16:00:00+02:00", "outside"),
        ("Fri-Fri 20:00-24:00 CET,Sat-Sun 00:00-24:00 CET", "inside"),
        ("True", "inside"),
    ],
)
def test_kube_downscalers_spelling_is_read(spec, word):
    assert check(spec, "--at", "2026-11-28T03:00:00Z").output.splitlines()[0] == word


def test_a_window_that_never_holds_is_one_to_kube_downscaler_alone():
    assert check("Mon-Sun 00:00-00:00 UTC").exit_code == 2
    told = check("Mon-Sun 00:00-00:00 UTC", "--kube-downscaler")
    assert (told.exit_code, told.output.splitlines()[0]) == (0, "outside")
