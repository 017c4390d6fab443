"""Follows every kind that the cluster has, each by a watch in a thread of its own, into a ``ClusterView``.

Owns when a kind begins and ends: one whose CRD is not installed costs one question about all of them every ten minutes,
one whose CRD goes takes its objects along, and a right that is missing for one leaves the others. Makes no list in
steady state: a watch lasts an hour and is taken up where it ended.
"""

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from collectors.clock import NS_PER_SECOND, Clock
from collectors.errors import SourceError
from collectors.kube_api import KubeApi, Resource
from collectors.kube_follow import Backoff, Follower, Habits
from collectors.kube_json import JsonObject
from controller.scaling.claims import CLAIM_KINDS, DROPPED_OF_CLAIMS, ClaimSeen, claim_seen
from controller.scaling.cluster_view import NAMESPACES, NODES, PODS, VOLUMES, ClusterView
from controller.scaling.discovery import Discovery
from controller.scaling.kind import Kind
from controller.scaling.local_volumes import DROPPED_OF_VOLUMES, VolumeSeen, volume_seen
from controller.scaling.model import NamespaceSeen, NodeSeen, PodSeen, Seen
from controller.scaling.trimmed import (
    DROPPED_OF_KINDS,
    DROPPED_OF_NODES,
    DROPPED_OF_PODS,
    Unreadable,
    kept,
    namespace_seen,
    node_seen,
    pod_seen,
)

_log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_SECONDS = 600
"""How often it is asked which kinds there are; the end of one is noticed at once."""
PAGE_OBJECTS = 200
"""Objects of a page of a list: each is trimmed before the next page is asked for."""
HABITS = Habits(
    watch_seconds=3600,
    from_store=True,
    silent_seconds=300,
    mute_seconds=1800,
    refused_seconds=300,
    ends=True,
)


@dataclass(frozen=True, slots=True)
class _Sink(Generic[T]):
    """A follower's way into the view."""

    replace: Callable[[Sequence[T]], None]
    put: Callable[[T], None]
    remove: Callable[[T], None]


class _Informer:
    """One kind that is followed."""

    def __init__(self, name: str, run: Callable[[threading.Event], None], ended: Callable[[str], None]) -> None:
        self._name = name
        self._run = run
        self._ended = ended
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"follow-{name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Have it end; it does so within a second."""
        self._stop.set()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _follow(self) -> None:
        try:
            self._run(self._stop)
        except Exception:  # noqa: BLE001  (a thread that dies unseen leaves an old picture for a new one)
            # whatever it is, it would come again at once; begun anew by whoever is told, and later each time
            _log.exception("following %s ended", self._name)
        if not self._stop.is_set():
            self._ended(self._name)


