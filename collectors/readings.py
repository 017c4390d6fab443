"""What one sweep of a GPU source yields: plain values in base units, absent as ``None``.

Owns the shape of a reading; must never hold a decision, a zero for something that was not measured, or a value
of an earlier sweep. Ratios run from 0 to 1, ``*_mj`` are integer millijoules, ``*_ns`` integer nanoseconds.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from collectors.quick_dataclass import dataclass

SourceName = Literal["nvml", "simulated"]
ProcessKind = Literal["compute", "graphics", "mps"]


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What does not change while a device is there; read once per appearance."""

    uuid: str
    """``GPU-...`` as the driver spells it."""
    index: int
    """The driver's own index at discovery; may change over a reload, the UUID does not."""
    name: str
    pci_bus_id: str | None = None
    serial: str | None = None
    driver_version: str | None = None
    architecture: str | None = None
    max_power_watts: float | None = None
    """The highest limit that can be set, for plausibility."""
    nvlink_max_bytes_per_second: float | None = None
    """Sum over active links and both directions, for plausibility."""
    max_sm_clock_hertz: float | None = None


@dataclass(frozen=True, slots=True)
class MigFacts:
    """One MIG instance: which part of its parent it owns."""

    uuid: str
    gpu_instance_id: int
    compute_instance_id: int
    profile: str
    """As NVIDIA names it, such as ``1g.10gb``."""
    compute_slices: int
    """Compute slices of this instance (of its compute instance where a GPU instance is cut further)."""
    parent_slices: int
    """Compute slices of the whole device, as read."""


@dataclass(frozen=True, slots=True)
class Activity:
    """How busy the parts of a device were over the sampling period before the reading; ratios."""

    duty_cycle: float | None = None
    """NVML utilization: share of time in which at least one kernel ran. Not work done."""
    memory_controller: float | None = None
    encoder: float | None = None
    decoder: float | None = None
    jpeg: float | None = None
    ofa: float | None = None
    graphics: float | None = None
    """GPM (or DCGM) graphics engine activity."""
    sm: float | None = None
    sm_occupancy: float | None = None
    tensor: float | None = None
    dram: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Frame buffer, bytes."""

    total_bytes: int | None = None
    used_bytes: int | None = None
    reserved_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Power:
    """Watts, as the driver gives them."""

    gpu_watts: float | None = None
    """`nvmlDeviceGetPowerUsage`: a 1 s average from Ampere on (GA100 excepted), else instantaneous."""
    instant_watts: float | None = None
    average_watts: float | None = None
    module_watts: float | None = None
    """The whole module (Grace Hopper, GB200): more than the GPU."""
    limit_watts: float | None = None
    """The limit in force (enforced limit)."""


@dataclass(frozen=True, slots=True)
class Thermals:
    """Degrees Celsius."""

    gpu_celsius: float | None = None
    memory_celsius: float | None = None


@dataclass(frozen=True, slots=True)
class Clocks:
    """Hertz."""

    sm_hertz: float | None = None
    memory_hertz: float | None = None
    graphics_hertz: float | None = None
    video_hertz: float | None = None


@dataclass(frozen=True, slots=True)
class Throttle:
    """Why clocks were held down."""

    reasons: frozenset[str] = frozenset()
    """Reasons in force at the reading: ``gpu_idle``, ``sw_power_cap``, ``hw_slowdown``, ``hw_thermal``, ..."""
    duration_ns: Mapping[str, int] = field(default_factory=dict[str, int])
    """Nanoseconds since driver load by reason, where the driver counts them."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Error counters since driver load (volatile) or ever (aggregate); absent keys were not readable."""

    ecc: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """(``volatile`` or ``aggregate``, ``corrected`` or ``uncorrected``) to count."""
    remapped_rows: Mapping[str, int] = field(default_factory=dict[str, int])
    """``corrected`` and ``uncorrected`` to rows remapped."""
    remap_pending: bool | None = None
    remap_failure: bool | None = None
    pcie_replays: int | None = None
    nvlink_errors: Mapping[str, int] = field(default_factory=dict[str, int])
    """Kind (``crc_flit``, ``crc_data``, ``replay``, ``recovery``) to count over all links."""


@dataclass(frozen=True, slots=True)
class Links:
    """Traffic. Counters where the driver counts, rates where it only samples; bytes and bytes per second."""

    pcie_rx_bytes_per_second: float | None = None
    pcie_tx_bytes_per_second: float | None = None
    nvlink_rx_bytes_per_second: float | None = None
    nvlink_tx_bytes_per_second: float | None = None
    pcie_rx_bytes: int | None = None
    pcie_tx_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """One process that holds a context on the device (host PID)."""

    pid: int
    kind: ProcessKind
    memory_bytes: int | None = None
    gpu_instance_id: int | None = None
    compute_instance_id: int | None = None


@dataclass(frozen=True, slots=True)
class ShareSample:
    """One per-process utilization sample; a driver delivers them late, in whole percent, and misses some."""

    pid: int
    timestamp_us: int
    """The driver's own stamp (microseconds of the wall clock)."""
    sm: float
    """SM share, ratio."""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One device, or one MIG instance of it, at one instant."""

    device: DeviceFacts
    read_ns: int
    """The clock's ``monotonic_ns`` when energy and activity were read: the end of the interval they speak of."""
    mig: MigFacts | None = None
    mig_enabled: bool = False
    """On a device: MIG mode is on. Its duty cycle is then not to be had."""
    activity: Activity = Activity()
    activity_source: str | None = None
    """Who measured the activity: ``nvml``, ``gpm``, ``dcgm``, ``simulated``; ``None`` when nobody could."""
    memory: Memory = Memory()
    power: Power = Power()
    energy_mj: int | None = None
    """`nvmlDeviceGetTotalEnergyConsumption`: millijoules since driver load; absent before Volta and on MIG."""
    driver_uptime_ns: int | None = None
    """Time since the driver was loaded for this device, by `nvmlDeviceGetGpuUptime_v1`."""
    thermals: Thermals = Thermals()
    clocks: Clocks = Clocks()
    throttle: Throttle = Throttle()
    faults: Faults = Faults()
    links: Links = Links()
    processes: tuple[ProcessReading, ...] = ()
    """On a MIG instance: its own. On a device without MIG: all. On a device with MIG: those in no instance."""
    processes_known: bool = True
    """False where the process list could not be read: who holds the device is then unknown, not nobody."""
    share_samples: tuple[ShareSample, ...] = ()
    """New samples since the previous reading."""


@dataclass(frozen=True, slots=True)
class DeviceSweep:
    """One device with its MIG instances, read together."""

    device: GpuReading
    instances: tuple[GpuReading, ...] = ()
    stranded_slices: int | None = None
    """Compute slices that no MIG profile can use as the device is cut now; ``None``: not known, as without MIG."""


@dataclass(frozen=True, slots=True)
class XidEvent:
    """An XID error as the driver's event stream gave it."""

    device_uuid: str
    xid: int
