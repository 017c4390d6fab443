"""The register of bills: what is booked, what it replaced, what was refused and why.

Reads and makes BILLS rows; writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from collectors.bill_files import Delivery
from ledger.charges import Staged
from ledger.tables import BILLS, CHARGES

BOOKED, REPLACED, REFUSED = "booked", "replaced", "refused"


@dataclass(frozen=True, slots=True)
class Register:
    """BILLS as they stand."""

    rows: pl.DataFrame

    def knows(self, delivery: Delivery, refused_id: str) -> bool:
        """Whether just these objects are booked, or are refused as they were read in the same way."""
        same = self._of(delivery).filter(pl.col("objects") == delivery.content, pl.col("state") != REPLACED)
        return bool(same.filter((pl.col("state") == BOOKED) | (pl.col("bill_id") == refused_id)).height)

    def booked(self, delivery: Delivery) -> pl.DataFrame:
        """What a new delivery takes the place of."""
        return self._of(delivery).filter(pl.col("state") == BOOKED)

    def refused(self, delivery: Delivery) -> pl.DataFrame:
        """What a delivery that is booked makes good."""
        return self._of(delivery).filter(pl.col("state") == REFUSED)

    def removed(self, source: str, there: Sequence[tuple[str, date | None]]) -> pl.DataFrame:
        """Refused deliveries of a source of whose export and month nothing is there any more."""
        kept = pl.DataFrame(there, schema={"export": pl.String, "month": pl.Date}, orient="row")
        mine = self.rows.filter(pl.col("state") == REFUSED, pl.col("export").str.starts_with(f"{source}:"))
        return mine.join(kept, on=["export", "month"], how="anti", nulls_equal=True)

    def dialect(self, bill_id: str) -> str:
        """In which a bill was."""
        return str(self.rows.filter(pl.col("bill_id") == bill_id)["dialect"].first() or "")

    def export(self, bill_id: str) -> str:
        """What delivered a bill."""
        return str(self.rows.filter(pl.col("bill_id") == bill_id)["export"].first() or bill_id)

    def closing(self, now: datetime, closed_after: timedelta) -> pl.DataFrame:
        """Booked bills whose month is closed by now, and that do not say so yet."""
        open_ = self.rows.filter(pl.col("state") == BOOKED, ~pl.col("complete"))
        closed = [is_closed(month, now, closed_after) for month in open_["month"]]
        return open_.filter(pl.Series(closed, dtype=pl.Boolean)).with_columns(complete=pl.lit(value=True))

    def _of(self, delivery: Delivery) -> pl.DataFrame:
        mine = self.rows.filter(pl.col("export") == delivery.export)
        return mine if delivery.month is None else mine.filter(pl.col("month") == delivery.month)


def is_closed(month: date, now: datetime, closed_after: timedelta) -> bool:
    """Whether a month's bill is taken to change no more."""
    return now.date() >= closing_time(month, closed_after).date()


def closing_time(month: date, closed_after: timedelta) -> datetime:
    """From when on a month's bill is taken to change no more."""
    return datetime.combine((month.replace(day=28) + timedelta(days=4)).replace(day=1), time(), UTC) + closed_after


def bill_id(delivery: Delivery, month: date) -> str:
    """The same for the same objects of the same export."""
    return f"{delivery.export}/{month:%Y-%m}/{delivery.digest}"


def booked_rows(delivery: Delivery, staged: Staged, now: datetime, closed_after: timedelta) -> pl.DataFrame:
    """A row for each month of a delivery."""
    rows = [
        {
            "month": month,
            "bill_id": bill_id(delivery, month),
            "export": delivery.export,
            "dialect": staged.dialect,
            "objects": delivery.content,
            "lines": sums.lines,
            "billed_nano_usd": sums.total("billed"),
            "effective_nano_usd": sums.total("effective"),
            "state": BOOKED,
            "reason": "",
            "complete": is_closed(month, now, closed_after),
            "read_at": now,
        }
        for month, sums in staged.months.items()
    ]
    return pl.DataFrame(rows, schema=BILLS.schema)


def refused_row(delivery: Delivery, refused_id: str, reason: str, now: datetime) -> pl.DataFrame:
    """The row of a delivery that was refused."""
    row = {
        "month": delivery.month,
        "bill_id": refused_id,
        "export": delivery.export,
        "dialect": "",
        "objects": delivery.content,
        "state": REFUSED,
        "reason": reason,
        "complete": False,
        "read_at": now,
    }
    return pl.DataFrame([row], schema=BILLS.schema)


def other_bills(charges: pl.LazyFrame, months: Sequence[date], own: Sequence[str]) -> pl.LazyFrame:
    """Charges of the same months that are of other bills."""
    within = pl.col("month").is_in(pl.Series(months, dtype=pl.Date).implode())
    mine = pl.col("bill_id").is_in(pl.Series(own, dtype=pl.String).implode())
    return charges.filter(within, ~mine, pl.col("category") != "rounding").select(list(CHARGES.schema))
