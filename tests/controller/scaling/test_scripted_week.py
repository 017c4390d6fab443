"""A week of a cluster, played on a real API server: the trace is the script's, all is back, and the saving is its."""

from itertools import pairwise

import polars as pl
import pytest

from controller.scaling.record import COMMAND, RECORD
from controller.scaling.savings import Saved, measure, total
from ledger.audit import open_intents
from ledger.tables import AUDIT, COST, NODE_HOURS, USAGE
from tests.controller.scaling import week_script as script
from tests.controller.scaling.week_books import SECOND_NS
from tests.controller.scaling.week_play import Week
from tests.controller.scaling.week_world import HPA, KEDA, PAUSED, ref_of

SPACES = sorted({name.partition("/")[0] for name in script.TRACE})


@pytest.fixture(scope="module")
def week(own_api_server, tmp_path_factory):
    own_api_server.install_crds()
    played = Week(own_api_server, str(tmp_path_factory.mktemp("week") / "books"))
    played.play()
    played.book()
    yield played
    played.remove()


@pytest.fixture(scope="module")
def rows(week):
    """Results of the audit table, in the order of time."""
    results = week.process.store.scan(AUDIT).filter(pl.col("phase") == "result", pl.col("namespace").is_in(SPACES))
    return results.sort("at_utc").collect()


@pytest.fixture(scope="module")
def saved(week):
    return measure(week.process.store, script.CLUSTER, script.BEGIN, script.END)


def what(row):
    """In a word of the script's."""
    if row["action"] == "await":
        return "late"
    kept_up = row["action"] == "down" and row["result"] == "refused"
    return row["reason"].partition(":")[0] if kept_up else row["action"]


def named(row):
    return f"{row['namespace']}/{row['name']}"


def of(rows, name, **columns):
    space, _, own = name.partition("/")
    return rows.filter(pl.col("namespace") == space, pl.col("name") == own, **columns)


def test_the_audit_table_has_the_trace_of_the_script_and_nothing_else(rows):
    found = sorted((row["at_utc"], named(row), what(row)) for row in rows.iter_rows(named=True))
    wanted = script.expected()
    assert sorted(set(found) - set(wanted)) == []
    assert sorted(set(wanted) - set(found)) == []
    assert found == wanted


def test_each_intent_has_its_result_and_nothing_was_a_dry_run_or_lost(week, rows):
    intents = open_intents(week.process.store, script.CLUSTER, script.BEGIN)
    assert intents.filter(pl.col("namespace").is_in(SPACES)).is_empty()
    assert set(rows["result"]) == {"done", "gone", "refused", "unknown"}
    assert set(rows.filter(pl.col("result") == "unknown")["action"]) == {"await"}
    assert not rows["dry_run"].any()
    stand = week.process.scaler.stand()
    assert (stand.audit_waiting, stand.audit_lost, stand.down, stand.coming_back) == (0, 0, {}, 0)


def test_every_object_ends_as_its_owner_last_made_it(week):
    world = week.world
    assert len(world.wanted) == len(script.AT_BEGIN) + 2 + 1 - 1  # autoscalers, the Job; one is deleted
    for ref, wanted in world.wanted.items():
        item = world.read(ref)
        assert item["spec"] == wanted["spec"], ref
        assert item["metadata"].get("labels", {}) == wanted["labels"], ref
        assert item["metadata"].get("annotations", {}) == wanted["annotations"], ref
        assert not {RECORD, COMMAND} & item["metadata"].get("annotations", {}).keys()


def test_autoscalers_were_bounded_or_paused_and_their_targets_left_to_them(week, rows):
    downs = {"action": "down", "result": "done"}
    for name, through, before, after in (
        ("serving/chat", f"{HPA} chat", '{"maxReplicas":6,"minReplicas":2}', '{"maxReplicas":1,"minReplicas":1}'),
        ("serving/embed", f"{KEDA} embed", '{"pausedReplicas":"2"}', '{"pausedReplicas":"0"}'),
    ):
        told = of(rows, name, **downs).select("through", "before", "after").unique().rows()
        assert told == [(through, before, after)]
    written = {ref.kind for ref in week.written if ref.name in {"chat", "embed"}}
    assert written == {HPA, KEDA}
    assert week.world.wanted[ref_of(KEDA, "serving/embed")]["annotations"][PAUSED] == script.EMBED_PAUSED


def test_the_night_in_which_the_clocks_go_back_is_nine_hours_and_others_are_eight(rows):
    windows = of(rows, "serving/chat", action="down").select("window", "until").rows()
    lengths = [(until - begin).total_seconds() / 3600 for begin, until in windows]
    assert lengths == [8, 8, 8, 8, 8, 9, 8]
    weekend = of(rows, "dev-nlp/indexer", action="down").row(-1, named=True)
    assert (weekend["until"] - weekend["window"]).total_seconds() == 60 * 3600


