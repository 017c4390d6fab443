"""Each law is proven from the tables, and named when something in them is changed by hand."""

import re
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from ledger import verify_books
from ledger.carbon import Carbon
from ledger.carbon_settings import CarbonSettings
from ledger.cost_keeper import CostKeeper
from ledger.costing import Costing
from ledger.keeper import Keeper
from ledger.node_split import NodeSplit
from ledger.rolldays import roll_days
from ledger.store import Store
from ledger.tables import ALL, BILLS, CHARGES, COST, INSTANCE_TYPES, NODE_HOURS, PRICES, PROFILE, USAGE, WORK
from ledger.verify import pending_hours, verify
from ledger.verify_law import LAWS, Break
from tests.ledger.books_rig import DAY, HOUR, LINES, USD, agent, books, deliver, line, lived, rules
from tests.ledger.ledger_rig import HOUR_NS, at


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("books") / "ledger"
    books(root)
    return root


@pytest.fixture
def store(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "ledger")
    return Store(str(tmp_path / "ledger"))


def change(store, table, which, **values):
    """Set columns of the rows that match, and leave the others."""
    rows = store.scan(table).collect()
    changed = rows.with_columns(
        [pl.when(which).then(value).otherwise(pl.col(name)).alias(name) for name, value in values.items()]
    )
    assert not changed.equals(rows)
    store.replace(table, changed.select(list(table.schema)), {})


def drop(store, table, which):
    rows = store.scan(table).collect()
    store.replace(table, rows.filter(~which), {})
    assert store.scan(table).collect().height < rows.height


def laws(store, **how):
    return list(dict.fromkeys(each.law for each in verify(store, **how)))


def only(store) -> Break:
    (found,) = verify(store)
    return found


GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "ledger.md"
A5 = (pl.col("hour_utc") == at(5)) & (pl.col("node") == "a")
TRAIN = pl.col("holder") == "ml/train-0/worker"
MOST = pl.col("list_nano_usd").is_not_null()


def test_books_that_real_functions_made_break_no_law(store):
    assert list(verify(store)) == []
    assert pending_hours(store) == []


@pytest.mark.parametrize("split", [NodeSplit.AWS, NodeSplit.OPENCOST])
def test_a_host_with_a_part_of_its_own_breaks_no_law(tmp_path, split):
    made = books(tmp_path, split=split)
    assert "host" in made.scan(COST).collect()["account"]
    assert list(verify(made)) == []
    change(made, COST, A5 & (pl.col("account") == "host") & MOST, list_nano_usd=pl.col("list_nano_usd") - 1)
    assert laws(made) == ["list"]


def test_books_without_a_bill_break_no_law(tmp_path):
    assert list(verify(books(tmp_path, lines=()))) == []


def test_an_empty_ledger_breaks_no_law(tmp_path):
    assert list(verify(Store(str(tmp_path / "none")))) == []


def test_time_that_does_not_add_up_names_device_hour_and_both_figures(store):
    change(store, USAGE, A5 & TRAIN, gpu_ns=pl.col("gpu_ns") - 1)
    found = next(verify(store))
    assert (found.law, found.hour, found.node, found.subject) == ("time", at(5), "a", "device GPU-a2")
    assert (found.expected, found.found) == (f"{HOUR_NS} ns", f"{HOUR_NS - 1} ns")
    assert str(found).startswith("time: 2026-11-01T05:00Z, node a, device GPU-a2: expected 3600000000000 ns, found")
    assert "docs/guides/ledger.md, Mending" in found.remedy


def test_a_device_that_is_missing_is_told_by_the_number(store):
    drop(store, USAGE, A5 & (pl.col("gpu_uuid") == "GPU-a2"))
    found = next(verify(store))
    assert (found.law, found.expected, found.found) == ("devices", "2 devices", "1 devices")


def test_usage_without_its_node_hour_is_named(store):
    drop(store, NODE_HOURS, A5)
    assert laws(store)[0] == "register"


