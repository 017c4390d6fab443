"""Raw NVML values to readings: pure, in base units, absent as ``None``.

Owns where each raw value goes and which unit it leaves behind; calls nothing.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from collectors import nvml_gpm as gpm
from collectors.nvml_field_table import (
    ECC_FIELDS,
    NVLINK_ERROR_FIELDS,
    REMAPPED_ROW_FIELDS,
    SLOWDOWN_FIELDS,
    THROTTLE_FIELDS,
    ecc_name,
    nvlink_name,
    rows_name,
    throttle_name,
)
from collectors.nvml_throttle import reasons_of
from collectors.nvml_units import (
    BYTES_PER_MEBIBYTE,
    HERTZ_PER_MEGAHERTZ,
    MILLIWATTS_PER_WATT,
    NS_PER_SECOND,
    PERCENT_PER_RATIO,
)
from collectors.readings import Activity, Clocks, Faults, Links, Memory, Power, Thermals, Throttle

Scalars = Mapping[str, list[int]]
Fields = Mapping[str, float]
Gpm = Mapping[int, float]

_THROTTLE_NAMES = tuple((throttle_name(reason), reason) for reason in (*THROTTLE_FIELDS, *SLOWDOWN_FIELDS))
_ECC_NAMES = tuple((ecc_name(*key), key) for key in ECC_FIELDS)
_ROWS_NAMES = tuple((rows_name(kind), kind) for kind in REMAPPED_ROW_FIELDS)
_NVLINK_NAMES = tuple((nvlink_name(kind), kind) for kind in NVLINK_ERROR_FIELDS)
_MEMORY_V2_CELLS = 5
_ACTIVITY_METRICS = (gpm.GRAPHICS, gpm.SM, gpm.SM_OCCUPANCY, gpm.TENSOR, gpm.DRAM)


def _ratio(cells: list[int] | None, at: int = 0) -> float | None:
    return None if cells is None else cells[at] / PERCENT_PER_RATIO


def _percent(value: float | None) -> float | None:
    return None if value is None else value / PERCENT_PER_RATIO


def _watts(milliwatts: float | None) -> float | None:
    return None if milliwatts is None else milliwatts / MILLIWATTS_PER_WATT


def _hertz(cells: list[int] | None) -> float | None:
    return None if cells is None else float(cells[0] * HERTZ_PER_MEGAHERTZ)


def _rate(mebibytes_per_second: float | None) -> float | None:
    return None if mebibytes_per_second is None else mebibytes_per_second * BYTES_PER_MEBIBYTE


def _first(cells: list[int] | None) -> int | None:
    return None if cells is None else cells[0]


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _flag(value: float | None) -> bool | None:
    return None if value is None else bool(value)


def device_activity(values: Scalars, metrics: Gpm) -> Activity:
    """Activity of a whole device: NVML's own getters, and GPM's metrics beside them."""
    utilization = values.get("utilization")
    return Activity(
        duty_cycle=_ratio(utilization),
        memory_controller=_ratio(utilization, 1),
        encoder=_ratio(values.get("encoder")),
        decoder=_ratio(values.get("decoder")),
        jpeg=_ratio(values.get("jpeg")),
        ofa=_ratio(values.get("ofa")),
        graphics=_percent(metrics.get(gpm.GRAPHICS)),
        sm=_percent(metrics.get(gpm.SM)),
        sm_occupancy=_percent(metrics.get(gpm.SM_OCCUPANCY)),
        tensor=_percent(metrics.get(gpm.TENSOR)),
        dram=_percent(metrics.get(gpm.DRAM)),
    )


class _Places(NamedTuple):
    """Where GPM's answers stand; ``None`` for what was not answered."""

    graphics: int | None
    sm: int | None
    sm_occupancy: int | None
    tensor: int | None
    dram: int | None
    encoders: slice | None
    decoders: slice | None
    jpegs: slice | None
    ofas: slice | None


@lru_cache(maxsize=256)
def _places(metrics: tuple[int, ...]) -> _Places:
    graphics, sm, sm_occupancy, tensor, dram = [
        metrics.index(metric) if metric in metrics else None for metric in _ACTIVITY_METRICS
    ]
    encoders, decoders, jpegs, ofas = [
        _span(metrics, engines) for engines in (gpm.ENCODERS, gpm.DECODERS, gpm.JPEGS, gpm.OFAS)
    ]
    return _Places(graphics, sm, sm_occupancy, tensor, dram, encoders, decoders, jpegs, ofas)


def _span(metrics: tuple[int, ...], engines: tuple[int, ...]) -> slice | None:
    """Engines of a kind are asked one after the other, so they are answered in one stretch."""
    places = [place for place, metric in enumerate(metrics) if metric in engines]
    return slice(places[0], places[-1] + 1) if places else None


_NO_ACTIVITY = Activity()


