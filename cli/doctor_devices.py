"""Checks of the driver and of each device: what it tells, and what stays absent."""

from collections.abc import Iterator

from cli.doctor_finding import Finding, Machine
from collectors.errors import SourceError
from collectors.readings import DeviceFacts, DeviceSweep, GpuReading


def check_driver(machine: Machine) -> Iterator[Finding]:
    """The library, the driver, and the devices it lists."""
    if machine.driver_error:
        what, _, remedy = machine.driver_error.partition(": ")
        yield Finding("driver", "fail", f"{what} does not answer", remedy or "see dmesg")
        return
    for line in machine.unreadable:
        yield Finding("driver", "fail", line, "the message tells; its siblings are not touched by it")
    if not machine.devices:
        yield Finding(
            "driver",
            "fail",
            "the driver answers but lists no GPU that can be read",
            "in a container give it the GPUs (--gpus all, NVIDIA_VISIBLE_DEVICES=all); else see lspci and dmesg",
        )
        return
    version = machine.devices[0].driver_version or "of unknown version"
    yield Finding("driver", "ok", f"driver {version}, {len(machine.devices)} GPUs")


def check_devices(machine: Machine) -> Iterator[Finding]:
    """What each device tells."""
    for device in machine.devices:
        name = f"GPU {device.index} {device.name}"
        sweep = machine.sweeps[device.uuid]
        if isinstance(sweep, SourceError):
            yield Finding("device", "fail", f"{name}: {sweep}", "its time is booked as unobserved until it answers")
        else:
            yield from _device(name, device, sweep)


def _device(name: str, device: DeviceFacts, sweep: DeviceSweep) -> Iterator[Finding]:
    units = list(sweep.instances) if sweep.device.mig_enabled else [sweep.device]
    told = [
        f"activity by {sweep.device.activity_source or (units[0].activity_source if units else None) or 'nobody'}",
        "energy counter" if sweep.device.energy_mj is not None else "no energy counter",
        f"{len(sweep.instances)} MIG instances" if sweep.device.mig_enabled else "no MIG",
    ]
    yield Finding("device", "ok", f"{name} ({device.uuid}): {', '.join(told)}")
    if sweep.device.energy_mj is None:
        yield Finding(
            "device",
            "warn",
            f"{name} has no energy counter (before Volta, or not permitted): joules stay absent",
            "nothing to mend on such a chip; time and dollars are booked all the same",
        )
    yield from _activity(name, units)
    if not all(reading.processes_known for reading in (sweep.device, *sweep.instances)):
        yield Finding(
            "device",
            "warn",
            f"{name} does not let its processes be listed: its time will be unattributed",
            "run as root; in a container give it every GPU and the host's PID namespace",
        )


def _activity(name: str, units: list[GpuReading]) -> Iterator[Finding]:
    dcgm = "run dcgm-exporter on the node and set dcgm.url to its page"
    if units and all(unit.activity_source is None for unit in units):
        yield Finding("device", "warn", f"{name} tells no activity: held time will be unmeasured, never idle", dcgm)
    elif units and all(unit.activity.sm is None for unit in units):
        what = f"{name} has no GPM (Hopper and newer do): SM, tensor and DRAM activity stay absent"
        yield Finding("device", "warn", what, dcgm)
