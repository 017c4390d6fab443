"""The GPU models that a scenario can name, with the figures of their data sheets.

Owns the table of models and of the MIG profiles that fit them. The idle watts are typical readings of an idle board.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

GIB = 1024**3
GIGA = 1_000_000_000
NAME_PREFIX = "Simulated "
CUSTOM = "custom"
"""The model of a device whose figures all stand in the scenario."""


@dataclass(frozen=True, slots=True)
class GpuModel:
    """One model as its driver presents it."""

    name: str
    """As the driver spells it; a reading puts ``Simulated`` before it."""
    idle_watts: float
    max_watts: float
    memory_gib: int
    architecture: str
    sm_mhz: int
    memory_mhz: int
    nvlink_gb_per_second: int = 0
    """All links, both directions."""
    gpm: bool = False
    """Whether SM, tensor and DRAM activity can be read (Hopper and later)."""
    mig: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Profile to (compute slices, memory slices); empty where the chip has no MIG."""

    def stranded_slices(self, instances: Sequence[str]) -> int:
        """Compute slices that no profile can use beside instances of these profiles, placed as well as can be."""
        compute = MIG_COMPUTE_SLICES - sum(self.mig[profile][0] for profile in instances)
        memory = MIG_MEMORY_SLICES - sum(self.mig[profile][1] for profile in instances)
        takeable = (min(compute // own, memory // needed) * own for own, needed in self.mig.values())
        return compute - max(takeable, default=compute)


MIG_COMPUTE_SLICES = 7
MIG_MEMORY_SLICES = 8
_SLICES = ((1, 1), (1, 2), (2, 2), (3, 4), (4, 4), (7, 8))


def _mig(*gigabytes: int) -> dict[str, tuple[int, int]]:
    """Profiles from the memory that NVIDIA gives to each pair of compute and memory slices."""
    return {f"{slices[0]}g.{size}gb": slices for slices, size in zip(_SLICES, gigabytes, strict=True)}


MODELS: Mapping[str, GpuModel] = {
    "B200": GpuModel(
        "NVIDIA B200", 140, 1000, 180, "Blackwell", 1965, 3996, 1800, gpm=True, mig=_mig(23, 45, 45, 90, 90, 180)
    ),
    "H200-SXM-141GB": GpuModel(
        "NVIDIA H200", 75, 700, 141, "Hopper", 1980, 3201, 900, gpm=True, mig=_mig(18, 35, 35, 71, 71, 141)
    ),
    "H100-SXM-80GB": GpuModel(
        "NVIDIA H100 80GB HBM3", 70, 700, 80, "Hopper", 1980, 2619, 900, gpm=True, mig=_mig(10, 20, 20, 40, 40, 80)
    ),
    "H100-PCIE-80GB": GpuModel(
        "NVIDIA H100 PCIe", 50, 350, 80, "Hopper", 1755, 1593, 600, gpm=True, mig=_mig(10, 20, 20, 40, 40, 80)
    ),
    "A100-SXM-80GB": GpuModel(
        "NVIDIA A100-SXM4-80GB", 62, 400, 80, "Ampere", 1410, 1593, 600, mig=_mig(10, 20, 20, 40, 40, 80)
    ),
    "A100-SXM-40GB": GpuModel(
        "NVIDIA A100-SXM4-40GB", 55, 400, 40, "Ampere", 1410, 1215, 600, mig=_mig(5, 10, 10, 20, 20, 40)
    ),
    "L40S": GpuModel("NVIDIA L40S", 35, 350, 48, "Ada", 2520, 9001),
    "L4": GpuModel("NVIDIA L4", 16, 72, 24, "Ada", 2040, 6251),
    "A10G": GpuModel("NVIDIA A10G", 22, 300, 24, "Ampere", 1710, 6251),
    "T4": GpuModel("Tesla T4", 10, 70, 16, "Turing", 1590, 5001),
    "V100-SXM-16GB": GpuModel("Tesla V100-SXM2-16GB", 42, 300, 16, "Volta", 1530, 877, 300),
}

BLANK = GpuModel("", 1, 2, 1, "Custom", 1500, 5000)
"""What a custom device has until the scenario says otherwise."""
