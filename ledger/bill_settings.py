"""Settings of bills: where they are delivered, how they are read, and what other currencies are worth."""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Self

from collectors.setting import BaseModel, ConfigDict, Field, field_validator, model_validator
from collectors.web_address import masked, web_address
from ledger.fx import USD, Rates

_CURRENCY = re.compile(r"[A-Z]{3}")
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,62}(/.*)?")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _endpoint(url: str) -> str:
    instead = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role"
    return url and web_address(url, such_as="https://minio.example.com; empty: AWS's own", instead=instead)


class BillSource(_Section):
    """One place that bills are delivered to."""

    name: str = Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9._-]+$")
    """Stands before the names of its exports. With another name all is read again, as other bills."""
    path: str
    """An absolute directory or file, or `s3://bucket/prefix`. Everything below it is looked at: CSV, plain or gzip,
    and Parquet, with or without a manifest."""
    region: str = "us-east-1"
    """Region of the bucket."""
    endpoint_url: str = ""
    """Another S3 endpoint than AWS's own, such as `https://minio.example.com`."""
    billing_account: str = ""
    """The account whose bill this is; a delivery of another is refused. Empty: whatever is delivered."""
    complete: Mapping[str, str] = {}
    """Columns that the files lack, with the value of each line, such as `{BillingCurrency: EUR}`. Never takes the
    place of what a file says."""
    timestamps: str = ""
    """How times are written, in the letters of `strptime`, such as `%m/%d/%Y`. Empty: ISO 8601, in UTC."""

    @field_validator("path")
    @classmethod
    def _is_a_place(cls, path: str) -> str:
        if not path.startswith("/") and not _BUCKET.fullmatch(path):
            raise ValueError(f"{masked(path)!r} is neither an absolute path nor s3://bucket/prefix")
        return path

    @field_validator("endpoint_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        return _endpoint(url)


class ExchangeRate(_Section):
    """What a unit of a currency is worth, from a day on."""

    since: date
    """The first day on which it holds; until the next one, and at most `rate_max_age_days`."""
    usd_per_unit: Decimal = Field(gt=0, le=100_000, decimal_places=12)
    """US dollars for one unit of the currency, as a decimal."""


class CostExplorerSettings(_Section):
    """AWS Cost Explorer, where there is no export: daily sums by service and usage type, without resources."""

    enabled: bool = False
    """Each request costs `usd_per_request`. Bills of an export take the place of what it says."""
    billing_account: str = ""
    """The account that is asked for; it stands in the books."""
    region: str = "us-east-1"
    """Region of the endpoint; AWS has it in us-east-1 alone."""
    endpoint_url: str = ""
    """Another endpoint than AWS's own."""
    every_hours: int = Field(default=24, ge=1, le=744)
    """Hours between two readings; AWS renews its figures up to three times a day."""
    max_requests_per_day: int = Field(default=20, ge=1, le=1000)
    """Requests in a UTC day, pages included; what passes them waits for the next day."""
    usd_per_request: Decimal = Field(default=Decimal("0.01"), ge=0, le=1, decimal_places=9)
    """What AWS charges for one; shown beside the number of requests."""

    @field_validator("endpoint_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        return _endpoint(url)

    @model_validator(mode="after")
    def _knows_its_account(self) -> Self:
        if self.enabled and not self.billing_account:
            raise ValueError("cost_explorer is enabled without billing_account: say whose bill it is")
        return self


class BillSettings(_Section):
    """The clouds' bills: where they are found and how they are read."""

    sources: tuple[BillSource, ...] = ()
    """Places of bills."""
    every_minutes: int = Field(default=60, ge=1, le=1440)
    """Minutes between two looks at the sources. A bucket is listed, and what is new is fetched."""
    rates: Mapping[str, tuple[ExchangeRate, ...]] = {}
    """Exchange rates by ISO 4217 code. A bill in a currency without one for its days is refused."""
    rate_max_age_days: Annotated[int, Field(ge=1, le=400)] = 40
    """A rate older than this is no rate: a month's rate that was forgotten would go unseen."""
    closed_after_days: Annotated[int, Field(ge=1, le=60)] = 15
    """Days after a month's end from which its bill counts as closed. AWS closes a month within about a week."""
    cost_explorer: CostExplorerSettings = CostExplorerSettings()
    """AWS Cost Explorer as a fallback."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"sources {', '.join(twice)} stand twice; give each its own name")
        for currency, rates in self.rates.items():
            days = [rate.since for rate in rates]
            if not _CURRENCY.fullmatch(currency) or currency == USD:
                raise ValueError(f"rates: {currency!r} is no other currency; allowed: an ISO 4217 code such as EUR")
            if days != sorted(set(days)):
                raise ValueError(f"rates: those of {currency} do not ascend by day, each day once")
        return self

    def rate_table(self) -> Rates:
        """The rates as the ledger reads them."""
        table = {code: [(rate.since, rate.usd_per_unit) for rate in rates] for code, rates in self.rates.items()}
        return Rates(table, self.rate_max_age_days)
