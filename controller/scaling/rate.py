"""How many writes a second: a token bucket that tells how long to wait, and never waits itself."""

from collectors.clock import NS_PER_SECOND


class TokenBucket:
    """Lets ``burst`` through at once and ``per_second`` from then on, evenly. More than a burst is never saved up.

    Not for several threads without a lock.

    Args:
        per_second: above 0.
        burst: at least 1.
    """

    def __init__(self, per_second: float, burst: int = 1) -> None:
        self._between_ns = round(NS_PER_SECOND / per_second)
        self._ahead_ns = self._between_ns * (burst - 1)
        self._due_ns: int | None = None
        """When the next one would be due, had each waited its whole turn."""

    def take(self, now_ns: int) -> int:
        """Take a turn; how long to wait for it, in nanoseconds. A turn that is taken is used, whoever waits or not."""
        earliest_ns = now_ns - self._ahead_ns
        turn_ns = earliest_ns if self._due_ns is None else max(self._due_ns, earliest_ns)
        self._due_ns = turn_ns + self._between_ns
        return max(0, turn_ns - now_ns)
