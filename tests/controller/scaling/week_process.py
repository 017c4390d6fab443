"""One controller in the week's world: all of its scaling is real, but for its clock and the agents that it asks.

The API server stamps objects with its own clock, so its view has for each of them when it was made by the script's.
"""

import threading
from dataclasses import replace
from datetime import datetime, timedelta

from collectors.clock import SystemClock
from collectors.kube_api import KubeApi
from collectors.kube_follow import Backoff
from controller.scaling.activity import ActivityBook
from controller.scaling.audit_log import AuditLog
from controller.scaling.breaker import Breaker, BreakerLimits
from controller.scaling.cluster_view import ClusterView
from controller.scaling.events import Events
from controller.scaling.guard_desk import DeskFacts, GuardDesk
from controller.scaling.informers import PAGE_OBJECTS, Informers
from controller.scaling.model import Ref
from controller.scaling.queues import NO_ENGINE
from controller.scaling.rate import TokenBucket
from controller.scaling.registry import KINDS
from controller.scaling.scaler import Scaler, ScalerParts
from controller.scaling.schedule_settings import ScheduleSettings
from controller.scaling.trimmed import Unreadable
from controller.scaling.writer import Pace, Writer
from ledger.audit import append
from ledger.store import Store
from tests.cluster.waiting import wait_until
from tests.controller.scaling import week_script as script
from tests.controller.scaling.week_books import HOUR, document
from tests.controller.scaling.week_world import LONG_AGO, REGISTRY, World

PULLED = timedelta(minutes=5)
"""As often agents' journals are pulled."""


class WeekView(ClusterView):
    """Objects and pods are as old as the script says."""

    def __init__(self, clock, world: World) -> None:
        super().__init__(clock)
        self._world = world

    def replace_objects(self, kind, items) -> None:
        super().replace_objects(kind, [self._dated(item) for item in items])

    def put_object(self, item) -> None:
        super().put_object(self._dated(item))

    def replace_pods(self, items) -> None:
        super().replace_pods([self._born(pod) for pod in items])

    def put_pod(self, pod) -> None:
        super().put_pod(self._born(pod))

    def _dated(self, item):
        born = self._world.born.get(item.ref)
        return item if isinstance(item, Unreadable) or born is None else replace(item, created=born)

    def _born(self, pod):
        born = self._world.born.get(Ref("Pod", pod.namespace, pod.name))
        return pod if born is None else replace(pod, created=born)


class ToldWrites:
    """The writer, and the world that sees what is written."""

    def __init__(self, writer: Writer, world: World) -> None:
        self._writer, self._world = writer, world
        self.count = 0
        self.written: set[Ref] = set()

    def write(self, kind, ref, patch, version):
        self.count += 1
        self.written.add(ref)
        wrote = self._writer.write(kind, ref, patch, version)
        if wrote.result == "done":
            self._world.wrote(ref, wrote.version)
        return wrote


class Process:
    """One controller: all of its scaling, with the script's clock, and agents that the world plays."""

    def __init__(self, server, world: World, root: str, settings: dict, name: str) -> None:
        self._world = world
        self.now = world.now
        clock, self._stop = SystemClock(), threading.Event()
        self.view = WeekView(clock, world)
        self.activity = ActivityBook()
        self._api = server.client(keep_connections=True)
        breaker = Breaker(BreakerLimits(), clock.monotonic_ns())
        pace = Pace(clock, self._stop, TokenBucket(10_000), Backoff())
        self.writes = ToldWrites(Writer(self._api, self.view.served, pace, breaker), world)
        self.store = Store(root)
        self.store.claim_epoch()
        self._audit = AuditLog(lambda rows: append(self.store, rows), cluster=script.CLUSTER, actor=name)
        self.asked = 0
        self._fed: dict[str, datetime] = {}
        self.scaler = Scaler(
            ScalerParts(
                settings=ScheduleSettings(**settings),
                view=self.view,
                kinds=REGISTRY,
                writes=self.writes,
                downs=self.writes,
                desk=self._desk,
                activity=self.activity,
                breaker=breaker,
                audit=self._audit,
                events=Events(self._api, TokenBucket(10_000, 1000), name),
                store=Store(root),
                cluster=script.CLUSTER,
                clock=clock,
                now=lambda: self.now,
            )
        )
        self._informers = Informers(KubeApi(server.endpoint(), page_objects=PAGE_OBJECTS), KINDS, self.view, clock)
        self._informers.start()
        wait_until(self.view.ready, 30, "the view to be ready", poll=0.005)

    def look(self, now: datetime) -> bool:
        """One look with all that a process does around it; whether anything came of it."""
        self._world.play(now)
        self._see()
        self.now = now
        self.tell_hours()
        before = self.writes.count, self.asked
        self.scaler.run()
        self.scaler.ask()
        self.scaler.tell()
        wait_until(lambda: not self._audit.waiting or self.scaler.tell(), 15, "the audit rows", poll=0.002)
        fresh = not self.scaler.recalled
        self.scaler.recall()
        self._world.play(now)
        return fresh or before != (self.writes.count, self.asked)

    def ask(self, nodes, minutes: int) -> dict[str, str]:
        """Agents are asked for their last hours."""
        del minutes
        self.asked += 1
        self.tell_hours(nodes)
        return {}

    def of(self, workloads, now: datetime) -> dict:
        """Agents are asked for queues: there are none."""
        del now
        self.asked += 1
        return {each.ref: NO_ENGINE for each in workloads}

    def tell_hours(self, nodes=None) -> None:
        """What the agents' journals have by now."""
        now, hour = self.now, self.now.replace(minute=0, second=0, microsecond=0)
        for node in self._world.nodes:
            former = self._fed.get(node.name, LONG_AGO)
            due = node.name in nodes if nodes is not None else now - former >= PULLED
            if not due or node.ended is not None:
                continue
            since = hour if former > hour else hour - HOUR
            documents = [document(node, self._world.pods, each, now) for each in {since, hour}]
            self.activity.take(node.name, [each for each in documents if each is not None], now)
            self._fed[node.name] = now

    def end(self) -> None:
        """It ends, as by a kill: what it did is written already."""
        self._stop.set()
        self._informers.close()
        self._api.close()

    def _see(self) -> None:
        wait_until(lambda: self._world.is_seen(self.view), 20, "the view to have all that was done", poll=0.002)

    def _desk(self, scaler: Scaler) -> GuardDesk:
        facts = DeskFacts(
            gpu_pods=lambda: [pod for node in self.view.nodes for pod in self.view.pods_on(node)],
            nodes=lambda: self.view.nodes,
            down=scaler.down_refs,
            scarce=lambda: scaler.tally.scarce,
            told_at=scaler.notices.told_at,
        )
        return GuardDesk(self.activity, self, self, facts)
