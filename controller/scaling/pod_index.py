"""Pods by what they belong to and by node; which workload one belongs to is said best by the object that made it.

What a pod's own names and labels say is a guess where names are alike: a Job that people named by a day, or a cluster
of Ray that looks as if a service had made it. It holds where the maker is not seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from controller.scaling.model import PodSeen, Ref, Seen

_K = TypeVar("_K")
_I = TypeVar("_I")
_V = TypeVar("_V")

_MADE_BY: Mapping[str, tuple[str, str]] = {"Job": ("batch", "CronJob"), "RayCluster": ("ray.io", "RayService")}
"""Kinds that make pods, and who makes them in turn: group and kind."""
TOLD_BY_MAKERS = frozenset({*_MADE_BY, *(kind for _, kind in _MADE_BY.values())})
"""Kinds of workloads of which the maker of a pod says which it is."""


class PodIndex:
    """Whoever uses it locks it."""

    def __init__(self) -> None:
        self._pods: dict[str, PodSeen] = {}
        self._of: dict[Ref, dict[str, PodSeen]] = {}
        self._on: dict[str, dict[str, PodSeen]] = {}
        self._made: dict[Ref, dict[str, PodSeen]] = {}
        """By maker, as they tell of themselves."""

    def get(self, uid: str) -> PodSeen | None:
        """One pod."""
        return self._pods.get(uid)

    def of(self, workload: Ref) -> Sequence[PodSeen]:
        """The pods of a workload."""
        return tuple(self._of.get(workload, {}).values())

    def on(self, node: str) -> Sequence[PodSeen]:
        """The pods of a node."""
        return tuple(self._on.get(node, {}).values())

    def bound(self) -> Iterator[PodSeen]:
        """All that are on a node."""
        return (pod for pods in self._on.values() for pod in pods.values())

    def take(self, told: PodSeen, maker: Seen | None) -> None:
        """A pod that is not there yet, as it tells of itself; see :func:`homed`."""
        pod = homed(told, maker)
        self._pods[pod.uid] = pod
        self._of.setdefault(pod.workload, {})[pod.uid] = pod
        if pod.node:
            self._on.setdefault(pod.node, {})[pod.uid] = pod
        if told.maker is not None:
            self._made.setdefault(told.maker, {})[told.uid] = told

    def drop(self, uid: str) -> PodSeen | None:
        """A pod that is gone; ``None``: it was not there."""
        former = self._pods.pop(uid, None)
        if former is not None:
            pop(self._of, former.workload, uid)
            pop(self._on, former.node, uid)
            if former.maker is not None:
                pop(self._made, former.maker, uid)
        return former

    def clear(self) -> None:
        """No pod is there."""
        for index in (self._pods, self._of, self._on, self._made):
            index.clear()

    def rehome(self, ref: Ref, maker: Seen | None) -> None:
        """An object is seen, or gone: pods that it made may belong to another workload than was known."""
        for told in tuple(self._made.get(ref, {}).values()):
            self.drop(told.uid)
            self.take(told, maker)

    @property
    def workloads(self) -> int:
        """How many have pods."""
        return len(self._of)


def homed(pod: PodSeen, maker: Seen | None) -> PodSeen:
    """A pod with the workload that its maker's owners say.

    Args:
        pod: as it tells of itself.
        maker: the object of :attr:`PodSeen.maker`; ``None``: it is not seen.
    """
    if maker is None:
        return pod
    found = _workload(maker)
    return pod if found == pod.workload else replace(pod, workload=found)


def pop(index: dict[_K, dict[_I, _V]], key: _K, item: _I) -> None:
    """Take an item out of an index, and its key where nothing is left of it."""
    found = index.get(key)
    if found is not None:
        found.pop(item, None)
        if not found:
            del index[key]


def _workload(maker: Seen) -> Ref:
    wanted = _MADE_BY.get(maker.ref.kind)
    for owner in maker.owners:
        if (owner.group, owner.kind) == wanted:
            return Ref(owner.kind, maker.ref.namespace, owner.name)
    return maker.ref
