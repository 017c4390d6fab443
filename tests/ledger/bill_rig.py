"""Bills for tests: small files in the form of each dialect, read as the controller reads them."""

import csv
from pathlib import Path

import polars as pl

from collectors.bill_file import open_bill
from ledger.charge_lines import Reading
from ledger.charges import stage
from ledger.fx import Rates

FOCUS = {
    "BillingAccountId": "111",
    "BillingCurrency": "USD",
    "BillingPeriodStart": "2026-11-01T00:00:00Z",
    "ChargePeriodStart": "2026-11-05T05:00:00Z",
    "ChargePeriodEnd": "2026-11-05T06:00:00Z",
    "ChargeCategory": "Usage",
    "BilledCost": "1.25",
    "EffectiveCost": "1.00",
    "ListCost": "2",
    "ProviderName": "AWS",
    "ServiceName": "Amazon Elastic Compute Cloud",
    "ServiceCategory": "Compute",
    "ResourceId": "i-0123456789abcdef0",
    "PricingQuantity": "1",
    "Tags": '{"team": "vision"}',
}
CUR = {
    "bill/PayerAccountId": "111",
    "bill/BillingPeriodStartDate": "2026-11-01T00:00:00Z",
    "identity/LineItemId": "x",
    "lineItem/UsageAccountId": "222",
    "lineItem/UsageStartDate": "2026-11-05T05:00:00Z",
    "lineItem/UsageEndDate": "2026-11-05T06:00:00Z",
    "lineItem/LineItemType": "Usage",
    "lineItem/ProductCode": "AmazonEC2",
    "lineItem/UsageType": "USE1-BoxUsage:p5.48xlarge",
    "lineItem/UnblendedCost": "98.32",
    "lineItem/CurrencyCode": "USD",
    "lineItem/ResourceId": "i-0123456789abcdef0",
    "lineItem/AvailabilityZone": "us-east-1a",
    "lineItem/UsageAmount": "1",
    "pricing/publicOnDemandCost": "98.32",
    "resourceTags/user:team": "vision",
}


def csv_of(path: Path, *rows: dict, form: dict = FOCUS) -> Path:
    """A file with these rows, each with what it says differently from the form."""
    whole = [{**form, **row} for row in rows]
    names = list(dict.fromkeys(name for row in (form, *whole) for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(whole)
    return path


def folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def staged(tmp_path: Path, *paths: Path, complete=None, dialect=None, rates=None, timestamps=None):
    files = [open_bill(path, path.name, complete) for path in paths]
    reading = Reading(Rates(rates or {}), timestamps)
    return stage(files, reading, folder(tmp_path / "staged"), dialect)


def charges(tmp_path: Path, *paths: Path, **how) -> pl.DataFrame:
    made = staged(tmp_path, *paths, **how)
    return made.rows({month: f"test/{month:%Y-%m}" for month in made.months}).collect()


def lines(tmp_path: Path, *rows: dict, form: dict = FOCUS, **how) -> list[dict]:
    """The charges of these rows, in their order, without the rounding line."""
    frame = charges(tmp_path, csv_of(tmp_path / "bill.csv", *rows, form=form), **how)
    return frame.filter(pl.col("category") != "rounding").to_dicts()


def line(tmp_path: Path, row: dict | None = None, form: dict = FOCUS, **how) -> dict:
    return lines(tmp_path, row or {}, form=form, **how)[0]
