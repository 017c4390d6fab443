"""Settings of scheduled scaling: which workloads are down when, and how carefully."""

from collections import Counter
from collections.abc import Iterable
from types import ModuleType
from typing import Annotated, Literal, Self

from collectors.setting import BaseModel, ConfigDict, Field, field_validator, model_validator

KindName = Literal[
    "Deployment",
    "StatefulSet",
    "CronJob",
    "Job",
    "HorizontalPodAutoscaler",
    "ScaledObject",
    "ScaledJob",
    "Rollout",
    "LeaderWorkerSet",
    "Notebook",
    "RayCluster",
    "RayService",
    "PyTorchJob",
    "InferenceService",
]
_GROUP = r"\[!?[a-z0-9.-]+\]"
"""Characters of which one stands there; a bracket that is not closed would match nothing, and shield nothing."""
NamePattern = Annotated[
    str,
    Field(
        pattern=rf"^([a-z0-9*?-]|{_GROUP})+$",
        max_length=253,
        json_schema_extra={"allowed": "a name or shell pattern such as dev-*, no regular expression"},
    ),
]
WorkloadPattern = Annotated[
    str,
    Field(
        pattern=rf"^([a-z0-9*?-]|{_GROUP})+/([a-z0-9.*?-]|{_GROUP})+$",
        max_length=507,
        json_schema_extra={"allowed": "namespace/name, or shell patterns such as dev/web or */web"},
    ),
]
Percent = Annotated[str, Field(pattern=r"^(100|[0-9]{1,2})%$", json_schema_extra={"allowed": "a part from 0% to 100%"})]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SchedulePolicy(_Section):
    """Whom it concerns, when they are down, and how far. Of several that concern a workload the first decides.

    What a workload or its namespace says by annotation of a topic stands above what the policy says of it.
    """

    name: str = Field(min_length=1, max_length=63)
    """Its name in previews, records, metrics."""
    namespaces: tuple[NamePattern, ...] = Field(min_length=1)
    """Namespaces by name or pattern, such as `dev-*`; `*` is all."""
    not_namespaces: tuple[NamePattern, ...] = ()
    """Namespaces left out, by name or pattern."""
    labels: str = ""
    """Labels of the workloads, as a label selector such as `team=nlp,env in (dev,test),!keep`. Empty: any."""
    kinds: tuple[KindName, ...] = ()
    """Kinds of workloads. Empty: all that are known."""
    gpu_only: bool = True
    """Only workloads whose pods request GPUs."""
    down: str = ""
    """Windows in which they are down, such as `Mon-Fri 20:00-07:00, Sat-Sun`. Either this or `up`."""
    up: str = ""
    """Windows outside which they are down, such as `Mon-Fri 07:30-20:30 Europe/Berlin`. Either this or `down`."""
    timezone: str = ""
    """IANA zone of windows and dates that name none; empty: `schedule.timezone`."""
    holidays: tuple[str, ...] = ()
    """Dates on which they are down all day, such as `2026-12-25` or `2026-12-24..2026-12-26`."""
    except_dates: tuple[str, ...] = ()
    """Dates on which they stay up, whatever windows and holidays say."""
    exclude: tuple[WorkloadPattern, ...] = ()
    """Workloads of it that are left alone, by name or pattern of namespace and name, such as `dev/web` or `*/llama-*`;
    what of them is down comes back. No later policy decides about them."""
    exclude_until: str = ""
    """Until then all of it are left alone: a date, which begins at midnight, or a moment such as
    `2026-12-25 18:00 Europe/Berlin`. Empty: from the start."""
    force: Literal["up", "down"] | None = None
    """Whether all of it are up, or down, whatever windows, holidays and dates say. Null: these decide."""
    to: Annotated[int, Field(ge=0, le=100_000)] | Percent = 0
    """How far down: replicas, or a part of the original such as `50%`, rounded up."""
    grace_minutes: int = Field(default=15, ge=0, le=10_080)
    """A workload that was made more recently is left alone."""
    idle_minutes: int = Field(default=30, ge=1, le=1440)
    """For so long its GPUs must not have worked."""
    idle_activity_ratio: float = Field(default=0.02, ge=0, le=1)
    """Active share of its GPUs' time above which they work."""
    may_empty_node: bool | None = None
    """Whether a down may leave a node without GPU work, which an autoscaler may then release. Null: yes, except on
    instance types that were seen out of capacity."""
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Restores of higher ones come first."""
    tell_owner_minutes: int = Field(default=0, ge=0, le=1440)
    """The owner is told so long before a down; 0: not."""
    dry_run: bool | None = None
    """Whether it only says what it would do. Null: `schedule.dry_run`."""

    @field_validator("down", "up")
    @classmethod
    def _windows(cls, spec: str) -> str:
        if spec:
            _checks().windows(spec)
        return spec

    @field_validator("timezone")
    @classmethod
    def _zone(cls, zone: str) -> str:
        if zone:
            _checks().zone(zone)
        return zone

    @field_validator("exclude_until")
    @classmethod
    def _moment(cls, moment: str) -> str:
        if moment:
            _checks().moment(moment)
        return moment

    @field_validator("labels")
    @classmethod
    def _selector(cls, labels: str) -> str:
        _checks().selector(labels)
        return labels

    @field_validator("holidays", "except_dates")
    @classmethod
    def _dates(cls, dates: tuple[str, ...]) -> tuple[str, ...]:
        for text in dates:
            _checks().dates(text)
        return dates

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.down) == bool(self.up):
            found = "both" if self.down else "neither"
            raise ValueError(f"{found} of down and up are given; allowed: one of them")
        return self


class AnnotationSettings(_Section):
    """What teams may say on their namespaces and workloads."""

    enabled: bool = True
    """Whether annotations `wattledger.io/schedule-*` are read. They stand above the policies of the configuration."""
    downscaler: bool = True
    """Whether those of kube-downscaler, `downscaler/*`, are read too. Ours on the same object stand above them."""
    gpu_only: bool = True
    """Windows on a namespace concern only its workloads whose pods request GPUs; those on a workload always do.
    kube-downscaler makes no such difference: false is as it does."""
    kinds: tuple[KindName, ...] = ()
    """Kinds of workloads that windows on a namespace concern. Empty: all that are known."""


class ScheduleSettings(_Section):
    """Scheduled scaling: workloads go down when nobody needs them, and come back as they were."""

    enabled: bool = False
    """Whether the controller scales at all."""
    dry_run: bool = True
    """Whether it only says what it would do. Restores of what is down are made all the same."""
    timezone: str = "UTC"
    """IANA zone of windows and dates that name none."""
    tick_seconds: float = Field(default=5.0, ge=1, le=60)
    """Between two looks at what is to be done."""
    writes_per_second: float = Field(default=50.0, gt=0, le=1000)
    """Most writes of downs to the API server; restores are not held back."""
    changes_per_minute: int = Field(default=1500, ge=1, le=100_000)
    """Most workloads that go down within a minute, over however many runs."""
    changes_per_run: int = Field(default=500, ge=1, le=100_000)
    """Most workloads that one run puts down: one look at the cluster, and the writes that follow from it. The next run
    begins a tick after this one began, or at the first tick after its writes. Restores have no cap."""
    protected_namespaces: tuple[NamePattern, ...] = ()
    """Namespaces never touched, by name or pattern, beside kube-system, the controller's own, monitoring, autoscalers
    and device plugins."""
    lead_least_seconds: float = Field(default=120.0, ge=0, le=86_400)
    """A restore begins at least so long before its window ends, however fast it was before."""
    lead_most_seconds: float = Field(default=3600.0, ge=0, le=86_400)
    """A restore begins at most so long before its window ends, however slow it was before."""
    annotations: AnnotationSettings = AnnotationSettings()
    """Annotations on namespaces and workloads."""
    policies: tuple[SchedulePolicy, ...] = ()
    """In order: of those that concern a workload the first decides."""

    @field_validator("timezone")
    @classmethod
    def _zone(cls, zone: str) -> str:
        _checks().zone(zone)
        return zone

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.lead_least_seconds > self.lead_most_seconds:
            raise ValueError(
                f"lead_least_seconds {self.lead_least_seconds:g} is above lead_most_seconds {self.lead_most_seconds:g}"
            )
        _unique(policy.name for policy in self.policies)
        return self


def _checks() -> ModuleType:
    from controller.scaling import schedule_checks  # noqa: PLC0415  (the grammar stays out of who only takes over)

    return schedule_checks


def _unique(names: Iterable[str]) -> None:
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise ValueError(f"policies: {twice!r} stands twice; give each its own name")
