"""Cost Explorer's sums as a bill: the open months of one account, for as long as no export brings them."""

import hashlib
import logging
from datetime import UTC, date, datetime, timedelta

from collectors.bill_files import Delivery
from collectors.bill_shelf import Stored
from collectors.cost_explorer import COST_EXPLORER, CostExplorer, DailySums, RequestBudget, daily_sums
from collectors.errors import Misconfigured, Unavailable
from ledger.bill_intake import BillIntake, Taken
from ledger.charge_lines import Reading

_log = logging.getLogger(__name__)


def take_cost_explorer(
    intake: BillIntake,
    client: CostExplorer,
    budget: RequestBudget,
    *,
    account: str,
    reading: Reading,
    closed_after: timedelta = timedelta(days=15),
) -> list[Taken]:
    """Ask for the months that may still change, and book what they come to; one entry for each month that was asked.

    A month that an export has brought is not asked for: requests cost money. What they came to is told in one line.

    Raises:
        StoreError: the ledger cannot be written.
    """
    now = budget.clock().astimezone(UTC)
    try:
        before = budget.requests()
    except Unavailable as error:
        return [Taken(unavailable=[str(error)])]
    results: list[Taken] = []
    for start in _open_months(now, closed_after):
        if intake.booked_otherwise(start, account):
            continue
        end = min(_next_month(start), now.date())
        if end <= start:
            continue
        try:
            sums = daily_sums(client, budget, account, start, end)
        except (Unavailable, Misconfigured) as error:
            results.append(Taken(unavailable=[str(error)]))
            continue
        if sums.rows.height:
            results.append(intake.take_frame(sums.rows, _delivery(account, start, sums, now), COST_EXPLORER, reading))
    _tell(budget, account, before)
    return results


def _tell(budget: RequestBudget, account: str, before: int) -> None:
    spent = budget.spent()
    if spent is None:
        return
    sent = spent.requests - before if spent.requests >= before else spent.requests  # a new day's count began
    _log.info(
        "Cost Explorer was asked about account %s in %d requests for %s USD; today %d of %d requests, %s USD",
        account,
        sent,
        sent * budget.usd_per_request,
        spent.requests,
        spent.most,
        spent.cost_usd,
    )


def _delivery(account: str, month: date, sums: DailySums, now: datetime) -> Delivery:
    text = sums.rows.sort(sums.rows.columns).write_csv()
    mark = hashlib.sha256(text.encode()).hexdigest()
    return Delivery(f"cost-explorer:{account}", month, (Stored("daily sums", len(text), mark, now),))


def _open_months(now: datetime, closed_after: timedelta) -> list[date]:
    this = now.date().replace(day=1)
    former = (this - timedelta(days=1)).replace(day=1)
    return [former, this] if now.date() < this + closed_after else [this]


def _next_month(month: date) -> date:
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)
