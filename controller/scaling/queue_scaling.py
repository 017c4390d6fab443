"""A KEDA ScaledObject for an inference workload: the queries, the bounds of this time, the object.

KEDA scales; nothing here does. What changes with the clock is written into ``minReplicaCount`` and ``maxReplicaCount``
at the edge of a window, not left to KEDA's cron trigger: that one can only add replicas, and knows neither a lower
maximum nor dates. Between two edges, and while no controller runs, KEDA goes on by the bounds that stand.

Must never let missing telemetry count as an empty queue: a query without an answer is an error to KEDA, and the
autoscaler behind it then takes nothing away.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from collectors.kube_json import JsonObject
from controller.scaling.queue_settings import QueueScaling, QueueScalingSettings
from controller.time_windows import parse
from exporters import catalogue_books, catalogue_work
from exporters.metric import KUBERNETES_HOLDER_LABELS, NODE

API_VERSION: Final = "keda.sh/v1alpha1"
PODS: Final = "kube_horizontalpodautoscaler_status_current_replicas"
"""Of kube-state-metrics: how many pods there are, told without any of them, for each kind that KEDA scales."""
RATE: Final = "5m"
HORIZON: Final = timedelta(days=8)
_TARGETS: Final[Mapping[str, str]] = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "Rollout": "argoproj.io/v1alpha1",
    "LeaderWorkerSet": "leaderworkerset.x-k8s.io/v1",
}
_ON: Final = ", ".join((NODE, *KUBERNETES_HOLDER_LABELS))


class NoPrometheus(ValueError):  # noqa: N818  (named for the caller's move: name one)
    """KEDA could not be told where to ask."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Replicas between which KEDA scales."""

    least: int
    most: int
    until: datetime | None
    """When other bounds come into force; ``None``: not within :data:`HORIZON`."""
    why: str
    """The window, for people."""


def bounds_at(scaling: QueueScaling, zone: str, now: datetime) -> Bounds:
    """The bounds in force at a moment: those of the first window that holds, or those outside of all."""
    windows = [(window, parse(window.when, zone)) for window in scaling.windows]
    holding = next((window for window, times in windows if times.holding(now) is not None), None)
    changes = [change for _, times in windows if (change := times.next_change(now, HORIZON)) is not None]
    until = min(changes, default=None)
    if holding is None:
        return Bounds(scaling.min_replicas, scaling.max_replicas, until, "outside of all windows")
    most = scaling.max_replicas if holding.max_replicas is None else holding.max_replicas
    return Bounds(holding.min_replicas, most, until, f"in {holding.when}")


def scaled_object(scaling: QueueScaling, settings: QueueScalingSettings, now: datetime) -> dict[str, Any]:
    """The whole object, with the bounds of this moment.

    Raises:
        NoPrometheus: ``prometheus_url`` is not set.
    """
    bounds = bounds_at(scaling, settings.timezone, now)
    stable = {"scaleDown": {"stabilizationWindowSeconds": scaling.scale_down_seconds}}
    return {
        "apiVersion": API_VERSION,
        "kind": "ScaledObject",
        "metadata": {
            "name": scaling.name,
            "namespace": scaling.namespace,
            "labels": {"app.kubernetes.io/managed-by": "wattledger"},
        },
        "spec": {
            "scaleTargetRef": {
                "apiVersion": _TARGETS[scaling.kind],
                "kind": scaling.kind,
                "name": scaling.name,
            },
            "minReplicaCount": bounds.least,
            "maxReplicaCount": bounds.most,
            "pollingInterval": settings.polling_seconds,
            "cooldownPeriod": scaling.cooldown_seconds,
            "advanced": {
                "restoreToOriginalReplicaCount": True,
                "horizontalPodAutoscalerConfig": {"behavior": stable},
            },
            "triggers": _triggers(scaling, settings),
        },
    }


def bounds_patch(
    scaling: QueueScaling, zone: str, present: tuple[int | None, int | None] | None, now: datetime
) -> JsonObject | None:
    """The merge patch that brings a ScaledObject to the bounds of this moment; ``None``: it has them.

    Level-triggered: an edge that was missed is made up for whenever this is asked.

    Args:
        scaling: the workload.
        zone: of windows that name none.
        present: fewest and most replicas that the ScaledObject has.
        now: the time.
    """
    bounds = bounds_at(scaling, zone, now)
    if present == (bounds.least, bounds.most):
        return None
    return {"spec": {"minReplicaCount": bounds.least, "maxReplicaCount": bounds.most}}


