"""The job of bills: what they alone know is booked as unobserved, all they charge is borne, and what fails is said."""

import logging
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from collectors.bill_files import Deliveries
from collectors.bill_shelf import Directory
from collectors.price_list import load
from controller.api_reports import variances
from controller.bills import Bills, BillsAway
from controller.bookkeeper import Bookkeeper
from ledger.bill_intake import BillIntake, Source, Taken
from ledger.charge_lines import Reading
from ledger.cost_keeper import CostKeeper
from ledger.costing import Costing
from ledger.fx import Rates
from ledger.house import Kept, keep_house
from ledger.keeper import Keeper
from ledger.store import Store
from ledger.tables import BILLS, COST, NODE_HOURS, USAGE
from ledger.verify import verify
from tests.ledger.bill_rig import CUR, csv_of
from tests.ledger.books_rig import rules

GONE = "i-00000000000000001"
CPU = "i-00000000000000002"
NOW = datetime(2026, 12, 2, tzinfo=UTC)


class Rig:
    """A ledger that nobody has told of anything, and a folder of bills."""

    def __init__(self, root):
        self.now = NOW
        self.folder = root / "bills"
        self.folder.mkdir()
        self.store = Store(str(root / "ledger"))
        self.store.claim_epoch()
        books = Bookkeeper(
            self.store, Keeper(self.store, Costing(self.store, rules())), CostKeeper(self.store, rules())
        )
        intake = BillIntake(self.store, root / "scratch", lambda: self.now)
        self.source = Source(Deliveries("acme", Directory(self.folder)), Reading(Rates({})))
        self.bills = Bills(self.store, intake, [self.source], load(), books, lambda: self.now)

    def cost(self, **where):
        rows = self.store.scan(COST).filter(**where)
        return rows.select(pl.col("effective_nano_usd").sum()).collect().item()


def line(hour, resource=GONE, usage="USE1-BoxUsage:p5.48xlarge", cost="98.32"):
    start = datetime(2026, 11, 5, hour, tzinfo=UTC)
    return {
        "identity/LineItemId": f"{resource}-{hour}",
        "lineItem/UsageStartDate": start.isoformat().replace("+00:00", "Z"),
        "lineItem/UsageEndDate": (start + timedelta(hours=1)).isoformat().replace("+00:00", "Z"),
        "lineItem/ResourceId": resource,
        "lineItem/UsageType": usage,
        "lineItem/UnblendedCost": cost,
    }


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path)


def test_an_instance_that_never_told_of_itself_is_unobserved(rig):
    csv_of(rig.folder / "november.csv", *(line(hour) for hour in (5, 6, 7)), form=CUR)
    rig.bills.run()
    hours = rig.store.scan(NODE_HOURS).collect()
    assert hours.select("node", "evidence", "state", "gpu_count").unique().rows() == [(GONE, "bill", "provisional", 8)]
    assert hours.height == 3
    usage = rig.store.scan(USAGE).group_by("account").agg(pl.col("gpu_ns").sum()).collect().rows()
    assert usage == [("unobserved", 3 * 8 * 3600 * 10**9)]
    assert rig.cost(account="unobserved") == rig.cost() == 3 * 98_320_000_000
    assert list(verify(rig.store)) == []


def test_an_instance_with_gpus_that_is_billed_by_the_day_alone_is_listed_as_no_node(rig):
    known = {
        "ProviderName": "Microsoft",
        "ResourceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm",
        "x_SkuDetails": '{"VMSize": "Standard_NC24ads_A100_v4"}',
        "EffectiveCost": "88",
    }
    days = [{"ChargePeriodStart": f"2026-11-0{day}", "ChargePeriodEnd": f"2026-11-0{day + 1}"} for day in (5, 6)]
    csv_of(rig.folder / "november.csv", *[{**known, **day} for day in days])
    rig.bills.run()
    assert rig.store.scan(NODE_HOURS).collect().is_empty()
    said = variances(rig.store, "window=2026-11-06T00:00:00Z,2026-11-07T00:00:00Z", NOW)
    (listed,) = said["billed_without_node"]
    assert listed["instance_id"].endswith("/vm")
    assert (listed["instance_type"], listed["lines"]) == ("Standard_NC24ads_A100_v4", 1)
    assert (listed["period_start"], listed["effective_nano_usd"]) == ("2026-11-06T00:00:00Z", str(88 * 10**9))


