"""An hour of a node with every way to share a device, held against what its script says at 10 ms."""

import contextlib
import json
import math
from collections import defaultdict

import pytest

from collectors.holder import NOBODY, Holder
from ledger.hours import from_json, hour_start
from tests.engines.load import Load
from tests.engines.server import ScriptedEngine
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Segment
from tests.integration.played_hour import Grant, Play, Pod, Script, Stint, Worker
from tests.integration.played_patterns import SECOND, alone, bursts, slices, together

HOUR = hour_start("2026-01-01T00:00:00Z")
LENGTH, LONG = 3600, 3700.0
JOBS = 15
DIED, BACK = 1800, 1823
SPANS = ((0.0, DIED), (BACK, LENGTH))
SEEN_NS = (LENGTH - (BACK - DIED)) * SECOND
ROUNDING_NS = 2 * LENGTH
"""Whole nanoseconds, twice a sweep: by activity, and by slices or replicas."""
WHOLE, MIG, SLICED, MPS, CLAIMED, CHURNED, BURSTS, COARSE, HIDDEN = range(9)
DEVICES = (
    profiles.h100(),
    profiles.h100(),
    profiles.l40s(),
    profiles.h100(),
    profiles.l40s(),
    profiles.a100(),
    profiles.h100(),
    profiles.l40s(),
    profiles.h100(),
)
OFFERED_FOURFOLD = {SLICED, MPS, BURSTS, COARSE, HIDDEN}
MPS_SERVER = Holder("system", "nvidia-cuda-mps-server")


