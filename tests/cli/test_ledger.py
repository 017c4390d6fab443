"""`wattledger ledger`: shown, proven, explained, kept small, carried out, from a real ledger in a directory."""

import csv
import io
import json
import re
import shutil
import sys
from decimal import Decimal

import click
import polars as pl
import pytest
from click.testing import CliRunner

from cli.ledger import COMMANDS
from cli.main import main
from ledger.allocate import OWN
from ledger.store import Store
from ledger.tables import COST, NODE_HOURS, USAGE
from tests.ledger.books_rig import LINES, books, deliver, line
from tests.ledger.ledger_rig import at

WINDOW = ("--window", "2026-11-01T00:00:00Z,2026-11-03T00:00:00Z")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two nodes; for the last hour of node a no usage was billed yet."""
    folder = tmp_path_factory.mktemp("data")
    books(folder / "ledger", lines=[each for each in LINES if each["line_id"] != "a2"])
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data"


def run(*arguments, **more):
    return CliRunner().invoke(main, ["ledger", *map(str, arguments)], catch_exceptions=False, **more)


def shown(folder, *arguments):
    result = run("show", "--data-dir", folder, *WINDOW, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def corrupt(folder):
    store = Store(str(folder / "ledger"))
    rows = store.scan(USAGE).with_columns(
        pl.when((pl.col("node") == "a") & (pl.col("hour_utc") == at(5))).then(pl.col("gpu_ns") + 1).otherwise("gpu_ns")
    )
    store.rewrite(USAGE, {}, lambda _: rows.collect())


def test_every_command_has_examples_and_is_on_the_list():
    out = run("--help").output
    for name, (_, told) in COMMANDS.items():
        assert f"{name} " in out
        assert told.split(";")[0][:40] in out
        command = run(name, "--help").output
        assert f"wattledger ledger {name}" in command


def test_show_tells_who_spent_what_the_dearest_first(folder):
    out = shown(folder, "--by", "team,workload")
    lines = [row for row in out.splitlines() if row.startswith("│")]
    assert [row.split("│")[1].strip() for row in lines] == [
        "none",
        "search",
        "[idle: nobody held it]",
        "[unobserved: not observed]",
        "[shared: of no node]",
        "all",
    ]
    assert "│   67 % │" in lines[1]
    assert "* list price, where no bill has come: $8.00 of this" in out


def column(table, name):
    """One column of a table on the terminal, by the first."""
    rows = [re.split("[│┃]", row) for row in table.splitlines() if row.startswith(("│", "┃"))]
    place = [cell.strip() for cell in rows[0]].index(name)
    return {row[1].strip(): row[place].strip() for row in rows[1:]}


def test_show_tells_requested_time_beside_held_time_where_they_differ(folder):
    by_node = shown(folder, "--by", "node")
    rows = json.loads(shown(folder, "--by", "node", "--json"))["rows"]
    own = [row for row in rows if row["pool"] == OWN and row["requested_ns"] is not None]
    asked = {row["node"]: row["requested_ns"] for row in own}
    assert asked
    for node, requested_ns in asked.items():
        assert column(by_node, "requested")[node] == f"{requested_ns / 3.6e12:,.2f}"


def test_show_marks_what_no_bill_reached_and_nothing_else(folder):
    cost = column(shown(folder, "--by", "node"), "cost")
    assert cost["a"].endswith("*")
    assert not cost["b"].endswith("*")
    # what nobody held on a has no bill either, and b bears a part of it
    assert column(shown(folder, "--by", "node", "--share-idle", "proportional"), "cost")["b"].endswith("*")


def test_show_gives_exact_integers_to_programs(folder):
    said = json.loads(shown(folder, "--by", "team", "--json"))
    cost = Store(str(folder / "ledger")).scan(COST).collect()
    total = cost.select(pl.coalesce("effective_nano_usd", "list_nano_usd").sum()).item()
    assert sum(row["cost_nano_usd"] + row["spread_nano_usd"] for row in said["rows"]) == total
    assert said["meta"]["window"] == {"start": "2026-11-01T00:00:00Z", "end": "2026-11-03T00:00:00Z"}
    assert said["meta"]["sources"] == ["measured"]
    rows = list(csv.DictReader(io.StringIO(shown(folder, "--by", "team", "--csv"))))
    assert sum(int(row["cost_nano_usd"]) for row in rows) == total


def test_show_cuts_a_window_into_steps_and_folds_the_smallest_rows(folder):
    out = shown(folder, "--by", "holder", "--step", "day", "--top", "1")
    assert "from 2026-11-01 00:00 UTC" in out
    assert "from 2026-11-02 00:00 UTC" in out
    assert "4 more" in out


def test_shared_out_nothing_stays_in_the_pool(folder):
    out = shown(folder, "--by", "team", "--share-idle", "metric", "--share-cost", "even", "--share-by", "gpu_ns")
    assert "shared to it" in out
    pool = next(row for row in out.splitlines() if "[idle: nobody held it]" in row)
    assert "$0.00" in pool


def test_what_no_holder_has_is_said_with_what_they_have(folder):
    assert "no holder has a run or colour: try --by holder" in shown(folder, "--by", "run,label:colour")
    assert "try --by holder" not in shown(folder, "--by", "run,team")


def test_an_hour_without_books_is_said_to_be_one(folder):
    result = run("show", "--data-dir", folder, "--window", "2020-01-01T00:00:00Z,2020-01-02T00:00:00Z")
    assert result.output == "nothing is booked from 2020-01-01 00:00 to 2020-01-02 00:00 UTC\n"


@pytest.mark.parametrize(("source", "said"), [("simulated", "(simulated)"), ("prometheus", "are estimates")])
def test_show_says_where_figures_are_from(folder, source, said):
    assert said not in shown(folder)
    store = Store(str(folder / "ledger"))
    store.rewrite(NODE_HOURS, {}, lambda rows: rows.with_columns(source=pl.lit(source)))
    assert said in shown(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--by", "colour"), "Error: --by: cannot aggregate by 'colour'; there are account,"),
        (("--by", "label:cost-center"), "Error: --by: cannot aggregate by 'label:cost-center'; there are account,"),
        (("--by", " , "), "Error: --by: found nothing, allowed: columns with commas"),
        (("--since", "7x"), "Error: --since: found '7x', allowed: 24h, 7d or 2w"),
        (("--since", "7d", "--window", "month"), "Error: --since and --window say the same; give one"),
    ],
)
def test_what_cannot_be_followed_is_one_line_and_status_two(folder, arguments, message):
    result = run("show", "--data-dir", folder, *arguments)
    assert result.exit_code == 2
    assert result.output.startswith(message)
    assert result.output.count("\n") == 1


def test_without_a_ledger_the_way_to_one_is_told(tmp_path, monkeypatch):
    result = run("verify", "--data-dir", tmp_path)
    assert result.exit_code == 2
    assert f"no ledger at {tmp_path}/ledger: run `wattledger up`" in result.output
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wattledger-data-simulated" / "ledger").mkdir(parents=True)
    assert "there is one at wattledger-data-simulated/ledger; add --simulated" in run("verify").output


def test_simulated_books_are_found_by_their_own_directory(whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "wattledger-data-simulated")
    monkeypatch.chdir(tmp_path)
    assert run("verify", "--simulated").output == "all 15 laws hold\n"


def test_verify_says_that_all_laws_hold(folder):
    result = run("verify", "--data-dir", folder)
    assert (result.exit_code, result.output) == (0, "all 15 laws hold\n")


def test_verify_names_what_is_broken_and_exits_with_one(folder):
    corrupt(folder)
    result = run("verify", "--data-dir", folder)
    assert result.exit_code == 1
    first, *_, last = result.output.splitlines()
    assert first.startswith("time: 2026-11-01T05:00Z, node a, device GPU-a1: expected 3600000000000 ns, found")
    assert last == "broken: time"


def test_verify_looks_at_its_window_and_at_no_more_breaks_than_asked_for(folder):
    corrupt(folder)
    assert run("verify", "--data-dir", folder, "--window", "2026-11-01T06:00:00Z,2026-11-02T00:00:00Z").exit_code == 0
    result = run("verify", "--data-dir", folder, "--most", 1)
    assert "1 breaks are named; there may be more (--most)" in result.output


def test_verify_tells_programs_in_json(folder):
    corrupt(folder)
    said = json.loads(run("verify", "--data-dir", folder, "--json").output)
    assert said["holds"] is False
    assert said["breaks"][0]["hour"] == "2026-11-01T05:00:00+00:00"
    assert {each["law"] for each in said["breaks"]} <= {each["law"] for each in said["laws"]}


def test_verify_says_which_hours_wait_for_their_cost(folder):
    deliver(Store(str(folder / "ledger")), [*LINES, line("late", 5, "i-a", at(6))])
    out = run("verify", "--data-dir", folder).output
    assert "cost of 2 hours is still to be made (2026-11-01T06:00Z to 2026-11-01T07:00Z)" in out


def test_explain_prints_sums_that_a_person_can_check(folder):
    result = run("explain", "2026-11-01T05:00Z", "--data-dir", folder, "--holder", "ml/train-0/worker", "--node", "b")
    assert result.exit_code == 0
    assert "  price      $8.00/h of the node's GPUs: bundled:list as of 2026-10-01" in result.output
    assert "  list       $8.00 x 3600 s / 3600 s = $8.00\n             x 3600 s of 7200 s = $4.00" in result.output
    assert "bill-1/b: $20.000000001, ec2, commitment, 2026-11-01T00:00Z to 2026-11-02T00:00Z" in result.output
    assert "x 3600 s of 10800 s = $6.666666667" in result.output
    assert "x $4.00 of $8.00 list cost = $3.333333333" in result.output
    assert "together     list $4.00, by the bill $3.333333333" in result.output
    assert "versions     cost " in result.output


def test_explain_says_what_is_an_estimate(folder):
    out = run("explain", "2026-11-01T07:00Z", "--data-dir", folder, "--node", "a", "--account", "idle").output
    assert "  bill       none has come" in out
    assert "estimate     $0.666666667 of it is list price" in out
    shared = run("explain", "2026-11-01T07:00Z", "--data-dir", folder, "--account", "shared").output
    assert "nobody, shared\n  bill       tax of account 111, compute: $0.0625 for the hour" in shared


def test_explain_gives_integers_to_programs(folder):
    out = run("explain", "2026-11-01T05:00Z", "--data-dir", folder, "--team", "search", "--rows", 1, "--json").output
    said = json.loads(out)
    assert said["rows"][0]["price"]["as_of"] == "2026-10-01"
    assert (said["hour"], said["left_out"]) == ("2026-11-01T05:00:00Z", 3)


@pytest.mark.parametrize(
    ("hour", "status", "message"),
    [
        (
            "2026-11-01T05:00Z",
            1,
            "Error: nothing is booked for holder 'x' at 2026-11-01T05:00Z; that hour has holder: ml/",
        ),
        ("2026-11-01T05:30Z", 2, "Error: HOUR: 2026-11-01T05:30:00+00:00 is no start of an hour of UTC"),
        ("five", 2, "Error: HOUR: found 'five', allowed: the start of an hour, such as 2026-11-01T05:00Z"),
    ],
)
def test_explain_refuses_in_one_line(folder, hour, status, message):
    result = run("explain", hour, "--data-dir", folder, "--holder", "x")
    assert result.exit_code == status
    assert result.output.startswith(message)
    assert result.output.count("\n") == 1


def test_compact_merges_files_and_changes_no_figure(folder):
    store = Store(str(folder / "ledger"))
    rows = store.scan(USAGE).collect()
    store.replace(USAGE, rows.filter(node="a"), {})
    store.append(USAGE, rows.filter(node="b"))
    before = shown(folder, "--json")
    out = run("compact", "--data-dir", folder).output
    assert out.endswith("files deleted\n")
    assert not out.startswith("0 days")
    strip = [json.loads(text)["rows"] for text in (before, shown(folder, "--json"))]
    assert strip[0] == strip[1]


def test_export_writes_focus(folder, tmp_path):
    file = tmp_path / "f.parquet"
    result = run("export", "--data-dir", folder, *WINDOW, "--focus", "1.2", file)
    rows = pl.read_parquet(file)
    assert result.output == f"{file}: {rows.height} rows, FOCUS 1.2, from version 3 of cost\n"
    assert rows["EffectiveCost"].sum() == Decimal("46.000000004")


def test_export_says_what_is_not_in_the_file(folder, tmp_path):
    store = Store(str(folder / "ledger"))
    bare = pl.col("charge") == "list"
    store.rewrite(
        COST,
        {},
        lambda rows: rows.with_columns(list_nano_usd=pl.when(~bare).then("list_nano_usd"), price_id=pl.lit("")),
    )
    out = run("export", "--data-dir", folder, *WINDOW, "--focus", "1.2", tmp_path / "f.csv").output
    assert "2.0 GPU-hours are not in it: they have no price and no bill" in out


def test_export_writes_a_table_of_the_window(folder, tmp_path):
    file = tmp_path / "usage.csv"
    window = ("--window", "2026-11-01T05:00:00Z,2026-11-01T06:00:00Z")
    assert run("export", "--data-dir", folder, *window, "--table", "usage", file).exit_code == 0
    rows = pl.read_csv(file)
    assert set(rows["hour_utc"]) == {"2026-11-01T05:00:00Z"}
    assert rows["gpu_ns"].sum() == 4 * 3_600 * 10**9
    charges = tmp_path / "charges.parquet"
    run("export", "--data-dir", folder, *WINDOW, "--table", "charges", charges)
    assert pl.read_parquet(charges).height == len(LINES) - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of --focus 1.2 and --table NAME"),
        (("--focus", "1.2", "--table", "usage"), "give one of --focus 1.2 and --table NAME"),
        (("--focus", "1.2", "--window", "2026-11-01T05:00:00Z,2026-11-02T00:00:00Z"), "rows of a day need whole days"),
    ],
)
def test_export_refuses_what_cannot_be_written(folder, tmp_path, arguments, message):
    result = run("export", "--data-dir", folder, *arguments, tmp_path / "f.csv")
    assert result.exit_code == 2
    assert message in result.output


def test_export_tells_a_wrong_name_and_a_folder_that_is_not_there(folder, tmp_path):
    result = run("export", "--data-dir", folder, "--focus", "1.2", tmp_path / "f.xlsx")
    assert "f.xlsx: the name must end in .csv or .parquet" in result.output
    result = run("export", "--data-dir", folder, "--focus", "1.2", tmp_path / "none" / "f.csv")
    assert (result.exit_code, "No such file or directory" in result.output) == (1, True)


def test_without_the_extra_one_line_says_what_to_install(folder, monkeypatch):
    monkeypatch.setattr("cli.controller_run.importlib.util.find_spec", lambda _name: None)
    result = run("show", "--data-dir", folder)
    assert result.exit_code == 2
    assert "pip install 'wattledger[controller]'" in result.output


def test_help_needs_no_polars(monkeypatch):
    assert isinstance(main, click.Group)
    code = "import sys; from cli.main import main\ntry: main(['ledger', 'show', '--help'])\nexcept SystemExit: pass\n"
    code += "assert 'polars' not in sys.modules"
    import subprocess

    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