def test_an_instance_without_gpus_is_shared_cost(rig):
    csv_of(rig.folder / "november.csv", line(5, CPU, "USE1-BoxUsage:m5.large", "0.10"), form=CUR)
    rig.bills.run()
    assert rig.store.scan(NODE_HOURS).collect().is_empty()
    assert rig.cost(account="shared") == rig.cost() == 100_000_000


def test_the_same_bill_again_changes_nothing(rig):
    csv_of(rig.folder / "november.csv", line(5), form=CUR)
    rig.bills.run()
    before = [rig.store.version(table) for table in (COST, NODE_HOURS, USAGE)]
    rig.bills.run()
    assert [rig.store.version(table) for table in (COST, NODE_HOURS, USAGE)] == before


def test_a_run_that_died_after_the_intake_is_made_up_for(rig, monkeypatch):
    csv_of(rig.folder / "november.csv", line(5), form=CUR)

    def dies():
        raise KeyboardInterrupt

    monkeypatch.setattr(Bills, "settle", lambda _self: dies())
    with pytest.raises(KeyboardInterrupt):
        rig.bills.run()
    monkeypatch.undo()
    rig.bills.run()
    assert rig.cost() == 98_320_000_000
    assert list(verify(rig.store)) == []


def test_a_bill_that_is_refused_is_told_once_and_leaves_the_others_alone(rig, caplog):
    caplog.set_level(logging.WARNING)
    csv_of(rig.folder / "a.csv", line(5, cost="98,32"), form=CUR)
    csv_of(rig.folder / "b.csv", line(6), form=CUR)
    rig.bills.run(), rig.bills.run()
    told = [message for message in caplog.messages if "a bill is refused" in message]
    assert len(told) == 1
    assert "a.csv" in told[0]
    assert rig.cost() == 98_320_000_000
    assert sorted(rig.store.scan(BILLS).collect()["state"]) == ["booked", "refused"]


def test_a_delivery_that_is_not_all_there_is_told_once_and_booked_when_it_is(rig, caplog):
    caplog.set_level(logging.INFO)
    folder = rig.folder / "cur/20261101-20261201"
    folder.mkdir(parents=True)
    (folder / "cur-Manifest.json").write_text('{"reportKeys": ["cur/20261101-20261201/cur-1.csv"]}')
    assert rig.bills.waiting is None
    rig.bills.run(), rig.bills.run()
    (told,) = [message for message in caplog.messages if "a bill is not all there" in message]
    assert told.endswith("are not there yet, such as cur/20261101-20261201/cur-1.csv; it is looked at again")
    rig.bills.tell(Taken())  # of Cost Explorer, which knows nothing of deliveries
    assert [told] == [f"a bill is not all there: {line}" for line in rig.bills.waiting]
    csv_of(folder / "cur-1.csv", line(5), form=CUR)
    rig.bills.run()
    assert rig.bills.waiting == ()
    assert rig.cost() == 98_320_000_000


def test_a_source_that_is_away_is_said_after_the_others_are_read(rig):
    csv_of(rig.folder / "november.csv", line(5), form=CUR)
    away = Source(Deliveries("away", Directory(rig.folder / "none")), Reading(Rates({})))
    rig.bills.sources = [away, rig.source]
    with pytest.raises(BillsAway, match="none"):
        rig.bills.run()
    assert rig.cost() == 98_320_000_000


def test_a_closed_month_becomes_days_once_its_time_has_come(rig):
    csv_of(rig.folder / "november.csv", *(line(hour) for hour in (5, 6, 7)), form=CUR)
    rig.bills.run()
    assert keep_house(rig.store, now=rig.now, roll_after_days=90).rolled_days == 0
    rig.now = NOW + timedelta(days=20)
    rig.bills.run()
    rig.now += timedelta(days=90)
    done = keep_house(rig.store, now=rig.now, roll_after_days=90)
    assert done.rolled_days > 0
    assert set(rig.store.scan(COST).filter(pl.col("node") == GONE).collect()["hour_utc"].dt.hour()) == {0}
    assert rig.cost() == 3 * 98_320_000_000
    rig.bills.run()
    assert rig.cost() == 3 * 98_320_000_000
    assert list(verify(rig.store)) == []


def test_a_house_that_is_kept_has_nothing_to_do(rig):
    csv_of(rig.folder / "november.csv", line(5), form=CUR)
    rig.bills.run()
    keep_house(rig.store, now=rig.now, roll_after_days=90)
    assert keep_house(rig.store, now=rig.now, roll_after_days=90) == Kept()
