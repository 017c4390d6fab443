"""When EC2 instances began and ended, by EC2 itself: what it describes now, and what CloudTrail recorded.

Owns the shapes of two answers: ``ec2:DescribeInstances`` and ``cloudtrail:LookupEvents``. Decides nothing about whose
instances count. Must never guess a moment: a text that bears none is refused by name.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from collectors.aws_client import Client, Page, pages
from collectors.errors import Unavailable
from collectors.kube_json import JsonObject, child, children, number, text

EVENT_DAYS = 90
"""What CloudTrail's event history can tell of the past."""
REQUEST_SECONDS = 0.5
"""Between two requests to CloudTrail, which answers two a second in each account and region."""

_STATES = ("running", "shutting-down", "stopping", "stopped", "terminated")
_OVER = frozenset({"stopped", "terminated"})
_TRANSITION = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)\s*$")
_CAPACITY = {"": "on_demand", "spot": "spot", "capacity-block": "capacity_block"}
_BEGINS: Mapping[str, bool] = {
    "RunInstances": True,
    "StartInstances": True,
    "StopInstances": False,
    "TerminateInstances": False,
    "BidEvictedEvent": False,
}
_RAN = frozenset({"running", "pending", ""})
"""What an instance was before an end; of one that was stopped before, the end came earlier."""


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What an instance is; what EC2 does not say is empty."""

    instance_id: str
    region: str
    zone: str = ""
    instance_type: str = ""
    capacity_type: str = ""
    name: str = ""
    """Its private DNS name; EC2 forgets it with the end."""


@dataclass(frozen=True, slots=True)
class DescribedInstance:
    """An instance that EC2 still describes."""

    facts: InstanceFacts
    launched_at: datetime
    """When it was last started."""
    there: bool
    """Whether it runs now."""
    ended_at: datetime | None = None
    """When it was stopped or terminated; ``None``: it runs, or nothing says when."""
    endless: str = ""
    """It ended, and what EC2 says of that bears no moment: one line that names it."""


@dataclass(frozen=True, slots=True)
class Described:
    """What was read, and what was not taken."""

    instances: tuple[DescribedInstance, ...]
    refused: tuple[str, ...] = ()
    """One line each: an entry that is no instance."""


@dataclass(frozen=True, slots=True)
class InstanceEvent:
    """A begin or an end that CloudTrail recorded."""

    instance_id: str
    at: datetime
    begins: bool
    facts: InstanceFacts | None = None
    """Of a first launch: what was launched, and then ``at`` is EC2's own launch time."""


@dataclass(frozen=True, slots=True)
class Events:
    """What was read, and what was not taken."""

    events: tuple[InstanceEvent, ...]
    refused: tuple[str, ...] = ()
    """One line each: a record that names no instance."""
    requests: int = 0


def described_instances(ec2: Client, region: str) -> Described:
    """All instances that run, or ended so lately that EC2 still describes them (about an hour; stopped ones stay).

    Args:
        ec2: a client of ``ec2`` in that region.
        region: its name.

    Raises:
        Unavailable: no answer, no permission, throttled, or an answer that is none.
        Misconfigured: no credentials.
    """
    said = pages(
        ec2,
        "describe_instances",
        ("ec2", region, "ec2:DescribeInstances"),
        Filters=[{"Name": "instance-state-name", "Values": list(_STATES)}],
        MaxResults=1000,
    )
    found: list[DescribedInstance] = []
    refused: list[str] = []
    for page in said:
        for entry in (each for group in page.get("Reservations", ()) for each in group.get("Instances", ())):
            instance = _described(region, entry)
            if isinstance(instance, str):
                refused.append(instance)
            else:
                found.append(instance)
    return Described(tuple(found), tuple(refused))


def instance_events(
    trail: Client, region: str, since: datetime, until: datetime, pause: Callable[[float], None] = time.sleep
) -> Events:
    """Starts and ends that succeeded from ``since`` to ``until``, in no order. Records come some minutes late.

    Args:
        trail: a client of ``cloudtrail`` in that region.
        region: its name.
        since: at most 90 days ago; CloudTrail's event history does not know more.
        until: later than that.
        pause: waits between requests.

    Raises:
        Unavailable: no answer, no permission, throttled, or an answer that is none.
        Misconfigured: no credentials.
    """
    found: list[InstanceEvent] = []
    refused: list[str] = []
    requests = 0
    for name in _BEGINS:
        said = pages(
            trail,
            "lookup_events",
            ("cloudtrail", region, "cloudtrail:LookupEvents"),
            LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": name}],
            StartTime=since,
            EndTime=until,
        )
        for page in said:
            requests += 1
            for at, record in _records(page, region):
                events = _events(region, name, at, record)
                if events is None:
                    told = f"{name} {text(record, 'eventID')} at {at:%Y-%m-%d %H:%M:%S}"
                    refused.append(f"AWS CloudTrail in {region}: {told} names no instance; it is left out")
                found += events or ()
            pause(REQUEST_SECONDS)
    return Events(tuple(found), tuple(refused), requests)


