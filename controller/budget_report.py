"""How the budgets stand, from the books: for the API and the metrics."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from controller.api_window import HOUR
from ledger.budget_settings import BudgetSettings
from ledger.budgets import BudgetState, budget_state, days_of
from ledger.store import Store
from ledger.tables import COST, NODE_HOURS

READ: Final = (COST, NODE_HOURS)
"""The tables that a budget's state is made from."""
_MONTH = timedelta(days=31)


def budget_states(
    store: Store, settings: BudgetSettings, now: datetime, versions: Mapping[str, int | None] | None = None
) -> tuple[BudgetState, ...]:
    """Each budget in the month of the last booked hour; none where nothing is booked.

    Args:
        store: the ledger.
        settings: the budgets.
        now: the time of the books.
        versions: of each of :data:`READ`; ``None``: as they are now.

    Raises:
        StoreError: a table cannot be read.
    """
    if not settings.monthly:
        return ()
    pinned = versions or {}
    since = now - _MONTH - timedelta(days=settings.history_days)
    last = (
        store.scan(NODE_HOURS, pinned.get(NODE_HOURS.name))
        .filter(pl.col("day") >= since.date())
        .select(pl.col("hour_utc").max())
    )
    newest = last.collect().item()
    if newest is None:
        return ()
    through = min(newest + HOUR, max(now, newest))
    cost = store.scan(COST, pinned.get(COST.name)).filter(pl.col("day") >= since.date())
    return tuple(budget_state(budget, days_of(cost, budget, through), settings) for budget in settings.monthly)


def as_json(state: BudgetState) -> dict[str, Any]:
    """Amounts as decimal integers in text."""
    forecast = state.forecast
    return {
        "name": state.name,
        "month": state.month.isoformat(),
        "state": state.state,
        "budget_nano_usd": str(state.budget_nano_usd),
        "spent_nano_usd": None if state.spent_nano_usd is None else str(state.spent_nano_usd),
        "estimate_nano_usd": str(state.estimate_nano_usd),
        "spent_ratio": state.spent_ratio,
        "unbooked_days": state.unbooked_days,
        "unpriced_days": state.unpriced_days,
        "burn_nano_usd_per_day": None if state.burn_nano_usd_per_day is None else str(state.burn_nano_usd_per_day),
        "forecast": None
        if forecast is None
        else {
            "nano_usd": str(forecast.nano_usd),
            "low_nano_usd": str(forecast.low_nano_usd),
            "high_nano_usd": str(forecast.high_nano_usd),
            "weekdays": forecast.weekdays,
            "exhausted_on": None if forecast.exhausted_on is None else forecast.exhausted_on.isoformat(),
        },
        "reason": state.reason,
    }
