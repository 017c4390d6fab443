"""Who holds what on a Kubernetes node: the kubelet's allocations, and processes by their containers.

Flow: a poller thread calls :meth:`KubeHoldings.poll`, which asks the kubelet and keeps the answer with its age; the
sweep calls :meth:`KubeHoldings.holdings`, which never waits. What the kubelet gave out stands for a short while after
it stopped answering, since only a kubelet that runs gives anything else; after that who holds what is unknown.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from agent.holdings import Allocation, Holdings
from collectors.clock import NS_PER_SECOND, Clock
from collectors.device_ids import Accepted, Allocations, DeviceMaps, allocations, resolve
from collectors.errors import SourceError, Unsupported
from collectors.holder import Holder
from collectors.kube_pod_facts import PodFacts
from collectors.pod_resources_messages import DeviceIds, PodDevices
from collectors.process_holders import ProcessIdentity

GRACE_NS = 60 * NS_PER_SECOND
"""How long an answer of the kubelet stands after the last that came."""
_REPLICAS_EVERY_NS = 60 * NS_PER_SECOND


class Kubelet(Protocol):
    """The kubelet's PodResources."""

    def read_if_due(self, *, hurry: bool = False) -> tuple[PodDevices, ...] | None:
        """All pods with their devices, or ``None`` where no call is due."""
        ...

    def read_allocatable(self) -> tuple[DeviceIds, ...]:
        """Every id that is offered."""
        ...


class Pods(Protocol):
    """The pods of this node, from the API server."""

    def by_container_id(self, container_id: str) -> tuple[PodFacts, str] | None:
        """The pod and the container's name."""
        ...

    def by_uid(self, uid: str) -> PodFacts | None:
        """The pod, by the UID that its cgroup bears."""
        ...

    def by_name(self, namespace: str, name: str) -> PodFacts | None:
        """The pod."""
        ...

    def present(self, namespace: str, name: str) -> bool:
        """Whether it is there and has not ended."""
        ...


class Identities(Protocol):
    """What processes are, by their cgroups."""

    def identities_of(self, pids: Collection[int]) -> Mapping[int, ProcessIdentity]:
        """By PID; one that vanished is missing."""
        ...


@lru_cache(maxsize=4096)
def pod_holder(namespace: str, pod: str, container: str) -> Holder:
    """A container of a pod as a holder."""
    return Holder("pod", f"{namespace}/{pod}/{container}")


