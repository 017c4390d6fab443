"""What is wished of a workload: who is concerned, which level decides, and that the clock alone does."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from controller.scaling import downscaler_words
from controller.scaling.model import NamespaceSeen, Size
from controller.scaling.policies import Policies, resolve
from controller.scaling.policy_annotations import KNOWN
from tests.controller.scaling.policy_rig import (
    MONDAY_NIGHT,
    MONDAY_NOON,
    NIGHTS,
    nights,
    settings,
    spelt,
    wish,
    workload,
)


def test_inside_its_down_windows_a_workload_is_down_and_outside_up():
    down = wish(workload(), nights())
    assert (down.wished, down.policy, down.size) == ("down", "nights", Size(0))
    assert down.window == datetime(2026, 11, 23, 20, tzinfo=UTC)
    assert down.until == datetime(2026, 11, 24, 7, tzinfo=UTC)
    assert down.why == f"nights: down {NIGHTS}"
    up = wish(workload(), nights(), now=MONDAY_NOON)
    assert (up.wished, up.window, up.until) == ("up", None, datetime(2026, 11, 23, 20, tzinfo=UTC))


def test_outside_its_up_windows_a_workload_is_down():
    policy = {"name": "office", "namespaces": ["*"], "up": "Mon-Fri 07:30-20:30 Europe/Berlin"}
    assert wish(workload(), policy, now=MONDAY_NOON).wished == "up"
    down = wish(workload(), policy)
    assert (down.wished, down.window) == ("down", datetime(2026, 11, 23, 19, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("who", "concerned"),
    [
        ({}, True),
        ({"namespaces": ["dev-b", "dev-a"]}, True),
        ({"namespaces": ["dev"]}, False),
        ({"not_namespaces": ["*-a"]}, False),
        ({"labels": "team=nlp,env in (dev,test)"}, True),
        ({"labels": "team=nlp,env notin (dev,test)"}, False),
        ({"kinds": ["StatefulSet"]}, False),
        ({"kinds": ["StatefulSet", "Deployment"]}, True),
    ],
)
def test_a_policy_concerns_whom_it_names(who, concerned):
    seen = workload(labels={"team": "nlp", "env": "dev"})
    assert (wish(seen, nights(**who)).wished == "down") is concerned


def test_without_gpus_a_policy_concerns_nobody_unless_it_says_so():
    assert wish(workload(), nights(), gpus=0).wished == "none"
    assert wish(workload(), nights(gpu_only=False), gpus=0).wished == "down"


def test_a_holiday_is_down_all_day_and_an_excepted_date_is_not():
    policy = nights(holidays=["2026-12-24..2026-12-25"], except_dates=["2026-12-28"], timezone="Europe/Berlin")
    noon = datetime(2026, 12, 24, 12, tzinfo=UTC)
    down = wish(workload(), policy, now=noon)
    assert down.wished == "down"
    assert down.window == datetime(2026, 12, 23, 19, tzinfo=UTC)  # the night before runs into it
    assert down.until == datetime(2026, 12, 27, 23, tzinfo=UTC)  # the weekend, then the excepted Monday
    assert wish(workload(), policy, now=datetime(2026, 12, 28, 22, tzinfo=UTC)).wished == "up"


def test_what_a_policy_says_beside_its_windows_goes_into_the_wish():
    policy = nights(to="50%", grace_minutes=5, idle_minutes=7, idle_activity_ratio=0.1, may_empty_node=False)
    made = wish(workload(), {**policy, "priority": 9, "tell_owner_minutes": 30, "dry_run": False})
    assert made.size == Size(percent=50)
    assert (made.priority, made.dry_run) == (9, False)
    options = made.options
    assert (options.grace_seconds, options.idle_minutes, options.idle_activity_ratio) == (300, 7, 0.1)
    assert (options.may_empty_node, options.tell_owner_minutes, options.allow_state_loss) == (False, 30, False)


def test_dry_run_is_the_default_of_all():
    assert wish(workload(), nights()).dry_run
    assert not wish(workload(), nights(), dry_run=False).dry_run
    assert wish(workload(), nights(dry_run=True), dry_run=False).dry_run
    assert wish(workload(schedule__down="always")).dry_run


def test_of_two_policies_the_first_decides_and_one_that_would_have_it_otherwise_is_told():
    days = {"name": "days", "namespaces": ["dev-a"], "down": "Mon-Fri 08:00-18:00"}
    agree = {"name": "agree", "namespaces": ["*"], "down": "always"}
    half = {"name": "half", "namespaces": ["*"], "down": "always", "to": "50%"}
    made = wish(workload(), nights(), days, agree, half)
    assert (made.wished, made.policy, made.disagree) == ("down", "nights", ("days", "half"))
    made = wish(workload(), days, nights(), agree)
    assert (made.wished, made.policy, made.disagree) == ("up", "days", ("nights", "agree"))


def test_a_workload_stands_above_its_namespace_and_that_above_the_configuration():
    always, never = {"schedule__down": "always"}, {"schedule__down": "never"}
    made = wish(workload(**never), nights(), on_namespace=always)
    assert (made.wished, made.policy) == ("up", "annotation of Deployment dev-a/web")
    assert made.disagree == ("annotation of dev-a", "nights")
    made = wish(workload(), nights(), on_namespace=never)
    assert (made.wished, made.policy, made.disagree) == ("up", "annotation of dev-a", ("nights",))


def test_what_an_annotation_does_not_say_is_taken_from_below():
    made = wish(workload(schedule__to="1"), nights(priority=3, to=0), on_namespace={"schedule__grace": "1h"})
    assert (made.wished, made.policy, made.size, made.priority) == ("down", "nights", Size(1), 3)
    assert made.options.grace_seconds == 3600


def test_a_namespace_gives_its_zone_to_its_workloads():
    berlin = {"schedule__timezone": "Europe/Berlin"}
    seen = workload(schedule__down="Mon 22:30-23:30")
    assert wish(seen).wished == "up"
    assert wish(seen, on_namespace=berlin).wished == "down"
    assert wish(seen, timezone="Asia/Tokyo", now=datetime(2026, 11, 23, 13, 30, tzinfo=UTC)).wished == "down"


@pytest.mark.parametrize(
    ("own", "above", "excluded"),
    [
        ({"schedule__exclude": "true"}, {}, True),
        ({"schedule__exclude": "Mon 21:00-23:00"}, {}, True),
        ({"schedule__exclude": "Tue"}, {}, False),
        ({}, {"schedule__exclude": "true"}, True),
        ({"schedule__exclude": "false"}, {"schedule__exclude": "true"}, False),
        ({"schedule__exclude_until": "2026-11-24"}, {}, True),
        ({"schedule__exclude_until": "2026-11-23"}, {}, False),
        ({"schedule__exclude_until": "2026-11-24 00:00 Asia/Tokyo"}, {}, False),
        ({"schedule__exclude_until": "2026-11-24T01:00:00+02:00"}, {}, True),
        ({}, {"schedule__exclude_until": "2026-11-24"}, True),
        ({"schedule__exclude": "true", "schedule__force": "down"}, {}, True),
    ],
)
def test_what_is_excluded_is_wished_nothing(own, above, excluded):
    made = wish(workload(**own), nights(), on_namespace=above)
    assert (made.wished == "none" and "excluded" in made.why) is excluded


def test_an_exclusion_tells_when_it_ends():
    made = wish(workload(schedule__exclude_until="2026-11-25"), nights())
    assert made.until == datetime(2026, 11, 25, tzinfo=UTC)


@pytest.mark.parametrize(
    ("own", "above", "wished"),
    [
        ({"schedule__force": "up"}, {}, "up"),
        ({"schedule__force": "down"}, {}, "down"),
        ({}, {"schedule__force": "up"}, "up"),
        ({"schedule__down": "always"}, {"schedule__force": "up"}, "up"),
        ({"schedule__force": "none"}, {"schedule__force": "up"}, "down"),
        ({"schedule__force": "up Mon 21:00-23:00"}, {}, "up"),
        ({"schedule__force": "up Tue"}, {}, "down"),
    ],
)
def test_force_stands_above_all_windows(own, above, wished):
    assert wish(workload(**own), nights(), on_namespace=above).wished == wished


def test_windows_on_a_namespace_concern_gpu_workloads_unless_told_otherwise_and_those_on_a_workload_any():
    above = {"schedule__down": "always"}
    assert wish(workload(), gpus=0, on_namespace=above).wished == "none"
    assert wish(workload(), gpus=0, on_namespace={"schedule__force": "down"}).wished == "none"
    assert wish(workload(), gpus=0, on_namespace=above, annotations={"gpu_only": False}).wished == "down"
    assert wish(workload(), gpus=1, on_namespace=above, annotations={"kinds": ["Job"]}).wished == "none"
    assert wish(workload(**above), gpus=0).wished == "down"


def test_a_namespace_can_hold_up_what_its_windows_do_not_concern():
    seen = workload(schedule__down="always")
    assert wish(seen, gpus=0, on_namespace={"schedule__force": "up"}).wished == "up"
    assert wish(seen, gpus=0, on_namespace={"schedule__exclude": "true"}).wished == "none"


def test_annotations_can_be_switched_off():
    seen = workload(schedule__down="always", downscaler__downtime="always")
    assert wish(seen, annotations={"enabled": False}).wished == "none"
    theirs = workload(downscaler__downtime="always")
    assert wish(theirs).wished == "down"
    assert wish(theirs, annotations={"downscaler": False}).wished == "none"


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"schedule__down": "Mon-Fry 20:00-07:00"}, "'Fry' is no weekday"),
        ({"schedule__up": "Mon-Fri 25:00-26:00"}, "there is no 25:00"),
        ({"schedule__down": "always", "schedule__up": "always"}, "keep one of them"),
        ({"schedule__dwon": "always"}, "did you mean wattledger.io/schedule-down?"),
        ({"schedule__to": "150%"}, "no size"),
        ({"schedule__to": "-1"}, "no size"),
        ({"schedule__exclude": "maybe"}, "no weekday"),
        ({"schedule__exclude_until": "tomorrow"}, "no moment"),
        ({"schedule__exclude_until": "2026-02-30"}, "no moment"),
        ({"schedule__force": "sideways"}, "neither up, down nor none"),
        ({"schedule__grace": "soon"}, "no duration"),
        ({"schedule__timezone": "Mars/Base"}, "no time zone"),
        ({"schedule__priority": "high"}, "no whole number"),
        ({"schedule__allow_state_loss": "perhaps"}, "neither true nor false"),
        ({"downscaler__uptime": "Mon-Fri 08:00-20:00 PST"}, "'PST' is no time zone"),
        ({"downscaler__downtime_replicas": "few"}, "no size"),
        ({"downscaler__force_uptime": "perhaps"}, "no weekday"),
    ],
)
def test_an_annotation_that_is_not_understood_leaves_the_workload_untouched_and_says_where(own, told):
    made = wish(workload(**own), nights())
    assert made.wished == "unclear"
    assert made.policy == "annotation of Deployment dev-a/web"
    assert told in made.why
    assert next(iter(spelt(own))) in made.why


def test_the_place_is_marked():
    made = wish(workload(schedule__down="Mon-Fri 20:00-07:00, Sat-Zun"))
    *_, line, mark = made.why.split("\n")
    assert line[mark.index("^") :][:3] == "Zun"


def test_a_namespace_that_is_not_understood_leaves_those_untouched_whom_something_concerns():
    broken = {"schedule__exclude": "mayhaps"}
    assert wish(workload(), nights(), on_namespace=broken).wished == "unclear"
    assert wish(workload(), gpus=0, on_namespace=broken).wished == "none"


def test_a_loss_of_state_is_allowed_by_the_workload_alone():
    assert wish(workload(schedule__allow_state_loss="true"), nights()).options.allow_state_loss
    made = wish(workload(), nights(), on_namespace={"schedule__allow_state_loss": "true"})
    assert made.wished == "unclear"
    assert "on the workload itself" in made.why


def test_our_own_records_are_no_policy():
    assert wish(workload(schedule__original="{}", schedule__restore_command="kubectl")).wished == "none"


def test_ours_stand_above_kube_downscalers_on_one_object_and_the_loser_is_told():
    made = wish(workload(schedule__down="never", downscaler__downtime="always", downscaler__downtime_replicas="2"))
    assert (made.wished, made.size) == ("up", Size(2))
    assert made.disagree == ("downscaler/downtime in annotation of Deployment dev-a/web",)


WINDOWS = st.sampled_from(
    [
        NIGHTS,
        "Mon-Fri 20:00-07:00 Europe/Berlin",
        "Sun 02:00-03:00 America/New_York",
        "2026-03-29 Europe/Berlin",
        "always",
    ]
)
MOMENTS = st.integers(0, 300 * 86_400).map(lambda step: datetime(2026, 2, 1, tzinfo=UTC) + timedelta(seconds=step))


@given(WINDOWS, WINDOWS, st.lists(MOMENTS, min_size=1, max_size=8))
def test_a_wish_is_the_same_after_a_restart_and_in_whatever_order_moments_are_asked(first, second, moments):
    chosen = settings(nights(down=first, holidays=["2026-10-25"]), nights(name="other", down="", up=second))
    seen, namespace = workload(), NamespaceSeen("dev-a", annotations={"downscaler/upscale-period": second})
    running = Policies(chosen)
    for moment in moments:
        for each in (seen, workload(downscaler__downscale_period=first)):
            assert running.wish(each, namespace, 1, moment) == resolve(chosen, each, namespace, 1, moment)


@given(WINDOWS, MOMENTS)
def test_a_wish_holds_until_it_says(spec, moment):
    running = Policies(settings(nights(down=spec)))
    here, namespace = workload(), NamespaceSeen("dev-a")
    made = running.wish(here, namespace, 1, moment)
    if made.until is not None:
        before, after = (
            running.wish(here, namespace, 1, made.until + step) for step in (timedelta(microseconds=-1), timedelta())
        )
        assert (before.wished, before.window) == (made.wished, made.window)
        assert after.wished != made.wished


KEYS = st.sampled_from([*KNOWN, *downscaler_words.KNOWN, "wattledger.io/schedule-", "downscaler/"])
WORDS = st.text(max_size=30) | st.lists(
    st.sampled_from(
        ["Mon", "-", "Fri", " ", "07:30-20:30", "24:00", "00:00", ",", "Europe/Berlin", "2026-12-25", "50%", "up"]
    )
).map("".join)


@hypothesis_settings(max_examples=300)
@given(st.dictionaries(KEYS, WORDS, max_size=4), st.dictionaries(KEYS, WORDS, max_size=2))
def test_whatever_annotations_say_there_is_an_answer(own, above):
    seen = replace(workload(), annotations=own)
    made = Policies(settings(nights())).wish(seen, NamespaceSeen("dev-a", annotations=above), 1, MONDAY_NIGHT)
    assert made.wished in {"down", "up", "none", "unclear"}
    assert made.why


def test_ten_thousand_workloads_are_asked_in_well_under_a_second():
    policies = [nights(name=f"p{n}", labels=f"team=t{n}") for n in range(20)]
    running = Policies(settings(*policies, nights(name="rest")))
    asked = [
        (
            workload(name=str(n), namespace=f"dev-{n % 500}", labels={"team": f"t{n % 30}"}),
            NamespaceSeen(f"dev-{n % 500}"),
        )
        for n in range(10_000)
    ]
    begin = time.process_time()
    wishes = [running.wish(seen, namespace, 1, MONDAY_NIGHT) for seen, namespace in asked]
    assert time.process_time() - begin < 1
    assert {each.wished for each in wishes} == {"down"}
