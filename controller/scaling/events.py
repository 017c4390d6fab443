"""Kubernetes Events of what schedules do, for ``kubectl describe``: best effort, and never in anybody's way.

Events of ``v1``, not of ``events.k8s.io``: these are what kubectl shows with their count, and one that repeats is one
object whose count grows by a patch. Owns their text, their aggregation and their pace. What is told is taken in memory,
without waiting; a thread that has nothing else to do sends it. What cannot be sent is dropped and counted.
"""

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol
from urllib.parse import quote

from collectors.errors import Unavailable, Unsupported
from collectors.kube_errors import Busy
from collectors.kube_json import JsonObject
from controller.scaling.act import Outcome, Task
from controller.scaling.kind import Kind
from controller.scaling.model import Seen
from controller.scaling.rate import TokenBucket
from controller.visible import visible

_log = logging.getLogger(__name__)

COMPONENT: Final = "wattledger"
ONE_EVENT: Final = timedelta(minutes=30)
"""What is told again within it is the same Event; API servers forget Events after an hour."""
MOST_WAITING: Final = 2000
MOST_KNOWN: Final = 4000
PAUSE: Final = timedelta(seconds=30)
"""After the API server failed; the store of Events is the cluster's, and shall not suffer."""
_MOST_MESSAGE: Final = 1000
_MOST_NAME: Final = 230

EventType = Literal["Normal", "Warning"]
Sent = Callable[[datetime], None]
"""Told when an Event stands on the API server."""
_REASONS: Final = {
    "down": "ScheduledDown",
    "raise": "ScheduledRaise",
    "restore": "ScheduledRestore",
    "finish": "ScheduledReady",
    "give_way": "ScheduleGaveWay",
    "contested": "ScheduleContested",
    "broken": "ScheduleRecordBroken",
    "unclear": "ScheduleUnclear",
}


