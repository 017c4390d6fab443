"""The job of instances: what EC2 and CloudTrail alone know is booked as unobserved, to the second."""

import logging
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest

from collectors.errors import Unavailable
from collectors.price_list import load
from controller import bookkeeper
from controller.bookkeeper import Bookkeeper
from controller.instances import InstanceWitness
from ledger.cost_keeper import CostKeeper
from ledger.costing import Costing
from ledger.keeper import Keeper
from ledger.price_live_settings import LivePriceSettings
from ledger.store import Store
from ledger.store_progress import progress
from ledger.tables import INSTANCE_TYPES, LIFETIMES, NODE_HOURS, USAGE
from ledger.verify import verify
from ledger.witness import SeenNode, api_lifetimes, note_lifetimes
from tests.collectors.aws_server import AwsServer, instance, recorded, shape
from tests.ledger.books_rig import rules
from tests.ledger.ledger_rig import at

SECOND_NS = 10**9
OURS, GONE, CPU = "i-00000000000000001", "i-00000000000000002", "i-00000000000000003"
PLACE = {"provider": "aws", "region": "us-east-1", "instance_id": OURS, "instance_type": "p5.48xlarge"}


class Rig:
    """A ledger with one node in us-east-1 since 04:00, and AWS beside it."""

    def __init__(self, root, aws):
        self.now = at(8)
        self.aws = aws
        self.store = Store(str(root / "ledger"))
        self.store.claim_epoch()
        self.pauses = []
        self.books = Bookkeeper(
            self.store, Keeper(self.store, Costing(self.store, rules())), CostKeeper(self.store, rules())
        )
        note_lifetimes(self.store, api_lifetimes([SeenNode("a", at(4), PLACE, 8)], self.now))
        self.books.settle(self.now, at(4))
        self.job = self.witness()

    def witness(self, **settings):
        known = {"ec2_url": self.aws.url, "cloudtrail_url": self.aws.url, "attempts": 1} | settings
        live = LivePriceSettings.model_validate(known)
        return InstanceWitness(self.store, live, load(), lambda: self.now, pause=self.pauses.append)

    def run(self):
        self.job.run()
        self.books.settle(self.now)

    def hours(self, instance_id):
        rows = self.store.scan(NODE_HOURS).filter(instance_id=instance_id).sort("hour_utc")
        return [
            (hour.hour, ns / SECOND_NS, by)
            for hour, ns, by in rows.select("hour_utc", "existed_ns", "evidence").collect().iter_rows()
        ]

    def events(self):
        rows = self.store.scan(LIFETIMES).filter(evidence="event").sort("instance_id", "began")
        return rows.select("instance_id", "began", "ended").collect().rows()

    def asked(self, action):
        return [each for each in self.aws.asked if each.get("Action") == action]

    def looked_up(self):
        return [each for each in self.aws.asked if "LookupAttributes" in each]


