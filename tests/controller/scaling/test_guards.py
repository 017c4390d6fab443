"""Every guard by table: what it refuses, what it lets through, and that its words have figures and a remedy."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.scaling.guards import GUARDS, GuardAsk, not_applicable, pods_that_stay, refusals
from controller.scaling.kinds.notebook import LAST_ACTIVITY, NOTEBOOK
from controller.scaling.local_volumes import UNSEEN, LocalVolumes, VolumeSeen
from controller.scaling.model import Activity, NamespaceSeen, NodeSeen, Queue, Readiness, Ref, Size, Workload
from tests.controller.scaling.guard_rig import NOW, ago, pod, wish, workload
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.toy_server import merge

IDLE = Activity(active_ratio=0.0, covered_seconds=1800, age_seconds=30)
NODES = {"n1": NodeSeen("n1", "p5.48xlarge", "on_demand", 8)}
STORES = LocalVolumes()
STORES.replace([VolumeSeen(f"pv-{17 + each}", "ml", f"data-store-{each}", local=True) for each in range(3)])
LOCAL = STORES.losses("ml", ["data-store-"])
OTHER = pod("other-0", workload=Ref("Deployment", "ml", "other"))


def ask(*pods, seen=None, size=None, options=None, bare=False, **more):
    """A down of an idle GPU workload that nothing speaks against, but for what is given; ``bare``: without a pod."""
    pods = () if bare else pods or (pod(),)
    wished = wish(**(options or {}))
    if size is not None:
        wished = replace(wished, size=size)
    known = {"activity": IDLE, "nodes": NODES, "gpu_pods": pods_that_stay(pods)}
    return GuardAsk(workload(*pods, **(seen or {})), wished, NOW, **{**known, **more})


def said(asked):
    return {each.guard: each.why for each in refusals(asked)}


def test_nothing_is_said_of_an_old_idle_workload():
    assert said(ask()) == {}


REFUSED = [
    ("protected", {"seen": {"ref": Ref("Deployment", "kube-system", "coredns")}}, "namespace kube-system: the cluster"),
    ("protected", {"seen": {"labels": {"app.kubernetes.io/name": "karpenter"}}}, "label app.kubernetes.io/name=karp"),
    ("protected", {"seen": {"ref": Ref("Deployment", "x", "keda-operator")}}, "name keda-operator: an autoscaler"),
    ("protected", {"seen": {"ref": Ref("Deployment", "x", "azure-cluster-autoscaler")}}, "an autoscaler"),
    ("protected", {"seen": {"ref": Ref("Deployment", "x", "vpa-recommender")}}, "name vpa-recommender: an autoscaler"),
    ("protected", {"seen": {"ref": Ref("Deployment", "monitoring-prod", "vmagent")}}, "namespace monitoring-prod: mon"),
    ("protected", {"own_namespace": "ml"}, "namespace ml: this controller runs there"),
    ("protected", {"protected_namespaces": ["m?"]}, "the configuration protects m?"),
    ("deleting", {"seen": {"deleting": True}}, "is being deleted"),
    ("finished", {"seen": {"finished": True}}, "it is over"),
    ("young", {"seen": {"created": ago(60)}}, "made 60 s ago, at 2026-11-01 10:44Z, and is left alone for 15 min"),
    ("young", {"seen": {"created": ago(-60)}}, "made 0 s ago"),
    ("rollout", {"seen": {"readiness": Readiness(3, 2, rolling=True)}}, "2 of 3 pods are ready"),
    ("telemetry", {"activity": None, "telemetry_gap": "pod ml/chat-0 on node n1"}, "of pod ml/chat-0 on node n1, and"),
    ("telemetry", {"activity": None, "telemetry_known": False}, "nor of any other node"),
    ("telemetry", {"telemetry_silent": "node n1: does not answer"}, "once more, node n1: does not answer; the figures"),
    ("telemetry", {"activity": replace(IDLE, age_seconds=601)}, "are 10 min old, at most 10 min are allowed"),
    ("telemetry", {"activity": replace(IDLE, covered_seconds=1700)}, "go back 28 min, and the last 30 minutes"),
    ("telemetry", {"activity": replace(IDLE, unknown_ratio=0.03)}, "for 3.0 % of the last 30 minutes it is not known"),
    ("telemetry", {"activity": replace(IDLE, active_ratio=0.015, unknown_ratio=0.01)}, "beside 1.5 % in which"),
    ("telemetry", {"seen": {"readiness": Readiness(2, 2)}, "bare": True}, "2 of its pods are Ready by its status, and"),
    ("telemetry", {"seen": {"scales": ("NIMService", "llama")}}, "scales NIMService ml/llama, which is not seen, so"),
    ("activity", {"activity": replace(IDLE, active_ratio=0.021)}, "worked 2.1 % of the last 30 minutes, 2.0 % are"),
    (
        "activity",
        {"activity": replace(IDLE, active_ratio=0.5, covered_seconds=3000)},
        "worked at most, told over 50 min, 50.0 %",
    ),
    ("queue", {"queue": Queue(2, 0, 5)}, "2 requests run and 0 wait, 0 are allowed (told 5 s ago)"),
    ("queue", {"queue": Queue(0, 1, 5)}, "0 requests run and 1 wait"),
    (
        "queue",
        {"serves": True, "queue_gap": "pod ml/chat-0 on node n1: its page is not read (connection refused)"},
        "is not known: pod ml/chat-0 on node n1",
    ),
    ("state_loss", {"seen": {"losses": (UNSEEN,)}}, "cannot be seen (right: get, list and watch persistentvolumes)"),
    ("state_loss", {"seen": {"losses": LOCAL}}, "claim 'data-store-0' (and 2 more) is on a local volume (pv-17)"),
    (
        "state_loss",
        {"seen": {"losses": ("emptyDir volume 'scratch'",)}},
        "lost: emptyDir volume 'scratch'; the",
    ),
    ("last_on_node", {"options": {"may_empty_node": False}}, "the last GPU workload on node n1, and its policy says"),
    ("last_on_node", {"scarce": ["p5.48xlarge"]}, "whose type p5.48xlarge was seen out of capacity"),
    ("owner_told", {"options": {"tell_owner_minutes": 15}}, "is told 15 minutes before, and was not told yet"),
    ("owner_told", {"options": {"tell_owner_minutes": 15}, "told_at": ago(600)}, "it goes down at 2026-11-01 10:50Z"),
    ("owner_told", {"snoozed_until": ago(-600)}, "asked for it to stay up until 2026-11-01 10:55Z"),
]


@pytest.mark.parametrize(("guard", "given", "words"), REFUSED, ids=lambda each: each if isinstance(each, str) else "")
def test_a_guard_refuses_alone_and_says_why(guard, given, words):
    found = said(ask(**given))
    assert list(found) == [guard]
    assert words in found[guard]


def test_every_guard_is_seen_to_refuse():
    assert {guard for guard, _, _ in REFUSED} == set(GUARDS)


ALLOWED = [
    {"seen": {"ref": Ref("Deployment", "ml-monitoring", "trainer")}},
    {"seen": {"labels": {"app": "grafana-of-my-model"}}},
    {"seen": {"created": ago(900)}},
    {"activity": replace(IDLE, active_ratio=0.02)},
    {"activity": replace(IDLE, age_seconds=600)},
    {"activity": replace(IDLE, active_ratio=0.01, unknown_ratio=0.01)},
    {"queue": Queue(0, 0, 5)},
    {"seen": {"losses": ("a Ray head",)}, "options": {"allow_state_loss": True}},
    {"scarce": ["p4d.24xlarge"]},
    {"scarce": ["p5.48xlarge"], "options": {"may_empty_node": True}},
    {"options": {"tell_owner_minutes": 15}, "told_at": ago(900)},
    {"snoozed_until": NOW},
]


@pytest.mark.parametrize("given", ALLOWED, ids=str)
def test_what_is_at_or_below_a_threshold_goes_down(given):
    assert said(ask(**given)) == {}


def test_figures_have_to_be_younger_where_fewer_minutes_are_asked():
    ten = {"idle_minutes": 10}
    assert "at most 3 min are allowed" in said(ask(activity=replace(IDLE, age_seconds=201), options=ten))["telemetry"]
    assert said(ask(activity=replace(IDLE, age_seconds=200), options=ten)) == {}


def test_a_workload_without_gpus_needs_no_telemetry():
    plain = ask(pod(gpus=0), seen={"gpus_per_pod": 0}, activity=None, telemetry_known=False)
    assert said(plain) == {}
    assert not_applicable(plain) == ("telemetry", "activity", "queue", "last_on_node", "owner_told")
    assert not_applicable(ask(serves=True)) == ("owner_told",)


def test_a_scaler_whose_target_is_not_seen_is_never_taken_for_one_without_gpus():
    blind = ask(bare=True, seen={"gpus_per_pod": 0, "scales": ("NIMService", "llama")}, activity=None)
    assert list(said(blind)) == ["telemetry"]
    assert "telemetry" not in not_applicable(blind)


def test_ready_pods_of_which_only_those_without_gpus_are_seen_are_unknown():
    assert list(said(ask(pod(gpus=0), seen={"readiness": Readiness(2, 2)}))) == ["telemetry"]


@pytest.mark.parametrize(
    ("pods", "readiness"),
    [((), Readiness(0, 0)), ((), Readiness(3, 0)), ((pod(node="", phase="Pending", ready=False),), Readiness(2, 1))],
    ids=["nothing runs", "not begun", "its pods wait"],
)
def test_what_has_no_pod_that_could_work_goes_down(pods, readiness):
    assert said(ask(*pods, seen={"readiness": readiness}, bare=not pods)) == {}


def test_a_workload_that_stays_on_a_node_lets_the_others_go():
    kept = {"may_empty_node": False}
    both = pods_that_stay([pod(), OTHER])
    assert said(ask(gpu_pods=both, options=kept)) == {}
    gone = pods_that_stay([pod(), OTHER], down=[OTHER.workload])
    assert list(said(ask(gpu_pods=gone, options=kept))) == ["last_on_node"]


def test_pods_that_are_over_keep_no_node():
    over = replace(OTHER, phase="Succeeded")
    assert pods_that_stay([over, replace(OTHER, node=""), replace(OTHER, gpus=0)]) == {}


@pytest.mark.parametrize(("size", "refused"), [(Size(0), True), (Size(3), True), (Size(4), False)], ids=str)
def test_a_partial_down_empties_a_node_only_where_all_its_pods_there_may_go(size, refused):
    pods = [pod(f"chat-{count}", f"n{1 + count // 3}") for count in range(6)]
    asked = ask(*pods, size=size, options={"may_empty_node": False})
    assert ("last_on_node" in said(asked)) is refused


def test_each_guard_has_its_page_and_the_index_names_all():
    folder = Path(__file__).parents[3] / "docs/guides/guards"
    pages = (*GUARDS, "breaker")
    assert {page.stem for page in folder.glob("*.md")} == {*pages, "README"}
    index = (folder / "README.md").read_text()
    assert [name for name in pages if f"[{name}]({name}.md)" not in index] == []
    for name in pages:
        text = (folder / f"{name}.md").read_text()
        for heading in ("## What it looks at", "## Default", "## What it says", "## How to allow it"):
            assert heading in text, (name, heading)


def shape(text):
    return re.sub(r"[0-9][0-9.:-]*", "0", text.replace("gpu-7", "n1"))


@pytest.mark.parametrize("guard", GUARDS)
def test_what_a_page_quotes_is_what_its_guard_says(guard):
    page = (Path(__file__).parents[3] / f"docs/guides/guards/{guard}.md").read_text()
    quoted = [line.removeprefix("> ") for line in page.splitlines() if line.startswith("> ")]
    told = {shape(said(ask(**given))[guard]) for name, given, _ in REFUSED if name == guard}
    assert quoted
    assert [line for line in quoted if shape(line) not in told] == []


ratios = st.floats(0, 1)
seconds = st.floats(0, 7200)
activities = st.one_of(st.none(), st.builds(Activity, ratios, seconds, seconds, ratios))
queues = st.one_of(st.none(), st.builds(Queue, st.floats(0, 5), st.floats(0, 5), seconds))


@given(activities, queues, st.booleans(), st.sampled_from(["up", "none", "unclear"]), st.integers(0, 99999))
def test_no_other_wish_than_a_down_is_asked_about(activity, queue, serves, wished, age):
    asked = ask(activity=activity, queue=queue, serves=serves, seen={"created": ago(age), "losses": ("a",)})
    assert refusals(replace(asked, wish=replace(asked.wish, wished=wished))) == ()


@given(
    st.builds(Activity, ratios, seconds, seconds, ratios),
    ratios,
    ratios,
    seconds,
    seconds,
    queues,
    st.floats(0, 5),
)
def test_more_activity_older_or_fewer_figures_never_turn_a_refusal_into_an_allowance(
    found, active, unknown, older, shorter, queue, requests
):
    before = said(ask(activity=found, queue=queue))
    worse = Activity(
        min(1, found.active_ratio + active),
        max(0, found.covered_seconds - shorter),
        found.age_seconds + older,
        min(1, found.unknown_ratio + unknown),
    )
    longer = None if queue is None else replace(queue, waiting=queue.waiting + requests)
    after = said(ask(activity=worse, queue=longer, serves=queue is not None))
    assert not before or after
    assert "queue" not in before or "queue" in after
    assert said(ask(activity=None, queue=None, serves=True)).keys() >= {"telemetry", "queue"}


@pytest.mark.parametrize(("hours", "refused"), [(0.5, True), (2, False), (None, True)])
def test_a_notebook_whose_kernel_rests_for_an_hour_may_go_down(hours, refused):
    last = {} if hours is None else {LAST_ACTIVITY: (NOW - timedelta(hours=hours)).isoformat()}
    item = merge(OBJECTS["Notebook"], {"metadata": {"annotations": last}})
    seen = NOTEBOOK.seen(item)
    asked = replace(ask(), workload=Workload(seen, seen, NamespaceSeen("team-a")))
    assert ("state_loss" in {each.guard for each in refusals(asked)}) is refused
