import random
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.budget_settings import Budget, BudgetSettings
from ledger.budgets import Days, booked_days, budget_state, daily_cost, days_of
from ledger.tables import COST, conform

USD = 10**9


def at(month, day, hour=0):
    return datetime(2026, month, day, hour, tzinfo=UTC)


def dated(first, *nanos):
    return {first + timedelta(days=place): nano for place, nano in enumerate(nanos)}


def state(costs, through, usd=3000, booked=None, **known):
    budget = Budget.model_validate({"name": "nlp", "match": {"team": "nlp"}, "usd_per_month": usd})
    days = Days(costs, frozenset(costs if booked is None else booked), through, {})
    return budget_state(budget, days, BudgetSettings.model_validate(known))


def steady(first, through, nano=100 * USD):
    count = (through.date() - first).days
    return dated(first, *[nano] * count)


def test_a_steady_spend_is_forecast_without_scatter():
    found = state(steady(date(2026, 10, 1), at(11, 11)), at(11, 11))
    assert found.spent_nano_usd == 1000 * USD
    assert found.burn_nano_usd_per_day == 100 * USD
    assert found.forecast.nano_usd == found.forecast.low_nano_usd == found.forecast.high_nano_usd == 3000 * USD
    assert (found.state, found.unbooked_days, found.forecast.exhausted_on) == ("ok", 0, None)
    assert found.spent_ratio == pytest.approx(1 / 3)


def test_a_forecast_above_the_amount_is_at_risk_and_says_which_day_uses_it_up():
    found = state(steady(date(2026, 10, 1), at(11, 11)), at(11, 11), usd=2450)
    assert found.state == "at_risk"
    assert found.forecast.exhausted_on == date(2026, 11, 25)


def test_more_spent_than_there_is_is_over_whatever_the_forecast():
    found = state(steady(date(2026, 10, 1), at(11, 11)), at(11, 11), usd=999)
    assert (found.state, found.forecast.exhausted_on) == ("over", date(2026, 11, 10))
    # 100 a day: 400 by the end of the 4th, 500 in the course of the 5th
    early = state(steady(date(2026, 10, 1), at(11, 11)), at(11, 11), usd=499)
    assert (early.state, early.forecast.exhausted_on) == ("over", date(2026, 11, 5))
    assert state(dated(date(2026, 11, 1), 1000 * USD), at(11, 2), usd=999).state == "over"


def test_an_amount_that_a_credit_gave_back_is_used_up_when_it_is_passed_again():
    costs = steady(date(2026, 10, 1), at(11, 11)) | {date(2026, 11, 7): -200 * USD}
    # 600 by the 6th, 400 on the 7th, 500 on the 8th, 600 on the 9th
    assert state(costs, at(11, 11), usd=550).forecast.exhausted_on == date(2026, 11, 9)
    # 700 by the 10th: it was never passed
    gone = state(costs, at(11, 11), usd=750).forecast
    assert gone.exhausted_on is not None
    assert gone.exhausted_on > date(2026, 11, 10)


def test_too_few_days_have_no_forecast_and_it_is_said():
    found = state(steady(date(2026, 11, 1), at(11, 7)), at(11, 7))
    assert (found.forecast, found.state) == (None, "unknown")
    assert found.reason == "6 whole days are booked, a forecast takes 7"
    assert state(steady(date(2026, 11, 1), at(11, 8)), at(11, 8)).state == "ok"


def test_weekdays_are_told_apart_after_two_weeks():
    # 2026-11-02 is a Monday: 100 on working days, 30 at weekends
    week = [100 * USD] * 5 + [30 * USD] * 2
    found = state(dated(date(2026, 10, 5), *week * 4), at(11, 2), usd=5000)
    # spent on Sunday the 1st: 30; to come from Monday the 2nd to the 30th: four weeks of 560 and a Monday
    assert found.forecast.weekdays
    assert found.forecast.nano_usd == (30 + 4 * 560 + 100) * USD
    assert found.forecast.low_nano_usd == found.forecast.high_nano_usd == found.forecast.nano_usd


