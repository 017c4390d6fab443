"""A FOCUS bill of 400 columns, most of them a provider's own: read and booked to the unit, as CSV and as Parquet."""

import random

import polars as pl
import pytest

from ledger.cost_keeper import CostKeeper
from ledger.costing import Costing
from ledger.keeper import Keeper
from ledger.tables import CHARGES, COST
from ledger.verify import verify
from tests.ledger import books_rig as rig
from tests.ledger.bill_books import Books
from tests.ledger.bill_rig import FOCUS, csv_of
from tests.ledger.ledger_rig import agent_hour, at, row

COLUMNS = 400
INSTANCE = "i-0123456789abcdef0"
HOUR = {"ChargePeriodStart": "2026-11-01T05:00:00Z", "ChargePeriodEnd": "2026-11-01T06:00:00Z"}
LINES = (
    {**HOUR, "EffectiveCost": "7.000000001", "BilledCost": "9"},
    {**HOUR, "EffectiveCost": "-1.5", "BilledCost": "-1.5", "ChargeCategory": "Credit"},
    {**HOUR, "EffectiveCost": "0.25", "BilledCost": "0.25", "ResourceId": "vol-1", "ServiceCategory": "Storage"},
)
NANO = 7_000_000_001 - 1_500_000_000
"""What the node's lines come to."""
OWN = ("x_EffectiveCost", "x_BilledCost", "x_ResourceId", "x_ChargePeriodStart", "x_Tags", "x_BillingCurrency")
"""Columns of the provider's own that sound like those of the specification."""
CELLS = ("", "NULL", "12.5", "1,5", 'a "quoted" text', "two\nlines", "EUR", "2026-13-45", "ü" * 40, '{"a": "b"}')


def wide(rows):
    """The same lines with columns of the provider's own in between, 400 in all, in any order."""
    chance = random.Random(400)
    own = [*OWN, *(f"x_{n}" for n in range(COLUMNS - len(FOCUS) - len(OWN)))]
    names = chance.sample([*FOCUS, *own], COLUMNS)
    whole = [{**FOCUS, **row, **{name: chance.choice(CELLS) for name in own}} for row in rows]
    return [{name: row[name] for name in names} for row in whole]


def as_csv(path, rows):
    return csv_of(path, *rows, form={})


def as_parquet(path, rows):
    """With types of their own, as exports have them."""
    frame = pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.String))
    times = pl.col(name for name in FOCUS if name.endswith(("Start", "End"))).str.to_datetime(time_zone="UTC")
    amounts = pl.col(name for name in FOCUS if name.endswith("Cost")).cast(pl.Decimal(30, 12))
    frame.with_columns(times, amounts).write_parquet(path)


FORMS = {"bill.csv": as_csv, "bill.parquet": as_parquet}


@pytest.fixture
def books(tmp_path):
    """A node whose hour is booked, and no bill yet."""
    made = Books(tmp_path)
    made.store.claim_epoch()
    hour = agent_hour(at(5), row("GPU-1", "active", 3600 * 10**9), facts={**rig.FACTS, "instance_id": INSTANCE})
    Keeper(made.store, Costing(made.store, rig.rules()), cluster="eu").keep([hour], since=at(5), now=at(12))
    return made


def told(books):
    return books.charges().drop("bill_id", "line_id").sort("effective_nano_usd", "resource_id")


@pytest.mark.parametrize("name", FORMS)
def test_it_says_what_the_same_bill_without_the_providers_own_columns_says(books, tmp_path, name):
    narrow = Books(tmp_path / "narrow")
    narrow.put("bill.csv", *LINES)
    assert len(narrow.take().booked) == 1
    rows = wide(LINES)
    assert {len(row) for row in rows} == {COLUMNS}
    FORMS[name](books.bills / name, rows)
    assert len(books.take().booked) == 1
    assert books.register() == [(f"acme:{name}", "booked", len(LINES))]
    assert told(books).equals(told(narrow))


@pytest.mark.parametrize("name", FORMS)
def test_it_is_borne_by_its_node_hour_to_the_unit(books, name):
    FORMS[name](books.bills / name, wide(LINES))
    books.take()
    CostKeeper(books.store, rig.rules()).run(at(12))
    cost = books.store.scan(COST).group_by("instance_id").agg(pl.col("effective_nano_usd").sum()).collect()
    assert dict(cost.iter_rows()) == {INSTANCE: NANO, "": 250_000_000}
    assert books.store.scan(CHARGES).select(pl.col("effective_nano_usd").sum()).collect().item() == NANO + 250_000_000
    assert list(verify(books.store)) == []
