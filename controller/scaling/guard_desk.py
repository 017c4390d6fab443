"""Brings before the guards what they look at, and has it looked up once more just before a down.

Owns when agents are asked. A look never waits for the network: a workload that nothing speaks against is noted, its
nodes are asked between two looks, and it goes down at the next look if nothing speaks against it then either. A
workload that is refused for its GPUs' work waits for the journals that are pulled anyway.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from collectors.errors import SourceError
from controller.scaling.activity import FRESH_SECONDS, ActivityBook, holding
from controller.scaling.guards import GuardAsk, pods_that_stay, refusals
from controller.scaling.model import NodeSeen, PodSeen, Ref, Refusal, Wish, Workload
from controller.scaling.queues import NO_ENGINE, Queued, may_serve

_log = logging.getLogger(__name__)

LOOKED_UP = frozenset({"telemetry", "queue"})
"""Guards whose refusal may end when agents are asked again."""
ASKED_AGAIN = Refusal("telemetry", "its nodes' agents are asked once more before it goes down")
"""Of a workload that nothing speaks against: it waits for the next look."""
_KEPT_SECONDS = 86_400.0
DRY_AGAIN_SECONDS = 900.0
"""As often for one that would go down, were it not for the dry run."""
AGAIN_SECONDS = {"telemetry": 300.0, "queue": FRESH_SECONDS}
"""After so long agents are asked again for a workload that these refuse."""


class Hours(Protocol):
    """Asks agents for their last hours."""

    def ask(self, nodes: Collection[str], minutes: int) -> Mapping[str, str]:
        """Returns node to why nothing came."""
        ...


class QueueSource(Protocol):
    """Asks agents for queues."""

    def of(self, workloads: Iterable[Workload], now: datetime) -> Mapping[Ref, Queued]:
        """What is known of each workload's requests."""
        ...


@dataclass(frozen=True, slots=True)
class DeskFacts:
    """What else guards look at; each is asked at every look."""

    gpu_pods: Callable[[], Iterable[PodSeen]] = field(default=lambda: ())
    """All GPU pods of the cluster."""
    nodes: Callable[[], Mapping[str, NodeSeen]] = field(default=dict)
    down: Callable[[], Collection[Ref]] = field(default=lambda: ())
    """Workloads that are put down already."""
    scarce: Callable[[], Collection[str]] = field(default=lambda: ())
    """Instance types that were seen out of capacity."""
    told_at: Callable[[Workload, Wish], datetime | None] = field(default=lambda _workload, _wish: None)
    """When the owner was told of this down."""
    own_namespace: str = ""
    protected_namespaces: Callable[[], Collection[str]] = field(default=lambda: ())


@dataclass(frozen=True, slots=True)
class _Round:
    """What holds for all workloads of one look."""

    now: datetime
    staying: dict[str, list[PodSeen]]
    """Shrinks with every workload that passes, so that two on a node do not let each other go."""
    nodes: Mapping[str, NodeSeen]
    scarce: Collection[str]
    heard: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    workload: Workload
    minutes: int


@dataclass(frozen=True, slots=True)
class _Asked:
    at: datetime
    queued: Queued
    silent: str = ""
    """Which of its nodes' agents gave no figures then, and why."""


