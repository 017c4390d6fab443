"""The cluster as it is now, by one list of each kind that is there: for commands that look once and follow nothing.

Makes no write. A kind that cannot be listed leaves the others, and the view says why.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from collectors.clock import NS_PER_SECOND, Clock
from collectors.errors import SourceError, Unsupported
from collectors.kube_api import KubeApi, Resource
from collectors.kube_errors import Refused
from collectors.kube_follow import Backoff, FollowState
from collectors.kube_json import JsonObject
from controller.scaling.claims import CLAIM_KINDS, DROPPED_OF_CLAIMS, claim_seen
from controller.scaling.cluster_view import NAMESPACES, NODES, PODS, VOLUMES, ClusterView
from controller.scaling.discovery import Discovery
from controller.scaling.kind import Kind
from controller.scaling.local_volumes import DROPPED_OF_VOLUMES, volume_seen
from controller.scaling.model import Seen
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

T = TypeVar("T")
MOST_TRIES = 4
"""Of one list that failed otherwise than for a right."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """Where a follower would be."""

    state: FollowState


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look found."""

    view: ClusterView
    absent: tuple[str, ...]
    """Kinds that the API server does not have."""


class OneLook:
    """Looks; each look asks anew.

    Args:
        api: the API server.
        kinds: the registry.
        clock: for the waits between tries.
        namespace: look into this one alone; empty: into all.
    """

    def __init__(self, api: KubeApi, kinds: Sequence[Kind], clock: Clock, namespace: str = "") -> None:
        self._api = api
        self._kinds = kinds
        self._clock = clock
        self._namespace = quote(namespace, safe="")
        self._never = threading.Event()

    def objects(self, wanted: Callable[[JsonObject], bool] = lambda _item: True) -> Looked:
        """The objects of the registry's kinds.

        Args:
            wanted: which; the others are not kept while reading.

        Raises:
            Unavailable: the API server does not tell which kinds it has.
        """
        view, discovery = ClusterView(self._clock), Discovery(self._api, self._kinds)
        served = self._served(discovery)
        for kind in self._kinds:
            if version := served.get(kind.name, ""):
                self._list_kind(view, kind, version, wanted)
            elif why := discovery.errors.get(kind.name, ""):
                view.attach(kind.name, _Listed(FollowState(error=why)), "")
        view.decide(())
        return Looked(view, tuple(name for name, version in served.items() if not version))

    def around(self, view: ClusterView) -> None:
        """Namespaces, pods and nodes into ``view``."""
        running = "status.phase!=Succeeded,status.phase!=Failed"
        pods = Resource(self._path("/api/v1", "pods"), running, DROPPED_OF_PODS)
        self._take(view, PODS, "v1", lambda: view.replace_pods(self._api.list(pods, pod_seen).items))
        nodes = Resource("/api/v1/nodes", dropped=DROPPED_OF_NODES)
        self._take(view, NODES, "v1", lambda: view.set_nodes(self._api.list(nodes, node_seen).items))
        self._take(view, NAMESPACES, "v1", lambda: self._namespaces(view))
        if view.claims_asked:
            self._claims(view)
        if view.volumes_named:
            volumes = Resource("/api/v1/persistentvolumes", dropped=DROPPED_OF_VOLUMES)
            self._take(view, VOLUMES, "v1", lambda: view.set_volumes(self._api.list(volumes, volume_seen).items))

    def _served(self, discovery: Discovery) -> Mapping[str, str]:
        backoff = Backoff()
        served = self._tried(discovery.look)
        for _ in range(MOST_TRIES - 1):
            if not discovery.errors:
                break
            self._clock.wait(self._never, int(backoff.next_seconds() * NS_PER_SECOND))
            served = self._tried(discovery.look)
        return served

    def _claims(self, view: ClusterView) -> None:
        served = self._served(Discovery(self._api, CLAIM_KINDS))
        for name, plural, group in ((kind.name, kind.plural, kind.group) for kind in CLAIM_KINDS):
            if version := served.get(name, ""):
                resource = Resource(self._path(f"/apis/{group}/{version}", plural), dropped=DROPPED_OF_CLAIMS)
                self._take(view, name, version, partial(self._list_claims, view, name, resource))

    def _list_claims(self, view: ClusterView, name: str, resource: Resource) -> None:
        view.replace_claims(name, self._api.list(resource, claim_seen(name)).items)

    def _namespaces(self, view: ClusterView) -> None:
        if self._namespace:
            view.set_namespaces([namespace_seen(self._api.get(f"/api/v1/namespaces/{self._namespace}"))])
        else:
            view.set_namespaces(self._api.list(Resource("/api/v1/namespaces"), namespace_seen).items)

    def _list_kind(self, view: ClusterView, kind: Kind, version: str, wanted: Callable[[JsonObject], bool]) -> None:
        keep = kept(kind)

        def keep_wanted(item: JsonObject) -> Seen | Unreadable | None:
            return keep(item) if wanted(item) else None

        folder = f"/apis/{kind.group}/{version}" if kind.group else f"/api/{version}"
        resource = Resource(self._path(folder, kind.plural), dropped=DROPPED_OF_KINDS)

        def take() -> None:
            items = self._api.list(resource, keep_wanted).items
            view.replace_objects(kind.name, [item for item in items if item is not None])

        self._take(view, kind.name, version, take)

    def _path(self, folder: str, plural: str) -> str:
        within = f"/namespaces/{self._namespace}" if self._namespace else ""
        return f"{folder}{within}/{plural}"

    def _take(self, view: ClusterView, name: str, version: str, take: Callable[[], None]) -> None:
        try:
            self._tried(take)
            state = FollowState(synced=True)
        except Unsupported:  # it went meanwhile, or the namespace is none
            state = FollowState(synced=True)
        except SourceError as error:
            state = FollowState(error=str(error), forbidden=isinstance(error, Refused))
        view.attach(name, _Listed(state), version)

    def _tried(self, ask: Callable[[], T]) -> T:
        """Ask again what failed for a moment.

        Raises:
            SourceError: it failed each time, or will.
        """
        backoff = Backoff()
        for tries in range(1, MOST_TRIES + 1):
            try:
                return ask()
            except (Refused, Unsupported):
                raise
            except SourceError:
                if tries == MOST_TRIES:
                    raise
                self._clock.wait(self._never, int(backoff.next_seconds() * NS_PER_SECOND))
        raise AssertionError("unreachable")
