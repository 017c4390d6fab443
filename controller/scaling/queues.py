"""How many requests a workload's serving engines work on and keep waiting, asked of its nodes' agents just in time.

Owns what their answers mean for a down. A pod that is known to serve and whose queue is not known makes the
workload's queue unknown; it never counts as empty.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, cast

from collectors.journal_pull import AgentAddress, Silent, State
from collectors.kube_json import JsonObject, children, text
from controller.scaling.activity import name_of
from controller.scaling.model import PodSeen, Queue, Ref, Workload

MOST_NODES = 1024
"""Asked for one round of decisions; those of further nodes are decided in the next."""
STALE_SECONDS = 120.0
"""An agent whose last sweep is older tells nothing of a queue."""


class States(Protocol):
    """Asks agents what their nodes do now."""

    def states(self, asked: Iterable[AgentAddress]) -> Iterator[State | Silent]:
        """In the order in which they answer."""
        ...


class Queued(NamedTuple):
    """What is known of a workload's requests."""

    queue: Queue | None
    """``None``: nothing, or not of all its engines."""
    serves: bool
    """Whether one of its pods is known to serve: an agent reads its page, or counted its work in the last 24 hours, or
    it announces its page itself and is Ready."""
    gap: str = ""
    """Of which pod nothing is known, and why, for people."""


_ENDED = frozenset({"Succeeded", "Failed"})
NO_ENGINE = Queued(None, serves=False)


def may_serve(workload: Workload) -> Iterator[PodSeen]:
    """Its pods that may have requests: they hold GPUs or announce an engine, and are bound to a node and not over."""
    return (pod for pod in workload.pods if (pod.gpus or pod.announces) and pod.node and pod.phase not in _ENDED)


class _PodQueue(NamedTuple):
    running: float | None
    waiting: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Node:
    age_seconds: float = 0.0
    why: str = ""
    """Why nothing is known of it; empty: its rows say all there is."""
    pods: Mapping[str, Sequence[_PodQueue]] | None = None


@dataclass(frozen=True, slots=True)
class Queues:
    """The asking."""

    source: States
    """A ``JournalPull``; its seconds bound what one node may take."""
    where: Callable[[], Mapping[str, AgentAddress]]
    """Node to where its agent answers: ``Gather.gathered.where``."""
    worked: Callable[[PodSeen, datetime], bool]
    """``ActivityBook.worked``."""

    def of(self, workloads: Iterable[Workload], now: datetime) -> Mapping[Ref, Queued]:
        """What is known of each; each node is asked once, and only those where pods run that may serve.

        Raises:
            Misconfigured: nobody could be asked.
        """
        pods = {workload.ref: list(may_serve(workload)) for workload in workloads}
        nodes = self._ask({pod.node for each in pods.values() for pod in each})
        return {ref: self._queued(each, nodes, now) for ref, each in pods.items()}

    def _ask(self, names: Iterable[str]) -> Mapping[str, _Node]:
        where = self.where()
        known = sorted(name for name in names if name in where)
        asked = {where[name].url: name for name in known[:MOST_NODES]}
        nodes = dict.fromkeys(known[MOST_NODES:], _Node(why=f"{MOST_NODES} nodes are asked at a time"))
        for answer in self.source.states([where[name] for name in asked.values()]):
            name = asked[answer.address.url]
            nodes[name] = (
                _Node(why=f"its agent {answer.reason}") if isinstance(answer, Silent) else _node(answer.state, name)
            )
        return nodes

    def _queued(self, pods: Iterable[PodSeen], nodes: Mapping[str, _Node], now: datetime) -> Queued:
        running = waiting = age = 0.0
        told = False
        for pod in pods:
            node = nodes.get(pod.node, _Node(why="no agent of it has answered yet"))
            rows = (node.pods or {}).get(name_of(pod), ())
            worked = not rows and self.worked(pod, now)
            announced = not rows and pod.announces and pod.ready
            gap = node.why or next((row.why for row in rows if row.why), "")
            if not gap and worked:
                gap = "its agent counted work of it in the last 24 hours and reads its page no more"
            elif not gap and announced:
                gap = "its annotations announce an engine, and its agent reads no page of it"
            if gap and (rows or worked or announced):
                return Queued(None, serves=True, gap=f"pod {name_of(pod)} on node {pod.node}: {gap}")
            for row in rows:
                told = told or row.running is not None or row.waiting is not None
                running, waiting = running + (row.running or 0.0), waiting + (row.waiting or 0.0)
                age = max(age, node.age_seconds)
        return Queued(Queue(running, waiting, age), serves=True) if told else NO_ENGINE


def _node(state: JsonObject, name: str) -> _Node:
    if state.get("node") != name:
        return _Node(why=f"its agent speaks for {state.get('node')} now")
    age = _figure(state, "sweep_age_seconds")
    if age is None or age > STALE_SECONDS:
        return _Node(why=f"its agent's last sweep is {'not known' if age is None else f'{age:.0f} s old'}")
    pods: dict[str, list[_PodQueue]] = {}
    for row in children(state, "serving"):
        parts = text(row, "holder").split("/")
        if text(row, "holder_kind") == "pod" and len(parts) > 1:
            pods.setdefault("/".join(parts[:2]), []).append(_pod_queue(row))
    return _Node(age_seconds=age, pods=pods)


def _pod_queue(row: JsonObject) -> _PodQueue:
    if row.get("up") is not True:
        return _PodQueue(None, None, f"its page is not read ({text(row, 'message') or 'no reason is told'})")
    return _PodQueue(_figure(row, "running_requests"), _figure(row, "queue_depth"))


def _figure(value: JsonObject, key: str) -> float | None:
    found = value.get(key)
    return float(cast("float", found)) if isinstance(found, int | float) and not isinstance(found, bool) else None
