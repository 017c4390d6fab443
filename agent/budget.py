"""The agent watches its own cost: above its budget it sweeps less often, and says so."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from collectors.clock import NS_PER_SECOND

_WINDOW_NS = 60 * NS_PER_SECOND
_MOST = 10


def no_pages() -> int:
    """No serving page is read."""
    return 0


@dataclass(slots=True)
class CpuBudget:
    """Stretches the sweep interval while the process uses more of one core over a minute than it may.

    Serving pages have their own interval, so slower sweeps make them no cheaper: each page that is read may cost
    ``page_ratio`` more.
    """

    ratio: float | None
    """Share of one core; ``None`` switches the watch off (simulation, benchmarks)."""
    page_ratio: float = 0.0
    """What each serving page adds to it."""
    pages: Callable[[], int] = no_pages
    """How many serving pages are read now."""
    cpu_ns: Callable[[], int] = time.process_time_ns
    factor: int = 1
    """What the configured interval is multiplied with."""
    _window: tuple[int, int] | None = None

    def observe(self, monotonic_ns: int) -> bool:
        """Call once a sweep; true when the factor changed."""
        cpu = self.cpu_ns()
        if self._window is None:
            self._window = (monotonic_ns, cpu)
        since_ns, since_cpu = self._window
        elapsed = monotonic_ns - since_ns
        if self.ratio is None or elapsed < _WINDOW_NS:
            return False
        self._window = (monotonic_ns, cpu)
        before, used = self.factor, (cpu - since_cpu) / elapsed - self.page_ratio * self.pages()
        if used > self.ratio:
            self.factor = min(_MOST, self.factor + 1)
        elif self.factor > 1 and used * self.factor < self.ratio * (self.factor - 1):
            self.factor -= 1
        return self.factor != before
