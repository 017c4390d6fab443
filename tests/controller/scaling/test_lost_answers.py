"""A write that was made though its answer never came is told as done once the object is seen to bear it."""

from datetime import timedelta

import pytest

from controller.scaling.act import Wrote
from controller.scaling.down_spans import spans
from controller.scaling.record import COMMAND, RECORD
from ledger.audit import Asked, read
from ledger.store import Store
from ledger.tables import AUDIT
from tests.controller.scaling.engine_rig import AFTER, BEFORE, END, INSIDE, REGISTRY, Notes, make_engine, settle
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.restart_rig import House
from tests.controller.scaling.test_every_step import become_ready
from tests.controller.scaling.toy_server import ToyServer

LOST = Wrote("unknown", why="connection cut")
SECONDS = timedelta(seconds=10)


def lose(server, *numbers, made=True):
    """The answers to the next writes of these numbers; ``made``: the writes are made all the same."""
    lost = {server.writes + number for number in numbers}
    where = "after" if made else "before"
    setattr(server, where, lambda number: LOST if number in lost else None)


def results(house, action):
    return [row["result"] for row in house.rows if (row["phase"], row["action"]) == ("result", action)]


@pytest.mark.parametrize(("scaler", "writes"), [("", 2), ("ScaledObject", 1)])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_down_is_told_as_done_by_the_next_look_and_saves_from_then_on(tmp_path, scaler, writes, restarted):
    house = House(str(tmp_path), scaler)
    house.settle()
    lose(house.server, writes)
    house.now = INSIDE - SECONDS * 6
    while not results(house, "down"):
        house.look()
    if restarted:
        house.start()
    house.settle()
    house.start()  # it is told once, whoever asks again
    house.settle()
    assert results(house, "down") == ["unknown", "done"]
    assert len({row["id"] for row in house.rows if row["action"] == "down"}) == 1
    (span,) = spans(read(Store(house.root, tables=(AUDIT,)), Asked(BEFORE)).collect(), END)
    assert span.begin - INSIDE < timedelta(minutes=5)
    house.at(AFTER)
    assert not house.is_down


@pytest.fixture
def server():
    return ToyServer(REGISTRY, follow=become_ready)


@pytest.fixture
def ref(server):
    return server.add("Deployment", OBJECTS["Deployment"])


def told(book, action):
    return [result for each, _, result in book.results if each == action]


@pytest.mark.parametrize(("now", "action", "replicas"), [(INSIDE, "down", 0), (AFTER, "restore", 3)])
@pytest.mark.parametrize("write", [1, 2])
def test_whichever_of_two_writes_lost_its_answer_the_step_is_told_as_done_once(
    server, ref, now, action, replicas, write
):
    book = Notes()
    engine = make_engine(server, book)
    if action == "restore":
        settle(engine, INSIDE)
    lose(server, write)
    settle(engine, now)
    assert told(book, action) == ["unknown", "done"]
    assert server.objects[ref]["spec"]["replicas"] == replicas


def test_a_view_that_lags_behind_leads_to_no_second_telling(server):
    ref, book = server.add("CronJob", OBJECTS["CronJob"]), Notes()
    engine = make_engine(server, book)
    lose(server, 1)
    old = server.get(ref)
    engine.tick(INSIDE)
    view = engine._cluster
    now, view.objects, view.get = (view.objects, view.get), lambda kind: [old] * (kind == ref.kind), lambda _ref: old
    for late in range(1, 7):  # the watch has not told of the write yet
        engine.tick(INSIDE + late * SECONDS)
    assert told(book, "down") == ["unknown", *["conflict"] * 6]
    view.objects, view.get = now
    settle(engine, INSIDE + 7 * SECONDS)
    assert told(book, "down")[7:] == ["done"]


def test_a_write_that_was_not_made_is_no_down(server, ref):
    book = Notes()
    engine = make_engine(server, book)
    lose(server, 1, made=False)
    engine.tick(INSIDE)
    assert told(book, "down") == ["unknown"]
    settle(engine, INSIDE)
    assert told(book, "down") == ["unknown", "done"]
    assert server.objects[ref]["spec"]["replicas"] == 0


def test_what_was_found_counts_as_a_down_that_somebody_reverts(server, ref):
    engine = make_engine(server)
    for put_down in (True, True, False):
        lose(server, 2)
        tick = settle(engine, INSIDE)
        assert (server.objects[ref]["spec"]["replicas"] == 0) is put_down
        server.edit(ref, {"metadata": {"annotations": {RECORD: None, COMMAND: None}}, "spec": {"replicas": 3}})
    assert tick.reports[0].step.action == "contested"
