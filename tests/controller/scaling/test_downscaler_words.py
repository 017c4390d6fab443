"""kube-downscaler's annotations: what each says, which level decides, and what a former one left behind."""

from datetime import UTC, datetime

import pytest

from controller.scaling.model import Size
from tests.controller.scaling.policy_rig import MONDAY_NIGHT, MONDAY_NOON, nights, wish, workload


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "wished"),
    [
        ({"downscaler__uptime": "Mon-Fri 07:30-20:30 Europe/Berlin"}, "down"),
        ({"downscaler__uptime": "Mon-Fri 09:00-19:30 America/Buenos_Aires"}, "up"),
        ({"downscaler__downtime": "Sat-Sun 00:00-24:00 CET,Mon-Mon 20:00-24:00 CET"}, "down"),
        ({"downscaler__downtime": "never"}, "up"),
        ({"downscaler__uptime": "always", "downscaler__downtime": "Mon-Fri 20:00-24:00 UTC"}, "down"),
        ({"downscaler__downscale_period": "Mon-Sun 19:00-20:00 Europe/Berlin"}, "down"),
        ({"downscaler__upscale_period": "Mon-Fri 07:00-08:00 UTC"}, "up"),
        ({"downscaler__upscale_period": "Mon-Fri 07:00-08:00 UTC", "downscaler__downscale_period": "never"}, "up"),
        ({"downscaler__downscale_period": "never", "downscaler__uptime": "never"}, "down"),
        ({"downscaler__downscale_period": "2026-11-20T00:00:00Z-2026-11-20T01:00:00Z"}, "down"),
        ({"downscaler__downscale_period": "2026-11-30T00:00:00Z-2026-11-30T01:00:00Z"}, "none"),
        ({"downscaler__uptime": "never", "downscaler__exclude": "true"}, "none"),
        ({"downscaler__uptime": "never", "downscaler__exclude": "Mon-Fri 20:00-24:00 UTC"}, "none"),
        ({"downscaler__uptime": "never", "downscaler__exclude": "please"}, "none"),
        ({"downscaler__uptime": "never", "downscaler__exclude": "no"}, "none"),
        ({"downscaler__uptime": "never", "downscaler__exclude": "False"}, "down"),
        ({"downscaler__uptime": "never", "downscaler__exclude_until": "2026-11-24"}, "none"),
        ({"downscaler__uptime": "never", "downscaler__exclude_until": "2026-11-23 23:00"}, "none"),
        ({"downscaler__uptime": "never", "downscaler__exclude_until": "2026-11-23T21:59"}, "down"),
        ({"downscaler__uptime": "never", "downscaler__exclude_until": "2026-11-23T23:30:00+01:00"}, "none"),
        ({"downscaler__uptime": "never", "downscaler__force_uptime": "true"}, "up"),
        ({"downscaler__uptime": "never", "downscaler__force_uptime": "false"}, "down"),
        ({"downscaler__uptime": "never", "downscaler__force_uptime": "Mon-Fri 20:00-23:00 UTC"}, "up"),
        ({"downscaler__uptime": "always", "downscaler__force_downtime": "true"}, "down"),
        ({"downscaler__force_uptime": "true", "downscaler__force_downtime": "true"}, "up"),
        ({"downscaler__force_uptime": "Tue-Tue 00:00-24:00 UTC", "downscaler__force_downtime": "always"}, "down"),
    ],
)
def test_each_annotation_says_what_it_says_there(said, wished):
    assert wish(workload(**said), gpus=0, now=MONDAY_NIGHT).wished == wished


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ({}, Size(0)),
        ({"downscaler__downtime_replicas": "1"}, Size(1)),
        ({"downscaler__downtime_replicas": "50%"}, Size(percent=50)),
        ({"downscaler__downscale_replicas": "2"}, Size(2)),
    ],
)
def test_replicas_of_the_downtime_are_the_size(said, size):
    assert wish(workload(downscaler__uptime="never", **said)).size == size


