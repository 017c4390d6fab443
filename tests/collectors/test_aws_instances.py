"""When instances began and ended, as EC2 and CloudTrail tell it."""

from datetime import UTC, datetime, timedelta

import boto3
import pytest

from collectors.aws_client import client
from collectors.aws_instances import (
    DescribedInstance,
    InstanceEvent,
    InstanceFacts,
    described_instances,
    instance_events,
)
from collectors.errors import Misconfigured, Unavailable
from tests.collectors.aws_server import instance, recorded

P5 = "p5.48xlarge"
ONE, TWO = "i-00000000000000001", "i-00000000000000002"
LAUNCHED = "2026-11-01T05:10:00.000Z"
RUNNING, STOPPED = {"name": "running"}, {"name": "stopped"}


def at(hour, minute=0, second=0):
    return datetime(2026, 11, 1, hour, minute, second, tzinfo=UTC)


def describe(url, attempts=1):
    made = client("ec2", "us-east-1", endpoint_url=url, attempts=attempts)
    try:
        return described_instances(made, "us-east-1")
    finally:
        made.close()


def events(aws, since=None, until=None, pauses=None):
    made = client("cloudtrail", "us-east-1", endpoint_url=aws.url, attempts=1)
    pause = (lambda _seconds: None) if pauses is None else pauses.append
    try:
        return instance_events(made, "us-east-1", since or at(0), until or at(23), pause)
    finally:
        made.close()


def test_an_instance_that_runs_is_read_with_all_that_it_is(aws):
    aws.instances = [instance(ONE, LAUNCHED, lifecycle="spot", name="ip-10-0-0-1.ec2.internal")]
    facts = InstanceFacts(ONE, "us-east-1", "us-east-1a", P5, "spot", "ip-10-0-0-1.ec2.internal")
    assert describe(aws.url).instances == (DescribedInstance(facts, at(5, 10), there=True),)


def test_every_page_is_read_and_only_states_that_tell_something_are_asked_for(aws):
    aws.instances = [instance(f"i-{n:017x}", LAUNCHED) for n in range(5)]
    assert len(describe(aws.url).instances) == 5
    assert len(aws.asked) == 3
    states = {value for key, value in aws.asked[0].items() if key.startswith("Filter.1.Value")}
    assert states == {"running", "shutting-down", "stopping", "stopped", "terminated"}


@pytest.mark.parametrize("state", ["stopping", "stopped", "shutting-down", "terminated"])
def test_the_end_is_when_the_transition_was_asked_for(aws, state):
    aws.instances = [instance(ONE, LAUNCHED, state, reason="User initiated (2026-11-01 05:22:07 GMT)")]
    (read,) = describe(aws.url).instances
    assert (read.there, read.ended_at, read.endless) == (False, at(5, 22, 7), "")


@pytest.mark.parametrize(
    ("reason", "wrong"),
    [
        ("", "no moment such as (2026-11-01 05:22:00 GMT)"),
        ("Server.SpotInstanceTermination: Spot instance termination", "no moment"),
        ("User initiated (yesterday)", "no moment"),
        ("User initiated (2026-13-01 05:22:00 GMT)", "no moment"),
        ("User initiated (2026-11-01 05:22:00 CET)", "no moment"),
        ("User initiated (2026-11-01 04:22:00 GMT)", "a moment before its launch"),
    ],
)
def test_a_reason_that_bears_no_moment_is_refused_by_name_and_no_end_is_guessed(aws, reason, wrong):
    aws.instances = [instance(ONE, LAUNCHED, "terminated", reason=reason)]
    (read,) = describe(aws.url).instances
    assert (read.there, read.ended_at) == (False, None)
    assert f"{ONE} is terminated, and its StateTransitionReason {reason!r} bears {wrong}" in read.endless


def test_an_instance_that_is_stopping_is_there_until_something_says_when(aws):
    aws.instances = [instance(ONE, LAUNCHED, "stopping")]
    (read,) = describe(aws.url).instances
    assert (read.there, read.endless) == (True, "")


def test_an_entry_that_is_no_instance_is_refused_and_the_others_stay(aws):
    aws.instances = [instance("", LAUNCHED), instance(TWO, LAUNCHED)]
    read = describe(aws.url)
    assert [each.facts.instance_id for each in read.instances] == [TWO]
    assert read.refused[0].startswith("AWS ec2 in us-east-1 described an instance with id ''")


@pytest.mark.parametrize(
    ("lifecycle", "kind"),
    [("", "on_demand"), ("spot", "spot"), ("capacity-block", "capacity_block"), ("scheduled", "")],
)
def test_the_kind_of_capacity_is_what_ec2_calls_it(aws, lifecycle, kind):
    aws.instances = [instance(ONE, LAUNCHED, lifecycle=lifecycle)]
    assert describe(aws.url).instances[0].facts.capacity_type == kind


def test_a_launch_is_read_with_the_launch_time_of_ec2_itself(aws):
    item = {
        "instanceId": ONE,
        "instanceType": P5,
        "launchTime": int(at(5, 10).timestamp()) * 1000,
        "placement": {"availabilityZone": "us-east-1b"},
        "privateDnsName": "ip-10-0-0-1.ec2.internal",
        "instanceLifecycle": "spot",
    }
    aws.trail = [recorded("RunInstances", "2026-11-01T05:10:02Z", item)]
    facts = InstanceFacts(ONE, "us-east-1", "us-east-1b", P5, "spot", "ip-10-0-0-1.ec2.internal")
    assert events(aws).events == (InstanceEvent(ONE, at(5, 10), begins=True, facts=facts),)


