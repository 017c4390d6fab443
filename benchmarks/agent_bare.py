"""39 values of each GPU by plain pynvml calls, as a script would read them: the floor that any agent stands on."""

from importlib import import_module
from typing import Any

pynvml: Any = import_module("pynvml")

_FIELDS = tuple(
    getattr(pynvml, f"NVML_FI_DEV_{name}")
    for name in (
        "POWER_INSTANT",
        "POWER_AVERAGE",
        "MEMORY_TEMP",
        "ECC_SBE_VOL_TOTAL",
        "ECC_DBE_VOL_TOTAL",
        "ECC_SBE_AGG_TOTAL",
        "ECC_DBE_AGG_TOTAL",
        "REMAPPED_COR",
        "REMAPPED_UNC",
        "REMAPPED_PENDING",
        "REMAPPED_FAILURE",
        "PCIE_REPLAY_COUNTER",
        "PERF_POLICY_POWER",
        "PERF_POLICY_THERMAL",
        "PERF_POLICY_RELIABILITY",
        "PERF_POLICY_BOARD_LIMIT",
    )
)
_CLOCKS = (
    pynvml.NVML_CLOCK_SM,
    pynvml.NVML_CLOCK_MEM,
    pynvml.NVML_CLOCK_GRAPHICS,
    pynvml.NVML_CLOCK_VIDEO,
)
VALUES = 39


def handles(number: int) -> list[object]:
    """The first devices; the driver is initialized already."""
    return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(number)]


def read(handle: object) -> list[object]:
    """The values of one GPU."""
    utilization = pynvml.nvmlDeviceGetUtilizationRates(handle)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    fields = pynvml.nvmlDeviceGetFieldValues(handle, _FIELDS)
    values: list[object] = [
        utilization.gpu,
        utilization.memory,
        memory.total,
        memory.used,
        memory.free,
        memory.reserved,
        pynvml.nvmlDeviceGetPowerUsage(handle),
        pynvml.nvmlDeviceGetEnforcedPowerLimit(handle),
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle),
        pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
        pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
        pynvml.nvmlDeviceGetPerformanceState(handle),
        len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle)),
        *(pynvml.nvmlDeviceGetClockInfo(handle, clock) for clock in _CLOCKS),
        *pynvml.nvmlDeviceGetEncoderUtilization(handle),
        *pynvml.nvmlDeviceGetDecoderUtilization(handle),
        *pynvml.nvmlDeviceGetMigMode(handle),
        *(field.value.ullVal for field in fields),
    ]
    if len(values) != VALUES:
        raise AssertionError(f"{len(values)} values")
    return values
