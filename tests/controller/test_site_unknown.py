"""What the controller tells where a part of the books is not known yet: no price, no bill, no rows, no whole day."""

from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest

from controller import api_allocation
from ledger.tables import USAGE
from tests.controller.site_rig import site
from tests.ledger import books_rig
from tests.ledger.ledger_rig import at

WINDOW = "window=2026-11-01T00:00:00Z,2026-11-03T00:00:00Z"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One hour, and no bill."""
    return books_rig.books(tmp_path_factory.mktemp("books") / "ledger", hours=1, lines=())


@pytest.mark.parametrize(
    ("cost", "idle", "unmeasured", "efficiency"),
    [(100, 20, 0, 0.8), (100, 20, 60, 0.5), (60, 0, 60, None), (None, None, None, None)],
)
def test_efficiency_is_that_of_measured_cost(cost, idle, unmeasured, efficiency):
    question = api_allocation.AllocationQuestion.read(WINDOW, at(12))
    row = dict.fromkeys((*api_allocation.EXACT_AMOUNTS, "holder"), 0)
    row |= {"pool": "own", "cost_nano_usd": cost, "idle_nano_usd": idle, "unmeasured_nano_usd": unmeasured}
    found = api_allocation._allocation("x", row, question, question.window)
    assert found["totalEfficiency"] == efficiency


def test_cost_without_a_bill_is_null_by_basis_effective_and_its_time_is_told(store):
    with site(store, at(12)) as made:
        _, said = made.get(f"/allocation?{WINDOW}&basis=effective")
    (found,) = said["data"]
    assert {each["gpuCost"] for each in found.values()} == {each["totalCost"] for each in found.values()} == {None}
    assert said["meta"]["unpriced_ns"] == str(store.scan(USAGE).select(pl.col("gpu_ns").sum()).collect().item())
    assert all(each["gpuUnpricedHours"] == each["gpuHours"] > 0 for each in found.values())


def test_a_budget_is_told_in_metrics_as_in_the_api(store):
    with site(store, at(12).replace(day=2)) as made:
        made.lookout.run()
        now, later = made.lookout.facts.budgets
        made.lookout.facts = replace(
            made.lookout.facts,
            budgets=(replace(now, burn_nano_usd_per_day=12_500_000_000), replace(later, spent_nano_usd=None)),
        )
        page = made.page("/metrics")[1]
        spent = Decimal(made.get("/budgets")[1]["budgets"][0]["spent_nano_usd"]).scaleb(-9)
    shown = [each.rpartition(" ") for each in page.splitlines() if each.startswith("wattledger_budget_")]
    told = {name.removeprefix("wattledger_budget_"): Decimal(value) for name, _, value in shown}
    assert (told['usd{budget="all"}'], told['spent_usd{budget="all"}']) == (500, spent)
    assert told['burn_usd_per_day{budget="all"}'] == Decimal("12.5")
    assert 'spent_usd{budget="ml"}' not in told
    assert 'used_ratio{budget="ml"}' not in told
    states = {name: value for name, value in told.items() if name.startswith('state{budget="ml"')}
    assert states == {
        f'state{{budget="ml",state="{state}"}}': int(state == later.state)
        for state in ("ok", "at_risk", "over", "unknown")
    }
    assert 'wattledger_job_failures_total{job="pull"} 1\n' in page


def test_of_a_day_without_books_no_law_is_said_to_hold(store):
    with site(store, at(12).replace(day=5)) as later:
        later.lookout.run()
        later.lookout.prove()
        assert "wattledger_ledger_law_breaks" not in later.page("/metrics")[1]


def test_hours_whose_cost_is_still_to_be_made_are_named_where_laws_are_looked_at(tmp_path):
    store = books_rig.books(tmp_path / "ledger", hours=1, lines=())
    books_rig.deliver(store, [books_rig.line("a0", 7, "i-a", at(5))])
    with site(store, at(12)) as made:
        assert made.get(f"/verify?{WINDOW}")[1]["pending"] == ["2026-11-01T05:00:00Z"]
        assert made.get("/verify?window=2026-11-02T00:00:00Z,2026-11-03T00:00:00Z")[1]["pending"] == []
