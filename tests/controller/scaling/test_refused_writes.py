"""What the API server will not take is tried again ever more rarely, in nobody's way, and is told once."""

import logging
from datetime import timedelta
from functools import partial

import pytest

from controller.scaling.act import Wrote
from controller.scaling.audit_log import AuditLog, found_done
from controller.scaling.model import ZERO, Size
from controller.scaling.record import RECORD
from ledger.audit import Asked, append, open_intents, read
from ledger.store import Store
from ledger.tables import AUDIT
from tests.controller.scaling.engine_rig import AFTER, INSIDE, REGISTRY, make_engine, nightly, settle
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.test_every_step import become_ready
from tests.controller.scaling.toy_server import ToyServer, merge

LOOK = timedelta(seconds=5)
NO_RIGHT = Wrote("forbidden", why="no right")


class Refusing(ToyServer):
    """Refuses the writes of some objects, in the words of ``no``."""

    def __init__(self):
        super().__init__(REGISTRY, follow=become_ready)
        self.no, self.refuses, self.asked = NO_RIGHT, set(), []
        self.place = ""
        """Only writes there are refused; empty: all."""

    def write(self, kind, ref, patch, version):
        self.asked.append(ref.name)
        refused = ref.name in self.refuses and self.place in {"", patch.place}
        return self.no if refused else super().write(kind, ref, patch, version)

    def make(self, *names, kind="Deployment"):
        return [self.add(kind, merge(OBJECTS[kind], {"metadata": {"name": name}})) for name in names]


@pytest.fixture
def server():
    return Refusing()


def looks(server, engine, count, begin=INSIDE):
    """So many, five seconds apart; the moments at which something was asked of the API server, in seconds."""
    found = []
    for number in range(count):
        before = len(server.asked)
        engine.tick(begin + number * LOOK)
        found += [5 * number] * (len(server.asked) > before)
    return found


def test_a_refused_down_is_tried_after_ever_longer_waits_up_to_five_minutes(server):
    server.make("w")
    server.refuses = {"w"}
    assert looks(server, make_engine(server), 300) == [0, 5, 15, 35, 75, 155, 315, 615, 915, 1215]


def test_what_comes_back_is_tried_again_each_minute_at_least(server):
    server.make("w")
    settle(make_engine(server), INSIDE)
    server.refuses, server.asked = {"w"}, []
    engine = make_engine(server)
    assert looks(server, engine, 60, AFTER) == [0, 5, 15, 35, 75, 135, 195, 255]
    server.refuses = set()
    settle(engine, AFTER + timedelta(minutes=10))
    assert [item["spec"]["replicas"] for item in server.objects.values()] == [3]


def test_what_is_refused_leaves_its_place_under_the_cap_to_others(server):
    refused = server.make("a", "b", "c", "d", "e")
    (other,) = server.make("z", kind="StatefulSet")
    server.refuses = {ref.name for ref in refused}
    engine = make_engine(server, allowance=lambda _now: 3)
    for number in range(2):
        assert engine.tick(INSIDE + number * LOOK).waiting == 3
    assert RECORD in server.objects[other]["metadata"]["annotations"]
    looks(server, engine, 100, INSIDE + 2 * LOOK)
    assert len(server.asked) < 5 * 10


@pytest.mark.parametrize(
    "patch",
    [
        {"metadata": {"labels": {"exempt": "yes"}}},
        {"metadata": {"annotations": {"exempt": "yes"}}},
        {"spec": {"replicas": 4}},
        {"spec": {"template": {"spec": {"nodeName": "a"}}}},
    ],
)
def test_what_its_owner_changed_is_tried_at_once(server, patch):
    (ref,) = server.make("w")
    server.refuses = {"w"}
    engine = make_engine(server)
    looks(server, engine, 20)
    server.edit(ref, patch)
    server.refuses = set()
    settle(engine, INSIDE + 20 * LOOK)
    assert server.objects[ref]["spec"]["replicas"] == 0


def test_a_status_that_changes_all_the_time_does_not_end_a_wait(server):
    (ref,) = server.make("w")
    server.refuses = {"w"}
    engine = make_engine(server)
    for number in range(60):
        server.edit(ref, {"status": {"heartbeat": number}})
        engine.tick(INSIDE + number * LOOK)
    assert len(server.asked) == 6


def test_another_wish_is_tried_at_once(server):
    server.make("w")
    server.refuses, sizes = {"w"}, [ZERO]

    def wish(*asked):
        return nightly(sizes[-1])(*asked)

    engine = make_engine(server, wish=wish)
    looks(server, engine, 20)
    tries = len(server.asked)
    sizes.append(Size(1))
    engine.tick(INSIDE + 20 * LOOK)
    assert len(server.asked) == tries + 1


def test_a_new_process_tries_at_once(server):
    server.make("w")
    server.refuses = {"w"}
    looks(server, make_engine(server), 20)
    tries = len(server.asked)
    make_engine(server).tick(INSIDE + 20 * LOOK)
    assert len(server.asked) == tries + 1


