"""The wiring of serving pages in Kubernetes: which pods of this node have pages, and who bears a model together."""

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from collectors.holder import Holder
from collectors.kube_pods import PodCache, PodFacts
from collectors.serving_poller import ServingPoller
from collectors.serving_settings import ServingSettings
from collectors.serving_targets import OURS, THEIRS, ServingPod, ServingTarget, pod_targets, static_targets

_log = logging.getLogger(__name__)

WORK_GROUP = f"{OURS}work-group"
"""Annotation that names those that bear one model together."""
KEPT_ANNOTATIONS = frozenset({f"{OURS}*", f"{THEIRS}*"})
_GROUPED_KINDS = frozenset({"LeaderWorkerSet", "RayCluster", "RayService"})
"""Workloads whose pods bear one model together."""


def work_group(pod: PodFacts) -> str:
    """The group that bears the pod's model with it; empty for a pod that bears its models alone."""
    named = pod.annotations.get(WORK_GROUP, "")
    if named or pod.workload.kind not in _GROUPED_KINDS:
        return named
    return f"{pod.namespace}/{pod.workload.kind}/{pod.workload.name}"


def serving_pods(pods: PodCache, held: Collection[Holder]) -> Iterator[ServingPod]:
    """The pods that run now, as those that may have pages.

    Args:
        pods: with the annotations of ``KEPT_ANNOTATIONS``.
        held: those that hold a device.
    """
    holding = {tuple(holder.name.split("/")[:2]) for holder in held if holder.kind == "pod"}
    for pod in pods.pods().values():
        if pod.pod_ip and pod.phase == "Running" and pods.present(pod.namespace, pod.name):
            ports = {port.number: each.name for each in pod.containers.values() for port in each.ports}
            holds_gpu = (pod.namespace, pod.name) in holding
            yield ServingPod(pod.namespace, pod.name, pod.pod_ip, pod.annotations, ports, holds_gpu)


@dataclass(slots=True)
class PodPages:
    """Keeps a poller's targets in step with the node's pods."""

    pods: PodCache
    poller: ServingPoller
    settings: ServingSettings
    held: Callable[[], Collection[Holder]]
    """Those that hold a device now."""
    _problems: tuple[str, ...] = field(default=())

    def refresh(self) -> None:
        """Look again; what an annotation says and cannot be understood is told once."""
        targets: list[ServingTarget] = list(static_targets(self.settings))
        problems: list[str] = []
        for pod in serving_pods(self.pods, self.held()):
            found = pod_targets(pod, self.settings)
            targets.extend(found.targets)
            problems.extend(found.problems)
        self.poller.set_targets(targets)
        for problem in problems:
            if problem not in self._problems:
                _log.warning("%s", problem)
        self._problems = tuple(problems)
