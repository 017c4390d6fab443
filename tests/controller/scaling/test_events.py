"""Events: few, aggregated, and never in the way."""

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from collectors.clock import NS_PER_SECOND
from collectors.errors import Unavailable, Unsupported
from collectors.kube_errors import Busy, Forbidden
from controller.scaling.act import Outcome
from controller.scaling.decide import Step
from controller.scaling.events import MOST_WAITING, ONE_EVENT, About, Events, EventText, about, text_of
from controller.scaling.rate import TokenBucket
from controller.scaling.registry import KINDS
from tests.controller.scaling.audit_rig import EVENING, down, finish, restore, seen

CHAT = About("apps/v1", "Deployment", "ml", "chat", "uid-chat")
TRAIN = replace(CHAT, name="train", uid="uid-train")
DOWN = EventText("ScheduledDown", "the night began")
MINUTE = timedelta(minutes=1)


class Api:
    """Remembers Events as a server does."""

    def __init__(self):
        self.events = {}
        self.calls = 0
        self.error = None

    def _asked(self):
        self.calls += 1
        if self.error is not None:
            raise self.error

    def write(self, verb, path, item):
        self._asked()
        assert verb == "create"
        self.events[f"{path}/{item['metadata']['name']}"] = dict(item)
        return item

    def patch(self, path, body):
        self._asked()
        if path not in self.events:
            raise Unsupported(path)
        self.events[path] |= body
        return self.events[path]

    def told(self):
        return [(each["involvedObject"]["name"], each["count"], each["message"]) for each in self.events.values()]


@pytest.fixture
def api():
    return Api()


def events_of(api, per_second=1000, burst=1000):
    return Events(api, TokenBucket(per_second, burst), "wattledger-0")


def test_an_event_bears_its_object_and_times(api):
    events = events_of(api)
    events.tell(CHAT, DOWN, EVENING)
    events.send(EVENING, 0)
    (path,) = api.events
    assert path.startswith("/api/v1/namespaces/ml/events/chat.")
    event = api.events[path]
    assert event["involvedObject"] == {
        "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "ml", "name": "chat", "uid": "uid-chat",
    }  # fmt: skip
    assert (event["firstTimestamp"], event["lastTimestamp"]) == ("2026-11-02T20:00:00Z",) * 2
    assert (event["type"], event["reason"], event["count"]) == ("Normal", "ScheduledDown", 1)
    assert (event["source"], event["reportingInstance"]) == ({"component": "wattledger"}, "wattledger-0")


def test_what_is_told_is_logged_in_one_line_that_steers_no_terminal(api, caplog):
    events = events_of(api)
    with caplog.at_level("INFO"):
        events.tell(CHAT, DOWN, EVENING)
        events.tell(CHAT, EventText("ScheduleUnclear", "no window\n  \x1b[2J\n  ^", "Warning"), EVENING)
    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("INFO", f"Deployment ml/chat: ScheduledDown: {DOWN.message}"),
        ("WARNING", "Deployment ml/chat: ScheduleUnclear: no window \ufffd[2J ^"),
    ]


def test_what_repeats_is_one_event_whose_count_grows(api):
    events = events_of(api)
    for minute in range(3):
        events.tell(CHAT, replace(DOWN, message=str(minute)), EVENING + minute * MINUTE)
        events.send(EVENING, 0)
    assert api.told() == [("chat", 3, "2")]
    events.tell(TRAIN, DOWN, EVENING)
    events.tell(CHAT, EventText("ScheduledRestore", "back"), EVENING)
    events.send(EVENING, 0)
    assert [name for name, _, _ in api.told()] == ["chat", "train", "chat"]


def test_what_repeats_before_it_is_sent_is_sent_once(api):
    events = events_of(api)
    for minute in range(3):
        events.tell(CHAT, DOWN, EVENING + minute * MINUTE)
    events.send(EVENING, 0)
    assert (api.told(), api.calls) == ([("chat", 3, DOWN.message)], 1)
    assert next(iter(api.events.values()))["lastTimestamp"] == "2026-11-02T20:02:00Z"


def test_after_a_while_it_is_a_new_event(api):
    events = events_of(api)
    for moment in (EVENING, EVENING + ONE_EVENT):
        events.tell(CHAT, DOWN, moment)
        events.send(moment, 0)
    assert api.told() == [("chat", 1, DOWN.message)] * 2


def test_an_event_that_the_server_has_forgotten_is_made_anew(api):
    events = events_of(api)
    for _ in range(2):
        events.tell(CHAT, DOWN, EVENING)
        events.send(EVENING, 0)
        api.events.clear()
    events.tell(CHAT, DOWN, EVENING)
    events.send(EVENING, 0)
    assert api.told() == [("chat", 1, DOWN.message)]


