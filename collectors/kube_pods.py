"""The pods of this node as the API server knows them, kept up to date by a thread of its own.

Owns what is remembered: a pod that is gone or has ended stays known for ten minutes, for samples that come late, and
nothing is forgotten because the API server is away. Readers get whole, unchanging views and never wait.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from collectors.clock import NS_PER_SECOND, Clock
from collectors.kube_api import KubeApi, Resource
from collectors.kube_follow import Backoff, Follower
from collectors.kube_pod_facts import DROPPED, ContainerFacts, Kept, PodFacts, Port, bare_id, pod_facts

__all__ = ["ContainerFacts", "Kept", "PodCache", "PodCacheHealth", "PodFacts", "Port"]

LINGER_NS = 600 * NS_PER_SECOND
"""How long a pod stays known after it ended or went."""


@dataclass(frozen=True, slots=True)
class PodCacheHealth:
    """How far the cache can be trusted."""

    synced: bool
    """Whether the pods have ever been listed; before that the cache is empty, and knows nothing."""
    age_ns: int | None
    """Time since the API server last said anything; ``None`` before it ever did. It speaks about once a minute."""
    error: str | None
    """Why it does not say anything now."""


@dataclass(frozen=True, slots=True)
class _View:
    """What readers see; replaced whole, never changed."""

    pods: Mapping[str, PodFacts] = field(default_factory=dict[str, PodFacts])
    until_ns: Mapping[str, int] = field(default_factory=dict[str, int])
    """UID of a pod that is gone or has ended to when it is forgotten."""
    uid_by_name: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    uid_by_static: Mapping[str, str] = field(default_factory=dict[str, str])
    by_container: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Container id to UID and container name."""


class PodCache:
    """Pods of one node by UID, by name and by container id.

    Args:
        api: where to ask.
        node: the node's name.
        clock: for ages and for waiting between tries.
        kept: which labels and annotations to keep.
        backoff: how long to wait after a failure.
    """

    def __init__(
        self, api: KubeApi, node: str, clock: Clock, *, kept: Kept | None = None, backoff: Backoff | None = None
    ) -> None:
        self._clock = clock
        self._pods: dict[str, PodFacts] = {}
        self._until_ns: dict[str, int] = {}
        self._view = _View()
        resource = Resource("/api/v1/pods", f"spec.nodeName={node}", DROPPED)
        keep = partial(pod_facts, kept=kept or Kept())
        self._follower = Follower(api, resource, keep, sink=self, clock=clock, backoff=backoff)

    def start(self, stop: threading.Event) -> threading.Thread:
        """Follow the API server until ``stop`` is set; the thread ends within seconds of that."""
        thread = threading.Thread(target=self._follower.run, args=(stop,), name="kube-pods", daemon=True)
        thread.start()
        return thread

    def pods(self) -> Mapping[str, PodFacts]:
        """All pods that are known, by UID, those that ended within the last ten minutes among them."""
        view, now_ns = self._view, self._clock.monotonic_ns()
        if not view.until_ns or min(view.until_ns.values()) > now_ns:
            return view.pods
        return {uid: pod for uid, pod in view.pods.items() if _known(view, uid, now_ns)}

    def by_uid(self, uid: str) -> PodFacts | None:
        """A pod by its UID, or by the UID that the cgroup of a static pod bears."""
        view = self._view
        return self._get(view, view.uid_by_static.get(uid, uid))

    def by_name(self, namespace: str, name: str) -> PodFacts | None:
        """A pod by its name; of several the one that is there, else the last."""
        view = self._view
        return self._get(view, view.uid_by_name.get((namespace, name), ""))

    def present(self, namespace: str, name: str) -> bool:
        """Whether a pod of that name is there now, and has not ended."""
        view = self._view
        uid = view.uid_by_name.get((namespace, name))
        return uid is not None and uid not in view.until_ns

    def by_container_id(self, container_id: str) -> tuple[PodFacts, str] | None:
        """The pod that a container is of, with the container's name; the id with or without ``containerd://``."""
        view = self._view
        uid, container = view.by_container.get(bare_id(container_id), ("", ""))
        pod = self._get(view, uid)
        return None if pod is None else (pod, container)

    def health(self) -> PodCacheHealth:
        """Whether and since when the API server has been silent."""
        state = self._follower.state
        age_ns = None if state.heard_ns is None else self._clock.monotonic_ns() - state.heard_ns
        return PodCacheHealth(state.synced, age_ns, state.error)

    def replace(self, items: Sequence[PodFacts]) -> None:
        """Take a whole list: what is not in it is gone."""
        present = {pod.uid for pod in items}
        self._leave(uid for uid in self._pods if uid not in present)
        for pod in items:
            self._put(pod)
        self._publish()

    def put(self, item: PodFacts) -> None:
        """Take one pod that is new or has changed."""
        self._put(item)
        self._publish()

    def remove(self, item: PodFacts) -> None:
        """Take one pod that is gone, as it was at last."""
        self._put(item)
        self._leave([item.uid])
        self._publish()

    def _put(self, pod: PodFacts) -> None:
        # to the end, so that of two pods of one name the later one is found
        self._pods.pop(pod.uid, None)
        self._pods[pod.uid] = pod
        if pod.finished:
            self._leave([pod.uid])
        else:
            self._until_ns.pop(pod.uid, None)

    def _leave(self, uids: Iterable[str]) -> None:
        until_ns = self._clock.monotonic_ns() + LINGER_NS
        for uid in uids:
            self._until_ns.setdefault(uid, until_ns)

    def _publish(self) -> None:
        now_ns = self._clock.monotonic_ns()
        for uid in [uid for uid, until_ns in self._until_ns.items() if until_ns <= now_ns]:
            del self._until_ns[uid]
            self._pods.pop(uid, None)
        pods = dict(self._pods)
        # those that are there come last, and so win a name over those that are gone
        ordered = sorted(pods.values(), key=lambda pod: pod.uid not in self._until_ns)
        self._view = _View(
            pods=pods,
            until_ns=dict(self._until_ns),
            uid_by_name={(pod.namespace, pod.name): pod.uid for pod in ordered},
            uid_by_static={pod.static_uid: pod.uid for pod in ordered if pod.static_uid},
            by_container={
                container_id: (pod.uid, container.name)
                for pod in ordered
                for container in pod.containers.values()
                for container_id in container.ids
            },
        )

    def _get(self, view: _View, uid: str) -> PodFacts | None:
        pod = view.pods.get(uid)
        return pod if pod is not None and _known(view, uid, self._clock.monotonic_ns()) else None


def _known(view: _View, uid: str, now_ns: int) -> bool:
    until_ns = view.until_ns.get(uid)
    return until_ns is None or now_ns < until_ns
