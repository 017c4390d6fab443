"""Who holds a context on a device, and each one's share of the SMs.

Owns the three process lists and the per-process utilization samples, read into arrays that are used again.
"""

import ctypes
import struct
from collections.abc import Sequence

import pynvml

from collectors.errors import Unsupported
from collectors.nvml_errors import Asking, raise_if_fatal
from collectors.nvml_library import Function, Library
from collectors.nvml_units import NS_PER_MICROSECOND, PERCENT_PER_RATIO
from collectors.readings import ProcessKind, ProcessReading, ShareSample

NO_INSTANCE = 0xFFFFFFFF
MEMORY_NOT_AVAILABLE = 0xFFFFFFFFFFFFFFFF

_PROCESS = struct.Struct("<I4xQII")
"""nvmlProcessInfo_v2_t, the same in _v3: pid, used memory, GPU instance, compute instance."""
_SAMPLE = struct.Struct("<I4xQIIII")
"""nvmlProcessUtilizationSample_t: pid, stamp in microseconds, SM, memory, encoder, decoder in percent."""
_ROOM = 64
_TRIES = 4
_STEP_NS = 500_000_000
"""A smaller change between the clocks is slewing, not a step."""
_KINDS: tuple[tuple[ProcessKind, str], ...] = (
    ("mps", "nvmlDeviceGetMPSComputeRunningProcesses"),
    ("compute", "nvmlDeviceGetComputeRunningProcesses"),
    ("graphics", "nvmlDeviceGetGraphicsRunningProcesses"),
)
"""In the order in which a process that stands in more than one list is called."""


class _List:
    """One of the driver's process lists."""

    def __init__(self, library: Library, handle: int, kind: ProcessKind, function: str) -> None:
        self.kind: ProcessKind = kind
        self.function = function
        self.asking = Asking()
        self._call = library.function(f"{function}_v3", f"{function}_v2")
        self._handle = ctypes.c_void_p(handle)
        self._count = ctypes.c_uint()
        self._make_room(_ROOM)

    def _make_room(self, room: int) -> None:
        self._room = room
        self._array = ctypes.create_string_buffer(room * _PROCESS.size)
        self._args = (self._handle, ctypes.byref(self._count), self._array)

    def read(self) -> tuple[int, bytes]:
        """The return code and the raw records; processes may come while the array is made larger."""
        if self._call is None:
            return pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, b""
        code = pynvml.NVML_ERROR_INSUFFICIENT_SIZE
        for _ in range(_TRIES):
            self._count.value = self._room
            code = self._call(*self._args)
            if code != pynvml.NVML_ERROR_INSUFFICIENT_SIZE:
                break
            self._make_room(2 * max(self._count.value, self._room))
        if code:
            return code, b""
        return code, ctypes.string_at(self._array, min(self._count.value, self._room) * _PROCESS.size)


class ProcessLists:
    """The processes of one device or MIG instance, each once."""

    def __init__(self, library: Library, handle: int, subject: str) -> None:
        self._subject = subject
        self._lists = [_List(library, handle, kind, function) for kind, function in _KINDS]
        self._seen: list[bytes] = []
        self._processes: tuple[ProcessReading, ...] = ()

    def forget_refusals(self) -> None:
        """Ask every list again at the next reading."""
        for one in self._lists:
            one.asking.forget()

    def read(self, now_ns: int) -> tuple[ProcessReading, ...] | None:
        """All processes, or ``None`` where a list that this device has could not be read.

        Raises:
            DeviceLost: the device is gone.
            DriverGone: the driver is.
        """
        records: list[bytes] = []
        answered = refused = False
        for one in self._lists:
            if not one.asking.due(now_ns):
                records.append(b"")
                refused = refused or not one.asking.unsupported
                continue
            code, raw = one.read()
            records.append(raw)
            if code == 0:
                answered = True
                continue
            kind = raise_if_fatal(code, f"{self._subject}: {one.function}")
            one.asking.refused(code, now_ns)
            refused = refused or kind is not Unsupported
        return self._merged(records) if answered and not refused else None

    def _merged(self, records: list[bytes]) -> tuple[ProcessReading, ...]:
        if records != self._seen:
            self._seen = records
            self._processes = _merge([(one.kind, raw) for one, raw in zip(self._lists, records, strict=True)])
        return self._processes


