"""What a former kube-downscaler left down: its original is known, and it is taken over where that disturbs nobody."""

from dataclasses import replace

import pytest

from controller.scaling.decide import decide
from controller.scaling.left_by_downscaler import left_down, taken_over
from controller.scaling.record import RECORD, record_of
from controller.scaling.registry import kind_of
from tests.controller.scaling.policy_rig import MONDAY_NIGHT, MONDAY_NOON, nights, wish, workload

LEFT = workload(levers={"replicas": 0}, downscaler__original_replicas="3")


@pytest.mark.parametrize(
    ("levers", "original", "back"),
    [
        ({"replicas": 0}, "3", {"replicas": 3}),
        ({"replicas": 1}, "3", {"replicas": 3}),
        ({"replicas": 3}, "3", None),
        ({"replicas": 5}, "3", None),
        ({"replicas": 0}, "0", None),
        ({"minReplicas": 1, "maxReplicas": 9}, "4", {"minReplicas": 4, "maxReplicas": 9}),
        ({"suspend": True}, "1", {"suspend": False}),
        ({"suspend": False}, "1", None),
        ({"suspend": True}, "0", None),
        ({"pausedReplicas": "0"}, "-1", {"pausedReplicas": None}),
        ({"pausedReplicas": None}, "-1", None),
    ],
)
def test_what_a_former_kube_downscaler_left_down_is_known_with_its_original(levers, original, back):
    assert left_down(workload(levers=levers, downscaler__original_replicas=original)) == back


def test_a_pause_that_somebody_had_set_before_it_is_given_back():
    seen = workload(
        levers={"pausedReplicas": "0"},
        downscaler__original_replicas="2",
        downscaler__original_pause_replicas="2",
    )
    assert left_down(seen) == {"pausedReplicas": "2"}


def test_without_its_note_nothing_was_left():
    assert left_down(workload(levers={"replicas": 0})) is None


@pytest.mark.parametrize("nonsense", ["", "three", "50%"])
def test_a_note_that_is_no_number_says_nothing(nonsense):
    assert left_down(workload(levers={"replicas": 0}, downscaler__original_replicas=nonsense)) is None


def step(now):
    asked = wish(LEFT, nights(), now=now, dry_run=False)
    return decide(taken_over(LEFT, asked, now), asked, kind_of("Deployment"), now, ready=False)


def test_it_stays_down_while_its_window_holds_and_goes_back_to_the_original_when_it_ends():
    assert step(MONDAY_NIGHT).action == "nothing"
    back = step(MONDAY_NOON)
    assert (back.action, back.levers) == ("restore", {"replicas": 3})
    assert back.record.policy == "kube-downscaler"


def test_nothing_is_taken_over_beside_a_dry_run_or_of_whom_nothing_concerns():
    assert taken_over(LEFT, wish(LEFT, nights(), dry_run=True), MONDAY_NIGHT) is LEFT
    assert taken_over(LEFT, wish(LEFT, dry_run=False), MONDAY_NIGHT) is LEFT


def test_what_bears_our_record_keeps_it():
    asked = wish(LEFT, nights(), dry_run=False)
    ours = taken_over(LEFT, asked, MONDAY_NIGHT)
    assert record_of(ours).was == {"replicas": 3}
    other = replace(LEFT, annotations={**LEFT.annotations, RECORD: "{}"})
    assert taken_over(other, asked, MONDAY_NIGHT) is other
