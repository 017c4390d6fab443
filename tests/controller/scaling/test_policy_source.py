"""Which settings are in force while the configuration's file is edited, broken, swapped, taken away."""

import logging
import os

import pytest

from controller.scaling.policy_source import FOLLOWED
from controller.scaling.schedule_settings import ScheduleSettings
from tests.controller.scaling.policy_file import GOOD, NIGHTS, NO_POLICY, Mounted, looks, source_of

AT_A_START = {"enabled", "tick_seconds", "writes_per_second", "lead_least_seconds", "lead_most_seconds"}
BROKEN = GOOD.replace("down:", "dwon:")


class Follower:
    """Whoever scales: what it was told last."""

    def __init__(self):
        self.settings = None
        self.refused = None

    def adopt(self, settings, *, refused):
        self.settings, self.refused = settings, refused

    @property
    def windows(self):
        return {policy.name: policy.down for policy in self.settings.policies}


@pytest.fixture
def follower():
    return Follower()


@pytest.fixture
def file(tmp_path):
    written = tmp_path / "wattledger.yaml"
    written.write_text(GOOD)
    return written


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "controller.scaling.policy_source")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_what_was_read_at_the_start_is_no_news(file, follower, said):
    source = source_of(file, follower)
    looks(source)
    assert (follower.settings.dry_run, list(follower.windows)) == (False, ["nights"])
    assert follower.refused is False
    assert said() == []


def test_an_edited_policy_is_in_force_and_told_by_its_name(file, follower, said):
    source = source_of(file, follower)
    file.write_text(GOOD.replace("20:00", "19:00") + "  - " + NIGHTS.replace("nights", "more") + "\n")
    looks(source)
    assert follower.windows["nights"].startswith("Mon-Fri 19:00")
    assert said() == [("INFO", f"{file}: in force from now on: schedule.policies (new more; changed nights)")]


def test_a_file_is_followed_however_it_is_swapped(tmp_path, follower):
    mounted = Mounted(tmp_path, GOOD)
    source = source_of(mounted.path, follower)
    for hour in ("18:00", "19:00", "21:00"):
        mounted.swap(GOOD.replace("20:00", hour))
        looks(source)
        assert follower.windows["nights"].startswith(f"Mon-Fri {hour}")


