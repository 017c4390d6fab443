"""Getters of one value or one small array, called at every sweep with buffers made once.

Owns the table of these getters, with what to call where a driver's version lacks the first choice.
"""

import ctypes
from dataclasses import dataclass

from collectors.errors import Unsupported
from collectors.nvml_errors import Asking, raise_if_fatal
from collectors.nvml_library import Function, Library

_UINT = ctypes.c_uint
_INT = ctypes.c_int
_ULONG = ctypes.c_ulonglong
Cell = type[ctypes.c_uint] | type[ctypes.c_int] | type[ctypes.c_ulonglong]


@dataclass(frozen=True, slots=True)
class Shape:
    """How one function hands out its values."""

    function: str
    cell: Cell = _UINT
    cells: int = 1
    inputs: tuple[int, ...] = ()
    apart: bool = False
    """Each cell has a pointer of its own, instead of one pointer to all."""
    version: int = 0
    """Struct version to put in the first cell before each call."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One question and the ways to put it, best first."""

    name: str
    shapes: tuple[Shape, ...]


def _one(name: str, *functions: str, cell: Cell = _UINT, inputs: tuple[int, ...] = ()) -> Scalar:
    return Scalar(name, tuple(Shape(function, cell, inputs=inputs) for function in functions))


def _with_period(name: str, function: str) -> Scalar:
    return Scalar(name, (Shape(function, cells=2, apart=True),))


_CLOCK_GRAPHICS, _CLOCK_SM, _CLOCK_MEMORY, _CLOCK_VIDEO = range(4)
_MEMORY_V2 = 0x02000028
_TEMPERATURE_V1 = 0x0100000C

ENERGY = _one("energy_mj", "nvmlDeviceGetTotalEnergyConsumption", cell=_ULONG)
MEMORY = Scalar(
    "memory",
    (
        # version, total, reserved, free, used
        Shape("nvmlDeviceGetMemoryInfo_v2", _ULONG, cells=5, version=_MEMORY_V2),
        # total, free, used; used includes what is reserved
        Shape("nvmlDeviceGetMemoryInfo", _ULONG, cells=3),
    ),
)
ACTIVITY = (
    Scalar("utilization", (Shape("nvmlDeviceGetUtilizationRates", cells=2),)),
    _with_period("encoder", "nvmlDeviceGetEncoderUtilization"),
    _with_period("decoder", "nvmlDeviceGetDecoderUtilization"),
    _with_period("jpeg", "nvmlDeviceGetJpgUtilization"),
    _with_period("ofa", "nvmlDeviceGetOfaUtilization"),
)
STATE = (
    _one("power_mw", "nvmlDeviceGetPowerUsage"),
    _one("power_limit_mw", "nvmlDeviceGetEnforcedPowerLimit"),
    MEMORY,
    Scalar(
        "temperature",
        (
            Shape("nvmlDeviceGetTemperature", _INT, inputs=(0,)),
            # version, sensor, degrees
            Shape("nvmlDeviceGetTemperatureV", _INT, cells=3, version=_TEMPERATURE_V1),
        ),
    ),
    _one("clock_sm_mhz", "nvmlDeviceGetClockInfo", inputs=(_CLOCK_SM,)),
    _one("clock_memory_mhz", "nvmlDeviceGetClockInfo", inputs=(_CLOCK_MEMORY,)),
    _one("clock_graphics_mhz", "nvmlDeviceGetClockInfo", inputs=(_CLOCK_GRAPHICS,)),
    _one("clock_video_mhz", "nvmlDeviceGetClockInfo", inputs=(_CLOCK_VIDEO,)),
    _one(
        "throttle_reasons",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
        cell=_ULONG,
    ),
    _one("uptime_seconds", "nvmlDeviceGetGpuUptime_v1"),
    Scalar("mig_mode", (Shape("nvmlDeviceGetMigMode", cells=2, apart=True),)),
)


class _Getter:
    """One scalar of one device, bound to its buffer."""

    __slots__ = ("args", "asking", "buffer", "call", "name", "shape", "version")

    def __init__(self, name: str, shape: Shape, call: Function, handle: int) -> None:
        self.name = name
        self.shape = shape
        self.call = call
        self.asking = Asking()
        self.version = shape.version
        self.buffer = (shape.cell * shape.cells)()
        size = ctypes.sizeof(shape.cell)
        pointers = [ctypes.byref(self.buffer, size * at) for at in range(shape.cells if shape.apart else 1)]
        self.args = (ctypes.c_void_p(handle), *map(ctypes.c_uint, shape.inputs), *pointers)


class ScalarBatch:
    """The scalars of one device (or MIG instance), read one after another."""

    def __init__(self, library: Library, handle: int, subject: str, scalars: tuple[Scalar, ...]) -> None:
        self._library = library
        self._handle = handle
        self._subject = subject
        self._scalars = scalars
        self._waiting: list[_Getter] = []
        self._live = self._bind_all()

    def _bind_all(self) -> list[_Getter]:
        getters = (self._bind(scalar.name, scalar.shapes) for scalar in self._scalars)
        return [getter for getter in getters if getter is not None]

    def _bind(self, name: str, shapes: tuple[Shape, ...]) -> _Getter | None:
        for shape in shapes:
            call = self._library.function(shape.function)
            if call is not None:
                return _Getter(name, shape, call, self._handle)
        return None

    def forget_refusals(self) -> None:
        """Ask everything again at the next reading."""
        self._waiting = []
        self._live = self._bind_all()

    def read(self, now_ns: int) -> dict[str, list[int]]:
        """Each value that could be read, as the cells of its buffer.

        Raises:
            DeviceLost: the device is gone.
            DriverGone: the driver is.
        """
        if self._waiting:
            self._take_back(now_ns)
        values: dict[str, list[int]] = {}
        failed: list[tuple[_Getter, int]] = []
        for getter in self._live:
            buffer = getter.buffer
            if getter.version:
                buffer[0] = getter.version
            code = getter.call(*getter.args)
            if code:
                failed.append((getter, code))
            else:
                values[getter.name] = buffer[:]
        for getter, code in failed:
            self._failed(getter, code, now_ns, values)
        return values

    def _failed(self, getter: _Getter, code: int, now_ns: int, values: dict[str, list[int]]) -> None:
        """Sort out one refusal; a value that has another way to be read is read that way at once."""
        kind = raise_if_fatal(code, f"{self._subject}: {getter.shape.function}")
        getter.asking.refused(code, now_ns)
        if getter.asking.due(now_ns):
            return
        self._live.remove(getter)
        if kind is not Unsupported:
            self._waiting.append(getter)
            return
        other = self._bind(getter.name, self._shapes_after(getter))
        if other is None:
            return
        self._live.append(other)
        if other.version:
            other.buffer[0] = other.version
        code = other.call(*other.args)
        if code:
            self._failed(other, code, now_ns, values)
        else:
            values[other.name] = other.buffer[:]

    def _shapes_after(self, getter: _Getter) -> tuple[Shape, ...]:
        shapes = next(scalar.shapes for scalar in self._scalars if scalar.name == getter.name)
        return shapes[shapes.index(getter.shape) + 1 :]

    def _take_back(self, now_ns: int) -> None:
        due = [getter for getter in self._waiting if getter.asking.due(now_ns)]
        self._waiting = [getter for getter in self._waiting if getter not in due]
        self._live.extend(due)