def queries(scaling: QueueScaling) -> dict[str, str]:
    """PromQL by trigger, each of one figure over all pods of the workload."""
    found = {"waiting": _unless_asleep(_waiting(scaling), scaling)}
    if scaling.active_ratio is not None:
        found["activity"] = _unless_asleep(_activity(scaling), scaling)
    if scaling.ttft_p95_seconds is not None:
        found["latency"] = _latency(scaling)
    if scaling.wake_query.strip():
        found["wake"] = f"sum({scaling.wake_query.strip()})"
    return found


def _triggers(scaling: QueueScaling, settings: QueueScalingSettings) -> list[dict[str, Any]]:
    if settings.prometheus_url is None:
        raise NoPrometheus(
            "queue_scaling.prometheus_url is not set: name the address by which KEDA's operator reaches Prometheus"
        )
    targets = {
        "waiting": (scaling.waiting_per_replica, "AverageValue"),
        "activity": (scaling.active_ratio, "Value"),
        "latency": (scaling.ttft_p95_seconds, "Value"),
        "wake": (scaling.wake_per_replica, "AverageValue"),
    }
    return [_trigger(name, query, *targets[name], settings) for name, query in queries(scaling).items()]


def _trigger(
    name: str, query: str, target: float | None, metric_type: str, settings: QueueScalingSettings
) -> dict[str, Any]:
    metadata = {
        "serverAddress": str(settings.prometheus_url),
        "query": query,
        "threshold": f"{target:g}",
        "activationThreshold": "0",
        # no answer is an error, and not a zero
        "ignoreNullValues": "false",
    }
    if settings.tenant is not None:
        metadata["customHeaders"] = f"X-Scope-OrgID={settings.tenant}"
    trigger: dict[str, Any] = {"type": "prometheus", "name": name, "metricType": metric_type, "metadata": metadata}
    if settings.authentication is not None:
        metadata["authModes"] = settings.auth_mode
        trigger["authenticationRef"] = {"kind": "ClusterTriggerAuthentication", "name": settings.authentication}
    return trigger


def _waiting(scaling: QueueScaling) -> str:
    metric = catalogue_work.QUEUE_DEPTH.name
    return f"sum(sum by ({_ON}) ({metric}{_selected(scaling)}) * on ({_ON}) {_pods(scaling)})"


def _activity(scaling: QueueScaling) -> str:
    """Of the time of which this is known: time that cannot be told apart is no idle time."""
    name, space = catalogue_books.ACCOUNT_GPU_SECONDS.name, _quoted(scaling.namespace)

    def summed(accounts: str) -> str:
        rate = f'rate({name}{{namespace={space}, account=~"{accounts}"}}[{RATE}])'
        return f"sum(sum by ({_ON}) ({rate}) * on ({_ON}) {_pods(scaling)})"

    return f"{summed('active')} / {summed('active|idle')}"


def _latency(scaling: QueueScaling) -> str:
    """Nothing where no request came: latency asks for more replicas, never for fewer."""
    bucket = f"{catalogue_work.TIME_TO_FIRST_TOKEN.name}_bucket{_selected(scaling)}"
    rate = f"sum by (le) (rate({bucket}[{RATE}]) * on ({_ON}) group_left () {_pods(scaling)})"
    return f"histogram_quantile(0.95, {rate}) >= 0 or vector(0)"


def _unless_asleep(query: str, scaling: QueueScaling) -> str:
    """A workload that is known to be at zero has no figures; its gateway's stand for them, as 0.

    That nothing is heard of its pods does not tell it: they may run where no agent is heard.
    """
    if not scaling.wake_query.strip():
        return query
    autoscaler = f"horizontalpodautoscaler={_quoted(f'keda-hpa-{scaling.name}')}"
    at_zero = f"(max({PODS}{{namespace={_quoted(scaling.namespace)}, {autoscaler}}}) == 0)"
    return f"({query}) or (0 * sum({scaling.wake_query.strip()}) and on () {at_zero})"


def _pods(scaling: QueueScaling) -> str:
    return f"max by ({_ON}) ({_info(scaling)})"


def _info(scaling: QueueScaling) -> str:
    workload = _quoted(f"{scaling.kind}/{scaling.name}")
    return f"{catalogue_books.HOLDER_INFO.name}{{namespace={_quoted(scaling.namespace)}, workload={workload}}}"


def _selected(scaling: QueueScaling) -> str:
    model = f", model={_quoted(scaling.model)}" if scaling.model else ""
    return f"{{namespace={_quoted(scaling.namespace)}{model}}}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
