"""XIDs: a thread that waits on NVML's event set, for as long as the source lives.

Owns the event set and every call on it, so that nobody else ever waits in there. It outlives device losses and driver
reloads: it is told which devices to watch, and builds its set anew when these change.
"""

import ctypes
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import pynvml

from collectors.nvml_errors import DriverGone, error_class
from collectors.nvml_library import Library
from collectors.readings import XidEvent

XID = 0x8
WAIT_MS = 500
"""How long one wait in the driver lasts: the longest that a change of devices, or the end, may have to wait."""
PAUSE_SECONDS = 1.0
KEPT = 4096
"""XIDs kept for the reader; a reader that never comes must not cost memory."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A device to watch; ``appearance`` tells one stay on the bus from the next."""

    handle: int
    uuid: str
    appearance: int


class _EventData(ctypes.Structure):
    """nvmlEventData_t."""

    _fields_ = (
        ("device", ctypes.c_void_p),
        ("event_type", ctypes.c_ulonglong),
        ("event_data", ctypes.c_ulonglong),
        ("gpu_instance_id", ctypes.c_uint),
        ("compute_instance_id", ctypes.c_uint),
    )
    device: int | None
    event_type: int
    event_data: int


class XidListener:
    """Collects XIDs of the watched devices."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._events: deque[XidEvent] = deque(maxlen=KEPT)
        self._wanted: tuple[Watched, ...] = ()
        self._wishes = 0
        self._wishes_met = 0
        self._watching: tuple[Watched, ...] = ()
        self._changed = threading.Event()
        self._settled = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._data = _EventData()
        self._set: ctypes.c_void_p | None = None

    def watch(self, devices: Sequence[Watched]) -> None:
        """Watch exactly these devices from now on; returns at once."""
        wanted = tuple(devices)
        if wanted == self._wanted:
            return
        with self._settled:
            self._wanted = wanted
            self._wishes += 1
        self._changed.set()
        if wanted and not self._running():
            self._closed = False
            self._thread = threading.Thread(target=self._run, name="nvml-xid", daemon=True)
            self._thread.start()

    def _running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def let_go(self, seconds: float) -> bool:
        """Leave the driver, as before its shutdown; false where the thread is still inside after ``seconds``."""
        self.watch(())
        with self._settled:
            return self._settled.wait_for(
                lambda: self._wishes_met == self._wishes or not self._running(), timeout=seconds
            )

    def drain(self) -> tuple[XidEvent, ...]:
        """What came in since the last call."""
        return tuple(self._events.popleft() for _ in range(len(self._events)))

    def close(self, seconds: float) -> None:
        """End the thread."""
        self.let_go(seconds)
        self._closed = True
        self._changed.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._closed:
            if self._wishes_met != self._wishes:
                self._change()
            if self._set is None:
                self._changed.wait()
                self._changed.clear()
            else:
                self._wait(self._set)

    def _wait(self, event_set: ctypes.c_void_p) -> None:
        code = self._next(event_set, WAIT_MS)
        if code in (pynvml.NVML_SUCCESS, pynvml.NVML_ERROR_TIMEOUT):
            return
        if error_class(code) is DriverGone:
            self._set = None
            return
        # A lost device makes every wait fail at once; the next discovery takes it off the list.
        self._changed.wait(PAUSE_SECONDS)
        self._changed.clear()

    def _next(self, event_set: ctypes.c_void_p, wait_ms: int) -> int:
        wait = self._library.function("nvmlEventSetWait_v2")
        if wait is None:
            return pynvml.NVML_ERROR_UNINITIALIZED
        code = wait(event_set, ctypes.byref(self._data), ctypes.c_uint(wait_ms))
        if code == pynvml.NVML_SUCCESS and self._data.event_type & XID:
            self._events.append(XidEvent(self._uuid_of(self._data.device), int(self._data.event_data)))
        return code

    def _uuid_of(self, handle: int | None) -> str:
        return next((device.uuid for device in self._watching if device.handle == handle), "unknown")

    def _change(self) -> None:
        """Take what is still in the old set, then build the new one."""
        with self._settled:
            wanted, wish = self._wanted, self._wishes
        if self._set is not None:
            while self._next(self._set, 0) == pynvml.NVML_SUCCESS:
                pass
            self._free(self._set)
        self._set = self._new_set(wanted) if wanted else None
        self._watching = wanted
        with self._settled:
            self._wishes_met = wish
            self._settled.notify_all()

    def _free(self, event_set: ctypes.c_void_p) -> None:
        free = self._library.function("nvmlEventSetFree")
        if free is not None:
            free(event_set)

    def _new_set(self, devices: Sequence[Watched]) -> ctypes.c_void_p | None:
        create = self._library.function("nvmlEventSetCreate")
        register = self._library.function("nvmlDeviceRegisterEvents")
        event_set = ctypes.c_void_p()
        if create is None or register is None or create(ctypes.byref(event_set)):
            return None
        arguments = (ctypes.c_ulonglong(XID), event_set)
        codes = [register(ctypes.c_void_p(device.handle), *arguments) for device in devices]
        if 0 in codes:
            return event_set
        self._free(event_set)
        return None