def instance_activity(answer: gpm.GpmAnswer) -> Activity:
    """Activity of a MIG instance: GPM's alone, since NVML has no utilization for it.

    Of several engines of a kind the busiest counts: while any one is busy, the device is.
    """
    values = answer.values
    if not values:
        return _NO_ACTIVITY
    at = _places(answer.metrics)
    return Activity(
        encoder=None if at.encoders is None else max(values[at.encoders]) / PERCENT_PER_RATIO,
        decoder=None if at.decoders is None else max(values[at.decoders]) / PERCENT_PER_RATIO,
        jpeg=None if at.jpegs is None else max(values[at.jpegs]) / PERCENT_PER_RATIO,
        ofa=None if at.ofas is None else max(values[at.ofas]) / PERCENT_PER_RATIO,
        graphics=None if at.graphics is None else values[at.graphics] / PERCENT_PER_RATIO,
        sm=None if at.sm is None else values[at.sm] / PERCENT_PER_RATIO,
        sm_occupancy=None if at.sm_occupancy is None else values[at.sm_occupancy] / PERCENT_PER_RATIO,
        tensor=None if at.tensor is None else values[at.tensor] / PERCENT_PER_RATIO,
        dram=None if at.dram is None else values[at.dram] / PERCENT_PER_RATIO,
    )


def activity_source(activity: Activity, metrics: Gpm) -> str | None:
    """``gpm`` where it gave activity, else ``nvml``; ``None`` where nobody could tell."""
    if any(metric in metrics for metric in _ACTIVITY_METRICS):
        return "gpm"
    return None if activity == _NO_ACTIVITY else "nvml"


def memory_of(values: Scalars) -> Memory:
    """Version 2 tells reserved memory apart; the older call counts it as used."""
    cells = values.get("memory")
    if cells is None:
        return Memory()
    if len(cells) == _MEMORY_V2_CELLS:
        _, total, reserved, _, used = cells
        return Memory(total, used, reserved)
    return Memory(cells[0], cells[2])


def power_of(values: Scalars, fields: Fields) -> Power:
    """Watts from milliwatts."""
    return Power(
        gpu_watts=_watts(_first(values.get("power_mw"))),
        instant_watts=_watts(fields.get("power_instant_mw")),
        average_watts=_watts(fields.get("power_average_mw")),
        module_watts=_watts(fields.get("module_power_mw")),
        limit_watts=_watts(_first(values.get("power_limit_mw"))),
    )


def thermals_of(values: Scalars, fields: Fields) -> Thermals:
    """Degrees; the versioned getter hands them out behind its version and sensor."""
    cells, memory = values.get("temperature"), fields.get("memory_celsius")
    return Thermals(None if cells is None else float(cells[-1]), None if memory is None else float(memory))


def clocks_of(values: Scalars) -> Clocks:
    """Hertz from megahertz."""
    return Clocks(
        sm_hertz=_hertz(values.get("clock_sm_mhz")),
        memory_hertz=_hertz(values.get("clock_memory_mhz")),
        graphics_hertz=_hertz(values.get("clock_graphics_mhz")),
        video_hertz=_hertz(values.get("clock_video_mhz")),
    )


def throttle_of(values: Scalars, fields: Fields) -> Throttle:
    """Reasons in force by name, and the nanosecond counters that the driver keeps."""
    bits = _first(values.get("throttle_reasons"))
    durations = {reason: int(fields[name]) for name, reason in _THROTTLE_NAMES if name in fields}
    return Throttle(frozenset() if bits is None else reasons_of(bits), durations)


def faults_of(fields: Fields) -> Faults:
    """Error counters, each present only where answered."""
    return Faults(
        ecc={key: int(fields[name]) for name, key in _ECC_NAMES if name in fields},
        remapped_rows={kind: int(fields[name]) for name, kind in _ROWS_NAMES if name in fields},
        remap_pending=_flag(fields.get("remap_pending")),
        remap_failure=_flag(fields.get("remap_failure")),
        pcie_replays=_whole(fields.get("pcie_replays")),
        nvlink_errors={kind: int(fields[name]) for name, kind in _NVLINK_NAMES if name in fields},
    )


def links_of(fields: Fields, metrics: Gpm) -> Links:
    """Bytes by the driver's counters, bytes per second by GPM."""
    return Links(
        pcie_rx_bytes_per_second=_rate(metrics.get(gpm.PCIE_RX)),
        pcie_tx_bytes_per_second=_rate(metrics.get(gpm.PCIE_TX)),
        nvlink_rx_bytes_per_second=_rate(metrics.get(gpm.NVLINK_RX)),
        nvlink_tx_bytes_per_second=_rate(metrics.get(gpm.NVLINK_TX)),
        pcie_rx_bytes=_whole(fields.get("pcie_rx_bytes")),
        pcie_tx_bytes=_whole(fields.get("pcie_tx_bytes")),
    )


def uptime_ns(values: Scalars) -> int | None:
    """The driver's whole seconds as nanoseconds."""
    seconds = _first(values.get("uptime_seconds"))
    return None if seconds is None else seconds * NS_PER_SECOND
