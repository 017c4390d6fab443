"""Presets of devices: what each board has and has not, and its MIG profiles."""

from dataclasses import dataclass
from typing import Any

GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class MigProfile:
    """One GPU instance profile of a board."""

    name: str
    kind: int
    """``NVML_GPU_INSTANCE_PROFILE_*``."""
    profile_id: int
    """As ``nvidia-smi mig -lgip`` lists it."""
    slices: int
    sm_count: int
    memory_mib: int
    instances: int
    memory_slices: int = 0
    """Memory slices that an instance occupies; 0: as many as compute slices."""
    starts: tuple[int, ...] = ()
    """Memory slices that an instance may begin at; empty: any multiple of its size."""

    @property
    def size(self) -> int:
        """Memory slices that an instance occupies."""
        return self.memory_slices or self.slices

    def places(self, total: int) -> tuple[int, ...]:
        """Where an instance may begin on a board of so many memory slices."""
        return self.starts or tuple(range(0, total - self.size + 1, self.size))


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """What a board is; the fields answer as the board's driver would."""

    name: str
    architecture: int
    """``NVML_DEVICE_ARCH_*``."""
    compute_capability: tuple[int, int]
    pci_device_id: int
    sm_count: int
    cores: int
    memory_bytes: int
    reserved_bytes: int
    idle_mw: int
    power_limits_mw: tuple[int, int]
    """Lowest and highest that can be set; the highest is the default."""
    max_clocks_mhz: tuple[int, int, int]
    """SM, memory, video."""
    energy: bool = True
    gpm: bool = False
    average_power: bool = False
    module_power: bool = False
    memory_temperature: bool = False
    ecc: bool = True
    remapped_rows: bool = False
    jpeg_ofa: bool = False
    serial: bool = True
    uptime: bool = True
    nvlinks: tuple[int, int, int] = (0, 0, 0)
    """Links, version, MB/s of one link in one direction."""
    pcie: tuple[int, int] = (4, 16)
    mig: tuple[MigProfile, ...] = ()


_SHAPES = (
    (1, 1, 0, 19, (0, 1, 2, 3, 4, 5, 6)),
    (1, 2, 9, 15, (0, 2, 4, 6)),
    (2, 2, 1, 14, (0, 2, 4)),
    (3, 4, 2, 9, (0, 4)),
    (4, 4, 3, 5, (0,)),
    (7, 8, 4, 0, (0,)),
)
"""Compute slices, memory slices, kind, id and places, as `nvidia-smi mig -lgipp` lists them."""


def _mig(total_mib: int, sm_slice: int, names: tuple[str, ...]) -> tuple[MigProfile, ...]:
    """The plain profiles of a board with seven compute and eight memory slices, and the small one of double memory."""
    return tuple(
        MigProfile(
            name, kind, identity, slices, slices * sm_slice, total_mib * memory // 8, len(starts), memory, starts
        )
        for name, (slices, memory, kind, identity, starts) in zip(names, _SHAPES, strict=True)
    )


def _with(defaults: dict[str, Any], changes: dict[str, Any]) -> DeviceProfile:
    return DeviceProfile(**(defaults | changes))


_HOPPER: dict[str, Any] = {
    "architecture": 9,
    "compute_capability": (9, 0),
    "sm_count": 132,
    "cores": 16_896,
    "idle_mw": 70_000,
    "power_limits_mw": (200_000, 700_000),
    "gpm": True,
    "average_power": True,
    "memory_temperature": True,
    "remapped_rows": True,
    "jpeg_ofa": True,
    "nvlinks": (18, 4, 26_562),
    "pcie": (5, 16),
}


def h100(**changes: Any) -> DeviceProfile:
    """H100 SXM5 80 GB: GPM, MIG, NVLink."""
    own = {
        "name": "NVIDIA H100 80GB HBM3",
        "pci_device_id": 0x233010DE,
        "memory_bytes": 81_559 * MIB,
        "reserved_bytes": 551 * MIB,
        "max_clocks_mhz": (1980, 2619, 1545),
        "mig": _mig(81_152, 16, ("1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")),
    }
    return _with(_HOPPER | own, changes)


