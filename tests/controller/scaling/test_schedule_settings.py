"""Policies in the configuration: what is refused, where it stands, and what is allowed."""

from typing import get_args

import pytest

from cli.config_load import load_config
from collectors.errors import Misconfigured
from controller.scaling.registry import KINDS
from controller.scaling.schedule_settings import KindName, ScheduleSettings

HEAD = """\
schedule:
  policies:
    - name: nights
      namespaces: ["dev-*"]
"""


@pytest.fixture
def load(tmp_path):
    def read(lines):
        file = tmp_path / "config.yaml"
        file.write_text(HEAD + "".join(f"      {line}\n" for line in lines))
        return load_config(file, {}, {})

    return read


def test_a_policy_is_read(load):
    policy = load(["up: Mon-Fri 07:30-20:30 Europe/Berlin", "to: 50%", "holidays: [2026-12-25]"]).schedule.policies[0]
    assert (policy.name, policy.namespaces, policy.to, policy.holidays) == (
        "nights",
        ("dev-*",),
        "50%",
        ("2026-12-25",),
    )


def test_exceptions_and_force_of_a_policy_are_read(load):
    lines = ["down: always", 'exclude: [dev-a/web, "*/llama-3.1-[0-9]*"]', "exclude_until: 2026-12-25", "force: down"]
    policy = load(lines).schedule.policies[0]
    assert (policy.exclude, policy.exclude_until, policy.force) == (
        ("dev-a/web", "*/llama-3.1-[0-9]*"),
        "2026-12-25",
        "down",
    )


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["dwon: always"],
            r"config.yaml:5: schedule.policies\[0\].dwon: no such key; did you mean down\? Allowed: name",
        ),
        (
            ["down: Mon-Fry 20:00-07:00"],
            r"policies\[0\].down: found \"Mon-Fry 20:00-07:00\": 'Fry' is no weekday: write Mon",
        ),
        (["down: Mon-Fri 20:00-25:00"], "there is no 25:00"),
        (["down: always", 'not_namespaces: ["prod-[ab"]'], r"not_namespaces\[0\]: found \"prod-\[ab\""),
        (
            ["down: always", "timezone: Europe/Berln"],
            r"\.timezone: found \"Europe/Berln\": 'Europe/Berln' is no time zone",
        ),
        (["down: Mon 20:00-21:00 Europe/Berln"], "'Europe/Berln' is no time zone"),
        (["down: always", "kinds: [Deploymint]"], r"kinds\[0\]: found \"Deploymint\", allowed: one of Deployment, "),
        (["down: always", "to: 120%"], r"\.to: found \"120%\", allowed: a whole number .* or a part from 0% to 100%"),
        (["down: always", "to: -1"], r"\.to: found -1"),
        (["down: always", "holidays: [Sat]"], "is no date; write such as 2026-12-25"),
        (["down: always", "except_dates: ['2026-02-30']"], "'2026-02-30' is no date"),
        (
            ["down: always", "holidays: [2026-02-30]"],
            r"yaml:6: schedule.policies\[0\].holidays: .*'2026-02-30' is no date",
        ),
        (
            ["down: always", "exclude_until: 2026-02-30"],
            r"yaml:6: schedule.policies\[0\].exclude_until: .*'2026-02-30'",
        ),
        (["down: always", "labels: team=nlp env"], "no label selector"),
        (["down: always", "up: always"], "both of down and up are given; allowed: one of them"),
        ([], "neither of down and up are given"),
        (["down: always", "exclude: [web]"], r"exclude\[0\]: found \"web\", allowed: namespace/name, or shell"),
        (["down: always", "not_namespaces: ['prod-.*']"], "allowed: a name or shell pattern such as dev-"),
        (["down: always", "exclude: [dev/web/x]"], r"exclude\[0\]: found \"dev/web/x\", allowed: "),
        (["down: always", "exclude: [Dev/web]"], r"exclude\[0\]: found \"Dev/web\", allowed: "),
        (
            ["down: always", "exclude_until: tomorrow"],
            "'tomorrow' is no moment: write such as 2026-12-25, 2026-12-25 18:00",
        ),
        (["down: always", "exclude_until: 2026-12-25 18:00 Mars"], "'Mars' is no time zone"),
        (["down: always", "force: sideways"], r"\.force: found \"sideways\", allowed: "),
        (["force: up"], "neither of down and up are given"),
        (["down: always", "grace_minutes: -1"], "grace_minutes: found -1, allowed: a whole number at least 0"),
    ],
)
def test_what_is_refused_says_where_it_stands_and_what_is_allowed(load, lines, told):
    with pytest.raises(Misconfigured, match=told):
        load(lines)


def test_the_place_in_a_spec_is_marked(load):
    with pytest.raises(Misconfigured) as refused:
        load(["down: Mon-Fry 20:00-07:00"])
    *_, line, mark = str(refused.value).split("\n")
    assert line[mark.index("^") :].startswith("Fry")
    assert mark.count("^") == 3


def test_two_policies_of_one_name_are_refused():
    twice = [{"name": "nights", "namespaces": ["dev"], "down": "always"}] * 2
    with pytest.raises(ValueError, match="'nights' stands twice"):
        ScheduleSettings.model_validate({"policies": twice})


def test_a_policy_names_its_namespaces():
    with pytest.raises(ValueError, match="namespaces"):
        ScheduleSettings.model_validate({"policies": [{"name": "nights", "namespaces": [], "down": "always"}]})


def test_leads_have_to_rise():
    with pytest.raises(ValueError, match="lead_least_seconds 20 is above lead_most_seconds 10"):
        ScheduleSettings(lead_least_seconds=20, lead_most_seconds=10)


def test_a_default_zone_that_is_none_is_refused():
    with pytest.raises(ValueError, match="'Mars' is no time zone"):
        ScheduleSettings(timezone="Mars")


def test_the_kinds_that_a_policy_may_name_are_those_of_the_registry():
    assert sorted(get_args(KindName)) == sorted(kind.name for kind in KINDS)
