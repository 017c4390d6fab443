"""What the doctor knows of this machine, and what a check says of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cli.config import Config
from collectors.clock import NS_PER_SECOND, Clock
from collectors.cloud_identity import identify
from collectors.cloud_metadata import CloudIdentity
from collectors.errors import SourceError
from collectors.gpu_source import GpuSource
from collectors.nvml_guard import Guard
from collectors.readings import DeviceFacts, DeviceSweep

Verdict = Literal["ok", "warn", "fail"]

_READ_SECONDS = 10.0
_BETWEEN_READS_NS = NS_PER_SECOND // 4
"""GPM and per-process shares come from two readings; GPM wants over 100 ms between them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's."""

    check: str
    verdict: Verdict
    what: str
    remedy: str = ""
    """What to do; never empty unless all is well."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found, once, for all checks to judge."""

    config: Config
    clock: Clock
    devices: tuple[DeviceFacts, ...] = ()
    sweeps: Mapping[str, DeviceSweep | SourceError] = field(default_factory=dict[str, DeviceSweep | SourceError])
    unreadable: tuple[str, ...] = ()
    driver_error: str | None = None
    identity: CloudIdentity | None = None
    identity_error: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of this process; tells whether it runs in a pod."""


Check = Callable[[Machine], Iterator[Finding]]


def survey(config: Config, clock: Clock, source: GpuSource, wait: Callable[[int], object]) -> Machine:
    """Ask driver and cloud. Nothing is set, and a call that hangs is left behind.

    Args:
        config: the settings in force.
        clock: for the checks.
        source: the driver.
        wait: passes so many nanoseconds between two readings.
    """
    identity, identity_error = _identity(config)
    try:
        devices = tuple(source.discover())
    except SourceError as error:
        return Machine(config, clock, driver_error=str(error), identity=identity, identity_error=identity_error)
    for device in devices:
        _read(source, device)
    wait(_BETWEEN_READS_NS)
    sweeps = {device.uuid: _read(source, device) for device in devices}
    unreadable = tuple(source.unreadable())
    return Machine(config, clock, devices, sweeps, unreadable, None, identity, identity_error)


def _read(source: GpuSource, device: DeviceFacts) -> DeviceSweep | SourceError:
    guard: Guard[DeviceSweep] = Guard(_READ_SECONDS)
    try:
        return guard.run(f"GPU {device.index}", lambda: source.read(device.uuid))
    except SourceError as error:
        return error


def _identity(config: Config) -> tuple[CloudIdentity | None, str | None]:
    if config.prices.cloud_identity == "off":
        return None, None
    try:
        return identify(config.host.sys), None
    except SourceError as error:
        return None, str(error)
