"""Owners are told before a down, once, whichever process tells, with a command that works."""

from dataclasses import replace
from datetime import timedelta

import pytest

from collectors.errors import Unavailable
from controller.scaling.decide import Step
from controller.scaling.engine import Report
from controller.scaling.model import DownOptions, NamespaceSeen, Wish, Workload
from controller.scaling.notices import AGAIN, Notices
from controller.scaling.policies import resolve
from controller.scaling.policy_annotations import EXCLUDE_UNTIL, FORCE
from controller.scaling.schedule_settings import ScheduleSettings
from tests.controller.scaling.engine_rig import BEGIN, END, REGISTRY
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.restart_rig import MINUTE, House
from tests.controller.scaling.toy_server import merge

HALF_AN_HOUR = timedelta(minutes=30)
OPTIONS = DownOptions(tell_owner_minutes=30)
DOWN = Wish("down", "at night", "nights", window=BEGIN, until=END, dry_run=False, options=OPTIONS)
UP = Wish("up", "by day", "nights", until=BEGIN, dry_run=False, options=OPTIONS)


def web(**metadata):
    seen = REGISTRY["Deployment"].seen(merge(OBJECTS["Deployment"], {"metadata": metadata}))
    return Workload(seen, seen, NamespaceSeen(seen.ref.namespace))


def report(wish, action="nothing", workload=None):
    workload = workload or web()
    return Report(workload.ref, workload.ref, wish, Step(action, ""), workload)


def notices(said):
    """That are sent at once."""

    def tell(_workload, text, now, sent):
        said.append((text, now))
        sent(now)

    return Notices(tell, lambda _workload, _moment: DOWN)


def test_an_owner_is_told_so_long_before_and_once():
    said = []
    told = notices(said)
    for minutes in (31, 30, 29, 10):
        told.take([report(UP)], BEGIN - timedelta(minutes=minutes))
    assert [now for _, now in said] == [BEGIN - HALF_AN_HOUR]
    assert told.told_at(web(), DOWN) == BEGIN - HALF_AN_HOUR


def test_ahead_of_a_window_that_something_kept_up_for_a_while_its_owner_is_told_once():
    said, coming = [], replace(DOWN, window=BEGIN - timedelta(hours=2))
    told = Notices(notices(said).tell, lambda _workload, _moment: coming)
    told.take([report(UP)], BEGIN - HALF_AN_HOUR)
    told.take([report(coming, "down")], BEGIN)
    assert told.told_at(web(), coming) == BEGIN - HALF_AN_HOUR
    assert len(said) == 1


def test_a_process_that_starts_within_the_window_tells_and_the_down_waits_from_then():
    said = []
    told = notices(said)
    told.take([report(DOWN, "down")], BEGIN + timedelta(hours=1))
    assert told.told_at(web(), DOWN) == BEGIN + timedelta(hours=1)
    assert told.told_at(web(), replace(DOWN, window=BEGIN + timedelta(days=1))) is None


def test_who_asks_for_no_notice_gets_none_nor_does_a_dry_run():
    said = []
    told = notices(said)
    silent = replace(DOWN, options=DownOptions())
    told.take([report(silent, "down"), report(replace(DOWN, dry_run=True), "down")], BEGIN)
    assert said == []


def test_the_text_names_the_owner_and_its_command_snoozes():
    said = []
    notices(said).take([report(UP, workload=web(labels={"owner": "ann"}))], BEGIN - HALF_AN_HOUR)
    ((text, _),) = said
    assert text.startswith("ann: policy nights puts it down at 2026-11-20T19:00+00:00; to snooze it: kubectl annotate ")
    assert "deployment llama -n team-a" in text
    until = text.rpartition(f"{EXCLUDE_UNTIL}=")[2]
    settings = ScheduleSettings.model_validate(
        {"enabled": True, "policies": [{"name": "nights", "namespaces": ["*"], "down": "always"}]}
    )
    snoozed = web(annotations={EXCLUDE_UNTIL: until})
    wishes = [resolve(settings, snoozed.subject, snoozed.namespace, 2, BEGIN + timedelta(hours=h)) for h in (1, 3)]
    assert [wish.wished for wish in wishes] == ["none", "down"]


def test_an_owner_is_told_once_the_event_was_sent_and_again_until_it_is():
    waiting = []
    told = Notices(lambda _workload, _text, _now, sent: waiting.append(sent), lambda _workload, _moment: DOWN)
    for seconds in (0, 59, 60, 61):
        told.take([report(UP)], BEGIN - HALF_AN_HOUR + timedelta(seconds=seconds))
    assert (len(waiting), AGAIN) == (2, MINUTE)
    assert told.told_at(web(), DOWN) is None
    waiting[0](BEGIN - 20 * MINUTE)
    assert told.told_at(web(), DOWN) == BEGIN - 20 * MINUTE
    waiting[1](BEGIN - 10 * MINUTE)
    assert told.told_at(web(), DOWN) == BEGIN - 20 * MINUTE