class Hour:
    """The script, with the names that the tests ask for."""

    def __init__(self, driver, engines):
        self.driver = driver
        self.script = Script(away=(DIED, BACK), silent=(2400, 2440))
        self.pods = {}
        self._pids = iter(range(1000, 9999))
        self._tune()
        self._whole()
        self._mig()
        self._shared()
        self._claimed()
        self._churned()
        self._bursting()
        self.engines = engines
        self.script.engines = {self.pod(engine.kind): engine for engine in engines}
        self.script.at.append((2000.0, engines[0].restart))

    def pod(self, name):
        return self.pods.setdefault(name, Pod(name, len(self.pods) + 1))

    def grant(self, name, device, begin=0.0, end=LONG, *, replicas=(), **more):
        uuid = self.driver.device(device).uuid
        ids = tuple(f"{uuid}::{each}" for each in replicas) or (() if more.get("claimed") else (uuid,))
        self.script.grants.append(Grant(self.pod(name), begin, end, **({"ids": ids} | more)))

    def work(self, device, pattern, names, begin=0.0, end=LONG, **more):
        workers = {
            key: each if isinstance(each, Worker) else Worker(next(self._pids), each and self.pod(each))
            for key, each in names.items()
        }
        self.script.stints.append(Stint(device, begin, end, pattern, workers, **more))

    def _tune(self):
        """As coarse as real drivers are: period and lag of samples, one in ten missing, means over a window."""
        for index, device in enumerate(self.driver.devices):
            period, lag = ((1000, 200), (333, 500), (500, 300))[index % 3]
            device.sampling(period_ms=period, lag_ms=lag, missing=0.1, seed=index + 1)
            device.utilization_window(1000 if device.profile.gpm else 1000 / 6)
            device.set(sm_clock_mhz=device.profile.max_clocks_mhz[0])
            self.script.offered += [f"{device.uuid}::{n}" for n in range(4) if index in OFFERED_FOURFOLD]
            self.script.offered += [f"{device.uuid}::{n}" for n in range(2) if index == CHURNED]

    def _whole(self):
        self.grant("train", WHOLE, ids=("nvidia0",))
        self.work(WHOLE, alone([0, 37, 100, 83, 5, 61, 99], seed=1), {"main": "train"})

    def _mig(self):
        device = self.driver.device(MIG)
        cut = device.mig(["1g.10gb", "2g.20gb", "3g.40gb"])
        self.migs = {(MIG, mig.slot): mig for mig in cut}
        self.script.at.append(
            (
                0.0,
                lambda: device.script(
                    [Segment.seconds(3.7, power_mw=250_000), Segment.seconds(1.3, power_mw=410_123)], then="repeat"
                ),
            )
        )
        for name, place, begin, end in (
            ("sglang", 0, 0, LONG),
            ("mig-first", 1, 0, 1500),
            ("mig-second", 1, 2100, LONG),
        ):
            resource = ("nvidia.com/mig-1g.10gb", "nvidia.com/mig-2g.20gb")[place]
            self.grant(name, MIG, begin, end, ids=(cut[place].uuid,), resource=resource)
            levels = ([70, 20, 55], [33, 90, 0, 12])[place]
            self.work(MIG, alone(levels, seed=place + 10), {"main": name}, begin, end, mig=cut[place].slot)

        self.work(MIG, alone([40, 7], seed=9), {"main": None}, 1000.0, 1060.0, mig=cut[2].slot)

    def _shared(self):
        for replica, name in enumerate(("vllm", "chat", "notebook")):
            self.grant(name, SLICED, replicas=(replica,))
        self.work(SLICED, slices({"a": 40, "b": 25, "c": 10}, seed=2), {"a": "vllm", "b": "chat", "c": "notebook"})
        self.grant("triton", MPS, replicas=(0, 1))
        self.grant("embed", MPS, replicas=(2,))
        clients = {
            "a": Worker(next(self._pids), self.pod("triton"), "mps"),
            "b": Worker(next(self._pids), self.pod("embed"), "mps"),
            "server": Worker(next(self._pids), MPS_SERVER),
        }
        self.work(MPS, together({"a": 50, "b": 20}, 85, seed=3), clients)
        self.grant("hidden-twice", HIDDEN, replicas=(0, 1))
        self.grant("hidden-once", HIDDEN, replicas=(2,))
        clients = {
            "a": Worker(next(self._pids), self.pod("hidden-twice"), "mps"),
            "b": Worker(next(self._pids), self.pod("hidden-once"), "mps"),
        }
        server = Worker(next(self._pids), MPS_SERVER)
        self.work(HIDDEN, together({"a": 40, "b": 20}, 70, seed=5), clients, behind=server)

    def _claimed(self):
        """One pod after the other on a device of claims; the second ends while the kubelet does not answer."""
        self.script.claims["gpu.nvidia.com", "node", "gpu-4"] = self.driver.device(CLAIMED).uuid
        for name, begin, end in (
            ("claim-first", 0, 1200),
            ("claim-second", 1300, 2412.5),
            ("claim-third", 2460, 3300.25),
        ):
            self.grant(name, CLAIMED, begin, end, claimed="gpu-4")
            self.work(CLAIMED, slices({"main": 62}, seed=4), {"main": name}, begin + 5, end - 2)

    def _churned(self):
        """A pod that stays, and beside it jobs of two minutes whose processes live for seconds; once a stranger."""
        self.grant("steady", CHURNED, replicas=(0,))
        by_itself = slices({"main": 35}, seed=6)
        pid, at = Worker(next(self._pids), self.pod("steady")), 0.0
        for number in range(JOBS):
            begin, name = round(240.0 * number + 40 + number * 0.37 % 1, 2), f"job-{number}"
            beside = slices({"main": 35, "job": 45}, seed=100 + number)
            self.work(CHURNED, by_itself, {"main": pid}, at, begin)
            self.grant(name, CHURNED, begin - 4, begin + 122, replicas=(1,))
            at = begin
            for lifetime in (1.4, 3.05, 17.55, 100.0):
                workers = {"main": pid, "job": Worker(next(self._pids), self.pod(name))}
                self.work(CHURNED, beside, workers, at, at + lifetime)
                at += lifetime
        self.work(CHURNED, by_itself, {"main": pid}, at, LONG)

    def _bursting(self):
        for device, pattern in (
            (BURSTS, bursts(lambda _: 300, 0.0, ("a", "b"), seed=7)),
            (COARSE, bursts(lambda chance: chance.randrange(80, 900), 0.5, ("a", "b"), seed=8)),
        ):
            names = {key: f"burst-{device}-{key}" for key in ("a", "b")}
            for replica, name in enumerate(names.values()):
                self.grant(name, device, replicas=(replica,))
            self.work(device, pattern, names)

    def truth(self):
        """(device, holder) to true active nanoseconds of the hour while the agent was there."""
        found = defaultdict(int)
        for stint in self.script.stints:
            for key, worker in stint.workers.items():
                if key in stint.pattern.shares:
                    who = worker.whose.holder if isinstance(worker.whose, Pod) else worker.whose
                    found[stint.device, who] += stint.active_ns(key, SPANS)
        return found


