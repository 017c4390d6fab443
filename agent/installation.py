"""What an agent is told of where it runs: names for its series, and who its holders are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent.holder_labels import HolderLabels
from collectors.holder import Holder


@dataclass(frozen=True, slots=True)
class HolderFacts:
    """What stands once beside a holder, so that no edit of a label splits a counter."""

    workload: str = ""
    """``Deployment/chat``; empty where there is none."""
    pod_uid: str = ""
    dimensions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Team, environment and the installation's own, where known."""
    work_group: str = ""
    """Names those that bear one model together; empty for one that bears its models alone."""
    run: str = ""
    """The Job, PyTorchJob, RayJob or the like that it is of; empty where there is none."""
    requested_devices: int | None = None
    """Devices, replicas or MIG instances that it was given; ``None``: not known."""


def nothing_known(_: Holder) -> HolderFacts | None:
    """Outside Kubernetes a holder's name is all there is."""
    return None


def no_ids() -> int | None:
    """Outside Kubernetes nobody names devices."""
    return None


@dataclass(frozen=True, slots=True)
class Installation:
    """Names and knowledge that the exposition needs."""

    node: str
    version: str
    kubernetes: bool = False
    facts: Callable[[Holder], HolderFacts | None] = nothing_known
    """Who a holder is beyond its name."""
    dimensions: tuple[str, ...] = ()
    """Names of the installation's own dimensions, beside team and environment."""

    unknown_ids: Callable[[], int | None] = no_ids
    """How many device ids of the kubelet are not understood; ``None`` where it does not tell."""

    @property
    def holders(self) -> HolderLabels:
        """How holders become labels."""
        return HolderLabels(self.kubernetes)
