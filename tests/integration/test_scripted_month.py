"""A scripted month reconciles to the bill exactly, every dollar in one account; kills at random change nothing."""

import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import timedelta

import polars as pl
import pytest

from ledger.agent_hours import read_hour
from ledger.allocate import OWN, POOLS, Sharing, allocate
from ledger.tables import BILLS, CHARGES, COST, NODE_HOURS, USAGE
from ledger.variance import billed_not_observed, observed_not_billed, variance
from ledger.verify import pending_hours, verify
from tests.integration import month_bill as bill
from tests.integration import month_prices as prices
from tests.integration import scripted_month as script
from tests.integration.month_run import CHECKOUT, copy, differences, play, play_killed
from tests.integration.month_truth import HELD, apportion, reason, total_nano, work_out
from tests.ledger import duck

KILLS = int(os.environ.get("WATTLEDGER_KILLS", "20"))
"""`python -m benchmarks.month --kills 200` does the same at length."""
KEY = ("hour_utc", "node", "instance_id")
ROW = ("gpu_uuid", "holder_kind", "holder", "account", "method")


@pytest.fixture(scope="module")
def truth():
    return work_out()


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return play(tmp_path_factory.mktemp("month"))


@pytest.fixture(scope="module")
def books(played):
    return played.store


def table(books, which):
    return books.scan(which).collect()


def sums(frame, by, *columns):
    """By group; a group of nulls has the sum None."""
    totals = [pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()) for name in columns]
    rows = frame.group_by(by).agg(totals).iter_rows()
    return {row[: len(by)]: row[len(by) :] for row in rows}


def test_the_script_has_what_it_is_about(truth):
    hours = truth.hours.values()
    short = [each for each in script.INSTANCES if each.ended - each.began == timedelta(minutes=12)]
    pricing = {line.pricing for line in bill.LINES}
    assert len(short) == 9
    assert sum(script.feb(1) < each.began and each.ended.hour != each.began.hour for each in short) >= 3
    assert pricing == {"on_demand", "spot", "commitment", "other"}
    assert {line.category for line in bill.LINES} >= {
        "tax",
        "credit",
        "refund",
        "support",
        "unused_commitment",
        "purchase",
    }
    assert {prices.list_price(script.SERVE_1, at) for at in script.SERVE_1.hours()} == {5_672_000_000, 5_104_000_001}
    assert any(line.month == script.END and line.start < script.END for line in bill.LINES)
    assert any(each.state == "provisional" and each.told for each in hours)
    assert any(row[3:] == ("unobserved", "interpolated") for each in hours for row in each.rows)
    assert {(node, hour) for hour, node, _ in truth.corrected} == {(each.node, hour) for each, hour in script.REVISED}
    assert 0 < truth.bill * 10**9 - total_nano() < 1


def test_every_document_of_the_script_is_one_that_the_ledger_takes():
    import json

    for now in script.STEPS[::6]:
        for node in script.NODES:
            for document in json.loads(script.answer(node, now) or '{"hours":[]}')["hours"]:
                read_hour(document, node=node, now=now, simulated=False)


def test_each_node_hour_is_there_for_as_long_as_its_machine_was(books, truth):
    rows = table(books, NODE_HOURS)
    found = {row[:3]: row[3:] for row in rows.select(*KEY, "existed_ns", "state", "gpu_count").iter_rows()}
    assert found == {key: (each.existed_ns, each.state, each.instance.gpus) for key, each in truth.hours.items()}


def test_the_time_of_each_device_is_where_the_script_has_it(books, truth):
    found = sums(table(books, USAGE), [*KEY, *ROW], "gpu_ns")
    wanted = {(*key, *row): (ns,) for key, each in truth.hours.items() for row, ns in each.rows.items()}
    assert found == wanted


def test_each_node_hour_costs_what_its_lines_say_to_the_nano_dollar(books, truth):
    rows = table(books, COST).filter(pl.col("node") != "", pl.col("effective_nano_usd").is_not_null())
    wanted = {key: sum(each.charges.values()) for key, each in truth.hours.items() if each.charges}
    for key, nano in truth.homeless.items():
        wanted[key] = wanted.get(key, 0) + nano
    assert sums(rows, KEY, "effective_nano_usd") == {key: (nano,) for key, nano in wanted.items()}


