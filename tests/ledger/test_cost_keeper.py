"""Cost follows the bill, whatever was left half done; and an hour keeps the price that it had first."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from ledger.carbon import Carbon
from ledger.carbon_settings import CarbonSettings
from ledger.cost_keeper import CostKeeper
from ledger.costing import Costing
from ledger.keeper import Keeper
from ledger.store import Store
from ledger.store_maintenance import compact
from ledger.tables import CHARGES, COST, NODE_HOURS, ON_DEMAND_PRICES, PRICES, PROGRESS, SPOT_PRICES
from ledger.verify import verify
from tests.ledger import books_rig as rig
from tests.ledger.ledger_rig import at

USD = rig.USD


@pytest.fixture
def store(tmp_path):
    made = Store(str(tmp_path / "ledger"))
    made.claim_epoch()
    return made


def run(store, rules=None):
    return CostKeeper(store, rules or rig.rules()).run(at(12))


def effective(store, **where):
    rows = store.scan(COST).filter(**where).select(pl.col("effective_nano_usd").sum()).collect()
    return rows.item()


def rows_of(store):
    return store.scan(COST).collect().sort(COST.key, nulls_last=True)


def test_without_a_bill_nothing_is_made_again(store):
    rig.keep(store)
    before = store.version(COST)
    assert run(store) == []
    assert store.version(COST) == before


def test_a_bill_is_borne_to_the_last_unit(store):
    rig.keep(store)
    rig.deliver(store, rig.LINES)
    assert run(store)
    assert effective(store) == sum(line["effective_nano_usd"] for line in rig.LINES)
    assert list(verify(store)) == []


def test_a_second_run_makes_nothing(store):
    rig.keep(store)
    rig.deliver(store, rig.LINES)
    run(store)
    before = store.version(COST)
    assert run(store) == []
    assert store.version(COST) == before


def test_the_same_lines_in_another_delivery_touch_nothing(store):
    rig.keep(store)
    rig.deliver(store, rig.LINES)
    run(store)
    again = [{**line, "bill_id": "bill-2"} for line in rig.LINES]
    store.replace(CHARGES, pl.DataFrame(again, schema=CHARGES.schema), {})
    assert run(store) == []


def test_a_late_line_touches_its_own_hours_alone(store):
    rig.keep(store)
    rig.deliver(store, rig.LINES)
    run(store)
    late = rig.line("late", USD, "i-a", at(6))
    store.append(CHARGES, pl.DataFrame([late], schema=CHARGES.schema))
    assert run(store) == [at(6)]
    assert effective(store) == sum(line["effective_nano_usd"] for line in rig.LINES) + USD


def test_a_line_that_is_gone_leaves_list_price_behind(store):
    rig.keep(store)
    rig.deliver(store, [rig.line("a", 7 * USD, "i-a", at(5))])
    run(store)
    rig.deliver(store, [])
    assert run(store) == [at(5)]
    assert effective(store) == 0
    assert set(store.scan(COST).collect()["charge"]) == {"list"}


def test_a_journal_that_comes_late_takes_its_part_of_the_bill(store):
    rig.keep(store, silent=[("b", 1)])
    rig.deliver(store, rig.LINES)
    run(store)
    made = Keeper(store, Costing(store, rig.rules()), cluster="eu")
    made.keep([rig.agent("b", at(6))], since=at(13), now=at(12))
    # the line of i-b is of the whole day, so all of its hours are looked at again
    assert at(6) in run(store)
    assert effective(store) == sum(line["effective_nano_usd"] for line in rig.LINES)
    assert list(verify(store)) == []


def test_a_node_that_is_met_after_its_bill_draws_all_of_its_lines_to_it(store):
    rig.keep(store)
    lines = [*rig.LINES, *(rig.line(f"c{n}", USD + n, "i-c", at(3 + n)) for n in range(4))]
    rig.deliver(store, lines)
    run(store)
    assert effective(store, account="shared", charge="usage", instance_id="") > 4 * USD
    rig.lived(store, nodes="abc")
    made = Keeper(store, Costing(store, rig.rules()), cluster="eu")
    made.keep([rig.agent("c", at(6))], since=at(5), now=at(12))
    # at 3 and 4 it was paid for before anyone saw it
    assert {at(3), at(4), at(5), at(6)} <= set(run(store))
    assert effective(store, instance_id="i-c") == 4 * USD + 6
    assert list(verify(store)) == []
    remade = rows_of(store)
    store.replace(PROGRESS, pl.DataFrame(schema=PROGRESS.schema), {})
    run(store)
    assert rows_of(store).equals(remade)


def test_a_keeper_that_takes_over_and_books_again_leaves_the_cost_that_the_bill_gave(store):
    rig.keep(store)
    rig.deliver(store, rig.LINES)
    run(store)
    before = rows_of(store)
    Keeper(store, Costing(store, rig.rules()), cluster="eu").keep((), since=at(5), now=at(12, 1))
    assert not rows_of(store).equals(before)
    assert run(store)
    assert rows_of(store).equals(before)
    assert list(verify(store)) == []


def test_hours_that_no_line_reaches_are_left_alone(store):
    rig.keep(store)
    rig.deliver(store, [rig.line("a", 7 * USD, "i-a", at(5))])
    run(store)
    made = Keeper(store, Costing(store, rig.rules()), cluster="eu")
    rig.lived(store, hours=9)
    made.keep([rig.agent("a", at(9))], since=at(13), now=at(14))
    assert run(store) == []


def test_compaction_touches_nothing(store):
    rig.keep(store)
    rig.deliver(store, rig.LINES)
    run(store)
    for table in (NODE_HOURS, CHARGES):
        days = store.scan(table).select(pl.col(table.partition[0]).unique()).collect()[table.partition[0]].to_list()
        compact(store, table, days)
    assert run(store) == []


def test_without_its_progress_all_is_made_again_to_the_same(store):
    rig.keep(store)
    rig.deliver(store, rig.LINES)
    run(store)
    before = rows_of(store)
    store.replace(PROGRESS, pl.DataFrame(schema=PROGRESS.schema), {})
    assert run(store)
    assert rows_of(store).equals(before)


def test_a_run_that_was_killed_between_two_days_is_made_up_for(store, monkeypatch):
    rig.keep(store)
    rig.deliver(store, [*rig.LINES, rig.line("next", USD, "", rig.DAY + timedelta(days=1), timedelta(days=1))])
    wanted = sum(line["effective_nano_usd"] for line in rig.LINES) + USD
    replaced = store.replace

    def dies(table, rows, where):
        if table.name == COST.name and min(where["hour_utc"]).day == 2:
            raise KeyboardInterrupt
        return replaced(table, rows, where)

    monkeypatch.setattr(store, "replace", dies)
    monkeypatch.setattr("ledger.cost_keeper._DEVICE_HOURS_AT_ONCE", 3)
    with pytest.raises(KeyboardInterrupt):
        run(store)
    monkeypatch.undo()
    run(store)
    assert effective(store) == wanted
    assert list(verify(store)) == []


def test_days_of_a_small_fleet_are_made_together_and_give_what_each_alone_gives(store, monkeypatch):
    rig.keep(store)
    late = rig.line("next", USD, "", rig.DAY + timedelta(days=1), timedelta(days=3))
    rig.deliver(store, [*rig.LINES, late])
    before = store.version(COST)
    run(store)
    assert store.version(COST) == before + 1
    together = rows_of(store)
    store.replace(PROGRESS, pl.DataFrame(schema=PROGRESS.schema), {})
    monkeypatch.setattr("ledger.cost_keeper._DEVICE_HOURS_AT_ONCE", -1)
    run(store)
    assert store.version(COST) == before + 1 + 4
    assert rows_of(store).equals(together)


def test_another_list_price_prices_what_comes_and_not_what_has_been(store):
    rig.keep(store, hours=2)
    before = rows_of(store)
    dearer = replace(
        rig.rules(), prices=replace(rig.rules().prices, rows=[replace(rig.LISTED, nano_usd_per_hour=16 * USD)])
    )
    made = Keeper(store, Costing(store, dearer), cluster="eu")
    rig.lived(store, hours=3)
    made.keep([rig.agent("a", at(5)), rig.agent("a", at(7))], since=at(5), now=at(12))
    rig.deliver(store, [rig.line("a", 7 * USD, "i-a", at(5))])
    run(store, dearer)
    same = rows_of(store).filter(pl.col("hour_utc") < at(7)).select(*COST.key[:10], "list_nano_usd")
    assert same["list_nano_usd"].sum() == before["list_nano_usd"].sum()
    later = rows_of(store).filter(pl.col("hour_utc") == at(7), pl.col("node") == "a")
    assert later["list_nano_usd"].sum() == 16 * USD


def test_the_clouds_own_price_of_an_hour_replaces_what_stood_in_for_it(store):
    rig.keep(store, hours=2)
    offer = {
        "provider": "aws",
        "region": "eu-west-1",
        "zone": "",
        "instance_type": "p5",
        "since": at(6),
        "nano_usd_per_hour": 9 * USD,
        "source": "aws:price-list",
        "read_through": at(12),
    }
    store.append(ON_DEMAND_PRICES, pl.DataFrame([offer], schema=ON_DEMAND_PRICES.schema))
    assert run(store) == [at(6)]
    by_hour = rows_of(store).filter(node="a").group_by("hour_utc").agg(pl.col("list_nano_usd").sum()).sort("hour_utc")
    assert by_hour.rows() == [(at(5), 8 * USD), (at(6), 9 * USD)]
    assert store.scan(PRICES).collect()["source"].to_list().count("aws:price-list") == 1
    assert store.version(SPOT_PRICES) is not None
    assert list(verify(store)) == []


def test_an_hourly_intensity_that_comes_late_is_borne_by_its_day_alone(store, tmp_path):
    grid = tmp_path / "grid.csv"
    grid.write_text("hour_utc,g_per_kwh\n2026-10-01T05:00:00Z,300\n", encoding="utf-8")
    rig.keep(store)
    rig.deliver(store, rig.LINES)
    settings = CarbonSettings.model_validate({"series": [{"file": str(grid)}]})
    known = replace(rig.rules(), carbon=Carbon.read(settings))
    run(store, known)
    dollars = effective(store)
    assert run(store, known) == []
    with grid.open("a", encoding="utf-8") as file:
        file.write("2026-11-01T06:00:00Z,10\n")
    assert run(store, known) == [at(5), at(6), at(7)]
    told = store.scan(COST).filter(pl.col("intensity").str.starts_with("series grid.csv, 10")).collect()
    assert told["hour_utc"].unique().to_list() == [at(6)]
    assert told["carbon_ug"].sum() > 0
    assert effective(store) == dollars
    assert list(verify(store)) == []
    # a keeper that comes after knows what was weighed
    assert run(store, replace(known, carbon=Carbon.read(settings))) == []
    grid.write_text("hour_utc,g_per_kwh\n2026-10-01T05:00:00Z,300\n", encoding="utf-8")
    assert run(store, known) == [at(5), at(6), at(7)], "a day that is taken out of it falls back to the yearly figure"
    assert store.scan(COST).filter(pl.col("intensity").str.starts_with("series")).collect().is_empty()