@pytest.mark.parametrize("table", [USAGE, COST, NODE_HOURS, PROFILE, WORK, PRICES, CHARGES, BILLS, INSTANCE_TYPES])
def test_a_key_that_stands_twice_is_named_in_every_table(store, table):
    first = store.scan(table).head(1).collect()
    row = (
        first
        if first.height
        else pl.DataFrame([{"day": at(5).date(), "hour_utc": at(5)}]).select(
            pl.col(name).cast(dtype) if name in ("day", "hour_utc") else pl.lit(None, dtype).alias(name)
            for name, dtype in table.schema.items()
        )
    )
    store.append(table, pl.concat([row, row]))
    found = next(each for each in verify(store) if each.law == "keys")
    assert found.subject.startswith(f"row of {table.name}")
    assert found.expected == "one row"


def test_a_row_beside_the_start_of_its_hour_is_named(store):
    change(store, USAGE, A5 & TRAIN, hour_utc=pl.col("hour_utc") + timedelta(minutes=1))
    found = next(verify(store))
    assert (found.law, found.found) == ("hours", "2026-11-01T05:01:00 in day 2026-11-01")


def test_a_row_in_the_partition_of_another_day_is_named(store):
    change(store, COST, A5 & TRAIN & MOST, hour_utc=pl.col("hour_utc") + timedelta(days=1))
    assert laws(store)[0] == "hours"


@pytest.mark.parametrize(
    ("table", "column"),
    [(USAGE, "energy_mj"), (USAGE, "requested_ns"), (COST, "carbon_ug"), (NODE_HOURS, "vcpus")],
    ids=lambda value: getattr(value, "name", value),
)
def test_an_amount_below_zero_is_named(store, table, column):
    change(store, table, A5, **{column: pl.lit(-1)})
    found = next(each for each in verify(store) if each.law == "signs")
    assert (found.subject, found.found) == (f"{column} of {table.name}", "-1")


def test_a_price_that_no_row_explains_is_named(store):
    used = pl.col("nano_usd_per_node_hour").is_not_null()
    drop(store, PRICES, used)
    found = next(verify(store))
    assert (found.law, found.expected, found.found) == ("prices", "a row of prices", "none")


def test_list_cost_without_a_price_is_named(store):
    change(store, COST, A5 & TRAIN, price_id=pl.lit(""))
    assert laws(store)[0] == "prices"


def test_list_cost_that_stands_on_two_charges_of_a_row_is_named(store):
    change(store, COST, A5 & TRAIN & (pl.col("charge") == "credit"), list_nano_usd=pl.lit(0))
    assert laws(store)[0] == "prices"


def test_cost_of_a_holder_without_usage_and_usage_without_cost_are_named(store):
    change(store, COST, A5 & TRAIN, holder=pl.lit("ml/other/x"))
    found = [each for each in verify(store) if each.law == "orphans"]
    assert sorted(each.found for each in found) == ["cost without usage", "usage without cost"]


def test_a_node_hour_that_is_not_price_times_time_is_named(store):
    change(store, COST, A5 & TRAIN & MOST, list_nano_usd=pl.col("list_nano_usd") + 1)
    found = only(store)
    assert (found.law, found.node, found.subject) == ("list", "a", "instance i-a")
    assert (found.expected, found.found) == (f"{8 * USD} nano-dollars", f"{8 * USD + 1} nano-dollars")


def test_a_node_hour_that_is_not_its_lines_is_named_and_so_is_the_account(store):
    change(store, COST, A5 & TRAIN & MOST, effective_nano_usd=pl.col("effective_nano_usd") - 1)
    first, second = verify(store)
    assert (first.law, first.hour) == ("lines", at(5))
    assert first.subject == "instance i-a, usage of account 111, compute"
    assert first.expected == f"{7 * USD} nano-dollars"
    assert (second.law, second.hour, second.subject) == ("charges", None, "usage of account 111")


def test_shared_cost_that_is_not_its_lines_is_named(store):
    tax = (pl.col("charge") == "tax") & (pl.col("hour_utc") == at(5))
    change(store, COST, tax, effective_nano_usd=pl.col("effective_nano_usd") + 5)
    first = next(verify(store))
    assert (first.law, first.node, first.subject) == ("lines", "", "shared, tax of account 111, compute")


def test_cost_of_a_line_that_is_not_there_is_named(store):
    change(store, COST, A5 & (pl.col("charge") == "credit"), charge=pl.lit("refund"))
    assert laws(store) == ["lines", "charges"]


