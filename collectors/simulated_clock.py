"""The clock of a simulation: runs fast through the past, then follows the real clock and never overtakes it.

Owns simulated time. Must never name an instant that the real clock has not reached, nor step back.
"""

import threading
from fractions import Fraction

from collectors.clock import NS_PER_SECOND, Clock
from collectors.errors import Misconfigured

WEEK_NS = 7 * 24 * 3600 * NS_PER_SECOND
REAL_NS_PER_SWEEP = 50_000_000
"""While time runs fast a sweep is due no more often than this, in real time."""
MAX_SPEED = 1_000_000


def start_for(speed: float, now_wall_ns: int, last_saved_wall_ns: int | None = None) -> int:
    """Where simulated time begins: a week back when it runs fast, else now; never before what is already booked.

    Args:
        speed: simulated seconds in a real second.
        now_wall_ns: the real wall clock.
        last_saved_wall_ns: the newest instant in the books of the data directory, ``None`` for a new one.
    """
    start = now_wall_ns - WEEK_NS if speed > 1 else now_wall_ns
    return start if last_saved_wall_ns is None else max(start, last_saved_wall_ns)


def sweep_interval_ns(interval_ns: int, speed: float) -> int:
    """The sweep interval in simulated time: at least ``speed`` times 50 ms while time runs fast."""
    return max(interval_ns, int(REAL_NS_PER_SWEEP * speed)) if speed > 1 else interval_ns


class SimulatedClock:
    """Simulated time from ``start_wall_ns`` on, at ``speed`` until it reaches the real present, then at 1.

    Fast time stands still until the first wait, so that what is built before a first sweep costs no simulated time.
    Its monotonic clock is the same timeline as its wall clock, so it is comparable between processes. Where the real
    wall clock is set back below what was already shown, simulated time stands still until it is passed again.

    Args:
        real: the clock that it follows.
        start_wall_ns: the first instant, nanoseconds since the Unix epoch.
        speed: simulated seconds in a real second, to a thousandth.

    Raises:
        Misconfigured: a speed below 1, above a million, or no number.
    """

    def __init__(self, real: Clock, start_wall_ns: int, speed: float) -> None:
        if not 1 <= speed <= MAX_SPEED:
            raise Misconfigured(f"speed: found {speed}; allowed: 1 to {MAX_SPEED} simulated seconds a real second")
        self._real = real
        self._speed = Fraction(round(speed * 1000), 1000)
        self._start_ns = start_wall_ns
        self._real_start_ns = None if speed > 1 else real.monotonic_ns()
        self._latest_ns = start_wall_ns
        self._lock = threading.Lock()

    @property
    def boot_id(self) -> str:
        """Always ``simulated``: the timeline goes on over restarts of the machine."""
        return "simulated"

    @property
    def behind_ns(self) -> int:
        """How far simulated time is from the present; 0 once it is reached."""
        return max(0, self._real.wall_ns() - self.wall_ns())

    @property
    def speed(self) -> float:
        """The speed in force: as given while behind the present, 1 afterwards."""
        return float(self._speed) if self.behind_ns else 1.0

    def wall_ns(self) -> int:
        """Simulated nanoseconds since the Unix epoch; never steps back, never past the real wall clock."""
        with self._lock:
            elapsed_ns = 0 if self._real_start_ns is None else self._real.monotonic_ns() - self._real_start_ns
            ran_ns = self._start_ns + elapsed_ns * self._speed.numerator // self._speed.denominator
            self._latest_ns = max(self._latest_ns, min(ran_ns, self._real.wall_ns()))
            return self._latest_ns

    def monotonic_ns(self) -> int:
        """The same timeline."""
        return self.wall_ns()

    def begin(self) -> None:
        """Let time run; the first :meth:`wait` does so by itself."""
        with self._lock:
            if self._real_start_ns is None:
                self._real_start_ns = self._real.monotonic_ns()

    def wait(self, event: threading.Event, duration_ns: int) -> bool:
        """Wait for ``duration_ns`` of simulated time or until ``event`` is set; true if it was set."""
        self.begin()
        target_ns = self.wall_ns() + duration_ns
        while not event.is_set() and (left_ns := target_ns - self.wall_ns()) > 0:
            real_ns = max(int(left_ns / self._speed), target_ns - self._real.wall_ns(), 1)
            self._real.wait(event, real_ns)
        return event.is_set()

    def sweep_interval_ns(self, interval_ns: int) -> int:
        """The wait until the next sweep: stretched while time runs fast, but not beyond the present."""
        stretched_ns = sweep_interval_ns(interval_ns, float(self._speed))
        return max(interval_ns, min(stretched_ns, self.behind_ns))
