from datetime import date
from decimal import Decimal

import pytest

from collectors.bill_refused import BillRefused
from ledger.fx import Rates

RATES = Rates({"EUR": ((date(2026, 10, 1), Decimal("1.05")), (date(2026, 11, 1), Decimal("1.10")))}, max_age_days=40)


def test_the_latest_rate_that_is_not_younger_counts():
    days = [date(2026, 10, 1), date(2026, 10, 31), date(2026, 11, 1), date(2026, 12, 11)]
    assert [RATES.usd_per_unit("EUR", day) for day in days] == [Decimal(x) for x in ("1.05", "1.05", "1.10", "1.10")]


def test_a_dollar_is_a_dollar():
    assert RATES.usd_per_unit("USD", date(1999, 1, 1)) == 1


@pytest.mark.parametrize(
    ("currency", "day", "found"),
    [
        ("EUR", date(2026, 9, 30), "there is none"),
        ("EUR", date(2026, 12, 12), "the last one is of 2026-11-01"),
        ("JPY", date(2026, 11, 1), "there is none"),
    ],
)
def test_a_day_without_a_rate_is_refused_with_currency_and_day(currency, day, found):
    with pytest.raises(BillRefused, match=rf"no rate for {currency} on {day} \({found}\): add one under bills.rates"):
        RATES.usd_per_unit(currency, day)