def test_starts_and_ends_are_read_from_every_page(aws):
    names = {"StartInstances": True, "StopInstances": False, "TerminateInstances": False}
    for name in names:
        aws.trail += [
            recorded(name, f"2026-11-01T06:0{n}:00Z", {"instanceId": f"i-{n}", "previousState": RUNNING})
            for n in range(3)
        ]
    read = events(aws)
    assert sorted((each.instance_id, each.begins) for each in read.events) == sorted(
        (f"i-{n}", begins) for n in range(3) for begins in names.values()
    )
    assert read.requests == len(aws.asked) == 8


def test_a_spot_instance_that_was_taken_back_ended(aws):
    aws.trail = [recorded("BidEvictedEvent", "2026-11-01T05:22:00Z", serviceEventDetails={"instanceIdSet": [ONE, TWO]})]
    assert events(aws).events == tuple(InstanceEvent(each, at(5, 22), begins=False) for each in (ONE, TWO))


def test_what_failed_or_was_stopped_before_is_no_end(aws):
    aws.trail = [
        recorded("TerminateInstances", "2026-11-01T05:22:00Z", errorCode="Client.UnauthorizedOperation"),
        recorded("TerminateInstances", "2026-11-01T05:23:00Z", {"instanceId": ONE, "previousState": STOPPED}),
        recorded("StopInstances", "2026-11-01T05:24:00Z", {"instanceId": ONE}, eventSource="other.amazonaws.com"),
    ]
    assert (events(aws).events, events(aws).refused) == ((), ())


def test_a_record_that_names_no_instance_is_refused_by_name(aws):
    aws.trail = [recorded("StopInstances", "2026-11-01T05:22:00Z"), recorded("BidEvictedEvent", "2026-11-01T05:23:00Z")]
    stop, evicted = events(aws).refused
    assert stop == (
        "AWS CloudTrail in us-east-1: StopInstances StopInstances-2026-11-01T05:22:00Z at 2026-11-01 05:22:00 names no"
        " instance; it is left out"
    )
    assert "BidEvictedEvent" in evicted


@pytest.mark.parametrize("record", ["{", "null"])
def test_a_record_that_cannot_be_read_is_no_answer(aws, record):
    aws.trail = [(at(5), "StopInstances", record)]
    with pytest.raises(Unavailable, match="AWS cloudtrail in us-east-1 gave event 'e' without a readable record"):
        events(aws)


def test_only_the_time_asked_for_is_read_at_two_requests_a_second(aws):
    pauses = []
    events(aws, at(3), at(4), pauses)
    assert {(asked["StartTime"], asked["EndTime"]) for asked in aws.asked} == {(at(3).timestamp(), at(4).timestamp())}
    assert pauses == [0.5] * 5


@pytest.mark.parametrize(
    ("ask", "action", "code"),
    [
        (lambda aws: describe(aws.url), "ec2:DescribeInstances", "UnauthorizedOperation"),
        (events, "cloudtrail:LookupEvents", "AccessDeniedException"),
    ],
)
def test_a_right_that_is_missing_is_named(aws, ask, action, code):
    aws.refuse = [code]
    with pytest.raises(Unavailable) as refused:
        ask(aws)
    service = action.partition(":")[0]
    assert str(refused.value) == (
        f"AWS {service} in us-east-1 answered {code} (no) to {action}: allow {action} in the IAM policy of the"
        " controller's role"
    )


def test_throttling_is_tried_again_and_then_said(aws):
    aws.instances = [instance(ONE, LAUNCHED)]
    aws.refuse = ["RequestLimitExceeded"]
    assert len(describe(aws.url, attempts=2).instances) == 1
    aws.refuse = ["ThrottlingException"]
    with pytest.raises(
        Unavailable, match=r"answered ThrottlingException \(no\) to cloudtrail:LookupEvents, at each of"
    ):
        events(aws)


def test_without_credentials_it_is_said_where_to_give_them(aws, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Misconfigured, match="AWS ec2 in us-east-1: no credentials"):
        describe(aws.url)


def test_motos_instances_run_and_end_as_ec2s_do(moto):
    ec2 = boto3.client("ec2", region_name="us-east-1", endpoint_url=moto)
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    before = datetime.now(UTC) - timedelta(seconds=2)
    made = ec2.run_instances(ImageId=image, InstanceType="g4dn.xlarge", MinCount=3, MaxCount=3)["Instances"]
    running, stopped, ended = (each["InstanceId"] for each in made)
    ec2.stop_instances(InstanceIds=[stopped])
    ec2.terminate_instances(InstanceIds=[ended])
    ec2.close()
    read = {each.facts.instance_id: each for each in describe(moto).instances}
    assert (read[running].there, read[running].ended_at) == (True, None)
    assert read[running].facts.instance_type == "g4dn.xlarge"
    assert read[running].facts.name.endswith(".ec2.internal")
    for each in (stopped, ended):
        assert not read[each].there
        assert read[each].ended_at is not None, read[each].endless
        assert before < read[each].ended_at < datetime.now(UTC) + timedelta(seconds=2)
        assert read[each].launched_at <= read[each].ended_at
