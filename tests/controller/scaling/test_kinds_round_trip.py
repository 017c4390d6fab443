"""Down and back gives the very object, in every kind, at every size, by us or by the command that it carries."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.scaling.kinds.commands import DOWN, LABELLED, OURS
from controller.scaling.model import ZERO, Size
from controller.scaling.record import COMMAND, RECORD
from controller.scaling.registry import KINDS, kind_of, size_refused
from tests.controller.scaling.kind_objects import BY_REPLICAS, OBJECTS, STOPPED_WHOLE, an, annotated, commanded, merged

SIZES = st.one_of(
    st.builds(Size, number=st.integers(0, 12)), st.builds(Size, percent=st.integers(0, 100)), st.just(ZERO)
)
COUNTS = st.integers(0, 12)


@st.composite
def objects(draw):
    """One of any kind, its levers at any place where a user may have put them, or not there at all."""
    kind = draw(st.sampled_from(sorted(OBJECTS)))
    maybe = st.one_of(st.none(), st.booleans())
    words = st.sampled_from((None, "true", "false", "no", ""))
    if kind in BY_REPLICAS:
        return an(kind, replicas=draw(st.one_of(st.none(), COUNTS)))
    if kind == "HorizontalPodAutoscaler":
        least = draw(st.one_of(st.none(), COUNTS))
        return an(kind, minReplicas=least, maxReplicas=draw(st.integers(max(1, least or 1), 20)))
    if kind == "ScaledObject":
        least = draw(st.one_of(st.none(), COUNTS))
        most = draw(st.one_of(st.none(), st.integers(max(1, least or 1), 20)))
        paused = {"autoscaling.keda.sh/paused-replicas": draw(st.sampled_from((None, "0", "2", "7")))}
        return annotated(an(kind, minReplicaCount=least, maxReplicaCount=most), **paused)
    if kind == "PyTorchJob":
        policy = draw(st.sampled_from((None, {}, {"backoffLimit": 2})))
        suspend = draw(maybe)
        said = policy if suspend is None else {**(policy or {}), "suspend": suspend}
        return an(kind, runPolicy=said)
    key = {
        "Notebook": "kubeflow-resource-stopped",
        "ScaledJob": "autoscaling.keda.sh/paused",
        "InferenceService": "serving.kserve.io/stop",
    }.get(kind)
    return annotated(an(kind), **{key: draw(words)}) if key else an(kind, suspend=draw(maybe))


def running(kind, seen):
    """How much of it may be there, for comparing: its size where it has one, else whether it runs."""
    levers = seen.levers
    if kind in BY_REPLICAS:
        return 1 if levers["replicas"] is None else levers["replicas"]
    if kind == "HorizontalPodAutoscaler":
        return levers["maxReplicas"]
    if kind == "ScaledObject":
        return seen.bounds[1] if levers["pausedReplicas"] is None else int(levers["pausedReplicas"])
    return 1 if kind_of(kind).down(seen, ZERO) is not None else 0


@given(objects(), SIZES)
def test_down_and_back_gives_the_very_object(made, size):
    kind = kind_of(made["kind"])
    seen = kind.seen(made)
    down = kind.down(seen, size)
    if down is None:
        return
    put = merged(made, kind.patch(down))
    assert put != made
    assert kind.seen(put).levers == down
    assert merged(put, kind.patch(seen.levers)) == made


@given(objects(), SIZES)
def test_the_command_on_the_object_gives_it_back_without_us(made, size):
    kind = kind_of(made["kind"])
    seen = kind.seen(made)
    down = kind.down(seen, size)
    if down is None:
        return
    command = kind.command(seen, seen.levers)
    ours = {"metadata": {"annotations": {RECORD: "{}", COMMAND: command}}}
    if made["kind"] in LABELLED:
        ours["metadata"]["labels"] = {DOWN: "3-0-1"}
    assert commanded(merged(merged(made, kind.patch(down)), ours), command) == made


@given(objects(), SIZES)
def test_nothing_ever_goes_up_and_what_is_down_is_down(made, size):
    kind = kind_of(made["kind"])
    seen = kind.seen(made)
    down = kind.down(seen, size)
    if down is None:
        return
    put = kind.seen(merged(made, kind.patch(down)))
    assert running(made["kind"], put) < running(made["kind"], seen)
    if size.percent is None:
        assert kind.down(put, size) is None
        assert running(made["kind"], put) == (size.number or 0)


@given(objects(), SIZES)
def test_asked_again_about_what_it_put_down_a_kind_answers_the_same(made, size):
    """The engine asks with the original's levers and all else as it stands now."""
    from dataclasses import replace

    kind = kind_of(made["kind"])
    seen = kind.seen(made)
    down = kind.down(seen, size)
    if down is None:
        return
    now = kind.seen(merged(made, kind.patch(down)))
    assert kind.down(replace(now, levers=seen.levers), size) == down


