"""What the controller knows of itself and of how far its books have come, looked up in rounds.

Metrics and `/api/v1/status` show it; nobody who asks for them makes a table be read.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import polars as pl

from collectors.cost_explorer import Spent
from controller.budget_report import budget_states
from controller.gather import Gathered
from controller.jobs import JobHealth
from controller.ledger_figures import ledger_costs, variances
from controller.present import Present
from controller.quota_report import QuotaFacts
from ledger.booking_units import FINAL
from ledger.budget_settings import BudgetSettings
from ledger.budgets import BudgetState
from ledger.store import Store
from ledger.store_errors import NewerTable
from ledger.tables import ALL, BILLS, COST, NODE_HOURS, USAGE, Table
from ledger.verify import verify
from ledger.verify_law import LAWS

_log = logging.getLogger(__name__)

T = TypeVar("T")

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
_MOST_LINES = 10
LOOKED_BACK = timedelta(days=14)
"""Node-hours are looked at for so long to tell what is closed."""


@dataclass(frozen=True, slots=True)
class BooksFacts:
    """The books, as last looked at."""

    looked_at: datetime
    versions: Mapping[str, int | None] = field(default_factory=dict[str, int | None])
    last_closed: datetime | None = None
    """End of the newest hour that is final for every node."""
    provisional: int = 0
    """Node-hours of the last days that no closed journal stands behind."""
    bills_refused: Mapping[str, str] = field(default_factory=dict[str, str])
    """Bill to why it was refused."""
    costs: Mapping[tuple[str, ...], int] = field(default_factory=dict[tuple[str, ...], int])
    """Basis, window, team and workload to nano-dollars; none where the table is of a newer version."""
    variances: Mapping[tuple[str, ...], int] = field(default_factory=dict[tuple[str, ...], int])
    """Window and reason to nano-dollars; likewise."""
    budgets: tuple[BudgetState, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """All that the controller knows of itself, at one instant."""

    now: datetime
    """The time of the books."""
    machine_now: datetime
    leads: bool
    epoch: int | None
    simulated: bool
    facts: BooksFacts | None
    breaks: Mapping[str, int] | None
    """Law to how often it is broken in the last closed day; ``None``: not looked at yet, or nothing is booked there."""
    quotas: QuotaFacts | None
    gathered: Gathered
    jobs: Mapping[str, JobHealth]
    prices_refused: tuple[str, ...] | None = None
    """Prices of the cloud's list that cannot be; ``None``: none were read by this process."""
    bills_waiting: tuple[str, ...] | None = None
    """Deliveries of bills that are not all there; ``None``: this process has not looked."""
    cost_explorer: Spent | None = None
    """``None``: it is not asked, or its count cannot be read."""


Stand = Callable[[], Standing]


@dataclass(slots=True)
class Lookout:
    """The job that looks at the books; standing by or not."""

    store: Store
    present: Present
    budgets: BudgetSettings
    series_cap: int
    facts: BooksFacts | None = None
    breaks: Mapping[str, int] | None = None

    def prove(self) -> None:
        """Look whether the laws of the books hold over the last closed day.

        Raises:
            StoreError: a table cannot be read.
        """
        today = self.present.now().replace(hour=0, minute=0, second=0, microsecond=0)
        found = list(verify(self.store, today - _DAY, today - _HOUR))
        if found:  # a leadership that is just being claimed, or a commit under way, is no break: look again
            again = set(verify(self.store, today - _DAY, today - _HOUR))
            found = [each for each in found if each in again]
        for each in found[:_MOST_LINES]:
            _log.error("the books break a law: %s", each)
        if not found and not self._booked(today - _DAY):
            self.breaks = None
            return
        counted = Counter(each.law for each in found)
        self.breaks = {law.name: counted[law.name] for law in LAWS}

    def _booked(self, day: datetime) -> bool:
        rows = (self.store.scan(table).filter(pl.col("day") == day.date()) for table in (NODE_HOURS, USAGE, COST))
        return any(each.head(1).collect().height for each in rows)

    def run(self) -> None:
        """Look.

        Raises:
            NewerTable: a table is of a newer version; what does not need it is seen.
            StoreError: a table cannot be read; what was seen before stays.
        """
        newer = _Newer()
        now = self.present.now()
        refused = self.store.scan(BILLS).filter(pl.col("state") == "refused").select("bill_id", "reason").collect()
        last_closed, provisional = _closed(self.store, now)
        versions: dict[str, int | None] = {}
        for table in ALL:
            versions |= newer.or_else(partial(_version, self.store, table), dict[str, int | None]())
        self.facts = BooksFacts(
            looked_at=now,
            versions=versions,
            last_closed=last_closed,
            provisional=provisional,
            bills_refused={str(bill): str(reason) for bill, reason in refused.iter_rows()},
            costs=newer.or_else(lambda: ledger_costs(self.store, now, self.series_cap), {}),
            variances=newer.or_else(lambda: variances(self.store, now), {}),
            budgets=newer.or_else(lambda: budget_states(self.store, self.budgets, now), ()),
        )
        newer.tell()


def _version(store: Store, table: Table) -> dict[str, int | None]:
    return {table.name: store.version(table)}


class _Newer:
    """Reads what can be read beside tables of a newer version."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def or_else(self, read: Callable[[], T], nothing: T) -> T:
        """What is read, or nothing of it."""
        try:
            return read()
        except NewerTable as error:
            self._found[str(error)] = None
            return nothing

    def tell(self) -> None:
        """Raise one error that names each of the tables, if there is any."""
        if self._found:
            raise NewerTable("; ".join(self._found))


def _closed(store: Store, now: datetime) -> tuple[datetime | None, int]:
    recent = store.scan(NODE_HOURS).filter(pl.col("day") >= (now - LOOKED_BACK).date())
    by_hour = recent.group_by("hour_utc").agg(provisional=(pl.col("state") != FINAL).sum())
    closed = pl.col("hour_utc").filter(pl.col("provisional") == 0).max()
    last, provisional = by_hour.select(closed, pl.col("provisional").sum()).collect().row(0)
    return None if last is None else last + timedelta(hours=1), int(provisional or 0)