def test_each_row_bears_its_share_of_list_price_and_bill(books, truth):
    rows = table(books, COST).filter(pl.col("gpu_uuid") != "")
    found = sums(rows, [*KEY, *ROW, "billing_account", "charge"], "list_nano_usd", "effective_nano_usd")
    wanted = defaultdict(lambda: [None, None])
    for key, each in truth.hours.items():
        for row, account, category, *amounts in each.costs:
            if amounts[1] or category in {"usage", "list"}:
                cell = wanted[*key, *row, account, category]
                for n, amount in enumerate(amounts):
                    cell[n] = amount if cell[n] is None else cell[n] + (amount or 0)
    assert found == {key: tuple(cell) for key, cell in wanted.items()}


def test_every_dollar_of_the_bill_is_in_one_account(books, truth):
    rows = table(books, COST)
    by_account = sums(rows.filter(pl.col("effective_nano_usd").is_not_null()), ["account"], "effective_nano_usd")
    wanted = Counter()
    for each in truth.hours.values():
        for row, *_, effective in each.costs:
            wanted[row[3],] += effective or 0
    wanted["shared",] = sum(truth.shared.values())
    wanted["unobserved",] += sum(truth.homeless.values())
    assert by_account == {account: (nano,) for account, nano in wanted.items()}
    assert sum(nano for (nano,) in by_account.values()) == total_nano()
    assert (
        total_nano()
        == round(truth.bill * 10**9)
        == table(books, BILLS).filter(state="booked")["effective_nano_usd"].sum()
    )


def test_what_is_of_no_node_stands_by_its_kind(books, truth):
    rows = table(books, COST).filter(account="shared")
    found = sums(rows, ["billing_account", "charge"], "effective_nano_usd")
    assert found == {key: (nano,) for key, nano in truth.shared.items() if nano}
    assert ("111111111111", "rounding") in found


def test_teams_pay_what_they_held_and_one_without_a_label_is_seen(books, truth):
    cost, usage = books.scan(COST), books.scan(USAGE)
    found = allocate(cost, usage, ["team"], basis="best").collect()
    wanted = Counter()
    for each in truth.hours.values():
        for row, _, _, listed, effective in each.costs:
            held = row[3] in HELD
            pool = OWN if held else POOLS[row[3]]
            wanted[each.team(row) if held else "", pool] += (listed or 0) if effective is None else effective
    wanted["", "shared"] += sum(truth.shared.values())
    wanted["", "unobserved"] += sum(truth.homeless.values())
    assert sums(found, ["team", "pool"], "cost_nano_usd") == {key: (nano,) for key, nano in wanted.items()}
    assert wanted["", OWN] > 0
    assert {team for team, pool in wanted if pool == OWN} == {"", "research", "search", "platform", "voice", "physics"}
    times = Counter()
    for each in truth.hours.values():
        for row, ns in each.rows.items():
            times[each.team(row) if row[3] in HELD else "", OWN if row[3] in HELD else POOLS[row[3]]] += ns
    assert {key: ns for key, (ns,) in sums(found, ["team", "pool"], "gpu_ns").items() if ns is not None} == times


def test_what_nobody_held_can_be_spread_and_no_nano_dollar_is_lost(books, truth):
    sharing = Sharing(idle="proportional", shared="even", charges={"tax": "metric"}, metric="active_ns")
    found = allocate(books.scan(COST), books.scan(USAGE), ["team"], basis="effective", sharing=sharing).collect()
    held = found.filter(pool=OWN)
    assert found["cost_nano_usd"].sum() + found["spread_nano_usd"].sum() == total_nano()
    idle = sum(e or 0 for each in truth.hours.values() for row, *_, e in each.costs if row[3] == "unallocated")
    shared = sum(truth.shared.values())
    assert held["spread_nano_usd"].sum() == idle + shared


def test_list_price_and_bill_differ_for_the_reasons_that_the_script_has(books, truth):
    found = variance(books.scan(COST), books.scan(CHARGES), books.scan(NODE_HOURS)).collect()
    wanted = defaultdict(lambda: [0, 0, 0])
    for each in truth.hours.values():
        paid = {group: nano for group, nano in each.charges.items() if group[1] == "usage"}
        if paid:
            cell = wanted[each.hour.date(), min(paid)[0], each.instance.type, reason(each)]
            cell[0] += 1
            cell[1] = None if each.list_nano is None else cell[1] + each.list_nano
            cell[2] += sum(paid.values())
    rows = found.select(
        "day", "billing_account", "instance_type", "reason", "node_hours", "list_nano_usd", "effective_nano_usd"
    )
    assert {row[:4]: list(row[4:]) for row in rows.iter_rows()} == wanted
    assert {key[3] for key in wanted} == {
        *("none", "commitment", "spot_price", "discount", "list_price", "no_list_price", "unobserved_hours")
    }


