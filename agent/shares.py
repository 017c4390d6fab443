"""How several holders of one device share its active time: SM samples, then memory, then equally.

Owns the window of per-process SM samples and the method in force; decides nothing about accounts. A sample is used for
the interval in which the driver delivers it, so that over time each counts once. A driver misses some: where an
interval brings less than the window lets expect of its active time, the latest shares stand in for what is missing,
lest the others take it. Where the window is empty, SM share is not to be had.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from collectors.clock import NS_PER_SECOND
from collectors.holder import Holder
from collectors.readings import ShareSample
from ledger.accounts import Method
from ledger.apportion import apportion

_WINDOW_NS = 60 * NS_PER_SECOND
_RECENT_NS = 10 * NS_PER_SECOND
_PERCENT_STEPS = 1000


@dataclass(slots=True)
class ShareWindow:
    """SM samples of one device (or MIG instance), by holder."""

    samples: deque[tuple[int, Holder | None, int]] = field(default_factory=deque[tuple[int, Holder | None, int]])
    pids: dict[int, tuple[int, Holder]] = field(default_factory=dict[int, tuple[int, Holder]])
    """When each process was last there, and whose it was."""
    _sums: dict[Holder | None, int] = field(default_factory=dict[Holder | None, int])
    _intervals: deque[tuple[int, int, int]] = field(default_factory=deque[tuple[int, int, int]])
    """End, active nanoseconds x millionths, and weight of all samples, of each interval whose length is known."""
    _active: int = 0
    _weight: int = 0
    _last_ns: int | None = None
    _there: Mapping[int, Holder] = field(default_factory=dict[int, Holder])
    """Those of the last call."""
    _rested: bool = False

    def rest(self, now_ns: int, active_ppm: int | None = None) -> None:
        """What :meth:`add` does where the holders are those of the call before and no sample came."""
        if self._last_ns is not None:
            self._note(now_ns, (now_ns - self._last_ns) * (active_ppm or 0), 0)
        self._last_ns, self._rested = now_ns, True
        self._forget(now_ns - _WINDOW_NS)

    def add(
        self, now_ns: int, samples: Iterable[ShareSample], holders: Mapping[int, Holder], active_ppm: int | None = None
    ) -> dict[Holder | None, int]:
        """Take the samples of the interval that ends now and give their weights by holder; empty when there are none.

        A sample of a process that has ended since the sweep before, or in the last minute, belongs to the holder it
        had, since a driver may be seconds late with it; ``None`` when it never had one.
        """
        if self._rested and self._last_ns is not None:
            last_ns, self._rested = self._last_ns, False
            self.pids.update({pid: (last_ns, holder) for pid, holder in self._there.items()})
        self._there = holders
        self.pids.update({pid: (now_ns, holder) for pid, holder in holders.items()})
        if len(self.pids) > len(holders):
            kept_ns = min(self._last_ns or 0, now_ns - _WINDOW_NS)
            self.pids = {pid: seen for pid, seen in self.pids.items() if seen[0] >= kept_ns}
        fresh: dict[Holder | None, int] = {}
        for sample in samples:
            holder = self.pids[sample.pid][1] if sample.pid in self.pids else None
            weight = round(sample.sm * _PERCENT_STEPS)
            self.samples.append((now_ns, holder, weight))
            fresh[holder] = fresh.get(holder, 0) + weight
        for holder, weight in fresh.items():
            self._sums[holder] = self._sums.get(holder, 0) + weight
        if self._last_ns is not None:
            self._note(now_ns, (now_ns - self._last_ns) * (active_ppm or 0), sum(fresh.values()))
        self._last_ns = now_ns
        self._forget(now_ns - _WINDOW_NS)
        return fresh

    def _note(self, now_ns: int, active: int, weight: int) -> None:
        self._intervals.append((now_ns, active, weight))
        self._active += active
        self._weight += weight

    def _forget(self, before_ns: int) -> None:
        while self.samples and self.samples[0][0] < before_ns:
            _, holder, weight = self.samples.popleft()
            left = self._sums.get(holder, 0) - weight
            if left:
                self._sums[holder] = left
            else:
                self._sums.pop(holder, None)
        while self._intervals and self._intervals[0][0] < before_ns:
            _, active, weight = self._intervals.popleft()
            self._active -= active
            self._weight -= weight

    def available(self) -> bool:
        """Whether SM share can be had at all in the window."""
        return bool(self.samples)

    def latest(self) -> Mapping[Holder | None, int]:
        """Weights of the last seconds, else of the whole window."""
        weights: dict[Holder | None, int] = {}
        for at_ns, holder, weight in reversed(self.samples):
            if at_ns <= (self._last_ns or 0) - _RECENT_NS:
                break
            weights[holder] = weights.get(holder, 0) + weight
        return weights or self._sums

    def completed(self, fresh: Mapping[Holder | None, int]) -> Mapping[Holder | None, int]:
        """The last interval's weights, and by the latest shares what its active time lets expect beyond them."""
        if not fresh:
            return self.latest()
        missing = 0
        if self._active:
            missing = self._weight * self._intervals[-1][1] // self._active - sum(fresh.values())
        if missing <= 0:
            return fresh
        latest = self.latest()
        parts = zip(latest, apportion(missing, list(latest.values())), strict=True)
        return {holder: fresh.get(holder, 0) + weight for holder, weight in parts}


_BETTER: Sequence[Method] = (Method.EQUAL, Method.REQUESTED, Method.MEMORY, Method.SM)
"""From the worst to the best."""


@dataclass(slots=True)
class MethodChooser:
    """Keeps a shared device's method until another has been the best one for ``hold_ns``.

    The first method stands only once it has held for as long itself: until then a better one takes over at once, since
    a driver's first samples come seconds after sharing began.
    """

    hold_ns: int
    current: Method | None = None
    candidate: Method | None = None
    since_ns: int = 0
    begun_ns: int = 0

    def choose(self, best: Method, now_ns: int, usable: Iterable[Method]) -> Method:
        """The method for this interval.

        Args:
            best: the best method that this interval's readings allow.
            now_ns: monotonic time.
            usable: the methods this interval's readings allow; the current one is left at once when not among them.
        """
        if self.current is None:
            self.begun_ns = now_ns
        if self.current is None or self.current not in usable or self._may_improve(self.current, best, now_ns):
            self.current, self.candidate = best, None
        elif best == self.current:
            self.candidate = None
        elif best != self.candidate:
            self.candidate, self.since_ns = best, now_ns
        elif now_ns - self.since_ns >= self.hold_ns:
            self.current, self.candidate = best, None
        return self.current

    def _may_improve(self, current: Method, best: Method, now_ns: int) -> bool:
        return now_ns - self.begun_ns < self.hold_ns and _BETTER.index(best) > _BETTER.index(current)
