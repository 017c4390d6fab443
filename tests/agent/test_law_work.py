"""Work is conserved: over restarts of engine and agent, outages, hours, full disks, no token is lost or told twice."""

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.economics_settings import EconomicsSettings
from agent.holder_totals import holder_totals
from agent.holdings import Holdings
from agent.opening import open_books
from agent.settings import AgentSettings
from agent.store import StateStore
from agent.work import WorkBooker
from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from collectors.holder import Holder
from collectors.readings import DeviceSweep
from ledger.hours import PriceNote, from_json
from tests.agent.pages import answer, page, silence
from tests.agent.readings import reading

PRICE = ("p", PriceNote(3_123_456_789, "config", "2026-01-01", "on_demand", False))
HOLDERS = {1: Holder("container", "chat"), 2: Holder("container", "code")}
PAGES = {"chat-a": HOLDERS[1], "chat-b": HOLDERS[1], "code": HOLDERS[2]}
KINDS = ("requests", "input_tokens", "output_tokens")


class Clock:
    boot_id = "boot"

    def __init__(self):
        self.mono, self.wall = 5 * NS_PER_SECOND, 1_763_790_000 * NS_PER_SECOND

    def monotonic_ns(self):
        return self.mono

    def wall_ns(self):
        return self.wall


class Engine:
    """Counters that only grow while it lives, and the sum of all it ever did since it was first seen."""

    def __init__(self, start):
        self.start = start
        self.counters = {}
        self.done = {}
        self.seen = False

    def work(self, model, tenant, amounts):
        for kind, amount in zip(KINDS, amounts, strict=True):
            key = (model, tenant, kind)
            self.counters[key] = self.counters.get(key, 0) + amount
            if self.seen:
                self.done[key] = self.done.get(key, 0) + amount

    def restart(self, start):
        self.start, self.counters = start, dict.fromkeys(self.counters, 0)


class Conserved(RuleBasedStateMachine):
    """Two holders, one of them with two pages; an account of our own beside the agent's."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.full = False
        self.energy = 0
        self.seen = {}
        # They started before the books were opened: what they did then is not for these.
        self.engines = {key: Engine(self.clock.wall / NS_PER_SECOND - 100) for key in PAGES}

    def teardown(self):
        self.full = False
        try:
            self.read_all_at_last()
        finally:
            self.store.close()
            shutil.rmtree(self.folder)

    def holder_of(self, target):
        return PAGES[target.key]

    @initialize()
    def start(self):
        for engine in self.engines.values():
            engine.work("m", "", (3, 500, 70))
        self._open()
        self.sweep(1, set(PAGES))

    def _open(self):
        self.store = StateStore(self.folder, "node", "nvml")
        self.accountant = open_books(self.store, self.clock, AgentSettings(), lambda _: PRICE)
        self.booker = WorkBooker(self.store.books, self.accountant.hour_clock, self, EconomicsSettings())
        append = self.store._file.append

        def guarded(data):
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            append(data)

        self.store._file.append = guarded

    @rule(seconds=st.integers(1, 5000), answers=st.sets(st.sampled_from(sorted(PAGES))))
    def sweep(self, seconds, answers):
        self.clock.mono += seconds * NS_PER_SECOND
        self.clock.wall += seconds * NS_PER_SECOND
        self.energy += seconds * 200_000
        gpu = reading(self.clock.mono / NS_PER_SECOND, pids=[1, 2], activity=0.5, energy_mj=self.energy)
        entries = self.accountant.book(self.clock.mono, self.clock.wall, {"GPU-1": DeviceSweep(gpu)}, Holdings(HOLDERS))
        if not self.store.waiting:
            self.booker.book(entries[-1], [self._answer(key, key in answers) for key in PAGES], self.clock.wall)
        self.store.save(entries)
        self.store.close_hours_but(self.accountant.hour_clock.wall_at(self.clock.mono) // NS_PER_HOUR * 3600)

    def _answer(self, key, answers):
        at = self.clock.mono / NS_PER_SECOND
        if not answers:
            return silence(at, key=key)
        engine = self.engines[key]
        engine.seen = True
        return answer(at, page(engine.counters, start=engine.start), key=key)

    @rule(
        key=st.sampled_from(sorted(PAGES)),
        model=st.sampled_from("mn"),
        tenant=st.sampled_from(["", "alice", "bob"]),
        amounts=st.tuples(st.integers(0, 50), st.integers(0, 9000), st.integers(0, 3000)),
    )
    def serve(self, key, model, tenant, amounts):
        self.engines[key].work(model, tenant, amounts)

    @rule(key=st.sampled_from(sorted(PAGES)))
    def restart_engine(self, key):
        """What it did since its last page dies with it; the agent must have read it before."""
        if self.full or self.store.waiting:
            return
        self.sweep(10, {key})
        self.engines[key].restart(self.clock.wall / NS_PER_SECOND)

    @rule()
    def kill(self):
        if self.full:
            return
        self.store._file.close()
        os.close(self.store._lock)
        self._open()

    @rule()
    def fill_disk(self):
        self.full = True

    @rule()
    def free_disk(self):
        self.full = False

    @rule()
    def read_all_at_last(self):
        if self.full:
            return
        self.sweep(1, set())
        self.sweep(15, set(PAGES))
        expected = {}
        for key, engine in self.engines.items():
            for (model, tenant, kind), amount in engine.done.items():
                name = (PAGES[key].name, model, tenant, kind)
                expected[name] = expected.get(name, 0) + amount
        books = self.store.books
        meters = {(k.holder, k.model, k.tenant, k.kind): m.amount for k, m in books.work.meters.items()}
        assert meters == {name: amount for name, amount in expected.items() if amount}
        hours = {}
        for book in self._hours():
            for k, amount in book.work.items():
                name = (k.holder, k.model, k.tenant, k.kind)
                hours[name] = hours.get(name, 0) + amount
        assert hours == meters

    def _hours(self):
        closed = {book.hour_s: book for book in (from_json(json.loads(d)) for d in self.store.journal.documents())}
        return (closed | self.store.books.hours).values()

    @invariant()
    def no_meter_of_work_ever_falls(self):
        for key, meter in self.store.books.work.meters.items():
            assert meter.amount >= self.seen.get(key, 0)
            self.seen[key] = meter.amount

    @invariant()
    def tenants_add_up_to_no_more_than_their_holder_cost(self):
        totals = holder_totals(self.store.books)
        split = {}
        for key, meter in self.store.books.work.tenants.items():
            split[key.holder_kind, key.holder] = split.get((key.holder_kind, key.holder), 0) + meter.cost_numerator
        for name, numerator in split.items():
            assert 0 <= numerator <= totals[name].cost_numerator


Conserved.TestCase.settings = settings(max_examples=30, stateful_step_count=30)
TestConserved = Conserved.TestCase
