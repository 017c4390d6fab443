"""How several holders of one device share its active time: SM samples, then memory, then equally.

Owns the window of per-process SM samples and the method in force; decides nothing about accounts. A sample is used for
the interval in which the driver delivers it, so that over time each counts once. Where an interval brings none,
the samples of the window stand in; where the window is empty, SM share is not to be had.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from collectors.clock import NS_PER_SECOND
from collectors.holder import Holder
from collectors.readings import ShareSample
from ledger.accounts import Method

_WINDOW_NS = 60 * NS_PER_SECOND
_PERCENT_STEPS = 1000


@dataclass(slots=True)
class ShareWindow:
    """SM samples of one device (or MIG instance), by holder."""

    samples: deque[tuple[int, Holder | None, int]] = field(default_factory=deque[tuple[int, Holder | None, int]])
    pids: dict[int, tuple[int, Holder]] = field(default_factory=dict[int, tuple[int, Holder]])
    """When each process was last there, and whose it was."""
    before_ns: int = 0
    """The sweep before this one."""

    def add(
        self, now_ns: int, samples: Iterable[ShareSample], holders: Mapping[int, Holder]
    ) -> dict[Holder | None, int]:
        """Take new samples and give this interval's weights by holder; empty when there are none.

        A sample of a process that has ended since the sweep before, or in the last minute, belongs to the holder it
        had, since a driver may be seconds late with it; ``None`` when it never had one.
        """
        self.pids.update({pid: (now_ns, holder) for pid, holder in holders.items()})
        if len(self.pids) > len(holders):
            kept_ns = min(self.before_ns, now_ns - _WINDOW_NS)
            self.pids = {pid: seen for pid, seen in self.pids.items() if seen[0] >= kept_ns}
        self.before_ns = now_ns
        fresh: dict[Holder | None, int] = {}
        for sample in samples:
            holder = self.pids[sample.pid][1] if sample.pid in self.pids else None
            weight = round(sample.sm * _PERCENT_STEPS)
            self.samples.append((now_ns, holder, weight))
            fresh[holder] = fresh.get(holder, 0) + weight
        while self.samples and self.samples[0][0] < now_ns - _WINDOW_NS:
            self.samples.popleft()
        return fresh

    def available(self) -> bool:
        """Whether SM share can be had at all in the window."""
        return bool(self.samples)

    def trailing(self) -> dict[Holder | None, int]:
        """Weights over the whole window."""
        weights: dict[Holder | None, int] = {}
        for _, holder, weight in self.samples:
            weights[holder] = weights.get(holder, 0) + weight
        return weights


_BETTER: Sequence[Method] = (Method.EQUAL, Method.MEMORY, Method.SM)
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
