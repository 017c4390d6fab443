"""Who holds what at one sweep: processes' holders, and in Kubernetes what the kubelet has allocated."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from collectors.holder import Holder


@dataclass(frozen=True, slots=True)
class Allocation:
    """A holder to whom a part was given, whether or not it works there."""

    holder: Holder | None
    """``None``: somebody, but it cannot be told who."""
    replicas: int = 1
    """Replicas of a time-sliced or MPS-shared device; 1 for a whole one."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is known of holders."""

    by_pid: Mapping[int, Holder] = field(default_factory=dict[int, Holder])
    """Holders of processes; one that is not understood is missing."""
    allocated: Mapping[str, tuple[Allocation, ...]] | None = None
    """By device or MIG instance UUID; ``None``: nobody allocates here, a part is held by the processes on it."""
    replicas: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many replicas a device or instance is offered as, where more than one."""
    more_given: bool = False
    """More was given out than is understood: a part that nobody is known to hold may be somebody's."""
    unknown: bool = False
    """Somebody allocates here, but who holds what cannot be read now: what no process explains is unattributed."""


class ProcessResolver(Protocol):
    """Tells whose a process is."""

    def holders_of(self, pids: Collection[int]) -> Mapping[int, Holder]:
        """Holders by PID; a PID that is not understood is missing."""
        ...


@dataclass(frozen=True, slots=True)
class ProcessHoldings:
    """Outside Kubernetes: a device is held by the processes on it."""

    resolver: ProcessResolver

    def holdings(self, pids: Collection[int]) -> Holdings:
        """What the processes tell."""
        return Holdings(self.resolver.holders_of(pids))
