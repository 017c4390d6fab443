"""The jobs that keep the books: journals pulled and booked, cost brought in step with the bill."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controller.present import Present
from ledger.agent_hours import AgentHour
from ledger.cost_keeper import CostKeeper
from ledger.keeper import Keeper, Kept
from ledger.store import Store
from ledger.witness import journal_lifetimes, note_lifetimes

_HOUR = timedelta(hours=1)
WITNESSED = timedelta(hours=26)
"""Node-hours that no agent tells of are brought in step with their witnesses for so long."""


@dataclass(slots=True)
class Bookkeeper:
    """Books agents' hours, then what else existed, then what it cost."""

    store: Store
    keeper: Keeper
    costs: CostKeeper
    kept: Kept = field(default_factory=Kept)
    """What the last round changed."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def book(self, hours: Sequence[AgentHour], now: datetime) -> None:
        """Book these hours alone.

        Raises:
            StoreError: nothing, or not all, could be booked.
        """
        with self._lock:
            note_lifetimes(self.store, journal_lifetimes(hours))
            self.kept = self.keeper.keep(hours, since=now + _HOUR, now=now)

    def settle(self, now: datetime, since: datetime | None = None) -> None:
        """Book what existed without an agent's word since then, and make cost of what a bill reached.

        Raises:
            StoreError: not all could be done; the next round does it.
        """
        with self._lock:
            self.keeper.keep((), since=since or now - WITNESSED, now=now)
            self.costs.run(now)


@dataclass(frozen=True, slots=True)
class Settle:
    """The job of settling."""

    books: Bookkeeper
    present: Present

    def run(self) -> None:
        """As :meth:`Bookkeeper.settle`."""
        self.books.settle(self.present.now())