@dataclass(slots=True)
class KubeHoldings:
    """The holdings of a node in Kubernetes."""

    clock: Clock
    kubelet: Kubelet
    pods: Pods
    identities: Identities
    maps: Callable[[], DeviceMaps]
    """The node's devices, for ids that hold no UUID."""
    claims: Callable[[], Mapping[tuple[str, str, str], str | None]] = dict
    """The node's DRA devices: (driver, pool, device) to UUID."""
    accepted: Accepted = field(default_factory=Accepted)
    system_namespaces: frozenset[str] = frozenset()
    """Namespaces whose GPU processes are the cluster's own daemons."""
    unknown_ids: tuple[str, ...] | None = None
    """Ids of the last answer that nothing is booked for, in words; ``None`` while there is no answer that stands."""
    _pods: tuple[PodDevices, ...] = ()
    _holding: tuple[PodDevices, ...] = ()
    _given: "_Given | None" = None
    _offered: tuple[DeviceIds, ...] = ()
    _answered_ns: int | None = None
    _offered_ns: int | None = None
    _hurry: bool = False
    _error: SourceError | None = None
    """Why the last question had no answer; nobody asks in between, and that is no success."""
    _missing_ns: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """Since when a pod is missing in the kubelet's answers."""

    def poll(self) -> None:
        """Ask the kubelet where that is due; called every second from a thread of its own.

        Raises:
            Unavailable, Unsupported, Misconfigured: the kubelet did not answer when it was last asked; the last answer
                stands for a while.
        """
        try:
            self._ask()
        except SourceError as error:
            self._error = error
        if self._error is not None:
            raise self._error

    def _ask(self) -> None:
        answer = self.kubelet.read_if_due(hurry=self._hurry)
        if answer is None:
            return
        self._error, self._hurry = None, False
        now_ns = self.clock.monotonic_ns()
        self._pods, self._answered_ns = (*answer, *self._forgotten(answer, now_ns)), now_ns
        self._holding = tuple(each for each in self._pods if any(c.devices or c.claims for c in each.containers))
        if self._offered_ns is None or self._answered_ns - self._offered_ns >= _REPLICAS_EVERY_NS:
            self._offered, self._offered_ns = self._allocatable(), self._answered_ns

    def _allocatable(self) -> tuple[DeviceIds, ...]:
        try:
            return self.kubelet.read_allocatable()
        except Unsupported:
            return ()  # a kubelet before Kubernetes 1.23: replicas that nobody holds are not known

    def _forgotten(self, answer: Iterable[PodDevices], now_ns: int) -> list[PodDevices]:
        """Pods of the last answer that are missing in this one though the API server says that they are there.

        A kubelet that was just started knows of no pod until the API server has told it; for a while the last answer
        stands for these.
        """
        told = {(each.namespace, each.pod) for each in answer}
        missing = [each for each in self._pods if (each.namespace, each.pod) not in told]
        since = {
            (each.namespace, each.pod): self._missing_ns.get((each.namespace, each.pod), now_ns) for each in missing
        }
        self._missing_ns = since
        return [
            each
            for each in missing
            if self.pods.present(each.namespace, each.pod) and now_ns - since[each.namespace, each.pod] <= GRACE_NS
        ]

    def claimed(self) -> frozenset[tuple[str, str, str]]:
        """(driver, pool, device) of each GPU that the kubelet's last answer names in a claim."""
        return frozenset(
            (device.driver, device.pool, device.device)
            for pod in self._holding
            for container in pod.containers
            for claim in container.claims
            for device in claim.devices
            if device.driver in self.accepted.drivers
        )

    def holdings(self, pids: Collection[int]) -> Holdings:
        """What is known now."""
        by_pid = self._by_pid(pids)
        if self._answered_ns is None or self.clock.monotonic_ns() - self._answered_ns > GRACE_NS:
            self.unknown_ids = None
            return Holdings(by_pid, allocated={}, unknown=True)
        told = _Told(self._current(), self._offered, dict(self.claims()), self.maps())
        if self._given is None or self._given.told != told:
            self._given = _give(told, self.accepted)
        given = self._given
        self.unknown_ids = given.unknown
        if any(holder.kind == "pod" and holder not in given.holders for holder in by_pid.values()):
            self._hurry = True  # a pod's process works that the last answer gave nothing
        return Holdings(by_pid, given.allocated, given.replicas, more_given=given.lost)

    def given(self, holder: Holder) -> int | None:
        """How many devices, replicas or MIG instances it was given, as of the last sweep; ``None``: not known."""
        return None if self._given is None else self._given.counts.get(holder)

    def _current(self) -> tuple[PodDevices, ...]:
        """Those of the answer that hold something, less the pods that have ended: older kubelets name those too."""
        return tuple(each for each in self._holding if not self._ended(each))

    def _ended(self, devices: PodDevices) -> bool:
        facts = self.pods.by_name(devices.namespace, devices.pod)
        return facts is not None and facts.finished

    def _by_pid(self, pids: Collection[int]) -> dict[int, Holder]:
        found: dict[int, Holder] = {}
        for pid, identity in self.identities.identities_of(pids).items():
            holder = self._holder(identity)
            if holder is not None:
                found[pid] = holder
        if len(found) < len(pids):
            self._hurry = True
        return found

    def _holder(self, identity: ProcessIdentity) -> Holder | None:
        """A pod's process by its container; a pod's process whose pod is not known (yet) is nobody's."""
        cgroup = identity.cgroup
        if identity.holder.kind == "system" or cgroup is None or cgroup.pod_uid is None:
            return identity.holder
        known = self.pods.by_container_id(cgroup.container_id) if cgroup.container_id else None
        known = known or self._only_container(cgroup.pod_uid)
        if known is None:
            return None
        pod, container = known
        if pod.namespace in self.system_namespaces:
            return Holder("system", f"{pod.namespace}/{pod.workload.name}")
        return pod_holder(pod.namespace, pod.name, container)

    def _only_container(self, pod_uid: str) -> tuple[PodFacts, str] | None:
        """Where the API server has not told of a container yet, its pod tells whose it is if it has no other one."""
        pod = self.pods.by_uid(pod_uid)
        return None if pod is None or len(pod.containers) != 1 else (pod, next(iter(pod.containers)))


@dataclass(frozen=True, slots=True)
class _Told:
    """All that who holds what is worked out from."""

    pods: tuple[PodDevices, ...]
    offered: tuple[DeviceIds, ...]
    claims: Mapping[tuple[str, str, str], str | None]
    maps: DeviceMaps


@dataclass(frozen=True, slots=True)
class _Given:
    """What came out; it stands for as long as the same is told."""

    told: _Told
    allocated: Mapping[str, tuple[Allocation, ...]]
    replicas: Mapping[str, int]
    holders: frozenset[Holder | None]
    unknown: tuple[str, ...]
    lost: bool
    counts: Mapping[Holder, int]


def _give(told: _Told, accepted: Accepted) -> _Given:
    found = allocations(told.pods, told.claims, told.maps, accepted)
    allocated = _allocated(found)
    holders = frozenset(allocation.holder for each in allocated.values() for allocation in each)
    replicas, counts = _replicas(told.offered, told.maps, accepted), _counts(allocated.values())
    return _Given(told, allocated, replicas, holders, found.unknown, found.lost, counts)


def _counts(allocated: Iterable[tuple[Allocation, ...]]) -> dict[Holder, int]:
    counts: dict[Holder, int] = {}
    for allocation in (each for given in allocated for each in given):
        if allocation.holder is not None:
            counts[allocation.holder] = counts.get(allocation.holder, 0) + allocation.replicas
    return counts


def _allocated(found: Allocations) -> dict[str, tuple[Allocation, ...]]:
    allocated = {
        uuid: tuple(Allocation(pod_holder(a.namespace, a.pod, a.container), a.replicas) for a in each)
        for uuid, each in found.by_device.items()
    }
    return {**allocated, **dict.fromkeys(found.doubtful, (Allocation(None),))}


def _replicas(offered: Iterable[DeviceIds], maps: DeviceMaps, accepted: Accepted) -> dict[str, int]:
    """How many replicas each shared device is offered as."""
    replicas: dict[str, int] = {}
    for entry in offered:
        if not accepted.resource(entry.resource_name):
            continue
        for device_id in entry.ids:
            named = resolve(device_id, maps)
            if named is not None and named.replica is not None:
                replicas[named.uuid] = replicas.get(named.uuid, 0) + 1
    return replicas