def an_engine(kind, driver, *loads):
    """Quiet until its page was read once, and before the hour ends, so that all it does can be seen."""
    return ScriptedEngine(kind, loads=(Load(0, 30), *loads), clock=lambda: driver.now_ns() / SECOND)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hour")
    with contextlib.ExitStack() as stack:
        driver = stack.enter_context(FakeDriver.create(folder, DEVICES, start_ns=5000 * SECOND))
        stack.enter_context(driver.load_into_pynvml())
        engines = [
            an_engine("vllm", driver, Load(2, 1500, 210, 40, cached_tokens=30)),
            an_engine("sglang", driver, Load(0.7, 3500, 1000, 333)),
            an_engine("triton", driver, Load(31, 3500, 1, 1)),
        ]
        for engine in engines:
            stack.enter_context(engine)
        hour = Hour(driver, engines)
        play = Play(folder / "data", driver, hour.migs, hour.script)
        after_its_end, sums = {}, {}

        def look(second):
            meters = play.store.books.meters
            for grant in hour.script.grants:
                if second == math.ceil(grant.end_s) + 1:
                    after_its_end[grant.pod.holder] = total(meters, grant.pod.holder)
            if second == LENGTH:
                sums.update(by_account(meters))

        play.play(LENGTH + 70, look)
        hour.after_its_end, hour.sums, hour.kubelet = after_its_end, sums, play.kubelet
        hour.documents = [json.loads(each) for each in play.store.journal.documents()]
        play.die()
        yield hour


@pytest.fixture(scope="module")
def closed(played):
    (document,) = played.documents
    return from_json(document)


def total(meters, holder):
    return sum(meter.gpu_ns for key, meter in meters.items() if (key.holder_kind, key.holder) == holder_name(holder))


def holder_name(holder):
    return holder.kind, holder.name


def by_account(amounts):
    found = defaultdict(lambda: [0, 0])
    for key, amount in amounts.items():
        found[key.gpu_uuid, key.account][0] += amount.gpu_ns
        found[key.gpu_uuid, key.account][1] += amount.energy_mj
    return dict(found)


def booked(hour, closed, account, index=None):
    """(device, holder) to nanoseconds."""
    uuids = {device.uuid: number for number, device in enumerate(hour.driver.devices)}
    found = defaultdict(int)
    for key, amount in closed.rows.items():
        device = uuids[key.cell.gpu_uuid]
        if key.cell.account == account and index in {None, device}:
            found[device, Holder(key.cell.holder_kind, key.cell.holder)] += amount.gpu_ns
    return found


def errors(hour, closed, *devices):
    """By holder, how far its active time is from the truth, as a ratio."""
    active = booked(hour, closed, "active")
    found = {
        holder.name: active[device, holder] / true - 1
        for (device, holder), true in hour.truth().items()
        if device in devices and holder is not None
    }
    print({name: f"{error:+.2%}" for name, error in sorted(found.items())})
    return found


def worst(found):
    return max(map(abs, found.values()))


def test_time_adds_up_to_the_hour_and_energy_to_the_counter(played, closed):
    begin_ns = 5000 * SECOND
    for device in played.driver.devices:
        control = closed.devices[device.uuid]
        rows = [amount for key, amount in closed.rows.items() if key.cell.gpu_uuid == device.uuid]
        drawn_mj = device.true_energy_mj(begin_ns + LENGTH * SECOND) - device.true_energy_mj(begin_ns)

        assert sum(row.gpu_ns for row in rows) == control.accounted_ns == LENGTH * SECOND
        assert sum(row.energy_mj for row in rows) == control.energy_mj == drawn_mj


def test_one_holder_on_a_device_has_no_error_at_all(played, closed):
    active = booked(played, closed, "active", WHOLE)
    truth = {who: true for who, true in played.truth().items() if who[0] == WHOLE}

    assert active == truth
    assert sum(booked(played, closed, "idle", WHOLE).values()) == SEEN_NS - sum(truth.values())


def test_steady_sharing_is_within_two_percent(played, closed):
    assert worst(errors(played, closed, SLICED, MPS)) <= 0.02


def test_beside_jobs_that_come_and_go_a_steady_pod_is_within_two_percent_and_so_are_the_jobs_together(played, closed):
    found = errors(played, closed, CHURNED)

    assert abs(found.pop("ml/steady/main")) <= 0.02
    assert len(found) == JOBS
    assert abs(sum(found.values()) / len(found)) <= 0.02
    assert worst(found) <= 0.08


def test_pods_one_after_the_other_are_within_what_the_duty_cycle_is_read_by(played, closed):
    assert worst(errors(played, closed, CLAIMED)) <= 0.02


def test_bursts_below_a_second_are_within_the_stated_bounds(played, closed):
    assert worst(errors(played, closed, BURSTS)) <= 0.01
    assert worst(errors(played, closed, COARSE)) <= 0.03


def test_clients_that_the_mps_server_hides_are_booked_what_they_did_together_by_what_they_requested(played, closed):
    active = booked(played, closed, "active", HIDDEN)
    truth = {holder: true for (device, holder), true in played.truth().items() if device == HIDDEN}

    assert abs(sum(active.values()) - sum(truth.values())) <= ROUNDING_NS
    assert (
        abs(active[HIDDEN, played.pod("hidden-twice").holder] - 2 * active[HIDDEN, played.pod("hidden-once").holder])
        <= 2 * ROUNDING_NS
    )
    assert worst(errors(played, closed, HIDDEN)) <= 0.02
    methods = {key.cell.method for key in closed.rows if key.cell.gpu_uuid == played.driver.device(HIDDEN).uuid}
    assert methods == {"requested", "interpolated"}


