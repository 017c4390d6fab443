"""`wattledger up` keeps books: a simulated week within a minute, in the API and in the tables."""

import json
import os
import re
import signal
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ledger.store import Store
from ledger.tables import COST, NODE_HOURS, USAGE
from ledger.verify import verify
from tests.integration.agent_process import CHECKOUT, WATTLEDGER, AgentProcess, NotInTime, eventually, fetch

WEEK = ("up", "--simulate", "--speed", "20000")
CONFIG = {"controller": {"server": {"listen": "127.0.0.1:0"}}}
SECONDS = 90
"""A week takes 31 s at that speed; the machine may be busy."""
_BOOKS = re.compile(r"^Books: (\S+)/api/v1/", re.MULTILINE)


def api_of(process):
    found = eventually("the books are served", lambda: _BOOKS.search(process.said), SECONDS)
    return f"{found.group(1)}/api/v1"


def ask(url, seconds=30):
    return json.loads(fetch(url, seconds))


def present_reached(api):
    """The status of books that have caught up with the present, or nothing."""
    status = ask(f"{api}/status")
    if status["last_closed"] is None:
        return None
    behind = datetime.fromisoformat(status["now"]) - datetime.fromisoformat(status["last_closed"])
    recent = datetime.now().astimezone() - datetime.fromisoformat(status["now"]) < timedelta(minutes=5)
    return status if recent and behind < timedelta(hours=1) else None


def shown(process, *arguments):
    """What `wattledger ledger show` prints of the books of that process."""
    config = process.log.with_suffix(".yaml")
    command = [*WATTLEDGER, "ledger", "show", "--config", str(config), "--data-dir", str(process.data_dir), *arguments]
    told = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    return told.stdout


@pytest.fixture(scope="module")
def week(tmp_path_factory):
    """A simulation that has lived through its week, with what its API said; ended as a person would end it."""
    folder = tmp_path_factory.mktemp("week")
    with AgentProcess(folder, command=WEEK, config=CONFIG) as process:
        api = api_of(process)
        status = eventually("the books reach the present", lambda: present_reached(api), SECONDS, every=0.5)
        answers = {
            "by holder": ask(f"{api}/allocation?window=9d&aggregate=holder"),
            "by day": ask(f"{api}/allocation?window=9d&aggregate=holder&accumulate=day"),
            "metrics": fetch(f"{api.removesuffix('/api/v1')}/metrics"),
        }
        last = datetime.fromisoformat(status["last_closed"])
        closed = f"{last - timedelta(days=7):%Y-%m-%dT%H:%M:%SZ},{last:%Y-%m-%dT%H:%M:%SZ}"
        answers["closed"] = ask(f"{api}/allocation?window={closed}&aggregate=holder")
        answers["shown"] = json.loads(shown(process, "--by", "holder", "--window", closed, "--json"))
        answers["table"] = shown(process, "--by", "holder", "--window", closed)
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(30) == 0, process.said
    return Store(str(folder / "books/ledger")), status, answers, process.said


def total_nano(answer):
    return sum(int(each["exact"]["cost_nano_usd"]) for one in answer["data"] for each in one.values())


def test_a_week_is_in_the_books(week):
    store, status, _, _ = week
    hours = store.scan(NODE_HOURS).collect()
    assert hours["state"].to_list().count("final") >= 7 * 24
    assert hours["source"].unique().to_list() == ["simulated"]
    assert status["jobs"]["pull"]["failures"] == status["jobs"]["cost"]["failures"] == 0


def test_the_laws_hold_over_the_week(week):
    assert list(verify(week[0])) == []


def test_the_api_has_each_dollar_once(week):
    _, _, answers, _ = week
    assert total_nano(answers["by holder"]) == total_nano(answers["by day"]) > 0
    assert len(answers["by day"]["data"]) == 8