def test_before_two_weeks_every_day_is_expected_to_cost_the_mean_of_the_last_seven():
    week = [100 * USD] * 5 + [30 * USD] * 2
    found = state(dated(date(2026, 11, 2), *week), at(11, 9), booked=steady(date(2026, 11, 1), at(11, 9)))
    # the 1st is booked and cost nothing; the level of the last seven days is 80
    assert not found.forecast.weekdays
    assert found.forecast.nano_usd == (560 + 22 * 80) * USD


def test_a_level_that_rose_counts_at_once():
    costs = dated(date(2026, 10, 5), *[100 * USD] * 21, *[200 * USD] * 7)
    found = state(costs, at(11, 2), usd=9000)
    # weekdays are alike; a week at 200 is the level: 200 spent on the 1st and 29 days to come
    assert found.forecast.nano_usd == 30 * 200 * USD
    assert found.burn_nano_usd_per_day == 200 * USD


def test_the_band_is_the_scatter_of_days_widened_by_the_root_of_the_days_to_come():
    # seven days of 90..150 with mean 120: deviations -30..30, tenth and ninetieth percentile 24 off; 21 days to come
    costs = dated(date(2026, 11, 3), *[nano * USD for nano in (90, 100, 110, 120, 130, 140, 150)])
    found = state(costs, at(11, 10), booked=costs, usd=9000)
    # two days of November lie before the books: 23 to come in all, sqrt(23 + 23 x 23 / 7) = 9.9354...
    assert found.unbooked_days == 2
    assert found.forecast.nano_usd == (840 + 23 * 120) * USD
    width = (23 + 23 * 23 / 7) ** 0.5 * 24
    assert found.forecast.low_nano_usd / USD == pytest.approx(3600 - width)
    assert found.forecast.high_nano_usd / USD == pytest.approx(3600 + width)


def test_a_band_that_passes_the_amount_is_at_risk_only_where_that_is_asked():
    costs = dated(date(2026, 11, 1), *[nano * USD for nano in (90, 100, 110, 120, 130, 140, 150)])
    assert state(costs, at(11, 8), usd=3700).state == "ok"
    assert state(costs, at(11, 8), usd=3700, at_risk_when="high").state == "at_risk"


def test_a_day_without_books_is_not_a_day_without_cost():
    costs = steady(date(2026, 10, 1), at(11, 11))
    holes = {day: nano for day, nano in costs.items() if day not in (date(2026, 11, 4), date(2026, 11, 5))}
    found = state(holes, at(11, 11))
    assert (found.spent_nano_usd, found.unbooked_days) == (800 * USD, 2)
    assert found.forecast.nano_usd == 3000 * USD
    quiet = state(holes, at(11, 11), booked=costs)
    assert (quiet.unbooked_days, quiet.forecast.nano_usd < 2900 * USD) == (0, True)


def test_of_the_open_day_the_part_that_is_booked_is_spent_and_the_rest_expected():
    costs = steady(date(2026, 10, 1), at(11, 11)) | {date(2026, 11, 11): 40 * USD}
    found = state(costs, at(11, 11, 6))
    assert found.spent_nano_usd == 1040 * USD
    # 6 of 24 hours are booked: 75 are expected of the rest of the day, and 19 days of 100
    assert found.forecast.nano_usd == (1040 + 75 + 1900) * USD
    assert found.burn_nano_usd_per_day == 100 * USD


@pytest.mark.parametrize(("hour", "minute"), [(0, 0), (0, 20), (0, 59), (1, 1), (23, 59)])
def test_at_whatever_minute_of_a_day_a_steady_spend_is_forecast_alike(hour, minute):
    so_far = 100 * USD * (60 * hour + minute) // 1440
    costs = steady(date(2026, 10, 1), at(11, 11)) | ({date(2026, 11, 11): so_far} if so_far else {})
    found = state(costs, at(11, 11, hour) + timedelta(minutes=minute))
    assert (found.burn_nano_usd_per_day, found.spent_nano_usd) == (100 * USD, 1000 * USD + so_far)
    assert abs(found.forecast.nano_usd - 3000 * USD) <= 1
    assert found.forecast.high_nano_usd == found.forecast.low_nano_usd == found.forecast.nano_usd


