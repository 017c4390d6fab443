"""AWS Cost Explorer: daily sums by service and usage type, for accounts without an export of their bill.

Each request costs money, so requests are counted and capped. Its sums know no resource, and put credits and refunds
into the service that they were given for. Amounts stay the text that AWS sends.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, cast

import polars as pl

from collectors.aws_client import errors_of
from collectors.bill_dialect import Dialect, Header
from collectors.bill_focus import AWS_TYPE, is_support
from collectors.errors import Unavailable

METRICS = ("UnblendedCost", "AmortizedCost", "UsageQuantity")
COLUMNS = ("account", "month", "start", "end", "service", "usage_type", *METRICS, "unit", "currency")


class CostExplorer(Protocol):
    """The one operation that is used of botocore's client ``ce``."""

    def get_cost_and_usage(self, **parameters: object) -> dict[str, Any]:
        """One page of sums."""
        ...


@dataclass(frozen=True, slots=True)
class Spent:
    """On requests, in a UTC day so far."""

    requests: int
    most: int
    """So many are allowed."""
    cost_usd: Decimal


@dataclass(slots=True)
class RequestBudget:
    """Counts the requests of a UTC day, across restarts, in a file whose directory is made where there is none."""

    path: Path
    most: int
    usd_per_request: Decimal
    clock: Callable[[], datetime]
    _told: tuple[str, int] | None = None
    """The day and its requests, as read last; ``None``: they cannot be read."""
    _seen: tuple[int, int, int] | None = None
    """Inode, size and time of the file then, zeros where there was none; ``None``: not read yet. To answer a scrape it
    is read only where it is another one now."""

    def requests(self) -> int:
        """Those of today.

        Raises:
            Unavailable: the count cannot be read.
        """
        self._seen, self._told = self._look(), None
        try:
            said = json.loads(self.path.read_text(encoding="utf-8"))
            count = int(said["requests"])
            if count < 0:
                raise ValueError(f"{count} requests")  # noqa: TRY301  (told as what else cannot be read)
            self._told = str(said["day"]), count
        except FileNotFoundError:
            self._told = self._today(), 0
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise Unavailable(
                f"Cost Explorer: how often it was asked today cannot be read from {self.path} ({error!r}): see in "
                "AWS's bill what was asked, and remove the file"
            ) from error
        return self._of_today()

    def cost_usd(self) -> Decimal:
        """What today's requests cost."""
        return self.requests() * self.usd_per_request

    def spent(self) -> Spent | None:
        """All of it, at one instant; ``None``: the count cannot be read."""
        if self._look() != self._seen:
            with suppress(Unavailable):
                self.requests()
        if self._told is None:
            return None
        requests = self._of_today()
        return Spent(requests, self.most, requests * self.usd_per_request)

    def take(self) -> None:
        """One more, written down before it is sent.

        Raises:
            Unavailable: today's are used up, or cannot be counted.
        """
        used = self.requests()
        if used >= self.most:
            raise Unavailable(
                f"Cost Explorer: {used} requests today, {self.cost_usd()} USD, which is all that"
                " bills.cost_explorer.max_requests_per_day allows; it goes on after 00:00 UTC"
            )
        text = json.dumps({"day": self._today(), "requests": used + 1})
        fresh = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())  # else a loss of power may leave an empty count, with which nothing is asked
            os.replace(fresh, self.path)  # noqa: PTH105  (Path.replace hides that it is one step)
        except OSError as error:
            raise Unavailable(f"Cost Explorer is not asked: its requests cannot be counted ({error})") from error
        self._seen, self._told = self._look(), (self._today(), used + 1)

    def _look(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError:
            return 0, 0, 0
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _of_today(self) -> int:
        day, requests = self._told or ("", 0)
        return requests if day == self._today() else 0

    def _today(self) -> str:
        return self.clock().astimezone(UTC).date().isoformat()


@dataclass(frozen=True, slots=True)
class DailySums:
    """What Cost Explorer said of some days."""

    rows: pl.DataFrame
    """Text columns :data:`COLUMNS`."""
    estimated: bool
    """AWS may still change them."""


def daily_sums(client: CostExplorer, budget: RequestBudget, account: str, start: date, end: date) -> DailySums:
    """Sums of each day from ``start`` until before ``end``.

    Raises:
        Unavailable: no answer, no permission, the day's requests are used up, or an answer of another form. What was
            read before is thrown away: half a month would look like a whole one.
        Misconfigured: no credentials.
    """
    rows: list[tuple[str, ...]] = []
    estimated = False
    for page in _pages(client, budget, start, end):
        for day in page.get("ResultsByTime", ()):
            estimated = estimated or bool(day.get("Estimated"))
            rows += [_row(account, day["TimePeriod"], group) for group in day.get("Groups", ())]
    return DailySums(pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row"), estimated)


def _pages(client: CostExplorer, budget: RequestBudget, start: date, end: date) -> Iterator[dict[str, Any]]:
    asked: dict[str, object] = {
        "TimePeriod": {"Start": start.isoformat(), "End": end.isoformat()},
        "Granularity": "DAILY",
        "Metrics": list(METRICS),
        "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}, {"Type": "DIMENSION", "Key": "USAGE_TYPE"}],
    }
    while True:
        budget.take()
        with errors_of("Cost Explorer", "us-east-1", "ce:GetCostAndUsage"):
            page = client.get_cost_and_usage(**asked)
        yield page
        token = page.get("NextPageToken")
        if not token:
            return
        if asked.get("NextPageToken") == token:
            raise Unavailable("Cost Explorer answers the same page again and again; it is asked again later")
        asked["NextPageToken"] = token


def _row(account: str, period: Mapping[str, str], group: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        metrics = cast("Mapping[str, Mapping[str, str]]", group["Metrics"])
        service, usage_type = group["Keys"]
        start = period["Start"]
        amounts = [metrics[name]["Amount"] for name in METRICS]
        return (
            account,
            f"{start[:8]}01",
            start,
            period["End"],
            service,
            usage_type,
            *amounts,
            metrics["UsageQuantity"].get("Unit", ""),
            metrics["UnblendedCost"]["Unit"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"Cost Explorer answered in a form that is not known ({error!r})") from error


def _category(header: Header) -> pl.Expr:
    service = header.text("service")
    return (
        pl.when(service.str.contains(r"(?i)^tax$"))
        .then(pl.lit("tax"))
        .when(is_support(service))
        .then(pl.lit("support"))
        .when(service.str.contains(r"(?i)^(?:refund|credit)"))
        .then(pl.lit("credit"))
        .when(service.str.contains(r"(?i)^savings plans? for "))
        .then(pl.lit("unused_commitment"))
        .otherwise(pl.lit("usage"))
    )


def _pricing(header: Header) -> pl.Expr:
    spot = header.text("usage_type").str.contains("SpotUsage")
    return pl.when(spot).then(pl.lit("spot")).otherwise(pl.lit("other"))


COST_EXPLORER = Dialect(
    name="cost-explorer",
    needs=tuple((name,) for name in COLUMNS),
    facts={
        "billing_account": "account",
        "provider": lambda _header: pl.lit("aws"),
        "service": "service",
        "sku": "usage_type",
        "instance_type": lambda header: header.text("usage_type").str.extract(AWS_TYPE),
        "category": _category,
        "correction": lambda _header: pl.lit(value=False),
        "pricing": _pricing,
        "description": "usage_type",
        "unit": "unit",
        "currency": "currency",
    },
    figures={
        "billing_start": "month",
        "period_start": "start",
        "period_end": "end",
        "quantity": "UsageQuantity",
        "billed": "UnblendedCost",
        "effective": "AmortizedCost",
    },
)