def test_lead_times_are_learnt_and_outlast_a_restart(rows):
    (late,) = of(rows, "dev-nlp/indexer", action="await").iter_rows(named=True)
    assert "not Ready" in late["reason"]
    assert delays(rows, "dev-nlp/indexer") == [480, -120, -120, -120]
    assert delays(rows, "dev-nlp/notebook-api") == [120, -60, -60, -60]


def delays(rows, name):
    """Seconds from each window's end to when all was Ready."""
    told = of(rows, name).filter(pl.col("action").is_in(["down", "finish"]), pl.col("result") == "done")
    pairs = [pair for pair in pairwise(told.iter_rows(named=True)) if pair[1]["action"] == "finish"]
    return [(finish["at_utc"] - down["until"]).total_seconds() for down, finish in pairs]


def test_a_workload_that_argocd_put_back_twice_is_left_alone_for_the_night_and_told_of(week, rows):
    (contested,) = rows.filter(pl.col("action") == "contested").iter_rows(named=True)
    assert "put it back 2 times" in contested["reason"]
    told = [event for event in week.world.events("serving") if event["reason"] == "ScheduleContested"]
    assert {event["involvedObject"]["name"] for event in told} == {"web"}
    assert (len(told), {event["count"] for event in told}) == (
        7,
        {1},
    )  # at half past eleven, and each hour to half past five
    assert week.healed == 2


def test_the_controller_was_another_each_time_it_began(rows):
    actors = rows["actor"].unique(maintain_order=True).to_list()
    assert actors == ["week-1", "week-2", "week-3"]


def test_the_job_goes_down_only_when_its_gpus_were_idle_for_half_an_hour(rows):
    kept_up, down = of(rows, "training/finetune", action="down").iter_rows(named=True)
    assert kept_up["reason"].startswith("activity: its busiest GPU worked 100.0 % of the last 30 minutes")
    assert down["at_utc"] - script.TRAINS[0][1] == script.at("Fri 23:30:05") - script.at("Fri 23:00")


def test_the_books_hold_the_week_with_every_gpu_second_of_every_node(week):
    store = week.process.store
    existed = store.scan(NODE_HOURS).select(pl.col("existed_ns") * pl.col("gpu_count")).sum().collect().item()
    assert existed == store.scan(USAGE).select(pl.col("gpu_ns").sum()).collect().item()
    assert store.scan(COST).select(pl.col("list_nano_usd").is_null().any()).collect().item() is False
    reserved = sum(pool.gpus for pool in script.POOLS.values() if pool.capacity == "reserved")
    standing = store.scan(USAGE).filter(pl.col("capacity_type") == "reserved").select(pl.col("gpu_ns").sum())
    assert standing.collect().item() == reserved * (script.END - script.BEGIN).total_seconds() * SECOND_NS


@pytest.mark.parametrize("name", script.SAVINGS)
def test_what_each_workload_saved_is_the_script_s_to_the_unit(saved, name):
    space, _, own = name.partition("/")
    told = saved.filter(pl.col("namespace") == space, pl.col("workload") == own)
    assert set(told["unknown"]) == {""}
    amounts = ("freed_ns", "cash_ns", "freed_nano_usd", "cash_nano_usd", "unmeasured_ns")
    wanted = script.SAVINGS[name]
    freed, cash = wanted.freed, wanted.cash_of
    expected = (freed * SECOND_NS, cash * SECOND_NS, freed * wanted.price, cash * wanted.price, 0)
    assert tuple(int(told[amount].sum()) for amount in amounts) == expected


def test_the_whole_saving_is_the_sum_and_the_job_s_work_is_only_put_off(saved):
    wanted = script.SAVINGS.values()
    assert total(saved) == Saved(
        freed_ns=sum(each.freed for each in wanted) * SECOND_NS,
        cash_ns=sum(each.cash_of for each in wanted) * SECOND_NS,
        freed_nano_usd=sum(each.freed * each.price for each in wanted),
        cash_nano_usd=sum(each.cash_of * each.price for each in wanted),
        unknown=1,
        # no bill has come: all of it is an estimate
        freed_list_nano_usd=sum(each.freed * each.price for each in wanted),
        cash_list_nano_usd=sum(each.cash_of * each.price for each in wanted),
    )
    assert saved.filter(pl.col("unknown") != "").select("workload", "unknown").rows() == [("finetune", "postponed")]
