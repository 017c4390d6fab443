from datetime import date
from decimal import Decimal

import pytest
from pydantic import ValidationError

from ledger.allocate import GROUPS
from ledger.budget_settings import COLUMNS, Budget, BudgetSettings

NLP = {"name": "nlp", "match": {"team": "nlp"}, "usd_per_month": 1000}


def test_every_column_of_a_budget_is_one_of_the_books():
    assert set(COLUMNS) - GROUPS == set()


def test_a_month_may_have_another_amount():
    budget = Budget.model_validate(NLP | {"months": [{"month": "2026-12-01", "usd": "1500.5"}]})
    assert budget.usd(date(2026, 11, 1)) == 1000
    assert budget.usd(date(2026, 12, 1)) == Decimal("1500.5")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"usd_per_month": 0}, "greater than 0"),
        ({"match": {"squad": "nlp"}}, "'squad' is no column of the books: cluster, node"),
        ({"match": {"dimension:": "x"}}, "'dimension:' is no column of the books"),
        ({"months": [{"month": "2026-12-05", "usd": 1}]}, "no first day of a month; write 2026-12-01"),
        ({"months": [{"month": "2026-12-01", "usd": 1}] * 2}, "months: '2026-12-01' stands twice"),
        ({"basis": "amortised"}, "'best', 'effective' or 'list'"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(change, why):
    with pytest.raises(ValidationError, match=why):
        Budget.model_validate(NLP | change)


def test_a_budget_may_be_for_an_own_dimension_and_a_name_stands_once():
    assert Budget.model_validate(NLP | {"match": {"dimension:project": "atlas"}}).match == {
        "dimension:project": "atlas"
    }
    with pytest.raises(ValidationError, match="monthly: 'nlp' stands twice; keep one"):
        BudgetSettings.model_validate({"monthly": [NLP, NLP]})
