"""Objects of every kind on a real API server, a controller beside them, and a night that must leave them unchanged."""

import copy
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from collectors.clock import SystemClock
from collectors.kube_api import KubeApi
from collectors.kube_endpoint import KubeEndpoint
from collectors.kube_follow import Backoff
from controller.scaling.act import Actor, Outcome, Task, Writes
from controller.scaling.breaker import Breaker, BreakerLimits
from controller.scaling.cluster_view import ClusterView
from controller.scaling.decide import record_or_none
from controller.scaling.engine import Engine, Policy, Tick
from controller.scaling.informers import PAGE_OBJECTS, Informers
from controller.scaling.kind import Kind
from controller.scaling.model import ZERO, NamespaceSeen, Ref, Seen, Size, Wish
from controller.scaling.rate import TokenBucket
from controller.scaling.record import RECORD
from controller.scaling.registry import KINDS
from controller.scaling.writer import Pace, Writer, object_path
from tests.api_proxy import Fault, Request
from tests.cluster.api_only import ApiServer
from tests.controller.scaling.kind_objects import OBJECTS, merged

BEGIN = datetime(2026, 11, 20, 19, tzinfo=UTC)
END = BEGIN + timedelta(hours=12)
BEFORE, INSIDE, AFTER = BEGIN - timedelta(hours=1), BEGIN + timedelta(minutes=1), END + timedelta(minutes=1)
REGISTRY: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}
LABELS = tuple(OBJECTS)
"""What is scaled, by the kind that is written for it; an autoscaler has a Deployment that it scales."""
SCALERS = frozenset({"HorizontalPodAutoscaler", "ScaledObject"})
SETTLE_SECONDS = 60.0
_FAR = 1_000_000
"""A generation that no object reaches: its status speaks of whatever the spec says."""
_WATCHING_SPEED, _WRITING_SPEED = 20, 200


class QuickClock(SystemClock):
    """So many times as fast as the machine's."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() * self._times

    def wait(self, event: threading.Event, duration_ns: int) -> bool:
        return super().wait(event, duration_ns // self._times)


class Killed(BaseException):
    """The process was killed here."""


class Changed(AssertionError):  # noqa: N818  (named for what is found)
    """An object did not end as it was, or something never came about."""


def nightly(seen: Seen, now: datetime) -> Wish:
    """Down from BEGIN to END each night: what a HorizontalPodAutoscaler scales to one, all else to nothing."""
    begin = BEGIN + (now - BEGIN) // timedelta(days=1) * timedelta(days=1)
    until = begin + (END - BEGIN)
    if not begin <= now < until:
        return Wish("up", "by day", policy="nights", dry_run=False)
    size = Size(1) if seen.ref.name.startswith("horizontalpodautoscaler") else ZERO
    return Wish("down", "at night", "nights", size, window=begin, until=until, dry_run=False)


class World:
    """Objects in a namespace of their own, and what their owners made them."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.namespace = server.make_namespace()
        self.levers: list[Ref] = []
        self._client = server.client()
        self._was: dict[Ref, Any] = {}

    def path(self, ref: Ref) -> str:
        kind = REGISTRY[ref.kind]
        return object_path(kind, kind.versions[0], ref)

    def add(self, label: str, name: str) -> Ref:
        """What is scaled by one of this kind; the object that is written for it."""
        if label in SCALERS:
            scaler = copy.deepcopy(OBJECTS[label])
            scaler["spec"]["scaleTargetRef"]["name"] = name
            self._make(OBJECTS["Deployment"], name)
            lever = self._make(scaler, name)
        else:
            lever = self._make(OBJECTS[label], name)
        self.levers.append(lever)
        return lever

    def edit(self, ref: Ref, patch: Mapping[str, Any]) -> None:
        """What its owner does to an object, and wants to stay."""
        self.server.patch(self.path(ref), dict(patch))
        self._was[ref] = _essence(merged(self._was[ref], patch))

    def status(self, ref: Ref, *, ready: bool) -> None:
        """What its controller says of an object."""
        status = copy.deepcopy(OBJECTS[ref.kind]["status"])
        if "observedGeneration" in status:
            status["observedGeneration"] = type(status["observedGeneration"])(_FAR)
        if ready and "replicas" in status:
            status["readyReplicas"] = status["replicas"]
        if not ready:
            status |= {key: 0 for key in ("readyReplicas", "readyWorkerReplicas", "ready") if key in status}
            status |= {key: [] for key in ("conditions",) if key in status}
        self._client.patch(self.path(ref), {"status": status}, subresource="status")

    @property
    def refs(self) -> tuple[Ref, ...]:
        return tuple(self._was)

    def remove(self) -> None:
        """Take all objects away."""
        for ref in self._was:
            self.server.admin.delete(self.path(ref))

    def check(self) -> None:
        """All objects are as their owners made them, to the last label.

        Raises:
            Changed: they are not.
        """
        stands = {ref: _essence(item) for ref, item in self._items()}
        wrong = [
            f"{ref} was {was} and is {stands.get(ref)}" for ref, was in self._was.items() if stands.get(ref) != was
        ]
        if wrong:
            raise Changed(
                f"{len(wrong)} of {len(self._was)} objects did not end as they were:\n" + "\n".join(wrong[:5])
            )

    def are_down(self, view: ClusterView) -> bool:
        return all(seen is not None and is_down(seen) for seen in map(view.get, self.levers))

    def are_back(self, view: ClusterView) -> bool:
        return all(seen is not None and RECORD not in seen.annotations for seen in map(view.get, self._was))

    def _make(self, made: Mapping[str, Any], name: str) -> Ref:
        ref = Ref(made["kind"], self.namespace, name)
        metadata = {"name": name, **{key: made["metadata"][key] for key in ("labels", "annotations")}}
        folder = self.path(ref).rpartition("/")[0]
        item = self._client.write("create", folder, {**made, "metadata": metadata, "status": {}})
        if made["status"] and ref.kind not in SCALERS:
            self.status(ref, ready=True)
        self._was[ref] = _essence(item)
        return ref

    def _items(self) -> Iterable[tuple[Ref, Mapping[str, Any]]]:
        for kind in sorted({ref.kind for ref in self._was}):
            folder = self.path(Ref(kind, self.namespace, "x")).rpartition("/")[0]
            for item in self.server.admin.get(folder)["items"]:
                yield Ref(kind, self.namespace, item["metadata"]["name"]), item


