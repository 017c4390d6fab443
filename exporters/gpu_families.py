"""From readings of devices and MIG instances to families: one table, no arithmetic.

Owns which field is shown under which metric, the ``source`` of each activity, and which field stands in for one that a
reading lacks, under its own name. It must never fill in what a reading lacks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from collectors.readings import DeviceSweep, GpuReading, SourceName
from exporters import catalogue_gpu as gpu
from exporters.exposition import Family, Labels, SeriesCache
from exporters.metric import Metric
from exporters.metric_choice import EVERYTHING, MetricChoice

Number = int | float | None
Row = tuple[Labels, Number]

DEVICE_VALUES: Final[tuple[tuple[Metric, Callable[[GpuReading], Number]], ...]] = (
    (gpu.GPU_MIG_ENABLED, lambda r: int(r.mig_enabled)),
    (gpu.GPU_POWER_INSTANT, lambda r: r.power.instant_watts),
    (gpu.GPU_POWER_AVERAGE, lambda r: r.power.average_watts),
    (gpu.GPU_POWER_LIMIT, lambda r: r.power.limit_watts),
    (gpu.GPU_TEMPERATURE, lambda r: r.thermals.gpu_celsius),
    (gpu.GPU_MEMORY_TEMPERATURE, lambda r: r.thermals.memory_celsius),
    (gpu.GPU_REMAP_PENDING, lambda r: _flag(r.faults.remap_pending)),
    (gpu.GPU_REMAP_FAILED, lambda r: _flag(r.faults.remap_failure)),
    (gpu.GPU_PCIE_REPLAYS, lambda r: r.faults.pcie_replays),
    (gpu.GPU_PCIE_RECEIVE_RATE, lambda r: r.links.pcie_rx_bytes_per_second),
    (gpu.GPU_PCIE_TRANSMIT_RATE, lambda r: r.links.pcie_tx_bytes_per_second),
    (gpu.GPU_NVLINK_RECEIVE_RATE, lambda r: r.links.nvlink_rx_bytes_per_second),
    (gpu.GPU_NVLINK_TRANSMIT_RATE, lambda r: r.links.nvlink_tx_bytes_per_second),
    (gpu.GPU_PCIE_RECEIVE, lambda r: r.links.pcie_rx_bytes),
    (gpu.GPU_PCIE_TRANSMIT, lambda r: r.links.pcie_tx_bytes),
)
"""One series per device."""

PART_VALUES: Final[tuple[tuple[Metric, Callable[[GpuReading], Number]], ...]] = (
    (gpu.GPU_MEMORY_USED, lambda r: r.memory.used_bytes),
    (gpu.GPU_MEMORY_TOTAL, lambda r: r.memory.total_bytes),
    (gpu.GPU_MEMORY_RESERVED, lambda r: r.memory.reserved_bytes),
    (gpu.MIG_SLICES_RATIO, lambda r: r.mig.compute_slices / r.mig.parent_slices if r.mig else None),
)
"""One series per device and per MIG instance."""

COUNTED_ACTIVITY: Final[tuple[tuple[Metric, Callable[[GpuReading], Number]], ...]] = (
    (gpu.GPU_UTILIZATION, lambda r: r.activity.duty_cycle),
    (gpu.GPU_MEMORY_CONTROLLER, lambda r: r.activity.memory_controller),
    (gpu.GPU_ENCODER, lambda r: r.activity.encoder),
    (gpu.GPU_DECODER, lambda r: r.activity.decoder),
    (gpu.GPU_JPEG, lambda r: r.activity.jpeg),
    (gpu.GPU_OFA, lambda r: r.activity.ofa),
)
"""Activity that the driver itself samples, whoever profiles beside it."""

PROFILED_ACTIVITY: Final[tuple[tuple[Metric, Callable[[GpuReading], Number]], ...]] = (
    (gpu.GPU_GRAPHICS_ACTIVITY, lambda r: r.activity.graphics),
    (gpu.GPU_SM_ACTIVITY, lambda r: r.activity.sm),
    (gpu.GPU_SM_OCCUPANCY, lambda r: r.activity.sm_occupancy),
    (gpu.GPU_TENSOR_ACTIVITY, lambda r: r.activity.tensor),
    (gpu.GPU_DRAM_ACTIVITY, lambda r: r.activity.dram),
)
"""Activity from performance counters: by ``activity_source``."""

KEYED_VALUES: Final[tuple[tuple[Metric, Callable[[GpuReading], Mapping[str, Number]]], ...]] = (
    (gpu.GPU_POWER, lambda r: {"gpu": r.power.gpu_watts, "module": r.power.module_watts}),
    (
        gpu.GPU_CLOCK,
        lambda r: {
            "sm": r.clocks.sm_hertz,
            "memory": r.clocks.memory_hertz,
            "graphics": r.clocks.graphics_hertz,
            "video": r.clocks.video_hertz,
        },
    ),
    (gpu.GPU_THROTTLED, lambda r: dict.fromkeys(sorted(r.throttle.reasons), 1)),
    (gpu.GPU_ECC_VOLATILE, lambda r: _ecc(r, "volatile")),
    (gpu.GPU_ECC_AGGREGATE, lambda r: _ecc(r, "aggregate")),
    (gpu.GPU_REMAPPED_ROWS, lambda r: r.faults.remapped_rows),
    (gpu.GPU_NVLINK_ERRORS, lambda r: r.faults.nvlink_errors),
)
"""One series per device and key: scope, clock, reason, severity, type."""

STANDS_IN: Final[Mapping[str, Callable[[GpuReading], bool]]] = {
    gpu.GPU_GRAPHICS_ACTIVITY.name: lambda r: r.activity.duty_cycle is None,
    gpu.GPU_MEMORY_CONTROLLER.name: lambda r: r.activity.dram is None,
    gpu.GPU_THROTTLED.name: lambda r: not r.throttle.duration_ns,
    gpu.GPU_PCIE_RECEIVE_RATE.name: lambda r: r.links.pcie_rx_bytes is None,
    gpu.GPU_PCIE_TRANSMIT_RATE.name: lambda r: r.links.pcie_tx_bytes is None,
}
"""By metric: whether a reading lacks what it stands in for."""

_FIRST_SAMPLES_NS: Final = 10_000_000_000
"""Performance counters tell nothing before their second sample, a page of DCGM nothing before its first answer."""
_MISSED_NS: Final = 600_000_000_000
"""What was told before is only missing for a moment, up to this time."""
_THERMAL: Final = "thermal"
_THERMAL_APART: Final = frozenset(("sw_thermal", "hw_thermal"))


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """Whether a device answers; data and health are separate."""

    uuid: str
    up: bool
    age_seconds: float | None
    """Time since it was last read; ``None`` when it never was."""
    implausible: tuple[str, ...] = ()
    """The checks by which its readings cannot be true."""


class _StandIns:
    """When a metric stands in for another: not for one that is missing for a moment, at the start or later.

    Else each restart of the agent, and each reading that fails, would bring series that go at once.
    """

    def __init__(self) -> None:
        self._not_before_ns: dict[tuple[str, Labels], int] = {}

    def keep(self, parts: Sequence[GpuReading]) -> None:
        """Forget devices and instances that are gone."""
        present = {_part(part) for part in parts}
        if any(part not in present for _, part in self._not_before_ns):
            self._not_before_ns = {key: ns for key, ns in self._not_before_ns.items() if key[1] in present}

    def stands_in(self, metric: Metric, reading: GpuReading) -> bool:
        """Whether it does so in this reading."""
        lacks = STANDS_IN.get(metric.name)
        if lacks is None:
            return False
        key, at_ns = (metric.name, _part(reading)), reading.read_ns
        if not lacks(reading):
            self._not_before_ns[key] = at_ns + _MISSED_NS
            return False
        late_ns = _FIRST_SAMPLES_NS if metric is gpu.GPU_MEMORY_CONTROLLER else 0
        return at_ns >= self._not_before_ns.setdefault(key, at_ns + late_ns)


class GpuFamilies:
    """Families of one node's devices; keeps the label strings between calls.

    Args:
        node: the value of the label ``node``.
        source: what the readings come from.
        choice: what is shown.
    """

    def __init__(self, node: str, source: SourceName, choice: MetricChoice = EVERYTHING) -> None:
        self._source = source
        self._choice = choice
        self._stand_ins = _StandIns()
        self._caches = {metric.name: SeriesCache(metric, node) for metric in gpu.ALL}

    def families(self, sweeps: Sequence[DeviceSweep]) -> list[Family]:
        """All that the devices' last readings say."""
        devices = [sweep.device for sweep in sweeps]
        parts = [part for sweep in sweeps for part in (sweep.device, *sweep.instances)]
        self._stand_ins.keep(parts)
        instances = [part for part in parts if part.mig]
        return [
            self._family(gpu.GPU_INFO, map(self._info, devices)),
            self._family(gpu.GPU_BOARD_INFO, map(_board_info, self._shown(gpu.GPU_BOARD_INFO, devices))),
            self._family(gpu.MIG_INFO, map(_mig_info, instances)),
            *self._table(PART_VALUES, parts, _part),
            *self._table(COUNTED_ACTIVITY, parts, self._counted),
            *self._table(PROFILED_ACTIVITY, parts, self._profiled),
            self._family(gpu.GPU_PROCESSES, _processes(self._shown(gpu.GPU_PROCESSES, parts))),
            *self._table(DEVICE_VALUES, devices, _device),
            *(self._family(m, self._keyed(m, devices, of)) for m, of in KEYED_VALUES),
            self._throttle_seconds(devices),
        ]

    def health_families(self, health: Sequence[DeviceHealth]) -> list[Family]:
        """Up, age and implausible readings of every device ever seen, the lost ones too."""
        return [
            self._family(gpu.GPU_UP, (((device.uuid,), int(device.up)) for device in health)),
            self._family(gpu.GPU_AGE, (((device.uuid,), device.age_seconds) for device in health)),
            self._family(
                gpu.GPU_IMPLAUSIBLE,
                (((device.uuid, check), 1) for device in health for check in device.implausible),
            ),
        ]

    def xid_family(self, counts: Mapping[tuple[str, int], int]) -> Family:
        """XID errors counted since the agent started, by device UUID and XID."""
        return self._family(gpu.GPU_XID_ERRORS, (((uuid, str(xid)), n) for (uuid, xid), n in counts.items()))

    def _family(self, metric: Metric, rows: Iterable[Row]) -> Family:
        return self._caches[metric.name].family(rows)

    def _shown(self, metric: Metric, readings: Sequence[GpuReading]) -> Sequence[GpuReading]:
        """Those whose value is shown: all, none, or those that lack what the metric stands in for."""
        if not self._choice.none(metric):
            return readings
        return [reading for reading in readings if self._stand_ins.stands_in(metric, reading)]

    def _table(
        self,
        table: Iterable[tuple[Metric, Callable[[GpuReading], Number]]],
        readings: Sequence[GpuReading],
        labels: Callable[[GpuReading], Labels],
    ) -> Iterator[Family]:
        for metric, of in table:
            yield self._family(metric, [(labels(r), of(r)) for r in self._shown(metric, readings)])

    def _keyed(
        self, metric: Metric, devices: Sequence[GpuReading], of: Callable[[GpuReading], Mapping[str, Number]]
    ) -> Iterator[Row]:
        whole = not metric.details or self._choice.whole(metric)
        for reading in self._shown(metric, devices):
            for key, value in of(reading).items():
                if whole or self._choice.value(metric, key):
                    yield (reading.device.uuid, key), value

    def _throttle_seconds(self, devices: Iterable[GpuReading]) -> Family:
        metric = gpu.GPU_THROTTLE_SECONDS
        return self._caches[metric.name].exact_family(
            ((r.device.uuid, reason), ns)
            for r in devices
            for reason, ns in r.throttle.duration_ns.items()
            if self._choice.value(metric, reason)
            or (reason == _THERMAL and not _THERMAL_APART & r.throttle.duration_ns.keys())
        )

    def _info(self, reading: GpuReading) -> Row:
        facts = reading.device
        return (facts.uuid, str(facts.index), facts.name, facts.driver_version or "", self._source), 1

    def _counted(self, reading: GpuReading) -> Labels:
        # On a MIG instance the driver samples nothing: whatever is there came from the profiler.
        return (*_part(reading), (reading.mig and reading.activity_source) or self._source)

    def _profiled(self, reading: GpuReading) -> Labels:
        return (*_part(reading), reading.activity_source or self._source)