@given(objects(), SIZES)
def test_levers_survive_being_written_down(made, size):
    kind = kind_of(made["kind"])
    seen = kind.seen(made)
    for levers in (seen.levers, kind.down(seen, size) or {}):
        assert json.loads(json.dumps(dict(levers))) == levers


def test_what_runs_or_does_not_takes_no_size_but_nothing():
    for name in STOPPED_WHOLE:
        kind = kind_of(name)
        seen = kind.seen(OBJECTS[name])
        assert kind.down(seen, ZERO) is not None, name
        assert kind.down(seen, Size(percent=0)) is not None, name
        assert kind.down(seen, Size(1)) is None, name
        assert kind.down(seen, Size(percent=50)) is None, name
        assert "between" in size_refused(kind, Size(1))
        assert size_refused(kind, ZERO) is None


def test_an_autoscalers_bounds_both_stand_at_the_size_and_never_at_nothing():
    kind = kind_of("HorizontalPodAutoscaler")
    seen = kind.seen(an("HorizontalPodAutoscaler", minReplicas=3, maxReplicas=10))
    assert kind.down(seen, Size(1)) == {"minReplicas": 1, "maxReplicas": 1}
    assert kind.down(seen, Size(5)) == {"minReplicas": 5, "maxReplicas": 5}
    assert kind.down(seen, Size(percent=50)) == {"minReplicas": 2, "maxReplicas": 2}
    assert kind.down(seen, Size(10)) is None
    assert kind.down(seen, ZERO) is None
    assert "cannot hold" in size_refused(kind, ZERO)


def test_half_of_an_object_that_keda_may_hold_at_nothing_is_not_nothing():
    kind = kind_of("ScaledObject")
    seen = kind.seen(an("ScaledObject", minReplicaCount=None))
    assert kind.down(seen, Size(percent=50)) == {"pausedReplicas": "1"}
    assert kind.down(seen, ZERO) == {"pausedReplicas": "0"}


def test_a_pause_that_kedas_user_had_set_is_the_original():
    kind = kind_of("ScaledObject")
    seen = kind.seen(annotated(an("ScaledObject"), **{"autoscaling.keda.sh/paused-replicas": "2"}))
    assert kind.down(seen, Size(2)) is None
    assert kind.down(seen, Size(percent=50)) == {"pausedReplicas": "1"}
    assert kind.down(seen, ZERO) == {"pausedReplicas": "0"}
    assert kind.patch(seen.levers) == {"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "2"}}}


def test_commands_are_as_a_person_would_type_them():
    scale, patch = kind_of("Deployment"), kind_of("CronJob")
    deployment, cron = scale.seen(OBJECTS["Deployment"]), patch.seen(OBJECTS["CronJob"])
    forget = " ".join(f"{key}-" for key in (RECORD, COMMAND))
    assert scale.command(deployment, {"replicas": 3}) == (
        "kubectl scale --replicas=3 -n team-a deployments.apps/llama"
        f" && kubectl annotate -n team-a deployments.apps/llama {forget}"
        f" && kubectl label -n team-a deployments.apps/llama {DOWN}-"
    )
    assert patch.command(cron, {"suspend": False}) == (
        """kubectl patch -n team-a cronjobs.batch/llama --type=merge -p '{"spec":{"suspend":false}}'"""
        f" && kubectl annotate -n team-a cronjobs.batch/llama {forget}"
    )


def test_the_annotations_that_a_command_takes_away_are_those_that_are_written():
    assert OURS == (RECORD, COMMAND)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_only_what_has_a_scale_subresource_is_written_through_it(kind):
    assert kind.scale_subresource == (kind.name in BY_REPLICAS)
    assert kind.name in OBJECTS


def test_a_notebook_bears_the_time_at_which_it_was_stopped():
    from dataclasses import replace
    from datetime import UTC, datetime

    kind = replace(kind_of("Notebook"), now=lambda: datetime(2026, 11, 20, 19, 30, tzinfo=UTC))
    assert kind.down(kind.seen(OBJECTS["Notebook"]), ZERO) == {"stopped": "2026-11-20T19:30:00Z"}
