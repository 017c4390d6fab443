"""The first law, for any sequence of sweeps, outages, kills, reboots, counter resets, clock steps and full disks."""

import errno
import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.accountant import Accountant
from agent.holdings import Holdings
from agent.opening import open_books
from agent.settings import AgentSettings
from agent.store import StateStore
from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from collectors.holder import Holder
from collectors.readings import (
    Activity,
    DeviceFacts,
    DeviceSweep,
    GpuReading,
    Memory,
    MigFacts,
    ProcessReading,
    ShareSample,
)
from ledger.hours import HourBook, PriceNote, from_json

SETTINGS = AgentSettings(idle_learning_seconds=10, method_hold_seconds=3)
HOLDERS = {pid: Holder("container", f"c{pid % 3}") for pid in range(1, 6)} | {6: Holder("system", "nv-hostengine")}
PRICES = {"GPU-0": ("p0", PriceNote(3_123_456_789, "config", "2026-01-01", "on_demand", False))}
ratio = st.one_of(st.none(), st.floats(0, 1))


class FakeClock:
    def __init__(self):
        self.boot, self.mono, self.wall = 1, 5_000_000_000_000, 1_763_790_000 * NS_PER_SECOND

    @property
    def boot_id(self):
        return f"boot-{self.boot}"

    def monotonic_ns(self):
        return self.mono

    def wall_ns(self):
        return self.wall

    def pass_time(self, ns):
        self.mono += ns
        self.wall += ns