def _device(reading: GpuReading) -> Labels:
    return (reading.device.uuid,)


def _part(reading: GpuReading) -> Labels:
    return reading.device.uuid, reading.mig.uuid if reading.mig else ""


def _flag(value: bool | None) -> int | None:  # noqa: FBT001  (a reading's field, not an option)
    return None if value is None else int(value)


def _ecc(reading: GpuReading, lifetime: str) -> dict[str, int]:
    return {severity: count for (span, severity), count in reading.faults.ecc.items() if span == lifetime}


def _board_info(reading: GpuReading) -> Row:
    facts = reading.device
    return (facts.uuid, facts.pci_bus_id or "", facts.serial or "", facts.architecture or ""), 1


def _mig_info(reading: GpuReading) -> Row:
    mig = reading.mig
    if mig is None:
        raise ValueError(f"not a MIG instance: {reading.device.uuid}")
    ids = (str(mig.gpu_instance_id), str(mig.compute_instance_id))
    return (reading.device.uuid, mig.uuid, mig.profile, *ids), 1


def _processes(parts: Iterable[GpuReading]) -> Iterator[Row]:
    for reading in parts:
        if reading.processes_known:
            kinds = [process.kind for process in reading.processes]
            for kind in ("compute", "graphics", "mps"):
                yield (*_part(reading), kind), kinds.count(kind)
