"""Scheduled scaling as a part of the controller: its objects, its threads, and when they begin and end."""

import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cli.controller_books import Books, journal_pull, kube_api
from cli.controller_run import ControllerOptions
from cli.kube_node import endpoint_of
from collectors.clock import SystemClock
from collectors.kube_api import KubeApi
from collectors.kube_endpoint import SERVICE_ACCOUNT, own_namespace
from collectors.kube_follow import Backoff
from controller.jobs import Job, JobHealth, Jobs
from controller.present import Present
from controller.scaling.activity import ActivityBook
from controller.scaling.audit_log import AuditLog
from controller.scaling.breaker import Breaker, BreakerLimits
from controller.scaling.cluster_view import ClusterView
from controller.scaling.events import Events
from controller.scaling.fresh_hours import FreshHours
from controller.scaling.guard_desk import DeskFacts, GuardDesk
from controller.scaling.informers import PAGE_OBJECTS, Informers
from controller.scaling.left_down import tell_left_down
from controller.scaling.model import PodSeen
from controller.scaling.policy_source import LOOK_SECONDS, PolicySource
from controller.scaling.queue_book import QueueBook
from controller.scaling.queue_keeper import QueueKeeper
from controller.scaling.queues import Queues
from controller.scaling.rate import TokenBucket
from controller.scaling.registry import KINDS
from controller.scaling.scaler import Scaler, ScalerParts
from controller.scaling.stand import ScalingStand
from controller.scaling.unmade_pods import UnmadePods
from controller.scaling.writer import Pace, Writer
from ledger.audit import append

_log = logging.getLogger(__name__)

_WRITE_SECONDS = 10.0
"""For one write; a watch has its own."""
_AGENT_SECONDS = 5.0
"""For one agent that is asked before a down."""
_RESTORES_PER_SECOND = 1000.0
_CAUGHT_UP_SECONDS = 0.5
"""What slow answers cost of the rate is caught up for so long; without it every one of them would lower the rate."""
_EVENTS_PER_SECOND, _EVENTS_AT_ONCE = 10.0, 50
_TELL_SECONDS, _RECALL_SECONDS, _MEASURE_SECONDS = 1.0, 2.0, 3600.0
_LAST_SECONDS = 5.0
"""That an ending controller gives audit rows that wait."""


@dataclass(slots=True)
class Scaling:
    """Scales, from :meth:`start` to :meth:`end`."""

    scaler: Scaler
    informers: Informers
    parts: tuple[Jobs, ...]
    """Each in a thread of its own, so that no restore waits for agents, ledger or Events."""
    watching: Jobs
    """What a controller that stands by does too, so that it leads by the policies of that moment."""
    stop: threading.Event

    @property
    def health(self) -> Mapping[str, JobHealth]:
        """How its jobs went."""
        return {name: health for jobs in (*self.parts, self.watching) for name, health in jobs.health.items()}

    def stand(self) -> ScalingStand:
        """How it stands."""
        return self.scaler.stand()

    def watch(self) -> None:
        """Begin to follow the configuration's file."""
        self.watching.start()

    def start(self) -> None:
        """Begin to follow the cluster, and to act."""
        self.informers.start()
        for jobs in self.parts:
            jobs.start()

    def end(self) -> None:
        """End what is at work, and all watches."""
        self.stop.set()
        for jobs in (self.watching, *self.parts):
            jobs.end()
        self.informers.close()
        self.scaler.close(_LAST_SECONDS)


