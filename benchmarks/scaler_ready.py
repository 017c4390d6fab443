"""A window over workloads with pods: from its end to the last pod Ready, and what that costs the controller.

kwok plays the nodes, and makes a pod Ready some seconds after it was bound; controller-manager and scheduler are real.
Each pod has a GPU of which its node's agent says that it rests, so every guard has something to look at.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.agent_table import Table
from benchmarks.scaler_run import WRITES_PER_SECOND, Controller, controller, observe
from benchmarks.scaler_world import EDGE, grant
from tests.cluster.audited import Call
from tests.cluster.idle_agents import IdleAgents
from tests.cluster.kwok import GPUS_PER_NODE, READY_DELAY_SECONDS, KwokCluster, deployment
from tests.cluster.windows import change_windows, window
from tests.integration.agent_process import eventually

EACH = 20
"""Workloads of a namespace."""
RECORD = "wattledger.io/schedule-original"
_KNOWN_SECONDS = 100
"""The controller is there for so long before the window: GPUs have to be known to rest for a minute."""
_ENDS_AFTER_SECONDS = 15
"""Once all is down the window is made to end so soon."""
_MOST_SECONDS = 600.0


def ready(table: Table, folder: Path, workloads: int) -> None:
    """All of it, on a cluster of its own."""
    with ExitStack() as stack:
        cluster = stack.enter_context(KwokCluster.up())
        grant(cluster)
        nodes = [f"gpu-{number:03}" for number in range(ceil(workloads / GPUS_PER_NODE))]
        took = _fill(cluster, nodes, workloads)
        agents = stack.enter_context(IdleAgents(nodes, cluster.gpu_pods))
        begin = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=_KNOWN_SECONDS)
        running = stack.enter_context(controller(cluster, folder, [_policy(begin)], agents.urls))
        table.section(
            f"{workloads:,} workloads, each with a pod and its GPU, on {len(nodes)} nodes that kwok plays, "
            f"two writes each, downs at {WRITES_PER_SECOND:g} writes/s"
        )
        table.row("without the controller: from the first Deployment made to the last pod Ready", took, "s")
        _stand(table, cluster, running, begin)
        _down(table, cluster, running, begin, workloads)
        end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=_ENDS_AFTER_SECONDS)
        change_windows(running, begin, end)
        _back(table, cluster, running, end, workloads)


def _fill(cluster: KwokCluster, nodes: Sequence[str], workloads: int) -> float:
    """Make nodes, workloads and pods; how long it took until all were Ready."""
    cluster.make_nodes(nodes)
    names = [(f"{EDGE}-{number // EACH:03}", f"service-{number % EACH:02}") for number in range(workloads)]
    cluster.make_namespaces(sorted({space for space, _ in names}))
    began = time.monotonic()
    cluster.make_deployments([deployment(space, name, gpus=1) for space, name in names])
    eventually("all pods Ready", lambda: _ready(cluster.deployments()) == workloads, _MOST_SECONDS, every=1)
    return time.monotonic() - began


def _policy(begin: datetime) -> dict[str, Any]:
    down = window(begin, begin + timedelta(hours=1))
    return {"name": "edge", "namespaces": [f"{EDGE}-*"], "down": down, "grace_minutes": 0, "idle_minutes": 1}


def _stand(table: Table, cluster: KwokCluster, running: Controller, begin: datetime) -> None:
    running.await_look()
    time.sleep(15)
    seen = observe(cluster, running, max(1.0, (begin - datetime.now(UTC)).total_seconds() - 5))
    table.row("before the window: CPU", seen.cpu_percent, "% of a core")
    table.row("memory", seen.rss_mib, "MiB")


def _down(table: Table, cluster: KwokCluster, running: Controller, begin: datetime, workloads: int) -> None:
    _sleep_until(begin)
    cpu = running.cpu_seconds
    eventually("all pods gone", lambda: not cluster.count_pods(), _MOST_SECONDS, every=0.5)
    gone = datetime.now(UTC)
    writes = _writes(cluster, "deployments/scale", begin)
    if len(writes) != workloads:
        table.missed.append(f"{len(writes)} of {workloads} workloads were put down")
    table.row("down: from the edge to the last write", _span(begin, writes), "s")
    table.row("from the edge to the last pod gone", (gone - begin).total_seconds(), "s")
    table.row("CPU time of the controller", running.cpu_seconds - cpu, "s")


def _back(table: Table, cluster: KwokCluster, running: Controller, end: datetime, workloads: int) -> None:
    _sleep_until(end)
    cpu = running.cpu_seconds
    eventually("all are back", lambda: _is_back(cluster.deployments(), workloads), _MOST_SECONDS, every=1)
    cpu = running.cpu_seconds - cpu
    pods = cluster.gpu_pods()
    writes = _writes(cluster, "deployments/scale", end)
    delay = running.until("the delay is told", lambda page: page.find("wattledger_schedule_ready_delay_seconds"))
    table.row("back: from the edge to the last write", _span(end, writes), "s", most=60)
    table.row("to the last pod made", (max(_made(pod) for pod in pods) - end).total_seconds(), "s")
    table.row("to the last pod Ready", (max(_ready_at(pod) for pod in pods) - end).total_seconds(), "s")
    table.row("of that the last pod's own time to Ready, as kwok plays it", READY_DELAY_SECONDS, "s")
    table.row("to the last record taken away", _span(end, _writes(cluster, "deployments", end)), "s")
    told = float(delay.total("wattledger_schedule_ready_delay_seconds", policy="edge"))
    table.row("delay of the slowest, as the controller tells it", told, "s")
    table.row("CPU time of the controller", cpu, "s")
    table.row("peak memory", running.peak_mib, "MiB")


def _ready(items: Sequence[dict[str, Any]]) -> int:
    return sum(item["status"].get("readyReplicas", 0) for item in items)


def _is_back(items: Sequence[dict[str, Any]], workloads: int) -> bool:
    marked = any(RECORD in item["metadata"].get("annotations", {}) for item in items)
    return not marked and _ready(items) == workloads


def _made(pod: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(pod["metadata"]["creationTimestamp"])


def _ready_at(pod: dict[str, Any]) -> datetime:
    told = next(each for each in pod["status"]["conditions"] if each["type"] == "Ready")
    return datetime.fromisoformat(told["lastTransitionTime"])


def _writes(cluster: KwokCluster, resource: str, since: datetime) -> list[Call]:
    done = [call for call in cluster.calls() if call.writes and call.code < 300 and call.came >= since]
    return [call for call in done if call.resource == resource]


def _span(since: datetime, calls: Sequence[Call]) -> float:
    return (max(call.ended for call in calls) - since).total_seconds()


def _sleep_until(moment: datetime) -> None:
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))