class GuardDesk:
    """The guards with all that they need.

    Args:
        book: what agents told of GPU time.
        hours: asks for more of it.
        queues: asks for requests.
        facts: the rest.
    """

    def __init__(self, book: ActivityBook, hours: Hours, queues: QueueSource, facts: DeskFacts) -> None:
        self._book = book
        self._hours = hours
        self._queues = queues
        self._facts = facts
        self._round: _Round | None = None
        self._asked: dict[Ref, _Asked] = {}
        self._wanted: dict[Ref, _Wanted] = {}
        self._lock = threading.Lock()
        self._told = ""

    def refusals(self, workload: Workload, wish: Wish, now: datetime) -> tuple[Refusal, ...]:
        """Why it must not go down now; empty: it may. Never waits.

        Workloads of one look are asked about with one ``now``.
        """
        if wish.wished != "down":
            return ()
        this = self._begin(now)
        with self._lock:
            asked = self._asked.get(workload.ref)
        ask = self._ask(workload, wish, this, asked)
        found = refusals(ask)
        if _looks_up(ask, found, asked):
            with self._lock:
                self._wanted[workload.ref] = _Wanted(workload, ask.minutes)
            if not found:
                return (ASKED_AGAIN,)
        if not found:
            uids = {pod.uid for pod in workload.pods}
            for node in {pod.node for pod in workload.pods} & this.staying.keys():
                this.staying[node] = [pod for pod in this.staying[node] if pod.uid not in uids]
        return found

    def ask(self, now: datetime) -> int:
        """Ask agents for what the last looks want to know; returns of how many workloads. Takes seconds.

        Agents that cannot be asked leave what they know unknown.
        """
        with self._lock:
            wanted, self._wanted = self._wanted, {}
        if not wanted:
            return 0
        queued: Mapping[Ref, Queued] = {}
        silent: Mapping[str, str] = {}
        why = ""
        try:
            silent = self._hear(wanted.values(), now)
            queued = self._queues.of([each.workload for each in wanted.values()], now)
        except SourceError as error:
            why = str(error)
            queued = dict.fromkeys(wanted, Queued(None, serves=True, gap=why))
        if why and why != self._told:
            _log.warning("agents cannot be asked before downs, which wait: %s", why)
        self._told = why
        with self._lock:
            for ref, each in wanted.items():
                self._asked[ref] = _Asked(now, queued.get(ref, NO_ENGINE), _silent(each.workload, silent))
            self._asked = {
                ref: each for ref, each in self._asked.items() if (now - each.at).total_seconds() < _KEPT_SECONDS
            }
        return len(wanted)

    def _begin(self, now: datetime) -> _Round:
        if self._round is None or self._round.now != now:
            facts = self._facts
            staying = pods_that_stay(facts.gpu_pods(), facts.down())
            self._round = _Round(now, staying, facts.nodes(), facts.scarce(), self._book.heard(now))
        return self._round

    def _ask(self, workload: Workload, wish: Wish, this: _Round, asked: _Asked | None) -> GuardAsk:
        minutes = max(1, wish.options.idle_minutes)
        activity = self._book.of(workload, this.now, minutes) if workload.gpus else None
        queued = NO_ENGINE if asked is None else asked.queued
        queue = queued.queue
        if asked is not None and queue is not None:
            since = (this.now - asked.at).total_seconds()
            queue = replace(queue, age_seconds=queue.age_seconds + max(0.0, since))
        return GuardAsk(
            workload,
            wish,
            this.now,
            activity=activity,
            queue=queue,
            serves=queued.serves,
            telemetry_known=this.heard,
            telemetry_gap=self._book.gap(workload, this.now, minutes) if workload.gpus and activity is None else "",
            telemetry_silent=asked.silent if asked is not None else "",
            queue_gap=queued.gap,
            gpu_pods=this.staying,
            nodes=this.nodes,
            scarce=this.scarce,
            told_at=self._facts.told_at(workload, wish),
            own_namespace=self._facts.own_namespace,
            protected_namespaces=self._facts.protected_namespaces(),
        )

    def _hear(self, wanted: Iterable[_Wanted], now: datetime) -> Mapping[str, str]:
        """Ask for the hours that are missing, of each node as far back as the most careful of its workloads wants.

        Returns node to why nothing came.
        """
        silent: dict[str, str] = {}
        back: dict[str, int] = {}
        for each in wanted:
            for node in self._book.nodes_to_ask([each.workload], now, each.minutes):
                back[node] = max(back.get(node, 0), each.minutes)
        for minutes in set(back.values()):
            silent.update(self._hours.ask([node for node, asked in back.items() if asked == minutes], minutes))
        return silent


def _silent(workload: Workload, silent: Mapping[str, str]) -> str:
    found = next((pod.node for pod in holding(workload) if pod.node in silent), "")
    return f"node {found}: {silent[found]}" if found else ""


def _looks_up(ask: GuardAsk, found: Collection[Refusal], asked: _Asked | None) -> bool:
    """Whether agents are to be asked about it before it may go down."""
    if not any(True for _ in may_serve(ask.workload)) or not {each.guard for each in found} <= LOOKED_UP:
        return False
    passes = DRY_AGAIN_SECONDS if ask.wish.dry_run else FRESH_SECONDS
    again = min((AGAIN_SECONDS[each.guard] for each in found), default=passes)
    return asked is None or (ask.now - asked.at).total_seconds() > again
