"""The control block that tests write and the fake library reads: one definition, from which the C header is generated.

The generated header asserts every offset at compile time, and a hash over layout and function list stands in the
block and in the library, so neither can be used with a stranger's.
"""

import ctypes
import hashlib
from ctypes import c_char, c_int64, c_uint16, c_uint32, c_uint64
from typing import Any

MAGIC = 0x57415454_4C454447
MAX_DEVICES = 16
MAX_MIG = 8
MAX_MIG_PROFILES = 18
MAX_PROCESSES = 64
MAX_FUNCTIONS = 320
MAX_STEPS = 32_768
MAX_FIELDS = 512
MAX_OVERRIDES = 32
MAX_EVENTS = 256
FOREVER = 2**63 - 1
NOT_AVAILABLE = 2**64 - 1

RATIOS = (
    "utilization",
    "memory_utilization",
    "encoder",
    "decoder",
    "jpeg",
    "ofa",
    "graphics",
    "sm",
    "sm_occupancy",
    "tensor",
    "dram",
    "integer",
    "fp64",
    "fp32",
    "fp16",
    "dfma",
    "hmma",
    "dmma",
    "imma",
)
"""Signals that Python gives as ratios and the block holds in millionths."""
COUNTS = (
    "power_mw",
    "module_power_mw",
    "pcie_rx_bytes_per_second",
    "pcie_tx_bytes_per_second",
    "nvlink_rx_bytes_per_second",
    "nvlink_tx_bytes_per_second",
    "memory_used_bytes",
    "temperature_celsius",
    "memory_temperature_celsius",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "video_clock_mhz",
)
SIGNALS = RATIOS + COUNTS
PPM = 1_000_000
MAX_TRACKS = len(SIGNALS) * (1 + MAX_MIG) + MAX_PROCESSES


class Step(ctypes.Structure):
    """From ``start_ns`` on the track has ``value``; ``cum`` is its integral up to there (value x ns, 128 bits)."""

    _fields_ = [("start_ns", c_int64), ("value", c_uint64), ("cum", c_uint64 * 2)]


class Track(ctypes.Structure):
    """Steps ``first .. first + count`` of the device's pool; with a period they repeat from ``loop_start_ns`` on."""

    _fields_ = [
        ("first", c_uint32),
        ("count", c_uint32),
        ("loop_start_ns", c_int64),
        ("loop_period_ns", c_int64),
        ("loop_cum", c_uint64 * 2),
    ]


class ProcessSlot(ctypes.Structure):
    _fields_ = [
        ("pid", c_uint32),
        ("kind", c_uint32),
        ("gi", c_uint32),
        ("ci", c_uint32),
        ("memory_bytes", c_uint64),
        ("start_ns", c_int64),
        ("end_ns", c_int64),
        ("encoder_percent", c_uint32),
        ("decoder_percent", c_uint32),
        ("memory_percent", c_uint32),
        ("reserved", c_uint32),
    ]


class MigSlot(ctypes.Structure):
    _fields_ = [
        ("present", c_uint32),
        ("generation", c_uint32),
        ("gi", c_uint32),
        ("ci", c_uint32),
        ("profile_id", c_uint32),
        ("slices_gi", c_uint32),
        ("slices_ci", c_uint32),
        ("sm_count", c_uint32),
        ("start", c_uint32),
        ("gpu_instance_only", c_uint32),
        ("memory_mib", c_uint64),
        ("memory_reserved_bytes", c_uint64),
        ("uuid", c_char * 96),
        ("name", c_char * 96),
    ]


class MigProfileSlot(ctypes.Structure):
    _fields_ = [
        ("present", c_uint32),
        ("id", c_uint32),
        ("slices", c_uint32),
        ("instances", c_uint32),
        ("sm_count", c_uint32),
        ("memory_slices", c_uint32),
        ("memory_mib", c_uint64),
        ("name", c_char * 32),
        ("starts", c_uint32),
        ("reserved", c_uint32),
    ]