def test_a_nano_dollar_moved_from_one_row_to_another_is_named_though_all_sums_hold(store):
    busy = A5 & MOST & (pl.col("account") == "active")
    change(store, COST, busy & TRAIN, effective_nano_usd=pl.col("effective_nano_usd") + 1)
    change(store, COST, busy & ~TRAIN, effective_nano_usd=pl.col("effective_nano_usd") - 1)
    assert [(each.law, each.node) for each in verify(store)] == [("shares", "a")] * 2


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (COST, {"carbon_ug": pl.col("carbon_ug") * 3}),
        (COST, {"carbon_ug": None}),
        (COST, {"intensity": None}),
        (COST, {"intensity": pl.col("intensity").str.replace("PUE 1", "PUE 2")}),
        (USAGE, {"energy_mj": pl.col("energy_mj") * 3}),
    ],
)
def test_grams_that_are_not_energy_times_what_they_rest_on_are_named(store, table, values):
    change(store, table, A5 & TRAIN, **values)
    found = only(store)
    assert (found.law, found.hour, found.node) == ("grams", at(5), "a")
    assert found.subject == "device GPU-a2, active of ml/train-0/worker"
    assert "micrograms" in found.expected + found.found


def test_a_microgram_moved_from_one_holder_to_another_is_named_though_the_sum_holds(store):
    of_device = A5 & (pl.col("gpu_uuid") == "GPU-a1") & MOST
    for account, by in (("active", 1), ("idle", -1)):
        change(store, COST, of_device & (pl.col("account") == account), carbon_ug=pl.col("carbon_ug") + by)
    assert laws(store) == ["grams"]


def test_grams_of_a_whole_node_are_proven_with_their_ratio(tmp_path):
    carbon = CarbonSettings.model_validate({"scope": "node", "host_ratio": "0.821", "pue": "1.125"})
    made = replace(rules(), carbon=Carbon.read(carbon))
    store = Store(str(tmp_path / "ledger"))
    store.claim_epoch()
    lived(store)
    Keeper(store, Costing(store, made), cluster="eu").keep([agent("a", at(5))], since=at(5), now=at(6))
    assert store.scan(COST).select(pl.col("carbon_ug").sum()).collect().item() > 0
    assert list(verify(store)) == []


def test_a_row_of_cost_that_is_gone_is_named(store):
    drop(store, COST, A5 & TRAIN & (pl.col("charge") == "credit"))
    assert laws(store) == ["lines", "charges"]


@pytest.mark.parametrize(
    ("which", "values"),
    [
        (pl.col("line_id") == "tax", {"billed_nano_usd": pl.col("billed_nano_usd") + 1}),
        (pl.col("line_id") == "rounding", {"line_id": pl.lit("other")}),
        (pl.col("line_id") == "a1", {"bill_id": pl.lit("bill-2")}),
    ],
    ids=["billed", "rounding", "bill"],
)
def test_lines_that_are_not_their_bill_are_named(store, which, values):
    change(store, CHARGES, which, **values)
    found = next(each for each in verify(store) if each.law == "bills")
    assert found.subject.startswith("bill bill-")


def test_a_bill_without_lines_is_named(store):
    drop(store, CHARGES, pl.col("line_id") != "")
    found = next(each for each in verify(store) if each.law == "bills")
    assert found.found == "no such bill"


def test_a_column_that_another_program_added_is_named(store):
    rows = store.scan(USAGE).head(1).collect().with_columns(extra=pl.lit(1))
    write_deltalake(store.place.uri(USAGE), rows, mode="append", schema_mode="merge")
    found = next(verify(store))
    assert (found.law, found.expected, found.found) == ("schema", "no column extra", "Int32")


def test_a_leadership_that_nobody_claimed_is_named(store):
    store.epoch = 7
    store.append(WORK, store.scan(WORK).collect())
    found = next(verify(store))
    assert (found.law, found.subject, found.found) == ("schema", "table work", "leadership 7")


def test_only_the_range_that_is_asked_for_is_looked_at(store):
    change(store, USAGE, A5 & TRAIN, gpu_ns=pl.col("gpu_ns") - 1)
    assert laws(store, first=at(6)) == []
    assert laws(store, first=at(5), last=at(5))[0] == "time"


