"""The agent is killed at random moments; `python -m benchmarks.kills --kills 1000` does the same at length."""

import os

import pytest

from benchmarks.kills import run, table
from benchmarks.kills_watch import Broken, Watcher
from tests.integration.agent_process import Scrape

KILLS = 50 if os.environ.get("WATTLEDGER_REQUIRE_TOOLS") == "1" else 12
DEVICE = 'wattledger_gpu_accounted_seconds_total{gpu_uuid="GPU-1"}'
ACCOUNT = 'wattledger_account_gpu_seconds_total{gpu_uuid="GPU-1",account="active",holder_kind="user",holder="%s"}'


def page(seconds, holder="carol", booked=None):
    lines = [
        "# TYPE wattledger_gpu_accounted_seconds_total counter",
        f"{DEVICE} {seconds}",
        "# TYPE wattledger_account_gpu_seconds_total counter",
        f"{ACCOUNT % holder} {seconds if booked is None else booked}",
    ]
    return Scrape("\n".join(lines))


@pytest.mark.tool("gcc")
def test_no_kill_costs_the_books_a_nanosecond_or_a_millijoule_and_no_counter_ever_falls(tmp_path):
    outcome = run(KILLS, seed=7, folder=tmp_path)
    assert outcome.bench.landed.total() == KILLS
    assert outcome.watcher.sweeps > KILLS // 2
    assert dict(table(outcome))["scrapes"].endswith("none fell")


def test_the_watcher_sees_a_counter_fall():
    watcher = Watcher(port=0)
    watcher.look(page("2.000000001"), life=1)
    with pytest.raises(Broken, match=r"gpu_accounted_seconds_total.* fell from 2\.000000001 to 2\.000000000"):
        watcher.look(page("2.000000000"), life=2)


def test_the_watcher_sees_a_series_of_the_accounts_go_away():
    watcher = Watcher(port=0)
    watcher.look(page("2.0"), life=1)
    with pytest.raises(Broken, match=r'holder="carol"} went away'):
        watcher.look(page("2.0", holder="dave"), life=2)


def test_the_series_of_a_finished_holder_may_go_into_that_of_the_finished():
    watcher = Watcher(port=0, finished={"carol"})
    watcher.look(page("2.0"), life=1)
    watcher.look(page("2.0", holder="__finished__"), life=2)


def test_the_watcher_sees_accounts_that_do_not_add_up():
    with pytest.raises(Broken, match=r"time of GPU-1: accounts 1\.999999999, device 2\.0"):
        Watcher(port=0).look(page("2.0", booked="1.999999999"), life=1)
