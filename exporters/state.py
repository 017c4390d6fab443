"""The shape of ``/v1/state``: what the page and other readers of this node see, refreshed with every sweep.

Owns names and types only. ``None`` is "not measured"; it never stands for zero. Ratios run from 0 to 1.
Joules and dollars are for people here, the exact integers stand in the journal.
"""

from typing import TypedDict


class ActivityState(TypedDict):
    """How busy a device or MIG instance was; ratios."""

    duty_cycle: float | None
    sm: float | None
    tensor: float | None
    dram: float | None
    memory_controller: float | None


class HolderState(TypedDict):
    """Who holds a part of a device now."""

    kind: str
    name: str
    mig: str | None
    share_ratio: float | None
    memory_bytes: int | None


class InstanceState(TypedDict):
    """One MIG instance."""

    mig: str
    profile: str
    activity: ActivityState
    memory_used_bytes: int | None
    memory_total_bytes: int | None


class SumState(TypedDict):
    """A device's control figures since its counters began."""

    gpu_seconds: float
    joules: float | None
    usd: float | None


class AccountState(TypedDict):
    """One row of a device's books."""

    account: str
    mig: str | None
    holder_kind: str
    holder: str
    method: str
    energy_method: str | None
    gpu_seconds: float
    joules: float | None
    usd: float | None


class DeviceState(TypedDict):
    """One device."""

    uuid: str
    index: int
    name: str
    healthy: bool
    health_message: str | None
    age_seconds: float | None
    flags: list[str]
    """Readings that cannot be true, each named by its check."""
    activity: ActivityState
    activity_source: str | None
    power_watts: float | None
    power_limit_watts: float | None
    energy_joules: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_celsius: float | None
    throttle_reasons: list[str]
    usd_per_hour: float | None
    price_source: str | None
    price_age_seconds: float | None
    price_estimate: bool
    holders: list[HolderState]
    instances: list[InstanceState]
    totals: SumState
    accounts: list[AccountState]


class AccountSumState(TypedDict):
    """One account over all devices."""

    account: str
    gpu_seconds: float
    joules: float | None
    usd: float | None


class TotalsState(TypedDict):
    """The node as a whole."""

    power_watts: float | None
    usd_per_hour: float | None
    accounts: list[AccountSumState]


class HostState(TypedDict):
    """The machine around the devices."""

    cpu_busy_ratio: float | None
    cpu_iowait_ratio: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    load1: float | None
    power_watts: float | None


class ServingState(TypedDict):
    """A model of a holder whose page is read, or a page that says nothing of a model."""

    holder_kind: str
    holder: str
    """Empty: not known yet."""
    model: str
    engine: str
    up: bool
    message: str | None
    requests_per_second: float | None
    """Over the window of the economics, as are those that follow."""
    tokens_per_second: float | None
    """Output tokens."""
    cost_per_million_output_tokens_usd: float | None
    joules_per_output_token: float | None
    queue_depth: float | None
    """As the engine last told."""
    running_requests: float | None


class CollectorState(TypedDict):
    """One collector's own health."""

    collector: str
    up: bool
    age_seconds: float | None
    message: str | None


class NodeState(TypedDict):
    """Everything the page shows."""

    node: str
    version: str
    source: str
    simulated: bool
    driver_version: str | None
    now_utc: str
    """ISO 8601 with ``Z``."""
    sweep_age_seconds: float | None
    interval_seconds: float
    interval_stretched: bool
    message: str | None
    """What a person should know about the node as a whole, such as a missing driver."""
    kubernetes: bool
    totals: TotalsState
    host: HostState | None
    collectors: list[CollectorState]
    serving: list[ServingState]
    """Engines whose pages are read; empty where there are none."""
    devices: list[DeviceState]