class Informers:
    """Keeps ``view`` up to date from :meth:`start` to :meth:`close`.

    Args:
        api: the API server; make it with ``page_objects=PAGE_OBJECTS``.
        kinds: the registry.
        view: what is filled.
        clock: for all waits.
        habits: how each kind is followed.
    """

    def __init__(
        self, api: KubeApi, kinds: Sequence[Kind], view: ClusterView, clock: Clock, habits: Habits = HABITS
    ) -> None:
        self._api = api
        self._kinds = {kind.name: kind for kind in kinds}
        self._view = view
        self._clock = clock
        self._habits = habits
        self._discovery = Discovery(api, kinds)
        self._claim_kinds = Discovery(api, CLAIM_KINDS)
        view.on_claims = self.look_again
        self._running: dict[str, _Informer] = {}
        self._versions: dict[str, str] = {}
        self._lock = threading.Lock()
        self._gone: set[str] = set()
        self._woken = threading.Event()
        self._stop = threading.Event()
        self._backoff = Backoff(first_seconds=1.0, most_seconds=60.0)
        self._told = ""
        self._thread = threading.Thread(target=self._run, name="follow-kinds", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def look_again(self) -> None:
        """Ask now which kinds there are, such as when somebody says that one was installed."""
        self._woken.set()

    def close(self) -> None:
        """End all watches, and wait for it."""
        self._stop.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        wait_seconds = 0.0
        while not self._stop.is_set():
            if wait_seconds:
                self._clock.wait(self._stop, int(wait_seconds * NS_PER_SECOND))
            wait_seconds = 0.0 if self._stop.is_set() else self._look()
            if not wait_seconds:
                self._clock.wait(self._woken, LOOK_SECONDS * NS_PER_SECOND)
                # what has just gone may still be named by the server for a moment
                wait_seconds = self._backoff.next_seconds() if self._gone else 0.0
            self._woken.clear()
        self._end(list(self._running))

    def _look(self) -> float:
        """Begin and end what is to; in how many seconds to look again, or 0 where all is known."""
        with self._lock:
            doubted, self._gone = self._gone, set()
        self._end(doubted)
        self._follow_rest()
        try:
            served = self._discovery.look(doubted)
            self._follow_claims(doubted)
        except SourceError as error:
            self._tell(str(error))
            with self._lock:
                self._gone |= doubted
            return self._backoff.next_seconds()
        self._end([name for name, version in self._versions.items() if served.get(name, version) != version])
        for name, version in served.items():
            if version and name not in self._running:
                self._follow(self._kinds[name], version)
        self._view.decide([name for name in self._kinds if name not in served])
        errors = {**self._discovery.errors, **self._claim_kinds.errors}
        self._tell("; ".join(sorted(set(errors.values()))))
        if errors:
            return self._backoff.next_seconds()
        if not doubted:
            self._backoff.reset()
        return 0.0

    def _tell(self, error: str) -> None:
        """Log what fails, once until it is another."""
        if error and error != self._told:
            _log.warning("which kinds the cluster has is not known: %s", error)
        self._told = error

    def _end(self, names: Sequence[str] | set[str]) -> None:
        ending = {name: self._running.pop(name) for name in names if name in self._running}
        for informer in ending.values():
            informer.stop()
        for name, informer in ending.items():
            informer.join()
            self._versions.pop(name, None)
            if not self._stop.is_set():
                self._view.detach(name)

    def _follow(self, kind: Kind, version: str) -> None:
        view, name = self._view, kind.name
        path = f"/apis/{kind.group}/{version}/{kind.plural}" if kind.group else f"/api/{version}/{kind.plural}"
        sink: _Sink[Seen | Unreadable] = _Sink(
            lambda items: view.replace_objects(name, items), view.put_object, lambda item: view.remove_object(item.ref)
        )
        self._begin(name, version, Resource(path, dropped=DROPPED_OF_KINDS), kept(kind), sink)

    def _follow_rest(self) -> None:
        view = self._view
        namespaces: _Sink[NamespaceSeen] = _Sink(
            view.set_namespaces, view.put_namespace, lambda item: view.remove_namespace(item.name)
        )
        self._begin(NAMESPACES, "v1", Resource("/api/v1/namespaces"), namespace_seen, namespaces)
        nodes: _Sink[NodeSeen] = _Sink(view.set_nodes, view.put_node, lambda item: view.remove_node(item.name))
        self._begin(NODES, "v1", Resource("/api/v1/nodes", dropped=DROPPED_OF_NODES), node_seen, nodes)
        pods: _Sink[PodSeen] = _Sink(view.replace_pods, view.put_pod, lambda item: view.remove_pod(item.uid))
        # what has ended is never asked for
        running = "status.phase!=Succeeded,status.phase!=Failed"
        self._begin(PODS, "v1", Resource("/api/v1/pods", running, DROPPED_OF_PODS), pod_seen, pods)
        if view.volumes_named:  # which cost nothing where nobody names one
            volumes: _Sink[VolumeSeen] = _Sink(
                view.set_volumes, view.put_volume, lambda item: view.remove_volume(item.name)
            )
            resource = Resource("/api/v1/persistentvolumes", dropped=DROPPED_OF_VOLUMES)
            self._begin(VOLUMES, "v1", resource, volume_seen, volumes)

    def _follow_claims(self, doubted: Collection[str]) -> None:
        """Resource claims, which cost nothing where nobody asks by them.

        Raises:
            Unavailable: the server does not tell its groups.
        """
        if not self._view.claims_asked:
            return
        served = self._claim_kinds.look(doubted)
        for kind in CLAIM_KINDS:
            if version := served.get(kind.name, ""):
                path = f"/apis/{kind.group}/{version}/{kind.plural}"
                self._begin(
                    kind.name,
                    version,
                    Resource(path, dropped=DROPPED_OF_CLAIMS),
                    claim_seen(kind.name),
                    self._claims_sink(kind.name),
                )

    def _claims_sink(self, name: str) -> _Sink[ClaimSeen]:
        view = self._view
        return _Sink(
            lambda items: view.replace_claims(name, items), view.put_claim, lambda item: view.remove_claim(item.ref)
        )

    def _begin(
        self, name: str, version: str, resource: Resource, keep: Callable[[JsonObject], T], sink: _Sink[T]
    ) -> None:
        if name in self._running:
            return
        follower = Follower(self._api, resource, keep, sink=sink, clock=self._clock, habits=self._habits)
        self._view.attach(name, follower, version)
        self._versions[name] = version
        self._running[name] = _Informer(name, follower.run, self._has_ended)

    def _has_ended(self, name: str) -> None:
        with self._lock:
            self._gone.add(name)
        self._woken.set()