def test_a_clock_that_is_set_back_holds_nothing_back(server):
    server.make("w")
    server.refuses = {"w"}
    engine = make_engine(server)
    looks(server, engine, 20)
    server.refuses = set()
    engine.tick(INSIDE - timedelta(seconds=30))
    assert RECORD in next(iter(server.objects.values()))["metadata"]["annotations"]


@pytest.mark.parametrize("result", ["conflict", "unknown"])
def test_what_was_not_refused_is_tried_at_the_next_look(server, result):
    server.make("w")
    server.refuses, server.no = {"w"}, Wrote(result, why="later")
    assert looks(server, make_engine(server), 4) == [0, 5, 10, 15]


def test_the_log_has_a_refusal_once_and_again_when_its_words_change(server, caplog):
    server.make("w")
    server.refuses = {"w"}
    engine = make_engine(server)
    with caplog.at_level(logging.WARNING):
        looks(server, engine, 40)
        server.no = Wrote("refused", why="a webhook says no")
        looks(server, engine, 60, INSIDE + 40 * LOOK)
    assert [record.message.partition(": ")[2] for record in caplog.records] == ["no right", "a webhook says no"]


@pytest.fixture
def store(tmp_path):
    made = Store(str(tmp_path), tables=(AUDIT,))
    made.claim_epoch()
    return made


def audited(store):
    return AuditLog(partial(append, store), cluster="eu", actor="wattledger-0")


def rows(store, log):
    assert log.close(10) == 0
    found = read(store, Asked(INSIDE)).collect()
    return list(zip(*(found[name].to_list() for name in ("action", "phase", "result")), strict=True))


def test_a_refused_down_has_one_intent_and_one_result_until_it_is_made(server, store):
    (ref,) = server.make("w")
    server.refuses, log = {"w"}, audited(store)
    engine = make_engine(server, log)
    looks(server, engine, 100)
    assert len(server.asked) > 5
    assert rows(store, log) == [("down", "intent", ""), ("down", "result", "forbidden")]
    server.refuses = set()
    settle(engine, INSIDE + timedelta(hours=1))
    assert rows(store, log)[2:] == [("down", "result", "done")]
    assert read(store, Asked(INSIDE)).collect()["id"].n_unique() == 1
    assert server.objects[ref]["spec"]["replicas"] == 0


def test_a_refused_restore_has_its_two_rows_once(server, store):
    server.make("w")
    settle(make_engine(server), INSIDE)
    server.refuses, log = {"w"}, audited(store)
    engine = make_engine(server, log)
    looks(server, engine, 60, AFTER)
    assert rows(store, log) == [("restore", "intent", ""), ("restore", "result", "forbidden")]
    server.no = Wrote("refused", why="a webhook says no")
    looks(server, engine, 60, AFTER + 60 * LOOK)
    assert [result for *_, result in rows(store, log)[2:]] == ["", "refused"]


class Dying:
    """What it notes is lost from some moment on."""

    def __init__(self, log):
        self._log, self.dies, self.intend = log, False, log.intend

    def note(self, *told):
        if not self.dies:
            self._log.note(*told)


def test_a_down_that_was_refused_and_then_made_by_a_process_that_died_is_found(server, store):
    server.make("w")
    server.refuses, log = {"w"}, audited(store)
    book = Dying(log)
    engine = make_engine(server, book)
    looks(server, engine, 3)
    rows(store, log)
    assert found_done(open_intents(store, "eu", INSIDE, refused=True), server.get, INSIDE) == []
    server.refuses, book.dies = set(), True
    settle(engine, INSIDE + timedelta(hours=1))
    assert open_intents(store, "eu", INSIDE).is_empty()
    (found,) = found_done(open_intents(store, "eu", INSIDE, refused=True), server.get, INSIDE + timedelta(hours=2))
    assert (found.action, found.result, found.target.name) == ("down", "done", "w")
    log.found([found])
    rows(store, log)
    assert open_intents(store, "eu", INSIDE, refused=True).is_empty()


def test_where_only_the_second_of_two_writes_is_refused_it_is_the_same(server, store):
    (ref,) = server.make("w")
    server.refuses, server.place, log = {"w"}, "scale", audited(store)
    engine = make_engine(server, log)
    assert looks(server, engine, 300) == [0, 5, 10, 20, 40, 80, 160, 320, 620, 920, 1220]
    assert rows(store, log) == [("down", "intent", ""), ("down", "result", "forbidden")]
    server.refuses = set()
    settle(engine, INSIDE + timedelta(hours=1))
    assert rows(store, log)[2:] == [("down", "result", "done")]
    server.refuses = {"w"}
    assert looks(server, engine, 60, AFTER) == [0, 5, 10, 20, 40, 80, 140, 200, 260]
    assert [result for *_, result in rows(store, log)[3:]] == ["", "forbidden"]
    server.refuses = set()
    settle(engine, AFTER + timedelta(hours=1))
    assert (server.objects[ref]["spec"]["replicas"], RECORD in server.get(ref).annotations) == (3, False)
