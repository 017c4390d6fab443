"""Holds downs back while the API server fails, or while what is known of the cluster is old; closes itself.

Open, it lets nothing down. After a wait it lets one down through at a time (half open): the first answer closes it, a
failure opens it again for twice as long. Age keeps it open only while it lasts. It is never asked about what comes
back, though those writes tell it how the API server does. Time is an argument everywhere.
"""

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from collectors.clock import NS_PER_SECOND

State = Literal["closed", "half_open", "open"]


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When it opens, and for how long."""

    failures_in_row: int = 5
    """So many failures without an answer between them open it."""
    failure_ratio: float = 0.5
    """Or this share of the writes of ``window_seconds``, once there were ``least_writes``."""
    window_seconds: float = 60.0
    least_writes: int = 20
    first_wait_seconds: float = 15.0
    most_wait_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """For metrics and for the reason of a refusal."""

    state: State
    since_ns: int
    """When this state began."""
    why: str = ""
    """Why it is not closed."""
    openings: int = 0
    """How often it went from closed to open."""


class Breaker:
    """One for all writes of a controller; several threads may use it.

    Args:
        limits: when it opens.
        now_ns: since when it is closed.
    """

    def __init__(self, limits: BreakerLimits, now_ns: int) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._answers: deque[tuple[int, bool]] = deque()
        self._in_row = 0
        self._wait_seconds = limits.first_wait_seconds
        self._why = ""
        """Why the API server is held to fail; empty: it is not."""
        self._opened_ns = self._last_bad_ns = 0
        self._stale: dict[str, str] = {}
        self._stale_ns = 0
        self._closed_ns = now_ns
        self._openings = 0

    def good(self, now_ns: int) -> None:
        """The API server answered a write; a refusal is an answer."""
        with self._lock:
            self._note(now_ns, good=True)
            self._in_row = 0
            if self._why and now_ns >= self._half_open_ns:
                self._why = ""
                self._answers.clear()
                self._wait_seconds = self._limits.first_wait_seconds
                self._closed_ns = now_ns

    def bad(self, now_ns: int, why: str) -> None:
        """It did not, or failed."""
        with self._lock:
            self._note(now_ns, good=False)
            self._in_row += 1
            if self._why:
                if now_ns >= self._half_open_ns:
                    self._opened_ns = now_ns
                    self._wait_seconds = min(self._limits.most_wait_seconds, self._wait_seconds * 2)
                self._why, self._last_bad_ns = why, now_ns
            elif self._too_many():
                self._openings += not self._stale
                self._why, self._opened_ns, self._last_bad_ns = why, now_ns, now_ns

    def observe(self, stale: Mapping[str, str], now_ns: int) -> None:
        """What is too old to act upon now, by name, and why: ``{"telemetry": "no figures of node-a for 10 min"}``."""
        with self._lock:
            if stale and not self._stale:
                self._stale_ns = now_ns
                self._openings += not self._why
            elif self._stale and not stale:
                self._closed_ns = now_ns
            self._stale = dict(stale)

    def hold(self, now_ns: int) -> str:
        """Why no down may be made now; empty: as many as :meth:`allowance` says."""
        status = self.status(now_ns)
        return status.why if status.state == "open" else ""

    def allowance(self, now_ns: int) -> int | None:
        """How many downs may be made before it is asked again; ``None``: it has no say."""
        return {"open": 0, "half_open": 1, "closed": None}[self.status(now_ns).state]

    def status(self, now_ns: int) -> BreakerStatus:
        """As it stands."""
        with self._lock:
            failing = f"the API server fails: {self._why}" if self._why else ""
            if self._stale:
                why = "; ".join(f"{name} is stale: {self._stale[name]}" for name in sorted(self._stale))
                since_ns = min(self._stale_ns, self._opened_ns) if failing else self._stale_ns
                return BreakerStatus("open", since_ns, f"{why}; {failing}" if failing else why, self._openings)
            if not failing:
                return BreakerStatus("closed", self._closed_ns, "", self._openings)
            if now_ns >= self._half_open_ns:
                return BreakerStatus("half_open", self._half_open_ns, failing, self._openings)
            return BreakerStatus("open", self._opened_ns, failing, self._openings)

    @property
    def _half_open_ns(self) -> int:
        return self._last_bad_ns + int(self._wait_seconds * NS_PER_SECOND)

    def _note(self, now_ns: int, *, good: bool) -> None:
        self._answers.append((now_ns, good))
        oldest_ns = now_ns - int(self._limits.window_seconds * NS_PER_SECOND)
        while self._answers[0][0] < oldest_ns:
            self._answers.popleft()

    def _too_many(self) -> bool:
        limits, count = self._limits, len(self._answers)
        failures = sum(not good for _, good in self._answers)
        often = count >= limits.least_writes and failures >= limits.failure_ratio * count
        return often or self._in_row >= limits.failures_in_row
