"""What processes do on a device in steps of 10 ms: the truth that a played hour is held against."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from tests.fakedriver.driver import Segment

SECOND = 1_000_000_000
TICK_NS = 10_000_000
TICKS = SECOND // TICK_NS
PPM = 1_000_000
_BURSTS_SECONDS = 600
_ASKEW = 37
"""Ticks by which a pattern falls short of full seconds: else sweeps would see the same moments of it each time."""


@dataclass(frozen=True)
class Pattern:
    """What a device does in ticks of 10 ms, again and again: how busy it is, each process's SM share; in millionths."""

    busy: tuple[int, ...]
    shares: Mapping[str, tuple[int, ...]]
    _sums: dict[str, list[int]] = field(default_factory=dict)

    def active_ns(self, name: str, begin: int, end: int) -> int:
        """What of the device's active time from one tick to another is truly this one's."""
        if name not in self._sums:
            self._sums[name] = [0, *accumulate(self._tick_ns(name, tick) for tick in range(len(self.busy)))]
        sums, length = self._sums[name], len(self.busy)

        def until(tick: int) -> int:
            return tick // length * sums[-1] + sums[tick % length]

        return until(end) - until(begin)

    def _tick_ns(self, name: str, tick: int) -> int:
        together = sum(share[tick] for share in self.shares.values())
        return together and round(self.busy[tick] * self.shares[name][tick] * TICK_NS / (together * PPM))

    def segments(self, idle_mw: int, full_mw: int) -> list[Segment]:
        """The device's signals."""
        return [
            Segment(ticks * TICK_NS, utilization=busy / PPM, power_mw=idle_mw + busy * (full_mw - idle_mw) // PPM)
            for ticks, busy in _runs(self.busy)
        ]

    def steps(self, *names: str) -> tuple[tuple[int, float], ...]:
        """One process's share, or what several have together, as the driver takes it."""
        together = [sum(shares) for shares in zip(*(self.shares[name] for name in names), strict=True)]
        return tuple((ticks * TICK_NS, share / PPM) for ticks, share in _runs(together))


def _runs(values: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and runs[-1][1] == value:
            runs[-1] = runs[-1][0] + 1, value
        else:
            runs.append((1, value))
    return runs


def alone(levels: Sequence[int], seed: int, name: str = "main") -> Pattern:
    """One process that works in so many ticks of each second, at random places in it."""
    chance = random.Random(seed)
    ticks: list[int] = []
    for level in levels:
        second = [PPM] * level + [0] * (TICKS - level)
        chance.shuffle(second)
        ticks += second
    return Pattern(tuple(ticks), {name: tuple(ticks)})


def slices(percents: Mapping[str, int], seed: int, seconds: int = 10) -> Pattern:
    """Time slices: in each tick one process has the device to itself, each as often as its percentage says."""
    chance = random.Random(seed)
    turns = [name for name, percent in percents.items() for _ in range(percent * seconds)]
    turns += [""] * (seconds * TICKS - len(turns))
    chance.shuffle(turns)
    return _turns(turns[:-_ASKEW], percents)


def bursts(milliseconds: Callable[[random.Random], int], idle: float, names: Sequence[str], seed: int) -> Pattern:
    """Processes take turns of so many milliseconds; the share ``idle`` of the turns is followed by a pause."""
    chance = random.Random(seed)
    turns: list[str] = []
    while len(turns) < _BURSTS_SECONDS * TICKS:
        for name in names:
            turns += [name] * (milliseconds(chance) // 10)
            turns += [""] * (milliseconds(chance) // 10 if chance.random() < idle else 0)
    return _turns(turns[: _BURSTS_SECONDS * TICKS - _ASKEW], names)


def _turns(turns: Sequence[str], names: Sequence[str] | Mapping[str, int]) -> Pattern:
    busy = tuple(PPM if turn else 0 for turn in turns)
    return Pattern(busy, {name: tuple(PPM if turn == name else 0 for turn in turns) for name in names})


def together(percents: Mapping[str, int], busy_percent: int, seed: int) -> Pattern:
    """Processes that run at the same time, each on its part of the SMs give or take a fifth, with common pauses."""
    chance = random.Random(seed)
    busy = [PPM] * (10 * busy_percent) + [0] * (10 * (TICKS - busy_percent))
    chance.shuffle(busy)
    shares = {
        name: tuple(working and round(percent * 10_000 * chance.uniform(0.8, 1.2)) for working in busy)
        for name, percent in percents.items()
    }
    return Pattern(tuple(busy), shares)
