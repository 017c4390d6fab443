"""Signals over time, as a test scripts them, and their truth."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal, Unpack

from tests.fakedriver import layout
from tests.fakedriver.control import Block, Pool
from tests.fakedriver.readings import ACTIVE, Segment, Signals, block_values

Then = Literal["off", "hold", "repeat"]
SIGNAL_PLACE = {name: i for i, name in enumerate(layout.SIGNALS)}


class Scripted:
    """Signals over time: of a device, or of a MIG instance."""

    def __init__(self, block: Block, pool: Pool, device: layout.Device, first_track: int) -> None:
        self._block = block
        self._pool = pool
        self._device = device
        self._first = first_track

    def _track(self, name: str) -> int:
        return self._first + SIGNAL_PLACE[name]

    def _show(self, changes: Sequence[tuple[int, Mapping[str, int]]], loop: tuple[int, int] | None = None) -> None:
        """Put values in force at their instants; call within :meth:`Block.writing`."""
        names = {name for _, values in changes for name in values}
        for at_ns, values in changes:
            for name, value in values.items():
                self._pool.timeline(self._track(name)).change(at_ns, value)
        if loop is not None:
            for name in names:
                self._pool.timeline(self._track(name)).loop(*loop)
        self._pool.publish({self._track(name) for name in names})

    def _show_now(self, values: Mapping[str, int]) -> None:
        with self._block.writing(self._device):
            self._show([(self._block.now_ns(), values)])

    def clear(self) -> None:
        """From now on every signal is 0."""
        known = [name for name in layout.SIGNALS if self._track(name) in self._pool.timelines]
        self._show_now(dict.fromkeys(known, 0))

    def set_signals(self, **signals: Unpack[Signals]) -> None:
        """From now on these signals have these values."""
        self._show_now(block_values(signals))

    def script(self, segments: Sequence[Segment], *, start_ns: int | None = None, then: Then = "off") -> int:
        """Play segments one after the other; returns when the script begins (driver's clock, ns).

        ``then``: ``off`` all activity, rates and power 0, so that the energy counter stands still; ``hold`` the last
        segment goes on; ``repeat`` from the beginning, for ever. A ``start_ns`` in the past changes what was read.
        """
        named = {name for segment in segments for name in segment.values}
        absent = sorted(named - set(segments[0].values))
        if then == "repeat" and absent:
            raise ValueError(f"a script that repeats must say {', '.join(absent)} in its first segment too")
        with self._block.writing(self._device):
            begin_ns = at_ns = self._block.now_ns() if start_ns is None else start_ns
            changes: list[tuple[int, Mapping[str, int]]] = []
            for segment in segments:
                changes.append((at_ns, segment.values))
                at_ns += segment.duration_ns
            if then == "off":
                changes.append((at_ns, dict.fromkeys(named & set(ACTIVE), 0)))
            self._show(changes, (begin_ns, at_ns - begin_ns) if then == "repeat" else None)
        return begin_ns

    def true_value(self, reading: str, at_ns: int | None = None) -> Fraction:
        """The value in force (ratios as ratios)."""
        value = self._pool.timeline(self._track(reading)).value(self._block.now_ns() if at_ns is None else at_ns)
        return Fraction(value, layout.PPM if reading in layout.RATIOS else 1)

    def true_mean(self, reading: str, begin_ns: int, end_ns: int) -> Fraction:
        """The exact mean over an interval (ratios as ratios)."""
        mean = self._pool.timeline(self._track(reading)).mean(begin_ns, end_ns)
        return mean / (layout.PPM if reading in layout.RATIOS else 1)