def test_a_copy_of_the_same_size_that_keeps_its_time_is_seen(file, follower):
    source = source_of(file, follower)
    times = file.stat()
    file.write_text(GOOD.replace("20:00", "21:00"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    looks(source)
    assert follower.windows["nights"].startswith("Mon-Fri 21:00")


def test_a_file_that_is_half_written_at_one_look_changes_nothing(file, follower, said):
    source = source_of(file, follower)
    for half in ("", BROKEN[:-20], NO_POLICY):
        file.write_text(half)
        source.look()
        file.write_text(GOOD)
        looks(source)
        assert list(follower.windows) == ["nights"]
    assert follower.refused is False
    assert said() == []


def test_a_file_that_is_away_for_one_look_is_not_missed(tmp_path, follower, said):
    mounted = Mounted(tmp_path, GOOD)
    source = source_of(mounted.path, follower)
    away = mounted.path.rename(tmp_path / "away")
    source.look()
    away.rename(mounted.path)
    looks(source)
    assert follower.refused is False
    assert said() == []


REFUSED = {
    "key": (BROKEN, "{file}:5: schedule.policies[0].dwon: no such key; did you mean down? Allowed: name,"),
    "zone": (GOOD + "  timezone: Europe/Berln\n", "{file}:6: schedule.timezone: found "),
    "weekday": (GOOD.replace("Mon-Fri", "Mon-Fry"), "{file}:5: schedule.policies[0].down: found "),
    "name": (f"{GOOD}  - {NIGHTS}\n", "'nights' stands twice; give each its own name"),
    "elsewhere": (GOOD + "agent: {journal_days: none}\n", "{file}:6: agent.journal_days: found "),
    "YAML": (GOOD + "  - {", "{file}:6:6: not valid YAML: "),
    "text": ("\0" + GOOD, "{file}: not valid YAML: "),
    "list": ("- schedule\n", "{file}: found a list, allowed: a mapping of sections"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_start_would_refuse_leaves_the_last_good_policies_in_force(file, follower, said, what):
    text, message = REFUSED[what]
    source = source_of(file, follower)
    good = follower.settings
    file.write_text(text)
    looks(source)
    assert follower.settings == good
    assert follower.refused is True
    [(level, told)] = said()
    assert level == "WARNING"
    assert told.startswith("schedules stay as they were, for what stands in the configuration is refused: ")
    assert message.format(file=file) in told
    assert "\n" not in told


def test_a_file_that_is_gone_leaves_the_last_good_policies_in_force(file, follower, said):
    source = source_of(file, follower)
    file.unlink()
    looks(source)
    assert (list(follower.windows), follower.refused) == (["nights"], True)
    assert f"{file}: cannot be read (No such file or directory); put a readable YAML file there" in said()[0][1]


def test_a_mistake_is_told_once_and_another_one_again(file, follower, said):
    source = source_of(file, follower)
    for text in (BROKEN, BROKEN, GOOD.replace("20:00", "25:00")):
        file.write_text(text)
        looks(source)
        looks(source)
    assert [level for level, _ in said()] == ["WARNING", "WARNING"]
    assert "25:00" in said()[1][1]


def test_a_mistake_that_is_mended_is_told_and_refused_no_more(file, follower, said):
    source = source_of(file, follower)
    file.write_text(BROKEN)
    looks(source)
    file.write_text(GOOD)
    looks(source)
    assert follower.refused is False
    assert said()[1:] == [("INFO", f"{file}: is good again, and schedules are as they were")]


def test_a_remark_in_the_file_is_no_news_before_and_after_a_mistake(file, follower, said):
    source = source_of(file, follower)
    for text in (f"{GOOD}# one\n", BROKEN, GOOD, f"{GOOD}# two\n"):
        file.write_text(text)
        looks(source)
    assert [level for level, _ in said()] == ["WARNING", "INFO"]


def test_what_follows_a_mistake_is_in_force_at_once(file, follower, said):
    source = source_of(file, follower)
    file.write_text(BROKEN)
    looks(source)
    file.write_text(NO_POLICY)
    looks(source)
    assert (follower.windows, follower.refused) == ({}, False)
    assert said()[1] == ("INFO", f"{file}: in force from now on: schedule.policies (gone nights)")


def test_the_environment_stands_above_an_edited_file_too(file, follower):
    source = source_of(file, follower, WATTLEDGER_SCHEDULE__TIMEZONE="Asia/Tokyo")
    file.write_text(GOOD.replace("dry_run: false", "dry_run: true") + "  timezone: UTC\n")
    looks(source)
    assert (follower.settings.timezone, follower.settings.dry_run) == ("Asia/Tokyo", True)


def test_policies_in_another_order_are_other_policies(file, follower, said):
    both = [NIGHTS, NIGHTS.replace("nights", "more")]
    file.write_text(NO_POLICY + "  policies: [" + ", ".join(both) + "]\n")
    source = source_of(file, follower)
    file.write_text(NO_POLICY + "  policies: [" + ", ".join(reversed(both)) + "]\n")
    looks(source)
    assert list(follower.windows) == ["more", "nights"]
    assert said() == [("INFO", f"{file}: in force from now on: schedule.policies (their order)")]


def test_each_key_either_follows_the_file_or_waits_for_a_start():
    assert set(FOLLOWED) | AT_A_START == set(ScheduleSettings.model_fields)
    assert not set(FOLLOWED) & AT_A_START


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("dry_run: true", "dry_run", True),
        ("timezone: Asia/Tokyo", "timezone", "Asia/Tokyo"),
        ("changes_per_minute: 7", "changes_per_minute", 7),
        ("changes_per_run: 7", "changes_per_run", 7),
        ("protected_namespaces: [team-a]", "protected_namespaces", ("team-a",)),
    ],
)
def test_a_key_beside_the_policies_follows_too(file, follower, said, line, key, value):
    source = source_of(file, follower)
    text = GOOD.replace("  dry_run: false\n", "") if key == "dry_run" else GOOD
    file.write_text(f"{text}  {line}\n")
    looks(source)
    assert getattr(follower.settings, key) == value
    assert said() == [("INFO", f"{file}: in force from now on: schedule.{key}")]


def test_a_key_that_is_wired_at_the_start_is_told_once_and_waits_while_the_rest_follows(file, follower, said):
    source = source_of(file, follower)
    for hour in ("21:00", "22:00"):
        file.write_text(GOOD.replace("20:00", hour) + "  writes_per_second: 5\n")
        looks(source)
    assert follower.settings.writes_per_second == 50
    assert follower.windows["nights"].startswith("Mon-Fri 22:00")
    warnings = [text for level, text in said() if level == "WARNING"]
    assert warnings == [
        f"{file}: schedule.writes_per_second is now 5.0, and stays 50.0 until the controller is started again"
    ]


def test_enabled_is_not_taken_away_from_a_controller_that_runs(file, follower, said):
    source = source_of(file, follower)
    file.write_text(GOOD.replace("enabled: true", "enabled: false"))
    looks(source)
    assert follower.settings.enabled is True
    assert said() == [
        ("WARNING", f"{file}: schedule.enabled is now False, and stays True until the controller is started again")
    ]