@dataclass(frozen=True, slots=True)
class About:
    """The object that an Event is of."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class EventText:
    """What it says. Of one object, the same ``reason`` is the same Event; the newest message stands."""

    reason: str
    message: str
    type: EventType = "Normal"


@dataclass(frozen=True, slots=True)
class _Waiting:
    about: About
    text: EventText
    count: int
    first: datetime
    last: datetime
    sent: Sent


@dataclass(frozen=True, slots=True)
class _Known:
    path: str
    count: int
    first: datetime


class Api(Protocol):
    """The API server."""

    def write(self, verb: Literal["create"], path: str, item: JsonObject) -> JsonObject:
        """Create."""
        ...

    def patch(self, path: str, body: JsonObject) -> JsonObject:
        """Merge."""
        ...


def about(seen: Seen, kind: Kind) -> About:
    """An object of a kind of the registry."""
    version = kind.versions[0]
    api_version = f"{kind.group}/{version}" if kind.group else version
    return About(api_version, seen.ref.kind, seen.ref.namespace, seen.ref.name, seen.uid)


def text_of(task: Task, outcome: Outcome | None) -> EventText | None:
    """What became of a step; ``None``: that is no news to those who look at the object.

    Args:
        task: the step.
        outcome: of its writes; ``None``: it has none.
    """
    action, why = task.step.action, task.step.why
    reason = _REASONS.get(action)
    if reason is None or (outcome is not None and outcome.result in {"pending", "conflict", "gone"}):
        return None
    policy = f" (policy {task.wish.policy})" if task.wish.policy else ""
    if outcome is not None and outcome.result != "done":
        return EventText(f"{reason}Failed", f"{action} {outcome.result}: {outcome.why or why}{policy}", "Warning")
    warns = action in {"contested", "broken", "unclear"}
    return EventText(reason, f"{why}{policy}", "Warning" if warns else "Normal")


class Events:
    """Takes what is told, and sends it.

    Args:
        api: of a client with a time limit of its own.
        pace: how many are written a second.
        instance: who tells, such as the controller's pod.
    """

    def __init__(self, api: Api, pace: TokenBucket, instance: str) -> None:
        self._api = api
        self._pace = pace
        self._instance = instance
        self._lock = threading.Lock()
        self._waiting: OrderedDict[tuple[str, ...], _Waiting] = OrderedDict()
        self._known: OrderedDict[tuple[str, ...], _Known] = OrderedDict()
        self._turn_ns: int | None = None
        self._paused_until: datetime | None = None
        self._failing = False
        self.lost = 0
        """Events that were dropped."""

    @property
    def waiting(self) -> int:
        """Events that are not sent yet."""
        with self._lock:
            return len(self._waiting)

    def tell(self, about: About, text: EventText, now: datetime, sent: Sent = lambda _now: None) -> None:
        """Take one, and log it; it waits for nothing and raises nothing.

        Args:
            about: the object.
            text: what is told.
            now: the time.
            sent: called by the thread that sends, once it was sent; never where it was dropped.
        """
        level = logging.WARNING if text.type == "Warning" else logging.INFO
        said = visible(" ".join(text.message.split()))
        _log.log(level, "%s %s/%s: %s: %s", about.kind, about.namespace, about.name, text.reason, said)
        key = (about.uid, about.kind, about.namespace, about.name, text.reason)
        with self._lock:
            former = self._waiting.get(key)
            if former is None and len(self._waiting) >= MOST_WAITING:
                self.lost += 1
                return
            count, first = (1, now) if former is None else (former.count + 1, former.first)
            self._waiting[key] = _Waiting(about, text, count, first, now, sent)

    def send(self, now: datetime, now_ns: int) -> None:
        """Send what the pace allows; it raises nothing. For one thread, which is not that of restores."""
        while self._waiting and not self._is_paused(now):
            if self._turn_ns is None:
                self._turn_ns = now_ns + self._pace.take(now_ns)
            if self._turn_ns > now_ns:
                return  # the turn stays ours
            self._turn_ns = None
            self._send_next(now)

    def _send_next(self, now: datetime) -> None:
        with self._lock:
            key, event = self._waiting.popitem(last=False)
        try:
            self._write(key, event)
            self._failing = False
            event.sent(now)
        except (Unavailable, Unsupported) as error:
            self.lost += 1
            if isinstance(error, Unavailable):
                seconds = error.retry_after_seconds if isinstance(error, Busy) else 0
                self._paused_until = now + max(PAUSE, timedelta(seconds=seconds))
            if not self._failing:
                _log.warning("Events are not written, and nothing waits for them: %s", error)
            self._failing = True

    def _write(self, key: tuple[str, ...], event: _Waiting) -> None:
        known = self._known.pop(key, None)
        if known is not None and event.last - known.first < ONE_EVENT:
            grown = replace(known, count=known.count + event.count)
            try:
                self._api.patch(known.path, self._growth(event, grown.count))
            except Unsupported:  # the server has forgotten it
                grown = self._create(event)
        else:
            grown = self._create(event)
        self._known[key] = grown
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def _create(self, event: _Waiting) -> _Known:
        folder = f"/api/v1/namespaces/{quote(event.about.namespace, safe='')}/events"
        name = f"{event.about.name[:_MOST_NAME]}.{secrets.token_hex(8)}"
        self._api.write("create", folder, self._item(event, name))
        return _Known(f"{folder}/{quote(name, safe='')}", event.count, event.first)

    def _item(self, event: _Waiting, name: str) -> JsonObject:
        about = event.about
        involved = {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": about.namespace},
            "involvedObject": involved,
            "reason": event.text.reason,
            "type": event.text.type,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
            "firstTimestamp": _moment(event.first),
            **self._growth(event, event.count),
        }

    def _growth(self, event: _Waiting, count: int) -> JsonObject:
        return {"count": count, "lastTimestamp": _moment(event.last), "message": event.text.message[:_MOST_MESSAGE]}

    def _is_paused(self, now: datetime) -> bool:
        return self._paused_until is not None and now < self._paused_until


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