def build_scaling(options: ControllerOptions, books: Books, present: Present) -> Scaling | None:
    """Build it; ``None`` where it is not enabled, or there is no cluster.

    Raises:
        Misconfigured: a setting cannot be followed.
    """
    settings = options.config.schedule
    if not settings.enabled and not options.simulated and (api := kube_api(options.config, os.environ)) is not None:
        threading.Thread(target=tell_left_down, args=(api, SystemClock()), name="left down", daemon=True).start()
    if books.activity is None or options.simulated or kube_api(options.config, os.environ) is None:
        if settings.enabled and not options.simulated:
            _log.warning("schedule.enabled has no effect: this process runs in no Kubernetes cluster")
        return None
    endpoint, clock, stop = endpoint_of(options.config.kubernetes, os.environ), SystemClock(), threading.Event()
    reading = KubeApi(endpoint, page_objects=PAGE_OBJECTS)
    writing = KubeApi(endpoint, timeout_seconds=_WRITE_SECONDS, keep_connections=True)
    view = ClusterView(clock)
    breaker = Breaker(BreakerLimits(), clock.monotonic_ns())
    instance = socket.gethostname()

    def writer(per_second: float) -> Writer:
        pace = Pace(clock, stop, TokenBucket(per_second, max(1, round(per_second * _CAUGHT_UP_SECONDS))), Backoff())
        return Writer(writing, view.served, pace, breaker)

    parts = ScalerParts(
        settings=settings,
        view=view,
        kinds={kind.name: kind for kind in KINDS},
        writes=writer(_RESTORES_PER_SECOND),
        downs=writer(settings.writes_per_second),
        desk=lambda scaler: _desk(options, books, present, view, scaler),
        activity=books.activity,
        breaker=breaker,
        audit=AuditLog(
            lambda rows: append(books.store, rows), cluster=options.config.agent.cluster_name, actor=instance
        ),
        events=Events(writing, TokenBucket(_EVENTS_PER_SECOND, _EVENTS_AT_ONCE), instance),
        store=books.reader,
        cluster=options.config.agent.cluster_name,
        clock=clock,
        unmade=UnmadePods(writing),
    )
    queues = options.config.queue_scaling
    scaler, informers = Scaler(parts), Informers(reading, KINDS, view, clock)
    keeper = None
    if queues.write:
        book = QueueBook(parts.audit, parts.events.tell, parts.cluster)
        hand = writer(settings.writes_per_second)
        keeper = QueueKeeper(queues, view, hand, book, lambda: datetime.now(UTC), lambda: scaler.settings.dry_run)
    watching = Jobs(_watching(options, scaler))
    return Scaling(scaler, informers, _acting(scaler, keeper, settings.tick_seconds), watching, stop)


def _watching(options: ControllerOptions, scaler: Scaler) -> Iterator[Job]:
    file = options.file
    if file is not None:
        settings = options.config.schedule
        source = PolicySource(file.path, settings, lambda content: file.load(content).schedule, scaler)
        yield Job("schedule_policies", source.look, lambda: LOOK_SECONDS)


def _acting(scaler: Scaler, keeper: QueueKeeper | None, tick_seconds: float) -> tuple[Jobs, ...]:
    acting = Jobs([Job("schedule", scaler.run, scaler.seconds_to_next)])
    asking = Jobs([Job("schedule_guards", scaler.ask, lambda: tick_seconds)])
    telling = Jobs([Job("schedule_records", scaler.tell, lambda: _TELL_SECONDS)])
    reading = Jobs(
        [
            Job("schedule_recall", scaler.recall, lambda: _MEASURE_SECONDS if scaler.recalled else _RECALL_SECONDS),
            Job("schedule_savings", scaler.measure, lambda: _MEASURE_SECONDS),
        ]
    )
    parts = [acting, asking, telling, reading]
    if keeper is not None:
        parts.append(Jobs([Job("queue_scaling", keeper.run, lambda: tick_seconds)]))
    return tuple(parts)


def _desk(options: ControllerOptions, books: Books, present: Present, view: ClusterView, scaler: Scaler) -> GuardDesk:
    activity = books.activity or ActivityBook()
    pull = journal_pull(options.config.controller.agents, _AGENT_SECONDS)
    facts = DeskFacts(
        gpu_pods=lambda: _pods(view),
        nodes=lambda: view.nodes,
        down=scaler.down_refs,
        scarce=lambda: scaler.tally.scarce,
        told_at=scaler.notices.told_at,
        own_namespace=own_namespace() if (SERVICE_ACCOUNT / "namespace").exists() else "",
        protected_namespaces=lambda: scaler.settings.protected_namespaces,
    )

    hours = FreshHours(pull, lambda: books.gather.gathered.where, activity, present.now)
    return GuardDesk(activity, hours, Queues(pull, lambda: books.gather.gathered.where, activity.worked), facts)


def _pods(view: ClusterView) -> list[PodSeen]:
    return [pod for node in view.nodes for pod in view.pods_on(node)]
