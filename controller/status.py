"""What the controller knows of itself and of how far its books have come, looked up in rounds.

Metrics and `/api/v1/status` show it; nobody who asks for them makes a table be read.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

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
from ledger.tables import ALL, BILLS, NODE_HOURS
from ledger.verify import verify
from ledger.verify_law import LAWS

_log = logging.getLogger(__name__)

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
    """Basis, window, team and workload to nano-dollars."""
    variances: Mapping[tuple[str, ...], int] = field(default_factory=dict[tuple[str, ...], int])
    """Window and reason to nano-dollars."""
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
    """Law to how often it is broken in the last closed day; ``None``: not looked at yet."""
    quotas: QuotaFacts | None
    gathered: Gathered
    jobs: Mapping[str, JobHealth]


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
        counted = Counter(each.law for each in found)
        self.breaks = {law.name: counted[law.name] for law in LAWS}

    def run(self) -> None:
        """Look.

        Raises:
            StoreError: a table cannot be read; what was seen before stays.
        """
        now = self.present.now()
        refused = self.store.scan(BILLS).filter(pl.col("state") == "refused").select("bill_id", "reason").collect()
        last_closed, provisional = _closed(self.store, now)
        self.facts = BooksFacts(
            looked_at=now,
            versions={table.name: self.store.version(table) for table in ALL},
            last_closed=last_closed,
            provisional=provisional,
            bills_refused={str(bill): str(reason) for bill, reason in refused.iter_rows()},
            costs=ledger_costs(self.store, now, self.series_cap),
            variances=variances(self.store, now),
            budgets=budget_states(self.store, self.budgets, now),
        )


def _closed(store: Store, now: datetime) -> tuple[datetime | None, int]:
    recent = store.scan(NODE_HOURS).filter(pl.col("day") >= (now - LOOKED_BACK).date())
    by_hour = recent.group_by("hour_utc").agg(provisional=(pl.col("state") != FINAL).sum())
    closed = pl.col("hour_utc").filter(pl.col("provisional") == 0).max()
    last, provisional = by_hour.select(closed, pl.col("provisional").sum()).collect().row(0)
    return None if last is None else last + timedelta(hours=1), int(provisional or 0)
