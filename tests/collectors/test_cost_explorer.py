from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber

from collectors.cost_explorer import METRICS, RequestBudget, Spent, daily_sums
from collectors.errors import Unavailable

AMOUNTS = ("1.5", "1.25", "2", "Hrs", "USD")
FIRST, SECOND, THIRD = (date(2026, 11, day) for day in (1, 2, 3))


class Clock:
    def __init__(self):
        self.now = datetime(2026, 11, 2, 23, 30, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def budget(tmp_path, clock):
    return RequestBudget(tmp_path / "requests.json", 3, Decimal("0.01"), clock)


@pytest.fixture
def aws():
    client = boto3.client("ce", region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")
    with Stubber(client) as stubber:
        yield client, stubber
    client.close()


def group(service, usage_type, billed="1.5", amortized="1.25", quantity="2", unit="Hrs"):
    amounts = dict(zip(METRICS, (billed, amortized, quantity), strict=True))
    units = dict(zip(METRICS, ("USD", "USD", unit), strict=True))
    metrics = {name: {"Amount": amounts[name], "Unit": units[name]} for name in METRICS}
    return {"Keys": [service, usage_type], "Metrics": metrics}


def day(start, end, *groups, estimated=False):
    period = {"Start": start.isoformat(), "End": end.isoformat()}
    return {"TimePeriod": period, "Groups": list(groups), "Estimated": estimated}


def asked(**more):
    return {
        "TimePeriod": {"Start": "2026-11-01", "End": "2026-11-03"},
        "Granularity": "DAILY",
        "Metrics": list(METRICS),
        "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}, {"Type": "DIMENSION", "Key": "USAGE_TYPE"}],
        **more,
    }


def test_each_days_sums_are_read_page_by_page(aws, budget):
    client, stubber = aws
    first = {"ResultsByTime": [day(FIRST, SECOND, group("Amazon EC2", "BoxUsage:p5.48xlarge"))], "NextPageToken": "2"}
    stubber.add_response("get_cost_and_usage", first, asked())
    last = {"ResultsByTime": [day(SECOND, THIRD, group("Tax", "NoUsageType"), estimated=True)]}
    stubber.add_response("get_cost_and_usage", last, asked(NextPageToken="2"))
    sums = daily_sums(client, budget, "111", FIRST, THIRD)
    assert sums.estimated
    assert sums.rows.rows() == [
        ("111", "2026-11-01", "2026-11-01", "2026-11-02", "Amazon EC2", "BoxUsage:p5.48xlarge", *AMOUNTS),
        ("111", "2026-11-01", "2026-11-02", "2026-11-03", "Tax", "NoUsageType", *AMOUNTS),
    ]
    assert budget.requests() == 2
    assert budget.cost_usd() == Decimal("0.02")


def test_requests_are_counted_across_restarts_and_capped_until_the_next_utc_day(budget, clock, tmp_path):
    for _ in range(3):
        budget.take()
    again = RequestBudget(tmp_path / "requests.json", 3, Decimal("0.01"), clock)
    with pytest.raises(
        Unavailable, match=r"3 requests today, 0\.03 USD, which is all that .*max_requests_per_day allows"
    ):
        again.take()
    clock.now = datetime(2026, 11, 3, tzinfo=UTC)
    again.take()
    assert again.requests() == 1


def test_a_month_of_which_the_last_page_may_not_be_asked_is_not_half_read(aws, budget):
    client, stubber = aws
    page = {"ResultsByTime": [day(FIRST, SECOND, group("Amazon EC2", "x"))]}
    for number in range(3):
        more = {"NextPageToken": str(number)} if number else {}
        stubber.add_response("get_cost_and_usage", {**page, "NextPageToken": str(number + 1)}, asked(**more))
    with pytest.raises(Unavailable, match="it goes on after 00:00 UTC"):
        daily_sums(client, budget, "111", FIRST, THIRD)


def test_a_refusal_names_the_permission(aws, budget):
    client, stubber = aws
    stubber.add_client_error("get_cost_and_usage", "AccessDeniedException", "no", http_status_code=400)
    with pytest.raises(Unavailable, match="allow ce:GetCostAndUsage in the IAM policy"):
        daily_sums(client, budget, "111", FIRST, THIRD)


def test_an_answer_without_an_amount_is_refused(aws, budget):
    client, stubber = aws
    broken = {"Keys": ["a", "b"], "Metrics": {"UnblendedCost": {"Amount": "1", "Unit": "USD"}}}
    stubber.add_response("get_cost_and_usage", {"ResultsByTime": [day(FIRST, SECOND, broken)]}, asked())
    with pytest.raises(Unavailable, match="in a form that is not known"):
        daily_sums(client, budget, "111", FIRST, THIRD)


def test_what_was_spent_is_told_with_what_is_allowed_and_begins_anew_each_day(budget, clock):
    assert budget.spent() == Spent(0, 3, Decimal(0))
    budget.take(), budget.take()
    assert budget.spent() == Spent(2, 3, Decimal("0.02"))
    clock.now = datetime(2026, 11, 3, tzinfo=UTC)
    assert budget.spent() == Spent(0, 3, Decimal(0))


def test_the_directory_of_the_count_is_made_where_there_is_none(tmp_path, clock):
    budget = RequestBudget(tmp_path / "data" / "books" / "requests.json", 3, Decimal("0.01"), clock)
    budget.take()
    assert budget.requests() == 1


def test_requests_that_cannot_be_counted_are_not_sent(tmp_path, clock):
    budget = RequestBudget(tmp_path / "requests.json", 3, Decimal("0.01"), clock)
    (tmp_path / "requests.new").mkdir()
    with pytest.raises(Unavailable, match="is not asked: its requests cannot be counted"):
        budget.take()
    assert budget.requests() == 0


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"day": "2026-11-02", "requests": 1e999}', '{"day": "", "requests": -50}']
)
def test_a_count_that_is_damaged_after_it_was_read_is_none(budget, text):
    budget.take()
    budget.path.write_text(text)
    assert budget.spent() is None
    with pytest.raises(Unavailable, match="remove the file"):
        budget.requests()
    budget.path.unlink()
    assert (budget.requests(), budget.spent().requests) == (0, 0)


def test_one_that_another_process_counts_is_followed(budget, tmp_path, clock):
    other = RequestBudget(tmp_path / "requests.json", 3, Decimal("0.01"), clock)
    for count in (1, 2):
        budget.take()
        assert other.spent().requests == count


@pytest.mark.parametrize("text", ["{", '{"day": "", "requests": 1}'])
def test_to_answer_a_scrape_the_same_file_is_read_once(budget, monkeypatch, text):
    budget.path.write_text(text)
    reads, read_text = [], Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **how: (reads.append(path), read_text(path, **how))[1])
    for _ in range(3):
        budget.spent()
    assert reads == [budget.path]


def test_a_damaged_count_is_not_none_and_nothing_is_asked_until_it_is_removed(budget):
    budget.path.write_text("{")
    assert budget.spent() is None
    with pytest.raises(Unavailable, match=r"cannot be read from .*requests\.json .*remove the file"):
        budget.take()
    budget.path.unlink()
    budget.take()
    assert budget.spent() == Spent(1, 3, Decimal("0.01"))
