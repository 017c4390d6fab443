"""GPM: what the parts of a Hopper or newer chip did between two samples of its counters.

Owns two sample buffers for each device or MIG GPU instance, and one metrics struct for each device with its instances.
At each reading one new sample is taken and held against that of an earlier reading, so nothing waits. Must never turn
streaming on.
"""

import ctypes
import struct
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple

import pynvml

from collectors.errors import Unsupported
from collectors.nvml_errors import Asking, error_class, raise_if_fatal
from collectors.nvml_library import Function, Library

SHORTEST_NS = 100_000_000
"""The counters refresh every 100 ms: samples must lie further apart (nvml.h, nvmlGpmMetricsGet)."""
METRICS_VERSION = 1
SUPPORT_VERSION = 1

GRAPHICS, SM, SM_OCCUPANCY, TENSOR, DRAM = 1, 2, 3, 5, 10
PCIE_TX, PCIE_RX, NVLINK_RX, NVLINK_TX = 20, 21, 60, 61
DECODERS = tuple(range(30, 38))
JPEGS = tuple(range(40, 48))
OFAS = (50, 51)
ENCODERS = tuple(range(166, 170))
DEVICE_METRICS = (GRAPHICS, SM, SM_OCCUPANCY, TENSOR, DRAM, PCIE_TX, PCIE_RX, NVLINK_RX, NVLINK_TX)
INSTANCE_METRICS = (GRAPHICS, SM, SM_OCCUPANCY, TENSOR, DRAM, *DECODERS, *JPEGS, *OFAS, *ENCODERS)
"""A MIG instance has no utilization getters, so its media engines are read here too, engine by engine."""

_HEAD = struct.Struct("<IIQQ")
"""version, numMetrics, sample1, sample2"""
_HEAD_BYTES = _HEAD.size
_METRIC = struct.Struct("<II32x")
_METRIC_ROOM = 40 * 512
"""Room for as many metrics as any driver's struct has; only numMetrics of them are touched."""
_UNANSWERED = 0xFFFFFFFF


class GpmAnswer(NamedTuple):
    """The metrics that were answered and their values, side by side; none where samples are too close or missing."""

    metrics: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    def by_metric(self) -> dict[int, float]:
        """Value by metric."""
        return dict(zip(self.metrics, self.values, strict=True))


_NOTHING = GpmAnswer()


def _scratch() -> "ctypes.Array[ctypes.c_char]":
    return ctypes.create_string_buffer(_HEAD_BYTES + _METRIC_ROOM)


@dataclass(frozen=True, slots=True)
class GpmFunctions:
    """The driver's GPM, where it has all of it, and one metrics struct for a device and its instances."""

    alloc: Function
    free: Function
    sample: Function
    mig_sample: Function
    metrics: Function
    scratch: "ctypes.Array[ctypes.c_char]" = field(default_factory=_scratch)

    @classmethod
    def of(cls, library: Library) -> "GpmFunctions | None":
        """``None`` for a driver from before GPM. One for each device: they are read in different threads."""
        names = ("SampleAlloc", "SampleFree", "SampleGet", "MigSampleGet", "MetricsGet")
        found = [library.function(f"nvmlGpm{name}") for name in names]
        alloc, free, sample, mig_sample, metrics = found
        if alloc and free and sample and mig_sample and metrics:
            return cls(alloc, free, sample, mig_sample, metrics)
        return None


def supports_gpm(library: Library, handle: int, subject: str) -> bool:
    """Whether this device has GPM at all.

    Raises:
        DeviceLost: the device is gone.
        DriverGone: the driver is.
    """
    query = library.function("nvmlGpmQueryDeviceSupport")
    if query is None:
        return False
    answer = (ctypes.c_uint * 2)(SUPPORT_VERSION, 0)
    if code := query(ctypes.c_void_p(handle), ctypes.byref(answer)):
        raise_if_fatal(code, f"{subject}: nvmlGpmQueryDeviceSupport")
        return False
    return bool(answer[1])


