"""Budgets: spent, burn rate, and a forecast of the month's end with a band.

Owns the forecast's method, which ``docs/guides/budgets.md`` describes. Pure: days of cost in, a state out. Must never
take a day without books, or without a price, for a day without cost.
"""

import math
from calendar import monthrange
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Final, Literal, get_args

import polars as pl

from ledger.budget_settings import Budget, BudgetSettings
from ledger.dimension_names import DIMENSION
from ledger.dimensions import dimension_value
from ledger.price import nano_usd
from ledger.unpriced import is_bare

State = Literal["ok", "at_risk", "over", "unknown"]
STATES: Final[tuple[State, ...]] = get_args(State)

WEEK = 7
LOW, HIGH = Fraction(1, 10), Fraction(9, 10)
"""The band: the true sum of the month should lie below it, and above it, one time in ten each."""
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The month's whole cost as it is expected at its end, in nano-dollars; an estimate."""

    nano_usd: int
    low_nano_usd: int
    high_nano_usd: int
    weekdays: bool
    """Whether weekdays were told apart; it takes two weeks."""
    exhausted_on: date | None
    """The day in which the amount was, or is expected to be, used up; ``None``: not in this month."""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """How a budget stands."""

    name: str
    month: date
    budget_nano_usd: int
    spent_nano_usd: int | None
    """Booked in this month so far; ``None``: nothing of it is known."""
    estimate_nano_usd: int
    """The part of it that is list price, since no bill has come."""
    unbooked_days: int
    """Days of the month before today without books: their cost is missing in ``spent`` and expected in ``forecast``."""
    unpriced_days: int
    """Days of the month of whose cost a part is not known, and so missing in ``spent``; of a day of which nothing is
    known all is expected in ``forecast``."""
    burn_nano_usd_per_day: int | None
    """Mean of the last booked days; ``None`` where there is none."""
    forecast: Forecast | None
    state: State
    reason: str = ""
    """Why there is no forecast."""

    @property
    def spent_ratio(self) -> float | None:
        """Spent over budget."""
        return None if self.spent_nano_usd is None else self.spent_nano_usd / self.budget_nano_usd


@dataclass(frozen=True, slots=True)
class Days:
    """What a budget's cost was, day by day (UTC)."""

    nano_usd: Mapping[date, int]
    """A booked day that is not in here cost nothing."""
    booked: Collection[date]
    """Days with books, this day's open one too; not those of which no cost is known."""
    through: datetime
    """Where the books end: what is before it is booked, to the minute in the open hour."""
    estimate_nano_usd: Mapping[date, int]
    unpriced: Collection[date] = frozenset()
    """Days of whose cost a part, or all, is not known."""


def daily_cost(cost: pl.LazyFrame, budget: Budget) -> pl.LazyFrame:
    """What the budget is for, by day: ``day``, ``nano_usd``, ``estimate_nano_usd`` (both null where nothing of it is
    known), ``unpriced`` (whether a part is not known).

    Args:
        cost: rows of the table ``cost``.
        budget: whose; of basis ``effective`` rows without a bill are left out.
    """
    effective, listed = pl.col("effective_nano_usd"), pl.col("list_nano_usd")
    amount = {"best": pl.coalesce(effective, listed), "effective": effective, "list": listed}[budget.basis]
    estimate = pl.when(effective.is_null() if budget.basis == "best" else pl.lit(budget.basis == "list")).then(amount)
    return (
        cost.filter(_fits(budget.match))
        .select("day", nano_usd=amount, estimate_nano_usd=estimate, unpriced=is_bare(amount, budget.basis))
        .group_by("day")
        .agg(
            pl.when(pl.col("nano_usd").is_not_null().any()).then(
                pl.col("nano_usd", "estimate_nano_usd").cast(pl.Int128).sum().cast(pl.Int64)
            ),
            pl.col("unpriced").any(),
        )
        .sort("day")
    )


def booked_days(cost: pl.LazyFrame, budget: Budget) -> pl.LazyFrame:
    """The days in which nodes have cost, whosever; of basis ``effective`` those of them that a bill has reached.

    A bill's monthly tax stands in days before the books began too, so what is shared alone makes no day known.
    """
    of_nodes = (pl.col("node") != "").any()
    known = pl.col("effective_nano_usd").is_not_null().any() if budget.basis == "effective" else pl.lit(value=True)
    return cost.group_by("day").agg(known=of_nodes & known).filter("known").select("day").sort("day")


def days_of(cost: pl.LazyFrame, budget: Budget, through: datetime) -> Days:
    """Both of a range of cost; ``through`` is where the books end."""
    spent, booked = pl.collect_all([daily_cost(cost, budget), booked_days(cost, budget)])
    known = spent.filter(pl.col("nano_usd").is_not_null())
    lacking = spent.filter(pl.col("unpriced"))
    nothing_known = lacking.filter(pl.col("nano_usd").is_null())
    return Days(
        dict(known.select("day", "nano_usd").iter_rows()),
        frozenset(booked.get_column("day")) - frozenset(nothing_known.get_column("day")),
        through,
        dict(known.select("day", "estimate_nano_usd").iter_rows()),
        frozenset(lacking.get_column("day")),
    )