@pytest.fixture
def house(tmp_path):
    return House(str(tmp_path), tell_owner_minutes=30)


def look_until(house, moment):
    while house.now < moment:
        house.look()


def history(house, moment):
    """At which minutes after the window's begin it was told, and went down or up, until a moment."""
    found, former = [], (len(told_in(house)), house.is_down)
    while house.now < moment:
        house.look(5)
        now = len(told_in(house)), house.is_down
        words = ["told"] * (now[0] - former[0]) + ["down" if now[1] else "up"] * (now[1] is not former[1])
        found += [(word, (house.now - BEGIN) // MINUTE) for word in words]
        former = now
    return found


def test_after_it_was_forced_up_within_its_window_its_owner_is_told_of_the_second_down_too(house):
    assert history(house, BEGIN + 30 * MINUTE) == [("told", -30), ("down", 0)]
    until = (BEGIN + 180 * MINUTE).isoformat()
    force = {FORCE: f"up {(BEGIN + 30 * MINUTE).isoformat()}-{until}"}
    house.server.edit(house.lever, {"metadata": {"annotations": force}})
    assert history(house, BEGIN + 240 * MINUTE) == [("up", 40), ("told", 150), ("down", 180)]


def test_after_a_snooze_its_owner_is_told_anew_so_long_before_it_ends(house):
    look_until(house, BEGIN - 25 * MINUTE)
    assert len(told_in(house)) == 1
    house.server.edit(house.lever, {"metadata": {"annotations": {EXCLUDE_UNTIL: (BEGIN + 120 * MINUTE).isoformat()}}})
    assert history(house, BEGIN + 150 * MINUTE) == [("told", 90), ("down", 120)]


def told_in(house):
    return [reason for reason, _ in house.api.told if reason == "ScheduledDownSoon"]


def test_whom_a_former_process_told_is_not_told_again_and_the_down_does_not_wait_again(house):
    look_until(house, BEGIN - 20 * MINUTE)
    house.start()
    look_until(house, BEGIN)
    house.start()
    look_until(house, BEGIN + 3 * MINUTE)
    assert (len(told_in(house)), house.is_down) == (1, True)
    tellings = [row for row in house.rows if row["action"] == "tell_owner"]
    assert [(row["window"], row["at_utc"], row["result"]) for row in tellings] == [
        (BEGIN, BEGIN - HALF_AN_HOUR, "done")
    ]
    assert "to snooze it: kubectl annotate deployment llama" in tellings[0]["reason"]


def test_whoever_was_not_told_as_far_as_is_known_is_told_again_and_has_all_the_time(house):
    house.loses_results = True
    look_until(house, BEGIN - 20 * MINUTE)
    house.start()
    look_until(house, BEGIN + 8 * MINUTE)
    assert (len(told_in(house)), house.is_down) == (2, False)
    look_until(house, BEGIN + 15 * MINUTE)
    assert house.is_down


def test_no_down_is_made_while_its_event_cannot_be_sent(house):
    house.api.error = Unavailable("no Events today")
    look_until(house, BEGIN + 60 * MINUTE)
    house.start()
    look_until(house, BEGIN + 70 * MINUTE)
    assert (told_in(house), house.is_down) == ([], False)
    house.api.error = None
    look_until(house, BEGIN + 95 * MINUTE)
    assert (len(told_in(house)), house.is_down) == (1, False)
    look_until(house, BEGIN + 110 * MINUTE)
    assert house.is_down


def test_who_is_told_while_the_ledger_cannot_be_read_is_told_in_time(house, monkeypatch):
    monkeypatch.setattr(house.scaler, "recall", lambda: None)
    look_until(house, BEGIN - 25 * MINUTE)
    assert len(told_in(house)) == 1
    look_until(house, BEGIN + 5 * MINUTE)
    assert not house.is_down
    monkeypatch.undo()
    look_until(house, BEGIN + 8 * MINUTE)
    assert (len(told_in(house)), house.is_down) == (1, True)


def test_the_owner_of_one_that_was_made_anew_is_told_anew(house):
    look_until(house, BEGIN - 20 * MINUTE)
    house.server.objects[house.lever]["metadata"]["uid"] = "made-anew"
    house.start()
    look_until(house, BEGIN - 15 * MINUTE)
    assert len(told_in(house)) == 2
