"""What a test can set on a device: its names, units and their form in the control block."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack

from tests.fakedriver import layout

ProcessKind = Literal["compute", "graphics", "mps"]
KINDS: tuple[ProcessKind, ...] = ("compute", "graphics", "mps")
THROTTLES = (
    "power",
    "thermal",
    "sync_boost",
    "board_limit",
    "low_utilization",
    "reliability",
    "app_clocks",
    "base_clocks",
    "sw_thermal",
    "hw_thermal",
    "hw_power_brake",
)
"""Duration counters, in the order of fields 74-81 and then 269-271 (251-253 below driver 570)."""
ECC = (
    ("volatile", "corrected"),
    ("volatile", "uncorrected"),
    ("aggregate", "corrected"),
    ("aggregate", "uncorrected"),
)
NVLINK_ERRORS = ("replay", "recovery", "crc_flit", "crc_data")
RATES = tuple(name for name in layout.COUNTS if name.endswith("_bytes_per_second"))
ACTIVE = (*layout.RATIOS, "power_mw", "module_power_mw", *RATES)
"""What goes to 0 when a script has ended with ``then="off"``."""


class Signals(TypedDict, total=False):
    """What can change over time. Ratios from 0 to 1; nothing refuses a reading that cannot be true."""

    utilization: float
    """Duty cycle. Sets ``graphics`` too, unless that is given."""
    memory_utilization: float
    encoder: float
    decoder: float
    jpeg: float
    ofa: float
    graphics: float
    sm: float
    sm_occupancy: float
    tensor: float
    dram: float
    integer: float
    fp64: float
    fp32: float
    fp16: float
    dfma: float
    hmma: float
    dmma: float
    imma: float
    power_mw: int
    module_power_mw: int
    pcie_rx_bytes_per_second: int
    pcie_tx_bytes_per_second: int
    nvlink_rx_bytes_per_second: int
    nvlink_tx_bytes_per_second: int
    memory_used_bytes: int
    temperature_celsius: int
    memory_temperature_celsius: int
    sm_clock_mhz: int
    memory_clock_mhz: int
    video_clock_mhz: int


class Readings(Signals, total=False):
    """Signals, and what simply stands until it is set again."""

    memory_reserved_bytes: int
    power_limit_mw: int
    performance_state: int
    persistence: bool
    mig_unprivileged: bool
    """With MIG on the process lists of the whole device are refused; those of its instances are not."""
    throttle_reasons: int
    """Mask of ``nvmlClocksEventReason*``."""
    throttle_ns: Mapping[str, int]
    """By a name of ``THROTTLES``."""
    ecc: Mapping[tuple[str, str], int]
    """By a key of ``ECC``."""
    remapped_rows: tuple[int, int]
    """Corrected, uncorrected."""
    remap_pending: bool
    remap_failure: bool
    pcie_replays: int
    pcie_counter_bits: int
    nvlink_errors: Mapping[str, int]
    """By a name of ``NVLINK_ERRORS``."""


def block_values(signals: Mapping[str, object]) -> dict[str, int]:
    """Signals as the control block holds them: ratios in millionths, the rest as they are.

    Raises:
        ValueError: an unknown name, or a value below 0.
    """
    wanted = dict(signals)
    if "utilization" in wanted:
        wanted.setdefault("graphics", wanted["utilization"])
    result: dict[str, int] = {}
    for name, value in wanted.items():
        if name not in layout.SIGNALS:
            raise ValueError(f"no such signal: {name}; there are {', '.join(layout.SIGNALS)}")
        if not isinstance(value, (int, float)) or value < 0:
            raise ValueError(f"{name}={value!r}: a number of at least 0 is needed")
        result[name] = round(value * layout.PPM) if name in layout.RATIOS else int(value)
    return result


class Segment:
    """A stretch of a script. What it does not name stays as it was."""

    __slots__ = ("duration_ns", "values")

    def __init__(self, duration_ns: int, **signals: Unpack[Signals]) -> None:
        if duration_ns <= 0:
            raise ValueError(f"a segment of {duration_ns} ns: it must last")
        self.duration_ns = duration_ns
        self.values = block_values(signals)

    @classmethod
    def seconds(cls, seconds: float, **signals: Unpack[Signals]) -> "Segment":
        """A segment of that many seconds."""
        return cls(round(seconds * 1e9), **signals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that holds a context, and its true SM share over time."""

    pid: int
    share: float | tuple[tuple[int, float], ...] = 0.0
    """A ratio, or ``((duration_ns, ratio), ...)`` from the process's start on, then 0 (or again, with ``repeat``)."""
    repeat: bool = False
    kind: ProcessKind = "compute"
    memory_bytes: int | None = 1 << 30
    """``None``: the driver does not say."""
    mig: int | None = None
    """Slot of the MIG instance it runs in."""
    start_ns: int | None = None
    """On the driver's clock; ``None``: now."""
    end_ns: int | None = None
    encoder: float = 0.0
    decoder: float = 0.0
    memory: float = 0.0
    """Encoder, decoder and memory-controller share, constant while it runs."""