def test_in_the_first_hour_of_a_month_its_days_are_to_come():
    so_far = 100 * USD * 20 // 1440
    costs = steady(date(2026, 10, 1), at(12, 1)) | {date(2026, 12, 1): so_far}
    found = state(costs, at(12, 1) + timedelta(minutes=20), usd=3200)
    assert (found.month, found.spent_nano_usd, found.burn_nano_usd_per_day) == (date(2026, 12, 1), so_far, 100 * USD)
    assert abs(found.forecast.nano_usd - 3100 * USD) <= 1
    assert found.state == "ok"


def test_the_last_hour_of_a_month_belongs_to_it_and_the_forecast_is_what_was_spent():
    found = state(steady(date(2026, 10, 1), at(12, 1)), at(12, 1))
    assert (found.month, found.spent_nano_usd) == (date(2026, 11, 1), 3000 * USD)
    assert found.forecast.nano_usd == found.forecast.high_nano_usd == 3000 * USD


def test_nothing_booked_is_unknown():
    found = state({}, at(11, 11))
    assert (found.spent_nano_usd, found.spent_ratio, found.burn_nano_usd_per_day) == (None, None, None)
    assert (found.state, found.reason) == ("unknown", "0 whole days are booked, a forecast takes 7")


@settings(max_examples=100)
@given(st.lists(st.integers(0, 10**15), min_size=7, max_size=60), st.integers(0, 23))
@example([1] * 16, 1)  # the books end in the first hour of a month of which no day is booked
def test_the_forecast_lies_in_its_band_and_what_is_spent_stays_spent(nanos, hour):
    costs = dated(date(2026, 9, 15), *nanos)
    through = datetime.combine(max(costs), datetime.min.time(), UTC) + timedelta(days=1, hours=hour)
    found = state(costs, through)
    assert found.forecast.low_nano_usd <= found.forecast.nano_usd <= found.forecast.high_nano_usd
    of_month = [nano for day, nano in costs.items() if day >= found.month]
    assert found.spent_nano_usd == (sum(of_month) if of_month else None)
    assert sum(of_month) <= found.forecast.low_nano_usd


def test_four_months_of_five_end_within_the_band():
    weekday = [1.0, 1.1, 1.0, 1.05, 0.9, 0.4, 0.3]
    rng, inside, months = random.Random(7), 0, 200
    for _ in range(months):
        costs = {
            day: round(1000 * USD * weekday[day.weekday()] * rng.lognormvariate(0, 0.25))
            for day in (date(2026, 10, 1) + timedelta(days=place) for place in range(61))
        }
        known = {day: nano for day, nano in costs.items() if day < date(2026, 11, 11)}
        found = state(known, at(11, 11))
        actual = sum(nano for day, nano in costs.items() if day.month == 11)
        inside += found.forecast.low_nano_usd <= actual <= found.forecast.high_nano_usd
    assert 0.7 * months <= inside <= 0.95 * months


def cost(*rows):
    texts = {name: "" for name, dtype in COST.schema.items() if dtype == pl.String} | {"node": "n1"}
    return conform(COST, pl.LazyFrame([texts | row for row in rows], schema_overrides=COST.schema))


ROWS = cost(
    {"day": date(2026, 11, 1), "team": "nlp", "list_nano_usd": 10, "effective_nano_usd": 7},
    {"day": date(2026, 11, 1), "team": "vision", "list_nano_usd": 100, "effective_nano_usd": 70},
    {"day": date(2026, 11, 2), "team": "nlp", "list_nano_usd": 20, "dimensions": '{"project":"atlas"}'},
    {"day": date(2026, 11, 2), "team": "nlp", "list_nano_usd": 5, "environment": "prod"},
)


