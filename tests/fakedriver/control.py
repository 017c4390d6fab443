"""The mapped control block from the writer's side: published under a sequence lock, announced to those who wait."""

import contextlib
import ctypes
import mmap
import struct
import threading
import time
from collections.abc import Generator
from pathlib import Path

from tests.fakedriver import layout
from tests.fakedriver.build import Library
from tests.fakedriver.tracks import Timeline

_STEP = struct.Struct("<qQQQ")
_LOW = 2**64 - 1
_KEPT_NS = 120_000_000_000
"""History that stays when the pool of steps is full: beyond any window or sample that the library looks back to."""


class LayoutMismatch(RuntimeError):  # noqa: N818  (named for what it says)
    """The built library has another idea of the control block than this Python code."""


def parts(value: int) -> tuple[int, int]:
    """128 bits as the block holds them: low, high."""
    return value & _LOW, value >> 64


class Block:
    """The control block, mapped."""

    def __init__(self, path: Path, library: Library) -> None:
        size = ctypes.sizeof(layout.Control)
        with path.open("w+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self.path = path
        self.library = library
        self.lock = threading.RLock()
        self.control = layout.Control.from_buffer(self._map)
        self._code = ctypes.CDLL(str(library.path))
        self._code.wattledger_fake_layout_hash.restype = ctypes.c_uint64
        self._function_ids = {name: i for i, name in enumerate(library.functions)}
        expected = layout.layout_hash(library.functions)
        if self._code.wattledger_fake_layout_hash() != expected:
            raise LayoutMismatch(f"{library.path} was built from another layout.py: remove its folder")
        self.control.layout_hash = expected
        self.control.size = size
        self.control.magic = layout.MAGIC

    def now_ns(self) -> int:
        """The driver's clock."""
        return self.control.now_ns if self.control.manual_clock else time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def announce(self) -> None:
        """Wake everybody who waits for an event or hangs."""
        self._code.wattledger_fake_announce(ctypes.byref(self.control))

    def reset_library(self) -> None:
        """Make the library forget in this process that it was initialised."""
        self._code.wattledger_fake_reset()

    def function_id(self, name: str) -> int:
        """A function's place in the tables.

        Raises:
            ValueError: the fake has no such function.
        """
        try:
            return self._function_ids[name]
        except KeyError:
            raise ValueError(f"the fake driver has no function {name}") from None

    @contextlib.contextmanager
    def writing(self, device: layout.Device) -> Generator[None]:
        """Readers of the device's tracks wait or read again while this is open.

        A reader takes its time inside its own half of the lock, so a change that takes effect at a time taken in here
        can never be seen by a reading before it: counters do not fall, and the twin's truth is what was read.
        """
        seq = ctypes.byref(device, layout.Device.seq.offset)
        with self.lock:
            self._code.wattledger_fake_begin_write(seq)
            try:
                yield
            finally:
                self._code.wattledger_fake_end_write(seq)

    def _steps_offset(self, device_index: int, step: int) -> int:
        device = layout.Control.devices.offset + device_index * ctypes.sizeof(layout.Device)
        return device + layout.Device.steps.offset + step * _STEP.size

    def write_steps(self, device_index: int, first: int, timeline: Timeline) -> None:
        """Put a timeline's steps into the device's pool."""
        packed = b"".join(_STEP.pack(start, value, *parts(cum)) for start, value, cum in timeline.shown())
        offset = self._steps_offset(device_index, first)
        self._map[offset : offset + len(packed)] = packed


class Pool:
    """Where each track's steps lie in a device's pool; packs it anew when it is full."""

    def __init__(self, block: Block, index: int) -> None:
        self._block = block
        self._index = index
        self._device = block.control.devices[index]
        self._regions: dict[int, tuple[int, int]] = {}
        self._free = 0
        self.timelines: dict[int, Timeline] = {}

    def timeline(self, track: int) -> Timeline:
        """The timeline of a track, empty at first."""
        return self.timelines.setdefault(track, Timeline())

    def publish(self, tracks: set[int]) -> None:
        """Show the library what these tracks now hold; call within :meth:`Block.writing`.

        Raises:
            ValueError: the device's scripts have more steps than the block has room for.
        """
        for track in sorted(tracks):
            if not self._place(track, len(self.timelines[track].shown())):
                self._repack()
                return
        for track in tracks:
            self._write(track)

    def _place(self, track: int, count: int) -> bool:
        if count <= self._regions.get(track, (0, 0))[1]:
            return True
        capacity = count + min(count, 64) + 8
        if self._free + capacity > layout.MAX_STEPS:
            return False
        self._regions[track] = (self._free, capacity)
        self._free += capacity
        return True

    def _repack(self) -> None:
        horizon = self._block.now_ns() - _KEPT_NS
        for timeline in self.timelines.values():
            timeline.forget(horizon)
        needed = sum(len(timeline.shown()) + 72 for timeline in self.timelines.values())
        if needed > layout.MAX_STEPS:
            raise ValueError(f"the device's scripts need room for {needed} steps; there is room for {layout.MAX_STEPS}")
        self._regions, self._free = {}, 0
        for track, timeline in self.timelines.items():
            self._place(track, len(timeline.shown()))
        for track in self.timelines:
            self._write(track)

    def _write(self, track: int) -> None:
        timeline = self.timelines[track]
        self._block.write_steps(self._index, self._regions[track][0], timeline)
        slot = self._device.tracks[track]
        slot.first, slot.count = self._regions[track][0], len(timeline.shown())
        slot.loop_start_ns, slot.loop_period_ns = timeline.loop_start_ns, timeline.loop_period_ns
        slot.loop_cum[:] = parts(timeline.loop_cum)