def h200(**changes: Any) -> DeviceProfile:
    """H200 SXM 141 GB."""
    own = {
        "name": "NVIDIA H200",
        "pci_device_id": 0x233510DE,
        "memory_bytes": 143_771 * MIB,
        "reserved_bytes": 613 * MIB,
        "max_clocks_mhz": (1980, 3201, 1545),
        "mig": _mig(143_360, 16, ("1g.18gb", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb")),
    }
    return _with(_HOPPER | own, changes)


def b200(**changes: Any) -> DeviceProfile:
    """B200 SXM: Blackwell, NVLink 5 with byte counters of its own."""
    own = {
        "name": "NVIDIA B200",
        "architecture": 10,
        "compute_capability": (10, 0),
        "pci_device_id": 0x290110DE,
        "sm_count": 148,
        "cores": 18_944,
        "memory_bytes": 183_359 * MIB,
        "reserved_bytes": 700 * MIB,
        "idle_mw": 140_000,
        "power_limits_mw": (200_000, 1_000_000),
        "max_clocks_mhz": (1965, 3996, 1965),
        "nvlinks": (18, 5, 50_000),
        "mig": _mig(182_272, 18, ("1g.23gb", "1g.45gb", "2g.45gb", "3g.90gb", "4g.90gb", "7g.180gb")),
    }
    return _with(_HOPPER | own, changes)


def gh200(**changes: Any) -> DeviceProfile:
    """GH200: as H100, with the whole module's power beside the GPU's."""
    own = {
        "name": "NVIDIA GH200 480GB",
        "pci_device_id": 0x234210DE,
        "memory_bytes": 97_871 * MIB,
        "reserved_bytes": 594 * MIB,
        "max_clocks_mhz": (1980, 2619, 1545),
        "power_limits_mw": (100_000, 900_000),
        "module_power": True,
        "mig": _mig(97_280, 16, ("1g.12gb", "1g.24gb", "2g.24gb", "3g.48gb", "4g.48gb", "7g.96gb")),
    }
    return _with(_HOPPER | own, changes)


def a100(**changes: Any) -> DeviceProfile:
    """A100 SXM4 80 GB: MIG, no GPM, no average power (GA100)."""
    own: dict[str, Any] = {
        "name": "NVIDIA A100-SXM4-80GB",
        "architecture": 7,
        "compute_capability": (8, 0),
        "pci_device_id": 0x20B210DE,
        "sm_count": 108,
        "cores": 6912,
        "memory_bytes": 81_920 * MIB,
        "reserved_bytes": 866 * MIB,
        "idle_mw": 60_000,
        "power_limits_mw": (100_000, 400_000),
        "max_clocks_mhz": (1410, 1593, 1290),
        "memory_temperature": True,
        "remapped_rows": True,
        "jpeg_ofa": True,
        "nvlinks": (12, 3, 25_000),
        "mig": _mig(81_920, 14, ("1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")),
    }
    return _with(own, changes)


def l40s(**changes: Any) -> DeviceProfile:
    """L40S: Ada, no MIG, no GPM, no NVLink, average power."""
    own: dict[str, Any] = {
        "name": "NVIDIA L40S",
        "architecture": 8,
        "compute_capability": (8, 9),
        "pci_device_id": 0x26B910DE,
        "sm_count": 142,
        "cores": 18_176,
        "memory_bytes": 46_068 * MIB,
        "reserved_bytes": 578 * MIB,
        "idle_mw": 33_000,
        "power_limits_mw": (100_000, 350_000),
        "max_clocks_mhz": (2520, 9001, 1965),
        "average_power": True,
        "remapped_rows": True,
        "jpeg_ofa": True,
    }
    return _with(own, changes)


def t4(**changes: Any) -> DeviceProfile:
    """T4: Turing, the energy counter and little else."""
    own: dict[str, Any] = {
        "name": "Tesla T4",
        "architecture": 6,
        "compute_capability": (7, 5),
        "pci_device_id": 0x1EB810DE,
        "sm_count": 40,
        "cores": 2560,
        "memory_bytes": 15_360 * MIB,
        "reserved_bytes": 449 * MIB,
        "idle_mw": 9000,
        "power_limits_mw": (60_000, 70_000),
        "max_clocks_mhz": (1590, 5001, 1470),
        "pcie": (3, 16),
    }
    return _with(own, changes)


def p4(**changes: Any) -> DeviceProfile:
    """P4: before Volta, so no energy counter."""
    own: dict[str, Any] = {
        "name": "Tesla P4",
        "architecture": 4,
        "compute_capability": (6, 1),
        "pci_device_id": 0x1BB310DE,
        "sm_count": 20,
        "cores": 2560,
        "memory_bytes": 7680 * MIB,
        "reserved_bytes": 71 * MIB,
        "idle_mw": 6500,
        "power_limits_mw": (60_000, 75_000),
        "max_clocks_mhz": (1531, 3003, 1379),
        "energy": False,
        "uptime": False,
        "pcie": (3, 16),
    }
    return _with(own, changes)
