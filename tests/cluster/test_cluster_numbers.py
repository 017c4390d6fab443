"""A window over hundreds of workloads: real controllers and scheduler see to their pods, kwok makes them Ready."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.cluster.audited import USER
from tests.cluster.idle_agents import IdleAgents
from tests.cluster.kwok import GPU, READY_DELAY_SECONDS, KwokCluster, deployment
from tests.cluster.standing import standing
from tests.cluster.windows import change_windows, window
from tests.integration.agent_process import AgentProcess, NotInTime, Scrape, eventually, fetch
from tests.integration.test_books import api_of

RECORD = "wattledger.io/schedule-original"
WATCHED = ["get", "list", "watch"]
RULES = [
    {"apiGroups": [""], "resources": ["namespaces", "nodes", "pods"], "verbs": WATCHED},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": [*WATCHED, "patch"]},
    {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]},
    {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": WATCHED},
]
"""All that scaling Deployments takes."""
SEEN = {"telemetry": "yes"}
"""Label of nodes that have an agent."""
LIT, DARK = [f"gpu-{number:02}" for number in range(30)], [f"dark-{number:02}" for number in range(10)]
EACH, REPLICAS = 20, 2
SERVING, UNSEEN, APPS = 60, 20, 80
"""Deployments: with GPUs that their agents see rest, with GPUs that no agent sees, without GPUs, and first by name."""
CONCERNED, ALL = SERVING + APPS, SERVING + UNSEEN + APPS
IDLE_SECONDS = 61
"""For so long it has to be known of a pod that its GPUs rest: a minute is the least that a policy may say."""
ENDS_AFTER_SECONDS = 8
"""Once all is down the window is made to end so soon: a policy is followed within four seconds."""
SECONDS = 300
DOWN_SECONDS = 3 * SECONDS
"""One whose agent does not answer in time is asked again after five minutes: on a busy machine that may happen."""


def fleet():
    """On nodes with an agent pods of two GPUs take up every GPU there is."""
    for number in range(SERVING):
        yield deployment(*_name("serving", number), replicas=REPLICAS, gpus=2, node_labels=SEEN)
    for number in range(UNSEEN):
        yield deployment(*_name("unseen", number), replicas=REPLICAS, gpus=1, node_labels={"telemetry": "no"})
    for number in range(APPS):
        yield deployment(*_name("apps", number), replicas=REPLICAS)


def _name(start, number):
    return f"{start}-{number // EACH}", f"app-{number % EACH:02}"


@pytest.fixture(scope="module")
def kwok():
    with standing(KwokCluster.up) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def running(kwok):
    """The cluster with all pods Ready, and when the last of those with GPUs was made."""
    items = list(fleet())
    kwok.make_nodes(LIT, SEEN)
    kwok.make_nodes(DARK, {"telemetry": "no"})
    kwok.make_namespaces(sorted({item["metadata"]["namespace"] for item in items}))
    kwok.make_deployments(items)
    kwok.grant(USER, RULES)
    eventually("all pods are Ready", lambda: ready(kwok) == REPLICAS * ALL, SECONDS, every=1)
    return max(datetime.fromisoformat(pod["metadata"]["creationTimestamp"]) for pod in kwok.gpu_pods())


def ready(kwok):
    return sum(item["status"].get("readyReplicas", 0) for item in kwok.deployments())


def shape(kwok):
    """All that a person wrote, by workload."""
    return {
        (meta["namespace"], meta["name"]): (meta["labels"], meta.get("annotations"), item["spec"])
        for item in kwok.deployments()
        for meta in (item["metadata"],)
    }


def held(pods):
    """GPUs by node."""
    found = Counter()
    for pod in pods:
        found[pod["spec"].get("nodeName")] += int(pod["spec"]["containers"][0]["resources"]["limits"][GPU])
    return found


@dataclass
class Night:
    """What was seen of it."""

    end: datetime
    before: dict
    down: Scrape
    down_replicas: Counter
    down_gpus: Counter
    pods_down: int
    finished: datetime
    after: dict
    last: Scrape
    calls: list


@pytest.fixture(scope="module")
def night(kwok, running, tmp_path_factory):
    before = shape(kwok)
    begin = max(running + timedelta(seconds=IDLE_SECONDS), datetime.now(UTC) + timedelta(seconds=10))
    folder = tmp_path_factory.mktemp("numbers")
    with (
        IdleAgents(LIT, kwok.gpu_pods) as agents,
        AgentProcess(folder, command=("controller",), config=settings(kwok, agents, begin)) as controller,
    ):
        metrics = api_of(controller).removesuffix("/api/v1") + "/metrics"

        def look():
            return Scrape(fetch(metrics))

        try:
            eventually("the pods are gone", lambda: kwok.count_pods() == REPLICAS * UNSEEN, DOWN_SECONDS, every=0.5)
        except NotInTime as error:
            replicas = Counter(item["spec"]["replicas"] for item in kwok.deployments())
            told = [line for line in fetch(metrics).splitlines() if line.startswith("wattledger_schedule_")]
            why = sorted({each["message"] for each in kwok.admin.get("/api/v1/events?limit=2000")["items"]})[:20]
            error.add_note(f"{kwok.count_pods()} pods, deployments by replicas {dict(replicas)}")
            error.add_note("\n".join((*told, *why, controller.said[-4000:])))
            raise
        down = eventually("the metrics tell it", lambda: told_down(look()), SECONDS, every=0.2)
        replicas = Counter(item["spec"]["replicas"] for item in kwok.deployments())
        gpus, count = held(kwok.gpu_pods()), kwok.count_pods()
        end = datetime.now(UTC) + timedelta(seconds=ENDS_AFTER_SECONDS)
        change_windows(controller, begin, end)
        finished = eventually("all are back", lambda: is_back(kwok) and datetime.now(UTC), SECONDS, every=0.5)
        last = eventually("the metrics tell it", lambda: told_back(look()), SECONDS, every=0.2)
        return Night(end, before, down, replicas, gpus, count, finished, shape(kwok), last, kwok.calls())


def settings(kwok, agents, begin):
    shared = {"down": window(begin, begin + timedelta(hours=1)), "grace_minutes": 0, "idle_minutes": 1}
    serving = {"name": "serving", "namespaces": ["serving-*", "unseen-*"], "priority": 10, **shared}
    apps = {"name": "apps", "namespaces": ["apps-*"], "gpu_only": False, **shared}
    kubernetes = {"mode": "on", "api_url": kwok.url, "token_file": str(kwok.token_file(USER)), "ca_file": str(kwok.ca)}
    return {
        "kubernetes": kubernetes,
        "controller": {
            "agents": {"discovery": "off", "urls": agents.urls},
            "lease": {"mode": "off"},
            "server": {"listen": "127.0.0.1:0"},
        },
        "prices": {"cloud_identity": "off", "live": {"aws": "off"}},
        "schedule": {
            "enabled": True,
            "dry_run": False,
            "tick_seconds": 1,
            "writes_per_second": 500,
            "lead_least_seconds": 0,
            "lead_most_seconds": 0,
            "policies": [apps, serving],
        },
    }


def told_down(scrape):
    return scrape if scrape.total("wattledger_schedule_workloads_down") == CONCERNED else None


def is_back(kwok):
    items = kwok.deployments()
    marked = any(RECORD in item["metadata"].get("annotations", {}) for item in items)
    return not marked and sum(item["status"].get("readyReplicas", 0) for item in items) == REPLICAS * ALL


def told_back(scrape):
    done = scrape.total("wattledger_schedule_writes_total", action="finish", result="done")
    return scrape if done == CONCERNED else None


def test_all_that_the_window_concerns_goes_down_and_frees_its_gpus(night):
    assert night.down_replicas == {0: CONCERNED, REPLICAS: UNSEEN}
    assert sum(night.down_gpus[node] for node in LIT) == 0
    assert night.down.total("wattledger_schedule_gpus_down") == 2 * REPLICAS * SERVING


def test_gpus_of_which_no_agent_tells_stay_at_work(night):
    assert night.pods_down == sum(night.down_gpus[node] for node in DARK) == REPLICAS * UNSEEN
    assert night.down.value("wattledger_schedule_workloads_skipped", reason="telemetry") == UNSEEN


def test_everything_comes_back_ready_and_as_it_was(night):
    assert night.after == night.before
    for action in ("down", "restore", "finish"):
        assert night.last.value("wattledger_schedule_writes_total", action=action, result="done") == CONCERNED
    assert night.last.total("wattledger_schedule_workloads_down") == 0


def test_what_has_priority_comes_back_first(night):
    first = {}
    for call in sorted(night.calls, key=lambda call: call.came):
        if call.resource == "deployments" and call.writes and call.came >= night.end:
            first.setdefault((call.namespace, call.name), call.came)
    assert len(first) == CONCERNED
    times = {
        start: [at for (space, _), at in first.items() if space.startswith(start)] for start in ("serving", "apps")
    }
    assert max(times["serving"]) < min(times["apps"])


def test_how_long_after_its_window_each_policy_was_ready_is_told(night):
    most = (night.finished - night.end).total_seconds()
    for policy in ("serving", "apps"):
        delay = float(night.last.value("wattledger_schedule_ready_delay_seconds", policy=policy))
        assert READY_DELAY_SECONDS <= delay <= most
