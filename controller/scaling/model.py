"""What scaling knows of a cluster, of a wish, and of itself: values only, no decisions.

Everything here is small and frozen: a cluster of ten thousand workloads is kept in memory as these. Times are aware
datetimes in UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Literal, NamedTuple

Value = int | str | bool | None
"""What a lever stands at; ``None``: the field is not there."""
Levers = Mapping[str, Value]
"""The few fields of an object by which it is scaled, by name: ``{"replicas": 3}``, ``{"suspend": False}``."""
NOTHING: Mapping[str, str] = MappingProxyType({})


def _nothing() -> Mapping[str, str]:
    return NOTHING


class Ref(NamedTuple):
    """Which object. ``kind`` is a name of the registry, such as ``Deployment``."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Owner(NamedTuple):
    """An owner reference; ``group`` without the version."""

    group: str
    kind: str
    name: str
    uid: str


class Claimed(NamedTuple):
    """Devices that are asked for by a resource claim instead of in the pod's spec."""

    kind: str
    """``ResourceClaim``, which pods share, or ``ResourceClaimTemplate``, of which each pod gets a claim."""
    name: str
    times: int = 1
    """How often pods ask by it."""


@dataclass(frozen=True, slots=True)
class Size:
    """How far down: a number of replicas, or a part of the original."""

    number: int | None = None
    percent: int | None = None
    """Of the original, rounded up: half of three is two."""

    def of(self, original: int) -> int:
        """Replicas to go down to; never more than the original."""
        if self.percent is not None:
            return min(original, -(-original * self.percent // 100))
        return min(original, self.number or 0)

    @property
    def is_zero(self) -> bool:
        """Whether nothing stays."""
        return not self.number and not self.percent


ZERO = Size(0)


@dataclass(frozen=True, slots=True)
class Readiness:
    """How far an object is what it should be, as its status says."""

    wanted: int
    """Pods that its present levers ask for."""
    ready: int
    rolling: bool = False
    """A rollout is under way, or the status is older than the spec."""

    @property
    def done(self) -> bool:
        """Whether all that is asked for is Ready."""
        return not self.rolling and self.ready >= self.wanted


@dataclass(frozen=True, slots=True)
class Seen:
    """One object of a kind of the registry, trimmed to what scaling needs."""

    ref: Ref
    uid: str
    version: str
    """resourceVersion."""
    generation: int
    created: datetime
    levers: Levers
    readiness: Readiness
    labels: Mapping[str, str] = field(default_factory=_nothing)
    annotations: Mapping[str, str] = field(default_factory=_nothing)
    """Only those of :data:`KEPT_ANNOTATIONS`."""
    owners: tuple[Owner, ...] = ()
    gpus_per_pod: int = 0
    """GPUs (or slices) that one pod of it requests; all pods together of what is only ever stopped as a whole, and of
    what is replicated by groups of pods those of one group."""
    losses: tuple[str, ...] = ()
    """Why a down would lose state, such as ``emptyDir volume 'scratch'``; the guard reads them."""
    scales: tuple[str, str] | None = None
    """Of a HorizontalPodAutoscaler or ScaledObject: kind and name of what it scales."""
    deleting: bool = False
    finished: bool = False
    """It is over, such as a Job that completed: nothing is left to scale."""
    template_of: tuple[str, str] | None = None
    """Of a Rollout that runs another object's pod template: kind and name of that one, never scaled by itself."""
    bounds: tuple[int, int] | None = None
    """Of a ScaledObject: the fewest and the most replicas that it would keep."""
    claims: tuple[Claimed, ...] = ()
    """By which the pods that ``gpus_per_pod`` speaks of ask for devices; a view gives their GPUs among the others."""
    volumes: tuple[str, ...] = ()
    """Claims of volumes that its pods write to, or how those begin that a StatefulSet makes; a view says among the
    losses which of them are local."""
    unmade: str = ""
    """Why its controller is refused pods, as its status says; empty: it says nothing, as many kinds never do."""


KEPT_ANNOTATIONS = (
    "wattledger.io/",
    "downscaler/",
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "autoscaling.keda.sh/",
    "serving.kserve.io/",
    "kubeflow-resource-stopped",
    "notebooks.kubeflow.org/",
)
"""How the annotations begin that are kept of an object; the others are never needed."""


@dataclass(frozen=True, slots=True)
class NamespaceSeen:
    """A namespace."""

    name: str
    labels: Mapping[str, str] = field(default_factory=_nothing)
    annotations: Mapping[str, str] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod, as far as it tells of its workload."""

    namespace: str
    name: str
    uid: str
    workload: Ref
    """What it belongs to, by its owners' names; of a kind that need not be in the registry."""
    node: str
    """Empty: not bound."""
    phase: str
    ready: bool
    gpus: int
    created: datetime
    waiting: str = ""
    """Why it does not run: ``Unschedulable: ...``, ``ErrImagePull: ...``; empty: nothing is said."""
    claims: tuple[Claimed, ...] = ()
    announces: bool = False
    """Its annotations say that it serves, and where its figures are."""
    maker: Ref | None = None
    """A Job or RayCluster that made it, where that one's owners say better what it belongs to."""


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node."""

    name: str
    instance_type: str
    capacity_type: str
    gpus: int
    """Allocatable GPUs and slices."""


Wished = Literal["down", "up", "none", "unclear"]


@dataclass(frozen=True, slots=True)
class DownOptions:
    """What a policy says of its downs beyond when and how far."""

    grace_seconds: int = 900
    """A workload that was made more recently is left alone."""
    idle_minutes: int = 30
    """For so long its GPUs must not have worked."""
    idle_activity_ratio: float = 0.02
    """Active share of its GPUs' time above which they work."""
    allow_state_loss: bool = False
    """Said on the workload itself, never by a policy."""
    may_empty_node: bool | None = None
    """``None``: yes, except on instance types that were seen out of capacity."""
    tell_owner_minutes: int = 0
    """The owner is told so long before; 0: not."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the clock and the policies want of one workload at one moment."""

    wished: Wished
    """``none``: no policy concerns it; ``unclear``: something about it is not understood, and it is left untouched."""
    why: str
    """For people: which policy, window or annotation says so."""
    policy: str = ""
    """Name of the policy; an annotation's is ``annotation of NAMESPACE`` or ``annotation of KIND NAMESPACE/NAME``."""
    size: Size = ZERO
    window: datetime | None = None
    """When the down that is now began: names the window in records."""
    until: datetime | None = None
    """When this wish ends; ``None``: not within eight days."""
    due: datetime | None = None
    """Of a wish that ends a down early, so that pods are Ready in time: when they are to be."""
    priority: int = 0
    """Restores of higher ones come first."""
    dry_run: bool = True
    options: DownOptions = DownOptions()
    disagree: tuple[str, ...] = ()
    """Names of policies that would have it otherwise, and lost."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is scaled as one: the object that policies name, and the object that is written for it."""

    subject: Seen
    lever: Seen
    """The subject itself, or its HorizontalPodAutoscaler or ScaledObject."""
    namespace: NamespaceSeen
    pods: tuple[PodSeen, ...] = ()

    @property
    def ref(self) -> Ref:
        """The subject's."""
        return self.subject.ref

    @property
    def gpus(self) -> int:
        """GPUs that its pods hold, or would where none is there."""
        return sum(pod.gpus for pod in self.pods) or self.subject.gpus_per_pod

    @property
    def hides_pods(self) -> bool:
        """Its status says that pods are Ready, they ask for GPUs, and none that does is seen: it is not that idle."""
        there = self.subject.gpus_per_pod > 0 and self.subject.readiness.ready > 0
        return there and not any(pod.gpus for pod in self.pods)


@dataclass(frozen=True, slots=True)
class Activity:
    """What telemetry says of a workload's GPUs over the last minutes."""

    active_ratio: float
    """Active share of the time of that GPU of it that worked most: one that works keeps the others. Where figures tell
    only of a stretch longer than was asked for, all that was active in it counts as if it was in those minutes."""
    covered_seconds: float
    """How far back the figures go, of the pod of which they go back least."""
    age_seconds: float
    """How old the newest figure of the least recently heard node is."""
    unknown_ratio: float = 0.0
    """Share of the minutes in which it is not known whether a GPU of it worked; counted as the active share is."""


@dataclass(frozen=True, slots=True)
class Queue:
    """Requests of a serving engine."""

    running: float
    waiting: float
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a down does not happen."""

    guard: str
    """Name of the guard, as in docs/guides/guards."""
    why: str
