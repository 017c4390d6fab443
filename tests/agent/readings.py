"""Readings for the agent's tests, built in one line."""

from collectors.clock import NS_PER_SECOND
from collectors.readings import (
    Activity,
    Clocks,
    DeviceFacts,
    DeviceSweep,
    GpuReading,
    Links,
    Memory,
    Power,
    ProcessReading,
)

FACTS = DeviceFacts(
    "GPU-1",
    0,
    "NVIDIA H100 80GB HBM3",
    max_power_watts=700,
    nvlink_max_bytes_per_second=900e9,
    max_sm_clock_hertz=1.98e9,
)


def reading(seconds=0.0, *, pids=(), activity=0.0, energy_mj=0, watts=None, **more):
    """A whole device; ``more`` overrides fields of :class:`GpuReading`."""
    fields = {
        "device": FACTS,
        "read_ns": int(seconds * NS_PER_SECOND),
        "activity": activity if isinstance(activity, Activity) else Activity(duty_cycle=activity),
        "energy_mj": energy_mj,
        "power": Power(gpu_watts=watts),
        "clocks": Clocks(),
        "links": Links(),
        "memory": Memory(),
        "processes": tuple(ProcessReading(pid, "compute", 1 << 30) for pid in pids),
    }
    return GpuReading(**(fields | more))


def sweep(seconds=0.0, **more):
    return DeviceSweep(reading(seconds, **more))