def test_what_only_the_bill_or_only_the_agents_know_is_listed(books, truth):
    silent = billed_not_observed(books.scan(COST), books.scan(NODE_HOURS)).collect()
    wanted = {key: sum(each.charges.values()) for key, each in truth.hours.items() if each.charges and not each.told}
    found = {row[:3]: row[3] for row in silent.select(*KEY, "effective_nano_usd").iter_rows()}
    assert found == wanted
    assert {node for _, node, _ in wanted} >= {"lost-1", script.GHOST.node, "burst-0"}
    unbilled = observed_not_billed(books.scan(COST), books.scan(BILLS)).collect()
    assert {row[:2] for row in unbilled.select("node", "hour_utc").iter_rows()} == {
        ("free-1", hour) for hour in script.FREE.hours()
    }


def test_a_bare_host_has_list_prices_alone(books):
    rows = table(books, COST).filter(node="metal-1")
    assert rows["charge"].unique().to_list() == ["list"]
    assert rows["effective_nano_usd"].null_count() == rows.height


def test_no_law_is_broken(books):
    assert pending_hours(books) == []
    assert [str(found) for found in verify(books)] == []


def test_duckdb_comes_to_the_same_sums_from_the_files_alone(books, truth):
    cost, usage, charges = (books.place.uri(which) for which in (COST, USAGE, CHARGES))
    by_node_hour = duck.sums(
        cost, ["coalesce(effective_nano_usd, 0)"], ["epoch(hour_utc)::BIGINT", "node", "instance_id"]
    )
    wanted = Counter()
    for (hour, *who), each in truth.hours.items():
        wanted[int(hour.timestamp()), *who] = sum(each.charges.values())
    for (hour, *who), nano in truth.homeless.items():
        wanted[int(hour.timestamp()), *who] += nano
    assert {key: nano for key, (nano,) in by_node_hour.items() if key[1]} == wanted
    assert duck.query(cost, "SELECT sum(effective_nano_usd::HUGEINT) FROM t") == [(total_nano(),)]
    assert duck.query(charges, "SELECT sum(effective_nano_usd::HUGEINT) FROM t") == [(total_nano(),)]
    devices = duck.sums(usage, ["gpu_ns"], ["epoch(hour_utc)::BIGINT", "node", "instance_id", "gpu_uuid"])
    existed = {(int(hour.timestamp()), *who): each.existed_ns for (hour, *who), each in truth.hours.items()}
    assert {key: ns for key, (ns,) in devices.items()} == {key: existed[key[:3]] for key in devices}
    teams = duck.sums(cost, ["coalesce(effective_nano_usd, 0)"], ["team", "account"])
    own = Counter()
    for each in truth.hours.values():
        for row, *_, effective in each.costs:
            own[each.team(row), row[3]] += effective or 0
    assert {key: nano for key, (nano,) in teams.items() if key[1] in HELD} == {
        k: n for k, n in own.items() if k[1] in HELD
    }


def test_no_import_starts_threads_that_a_life_would_lack():
    code = "import tests.integration.month_books\nfrom pathlib import Path\n"
    code += "print(*(file.read_text().strip() for file in Path('/proc/self/task').glob('*/comm')))"
    told = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert "polars-0" not in told.stdout.split()


def test_killed_at_random_moments_and_once_without_room_it_comes_to_the_same(played, books, tmp_path):
    again = play_killed(tmp_path, KILLS, random.Random(7), played.seconds)
    assert again.landed.total() == KILLS
    assert again.landed["at work"] >= KILLS // 4  # fewer where the machine is freer than it was undisturbed
    assert differences(books, again.store) == []


def test_a_nano_dollar_that_differs_is_seen(books, tmp_path):
    other = copy(books, tmp_path / "ledger")
    hour = script.feb(9, 9)
    dearer = (
        table(other, COST)
        .filter(hour_utc=hour)
        .with_columns(pl.col("effective_nano_usd") + (pl.col("node") == "serve-1"))
    )
    other.replace(COST, dearer, {"hour_utc": [hour]})
    said = differences(books, other)
    assert len(said) == 1
    assert said[0].startswith("cost, ")
    assert "effective_nano_usd" in said[0]


@pytest.mark.parametrize(
    ("whole", "weights", "parts"),
    [
        (10, [1, 1, 1], [4, 3, 3]),
        (-10, [1, 1, 1], [-4, -3, -3]),
        (5, [0, 0], [3, 2]),
        (7, [2, 5], [2, 5]),
        (0, [3], [0]),
    ],
)
def test_the_truth_apportions_by_largest_remainder(whole, weights, parts):
    assert apportion(whole, weights) == parts