@pytest.fixture
def rig(tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    aws = AwsServer()
    yield Rig(tmp_path, aws)
    aws.close()


def launched(instance_id, when, kind="p5.48xlarge"):
    item = {"instanceId": instance_id, "instanceType": kind, "launchTime": int(when.timestamp()) * 1000}
    return recorded("RunInstances", f"{when:%Y-%m-%dT%H:%M:%SZ}", item)


def ended(instance_id, when):
    item = {"instanceId": instance_id, "previousState": {"name": "running"}}
    return recorded("TerminateInstances", f"{when:%Y-%m-%dT%H:%M:%SZ}", item)


def test_a_node_that_lived_twelve_minutes_unseen_is_unobserved_for_exactly_those_seconds(rig):
    rig.aws.trail = [launched(GONE, at(5, 50, 7)), ended(GONE, at(6, 2, 11))]
    rig.run()
    assert rig.hours(GONE) == [(5, 593.0, "event"), (6, 131.0, "event")]
    rows = rig.store.scan(USAGE).filter(instance_id=GONE).group_by("account").agg(pl.col("gpu_ns").sum())
    assert rows.collect().rows() == [("unobserved", 8 * (12 * 60 + 4) * SECOND_NS)]
    assert list(verify(rig.store)) == []


def test_the_same_again_books_nothing_again(rig):
    rig.aws.trail = [launched(GONE, at(5, 50, 7)), ended(GONE, at(6, 2, 11))]
    rig.run()
    before = [rig.store.version(table) for table in (LIFETIMES, NODE_HOURS, USAGE)]
    rig.run()
    assert [rig.store.version(table) for table in (LIFETIMES, NODE_HOURS, USAGE)] == before


def test_a_node_that_ec2_still_describes_is_unobserved_without_cloudtrail(rig):
    reason = "User initiated (2026-11-01 05:22:03 GMT)"
    rig.aws.instances = [instance(GONE, "2026-11-01T05:10:00.000Z", "terminated", reason=reason)]
    rig.witness(instances="describe").run()
    rig.books.settle(rig.now)
    assert rig.hours(GONE) == [(5, 723.0, "event")]
    assert rig.looked_up() == []


def test_a_node_of_ours_exists_from_its_launch_on_and_keeps_its_name(rig):
    rig.aws.instances = [instance(OURS, "2026-11-01T04:57:30.000Z", name="ip-10-0-0-1.ec2.internal")]
    rig.run()
    assert rig.hours(OURS)[:2] == [(4, 3600.0, "api"), (5, 3600.0, "event")]
    assert rig.store.scan(NODE_HOURS).select(pl.col("node").unique()).collect().item() == "a"


def test_an_end_that_cannot_be_read_is_said_once_and_not_guessed(rig, caplog):
    rig.aws.instances = [instance(GONE, "2026-11-01T05:10:00.000Z", "terminated", reason="User initiated (lately)")]
    with caplog.at_level(logging.WARNING):
        rig.run()
        rig.run()
    (said,) = [each.message for each in caplog.records if "StateTransitionReason" in each.message]
    assert f"{GONE} is terminated, and its StateTransitionReason 'User initiated (lately)' bears no moment" in said
    assert rig.events() == [(GONE, at(5, 10), None)]
    assert rig.hours(GONE) == []


def test_an_end_that_cloudtrail_knows_is_not_complained_of(rig, caplog):
    rig.aws.instances = [instance(GONE, "2026-11-01T05:10:00.000Z", "terminated", reason="Server.SpotInstanceShutdown")]
    rig.aws.trail = [recorded("BidEvictedEvent", "2026-11-01T05:22:00Z", serviceEventDetails={"instanceIdSet": [GONE]})]
    rig.run()
    assert rig.events() == [(GONE, at(5, 10), at(5, 22))]
    assert "StateTransitionReason" not in caplog.text


def test_an_instance_without_gpus_is_left_out_and_its_type_asked_for_once(rig):
    rig.aws.instances = [instance(CPU, "2026-11-01T05:10:00.000Z", instance_type="m5.large")]
    rig.aws.shapes = [shape("m5.large", 2, 8192, 0, "", 0)]
    rig.run()
    rig.run()
    assert rig.events() == []
    assert len(rig.asked("DescribeInstanceTypes")) == 1


def test_a_type_that_no_list_knows_is_asked_of_ec2(rig):
    rig.aws.trail = [launched(GONE, at(5, 10), "x9.new"), ended(GONE, at(5, 22))]
    rig.aws.shapes = [shape("x9.new", 64, 2**20, 4, "X900", 200_000)]
    rig.run()
    assert rig.store.scan(INSTANCE_TYPES).select("instance_type", "gpu_count").collect().rows() == [("x9.new", 4)]
    assert rig.hours(GONE) == [(5, 720.0, "event")]


def test_what_could_not_be_told_apart_is_read_again(rig):
    rig.aws.trail = [launched(GONE, at(5, 10), "x9.new"), ended(GONE, at(5, 22))]
    rig.aws.shapes = [shape("x9.new", 64, 2**20, 4, "X900", 200_000)]
    rig.aws.deny["DescribeInstanceTypes"] = "UnauthorizedOperation"
    with pytest.raises(Unavailable, match="allow ec2:DescribeInstanceTypes in the IAM policy"):
        rig.job.run()
    rig.aws.deny.clear()
    rig.run()
    assert rig.hours(GONE) == [(5, 720.0, "event")]


def test_events_are_read_from_the_first_hour_booked_and_then_from_the_last_reading_on(rig):
    rig.run()
    rig.now += timedelta(minutes=5)
    rig.run()
    spans = {
        (datetime.fromtimestamp(each["StartTime"], UTC), datetime.fromtimestamp(each["EndTime"], UTC))
        for each in rig.looked_up()
    }
    assert spans == {(at(4), at(8)), (at(7, 30), at(8, 5))}


def test_a_long_past_is_read_in_several_runs_and_each_moment_of_it(rig):
    rig.now = at(8) + timedelta(days=45)
    rig.run()
    marks = [progress(rig.store, "instance events")["us-east-1"]]
    while marks[-1] != rig.now.isoformat():
        rig.run()
        marks.append(progress(rig.store, "instance events")["us-east-1"])
    assert len(marks) == 3
    spans = sorted({(each["StartTime"], each["EndTime"]) for each in rig.looked_up()})
    assert all(later[0] <= former[1] for former, later in pairwise(spans))
    assert spans[0][0] == at(4).timestamp()
    assert len(rig.pauses) == len(rig.looked_up())


def test_a_long_past_of_which_events_speak_late_is_brought_in_step_in_parts(rig, monkeypatch):
    rig.now = at(8) + timedelta(days=9)
    note_lifetimes(rig.store, api_lifetimes([SeenNode("a", at(4), PLACE, 8)], rig.now))
    rig.books.settle(rig.now)
    rig.aws.instances = [instance(OURS, "2026-11-01T03:57:30.000Z")]
    rig.aws.trail = [launched(GONE, at(5, 50, 7)), ended(GONE, at(6, 2, 11))]
    monkeypatch.setattr(bookkeeper, "MOST_NODE_HOURS", 50)
    parts = list(rig.books._parts(at(4), rig.now))
    assert [until for _, until in parts] == [None, *(first for first, _ in parts[:-1])]
    assert (len(parts), parts[-1][0]) == (5, at(4))
    rig.run()
    assert {by for _, _, by in rig.hours(OURS)} == {"event"}
    assert sum(seconds for _, seconds, _ in rig.hours(OURS)) == (rig.now - at(4)).total_seconds()
    assert rig.hours(GONE) == [(5, 593.0, "event"), (6, 131.0, "event")]
    assert list(verify(rig.store)) == []


def test_a_missing_right_to_cloudtrail_is_said_and_what_ec2_describes_is_booked(rig):
    rig.aws.instances = [instance(GONE, "2026-11-01T07:10:00.000Z")]
    rig.aws.deny["LookupEvents"] = "AccessDeniedException"
    with pytest.raises(Unavailable, match="allow cloudtrail:LookupEvents in the IAM policy of the controller's role"):
        rig.job.run()
    rig.books.settle(rig.now)
    assert rig.hours(GONE) == [(7, 3000.0, "event")]
    assert "us-east-1" not in progress(rig.store, "instance events")


def test_a_missing_right_to_ec2_leaves_what_cloudtrail_recorded(rig):
    rig.aws.trail = [launched(GONE, at(5, 10)), ended(GONE, at(5, 22))]
    rig.aws.deny["DescribeInstances"] = "UnauthorizedOperation"
    with pytest.raises(Unavailable, match="allow ec2:DescribeInstances in the IAM policy of the controller's role"):
        rig.job.run()
    assert rig.events() == [(GONE, at(5, 10), at(5, 22))]


def test_throttling_loses_nothing(rig):
    rig.aws.trail = [launched(GONE, at(5, 10)), ended(GONE, at(5, 22))]
    rig.aws.deny["LookupEvents"] = "ThrottlingException"
    with pytest.raises(Unavailable, match="answered ThrottlingException"):
        rig.job.run()
    rig.aws.deny.clear()
    rig.run()
    assert rig.hours(GONE) == [(5, 720.0, "event")]


def test_without_nodes_in_aws_nobody_is_asked(tmp_path, rig):
    rig.job.store = Store(str(tmp_path / "other"))
    rig.job.run()
    assert rig.aws.asked == []
