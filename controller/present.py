"""What time it is in the books: the machine's clock, or, over a simulation, as far as the simulated nodes have come.

A simulation begins a week back and runs fast; hours that it has not lived through must not be taken for hours in which
its nodes were silent.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from collectors.clock import NS_PER_SECOND
from ledger.hours import hour_start

BEHIND = timedelta(minutes=5)
"""A simulation that is further back than this runs fast."""


class Present(Protocol):
    """Tells the time of the books."""

    def now(self) -> datetime:
        """The time in UTC; never steps back where it follows a simulation."""
        ...

    def observe(self, hours: Iterable[Mapping[str, Any]]) -> None:
        """Take note of hours as agents serve them."""
        ...

    def behind(self) -> bool:
        """Whether the books run after a past that passes faster than time does."""
        ...


class MachinePresent:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time in UTC."""
        return datetime.now(UTC)

    def observe(self, hours: Iterable[Mapping[str, Any]]) -> None:
        """Nothing to note."""

    def behind(self) -> bool:
        """Never."""
        return False


class SimulatedPresent:
    """The furthest that any simulated node has come.

    Args:
        clock: the machine's, which a simulation never overtakes; it counts until a node was heard of.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._furthest: datetime | None = None
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """As far as was observed."""
        return self._furthest or self._clock()

    def observe(self, hours: Iterable[Mapping[str, Any]]) -> None:
        """An open hour says how far it is booked; what cannot be read is left to those who refuse it."""
        ends = [end for end in map(_end, hours) if end is not None]
        with self._lock:
            known = [] if self._furthest is None else [self._furthest]
            self._furthest = max([*known, *ends], default=None)

    def behind(self) -> bool:
        """Whether the simulation has not reached the present yet, or nothing was heard of it."""
        return self._furthest is None or self._clock() - self._furthest > BEHIND


def _end(hour: Mapping[str, Any]) -> datetime | None:
    try:
        begin = datetime.fromtimestamp(hour_start(str(hour["hour_utc"])), UTC)
    except (KeyError, ValueError):
        return None
    booked = hour.get("booked_ns")
    if hour.get("closed") is True or not isinstance(booked, int):
        return begin + timedelta(hours=1) if hour.get("closed") is True else None
    return begin + timedelta(microseconds=booked * 1_000_000 // NS_PER_SECOND)