def test_no_more_are_sent_than_the_pace_allows(api):
    events = events_of(api, per_second=1, burst=2)
    for number in range(5):
        events.tell(replace(CHAT, name=str(number)), DOWN, EVENING)
    sent = []
    for second in (0, 0, 1, 1.5, 2, 3):
        events.send(EVENING, int(second * NS_PER_SECOND))
        sent.append(api.calls)
    assert sent == [2, 2, 3, 3, 4, 5]
    assert [name for name, _, _ in api.told()] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("error", [Unavailable("away"), Busy("slow down", 5), Forbidden("give it the verb create")])
def test_a_server_that_fails_is_left_alone_for_a_while(api, error, caplog):
    events = events_of(api)
    api.error = error
    for number in range(3):
        events.tell(replace(CHAT, name=str(number)), DOWN, EVENING)
    with caplog.at_level(logging.WARNING):
        events.send(EVENING, 0)
        events.send(EVENING + timedelta(seconds=29), 0)
        assert (api.calls, events.lost, events.waiting) == (1, 1, 2)
        events.send(EVENING + timedelta(seconds=31), 0)
    assert [record.message for record in caplog.records] == [
        f"Events are not written, and nothing waits for them: {error}"
    ]
    api.error = None
    events.send(EVENING + timedelta(seconds=62), 0)
    assert (len(api.events), events.lost) == (1, 2)


def test_a_server_that_asks_for_longer_is_left_alone_for_longer(api):
    events = events_of(api)
    api.error = Busy("slow down", 120)
    for number in range(2):
        events.tell(replace(CHAT, name=str(number)), DOWN, EVENING)
        events.send(EVENING + number * timedelta(seconds=119), 0)
    assert api.calls == 1


def test_what_finds_no_place_is_counted_and_forgotten(api):
    events = events_of(api)
    for number in range(MOST_WAITING + 3):
        events.tell(replace(CHAT, name=str(number)), DOWN, EVENING)
    assert (events.waiting, events.lost) == (MOST_WAITING, 3)


def test_steps_are_told_with_their_policy():
    assert text_of(down(), Outcome("done")) == EventText("ScheduledDown", "the night began (policy nights)")
    assert text_of(restore(), Outcome("done")) == EventText("ScheduledRestore", "the night is over")
    assert text_of(finish(), Outcome("done")).reason == "ScheduledReady"
    assert text_of(down(), Outcome("forbidden", "give the right")) == EventText(
        "ScheduledDownFailed", "down forbidden: give the right (policy nights)", "Warning"
    )
    contested = replace(down(), step=Step("contested", "somebody put it back twice"))
    assert (text_of(contested, None).reason, text_of(contested, None).type) == ("ScheduleContested", "Warning")


@pytest.mark.parametrize("result", ["conflict", "pending", "gone"])
def test_what_is_tried_again_is_no_news(result):
    assert text_of(down(), Outcome(result)) is None
    assert text_of(replace(down(), step=Step("await", "not Ready yet")), None) is None


def test_kubectl_shows_them_at_the_object(api_server, namespace):
    """On a real API server: made, grown, made anew once it was deleted; and described."""
    kind = next(each for each in KINDS if each.name == "Deployment")
    item = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "chat"}},
            "template": {
                "metadata": {"labels": {"app": "chat"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    }
    client = api_server.client()
    made = client.write("create", f"/apis/apps/v1/namespaces/{namespace}/deployments", item)
    of_chat = replace(seen(), uid=made["metadata"]["uid"])
    told = about(replace(of_chat, ref=of_chat.ref._replace(namespace=namespace)), kind)
    assert told.api_version == "apps/v1"
    events = Events(client, TokenBucket(1000, 1000), "wattledger-0")
    for _ in range(2):
        events.tell(told, DOWN, EVENING)
        events.send(EVENING, 0)
    assert events.lost == 0
    described = api_server.kubectl("describe", "deployment", "chat", "-n", namespace)
    line = next(line for line in described.splitlines() if "ScheduledDown" in line)
    assert "(x2 over" in line
    assert line.endswith("the night began")
    assert "wattledger" in line
    api_server.kubectl("delete", "events", "--all", "-n", namespace)
    events.tell(told, DOWN, EVENING)
    events.send(EVENING, 0)
    assert "ScheduledDown" in api_server.kubectl("describe", "deployment", "chat", "-n", namespace)
    client.close()
