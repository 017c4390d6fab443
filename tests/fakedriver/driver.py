"""The fake NVIDIA driver as tests use it: made, steered, loaded, and asked for the truth."""

import contextlib
import ctypes
import importlib
import os
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakedriver import build, layout
from tests.fakedriver.build import FakeDriverUnavailable
from tests.fakedriver.control import Block, LayoutMismatch
from tests.fakedriver.device import FakeDevice
from tests.fakedriver.migs import FakeMig
from tests.fakedriver.profiles import DeviceProfile
from tests.fakedriver.readings import Process, Readings, Segment, Signals

__all__ = [
    "FakeDevice",
    "FakeDriver",
    "FakeDriverUnavailable",
    "FakeMig",
    "LayoutMismatch",
    "Process",
    "Readings",
    "Segment",
    "Signals",
]
ENVIRONMENT = "WATTLEDGER_FAKE_NVML"
MANUAL_WALL_NS = 1_767_225_600_000_000_000
"""The wall clock at ``start_ns`` of an injected clock: 2026-01-01T00:00:00Z."""
FIRST_WITH_NEW_FIELDS = 570


class FakeDriver:
    """A driver with its devices. Make it with :meth:`create`."""

    def __init__(self, block: Block, devices: Sequence[FakeDevice]) -> None:
        self._block = block
        self.devices = tuple(devices)

    @classmethod
    def create(
        cls,
        directory: Path,
        devices: Sequence[DeviceProfile],
        *,
        version: str = "580.95.05",
        cuda: int = 13_000,
        start_ns: int | None = None,
        uptime_seconds: float = 3600,
        energy_start_mj: int = 123_456_789,
        missing_symbols: Sequence[str] = (),
    ) -> Self:
        """A driver whose control file lies in ``directory``; its devices are idle.

        Args:
            directory: an existing folder; one driver in each.
            devices: what the boards are, in the driver's order (see ``profiles``).
            version: below 570 the slowdown counters answer as fields 251-253 instead of 269-271.
            cuda: as ``nvmlSystemGetCudaDriverVersion`` has it.
            start_ns: an injected clock, standing there until the test moves it; ``None``: CLOCK_BOOTTIME.
            uptime_seconds: how long ago the driver was loaded.
            energy_start_mj: what the energy counters say at the beginning.
            missing_symbols: functions that this build of the library does not export.

        Raises:
            FakeDriverUnavailable: gcc or nvml.h is missing; the message gives the remedy.
            ValueError: too many devices, or a name in ``missing_symbols`` that the fake does not know.
        """
        if len(devices) > layout.MAX_DEVICES:
            raise ValueError(f"{len(devices)} devices; the fake driver holds {layout.MAX_DEVICES}")
        block = Block(directory / "fake_nvml.control", build.library(tuple(missing_symbols)))
        control = block.control
        control.manual_clock, control.now_ns = start_ns is not None, start_ns or 0
        wall_ns = MANUAL_WALL_NS if start_ns is not None else time.time_ns()
        now_ns = block.now_ns()
        control.wall_offset_ns = wall_ns - now_ns
        control.cuda_version, control.device_count = cuda, len(devices)
        driver = cls(block, [FakeDevice(block, i, profile, energy_start_mj) for i, profile in enumerate(devices)])
        for device in driver.devices:
            device.begin(now_ns, round(uptime_seconds * 1e9))
        driver._set_version(version)
        control.generation, control.loaded = 1, 1
        return driver

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing hangs any more, and every call answers that no driver is loaded."""
        self._block.control.loaded = 0
        self.clear_faults()

    def device(self, index: int) -> FakeDevice:
        """The device of that index, as created."""
        return self.devices[index]

    @property
    def library_path(self) -> Path:
        """The built ``libnvidia-ml.so.1``."""
        return self._block.library.path

    @property
    def control_path(self) -> Path:
        """The control file."""
        return self._block.path

    # Loading

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment, to find this driver when it loads NVML."""
        paths = [str(self.library_path.parent), os.environ.get("LD_LIBRARY_PATH", "")]
        return {ENVIRONMENT: str(self.control_path), "LD_LIBRARY_PATH": ":".join(path for path in paths if path)}

    @contextlib.contextmanager
    def load_into_pynvml(self) -> Generator[Any]:
        """pynvml of this process uses this driver; yields the module, and leaves it as it was found."""
        pynvml: Any = importlib.import_module("pynvml")
        saved = pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache), pynvml._nvmlLib_refcount
        outside = os.environ.get(ENVIRONMENT)
        os.environ[ENVIRONMENT] = str(self.control_path)
        _plug(pynvml, ctypes.CDLL(str(self.library_path)), {}, 0)
        self._block.reset_library()
        try:
            yield pynvml
        finally:
            self.release()
            self._block.reset_library()
            _plug(pynvml, *saved)
            if outside is None:
                del os.environ[ENVIRONMENT]
            else:
                os.environ[ENVIRONMENT] = outside

    # Clocks

    def now_ns(self) -> int:
        """The driver's clock: CLOCK_BOOTTIME, or the injected one."""
        return int(self._block.now_ns())

    def wall_ns(self) -> int:
        """The wall clock that the driver stamps samples with."""
        return int(self._block.now_ns() + self._block.control.wall_offset_ns)

    def set_now_ns(self, now_ns: int) -> None:
        """Move the injected clock there.

        Raises:
            ValueError: this driver runs on CLOCK_BOOTTIME.
        """
        if not self._block.control.manual_clock:
            raise ValueError("this driver runs on CLOCK_BOOTTIME; create it with start_ns=... to move its clock")
        self._block.control.now_ns = now_ns

    def advance(self, seconds: float = 0, *, ns: int = 0) -> int:
        """Move the injected clock on; returns what it then says."""
        self.set_now_ns(self.now_ns() + round(seconds * 1e9) + ns)
        return self.now_ns()

    def step_wall(self, seconds: float) -> None:
        """The wall clock steps, either way."""
        self._block.control.wall_offset_ns += round(seconds * 1e9)

    # The driver comes and goes

    def _set_version(self, version: str) -> None:
        self._block.control.driver_version = version.encode()
        self._block.control.old_slowdown_fields = int(version.partition(".")[0]) < FIRST_WITH_NEW_FIELDS

    def unload(self) -> None:
        """Every call answers DRIVER_NOT_LOADED from now on."""
        self._block.control.loaded = 0
        self._block.announce()

    def load(self, version: str | None = None) -> None:
        """Loaded anew: counters and uptime from 0, old handles good for nothing, UNINITIALIZED until nvmlInit."""
        now_ns = self.now_ns()
        for device in self.devices:
            device.loaded(now_ns)
        if version is not None:
            self._set_version(version)
        self._block.control.generation += 1
        self._block.control.loaded = 1
        self._block.announce()

    def reload(self, version: str | None = None) -> None:
        """Unloaded and loaded again."""
        self.unload()
        self.load(version)

    # What goes wrong

    def fail(self, function: str, code: int) -> None:
        """That function answers this code, whatever the device; 0: no longer."""
        self._block.control.cells[self._block.function_id(function)] = code

    def hang(self, function: str) -> None:
        """Calls of that function do not return until :meth:`release`."""
        self._block.control.cells[self._block.function_id(function)] |= layout.HANG_BIT

    def release(self) -> None:
        """All calls that hang return, on all devices."""
        for place in range(len(self._block.library.functions)):
            self._block.control.cells[place] &= ~layout.HANG_BIT
        for device in self.devices:
            device.release()
        self._block.announce()

    def clear_faults(self) -> None:
        """No faults, hangs or delays any more, on all devices."""
        self._block.control.cells[:] = [0] * layout.MAX_FUNCTIONS
        for device in self.devices:
            device.clear_faults()
        self._block.announce()

    # What was called

    def calls(self) -> dict[str, int]:
        """Calls by function since the beginning or :meth:`reset_calls`, by all processes."""
        counts = self._block.control.calls
        return {name: counts[i] for i, name in enumerate(self._block.library.functions) if counts[i]}

    def reset_calls(self) -> None:
        """Count from 0 again."""
        empty = [0] * layout.MAX_FUNCTIONS
        self._block.control.calls[:] = empty
        for i in range(len(self.devices)):
            self._block.control.devices[i].calls[:] = empty

    def violations(self) -> dict[str, int]:
        """Calls of any function of ``nvml.h`` that would have changed something."""
        setters = build.setters(build.nvml_header().read_text())
        return {name: count for name, count in self.calls().items() if name in setters}


def _plug(pynvml: Any, library: Any, cache: dict[str, Any], count: int) -> None:
    pynvml.nvmlLib = library
    pynvml._nvmlGetFunctionPointer_cache.clear()  # pynvml has no way of its own to let go of a library
    pynvml._nvmlGetFunctionPointer_cache.update(cache)
    pynvml._nvmlLib_refcount = count