class Balance(RuleBasedStateMachine):
    """Two devices, one of them cut into MIG instances at times; an account of our own beside the agent's."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.counter = {"GPU-0": 1000, "GPU-1": 77}
        self.loaded = 4_000_000_000_000
        self.last_read = {}
        self.booked_to = {}
        self.time = {"GPU-0": 0, "GPU-1": 0}
        self.energy = {"GPU-0": 0, "GPU-1": 0}
        self.rebooted = set()
        self.booted_ns = 0
        self.seen = {}
        self.full = False

    def teardown(self):
        self.full = False
        self.store.close()
        shutil.rmtree(self.folder)

    @initialize()
    def start(self):
        self._open()

    def _open(self):
        self.store = StateStore(self.folder, "node", "nvml")
        self.accountant: Accountant = open_books(self.store, self.clock, SETTINGS, lambda facts: PRICES.get(facts.uuid))
        append = self.store._file.append

        def guarded(data):
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            append(data)

        self.store._file.append = guarded

    @rule(
        seconds=st.integers(1, 5000),
        extra_ns=st.integers(0, NS_PER_SECOND),
        used=st.tuples(st.integers(0, 400_000), st.integers(0, 400_000)),
        activity=st.tuples(ratio, ratio),
        pids=st.tuples(st.sets(st.integers(1, 8)), st.sets(st.integers(1, 8))),
        answers=st.tuples(st.booleans(), st.booleans()),
        silent=st.booleans(),
        mig=st.booleans(),
        stranded=st.none() | st.integers(0, 3),
        load=st.booleans(),
    )
    def sweep(self, seconds, extra_ns, used, activity, pids, answers, silent, mig, stranded, load):
        self.clock.pass_time(seconds * NS_PER_SECOND + extra_ns)
        sweeps = {}
        for place, uuid in enumerate(self.counter):
            self.counter[uuid] += used[place]
            if answers[place]:
                reading = self._reading(uuid, activity[place], pids[place], energy=not silent)
                sweeps[uuid] = _cut(reading, stranded) if mig and place else DeviceSweep(reading)
                self._expect(uuid, reading, load=load)
            elif uuid in self.booked_to:
                self.time[uuid] += self.clock.mono - self.booked_to[uuid]
                self.booked_to[uuid] = self.clock.mono
        if sweeps and self.clock.mono - self.booted_ns >= 600 * NS_PER_SECOND:
            for uuid in self.rebooted - sweeps.keys():
                del self.booked_to[uuid]
                self.rebooted.discard(uuid)
        entries = self.accountant.book(self.clock.mono, self.clock.wall, sweeps, Holdings(HOLDERS))
        self.store.save(entries)
        self.store.close_hours_but(self.accountant.hour_clock.wall_at(self.clock.mono) // NS_PER_HOUR * 3600)

    def _reading(self, uuid, activity, pids, *, energy):
        return GpuReading(
            DeviceFacts(uuid, 0, "H100"),
            self.clock.mono,
            activity=Activity(duty_cycle=activity),
            energy_mj=self.counter[uuid] if energy else None,
            driver_uptime_ns=self.clock.mono - self.loaded,
            processes=tuple(ProcessReading(pid, "compute", pid << 28) for pid in sorted(pids)),
            share_samples=tuple(ShareSample(pid, 1, 0.1 * pid) for pid in sorted(pids)[:2]),
        )

    def _expect(self, uuid, reading, *, load):
        if uuid in self.booked_to:
            self.time[uuid] += self.clock.mono - self.booked_to[uuid]
        self.booked_to[uuid] = self.clock.mono
        if uuid in self.rebooted:
            self.rebooted.discard(uuid)
            if reading.energy_mj is not None:
                self.energy[uuid] += reading.energy_mj
        elif reading.energy_mj is not None and uuid in self.last_read:
            before, loaded = self.last_read[uuid]
            reset = reading.energy_mj < before or self.loaded > loaded + 5 * NS_PER_SECOND
            self.energy[uuid] += reading.energy_mj - (0 if reset else before)
        if reading.energy_mj is not None:
            self.last_read[uuid] = reading.energy_mj, self.loaded

    @rule()
    def kill(self):
        """The process dies: nothing is closed in order, all that remains is on the disk.

        What waited for room on the disk is read anew later, as unobserved; until then the sums here would not know it.
        """
        if self.full or self.store._pending or self.booked_to.keys() - self.store.books.bases.keys():
            return
        self.store._file.close()
        os.close(self.store._lock)
        self._open()

    @rule(seconds=st.integers(20, 20_000))
    def reboot(self, seconds):
        if self.full or self.store._pending:
            return
        self.kill()
        self.store.close()
        self.clock.boot += 1
        self.clock.wall += seconds * NS_PER_SECOND
        for uuid in self.booked_to:
            self.time[uuid] += max(0, self.clock.wall - self._wall_of(uuid))
        self.clock.mono = 3 * NS_PER_SECOND
        self.loaded = NS_PER_SECOND
        self.counter = {uuid: value % 50 for uuid, value in self.counter.items()}
        self.rebooted = set(self.booked_to)
        self.booted_ns = self.clock.mono
        self.booked_to = dict.fromkeys(self.booked_to, self.clock.mono)
        self.last_read.clear()
        self.seen.clear()
        self._open()

    def _wall_of(self, uuid):
        return self.accountant.hour_clock.wall_at(self.booked_to[uuid])

    @rule(left=st.integers(0, 500))
    def reload_driver(self, left):
        self.clock.pass_time(20 * NS_PER_SECOND)
        self.loaded = self.clock.mono - NS_PER_SECOND
        self.counter = dict.fromkeys(self.counter, left)

    @rule(seconds=st.integers(-9000, 9000))
    def step_wall_clock(self, seconds):
        self.clock.wall += seconds * NS_PER_SECOND

    @rule()
    def fill_disk(self):
        self.full = True

    @rule()
    def free_disk(self):
        self.full = False

    @invariant()
    def the_books_balance(self):
        if self.full or self.store._pending:
            return
        time = dict.fromkeys(self.counter, 0)
        energy = dict.fromkeys(self.counter, 0)
        for book in self._hours():
            for uuid, device in book.devices.items():
                rows = [amount for key, amount in book.rows.items() if key.cell.gpu_uuid == uuid]
                assert sum(amount.gpu_ns for amount in rows) == device.accounted_ns
                assert sum(amount.energy_mj for amount in rows) == (device.energy_mj or 0)
                time[uuid] += device.accounted_ns
                energy[uuid] += device.energy_mj or 0
        assert time == self.time
        assert energy == self.energy

    def _hours(self) -> list[HourBook]:
        closed = {book.hour_s: book for book in (from_json(json.loads(d)) for d in self.store.journal.documents())}
        return list((closed | self.store.books.hours).values())

    @invariant()
    def meters_equal_their_control_figures_and_never_fall(self):
        books = self.store.books
        for uuid, device in books.devices.items():
            cells = [meter for key, meter in books.meters.items() if key.gpu_uuid == uuid]
            assert sum(meter.gpu_ns for meter in cells) == device.accounted_ns
            assert sum(meter.energy_mj for meter in cells) == (device.energy_mj or 0)
            assert sum(meter.cost_numerator or 0 for meter in cells) == (device.cost_numerator or 0)
        for key, meter in books.meters.items():
            before = self.seen.get(key, (0, 0, 0))
            now = (meter.gpu_ns, meter.energy_mj, meter.cost_numerator or 0)
            assert all(a <= b for a, b in zip(before, now, strict=True)), key
            self.seen[key] = now


def _cut(reading, stranded):
    parts = [("MIG-a", 3), ("MIG-b", 2)]
    instances = tuple(
        replace(
            reading,
            mig=MigFacts(uuid, place, 0, f"{slices}g", slices, 7),
            energy_mj=None,
            memory=Memory(),
            processes=reading.processes[place::2],
            share_samples=(),
        )
        for place, (uuid, slices) in enumerate(parts)
    )
    device = replace(reading, activity=Activity(), mig_enabled=True, processes=(), share_samples=())
    return DeviceSweep(device, instances, stranded)


Balance.TestCase.settings = settings(max_examples=25, stateful_step_count=30)
TestBalance = Balance.TestCase
