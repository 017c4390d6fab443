"""The cluster as it was last seen: objects, pods, namespaces and nodes, and how well each of them is followed.

Owns the indexes by which a workload's pods and autoscalers are found. It is filled from the followers' threads and read
from any; what it gives out is never changed afterwards. It makes no request.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from collectors.clock import NS_PER_SECOND, Clock
from collectors.kube_follow import FollowState
from controller.scaling.claims import NOT_KNOWN, ClaimSeen
from controller.scaling.local_volumes import UNSEEN, LocalVolumes, VolumeSeen
from controller.scaling.model import Claimed, NamespaceSeen, NodeSeen, PodSeen, Ref, Seen
from controller.scaling.pod_index import PodIndex, homed, pop
from controller.scaling.trimmed import Unreadable, counts

PODS, NAMESPACES, NODES, VOLUMES = "Pod", "Namespace", "Node", "PersistentVolume"
SETTLE_SECONDS = 120
"""A kind that cannot be listed for so long no longer keeps the others waiting."""


class Source(Protocol):
    """Who brings objects of one kind."""

    @property
    def state(self) -> FollowState:
        """How following goes."""
        ...


@dataclass(frozen=True, slots=True)
class _Attached:
    source: Source
    version: str
    since_ns: int


class ClusterView:
    """What is known of a cluster."""

    def __init__(self, clock: Clock) -> None:
        self.changed = threading.Event()
        """Set with each change that may matter; whoever waits on it clears it."""
        self._clock = clock
        self._lock = threading.Lock()
        self._attached: dict[str, _Attached] = {}
        self._undecided: frozenset[str] | None = None
        self._was_ready = False
        self._objects: dict[str, dict[Ref, Seen]] = {}
        self._unreadable: dict[Ref, str] = {}
        self._scalers: dict[tuple[str, Ref], dict[Ref, Seen]] = {}
        self._namespaces: dict[str, NamespaceSeen] = {}
        self._nodes: dict[str, NodeSeen] = {}
        self._pods = PodIndex()
        self._claims: dict[Ref, int] = {}
        self.claims_asked = False
        """Whether anything asks for devices by resource claims, so that these need be seen."""
        self.on_claims: Callable[[], None] = lambda: None
        """Called once, when that becomes so, or the next is; it must not wait."""
        self.volumes_named = False
        """Whether anything names claims of volumes, so that these need be seen."""
        self._volumes = LocalVolumes()

    def objects(self, kind: str) -> Sequence[Seen]:
        """All objects of a kind of the registry that can be read; none where the cluster lacks it."""
        with self._lock:
            return tuple(map(self._with_claims, self._objects.get(kind, {}).values()))

    def get(self, ref: Ref) -> Seen | None:
        """One object."""
        with self._lock:
            found = self._objects.get(ref.kind, {}).get(ref)
            return None if found is None else self._with_claims(found)

    def scalers_of(self, kind: str, subject: Ref) -> Sequence[Seen]:
        """Objects of an autoscaling kind, such as ``HorizontalPodAutoscaler``, that scale a workload."""
        with self._lock:
            return tuple(self._scalers.get((kind, subject), {}).values())

    def pods_of(self, ref: Ref) -> Sequence[PodSeen]:
        """The pods of a workload that hold GPUs or announce an engine; of the others those that are not Ready."""
        with self._lock:
            return tuple(map(self._pod_with_claims, self._pods.of(ref)))

    def pods_on(self, node: str) -> Sequence[PodSeen]:
        """The pods of a node, as :meth:`pods_of` has them."""
        with self._lock:
            return tuple(map(self._pod_with_claims, self._pods.on(node)))

    def namespace(self, name: str) -> NamespaceSeen:
        """A namespace; one without labels where it is not seen."""
        with self._lock:
            return self._namespaces.get(name) or NamespaceSeen(name)

    @property
    def namespaces(self) -> Mapping[str, NamespaceSeen]:
        """All namespaces by name."""
        with self._lock:
            return dict(self._namespaces)

    @property
    def nodes(self) -> Mapping[str, NodeSeen]:
        """All nodes by name."""
        with self._lock:
            return dict(self._nodes)

    def has_gpus(self) -> bool:
        """Whether a node has GPUs, or a pod that is bound to one holds some."""
        with self._lock:
            bound = map(self._pod_with_claims, self._pods.bound())
            return any(node.gpus for node in self._nodes.values()) or any(pod.gpus for pod in bound)

    @property
    def unreadable(self) -> Mapping[Ref, str]:
        """Objects that are not understood, and why; they are in no other answer."""
        with self._lock:
            return dict(self._unreadable)

    def served(self, kind: str) -> str:
        """The version in which the API server has a kind; empty where it has none, or it is not known."""
        attached = self._attached.get(kind)
        return "" if attached is None else attached.version

    def synced(self, kind: str) -> bool:
        """Whether all objects of a kind have been listed, ``Pod``, ``Namespace`` and ``Node`` too."""
        attached = self._attached.get(kind)
        return attached is not None and attached.source.state.synced

    @property
    def forbidden(self) -> Mapping[str, str]:
        """By kind, the right that is missing to see it; what it says of such a kind is old or nothing."""
        states = {kind: attached.source.state for kind, attached in self._sources().items()}
        return {kind: state.error or "" for kind, state in states.items() if state.forbidden}

    @property
    def failing(self) -> Mapping[str, str]:
        """By kind, why it is not followed now, other than for a right that is missing."""
        states = {kind: attached.source.state for kind, attached in self._sources().items()}
        return {kind: state.error for kind, state in states.items() if state.error and not state.forbidden}

    def ready(self) -> bool:
        """Whether all that there is has been listed once, but for what is forbidden or does not settle."""
        if self._was_ready:
            return True
        sources = self._sources()
        decided = self._undecided is not None and not self._undecided
        self._was_ready = decided and all(self._is_settled(attached) for attached in sources.values())
        return self._was_ready

    def stale_seconds(self, now_ns: int, kinds: Collection[str] | None = None) -> float:
        """For how long the least known of these kinds, or of all, has not been followed; 0 where all are.

        A quiet watch is no stale one: whether it is alive is the follower's to find out. What is forbidden does not
        count.
        """
        longest_ns = 0
        for kind, attached in self._sources().items():
            state = attached.source.state
            if state.error is not None and not state.forbidden and (kinds is None or kind in kinds):
                heard_ns = attached.since_ns if state.heard_ns is None else state.heard_ns
                longest_ns = max(longest_ns, now_ns - heard_ns)
        return longest_ns / NS_PER_SECOND

    def wait_for_change(self, timeout_seconds: float) -> bool:
        """Wait until something changed since the last time, or time is up; whether something did."""
        self._clock.wait(self.changed, int(timeout_seconds * NS_PER_SECOND))
        changed = self.changed.is_set()
        self.changed.clear()
        return changed

    def attach(self, kind: str, source: Source, version: str) -> None:
        """A kind is followed from now on."""
        with self._lock:
            self._attached[kind] = _Attached(source, version, self._clock.monotonic_ns())

    def detach(self, kind: str) -> None:
        """A kind is no longer there, nor are its objects."""
        with self._lock:
            self._attached.pop(kind, None)
        self.replace_objects(kind, ())
        self.replace_claims(kind, ())

    def decide(self, undecided: Collection[str]) -> None:
        """It is known which kinds the server has, but for these."""
        self._undecided = frozenset(undecided)

    def replace_objects(self, kind: str, items: Sequence[Seen | Unreadable]) -> None:
        """All objects of a kind."""
        with self._lock:
            for ref in [ref for ref in self._unreadable if ref.kind == kind]:
                del self._unreadable[ref]
            for former in list(self._objects.get(kind, {}).values()):
                self._drop(former.ref)
            for item in items:
                self._take(item)
        self.changed.set()

    def put_object(self, item: Seen | Unreadable) -> None:
        """An object that is new or has changed."""
        with self._lock:
            former = self._objects.get(item.ref.kind, {}).get(item.ref)
            self._unreadable.pop(item.ref, None)
            self._drop(item.ref)
            self._take(item)
        if former is None or isinstance(item, Unreadable) or replace(item, version=former.version) != former:
            self.changed.set()

    def remove_object(self, ref: Ref) -> None:
        """An object that is gone."""
        with self._lock:
            self._unreadable.pop(ref, None)
            self._drop(ref)
        self.changed.set()

    def replace_claims(self, kind: str, items: Sequence[ClaimSeen]) -> None:
        """All claims of a kind."""
        with self._lock:
            others = {ref: gpus for ref, gpus in self._claims.items() if ref.kind != kind}
            self._claims = others | {item.ref: item.gpus for item in items}
        self.changed.set()

    def put_claim(self, item: ClaimSeen) -> None:
        """A claim that is new or has changed."""
        with self._lock:
            same, self._claims[item.ref] = self._claims.get(item.ref) == item.gpus, item.gpus
        if not same:
            self.changed.set()

    def remove_claim(self, ref: Ref) -> None:
        """A claim that is gone: what it asked for is not known any more."""
        with self._lock:
            self._claims.pop(ref, None)

    def set_volumes(self, items: Sequence[VolumeSeen]) -> None:
        """All PersistentVolumes."""
        self._volumes.replace(items)
        self.changed.set()

    def put_volume(self, item: VolumeSeen) -> None:
        """A PersistentVolume that is new or has changed."""
        if self._volumes.put(item):
            self.changed.set()

    def remove_volume(self, name: str) -> None:
        """A PersistentVolume that is gone."""
        self._volumes.remove(name)

    def replace_pods(self, items: Sequence[PodSeen]) -> None:
        """All pods."""
        with self._lock:
            self._pods.clear()
            for pod in items:
                self._take_pod(pod)
        self.changed.set()

    def put_pod(self, pod: PodSeen) -> None:
        """A pod that is new or has changed."""
        with self._lock:
            former = self._pods.get(pod.uid)
            if former == homed(pod, self._maker(pod)):
                return
            self._pods.drop(pod.uid)
            self._take_pod(pod)
            same = former is None and self._pods.get(pod.uid) is None
        if not same:
            self.changed.set()

    def remove_pod(self, uid: str) -> None:
        """A pod that is gone."""
        with self._lock:
            if self._pods.drop(uid) is None:
                return
        self.changed.set()

    def set_namespaces(self, items: Sequence[NamespaceSeen]) -> None:
        """All namespaces."""
        with self._lock:
            self._namespaces = {item.name: item for item in items}
        self.changed.set()

    def put_namespace(self, item: NamespaceSeen) -> None:
        """A namespace that is new or has changed."""
        with self._lock:
            same, self._namespaces[item.name] = self._namespaces.get(item.name) == item, item
        if not same:
            self.changed.set()

    def remove_namespace(self, name: str) -> None:
        """A namespace that is gone."""
        with self._lock:
            self._namespaces.pop(name, None)

    def set_nodes(self, items: Sequence[NodeSeen]) -> None:
        """All nodes."""
        with self._lock:
            self._nodes = {item.name: item for item in items}

    def put_node(self, item: NodeSeen) -> None:
        """A node that is new or has changed."""
        with self._lock:
            self._nodes[item.name] = item

    def remove_node(self, name: str) -> None:
        """A node that is gone."""
        with self._lock:
            self._nodes.pop(name, None)

    def _sources(self) -> dict[str, _Attached]:
        with self._lock:
            return dict(self._attached)

    def _is_settled(self, attached: _Attached) -> bool:
        state = attached.source.state
        late = self._clock.monotonic_ns() - attached.since_ns >= SETTLE_SECONDS * NS_PER_SECOND
        return state.synced or state.forbidden or (late and state.error is not None)

    def _take(self, item: Seen | Unreadable) -> None:
        if isinstance(item, Unreadable):
            self._unreadable[item.ref] = item.why
            return
        self._note_claims(item.claims)
        self._note_volumes(item.volumes)
        self._objects.setdefault(item.ref.kind, {})[item.ref] = item
        if item.scales is not None:
            self._scalers.setdefault(_scaled(item, item.scales), {})[item.ref] = item
        self._pods.rehome(item.ref, item)

    def _drop(self, ref: Ref) -> None:
        former = self._objects.get(ref.kind, {}).pop(ref, None)
        if former is not None and former.scales is not None:
            pop(self._scalers, _scaled(former, former.scales), ref)
        self._pods.rehome(ref, None)

    def _maker(self, pod: PodSeen) -> Seen | None:
        return None if pod.maker is None else self._objects.get(pod.maker.kind, {}).get(pod.maker)

    def _take_pod(self, pod: PodSeen) -> None:
        if counts(pod):
            self._note_claims(pod.claims)
            self._pods.take(pod, self._maker(pod))

    def _note_claims(self, claims: Sequence[Claimed]) -> None:
        if claims and not self.claims_asked:
            self.claims_asked = True
            self.on_claims()

    def _note_volumes(self, volumes: Sequence[str]) -> None:
        if volumes and not self.volumes_named:
            self.volumes_named = True
            self.on_claims()

    def _with_claims(self, seen: Seen) -> Seen:
        if seen.volumes:
            lost = self._volumes.losses(seen.ref.namespace, seen.volumes) if self.synced(VOLUMES) else (UNSEEN,)
            seen = replace(seen, losses=(*seen.losses, *lost)) if lost else seen
        if not seen.claims:
            return seen
        return replace(seen, gpus_per_pod=seen.gpus_per_pod + self._claimed(seen.ref.namespace, seen.claims))

    def _pod_with_claims(self, pod: PodSeen) -> PodSeen:
        return replace(pod, gpus=pod.gpus + self._claimed(pod.namespace, pod.claims)) if pod.claims else pod

    def _claimed(self, namespace: str, claims: Sequence[Claimed]) -> int:
        return sum(each.times * self._claims.get(Ref(each.kind, namespace, each.name), NOT_KNOWN) for each in claims)


def _scaled(scaler: Seen, scales: tuple[str, str]) -> tuple[str, Ref]:
    kind, name = scales
    return scaler.ref.kind, Ref(kind, scaler.ref.namespace, name)