def test_what_the_api_says_is_what_the_tables_had_at_its_versions(week):
    store, _, answers, _ = week
    versions = answers["by holder"]["meta"]["versions"]
    cost = store.scan(COST, versions["cost"]).select(pl.col("list_nano_usd").sum()).collect().item()
    assert total_nano(answers["by holder"]) == cost
    usage = store.scan(USAGE, versions["usage"]).select(pl.col("gpu_ns").sum()).collect().item()
    assert sum(int(each["exact"]["gpu_ns"]) for each in answers["by holder"]["data"][0].values()) == usage


def figures(each):
    return int(each["cost_nano_usd"]), int(each["gpu_ns"])


def test_ledger_show_tells_the_weeks_books_as_the_api_does(week):
    """Of the hours that are closed, in which nothing changes between two questions."""
    _, _, answers, _ = week
    (told,), rows = answers["closed"]["data"], answers["shown"]["rows"]
    assert sorted(map(figures, rows)) == sorted(figures(each["exact"]) for each in told.values())
    assert sum(row["cost_nano_usd"] for row in rows) == total_nano(answers["closed"]) > 0
    assert {row["holder"] for row in rows if row["pool"] == "own"} <= set(told)
    assert answers["shown"]["meta"]["sources"] == ["simulated"]


def test_the_table_of_ledger_show_ends_with_the_weeks_total(week):
    _, _, answers, _ = week
    (footer,) = [line for line in answers["table"].splitlines() if line.startswith("│ all ")]
    assert f" ${total_nano(answers['closed']) / 1e9:,.2f}* " in footer
    assert "(simulated)" in answers["table"]


def test_metrics_tell_the_weeks_cost(week):
    _, _, answers, _ = week
    assert 'wattledger_ledger_cost_usd{basis="list",window="7d",team="",workload="__idle__"} ' in answers["metrics"]
    assert "wattledger_controller_leader 1\n" in answers["metrics"]
    assert 'wattledger_job_up{job="cost"} 1\n' in answers["metrics"]


def test_what_was_read_last_is_booked_at_the_end(week):
    store, status, _, said = week
    assert "Traceback" not in said
    open_hour = store.scan(NODE_HOURS).filter(pl.col("state") == "provisional").collect()
    assert open_hour.height == 1
    assert open_hour["booked_at"].item() > datetime.fromisoformat(status["now"])


def children_of(pid):
    """Processes whose parent is that one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"


def test_the_child_dies_with_its_parent_and_comes_again_alone(tmp_path):
    with AgentProcess(tmp_path, command=("up", "--simulate"), config=CONFIG) as process:
        api_of(process)
        (first,) = children_of(process.process.pid)
        os.kill(first, signal.SIGKILL)
        (second,) = eventually("it is started again", lambda: set(children_of(process.process.pid)) - {first}, 30)
        eventually("it serves again", lambda: len(_BOOKS.findall(process.said)) == 2, 30)
        assert "the controller ended with status -9; it is started again" in process.said
        process.process.kill()
        process.process.wait()
        eventually("it ends with its parent", lambda: gone(second), 30)


def test_two_controllers_never_keep_one_ledger(tmp_path):
    with AgentProcess(tmp_path, command=("up", "--simulate"), config=CONFIG) as process:
        eventually("the first leads", lambda: ask(f"{api_of(process)}/status")["leads"], SECONDS)
        command = ("controller", "--simulated")
        with AgentProcess(tmp_path / "b", command=command, config=CONFIG, data_dir=tmp_path / "books") as other:
            status = ask(f"{api_of(other)}/status")
            assert not status["leads"]
            eventually("it says that it stands by", lambda: "this one stands by" in other.said, 30)


def test_a_measured_ledger_takes_no_simulated_figures(tmp_path):
    with AgentProcess(tmp_path, command=("up", "--simulate"), config=CONFIG) as process:
        eventually("it booked", lambda: ask(f"{api_of(process)}/status")["versions"].get("usage"), SECONDS)
    with AgentProcess(tmp_path / "b", command=("controller",), config=CONFIG, data_dir=tmp_path / "books") as other:
        assert other.process.wait(30) == 2
        assert "holds simulated figures and measured ones were about to be written into it" in other.said


def test_not_in_time_is_an_error():
    with pytest.raises(NotInTime):
        eventually("never", lambda: None, 0.05)