def _described(region: str, entry: Mapping[str, Any]) -> DescribedInstance | str:
    """The instance, or why it is none."""
    launched = entry.get("LaunchTime")
    state = str(entry.get("State", {}).get("Name", ""))
    facts = InstanceFacts(
        instance_id=str(entry.get("InstanceId", "")),
        region=region,
        zone=str(entry.get("Placement", {}).get("AvailabilityZone", "")),
        instance_type=str(entry.get("InstanceType", "")),
        capacity_type=_CAPACITY.get(str(entry.get("InstanceLifecycle", "")), ""),
        name=str(entry.get("PrivateDnsName", "")),
    )
    if not facts.instance_id or state not in _STATES or not isinstance(launched, datetime):
        given = f"id {facts.instance_id!r}, state {state!r}, launch time {launched}"
        return f"AWS ec2 in {region} described an instance with {given}; it is left out"
    began = launched.astimezone(UTC)
    if state == "running":
        return DescribedInstance(facts, began, there=True)
    reason = str(entry.get("StateTransitionReason", ""))
    ended = _transition(reason)
    if ended is not None and ended >= began:
        return DescribedInstance(facts, began, there=False, ended_at=ended)
    if state not in _OVER:
        return DescribedInstance(facts, began, there=True)
    wrong = "a moment before its launch" if ended else "no moment such as (2026-11-01 05:22:00 GMT)"
    endless = (
        f"AWS ec2 in {region}: {facts.instance_id} is {state}, and its StateTransitionReason {reason!r} bears {wrong};"
        " its end is left to CloudTrail and to the other witnesses"
    )
    return DescribedInstance(facts, began, there=False, endless=endless)


def _transition(reason: str) -> datetime | None:
    found = _TRANSITION.search(reason)
    try:
        return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def _records(page: Page, region: str) -> Iterator[tuple[datetime, JsonObject]]:
    """When each event was, and its whole record; what failed did not happen."""
    for entry in cast("Iterable[Mapping[str, Any]]", page.get("Events", ())):
        at = entry.get("EventTime")
        try:
            record = child(json.loads(entry.get("CloudTrailEvent", "")))
        except ValueError:
            record = child(None)
        if not record or not isinstance(at, datetime):
            said = str(entry.get("EventId", ""))
            raise Unavailable(f"AWS cloudtrail in {region} gave event {said!r} without a readable record and a time")
        if not text(record, "errorCode") and text(record, "eventSource").startswith("ec2."):
            yield at.astimezone(UTC), record


def _events(region: str, name: str, at: datetime, record: JsonObject) -> Sequence[InstanceEvent] | None:
    """Of each instance that the record names; ``None``: it names none."""
    if name == "BidEvictedEvent":
        ids = child(record, "serviceEventDetails").get("instanceIdSet")
        named = [each for each in cast("list[object]", ids) if isinstance(each, str)] if isinstance(ids, list) else []
        return [InstanceEvent(each, at, begins=False) for each in named] or None
    items = [item for item in children(record, "responseElements", "instancesSet", "items") if text(item, "instanceId")]
    if not items:
        return None
    if name == "RunInstances":
        return [_launched(region, at, item) for item in items]
    begins = _BEGINS[name]
    return [
        InstanceEvent(text(item, "instanceId"), at, begins)
        for item in items
        if begins or text(item, "previousState", "name") in _RAN
    ]


def _launched(region: str, at: datetime, item: JsonObject) -> InstanceEvent:
    facts = InstanceFacts(
        instance_id=text(item, "instanceId"),
        region=region,
        zone=text(item, "placement", "availabilityZone"),
        instance_type=text(item, "instanceType"),
        capacity_type=_CAPACITY.get(text(item, "instanceLifecycle"), ""),
        name=text(item, "privateDnsName"),
    )
    launch_ms = number(item, "launchTime")
    launched = at if launch_ms is None else datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=launch_ms)
    return InstanceEvent(facts.instance_id, launched, begins=True, facts=facts)