def budget_state(budget: Budget, days: Days, settings: BudgetSettings) -> BudgetState:
    """How the budget stands in the month of the last booked hour."""
    today = _last_day(days)
    month = today.replace(day=1)
    amount = nano_usd(budget.usd(month))
    known = any(month <= day <= today for day in days.booked)
    of_month = {day: nano for day, nano in days.nano_usd.items() if month <= day <= today}
    spent = sum(of_month.values())
    whole = sorted(day for day in days.booked if day < today or _part_of(days, today) == 1)
    left = _left(month, today, days, frozenset(whole))
    forecast = reason = None
    if len(whole[-settings.history_days :]) < settings.least_days:
        reason = f"{len(whole)} whole days are booked, a forecast takes {settings.least_days}"
        if unknown := [day for day in days.unpriced if day not in days.booked]:
            reason += f"; of {len(unknown)} days no cost is known"
    else:
        history = [(day, days.nano_usd.get(day, 0)) for day in whole[-settings.history_days :]]
        forecast = _forecast(history, of_month, left, amount)
    burn = [days.nano_usd.get(day, 0) for day in whole[-settings.burn_days :]]
    return BudgetState(
        name=budget.name,
        month=month,
        budget_nano_usd=amount,
        spent_nano_usd=spent if known else None,
        estimate_nano_usd=sum(nano for day, nano in days.estimate_nano_usd.items() if month <= day <= today),
        unbooked_days=sum(1 for day in left if day < today and day not in days.unpriced),
        unpriced_days=sum(1 for day in days.unpriced if month <= day <= today),
        burn_nano_usd_per_day=round(Fraction(sum(burn), len(burn))) if burn else None,
        forecast=forecast,
        state=_state(spent, forecast, amount, settings),
        reason=reason or "",
    )


def _left(month: date, today: date, days: Days, whole: Collection[date]) -> dict[date, Fraction]:
    """The days whose cost is still to come, or to be booked, each with the part of it that is."""
    length = monthrange(month.year, month.month)[1]
    all_days = [month + timedelta(days=place) for place in range(length)]
    left = {day: Fraction(1) for day in all_days if day not in whole}
    if today in left and today in days.booked:
        left[today] = 1 - _part_of(days, today)
    return left


def _last_day(days: Days) -> date:
    return (days.through - timedelta(microseconds=1)).astimezone(UTC).date()


def _part_of(days: Days, day: date) -> Fraction:
    """The part of the day that lies before the end of the books."""
    passed = days.through - datetime.combine(day, time(), UTC)
    return min(Fraction(passed // timedelta(microseconds=1), _DAY // timedelta(microseconds=1)), Fraction(1))


def _forecast(
    history: Sequence[tuple[date, int]], booked: Mapping[date, int], left: Mapping[date, Fraction], amount: int
) -> Forecast:
    spent = sum(booked.values())
    expected, weekdays = _expected(history)
    scatter = sorted(Fraction(nano) - expected[day.weekday()] for day, nano in history)
    below, above = min(_quantile(scatter, LOW), Fraction(0)), max(_quantile(scatter, HIGH), Fraction(0))
    to_come = {day: expected[day.weekday()] * part for day, part in left.items()}
    count = float(sum(left.values()))
    # days scatter on their own, and the level that all rest on was taken from a week
    width = Fraction(math.sqrt(count + count * count / WEEK))
    middle = spent + sum(to_come.values())
    return Forecast(
        nano_usd=round(middle),
        # what is spent stays spent
        low_nano_usd=max(min(spent, round(middle)), round(middle + width * below)),
        high_nano_usd=round(middle + width * above),
        weekdays=weekdays,
        exhausted_on=_exhausted_on(booked, to_come, amount, history[-1][0]),
    )


def _expected(history: Sequence[tuple[date, int]]) -> tuple[list[Fraction], bool]:
    """What a Monday, a Tuesday, ... is expected to cost; and whether weekdays were told apart.

    The level is the mean of the last seven days; a weekday stands to it as it stood to the mean of all.
    """
    level = _mean([nano for _, nano in history[-WEEK:]])
    overall = _mean([nano for _, nano in history])
    by_weekday = [[nano for day, nano in history if day.weekday() == weekday] for weekday in range(WEEK)]
    if overall <= 0 or min(map(len, by_weekday)) < 2:  # noqa: PLR2004  (one Monday is no pattern)
        return [level] * WEEK, False
    ratios = [_mean(days) / overall for days in by_weekday]
    recent = _mean([ratios[day.weekday()] for day, _ in history[-WEEK:]])
    if recent <= 0:
        return [level] * WEEK, False
    return [level * ratio / recent for ratio in ratios], True


def _exhausted_on(booked: Mapping[date, int], to_come: Mapping[date, Fraction], amount: int, last: date) -> date | None:
    spent, passed = 0, None
    for day in sorted(booked):
        spent += booked[day]
        # a credit may bring it below the amount again
        passed = None if spent <= amount else passed or day
    if passed is not None:
        return passed
    total = Fraction(spent)
    for day in sorted(to_come):
        total += to_come[day]
        if total > amount:
            return max(day, last)
    return None


def _state(spent: int, forecast: Forecast | None, amount: int, settings: BudgetSettings) -> State:
    if spent > amount:
        return "over"
    if forecast is None:
        return "unknown"
    feared = forecast.high_nano_usd if settings.at_risk_when == "high" else forecast.nano_usd
    return "at_risk" if feared > amount else "ok"


def _mean(values: Sequence[int] | Sequence[Fraction]) -> Fraction:
    return Fraction(sum(values, Fraction(0)), len(values))


def _quantile(ordered: Sequence[Fraction], part: Fraction) -> Fraction:
    """Linear between the two nearest of the sorted values."""
    place = part * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _fits(match: Mapping[str, str]) -> pl.Expr:
    return pl.all_horizontal(pl.lit(value=True), *(_column(name) == value for name, value in match.items()))


def _column(name: str) -> pl.Expr:
    return dimension_value(name) if name.startswith(DIMENSION) else pl.col(name)