class FieldOverride(ctypes.Structure):
    _fields_ = [("field_id", c_uint32), ("scope", c_uint32), ("value", c_uint64)]


class Device(ctypes.Structure):
    _fields_ = [
        ("seq", c_uint32),
        ("present", c_uint32),
        ("lost", c_uint32),
        ("architecture", c_uint32),
        ("cuda_major", c_uint32),
        ("cuda_minor", c_uint32),
        ("sm_count", c_uint32),
        ("cores", c_uint32),
        ("has_energy", c_uint32),
        ("has_gpm", c_uint32),
        ("has_average_power", c_uint32),
        ("has_module_power", c_uint32),
        ("has_memory_temperature", c_uint32),
        ("has_ecc", c_uint32),
        ("has_remapped_rows", c_uint32),
        ("has_jpeg_ofa", c_uint32),
        ("has_serial", c_uint32),
        ("has_uptime", c_uint32),
        ("mig_capable", c_uint32),
        ("mig_enabled", c_uint32),
        ("mig_max", c_uint32),
        ("persistence", c_uint32),
        ("mig_unprivileged", c_uint32),
        ("pci_domain", c_uint32),
        ("pci_bus", c_uint32),
        ("pci_device", c_uint32),
        ("pci_id", c_uint32),
        ("pcie_gen", c_uint32),
        ("pcie_width", c_uint32),
        ("pcie_replays", c_uint32),
        ("pcie_counter_bits", c_uint32),
        ("nvlink_count", c_uint32),
        ("nvlink_version", c_uint32),
        ("nvlink_mbps", c_uint32),
        ("remap_pending", c_uint32),
        ("remap_failure", c_uint32),
        ("performance_state", c_uint32),
        ("power_min_mw", c_uint32),
        ("power_max_mw", c_uint32),
        ("power_default_mw", c_uint32),
        ("power_limit_mw", c_uint32),
        ("max_sm_clock_mhz", c_uint32),
        ("max_memory_clock_mhz", c_uint32),
        ("max_video_clock_mhz", c_uint32),
        ("sample_depth", c_uint32),
        ("sample_missing_ppm", c_uint32),
        ("sample_seed", c_uint32),
        ("sample_empty_success", c_uint32),
        ("energy_frozen", c_uint32),
        ("remapped_rows", c_uint32 * 2),
        ("uuid", c_char * 96),
        ("name", c_char * 96),
        ("serial", c_char * 32),
        ("part_number", c_char * 32),
        ("memory_total_bytes", c_uint64),
        ("memory_reserved_bytes", c_uint64),
        ("throttle_reasons", c_uint64),
        ("throttle_ns", c_uint64 * 11),
        ("ecc", c_uint64 * 4),
        ("nvlink_errors", c_uint64 * 4),
        ("load_ns", c_int64),
        ("origins", c_uint64 * (2 * len(SIGNALS))),
        ("energy_offset_mj", c_uint64),
        ("energy_update_ns", c_int64),
        ("energy_frozen_ns", c_int64),
        ("power_window_ns", c_int64),
        ("utilization_window_ns", c_int64),
        ("sample_period_ns", c_int64),
        ("sample_lag_ns", c_int64),
        ("override_count", c_uint32),
        ("reserved", c_uint32),
        ("overrides", FieldOverride * MAX_OVERRIDES),
        ("field_faults", c_uint16 * MAX_FIELDS),
        ("cells", c_uint64 * MAX_FUNCTIONS),
        ("calls", c_uint64 * MAX_FUNCTIONS),
        ("processes", ProcessSlot * MAX_PROCESSES),
        ("mig", MigSlot * MAX_MIG),
        ("mig_profiles", MigProfileSlot * MAX_MIG_PROFILES),
        ("tracks", Track * MAX_TRACKS),
        ("steps", Step * MAX_STEPS),
    ]


class Event(ctypes.Structure):
    _fields_ = [
        ("sequence", c_uint64),
        ("type", c_uint64),
        ("data", c_uint64),
        ("device", c_uint32),
        ("gi", c_uint32),
        ("ci", c_uint32),
        ("reserved", c_uint32),
    ]


