"""Corrections that come when a day's hours are gone: every dollar is booked on the day, once, with those who had it."""

import shutil
from datetime import timedelta

import polars as pl
import pytest

from ledger.cost_keeper import CostKeeper
from ledger.explain import HoursGone, explain
from ledger.late_corrections import LATE_CORRECTION
from ledger.rolldays import roll_days
from ledger.store import Store
from ledger.tables import COST, PROGRESS, USAGE
from ledger.verify import pending_hours, verify
from tests.ledger import books_rig as rig
from tests.ledger.books_rig import DAY, HOUR, LINES, USD, line
from tests.ledger.ledger_rig import at

LATE = pl.col("method") == LATE_CORRECTION


UNBILLED = line("rounding", 1, "", DAY, timedelta(days=1), category="rounding")


def rolled(root, lines):
    made = rig.books(root, lines=lines)
    for table in (USAGE, COST):
        roll_days(made, table, closed=(DAY + 24 * HOUR).date())
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return rolled(tmp_path_factory.mktemp("made"), LINES)


@pytest.fixture
def store(made, tmp_path):
    shutil.copytree(made, tmp_path / "ledger")
    return Store(str(tmp_path / "ledger"))


def run(store):
    return CostKeeper(store, rig.rules()).run(at(13))


def correct(store, *more, without=()):
    lines = [*(each for each in LINES if each["line_id"] not in without), *more]
    rig.deliver(store, lines)
    run(store)
    return sum(each["effective_nano_usd"] for each in lines)


def effective(store, which=True):
    return store.scan(COST).filter(which).select(pl.col("effective_nano_usd").sum()).collect().item()


def test_a_correction_of_a_day_without_hours_is_borne_by_those_who_had_the_node(store):
    total = correct(store, line("late", 100 * USD, "i-a", at(6)))
    assert effective(store) == total
    rows = store.scan(COST).filter(LATE).collect()
    assert rows["effective_nano_usd"].sum() == 100 * USD
    assert set(rows["node"]) == {"a"}
    assert set(rows["hour_utc"]) == {DAY}
    by_holder = dict(rows.group_by("holder").agg(pl.col("effective_nano_usd").sum()).rows())
    assert by_holder["ml/train-0/worker"] == 50 * USD
    assert list(verify(store)) == []


def test_where_a_price_is_missing_time_tells_who_had_the_node(store):
    bare = {"list_nano_usd": pl.lit(None, pl.Int64), "price_id": pl.lit("")}
    store.rewrite(COST, {}, lambda rows: rows.with_columns(**bare))
    correct(store, line("late", 100 * USD, "i-a", at(6)))
    assert effective(store, LATE & (pl.col("holder") == "ml/train-0/worker")) == 50 * USD
    assert effective(store, LATE) == 100 * USD


def test_a_rolling_that_was_cut_off_between_usage_and_cost_loses_nothing(tmp_path):
    store = rig.books(tmp_path)
    roll_days(store, USAGE, closed=(DAY + 24 * HOUR).date())
    total = correct(store, line("late", 100 * USD, "i-a", at(6)))
    assert effective(store) == total
    roll_days(store, COST, closed=(DAY + 24 * HOUR).date())
    assert effective(store, LATE) == 100 * USD
    assert list(verify(store)) == []


def test_done_again_it_changes_nothing(store):
    correct(store, line("late", 100 * USD, "i-a", at(6)))
    version = store.version(COST)
    assert run(store) == []
    store.replace(PROGRESS, pl.DataFrame(schema=PROGRESS.schema), {})
    run(store)
    assert effective(store, LATE) == 100 * USD
    assert store.version(COST) == version + 1, "the open day alone is made again"


def test_a_second_correction_is_added_to_the_first_and_one_that_is_taken_back_leaves_nothing(store):
    correct(store, line("late", 100 * USD, "i-a", at(6)))
    total = correct(store, line("late", 30 * USD, "i-a", at(6)), line("more", USD, "i-a", at(7)))
    assert effective(store) == total
    total = correct(store)
    assert effective(store) == total
    assert store.scan(COST).filter(LATE).collect().is_empty()
    assert list(verify(store)) == []


def test_a_line_over_rolled_and_open_days_keeps_both_parts(store):
    span = line("span", 48 * USD, "", DAY, timedelta(days=2), category="support")
    assert effective(store) + 48 * USD == correct(store, span)
    assert effective(store, LATE) == 24 * USD
    assert store.scan(COST).filter(LATE).collect()["account"].to_list() == ["shared"]
    assert list(verify(store)) == []


def test_a_line_that_is_gone_is_taken_back(store):
    assert effective(store) - 7 * USD - 1 == correct(store, without=("a1",))
    assert effective(store, LATE) == -7 * USD - 1
    assert list(verify(store)) == []


def test_a_line_of_an_instance_that_did_not_exist_on_the_day_is_unobserved(store):
    total = correct(store, line("early", 5 * USD, "i-a", DAY - 48 * HOUR))
    assert effective(store) == total
    assert store.scan(COST).filter(LATE).select("node", "account").collect().rows() == [("a", "unobserved")]
    assert list(verify(store)) == []


def test_a_bill_that_comes_when_the_hours_are_gone_ends_the_estimate(tmp_path):
    store = Store(str(rolled(tmp_path, [UNBILLED])))
    best = pl.coalesce("effective_nano_usd", "list_nano_usd").sum()
    hours = [line(f"a{n}", 7 * USD, "i-a", at(5 + n)) for n in range(3)]
    before = store.scan(COST).filter(node="b").select(best).collect().item()
    rig.deliver(store, [UNBILLED, *hours])
    run(store)
    assert store.scan(COST).filter(node="a").select(best).collect().item() == 21 * USD
    assert store.scan(COST).filter(node="b").select(best).collect().item() == before
    assert list(verify(store)) == []


def test_a_bill_that_is_taken_back_when_the_hours_are_gone_leaves_the_estimate(tmp_path):
    store = Store(str(rolled(tmp_path, [UNBILLED])))
    before = store.scan(COST).sort(COST.key).collect()
    rig.deliver(store, [UNBILLED, *(line(f"a{n}", 7 * USD, "i-a", at(5 + n)) for n in range(3))])
    run(store)
    assert effective(store, pl.col("node") == "a") == 21 * USD
    rig.deliver(store, [UNBILLED])
    run(store)
    assert store.scan(COST).sort(COST.key).collect().equals(before)
    assert list(verify(store)) == []


def test_what_is_still_to_be_corrected_is_named_and_not_taken_for_broken(store):
    rig.deliver(store, [*LINES, line("late", 100 * USD, "i-a", at(6))])
    assert at(6) in pending_hours(store)
    assert list(verify(store)) == []
    run(store)
    assert pending_hours(store) == []


def test_explaining_such_a_day_tells_what_came_later(store):
    correct(store, line("late", 100 * USD, "i-a", at(6)))
    with pytest.raises(HoursGone, match="one day; 100000000000 nano-dollars came later and stand on it with method"):
        explain(store, at(6), {})


def test_what_is_booked_late_is_logged_once(store, caplog):
    caplog.set_level("INFO", "ledger.cost_keeper")
    correct(store, line("late", 100 * USD, "i-a", at(6)))
    run(store)
    told = [message for message in caplog.messages if "late_correction" in message]
    assert len(told) == 1
    assert "1 days from 2026-11-01 to 2026-11-01 have no hours any more: 100000000000 nano-dollars" in told[0]
