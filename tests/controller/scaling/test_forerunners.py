"""What was deleted while it was down, and no controller ran, saves nothing from the next one's start on."""

from collections import Counter
from datetime import timedelta
from types import SimpleNamespace

import pytest

from collectors.kube_follow import FollowState
from controller.scaling.down_spans import spans
from ledger.audit import Asked, read
from ledger.store import Store
from ledger.tables import AUDIT
from tests.controller.scaling.engine_rig import AFTER, BEFORE, END, INSIDE
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.restart_rig import LLAMA, House
from tests.controller.scaling.toy_server import merge

LATER = INSIDE + timedelta(hours=3)


@pytest.fixture(params=["", "HorizontalPodAutoscaler", "ScaledObject"])
def house(tmp_path, request):
    made = House(str(tmp_path), request.param, to="1" if request.param.startswith("H") else "0")
    made.at(INSIDE)
    assert made.is_down
    return made


def delete(house):
    for ref in {LLAMA, house.lever}:
        del house.server.objects[ref]


def new_process(house, **state):
    house.start()
    for kind in ("Deployment", "HorizontalPodAutoscaler", "ScaledObject"):
        house.view.attach(kind, SimpleNamespace(state=FollowState(**{"synced": True, **state})), "v1")
    house.now = max(house.now, LATER)
    house.look()


def gone(house):
    return [row["name"] for row in house.rows if row["result"] == "gone"]


def test_it_is_recorded_once_that_it_is_gone(house):
    delete(house)
    for _ in range(3):
        new_process(house)
    assert gone(house) == ["llama"]
    rows = read(Store(house.root, tables=(AUDIT,)), Asked(BEFORE)).collect()
    (span,) = spans(rows, END)
    assert LATER <= span.end < END


def test_one_that_was_made_anew_is_another(house):
    delete(house)
    house.server.add("Deployment", merge(OBJECTS["Deployment"], {"metadata": {"uid": "anew"}}))
    new_process(house)
    assert gone(house) == ["llama"]


def test_what_is_still_there_is_not_gone(house):
    new_process(house)
    assert gone(house) == []
    assert house.is_down


@pytest.mark.parametrize("state", [{"synced": False}, {"forbidden": True, "error": "403 Forbidden"}])
def test_what_cannot_be_seen_is_not_taken_for_gone(tmp_path, state):
    house = House(str(tmp_path))
    house.at(INSIDE)
    delete(house)
    new_process(house, **state)
    assert gone(house) == []


def test_what_came_back_and_was_deleted_then_was_not_down(house):
    house.at(AFTER)
    assert not house.is_down
    delete(house)
    new_process(house)
    assert gone(house) == []
    assert Counter(row["action"] for row in house.rows)["give_way"] == 0
