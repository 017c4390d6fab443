"""What the API tells of savings: by workload, to the unit, with the counterfactual, and as far as the books go."""

import pytest

from controller.openapi import document
from controller.scaling.savings import COUNTERFACTUAL
from ledger.audit import AuditRow, Target, append
from ledger.store import Store
from ledger.tables import ALL, COST, LIFETIMES, NODE_HOURS, USAGE
from ledger.unsettled import note_settled
from tests.controller.conforms import faults
from tests.controller.scaling.savings_rig import MIN, OTHER, USD, Script, at
from tests.controller.site_rig import site

DAY = "window=2026-11-02T00:00:00Z,2026-11-03T00:00:00Z"
SPEC = document()


@pytest.fixture
def store(tmp_path):
    """Two that went down at eight, one of them billed, and one of which nothing is known; a node that ended at nine."""
    script = Script()
    for hour in (19, 20):
        script.node(hour, "a", 60)
    script.held(19, "a-1", 60, effective=3)
    script.held(19, "a-2", 60, OTHER)
    made, books = Store(str(tmp_path), tables=ALL), script.books()
    for table in (COST, USAGE, NODE_HOURS, LIFETIMES):
        made.append(table, getattr(books, table.name))
    done = {"action": "down", "phase": "result", "result": "done", "until": at(32)}
    names = ("chat", "other", "gone")
    append(made, [AuditRow(at(20), name, target=Target("eu", "Deployment", "ml", name), **done) for name in names])
    return made


@pytest.fixture
def rig(store):
    with site(store, at(30)) as made:
        yield made


def test_nothing_is_measured_before_the_books_are_complete(rig):
    status, said = rig.get(f"/savings?{DAY}")
    assert (status, said["savings"], said["measured_through"]) == (200, [], None)


def test_rows_are_by_workload_with_what_they_rest_on(rig, store):
    note_settled(store, None, at(23, 30))
    status, said = rig.get(f"/savings?{DAY}")
    assert status == 200
    schema = SPEC["paths"]["/api/v1/savings"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert faults(said, schema, SPEC) == []
    assert said["counterfactual"] == COUNTERFACTUAL
    assert said["meta"]["window"] == {"start": "2026-11-02T00:00:00Z", "end": "2026-11-02T23:00:00Z"}
    assert said["measured_through"] == "2026-11-02T23:00:00Z"
    other, chat, gone = said["savings"]
    told = ("workload", "basis", "estimate", "unknown", "downs", "cash_nano_usd", "freed_nano_usd")
    assert [other[name] for name in told] == ["other", "list", True, "", 1, str(8 * USD), str(12 * USD)]
    assert [chat[name] for name in told] == ["chat", "effective", False, "", 1, str(6 * USD), str(9 * USD)]
    assert [gone[name] for name in told] == ["gone", None, None, "no_reference", 1, None, None]
    times = {name: int(other[f"{name}_ns"]) // MIN for name in ("stayed", "held", "freed", "cash", "unmeasured")}
    assert times == {"stayed": 180, "held": 0, "freed": 180, "cash": 120, "unmeasured": 0}


def test_what_was_measured_begins_and_ends_where_the_books_do(rig, store, monkeypatch):
    note_settled(store, None, at(23, 30))
    _, after = rig.get("/savings?window=2026-11-05T00:00:00Z,2026-11-06T00:00:00Z")
    assert after["measured_through"] == "2026-11-02T23:00:00Z"
    monkeypatch.setattr(Store, "rolled_before", lambda _store, _table: at(0).date())
    _, before = rig.get("/savings?window=2026-10-01T00:00:00Z,2026-11-03T00:00:00Z")
    assert before["meta"]["window"] == {"start": "2026-11-02T00:00:00Z", "end": "2026-11-02T23:00:00Z"}


def test_what_is_done_to_its_bounds_by_queue_ends_no_saving(rig, store):
    note_settled(store, None, at(23, 30))
    _, before = rig.get(f"/savings?{DAY}")
    gone = {"action": "move_bounds", "phase": "result", "result": "gone"}
    append(store, [AuditRow(at(21), "bounds", target=Target("eu", "Deployment", "ml", "chat"), **gone)])
    _, after = rig.get(f"/savings?{DAY}")
    assert after["savings"] == before["savings"]


def test_rows_can_be_asked_for_by_workload_and_are_cut(rig, store):
    note_settled(store, None, at(23, 30))
    _, said = rig.get(f"/savings?{DAY}&name=chat&namespace=ml&kind=Deployment&cluster=eu")
    assert [row["workload"] for row in said["savings"]] == ["chat"]
    _, said = rig.get(f"/savings?{DAY}&limit=1")
    assert ([row["workload"] for row in said["savings"]], said["meta"]["truncated"]) == (["other"], True)
    _, said = rig.get(f"/savings?{DAY}&cluster=us")
    assert said["savings"] == []


def test_of_a_window_whose_hours_are_all_days_by_now_nothing_is_measured(rig, store, monkeypatch):
    note_settled(store, None, at(23, 30))
    monkeypatch.setattr(Store, "rolled_before", lambda _store, _table: at(0).date())
    _, said = rig.get("/savings?window=2026-10-01T00:00:00Z,2026-10-08T00:00:00Z")
    assert (said["savings"], said["measured_through"]) == ([], None)
    assert said["meta"]["window"] == dict.fromkeys(("start", "end"), "2026-10-08T00:00:00Z")
