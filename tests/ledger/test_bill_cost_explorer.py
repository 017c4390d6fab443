import logging
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from collectors.cost_explorer import METRICS, RequestBudget
from ledger.bill_cost_explorer import take_cost_explorer
from ledger.charge_lines import Reading
from ledger.fx import Rates
from ledger.tables import CHARGES
from tests.ledger.bill_books import Books

ACCOUNT = "111"


class Amazon:
    """Answers each request with one day of some sums."""

    def __init__(self, *groups):
        self.groups = groups
        self.asked = []

    def get_cost_and_usage(self, **parameters):
        period = parameters["TimePeriod"]
        self.asked.append((period["Start"], period["End"]))
        first = {"Start": period["Start"], "End": f"{period['Start'][:8]}02"}
        return {"ResultsByTime": [{"TimePeriod": first, "Groups": list(self.groups), "Estimated": True}]}


def group(service, usage_type, billed, amortized):
    metrics = {
        name: {"Amount": amount, "Unit": "USD"} for name, amount in zip(METRICS, (billed, amortized, "1"), strict=True)
    }
    return {"Keys": [service, usage_type], "Metrics": metrics}


@pytest.fixture
def books(tmp_path):
    return Books(tmp_path)


@pytest.fixture
def take(books):
    def once(amazon, most=20):
        budget = RequestBudget(books.root / "requests.json", most, Decimal("0.01"), lambda: books.now)
        return take_cost_explorer(books.intake, amazon, budget, account=ACCOUNT, reading=Reading(Rates({})))

    return once


AMAZON = (
    group("Amazon Elastic Compute Cloud - Compute", "USE1-BoxUsage:p5.48xlarge", "98.32", "60.00"),
    group("Tax", "NoUsageType", "7.5", "7.5"),
    group("AWS Support (Business)", "Dollar", "3", "3"),
    group("Savings Plans for AWS Compute usage", "ComputeSP", "40", "1.25"),
    group("Amazon Simple Storage Service", "TimedStorage-ByteHrs", "0.0000000123", "1.2E-8"),
)


def test_daily_sums_are_booked_by_service_without_resources(books, take):
    (taken,) = take(Amazon(*AMAZON))
    assert len(taken.booked) == 1
    rows = books.charges().filter(books.charges()["category"] != "rounding").sort("billed_nano_usd", descending=True)
    assert rows.select("category", "instance_type", "billed_nano_usd", "effective_nano_usd").rows() == [
        ("usage", "p5.48xlarge", 98_320_000_000, 60_000_000_000),
        ("unused_commitment", "", 40_000_000_000, 1_250_000_000),
        ("tax", "", 7_500_000_000, 7_500_000_000),
        ("support", "", 3_000_000_000, 3_000_000_000),
        ("usage", "", 12, 12),
    ]
    assert rows["resource_id"].unique().to_list() == [""]
    assert rows["instance_id"].unique().to_list() == [""]


def test_the_same_sums_again_change_nothing(books, take):
    take(Amazon(*AMAZON))
    before = books.store.version(CHARGES)
    take(Amazon(*AMAZON[::-1]))
    assert books.store.version(CHARGES) == before


def test_the_month_before_is_asked_for_until_it_is_closed(books, take):
    amazon = Amazon(*AMAZON)
    books.now = datetime(2026, 12, 3, 5, tzinfo=UTC)
    take(amazon)
    assert amazon.asked == [("2026-11-01", "2026-12-01"), ("2026-12-01", "2026-12-03")]
    books.now = datetime(2026, 12, 20, 5, tzinfo=UTC)
    take(amazon)
    assert amazon.asked[2:] == [("2026-12-01", "2026-12-20")]


def test_nothing_is_asked_on_the_first_of_a_month_of_that_month(books, take):
    amazon = Amazon(*AMAZON)
    books.now = datetime(2026, 12, 1, 5, tzinfo=UTC)
    take(amazon)
    assert amazon.asked == [("2026-11-01", "2026-12-01")]


def test_an_export_takes_the_place_of_the_sums_and_the_month_is_asked_for_no_more(books, take):
    amazon = Amazon(*AMAZON)
    take(amazon)
    books.put("a.csv", {})
    books.take()
    assert books.billed() == 1.25
    assert ("cost-explorer:111", "replaced", 5) in books.register()
    assert take(amazon) == []
    assert len(amazon.asked) == 1


def test_each_reading_tells_its_requests_and_what_they_cost(books, take, caplog):
    caplog.set_level(logging.INFO, "ledger.bill_cost_explorer")
    books.now = datetime(2026, 12, 3, 5, tzinfo=UTC)
    take(Amazon(*AMAZON))
    books.now = datetime(2026, 12, 3, 23, tzinfo=UTC)
    take(Amazon(*AMAZON), most=3)
    assert caplog.messages == [
        "Cost Explorer was asked about account 111 in 2 requests for 0.02 USD; today 2 of 20 requests, 0.02 USD",
        "Cost Explorer was asked about account 111 in 1 requests for 0.01 USD; today 3 of 3 requests, 0.03 USD",
    ]


def test_the_cap_on_requests_is_shown_and_books_nothing(books, take):
    books.now = datetime(2026, 12, 3, tzinfo=UTC)
    first, second = take(Amazon(*AMAZON), most=1)
    assert first.months == {date(2026, 11, 1)}
    assert "1 requests today, 0.01 USD" in second.unavailable[0]