def _merge(lists: Sequence[tuple[ProcessKind, bytes]]) -> tuple[ProcessReading, ...]:
    found: dict[tuple[int, int, int], tuple[ProcessKind, int | None]] = {}
    for kind, raw in lists:
        for pid, memory, gpu_instance, compute_instance in _PROCESS.iter_unpack(raw):
            key = (pid, gpu_instance, compute_instance)
            used = None if memory == MEMORY_NOT_AVAILABLE else memory
            known, before = found.get(key, (kind, None))
            found[key] = (known, used if before is None else max(before, used or 0))
    return tuple(
        ProcessReading(pid, kind, used, _instance(gpu_instance), _instance(compute_instance))
        for (pid, gpu_instance, compute_instance), (kind, used) in found.items()
    )


def _instance(number: int) -> int | None:
    return None if number == NO_INSTANCE else number


class ShareSamples:
    """The samples of per-process SM share that are new since the last reading."""

    def __init__(self, library: Library, handle: int, subject: str) -> None:
        self._call = library.function("nvmlDeviceGetProcessUtilization")
        self._handle = ctypes.c_void_p(handle)
        self._subject = f"{subject}: nvmlDeviceGetProcessUtilization"
        self._asking = Asking()
        self._count = ctypes.c_uint()
        self._last_us = 0
        self._wall_less_monotonic_ns: int | None = None
        self._room = 0
        self._array: ctypes.Array[ctypes.c_char] | None = None

    def _make_room(self, room: int) -> None:
        self._room = room
        self._array = ctypes.create_string_buffer(room * _SAMPLE.size)

    def forget_refusals(self) -> None:
        """Ask again at the next reading."""
        self._asking.forget()

    def read(self, now_ns: int, wall_ns: int) -> tuple[ShareSample, ...]:
        """New samples; no new ones is the driver's SUCCESS with none, and its NOT_FOUND.

        Raises:
            DeviceLost: the device is gone.
            DriverGone: the driver is.
        """
        self._follow_the_wall_clock(wall_ns - now_ns)
        if self._call is None or not self._asking.due(now_ns):
            return ()
        code = self._fetch(self._call)
        if code == pynvml.NVML_ERROR_NOT_FOUND:
            return ()
        if code:
            raise_if_fatal(code, self._subject)
            self._asking.refused(code, now_ns)
            return ()
        if self._array is None:
            return ()
        return self._new(ctypes.string_at(self._array, min(self._count.value, self._room) * _SAMPLE.size))

    def _fetch(self, call: Function) -> int:
        """Without an array the driver tells how much room it wants, as nvml.h has it; that is asked once."""
        code = pynvml.NVML_ERROR_INSUFFICIENT_SIZE
        for _ in range(_TRIES):
            self._count.value = self._room
            code = call(self._handle, self._array, ctypes.byref(self._count), ctypes.c_ulonglong(self._last_us))
            if code != pynvml.NVML_ERROR_INSUFFICIENT_SIZE:
                break
            self._make_room(2 * max(self._count.value, self._room, _ROOM // 2))
        return code

    def _new(self, raw: bytes) -> tuple[ShareSample, ...]:
        last_us = self._last_us
        samples = tuple(
            ShareSample(pid, stamp_us, sm / PERCENT_PER_RATIO)
            for pid, stamp_us, sm, *_ in _SAMPLE.iter_unpack(raw)
            if stamp_us > last_us
        )
        self._last_us = max((sample.timestamp_us for sample in samples), default=last_us)
        return samples

    def _follow_the_wall_clock(self, wall_less_monotonic_ns: int) -> None:
        """The driver stamps by the wall clock: when that steps back, samples would look old until it caught up."""
        before = self._wall_less_monotonic_ns
        self._wall_less_monotonic_ns = wall_less_monotonic_ns
        if before is not None and wall_less_monotonic_ns < before - _STEP_NS:
            self._last_us = max(0, self._last_us - (before - wall_less_monotonic_ns) // NS_PER_MICROSECOND)
