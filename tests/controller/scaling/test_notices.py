"""Owners are told before a down, once, with a command that works."""

from dataclasses import replace
from datetime import timedelta

from controller.scaling.decide import Step
from controller.scaling.engine import Report
from controller.scaling.model import DownOptions, NamespaceSeen, Wish, Workload
from controller.scaling.notices import Notices
from controller.scaling.policies import resolve
from controller.scaling.policy_annotations import EXCLUDE_UNTIL
from controller.scaling.schedule_settings import ScheduleSettings
from tests.controller.scaling.engine_rig import BEGIN, END, REGISTRY
from tests.controller.scaling.kind_objects import OBJECTS
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
    return Notices(lambda workload, text, now: said.append((text, now)), lambda workload, moment: DOWN)


def test_an_owner_is_told_so_long_before_and_once():
    said = []
    told = notices(said)
    for minutes in (31, 30, 29, 10):
        told.take([report(UP)], BEGIN - timedelta(minutes=minutes))
    assert [now for _, now in said] == [BEGIN - HALF_AN_HOUR]
    assert told.told_at(web(), DOWN) == BEGIN - HALF_AN_HOUR


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
