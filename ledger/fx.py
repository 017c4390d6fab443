"""Dollars for other currencies: dated rates that the installation gives. No rate, no booking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from collectors.bill_refused import BillRefused

USD = "USD"


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars for one unit of a currency, from a day on."""

    table: Mapping[str, Sequence[tuple[date, Decimal]]]
    """By ISO 4217 code, days ascending."""
    max_age_days: int = 40

    def usd_per_unit(self, currency: str, day: date) -> Decimal:
        """The rate of that day: the latest that is not younger.

        Raises:
            BillRefused: there is none, or it is older than it may be.
        """
        if currency == USD:
            return Decimal(1)
        past = [(since, rate) for since, rate in self.table.get(currency, ()) if since <= day]
        if past and (day - past[-1][0]).days <= self.max_age_days:
            return past[-1][1]
        found = f"the last one is of {past[-1][0]}" if past else "there is none"
        raise BillRefused(
            f"no rate for {currency} on {day} ({found}): add one under bills.rates.{currency}, dated at most"
            f" {self.max_age_days} days before"
        )