class Control(ctypes.Structure):
    _fields_ = [
        ("magic", c_uint64),
        ("layout_hash", c_uint64),
        ("size", c_uint64),
        ("device_count", c_uint32),
        ("loaded", c_uint32),
        ("generation", c_uint32),
        ("manual_clock", c_uint32),
        ("now_ns", c_int64),
        ("wall_offset_ns", c_int64),
        ("old_slowdown_fields", c_uint32),
        ("cuda_version", c_uint32),
        ("wake", c_uint32),
        ("reserved", c_uint32),
        ("event_head", c_uint64),
        ("driver_version", c_char * 80),
        ("cells", c_uint64 * MAX_FUNCTIONS),
        ("calls", c_uint64 * MAX_FUNCTIONS),
        ("events", Event * MAX_EVENTS),
        ("devices", Device * MAX_DEVICES),
    ]


STRUCTURES: tuple[type[ctypes.Structure], ...] = (
    Step,
    Track,
    ProcessSlot,
    MigSlot,
    MigProfileSlot,
    FieldOverride,
    Device,
    Event,
    Control,
)
_C_NAMES: dict[type, str] = {
    c_char: "char",
    c_int64: "int64_t",
    c_uint16: "uint16_t",
    c_uint32: "uint32_t",
    c_uint64: "uint64_t",
    **{structure: f"struct fake_{structure.__name__}" for structure in STRUCTURES},
}
HANG_BIT = 1 << 16
DELAY_SHIFT = 32


def _declaration(name: str, kind: Any) -> str:
    if hasattr(kind, "_length_"):
        return f"    {_C_NAMES[kind._type_]} {name}[{kind._length_}];"
    return f"    {_C_NAMES[kind]} {name};"


def _structure(structure: type[ctypes.Structure]) -> str:
    tag = _C_NAMES[structure]
    names = [(field[0], field[1]) for field in structure._fields_]
    body = "\n".join(_declaration(name, kind) for name, kind in names)
    checks = "\n".join(
        f'_Static_assert(offsetof({tag}, {name}) == {getattr(structure, name).offset}, "{name}");' for name, _ in names
    )
    return f'{tag} {{\n{body}\n}};\n{checks}\n_Static_assert(sizeof({tag}) == {ctypes.sizeof(structure)}, "size");\n'


def layout_text(functions: tuple[str, ...]) -> str:
    """The C header for this layout and these functions, less its own hash."""
    limits = "".join(
        f"#define FAKE_{name} {value}\n"
        for name, value in (
            ("MAX_DEVICES", MAX_DEVICES),
            ("MAX_MIG", MAX_MIG),
            ("MAX_MIG_PROFILES", MAX_MIG_PROFILES),
            ("MAX_PROCESSES", MAX_PROCESSES),
            ("MAX_FIELDS", MAX_FIELDS),
            ("MAX_EVENTS", MAX_EVENTS),
            ("HANG_BIT", HANG_BIT),
            ("DELAY_SHIFT", DELAY_SHIFT),
            ("SIGNALS", len(SIGNALS)),
            ("MAGIC", f"UINT64_C({MAGIC})"),
        )
    )
    signals = "enum fake_signal {\n" + "".join(f"    S_{name},\n" for name in SIGNALS) + "};\n"
    ids = "enum fake_function {\n" + "".join(f"    FN_{name},\n" for name in functions) + "};\n"
    structures = "\n".join(_structure(structure) for structure in STRUCTURES)
    return f"#include <stddef.h>\n#include <stdint.h>\n{limits}{signals}{ids}{structures}"


def layout_hash(functions: tuple[str, ...]) -> int:
    """64 bits that name layout and function list."""
    return int.from_bytes(hashlib.sha256(layout_text(functions).encode()).digest()[:8], "little")


def header(functions: tuple[str, ...]) -> str:
    """The whole of ``layout.h``."""
    return f"{layout_text(functions)}#define FAKE_LAYOUT_HASH UINT64_C({layout_hash(functions)})\n"
