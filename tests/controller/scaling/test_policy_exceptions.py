"""Exceptions and force of a policy: whom they concern, what stands above them, and who is told to disagree."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from controller.scaling.model import NamespaceSeen
from controller.scaling.policies import Policies
from tests.controller.scaling.policy_rig import MONDAY_NIGHT, MONDAY_NOON, nights, settings, spelt, wish, workload

ALWAYS = {"name": "always", "namespaces": ["*"], "down": "always"}


@pytest.mark.parametrize(
    ("patterns", "excluded"),
    [
        (["dev-a/web"], True),
        (["dev-*/w?b"], True),
        (["*/web"], True),
        (["dev-b/web", "dev-a/[v-x]eb"], True),
        (["dev-a/we"], False),
        (["dev/web"], False),
        (["*/api"], False),
    ],
)
def test_a_policy_leaves_alone_whom_it_excludes_by_namespace_and_name(patterns, excluded):
    made = wish(workload(), nights(exclude=patterns))
    assert (made.wished, made.policy) == ("none" if excluded else "down", "nights")
    assert (made.why == f"nights: excluded ({patterns[-1]})") is excluded


def test_one_workload_is_excluded_and_the_next_is_not():
    running = Policies(settings(nights(exclude=["*/web"])))
    asked = [
        running.wish(workload(name=name), NamespaceSeen("dev-a"), 1, MONDAY_NIGHT) for name in ("web", "api", "web")
    ]
    assert [each.wished for each in asked] == ["none", "down", "none"]


@pytest.mark.parametrize(
    ("until", "zone", "excluded"),
    [
        ("2026-11-24", "UTC", True),
        ("2026-11-23", "UTC", False),
        ("2026-11-24", "Asia/Tokyo", False),
        ("2026-11-23 22:00", "UTC", False),
        ("2026-11-23T22:00:00.000001Z", "UTC", True),
        ("2026-11-23 23:00 Europe/Berlin", "UTC", False),
        ("2026-11-23 23:01 Europe/Berlin", "Asia/Tokyo", True),
    ],
)
def test_until_a_moment_all_of_a_policy_are_left_alone(until, zone, excluded):
    made = wish(workload(), nights(exclude_until=until, down="always", timezone=zone))
    assert made.wished == ("none" if excluded else "down")


def test_an_exclusion_by_a_policy_tells_when_it_ends():
    made = wish(workload(), nights(exclude_until="2026-11-25 06:00 UTC"))
    assert (made.until, made.why) == (
        datetime(2026, 11, 25, 6, tzinfo=UTC),
        "nights: excluded until 2026-11-25T06:00:00+00:00",
    )


def test_force_stands_above_windows_holidays_and_dates():
    up = nights(force="up", holidays=["2026-11-23"])
    assert wish(workload(), up).wished == "up"
    down = wish(workload(), nights(force="down", except_dates=["2026-11-23"], to=1), now=MONDAY_NOON)
    assert (down.wished, down.size.number, down.window, down.until) == ("down", 1, None, None)
    assert down.why == "nights: forced (down)"


EXCLUDED = nights(down="always", exclude=["dev-a/web"])
FROZEN = nights(down="always", exclude_until="2027-01-01")


@pytest.mark.parametrize("policy", [EXCLUDED, FROZEN], ids=["exclude", "exclude_until"])
@pytest.mark.parametrize(
    ("own", "above", "wished"),
    [
        ({}, {}, "none"),
        ({"schedule__exclude": "false"}, {}, "down"),
        ({}, {"schedule__exclude": "false"}, "down"),
        ({"schedule__exclude": "Sat"}, {}, "down"),
        ({"schedule__exclude": "true"}, {"schedule__exclude": "false"}, "none"),
        ({"schedule__down": "always"}, {}, "none"),
        ({"schedule__force": "down"}, {}, "none"),
        ({"schedule__force": "down", "schedule__exclude": "false"}, {}, "down"),
        ({"downscaler__exclude": "false"}, {}, "down"),
    ],
)
def test_workload_and_namespace_stand_above_a_policys_exclusion(policy, own, above, wished):
    assert wish(workload(**own), policy, on_namespace=above).wished == wished


@pytest.mark.parametrize(
    ("own", "above", "wished"),
    [
        ({}, {}, "up"),
        ({"schedule__force": "down"}, {}, "down"),
        ({}, {"schedule__force": "down"}, "down"),
        ({"schedule__force": "none"}, {}, "down"),  # by the windows
        ({}, {"schedule__force": "none"}, "down"),
        ({"schedule__force": "up Sat"}, {}, "down"),
        ({"schedule__down": "always"}, {}, "up"),
        ({"schedule__exclude": "true"}, {}, "none"),
    ],
)
def test_workload_and_namespace_stand_above_a_policys_force(own, above, wished):
    assert wish(workload(**own), nights(down="always", force="up"), on_namespace=above).wished == wished


def test_within_one_policy_an_exclusion_stands_above_force():
    assert wish(workload(), nights(exclude=["*/web"], force="down")).wished == "none"


@pytest.mark.parametrize("exception", [{"exclude": ["*/*"]}, {"exclude_until": "2027-01-01"}, {"force": "up"}], ids=str)
def test_of_two_policies_the_first_excludes_or_forces_and_the_other_is_told(exception):
    made = wish(workload(), nights(**exception), ALWAYS)
    assert made.wished == ("up" if "force" in exception else "none")
    assert (made.policy, made.disagree) == ("nights", ("always",))
    made = wish(workload(), ALWAYS, nights(**exception))
    assert (made.wished, made.policy, made.disagree) == ("down", "always", ("nights",))


def test_who_agrees_with_a_force_is_not_told():
    assert wish(workload(), nights(force="down"), ALWAYS).disagree == ()
    assert wish(workload(), ALWAYS, nights(force="down"), now=MONDAY_NOON).disagree == ()


def test_a_policy_excludes_only_whom_it_concerns():
    assert wish(workload(), nights(namespaces=["prod"], exclude=["*/*"]), ALWAYS).wished == "down"
    assert wish(workload(), nights(kinds=["Job"], exclude_until="2027-01-01"), ALWAYS).wished == "down"
    assert wish(workload(), nights(labels="team=nlp", force="up"), ALWAYS).wished == "down"


def test_an_exclusion_that_ends_lets_the_windows_decide_again():
    running = Policies(settings(nights(exclude_until="2026-11-23T22:00:00Z")))
    before, after = (
        running.wish(workload(), NamespaceSeen("dev-a"), 1, MONDAY_NIGHT + step)
        for step in (timedelta(microseconds=-1), timedelta())
    )
    assert (before.wished, after.wished) == ("none", "down")


SATURDAY = datetime(2026, 11, 28, 12, tzinfo=UTC)
SUNDAY, MONDAY = datetime(2026, 11, 29, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("own", "above", "wished", "until"),
    [
        ({"schedule__force": "down Sat"}, {}, "down", MONDAY),  # the schedule's weekend follows
        ({"schedule__force": "up Sun"}, {}, "down", SUNDAY),  # before the schedule's weekend ends
        ({}, {"schedule__force": "up Sun"}, "down", SUNDAY),
        ({"schedule__exclude": "Sun"}, {}, "down", SUNDAY),
        ({"schedule__exclude": "Sat"}, {}, "none", SUNDAY),
        ({"schedule__exclude": "Sat", "schedule__force": "up Sun"}, {}, "none", SUNDAY),
        ({"schedule__exclude_until": "2026-11-29"}, {}, "none", SUNDAY),
        ({"schedule__exclude_until": "2026-11-29"}, {"schedule__exclude": "Sun"}, "none", MONDAY),
        ({"schedule__force": "down"}, {}, "down", None),
        ({"schedule__force": "none"}, {"schedule__force": "up"}, "down", MONDAY),
        ({"schedule__force": "down Sat"}, {"schedule__exclude": "Sun"}, "down", SUNDAY),
    ],
)
def test_a_wish_ends_when_something_else_is_wished_and_not_with_the_window_that_decides(own, above, wished, until):
    made = wish(workload(**own), nights(), on_namespace=above, now=SATURDAY)
    assert (made.wished, made.until) == (wished, until)


SPECS = st.sampled_from(
    ["Sat", "Sun 12:00-18:00", "Mon-Fri 22:00-02:00", "2026-11-24", "always", "never", "20:00-21:00"]
)
MOMENTS = st.integers(0, 9 * 1440).map(lambda minute: datetime(2026, 11, 20, tzinfo=UTC) + timedelta(minutes=minute))


@hypothesis_settings(max_examples=60)
@given(SPECS, SPECS, SPECS, st.sampled_from(["", "2026-11-25"]), st.lists(MOMENTS, min_size=1, max_size=6))
def test_whatever_excludes_and_forces_a_wish_holds_until_it_says(force, other, exclude, until, moments):
    seen = workload(schedule__force=f"down {force}")
    above = NamespaceSeen("dev-a", annotations=spelt({"schedule__force": f"up {other}", "schedule__exclude": exclude}))
    chosen = settings(nights(exclude_until=until))
    running = Policies(chosen)
    for now in moments:
        made = running.wish(seen, above, 1, now)
        assert made == Policies(chosen).wish(seen, above, 1, now)
        end = made.until or now + timedelta(days=8)
        between = [now + (end - now) * part / 16 for part in range(16)]
        assert {running.wish(seen, above, 1, each).wished for each in between} == {made.wished}
        assert made.until is None or running.wish(seen, above, 1, made.until).wished != made.wished
