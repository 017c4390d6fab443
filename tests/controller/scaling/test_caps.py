"""How many go down in one run and in one minute, and how soon all are down that an edge concerns."""

from collections import Counter
from datetime import timedelta

import pytest

from controller.scaling import engine
from controller.scaling.record import RECORD
from ledger.audit import INTENT, RESULT
from tests.controller.scaling.engine_rig import BEGIN
from tests.controller.scaling.restart_rig import LLAMA, House
from tests.controller.scaling.toy_server import merge

SECOND = timedelta(seconds=1)


class Edge(House):
    """So many workloads whose window begins, at writes of so many seconds each."""

    def __init__(self, root, count, *, write_seconds=0.0, **settings):
        super().__init__(root)
        for number in range(count - 1):
            item = merge(self.server.objects[LLAMA], {"metadata": {"name": f"w{number}", "uid": f"u{number}"}})
            self.server.add("Deployment", item)
        self.settings = self.settings.model_copy(update=settings)
        self.start()
        self.look()
        self.server.before = lambda _number: self.pass_(write_seconds)
        self.now = BEGIN

    def pass_(self, seconds):
        self.now += seconds * SECOND

    @property
    def down(self):
        return sum(RECORD in item["metadata"].get("annotations", {}) for item in self.server.objects.values())


@pytest.mark.parametrize("per_run", [1, 2, 5])
def test_one_run_puts_down_no_more_than_the_cap_and_leaves_the_rest_to_the_next(tmp_path, per_run):
    edge = Edge(str(tmp_path), 11, changes_per_run=per_run)
    for run in range(1, 14):
        edge.look(minutes=0.1)
        assert edge.down == min(11, run * per_run)
        assert edge.scaler.stand().waiting == max(0, 11 - run * per_run)


def test_a_cap_by_the_minute_holds_over_runs(tmp_path):
    edge = Edge(str(tmp_path), 11, changes_per_run=2, changes_per_minute=5)
    downs = []
    for _ in range(30):
        edge.look(minutes=1 / 12)
        downs.append(edge.down)
    assert downs[:3] == [2, 4, 5]
    assert max(later - now for now, later in zip(downs, downs[11:], strict=False)) == 5
    assert downs[-1] == 11


def test_a_cap_on_downs_is_none_on_what_comes_back(tmp_path):
    edge = Edge(str(tmp_path), 11)
    edge.look()
    assert edge.down == 11
    edge.settings = edge.settings.model_copy(update={"changes_per_run": 1, "changes_per_minute": 1})
    edge.start()
    edge.at(BEGIN + timedelta(hours=12))
    edge.look()
    assert {item["spec"]["replicas"] for item in edge.server.objects.values()} == {3}


def test_an_edge_of_more_than_one_run_takes_hardly_longer_than_its_writes(tmp_path):
    """The defaults in small: twice as many workloads as one run takes, and 41.6 seconds of writes."""
    edge = Edge(str(tmp_path), 40, write_seconds=0.52, changes_per_run=20)
    starts = []
    while edge.down < 40 and len(starts) < 20:
        starts.append((edge.now - BEGIN) / SECOND)
        due = edge.now
        edge.look(minutes=0)
        ended = edge.now
        while due < ended:  # as jobs are run: ticks are counted from a run's start, and those within it are missed
            due += min(edge.settings.tick_seconds, edge.scaler.seconds_to_next()) * SECOND
        edge.now = due
    assert starts == [0, 25]
    assert round((ended - BEGIN) / SECOND, 3) == 45.8


def test_what_comes_back_at_an_edge_waits_for_no_row_of_downs_that_is_being_made(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "BATCH", 2)
    edge = Edge(str(tmp_path), 11)
    early = edge.server.objects[LLAMA]
    early["metadata"]["annotations"]["wattledger.io/schedule-down"] = "Mon-Sun 18:00-19:10"  # two minutes' lead
    edge.look(minutes=-1)
    assert edge.down == 1
    edge.now, edge.server.before = BEGIN, lambda _number: edge.pass_(60)  # ten downs of two writes
    edge.look(minutes=0)
    assert edge.now == BEGIN + timedelta(minutes=8)
    assert edge.down == 1 + 4
    assert edge.scaler.stand().waiting == 6
    assert Counter(row["phase"] for row in edge.rows if row["action"] == "down") == {INTENT: 5, RESULT: 5}
    edge.look(minutes=0)
    assert edge.server.objects[LLAMA]["spec"]["replicas"] == 3
    while edge.down < 10:
        assert edge.look(minutes=0.1)