def test_idle_time_goes_by_replicas_and_free_ones_are_nobodys(played, closed):
    for device, replicas in (
        (SLICED, {"vllm": 1, "chat": 1, "notebook": 1}),
        (MPS, {"triton": 2, "embed": 1}),
        (HIDDEN, {"hidden-twice": 2, "hidden-once": 1}),
    ):
        (free,) = booked(played, closed, "unallocated", device).values()
        idle = booked(played, closed, "idle", device)

        assert idle.keys() == {(device, played.pod(name).holder) for name in replicas}
        for name, count in replicas.items():
            assert abs(idle[device, played.pod(name).holder] - count * free) <= ROUNDING_NS


def test_the_mps_server_is_booked_nothing_that_its_clients_did(played, closed):
    assert booked(played, closed, "system") == {}


def test_mig_instances_own_their_slices_and_their_work_is_exact(played, closed):
    uuids = {mig.uuid: (1, 2, 3)[place] for place, mig in enumerate(played.migs.values())}
    device = played.driver.device(MIG).uuid
    rows = [(key.cell, amount) for key, amount in closed.rows.items() if key.cell.gpu_uuid == device]
    for uuid, slices_ in uuids.items():
        time_ns = sum(amount.gpu_ns for cell, amount in rows if cell.mig == uuid)
        assert abs(time_ns - SEEN_NS * slices_ / 7) <= ROUNDING_NS
    active = booked(played, closed, "active", MIG)
    for (index, holder), true in played.truth().items():
        if index == MIG and holder is not None:
            slices_ = 1 if holder.name == "ml/sglang/main" else 2
            assert abs(active[index, holder] - true * slices_ / 7) <= ROUNDING_NS


def test_only_a_process_that_nobody_can_explain_is_unattributed(played, closed):
    unattributed = booked(played, closed, "unattributed")

    assert unattributed.keys() == {(MIG, NOBODY)}
    assert abs(unattributed[MIG, NOBODY] - played.truth()[MIG, None] * 3 / 7) <= ROUNDING_NS


def test_only_the_time_without_an_agent_is_unobserved(played, closed):
    gap = {(device, NOBODY): (BACK - DIED) * SECOND for device in range(len(DEVICES))}

    assert booked(played, closed, "unobserved") == gap
    assert booked(played, closed, "unmeasured") == {}


def test_while_the_kubelet_was_away_and_after_it_came_back_empty_nobody_lost_what_he_held(played, closed):
    assert (played.kubelet.refused, played.kubelet.empty) == (4, 1)
    assert set(booked(played, closed, "unallocated", WHOLE)) | set(booked(played, closed, "unallocated", BURSTS)) <= {
        (BURSTS, NOBODY)
    }


def test_a_pod_is_held_for_its_life_and_gets_nothing_after_its_end(played, closed):
    lives = {grant.pod.holder: grant for grant in played.script.grants if grant.end_s < LENGTH}
    assert len(lives) > JOBS
    for holder in lives:
        in_hour = sum(a.gpu_ns for key, a in closed.rows.items() if key.cell[2:4] == holder_name(holder))
        assert in_hour == played.after_its_end[holder] > 0


def test_the_closed_hour_in_the_journal_is_what_the_meters_said_at_its_end(played, closed):
    rows = defaultdict(lambda: [0, 0])
    for key, amount in closed.rows.items():
        rows[key.cell.gpu_uuid, key.cell.account][0] += amount.gpu_ns
        rows[key.cell.gpu_uuid, key.cell.account][1] += amount.energy_mj

    assert dict(rows) == played.sums
    assert (closed.hour_s, played.documents[0]["closed"], closed.steps) == (HOUR, True, [])


def test_what_the_engines_produced_is_booked_to_the_last_token(played, closed):
    for engine in played.engines:
        truth = engine.truth()
        assert truth["requests"] > 1000
        holder = played.pod(engine.kind).holder
        # a token stands once in the books: one that the cache had is not among the others
        truth["input_tokens"] -= truth["cached_tokens"]
        work = {key.kind: amount for key, amount in closed.work.items() if key[:2] == holder_name(holder)}
        kinds = {"requests"} if engine.kind == "triton" else truth.keys()
        assert {kind: work.get(kind, 0) for kind in kinds} == {kind: truth[kind] for kind in kinds}
