"""The keeper brings the tables in step, once, whatever is killed in between."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from collectors.price_list import PriceRow
from ledger.booking_units import FINAL
from ledger.keeper import Keeper
from ledger.list_costing import ListCosting
from ledger.node_split import NodeSplit
from ledger.price_live_settings import LivePriceSettings
from ledger.price_settings import PriceSettings
from ledger.price_table import LedgerPrices
from ledger.store import Store
from ledger.tables import COST, INSTANCE_TYPES, LIFETIMES, NODE_HOURS, PRICES, PROFILE, USAGE, WORK
from tests.ledger.ledger_rig import MINUTE_NS, NOW, POD, agent_hour, at, row

USD = 10**9
BOOKS = (PROFILE, WORK, PRICES, USAGE, COST, NODE_HOURS)
LISTED = PriceRow("aws", "eu-west-1", "p5", "H100-80GB", 2, "on_demand", 8 * USD, "list", date(2026, 10, 1))
PROFILE_ROW = {
    "gpu_uuid": "GPU-a",
    "mig": "",
    "holder_kind": "pod",
    "holder": POD,
    "measures": {"sm_ppm": [5, 10, 1]},
    "totals": {},
}
FACTS = {"region": "eu-west-1", "instance_type": "p5"}


def keeper(store, split=NodeSplit.EQUAL):
    known = LedgerPrices(PriceSettings(fallback="none"), [LISTED], LivePriceSettings())
    return Keeper(store, ListCosting(store, known, split), cluster="eu")


def journal(node="a", hour=None, minutes=60, **how):
    busy = row(f"GPU-{node}", "active", minutes * MINUTE_NS, 700)
    facts = {**FACTS, "instance_id": f"i-{node}", **how.pop("facts", {})}
    return agent_hour(hour or at(10), busy, node=node, facts=facts, profile=[PROFILE_ROW], **how)


def lives(store, *spans):
    """API witnesses: (node, began, ended or None, seen)."""
    rows = [
        {
            "cluster": "eu",
            "node": node,
            "provider": "aws",
            "region": "eu-west-1",
            "zone": "",
            "instance_id": f"i-{node}",
            "instance_type": "p5",
            "capacity_type": "on_demand",
            "gpu_count": 2,
            "gpu_model": "",
            "began": began,
            "ended": ended,
            "seen": seen,
            "evidence": "api",
        }
        for node, began, ended, seen in spans
    ]
    store.replace(LIFETIMES, pl.DataFrame(rows, schema=LIFETIMES.schema), {})


def table(store, which):
    return store.scan(which).sort(which.key).collect()


def books(store):
    return [table(store, which) for which in BOOKS]


def same(one, other):
    return all(a.equals(b) for a, b in zip(one, other, strict=True))


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "ledger"))


def test_a_round_books_every_table(store):
    lives(store, ("a", at(10), None, NOW))
    kept = keeper(store).keep([journal()], since=at(10), now=at(11))
    assert kept.booked == kept.closed == ((at(10), "a", "i-a"),)
    cost = table(store, COST)
    assert dict(cost.select("gpu_uuid", "list_nano_usd").iter_rows()) == {"GPU-a": 4 * USD, "a/gpu-1": 4 * USD}
    assert table(store, NODE_HOURS).select("state", "existed_ns", "gpu_count").rows() == [(FINAL, 60 * MINUTE_NS, 2)]
    assert table(store, PROFILE).height == 1
    assert set(table(store, PRICES)["price_id"]) == {"p", *cost["price_id"]}


def test_the_same_round_again_commits_nothing(store):
    lives(store, ("a", at(10), None, NOW), ("b", at(10), None, NOW))
    kept = keeper(store)
    kept.keep([journal()], since=at(10), now=at(11))
    versions = [store.version(which) for which in BOOKS]
    again = kept.keep([journal()], since=at(10), now=at(11))
    assert (again.booked, again.unchanged) == ((), 2)
    assert [store.version(which) for which in BOOKS] == versions


def test_a_late_journal_replaces_its_provisional_hour_and_nothing_else(store):
    lives(store, ("a", at(8), None, NOW), ("b", at(8), None, NOW))
    kept = keeper(store)
    kept.keep([journal("b", at(8))], since=at(8), now=at(9))
    before = table(store, NODE_HOURS).filter(node="b")
    assert table(store, USAGE).filter(node="a")["account"].unique().to_list() == ["unobserved"]
    late = kept.keep([journal(hour=at(8))], since=at(11), now=at(12))
    assert (at(8), "a", "i-a") in late.booked
    assert table(store, NODE_HOURS).filter(node="b", hour_utc=at(8)).equals(before.filter(hour_utc=at(8)))
    usage = table(store, USAGE).filter(hour_utc=at(8))
    assert dict(usage.group_by("node").agg(pl.col("gpu_ns").sum()).iter_rows()) == dict.fromkeys("ab", 120 * MINUTE_NS)
    assert "active" in usage.filter(node="a")["account"]


def test_a_node_that_vanishes_loses_minutes_which_are_unobserved(store):
    kept = keeper(store)
    lives(store, ("a", at(10), None, at(10, 20)))
    kept.keep([journal(minutes=20, closed=False, revision=0)], since=at(10), now=at(10, 20))
    lives(store, ("a", at(10), at(10, 23), at(10, 23)))
    kept.keep([], since=at(10), now=at(11))
    usage = table(store, USAGE).filter(gpu_uuid="GPU-a")
    assert dict(usage.select("account", "gpu_ns").iter_rows()) == {
        "active": 20 * MINUTE_NS,
        "unobserved": 3 * MINUTE_NS,
    }
    assert table(store, COST)["list_nano_usd"].sum() == round(8 * USD * 23 / 60)
    assert table(store, PROFILE).height == 1


def test_a_provisional_hour_that_never_was_goes_away(store):
    kept = keeper(store)
    lives(store, ("a", at(9), None, at(11)))
    kept.keep([], since=at(9), now=at(11))
    lives(store, ("a", at(9), at(9, 30), at(11)))
    gone = kept.keep([], since=at(9), now=at(11))
    assert gone.removed == ((at(10), "a", "i-a"),)
    for which in (USAGE, COST, NODE_HOURS):
        assert table(store, which)["hour_utc"].unique().to_list() == [at(9)]


def test_an_instance_whose_id_is_learnt_later_stands_once(store):
    kept = keeper(store)
    unnamed = journal(closed=False, revision=0, facts={"instance_id": ""})
    kept.keep([unnamed], since=at(10), now=at(11))
    kept.keep([journal()], since=at(10), now=at(11))
    assert table(store, NODE_HOURS)["instance_id"].to_list() == ["i-a"]
    assert table(store, COST)["instance_id"].unique().to_list() == ["i-a"]


def test_a_nodes_gpus_are_told_by_its_instance_type(store):
    shape = {"provider": "aws", "instance_type": "p5", "vcpus": 64, "memory_mib": 488 * 1024, "gpu_count": 8}
    store.append(INSTANCE_TYPES, pl.DataFrame([shape], schema=INSTANCE_TYPES.schema))
    rows = pl.DataFrame(
        [
            {
                **dict.fromkeys(("cluster", "region", "zone", "capacity_type", "gpu_model", "node"), ""),
                "provider": "aws",
                "instance_id": "i-a",
                "instance_type": "p5",
                "began": at(10),
                "ended": at(11),
                "seen": at(11),
                "evidence": "bill",
            }
        ],
        schema=LIFETIMES.schema,
    )
    store.append(LIFETIMES, rows)
    kept = keeper(store).keep([], since=at(10), now=at(11))
    assert table(store, USAGE)["gpu_uuid"].to_list() == [f"i-a/gpu-{n}" for n in range(8)]
    assert kept.unpriced == ((at(10), "i-a", "i-a"),)


def test_what_else_stands_in_the_cost_of_the_hour_stays(store):
    shared = pl.DataFrame(
        [{"day": at(10).date(), "hour_utc": at(10), "node": "", "instance_id": "", "account": "shared"}],
        schema=COST.schema,
    )
    store.append(COST, shared)
    keeper(store).keep([journal(f"n{n:03}") for n in range(201)], since=at(10), now=at(11))
    assert table(store, COST).filter(account="shared").height == 1


class Killed(BaseException):
    """As kill -9: nothing catches it."""


class Dying(Store):
    """A store whose process is killed before its commit number ``last``."""

    last: int

    def commit(self, table, write, **how):
        self.last -= 1
        if self.last < 0:
            raise Killed
        return super().commit(table, write, **how)


COMMITS = 6


def rounds(store):
    """Two rounds: open hours, then a closed one beside a node that vanished."""
    lives(store, ("a", at(10), None, at(10, 30)), ("b", at(10), None, at(10, 30)))
    first = [journal(minutes=30, closed=False, revision=0), journal("b", minutes=30, closed=False, revision=0)]
    yield first, at(10, 30)
    lives(store, ("a", at(10), None, at(11)), ("b", at(10), at(10, 40), at(11)))
    yield [journal()], at(11)


@pytest.mark.parametrize("cut", range(2 * COMMITS + 1))
def test_killed_before_any_commit_and_run_again_the_books_are_the_same(tmp_path: Path, cut):
    whole = Store(str(tmp_path / "whole"))
    at_once = keeper(whole)
    for hours, now in rounds(whole):
        at_once.keep(hours, since=at(10), now=now)
    cut_off = Store(str(tmp_path / "cut"))
    done = 0
    for hours, now in rounds(cut_off):
        dying = Dying(str(tmp_path / "cut"))
        dying.last = cut - done
        try:
            keeper(dying).keep(hours, since=at(10), now=now)
        except Killed:
            keeper(cut_off).keep(hours, since=at(10), now=now)
        done += COMMITS
    assert same(books(cut_off), books(whole))


def test_a_keeper_that_takes_over_mends_what_its_register_does_not_know(store, tmp_path):
    """Usage was replaced, cost was not, and the node's agent does not come back."""
    lives(store, ("a", at(10), None, at(11)))
    keeper(store).keep([journal(minutes=30, closed=False, revision=0)], since=at(10), now=at(11))
    dying = Dying(str(tmp_path / "ledger"))
    dying.last = 3
    with pytest.raises(Killed):
        keeper(dying).keep([journal(minutes=50, closed=False, revision=0)], since=at(10), now=at(11))
    keeper(store).keep([], since=at(10), now=at(11))
    usage, cost = table(store, USAGE), table(store, COST)
    assert dict(usage.filter(gpu_uuid="GPU-a").select("account", "gpu_ns").iter_rows())["active"] == 50 * MINUTE_NS
    assert cost.filter(account="active")["list_nano_usd"].to_list() == [4 * USD * 50 // 60]


def test_a_round_of_journals_alone_leaves_the_mending_to_the_round_of_witnesses(store, tmp_path):
    lives(store, ("a", at(10), None, at(11)))
    keeper(store).keep([journal(minutes=30, closed=False, revision=0)], since=at(12), now=at(11))
    dying = Dying(str(tmp_path / "ledger"))
    dying.last = 3
    with pytest.raises(Killed):
        keeper(dying).keep([journal(minutes=50, closed=False, revision=0)], since=at(12), now=at(11))
    kept = keeper(store)
    kept.keep([journal("b")], since=at(12), now=at(11))
    kept.keep([], since=at(10), now=at(11))
    assert table(store, COST).filter(node="a", account="active")["list_nano_usd"].to_list() == [4 * USD * 50 // 60]


def test_hours_of_long_ago_that_nobody_was_booking_are_not_booked_again(store):
    lives(store, ("a", at(10), None, at(11)))
    keeper(store).keep([journal()], since=at(10), now=at(11))
    later = at(11) + timedelta(days=3)
    assert keeper(store).keep([], since=at(10), now=later).unchanged == 1
    assert keeper(store).keep([], since=at(10), now=at(12)).booked == ((at(10), "a", "i-a"),)


def test_a_keeper_that_was_killed_over_hours_of_long_ago_is_made_up_for_in_the_next_round(store, tmp_path):
    later = at(11) + timedelta(days=3)
    lives(store, ("a", at(10), None, at(11)))
    keeper(store).keep([journal(minutes=30, closed=False, revision=0)], since=at(10), now=at(11))
    dying = Dying(str(tmp_path / "ledger"))
    dying.last = 4
    with pytest.raises(Killed):
        keeper(dying).keep([journal(minutes=50, closed=False, revision=0)], since=later, now=later)
    assert table(store, COST).filter(account="active")["list_nano_usd"].to_list() == [2 * USD]
    taking_over = keeper(store)
    taking_over.keep([], since=later, now=later)
    assert table(store, COST).filter(account="active")["list_nano_usd"].to_list() == [4 * USD * 50 // 60]
    assert taking_over.keep([], since=later, now=later).booked == ()
    assert keeper(store).keep([], since=at(10), now=later).unchanged == 1


def test_days_that_were_rolled_up_are_left_alone(store):
    keeper(store).keep([journal(hour=at(9))], since=at(12), now=at(11))
    store.rewrite(USAGE, {"hour_utc": [at(9)]}, lambda rows: rows, rolled=date(2026, 11, 2))
    versions = [store.version(which) for which in BOOKS]
    kept = keeper(store).keep([journal("b", hour=at(9))], since=at(8), now=at(11))
    assert kept.booked == ()
    assert [store.version(which) for which in BOOKS] == versions
