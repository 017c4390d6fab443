"""Settings of budgets: how much whom a month may cost."""

from collections import Counter
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, Self

from collectors.setting import BaseModel, ConfigDict, Field, field_validator, model_validator
from ledger.dimension_names import ALLOWED, is_dimension

UsdPerMonth = Annotated[Decimal, Field(gt=0, le=Decimal(10) ** 9, decimal_places=9)]

COLUMNS = (
    "cluster",
    "node",
    "provider",
    "region",
    "zone",
    "instance_type",
    "capacity_type",
    "gpu_model",
    "holder_kind",
    "holder",
    "namespace",
    "workload_kind",
    "workload",
    "team",
    "environment",
    "run",
)
"""What a budget may be for, beside ``dimension:NAME``."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class MonthBudget(_Section):
    """Another amount for one month."""

    month: date
    """First day of the month, such as `2026-12-01`."""
    usd: UsdPerMonth
    """US dollars for that month."""

    @field_validator("month")
    @classmethod
    def _first_day(cls, month: date) -> date:
        if month.day != 1:
            raise ValueError(f"{month} is no first day of a month; write {month.replace(day=1)}")
        return month


class Budget(_Section):
    """What somebody may spend in each calendar month (UTC, as bills count)."""

    name: str = Field(min_length=1, max_length=63)
    """Its name in metrics, API and alerts."""
    match: Mapping[str, str] = Field(default_factory=dict[str, str])
    """Whose cost: columns of the books with their values, such as `team: nlp` or `dimension:project: atlas`; all must
    fit. Empty: the whole fleet, with what nobody held."""
    usd_per_month: UsdPerMonth
    """US dollars a month."""
    months: tuple[MonthBudget, ...] = ()
    """Months that have another amount."""
    basis: Literal["best", "effective", "list"] = "best"
    """`effective`: as billed, days without a bill are not known yet; `list`: list price; `best`: effective where the
    bill has come, list price, called an estimate, where it has not."""

    def usd(self, month: date) -> Decimal:
        """The amount of the month that begins on that day."""
        return next((other.usd for other in self.months if other.month == month), self.usd_per_month)

    @field_validator("match")
    @classmethod
    def _known(cls, match: Mapping[str, str]) -> Mapping[str, str]:
        for column in match:
            if column not in COLUMNS and not is_dimension(column):
                raise ValueError(f"{column!r} is no column of the books: {', '.join(COLUMNS)} or {ALLOWED}")
        return match

    @model_validator(mode="after")
    def _each_month_once(self) -> Self:
        _unique("months", [str(other.month) for other in self.months])
        return self


class BudgetSettings(_Section):
    """Budgets, and how their forecast is made."""

    monthly: tuple[Budget, ...] = ()
    """The budgets."""
    burn_days: int = Field(default=7, ge=1, le=28)
    """Days over which the burn rate is taken."""
    history_days: int = Field(default=28, ge=14, le=92)
    """Days from which the forecast learns weekdays and scatter; those of the month before count."""
    least_days: int = Field(default=7, ge=2, le=28)
    """Fewer booked days than these have no forecast."""
    at_risk_when: Literal["forecast", "high"] = "forecast"
    """What makes a budget `at_risk` when it passes the amount: the forecast, or already the upper end of its band."""

    @model_validator(mode="after")
    def _each_name_once(self) -> Self:
        _unique("monthly", [budget.name for budget in self.monthly])
        return self


def _unique(section: str, names: list[str]) -> None:
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise ValueError(f"{section}: {twice!r} stands twice; keep one")
