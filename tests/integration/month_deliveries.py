"""How the scripted month's bills are delivered: what the exports hold at a moment, and the files that it is in.

One account has CUR 2.0 in two gzipped parts with a manifest, the other plain FOCUS 1.2.
"""

import csv
import gzip
import io
import json
from dataclasses import replace
from fractions import Fraction
from functools import cache

from tests.integration.month_bill import CUR, FOCUS, LINES, Line, usd
from tests.integration.month_prices import DAY
from tests.integration.scripted_month import END, REGION, SERVE_2, SPOT_A, START, feb, mar

_WRONG_AT_FIRST = {(SPOT_A.id, feb(1, 5)): "0.9999999999", (SERVE_2.id, feb(4, 3)): "17"}
"""Lines that earlier deliveries have otherwise: resource and hour to the amount."""


def delivered(now):
    """What the exports hold at a moment: file name to content. Each delivery takes the place of the former."""
    files = {}
    for account, deliveries in _DELIVERIES.items():
        for number, (at, _, _) in enumerate(deliveries):
            if at <= now:
                files |= _files(account, number)
    if feb(12, 10) <= now <= feb(12, 10, 10):  # the manifest is there before the last of its files
        del files["cur/data/BILLING_PERIOD=2026-02/part-2.csv.gz"]
    if feb(20) <= now < feb(22):  # cut off in the middle of a line
        files["focus/2026-02.csv"] = files["focus/2026-02.csv"][:-40]
    return files


def _until(moment, account, *, monthly=False, last=False):
    def lines():
        for line in LINES:
            hourly = line.end - line.start <= DAY
            if line.account != account or line.month != START or line.end > moment or not (hourly or monthly):
                continue
            wrong = None if last else _WRONG_AT_FIRST.get((line.resource, line.start))
            yield replace(line, billed=wrong, effective=Fraction(wrong)) if wrong else line
        if not last:  # a line that turns out to be another account's
            yield Line(account, "Usage", feb(2), feb(2, 1), "3", "3", Fraction(3), "usage", "vol-0ff")

    return lines


def _march(account):
    return lambda: (line for line in LINES if line.account == account and line.month == END)


_DELIVERIES = {
    CUR: (
        (feb(12, 10), START, _until(feb(11), CUR)),
        (feb(20), START, _until(feb(19), CUR)),
        (mar(3), START, _until(END, CUR)),
        (mar(8), START, _until(END, CUR, monthly=True, last=True)),
        (mar(14), END, _march(CUR)),
    ),
    FOCUS: (
        (feb(12), START, _until(feb(11, 12), FOCUS)),
        (feb(20), START, _until(feb(19), FOCUS)),
        (mar(3), START, _until(END, FOCUS, monthly=True, last=True)),
        (mar(14), END, _march(FOCUS)),
    ),
}


@cache
def _files(account, number):
    _, month, lines_of = _DELIVERIES[account][number]
    lines = lines_of()
    if account == FOCUS:
        return {f"focus/{month:%Y-%m}.csv": _csv(map(_focus, lines))}
    rows = [_cur(line) for line in lines]
    folder, half = f"BILLING_PERIOD={month:%Y-%m}", len(rows) // 2
    names = [f"cur/data/{folder}/part-{n}.csv.gz" for n in (1, 2)]
    parts = [gzip.compress(_csv(rows[:half], rows), mtime=0), gzip.compress(_csv(rows[half:], rows), mtime=0)]
    manifest = json.dumps({"dataFiles": [f"s3://bills/{name}" for name in names]}).encode()
    return {**dict(zip(names, parts, strict=True)), f"cur/metadata/{folder}/cur-Manifest.json": manifest}


def _csv(rows, every=None):
    rows = list(rows)
    names = list(dict.fromkeys(name for row in every or rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _time(moment):
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _cur(line):
    return {
        "bill_payer_account_id": line.account,
        "bill_billing_period_start_date": _time(line.month),
        "line_item_usage_account_id": "333333333333",
        "line_item_usage_start_date": _time(line.start),
        "line_item_usage_end_date": _time(line.end),
        "line_item_line_item_type": line.kind,
        "line_item_product_code": line.product,
        "line_item_usage_type": line.usage,
        "line_item_resource_id": line.resource,
        "line_item_unblended_cost": line.billed,
        "line_item_currency_code": "USD",
        "line_item_usage_amount": "1",
        "line_item_line_item_description": f"{line.kind} of {line.product}",
        "pricing_public_on_demand_cost": line.list,
        "pricing_term": "OnDemand" if line.pricing == "on_demand" else "",
        "product_product_family": line.family,
        "product_region_code": REGION,
        "product_instance_type": line.usage.partition(":")[2] if "Usage:" in line.usage else "",
        **dict(line.more),
    }


def _focus(line):
    return {
        "BillingAccountId": line.account,
        "BillingAccountType": "Account",
        "BillingCurrency": "USD",
        "BillingPeriodStart": _time(line.month),
        "ChargePeriodStart": _time(line.start),
        "ChargePeriodEnd": _time(line.end),
        "ChargeCategory": line.kind,
        "ChargeClass": "",
        "BilledCost": line.billed,
        "EffectiveCost": usd(line.effective, 12),
        "ListCost": line.list,
        "ProviderName": "AWS",
        "ServiceName": "Amazon Elastic Compute Cloud" if line.product == "AmazonEC2" else line.product,
        "ServiceCategory": "Compute" if line.family == "Compute Instance" else line.family,
        "PricingCategory": "Standard" if line.pricing == "on_demand" else "",
        "RegionId": REGION,
        "ResourceId": line.resource,
        "PricingQuantity": "1",
        "SkuMeter": line.usage,
        **dict(line.more),
    }