def _essence(item: Mapping[str, Any]) -> Any:
    """All of an object that its owner wrote."""
    meta = item["metadata"]
    return {
        "spec": copy.deepcopy(item["spec"]),
        "metadata": {"labels": meta.get("labels", {}), "annotations": meta.get("annotations", {})},
    }


class Book:
    """How writes ended."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()

    def intend(self, tasks: Sequence[Task], now: datetime, /) -> None:
        pass

    def note(self, _task: Task, outcome: Outcome, _now: datetime, /) -> None:
        self.results[outcome.result] += 1


def _unwrapped(writes: Writes) -> Writes:
    return writes


class Life:
    """What one process has: informers with their view, a writer and an engine, for one namespace."""

    def __init__(self, endpoint: KubeEndpoint, namespace: str, wrap: Callable[[Writes], Writes] = _unwrapped) -> None:
        self._namespace = namespace
        watching, self._writing = QuickClock(_WATCHING_SPEED), QuickClock(_WRITING_SPEED)
        api = KubeApi(endpoint, page_objects=PAGE_OBJECTS, timeout_seconds=10)
        self.view = ClusterView(watching)
        self.informers = Informers(api, KINDS, self.view, watching)
        self.book = Book()
        self._stop = threading.Event()
        self._breaker = Breaker(BreakerLimits(), self._writing.monotonic_ns())
        pace = Pace(self._writing, self._stop, TokenBucket(100, 100), Backoff())
        writer = Writer(api, self.view.served, pace, self._breaker)
        policy = Policy(
            wish=self._wish,
            lead=lambda _ref: timedelta(0),
            refusals=lambda _downs, _now: {},
            allowance=self._allowance,
            hold=lambda _now: self._breaker.hold(self._writing.monotonic_ns()),
        )
        self.engine = Engine(self.view, REGISTRY, policy, Actor(wrap(writer), self.book))
        self.informers.start()

    def _wish(self, seen: Seen, namespace: NamespaceSeen, _gpus: int, now: datetime) -> Wish:
        return nightly(seen, now) if namespace.name == self._namespace else Wish("none", "it is another test's")

    def _allowance(self, _now: datetime) -> int:
        allowed = self._breaker.allowance(self._writing.monotonic_ns())
        return 10_000 if allowed is None else allowed

    def tick(self, now: datetime) -> Tick:
        """One look, and a short wait for what comes of it."""
        tick = self.engine.tick(now)
        time.sleep(0.01)
        self.view.wait_for_change(1)
        return tick

    def settle(self, now: datetime, goal: Callable[[ClusterView], bool]) -> None:
        """Tick until ``goal`` holds and nothing is written any more.

        Raises:
            Changed: it never comes to that.
        """
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            held = self.view.ready() and goal(self.view)
            tick = self.tick(now)
            if held and not any(report.outcome for report in tick.reports):
                return
            if time.monotonic() > end:
                steps = [
                    (str(each.ref), each.step.action, each.step.why, each.outcome, each.workload.subject.readiness)
                    for each in tick.reports
                    if each.step.action != "nothing" or each.outcome is not None
                ]
                raise Changed(f"not settled at {now}, {self.view.failing}: {steps[:8]}")

    def close(self) -> None:
        self._stop.set()
        self.informers.close()


class FaultPlan:
    """Which write of which object meets which fault: each object its own, at one of its writes.

    Give its :meth:`faults` to a proxy.
    """

    def __init__(self, plan: Mapping[tuple[Ref, int], str]) -> None:
        self._plan = {(ref.name, number): fault for (ref, number), fault in plan.items()}
        self._names = {ref.name for ref, _ in plan}
        self._counts: Counter[str] = Counter()
        self._due = ""
        self.met: Counter[str] = Counter()

    def faults(self, named: Mapping[str, Fault]) -> list[tuple[Callable[[Request], bool], Fault]]:
        """In the order in which they are to be asked, each about each request."""
        return [(self._count, Fault()), *((self._is_due(name), fault) for name, fault in named.items())]

    def _count(self, request: Request) -> bool:
        """Never a fault of its own."""
        self._due = ""
        name = name_of(request.path)
        if request.write and name in self._names:
            self._counts[name] += 1
            self._due = self._plan.get((name, self._counts[name]), "")
            self.met[self._due] += 1
        return False

    def _is_due(self, fault: str) -> Callable[[Request], bool]:
        return lambda _request: self._due == fault


def name_of(path: str) -> str:
    """Of the object that a path leads to."""
    return path.removesuffix("/scale").rpartition("/")[2]


def is_down(seen):
    """Whether it was put down by a schedule and stands as it was put."""
    record = record_or_none(seen)
    return record is not None and record.restoring is None and seen.levers == record.put