@pytest.mark.parametrize(
    ("match", "basis", "expected"),
    [
        ({"team": "nlp"}, "best", [(1, 7, 0, False), (2, 25, 25, False)]),
        ({"team": "nlp"}, "list", [(1, 10, 10, False), (2, 25, 25, False)]),
        ({"team": "nlp"}, "effective", [(1, 7, 0, False), (2, None, None, True)]),
        ({}, "best", [(1, 77, 0, False), (2, 25, 25, False)]),
        ({"team": "nlp", "environment": "prod"}, "best", [(2, 5, 5, False)]),
        ({"dimension:project": "atlas"}, "list", [(2, 20, 20, False)]),
        ({"team": "nobody"}, "best", []),
    ],
)
def test_a_budgets_cost_is_what_fits_by_day_and_basis(match, basis, expected):
    budget = Budget.model_validate({"name": "b", "match": match, "usd_per_month": 1, "basis": basis})
    found = daily_cost(ROWS, budget).collect()
    assert [(day.day, *more) for day, *more in found.iter_rows()] == expected


def test_days_are_known_by_anybodys_books_and_of_basis_effective_by_the_bill():
    budget = Budget.model_validate({"name": "b", "match": {"team": "nobody"}, "usd_per_month": 1})
    assert booked_days(ROWS, budget).collect().get_column("day").to_list() == [date(2026, 11, 1), date(2026, 11, 2)]
    billed = budget.model_copy(update={"basis": "effective"})
    assert booked_days(ROWS, billed).collect().get_column("day").to_list() == [date(2026, 11, 1)]


@pytest.mark.parametrize(("basis", "days"), [("best", [2, 3]), ("list", [2, 3]), ("effective", [2])])
def test_what_is_shared_alone_makes_no_day_known(basis, days):
    budget = Budget.model_validate({"name": "b", "match": {}, "usd_per_month": 1, "basis": basis})
    taxed = [{"day": date(2026, 11, day), "node": "", "effective_nano_usd": 3} for day in (1, 2)]
    nodes = [{"day": date(2026, 11, day), "list_nano_usd": 10} for day in (2, 3)]
    found = booked_days(cost(*taxed, *nodes), budget).collect().get_column("day")
    assert [day.day for day in found] == days


def test_a_state_is_made_from_the_table_of_cost():
    budget = Budget.model_validate({"name": "b", "match": {"team": "nlp"}, "usd_per_month": 1})
    found = budget_state(budget, days_of(ROWS, budget, at(11, 3)), BudgetSettings(least_days=2))
    assert (found.spent_nano_usd, found.estimate_nano_usd) == (32, 25)
    assert found.forecast.nano_usd == 32 + 28 * 16


def priced(*nanos):
    """A team's rows of the first days of November, one a day or several; ``None``: no price is known."""
    days = ((date(2026, 11, 1 + place), each) for place, each in enumerate(nanos))
    rows = [(day, nano) for day, each in days for nano in (each if isinstance(each, tuple) else (each,))]
    return cost(*({"day": day, "team": "nlp", "account": "active", "list_nano_usd": nano} for day, nano in rows))


def of_prices(*nanos, usd=1, basis="best"):
    budget = Budget.model_validate({"name": "b", "match": {"team": "nlp"}, "usd_per_month": usd, "basis": basis})
    return budget_state(budget, days_of(priced(*nanos), budget, at(11, 1 + len(nanos))), BudgetSettings(least_days=2))


@pytest.mark.parametrize("basis", ["best", "list", "effective"])
def test_a_budget_of_which_nothing_has_a_price_is_unknown(basis):
    found = of_prices(*[None] * 10, basis=basis)
    assert (found.spent_nano_usd, found.spent_ratio, found.estimate_nano_usd) == (None, None, 0)
    assert (found.burn_nano_usd_per_day, found.forecast, found.state) == (None, None, "unknown")
    assert (found.unpriced_days, found.unbooked_days) == (10, 0)
    assert found.reason.endswith("; of 10 days no cost is known")


def test_a_day_without_a_price_is_expected_in_the_forecast_and_a_part_of_one_is_told():
    found = of_prices(100, (100, None), None, 100)
    # of the 3rd nothing is known: it and 26 days to come are expected to cost 100 each
    assert (found.spent_nano_usd, found.unpriced_days, found.unbooked_days) == (300, 2, 0)
    assert (found.burn_nano_usd_per_day, found.forecast.nano_usd) == (100, 3000)
