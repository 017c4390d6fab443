"""On a real API server: killed around every write, each request cut, refused or late: every object ends as it was."""

import contextlib
import threading
from collections import Counter
from dataclasses import dataclass

import pytest

from controller.scaling.record import COMMAND, RECORD
from tests.api_proxy import FAULTS, Fault
from tests.controller.scaling.night_rig import (
    AFTER,
    BEFORE,
    INSIDE,
    LABELS,
    SCALERS,
    FaultPlan,
    Killed,
    Life,
    World,
    name_of,
)

ALL_FAULTS = {**FAULTS, "410": Fault(status=410), "delayed": Fault(delay_seconds=0.05)}
MOST_WRITES = 6
"""Of one object in a night that nothing disturbs."""


@dataclass(frozen=True)
class Undisturbed:
    """What a night asks of the API server."""

    writes: dict
    """How many, by label."""
    reads: list
    """Each as watch or not, path, and the how manieth of them."""


class Nights:
    """Lives upon one world, through the proxy; all of them are over when it closes."""

    def __init__(self, world, proxy):
        self.world, self.proxy = world, proxy
        self._closing = []

    def live(self, wrap=lambda writes: writes):
        return Life(self.world.server.endpoint(url=self.proxy.url), self.world.namespace, wrap)

    def abandon(self, life):
        """Leave a killed process's threads to their end, while the next one begins."""
        self._closing.append(threading.Thread(target=life.close))
        self._closing[-1].start()

    def close(self):
        for thread in self._closing:
            thread.join()

    def settle(self, life, moment):
        life.settle(moment, self.world.are_down if moment == INSIDE else self.world.are_back)


@pytest.fixture(scope="module")
def server(api_server):
    api_server.install_crds()
    return api_server


def a_world(server):
    made = World(server)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def one_of_each(server):
    """An object of each kind; all tests have the same, since each leaves it as it was."""
    with contextlib.contextmanager(a_world)(server) as world:
        for label in LABELS:
            world.add(label, label.lower())
        yield world


@pytest.fixture(scope="module")
def one_of_each_write(server, undisturbed):
    """Of each kind as many objects as an undisturbed night writes to one, and which write is meant."""
    if not undisturbed.writes:
        pytest.skip("the night that nothing disturbs did not pass")
    with contextlib.contextmanager(a_world)(server) as world:
        yield (
            world,
            [
                (world.add(label, f"{label.lower()}-{number}"), number)
                for label, count in undisturbed.writes.items()
                for number in range(1, count + 1)
            ],
        )


@pytest.fixture
def nights(proxy):
    """Makes nights of a world."""
    made = []

    def make(world):
        made.append(Nights(world, proxy))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def undisturbed():
    """Filled by the first test, which is the first to know."""
    return Undisturbed({}, [])


def test_a_night_that_nothing_disturbs_puts_each_down_and_gives_it_back(nights, proxy, one_of_each, undisturbed):
    world, nights = one_of_each, nights(one_of_each)
    life = nights.live()
    nights.settle(life, BEFORE)
    assert not proxy.writes
    nights.settle(life, INSIDE)
    for lever in world.levers:
        assert {RECORD, COMMAND} <= world.server.admin.get(world.path(lever))["metadata"]["annotations"].keys()
    nights.settle(life, AFTER)
    life.close()
    world.check()
    assert life.book.results.keys() == {"done"}
    assert not [
        str(write) for write in proxy.writes if "/deployments/" in write.path and name_of(write.path) in SCALERS
    ]
    written = Counter(name_of(write.path) for write in proxy.writes)
    undisturbed.writes.update({label: written[label.lower()] for label in LABELS})
    assert all(0 < count < MOST_WRITES for count in undisturbed.writes.values())
    counts = Counter()
    for request in [*proxy.requests, *proxy.watches]:
        if not request.write:
            counts[request.watch, request.path] += 1
            undisturbed.reads.append((request.watch, request.path, counts[request.watch, request.path]))


@pytest.mark.parametrize("fault", ALL_FAULTS)
def test_a_fault_at_any_write_of_any_kind_changes_nothing_in_the_end(nights, proxy, one_of_each_write, fault):
    world, steps = one_of_each_write
    nights = nights(world)
    plan = FaultPlan(dict.fromkeys(steps, fault))
    for concerns, what in plan.faults(ALL_FAULTS):
        proxy.fail_where(concerns, what, times=-1)
    life = nights.live()
    for moment in (BEFORE, INSIDE, AFTER):
        nights.settle(life, moment)
    life.close()
    assert plan.met[fault] == len(steps)
    world.check()


class Deadly:
    """A writer in whose hands the process dies: after each write of ``steps``, and before the first of an object."""

    def __init__(self, writes, steps, counts):
        self._writes, self._steps, self._counts = writes, steps, counts

    def write(self, kind, ref, patch, version):
        if ref not in self._counts:
            self._counts[ref] = 0
            if (ref, 1) in self._steps:
                raise Killed
        self._counts[ref] += 1
        wrote = self._writes.write(kind, ref, patch, version)
        if (ref, self._counts[ref]) in self._steps:
            raise Killed
        return wrote


def test_a_controller_killed_after_any_write_of_any_kind_changes_nothing_in_the_end(nights, one_of_each_write):
    """After one write is before the next."""
    world, steps = one_of_each_write
    nights = nights(world)
    counts, deaths = {}, 0

    def live():
        return nights.live(lambda writes: Deadly(writes, steps, counts))

    life = live()
    for moment in (BEFORE, INSIDE, AFTER):
        while True:
            try:
                nights.settle(life, moment)
                break
            except Killed:
                deaths += 1
                nights.abandon(life)
                life = live()
    life.close()
    assert deaths == len(steps) + len(LABELS)
    world.check()


@pytest.mark.parametrize("turn", range(len(ALL_FAULTS)))
def test_every_read_may_fail_in_every_way_at_the_start_and_after_a_death_by_night(
    nights, proxy, one_of_each, undisturbed, turn
):
    """In each turn every list, watch and question meets another fault, until each has met all of them."""
    nights = nights(one_of_each)
    names = list(ALL_FAULTS)
    planned = {read: names[(place + turn) % len(names)] for place, read in enumerate(undisturbed.reads)}
    assert planned
    for moments in ((BEFORE, INSIDE), (INSIDE, AFTER)):
        proxy.forget()
        fail_reads(proxy, planned)
        life = nights.live()
        for moment in moments:
            nights.settle(life, moment)
        life.close()
        met = {(r.watch, r.path) for r in [*proxy.requests, *proxy.watches] if r.fault}
        assert met == {(watch, path) for watch, path, _ in planned}
    one_of_each.check()


def fail_reads(proxy, planned):
    counts = Counter()

    def count(request):
        if not request.write:
            counts[request.watch, request.path] += 1
        return False

    def due(fault):
        def is_due(request):
            key = (request.watch, request.path)
            return not request.write and planned.get((*key, counts[key])) == fault

        return is_due

    proxy.fail_where(count, Fault(), times=-1)
    for name, fault in ALL_FAULTS.items():
        proxy.fail_where(due(name), fault, times=-1)