def test_lines_that_reach_beyond_the_range_count_with_the_part_that_lies_in_it(store):
    assert laws(store, first=at(6), last=at(6)) == []
    change(store, COST, (pl.col("charge") == "tax") & (pl.col("hour_utc") == at(6)), effective_nano_usd=pl.lit(0))
    assert laws(store, first=at(6), last=at(6)) == ["lines", "charges"]


def test_the_versions_that_were_looked_at_are_told(store):
    told = []
    assert list(verify(store, looked=told.append)) == []
    assert told == [{table.name: store.version(table) for table in ALL}] * 2


def test_a_break_that_a_later_version_mends_is_none_and_that_version_is_told(store):
    """As when a booking was under way."""
    right = store.scan(USAGE).collect()
    change(store, USAGE, pl.col("account") == "active", gpu_ns=pl.col("gpu_ns") + 1)
    told = []

    def mend(done, _days):
        if done == 0:
            store.replace(USAGE, right, {})

    assert [each.law for each in verify(store, progress=mend, looked=told.append)] == []
    assert told[-1]["usage"] == store.version(USAGE) == told[0]["usage"] + 1


def test_progress_is_told_by_day(store):
    told = []
    list(verify(store, progress=lambda done, days: told.append((done, days))))
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_hours_whose_cost_is_still_to_be_made_are_named_and_not_taken_for_broken(store):
    deliver(store, [*LINES, line("late", 5 * USD, "i-a", at(6))])
    assert pending_hours(store) == [at(6)]
    assert list(verify(store)) == []
    CostKeeper(store, rules()).run(at(13))
    assert pending_hours(store) == []
    assert list(verify(store)) == []


def test_hours_that_became_days_are_held_to_the_laws_by_day(store):
    for table in (USAGE, COST):
        roll_days(store, table, closed=(DAY + 48 * HOUR).date())
    assert list(verify(store)) == []
    day = (pl.col("node") == "a") & (pl.col("account") == "unallocated")
    change_rolled(store, USAGE, day, gpu_ns=pl.col("gpu_ns") + 1)
    change_rolled(store, COST, day & MOST, effective_nano_usd=pl.col("effective_nano_usd") + 1)
    assert laws(store) == ["time", "lines", "charges"]


def change_rolled(store, table, which, **values):
    made = [pl.when(which).then(value).otherwise(pl.col(name)).alias(name) for name, value in values.items()]
    store.rewrite(table, {}, lambda rows: rows.with_columns(made))


def test_the_guides_way_of_mending_takes_the_ledger_back_to_when_it_was_whole(store):
    moment = datetime.now(UTC)
    code = next(text for text in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "restore" in text)
    code = re.sub(r'Path\(".*"\)', f"Path({store.place.root!r})", code)
    code = re.sub(r"MOMENT = .*", f"MOMENT = datetime.fromisoformat({moment.isoformat()!r})", code)
    time.sleep(0.002)  # a commit's time is told in milliseconds
    change(store, USAGE, A5 & TRAIN, gpu_ns=pl.col("gpu_ns") - 1)
    drop(store, PRICES, pl.col("price_id") != "")
    assert "time" in laws(store)
    exec(compile(code, "guide", "exec"), {})
    assert list(verify(store)) == []


def test_the_guide_lists_every_law():
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*\.) \|$", GUIDE.read_text(), re.MULTILINE))
    assert listed == {law.name: law.says for law in LAWS}


def test_every_law_says_what_holds_and_what_to_do():
    assert len({law.name for law in LAWS}) == len(LAWS)
    assert all(law.says.endswith(".") and law.remedy for law in LAWS)


def test_a_day_is_cut_into_parts_that_memory_holds_and_each_is_proven(store, monkeypatch):
    monkeypatch.setattr(verify_books, "MOST_ROWS", 2)
    part = verify_books.Books(store)
    assert part.cuts(DAY.date(), at(5), at(7)) == [(at(5), at(6)), (at(7), at(7))]
    assert list(verify(store)) == []
    change(store, USAGE, TRAIN & (pl.col("hour_utc") == at(7)), gpu_ns=pl.col("gpu_ns") - 1)
    assert {(each.law, each.hour) for each in verify(store)} == {("time", at(7))}
