"""Settings of autoscaling by queue depth: what a KEDA ScaledObject is made of."""

from typing import Literal

from collectors.setting import BaseModel, ConfigDict, Field, field_validator, model_validator
from collectors.web_address import web_address
from controller.scaling.wake_query import wake_query_refused
from controller.time_windows import SpecRefused, known_zone, parse

TargetKind = Literal["Deployment", "StatefulSet", "Rollout", "LeaderWorkerSet"]
_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ReplicaWindow(_Section):
    """Other bounds while a window holds; of several that hold, the first counts."""

    when: str
    """As schedules have it: `Mon-Fri 07:30-20:30 Europe/Berlin`."""
    min_replicas: int = Field(ge=0, le=100_000)
    """Replicas that stay, whatever waits."""
    max_replicas: int | None = Field(default=None, ge=1, le=100_000)
    """Never more; null: as outside of the window."""

    @field_validator("when")
    @classmethod
    def _is_understood(cls, when: str) -> str:
        try:
            parse(when)
        except SpecRefused as error:
            raise ValueError(str(error)) from error
        return when


class QueueScaling(_Section):
    """How one inference workload is scaled."""

    namespace: str = Field(pattern=f"^{_NAME}$")
    """Of the workload."""
    name: str = Field(pattern=f"^{_NAME}$")
    """Of the workload; the ScaledObject has the same."""
    kind: TargetKind = "Deployment"
    """Of the workload."""
    model: str = ""
    """Only this model's requests count, where its pods serve several; empty: all."""
    min_replicas: int = Field(default=1, ge=0, le=100_000)
    """Replicas that stay, whatever waits; 0 takes a `wake_query`."""
    max_replicas: int = Field(ge=1, le=100_000)
    """Never more."""
    windows: tuple[ReplicaWindow, ...] = ()
    """Other bounds at other times."""
    waiting_per_replica: float = Field(default=4.0, gt=0, le=1_000_000)
    """Waiting requests that each replica may have; more of them make another one."""
    ttft_p95_seconds: float | None = Field(default=None, gt=0, le=3600)
    """Time to first token that 95 of 100 requests should stay below; null: latency is not looked at."""
    active_ratio: float | None = Field(default=None, gt=0, le=1)
    """Active share of its GPUs' time to aim at; null: activity is not looked at."""
    wake_query: str = ""
    """PromQL that counts requests while no pod runs, such as those that a gateway holds; none on `wattledger_` metrics,
    which come from pods and agents beside them."""
    wake_per_replica: float = Field(default=1.0, gt=0, le=1_000_000)
    """Of what `wake_query` counts, for each replica."""
    cooldown_seconds: int = Field(default=600, ge=30, le=86_400)
    """Nothing happens for so long before the last replica goes."""
    scale_down_seconds: int = Field(default=600, ge=0, le=3600)
    """For so long fewer replicas were enough before there are fewer; loading a model costs minutes."""

    @field_validator("wake_query")
    @classmethod
    def _can_wake(cls, query: str) -> str:
        if query.strip() and (why := wake_query_refused(query)):
            raise ValueError(f"wake_query: {why}")
        return query

    @model_validator(mode="after")
    def _fits(self) -> "QueueScaling":
        for least, most in ((self.min_replicas, self.max_replicas), *map(self._bounds, self.windows)):
            if least > most:
                raise ValueError(f"min_replicas is {least} and max_replicas {most}, allowed: at most max_replicas")
            if least == 0 and not self.wake_query.strip():
                raise ValueError(
                    "min_replicas is 0 and there is no wake_query, so nothing could wake it, since without pods there "
                    "is no queue: give a query on a gateway's metric, or a min_replicas of 1"
                )
        return self

    def _bounds(self, window: ReplicaWindow) -> tuple[int, int]:
        return window.min_replicas, self.max_replicas if window.max_replicas is None else window.max_replicas


class QueueScalingSettings(_Section):
    """Autoscaling of inference workloads by what waits for them, through KEDA."""

    write: bool = False
    """Whether the controller makes the ScaledObjects and moves their bounds at window edges; takes `schedule.enabled`,
    and with `schedule.dry_run` only says what it would write. False: `wattledger schedule scaledobject` prints them."""
    prometheus_url: str | None = None
    """Where KEDA's operator reaches Prometheus, such as `http://prometheus.monitoring:9090`; null: no ScaledObject."""
    authentication: str | None = Field(default=None, pattern=f"^{_NAME}$")
    """Name of KEDA's ClusterTriggerAuthentication with what Prometheus asks for; null: it asks for nothing."""
    auth_mode: Literal["bearer", "basic", "tls"] = "bearer"
    """What that holds."""
    tenant: str | None = Field(default=None, pattern=r"^[^,=\s]+$")
    """Sent as `X-Scope-OrgID`, which Mimir and Thanos tell tenants by."""
    polling_seconds: int = Field(default=15, ge=5, le=600)
    """How often KEDA looks."""
    timezone: str = "UTC"
    """Of windows that name none."""
    workloads: tuple[QueueScaling, ...] = ()
    """One ScaledObject each."""

    @field_validator("prometheus_url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        instead = "put it into KEDA's ClusterTriggerAuthentication and name that as queue_scaling.authentication"
        return web_address(url, such_as="http://prometheus.monitoring:9090, or null", instead=instead)

    @model_validator(mode="after")
    def _fits_together(self) -> "QueueScalingSettings":
        try:
            known_zone(self.timezone)
        except SpecRefused as error:
            raise ValueError(str(error)) from error
        names = [(each.namespace, each.name) for each in self.workloads]
        twice = sorted({f"{space}/{name}" for space, name in names if names.count((space, name)) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands twice, allowed: one entry for each workload")
        return self
