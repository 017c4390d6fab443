"""How long restores take, and why one is late."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.scaling.coming_back import UNSAID, LeadTimes, came, late, short_types
from controller.scaling.model import PodSeen, Ref
from controller.scaling.record import Record

AT = datetime(2026, 11, 23, 7, tzinfo=UTC)
LEAST, MOST = timedelta(minutes=2), timedelta(hours=1)
WEB = Ref("Deployment", "team-a", "web")


def record(**more):
    return Record("Deployment", {"replicas": 3}, {"replicas": 0}, 1, "nights", AT - timedelta(hours=11), None, **more)


def pod(waiting):
    return PodSeen("team-a", "web-1", "u", WEB, "", "Pending", ready=False, gpus=1, created=AT, waiting=waiting)


def test_of_a_workload_that_was_never_restored_the_least_is_taken():
    assert LeadTimes(LEAST, MOST).of(WEB) == LEAST


def test_a_quarter_is_added_to_the_slowest_of_the_last_restores():
    leads = LeadTimes(LEAST, MOST)
    for seconds in (100, 400, 200):
        leads.learn(WEB, seconds)
    assert leads.of(WEB) == timedelta(seconds=500)


def test_a_slow_restore_is_forgotten_after_eight_more():
    leads = LeadTimes(LEAST, MOST)
    leads.learn(WEB, 2000)
    for _ in range(8):
        leads.learn(WEB, 200)
    assert leads.of(WEB) == timedelta(seconds=250)


@given(st.lists(st.floats(0, 1e6), max_size=20))
def test_the_lead_stays_within_its_limits(seconds):
    leads = LeadTimes(LEAST, MOST)
    for each in seconds:
        leads.learn(WEB, each)
    assert LEAST <= leads.of(WEB) <= MOST


def test_what_is_gone_is_forgotten():
    leads = LeadTimes(LEAST, MOST)
    leads.learn(WEB, 400)
    leads.keep([])
    assert leads.of(WEB) == LEAST


def test_a_restore_that_was_ready_before_its_window_has_a_delay_below_zero():
    took = came(record(restoring=AT - timedelta(minutes=5), due=AT), AT - timedelta(minutes=1))
    assert (took.seconds, took.delay_seconds) == (240, -60)


def test_what_was_not_being_restored_took_nothing():
    assert came(record(), AT) is None


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ("Unschedulable: 0/4 nodes are available: 4 Insufficient nvidia.com/gpu.", "no capacity"),
        ("ErrImagePull: not found", "image"),
        ("CrashLoopBackOff: back-off", "other"),
    ],
)
def test_a_late_restore_says_why_as_the_cluster_does(waiting, reason):
    found = late(WEB, record(restoring=AT, due=AT), [pod(""), pod(waiting)], AT + LEAST, LEAST)
    assert (found.reason, found.why, found.since) == (reason, waiting, AT)


@pytest.mark.parametrize(
    ("unmade", "reason"),
    [
        ('FailedCreate: pods "web-1" is forbidden: exceeded quota: gpus, requested: pods=1', "quota"),
        ('FailedCreate: pods "web-1" is forbidden: failed quota: cpu: must specify limits.cpu', "quota"),
        ('FailedCreate: pods "web-1" is forbidden: status unknown for quota: gpus, resources: pods', "quota"),
        ('FailedCreate: pods "quota-image-1" is forbidden: denied by a webhook', "other"),
    ],
)
def test_a_late_restore_without_pods_says_why_none_can_be_made(unmade, reason):
    found = late(WEB, record(restoring=AT, due=AT), [], AT + LEAST, LEAST, unmade=unmade)
    assert (found.reason, found.why) == (reason, unmade)


def test_pods_that_are_there_tell_more_than_those_that_cannot_be_made():
    why = "Unschedulable: 0/4 nodes are available"
    found = late(WEB, record(restoring=AT), [pod(why)], AT + LEAST, LEAST, unmade="FailedCreate: exceeded quota")
    assert found.why == why


def test_a_late_restore_of_which_nothing_is_said_says_so():
    assert late(WEB, record(restoring=AT), [], AT + LEAST, LEAST).why == UNSAID


def test_until_it_is_late_nothing_is_said():
    assert late(WEB, record(restoring=AT, due=AT), [pod("x")], AT + LEAST - timedelta(seconds=1), LEAST) is None


def test_types_are_short_only_where_capacity_is_what_is_missing():
    borne = record(restoring=AT, due=AT, instance_types=("p5.48xlarge",))
    lates = [late(WEB, borne, [pod(why)], AT + LEAST, LEAST) for why in ("Unschedulable: 0/4", "ErrImagePull: x")]
    assert [each.instance_types for each in lates] == [("p5.48xlarge",), ()]


@pytest.mark.parametrize("types", [(), ("p5.48xlarge",), ("Standard_ND96isr_H100_v5", "a3-highgpu-8g")])
def test_types_that_were_short_are_read_again_from_what_was_told(types):
    borne = record(restoring=AT, due=AT, instance_types=types)
    found = late(WEB, borne, [pod("Unschedulable: 0/4 nodes: for p5: x")], AT + LEAST, LEAST)
    assert short_types(found.told) == types


def test_what_is_late_for_another_reason_tells_of_no_types():
    borne = record(restoring=AT, due=AT, instance_types=("p5.48xlarge",))
    assert short_types(late(WEB, borne, [pod("ErrImagePull: x")], AT + LEAST, LEAST).told) == ()
    assert short_types("not Ready, other: not Ready, no capacity for p5.48xlarge: x") == ()
