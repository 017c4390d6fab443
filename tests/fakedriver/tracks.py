"""The Python twin of the library's tracks: piecewise constant values and their exact integrals, in integers."""

import bisect
from dataclasses import dataclass, field, replace
from fractions import Fraction

WRITTEN_OUT = 2048
"""Steps of a loop that are written out when it ends: what windows and samples may still look back to."""


@dataclass(slots=True)
class Timeline:
    """A piecewise constant value over the driver's clock; 0 before its first step."""

    starts_ns: list[int] = field(default_factory=list[int])
    values: list[int] = field(default_factory=list[int])
    cums: list[int] = field(default_factory=list[int])
    """Integral (value x ns) up to each step's start."""
    loop_start_ns: int = 0
    loop_period_ns: int = 0
    """0: no loop. Else what lies from ``loop_start_ns`` on repeats for ever."""
    loop_cum: int = 0
    shown_from: int = 0
    """Steps before this one are the twin's own memory."""
    earlier: "Timeline | None" = None
    """What was before the first step, where a loop ran too often to be written out."""

    def _fold(self, at_ns: int) -> tuple[int, int]:
        if self.loop_period_ns == 0 or at_ns < self.loop_start_ns:
            return at_ns, 0
        laps, rest = divmod(at_ns - self.loop_start_ns, self.loop_period_ns)
        return self.loop_start_ns + rest, laps * self.loop_cum

    def _step(self, at_ns: int) -> int:
        return bisect.bisect_right(self.starts_ns, at_ns) - 1

    def value(self, at_ns: int) -> int:
        """The value in force at that instant."""
        step = self._step(self._fold(at_ns)[0])
        if step < 0 and self.earlier is not None:
            return self.earlier.value(at_ns)
        return self.values[step] if step >= 0 else 0

    def integral(self, at_ns: int) -> int:
        """Value x ns from the beginning up to that instant, exact."""
        at_ns, laps = self._fold(at_ns)
        step = self._step(at_ns)
        if step < 0 and self.earlier is not None:
            return self.earlier.integral(at_ns)
        return laps + self.cums[step] + self.values[step] * (at_ns - self.starts_ns[step]) if step >= 0 else laps

    def mean(self, begin_ns: int, end_ns: int) -> Fraction:
        """The mean over an interval, exact."""
        return Fraction(self.integral(end_ns) - self.integral(begin_ns), end_ns - begin_ns)

    def change(self, at_ns: int, value: int) -> None:
        """From ``at_ns`` on the value is this; whatever stood there for later is dropped."""
        while self.earlier is not None and at_ns < self.starts_ns[0]:
            self._become(self.earlier)
        self._end_loop(at_ns)
        total = self.integral(at_ns)
        keep = bisect.bisect_left(self.starts_ns, at_ns)
        self.shown_from = min(self.shown_from, keep)
        del self.starts_ns[keep:], self.values[keep:], self.cums[keep:]
        self.starts_ns.append(at_ns)
        self.values.append(value)
        self.cums.append(total)

    def _become(self, other: "Timeline") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def _end_loop(self, until_ns: int) -> None:
        """Writes out the laps of a loop up to then, at most the last few, and keeps the loop itself for the past."""
        start, period, lap_cum = self.loop_start_ns, self.loop_period_ns, self.loop_cum
        if period == 0:
            return
        self.loop_period_ns = 0
        if until_ns <= start + period:
            return
        first = bisect.bisect_left(self.starts_ns, start)
        lap = list(zip(self.starts_ns[first:], self.values[first:], self.cums[first:], strict=True))
        last = (until_ns - start) // period
        begin = max(1, last - WRITTEN_OUT // len(lap))
        if begin > 1:
            self.earlier = replace(self, loop_period_ns=period)
            self.starts_ns, self.values, self.cums, self.shown_from = [], [], [], 0
        for number in range(begin, last + 1):
            self.starts_ns += [step_ns + number * period for step_ns, _, _ in lap]
            self.values += [value for _, value, _ in lap]
            self.cums += [cum + number * lap_cum for _, _, cum in lap]

    def loop(self, start_ns: int, period_ns: int) -> None:
        """What lies in ``start_ns .. start_ns + period_ns`` repeats for ever."""
        cum = self.integral(start_ns + period_ns) - self.integral(start_ns)
        self.loop_start_ns, self.loop_period_ns, self.loop_cum = start_ns, period_ns, cum

    def forget(self, before_ns: int) -> None:
        """Leave steps that ended before that instant out of what the library sees, unless a loop needs them."""
        if self.loop_period_ns:
            before_ns = min(before_ns, self.loop_start_ns)
        self.shown_from = max(0, self._step(before_ns))

    def shown(self) -> list[tuple[int, int, int]]:
        """Start, value and integral of each step that the library sees."""
        first = self.shown_from
        return list(zip(self.starts_ns[first:], self.values[first:], self.cums[first:], strict=True))