class GpmSampler:
    """The metrics of one device, or of one GPU instance where ``gpu_instance_id`` is given."""

    def __init__(
        self,
        functions: GpmFunctions,
        handle: int,
        subject: str,
        metrics: tuple[int, ...],
        gpu_instance_id: int | None = None,
    ) -> None:
        self._functions = functions
        self._subject = f"{subject}: GPM"
        self._asking = Asking()
        self._base: ctypes.c_void_p | None = None
        self._spare: ctypes.c_void_p | None = None
        self._base_ns = 0
        self._struct = functions.scratch
        self._requests: dict[int, bytes] = {}
        """The struct as it is asked with, by the number of the earlier sample's buffer."""
        self._all_metrics = metrics
        self._ask_for(metrics)
        instance = () if gpu_instance_id is None else (ctypes.c_uint(gpu_instance_id),)
        self._take = functions.mig_sample if instance else functions.sample
        self._args = (ctypes.c_void_p(handle), *instance)

    def _ask_for(self, metrics: tuple[int, ...]) -> None:
        self._metrics = metrics
        self._requests = {}
        self._layout = struct.Struct("<" + "4xId24x" * len(metrics))

    def forget_refusals(self) -> None:
        """Ask for every metric again at the next reading."""
        self._asking.forget()
        self._ask_for(self._all_metrics)

    def read(self, now_ns: int) -> GpmAnswer:
        """The metrics over the time since the last sample.

        Raises:
            DeviceLost: the device is gone.
            DriverGone: the driver is.
        """
        if not self._asking.due(now_ns) or not self._metrics:
            return _NOTHING
        if self._base is not None and now_ns - self._base_ns <= SHORTEST_NS:
            return _NOTHING
        sample = self._spare = self._spare or self._new_sample(now_ns)
        if sample is None or self._refused(self._take(*self._args, sample), now_ns):
            return _NOTHING
        before, self._base, self._base_ns = self._base, sample, now_ns
        self._spare = before
        return _NOTHING if before is None else self._between(before, sample, now_ns)

    def restart(self) -> None:
        """Compare with nothing that was sampled before."""
        if self._spare is None:
            self._spare = self._base
        elif self._base is not None:
            self._functions.free(self._base)
        self._base = None
        self._requests = {}

    def free(self) -> None:
        """Give the sample buffers back; only while no reading is under way."""
        for sample in (self._base, self._spare):
            if sample is not None:
                self._functions.free(sample)
        self._base = self._spare = None
        self._requests = {}

    def _new_sample(self, now_ns: int) -> ctypes.c_void_p | None:
        sample = ctypes.c_void_p()
        return None if self._refused(self._functions.alloc(ctypes.byref(sample)), now_ns) else sample

    def _between(self, before: ctypes.c_void_p, after: ctypes.c_void_p, now_ns: int) -> GpmAnswer:
        request = self._requests.get(id(before)) or self._request(before, after)
        ctypes.memmove(self._struct, request, len(request))
        if self._refused(self._functions.metrics(self._struct), now_ns):
            return _NOTHING
        raw = self._layout.unpack_from(self._struct, _HEAD_BYTES)
        codes: tuple[int, ...] = raw[0::2]
        answers: tuple[float, ...] = raw[1::2]
        if not any(codes) and isfinite(sum(answers)):
            return GpmAnswer(self._metrics, answers)
        found = zip(self._metrics, codes, answers, strict=True)
        known = [(metric, value) for metric, code, value in found if code == 0 and isfinite(value)]
        if any(codes):
            self._drop_unsupported(codes)
        return GpmAnswer(tuple([metric for metric, _ in known]), tuple([value for _, value in known]))

    def _request(self, before: ctypes.c_void_p, after: ctypes.c_void_p) -> bytes:
        """Two buffers take turns, so there are two requests."""
        head = _HEAD.pack(METRICS_VERSION, len(self._metrics), before.value or 0, after.value or 0)
        made = head + b"".join([_METRIC.pack(metric, _UNANSWERED) for metric in self._metrics])
        self._requests[id(before)] = made
        return made

    def _drop_unsupported(self, codes: tuple[int, ...]) -> None:
        answers = zip(self._metrics, codes, strict=True)
        kept = tuple(metric for metric, code in answers if code == 0 or error_class(code) is not Unsupported)
        if kept != self._metrics:
            self._ask_for(kept)

    def _refused(self, code: int, now_ns: int) -> bool:
        if code == pynvml.NVML_SUCCESS:
            return False
        raise_if_fatal(code, self._subject)
        self._asking.refused(code, now_ns)
        return True
