"""Time, injected everywhere: durations from the monotonic clock, hours named by the wall clock."""

import threading
import time
from pathlib import Path
from typing import Protocol

NS_PER_SECOND = 1_000_000_000
NS_PER_HOUR = 3600 * NS_PER_SECOND


class Clock(Protocol):
    """Two clocks and a way to wait on them."""

    @property
    def boot_id(self) -> str:
        """Names the stretch of time over which ``monotonic_ns`` may be compared, across processes too."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds that only grow, suspend included; comparable between processes of one boot."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch, UTC. May step either way."""
        ...

    def wait(self, event: threading.Event, duration_ns: int) -> bool:
        """Wait for ``duration_ns`` of this clock or until ``event`` is set; true if it was set."""
        ...


class SystemClock:
    """The machine's own clocks (CLOCK_BOOTTIME and CLOCK_REALTIME)."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._boot_id = (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    @property
    def boot_id(self) -> str:
        """The kernel's own boot id."""
        return self._boot_id

    def monotonic_ns(self) -> int:
        """CLOCK_BOOTTIME: starts at boot, counts suspended time, never steps."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall_ns(self) -> int:
        """CLOCK_REALTIME."""
        return time.time_ns()

    def wait(self, event: threading.Event, duration_ns: int) -> bool:
        """Wait in real time."""
        return event.wait(max(0, duration_ns) / NS_PER_SECOND)