@pytest.mark.parametrize(("text", "seconds"), [("900", 900), ("15m", 900), ("1h30m", 5400), ("1.5h", 5400)])
def test_its_grace_period_is_seconds_or_a_duration(text, seconds):
    made = wish(workload(downscaler__uptime="never", downscaler__grace_period=text))
    assert made.options.grace_seconds == seconds


def test_namespace_annotations_are_read_and_those_of_the_workload_stand_above_them():
    above = {"downscaler__uptime": "Mon-Sun 07:30-18:00 CET"}
    assert wish(workload(), on_namespace=above).wished == "down"
    assert wish(workload(downscaler__uptime="always"), on_namespace=above).wished == "up"
    assert wish(workload(), on_namespace={**above, "downscaler__force_uptime": "true"}).wished == "up"
    assert wish(workload(), nights(down="always"), on_namespace={"downscaler__downtime": "never"}).wished == "up"


def test_a_downscale_period_alone_is_down_until_the_next_which_is_a_window_of_its_own():
    seen = workload(downscaler__downscale_period="Mon-Sun 19:00-20:00 UTC")
    evening = wish(seen, now=at("2026-11-23T19:30"))
    morning = wish(seen, now=at("2026-11-24T12:00"))
    next_evening = wish(seen, now=at("2026-11-24T19:00"))
    assert [each.wished for each in (evening, morning, next_evening)] == ["down"] * 3
    assert evening.window == morning.window == at("2026-11-23T19:00")
    assert next_evening.window == at("2026-11-24T19:00")
    assert morning.until is None


def test_between_two_periods_the_last_one_holds():
    seen = workload(
        downscaler__downscale_period="Mon-Fri 19:00-20:00 UTC", downscaler__upscale_period="Mon-Fri 07:00-08:00 UTC"
    )
    friday_night = wish(seen, now=at("2026-11-27T23:00"))
    assert (friday_night.wished, friday_night.until) == ("down", at("2026-11-30T07:00"))
    sunday = wish(seen, now=at("2026-11-29T12:00"))
    assert (sunday.wished, sunday.window) == ("down", at("2026-11-27T19:00"))
    monday = wish(seen, now=at("2026-11-30T12:00"))
    assert (monday.wished, monday.until) == ("up", at("2026-11-30T19:00"))


def test_where_two_periods_overlap_neither_turns_anything():
    seen = workload(
        downscaler__downscale_period="Mon-Fri 19:00-21:00 UTC", downscaler__upscale_period="Mon-Fri 18:00-20:00 UTC"
    )
    assert wish(seen, now=at("2026-11-23T19:30")).wished == "up"
    assert wish(seen, now=at("2026-11-23T20:00")).wished == "down"


def test_periods_stand_above_uptime_and_the_loser_is_told():
    made = wish(workload(downscaler__uptime="always", downscaler__downscale_period="Mon-Fri 19:00-20:00 UTC"))
    assert made.wished == "down"
    assert made.disagree == ("downscaler/uptime in annotation of Deployment dev-a/web",)


def test_annotations_that_it_does_not_know_are_passed_over():
    assert wish(workload(downscaler__scale_children="true", downscaler__original_replicas="3")).wished == "none"


def test_its_windows_over_midnight_mean_what_they_mean_there():
    seen = workload(downscaler__downtime="Mon-Fri 20:00-07:00 UTC")
    assert wish(seen, now=at("2026-11-23T03:00")).wished == "down"
    assert wish(seen, now=at("2026-11-28T03:00")).wished == "up"
    assert wish(workload(downscaler__uptime="Mon-Sun 00:00-00:00 UTC"), now=MONDAY_NOON).wished == "down"


@pytest.mark.parametrize("nonsense", ["", "three", "50%", "1e3", "-2", "99999999999"])
def test_a_note_of_the_original_that_is_no_number_leaves_the_workload_untouched(nonsense):
    made = wish(workload(downscaler__original_replicas=nonsense), nights())
    assert made.wished == "unclear"
    assert "downscaler/original-replicas" in made.why
