"""When a wish turns in which several windows have a say, such as a force inside those of a schedule.

The end of the window that decides is not it: what follows may wish the same. Owns the search; what is wished, and where
it may turn, is asked.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

_AHEAD = timedelta(days=8)
_MOST_STEPS = 300
"""Windows that turn more often within that time are told of no further."""


def first(moments: Iterable[datetime | None]) -> datetime | None:
    """The earliest of those that are."""
    return min((moment for moment in moments if moment is not None), default=None)


def turn(
    wished: Callable[[datetime], str], edge: Callable[[datetime], datetime | None], now: datetime
) -> datetime | None:
    """The first moment after ``now`` at which something else is wished; ``None``: not within eight days.

    Args:
        wished: at a moment.
        edge: the first moment after one at which that may turn; ``None``: not within eight days.
        now: the time.
    """
    present, at = wished(now), edge(now)
    for _ in range(_MOST_STEPS):
        if at is None or at - now > _AHEAD:
            return None
        if wished(at) != present:
            return at
        at = edge(at)
    return None
