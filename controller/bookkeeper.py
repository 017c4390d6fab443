"""Keeps the books: agents' hours and what else existed are booked, and cost is brought in step with the bill."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta

import polars as pl

from ledger.agent_hours import AgentHour
from ledger.cost_keeper import CostKeeper
from ledger.keeper import RECENT, Keeper, Kept
from ledger.store import Store
from ledger.tables import LIFETIMES, NODE_HOURS
from ledger.unsettled import note_settled, unsettled_since
from ledger.witness import journal_lifetimes, note_lifetimes

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_AT_ONCE = timedelta(days=2)
MOST_NODE_HOURS = 50_000
"""Of a longer past are looked at together, at some 7 KB each: a witness may speak of two months of a large fleet."""
WITNESSED = RECENT
"""Node-hours that no agent tells of are brought in step with their witnesses for so long, whatever was done before."""


@dataclass(slots=True)
class Bookkeeper:
    """Books agents' hours, then what else existed, then what it cost."""

    store: Store
    keeper: Keeper
    costs: CostKeeper
    kept: Kept = field(default_factory=Kept)
    """What the last booking of agents' hours changed."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def book(self, hours: Sequence[AgentHour], now: datetime) -> Mapping[str, str]:
        """Book these hours alone; returns those that cannot be, to the reason.

        Raises:
            StoreError: nothing, or not all, could be booked.
        """
        with self._lock:
            note_lifetimes(self.store, journal_lifetimes(hours))
            self.kept = self.keeper.keep(hours, since=now + _HOUR, now=now)
            return self.kept.refused

    def settle(self, now: datetime, since: datetime | None = None) -> None:
        """Book what existed without an agent's word, and make cost of what a bill reached.

        Args:
            now: the time.
            since: from then on at least; None: since :data:`WITNESSED` before now. Further back where a witness says
                something else than when this was last done, or where that is longer ago.

        Raises:
            StoreError: not all could be done; the next round does it.
        """
        with self._lock:
            witnessed = self.store.version(LIFETIMES)
            begin = min(since or now - WITNESSED, unsettled_since(self.store, witnessed, now))
            for first, until in self._parts(begin, now):
                self.keeper.keep((), since=first, until=until, now=now)
            note_settled(self.store, witnessed, now)
            self.costs.run(now)

    def _parts(self, begin: datetime, now: datetime) -> Iterator[tuple[datetime, datetime | None]]:
        """Whole days together, as many as memory holds, the newest first."""
        until: datetime | None = None
        if now - begin > _AT_ONCE:
            days = pl.col("day").is_between(begin.date(), now.date())
            booked = (
                self.store.scan(NODE_HOURS).filter(days).group_by("day").len().sort("day", descending=True).collect()
            )
            size = 0
            for day, count in booked.iter_rows():
                midnight = datetime.combine(day, time(), UTC) + _DAY
                if size and size + count > MOST_NODE_HOURS and begin < midnight < now:
                    yield midnight, until
                    until, size = midnight, 0
                size += count
        yield begin, until
