import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.clock import NS_PER_SECOND
from collectors.errors import DeviceLost, Unavailable
from collectors.gpu_source import GpuSource
from collectors.holder import Holder
from collectors.readings import XidEvent
from collectors.simulated import SimulatedSource
from collectors.simulated_models import MODELS
from tests.collectors.simulated_rig import DAY_NS, HOUR_NS, MONDAY_NS, HandClock, bundled, scenario, source, workload

MINUTE_NS = 60 * NS_PER_SECOND
NAMES = ("default", "mig", "failures")
WEEK_NS = 7 * DAY_NS
moments = st.integers(0, WEEK_NS)


@pytest.fixture(scope="module", params=NAMES)
def running(request):
    clock = HandClock()
    return clock, SimulatedSource(bundled(request.param), clock, lambda: 1000 * NS_PER_SECOND)


def readings(source: SimulatedSource):
    try:
        return [
            reading
            for facts in source.discover()
            for sweep in [source.read(facts.uuid)]
            for reading in (sweep.device, *sweep.instances)
        ]
    except Unavailable:
        return []


def only(source: SimulatedSource):
    return source.read(source.discover()[0].uuid)


def fails(kind, **changes):
    return {"kind": kind, "at": "Tue 10:00"} | changes


TEN_ON_TUESDAY_NS = MONDAY_NS + DAY_NS + 10 * HOUR_NS


def test_keeps_the_contract_of_a_source():
    kept: GpuSource = source(HandClock())
    assert kept.name == "simulated"
    assert kept.unreadable() == ()


@pytest.fixture(scope="module")
def two_of_a_kind():
    clocks = HandClock(), HandClock()
    return [(clock, SimulatedSource(bundled("mig"), clock)) for clock in clocks]


@settings(max_examples=40)
@given(times=st.lists(moments, min_size=1, max_size=5))
def test_what_is_read_does_not_depend_on_what_was_read_before(two_of_a_kind, times):
    (clock, often), (other_clock, seldom) = two_of_a_kind
    for time_ns in times:
        clock.wall = clock.monotonic = MONDAY_NS + time_ns
        last = readings(often)
    other_clock.wall = other_clock.monotonic = MONDAY_NS + times[-1]
    assert last == readings(seldom)


def test_a_restart_changes_nothing():
    clock = HandClock(MONDAY_NS + DAY_NS)
    before = readings(source(clock))
    assert before == readings(source(clock))


def test_another_seed_gives_other_devices_and_another_course():
    one, other = (source(HandClock(MONDAY_NS + DAY_NS), seed=seed) for seed in (1, 2))
    assert only(one).device.device.uuid != only(other).device.device.uuid
    assert only(one).device.energy_mj != only(other).device.energy_mj


@settings(max_examples=30)
@given(time_ns=moments)
def test_every_reading_is_in_bounds(running, time_ns):
    clock, source = running
    clock.wall = clock.monotonic = MONDAY_NS + time_ns
    for reading in readings(source):
        activity = reading.activity
        levels = (activity.duty_cycle, activity.graphics, activity.sm, activity.tensor, activity.dram)
        assert all(0 <= level <= 1 for level in levels if level is not None)
        assert 0 <= reading.memory.used_bytes <= reading.memory.total_bytes
        assert sum(process.memory_bytes for process in reading.processes) <= reading.memory.total_bytes
        if reading.mig is None:
            assert 0 < reading.power.gpu_watts <= reading.power.limit_watts
            assert 20 <= reading.thermals.gpu_celsius <= 90
            assert reading.clocks.sm_hertz <= reading.device.max_sm_clock_hertz


@settings(max_examples=30)
@given(time_ns=moments, length_ns=st.integers(0, DAY_NS))
def test_energy_never_falls_but_at_a_driver_reload(running, time_ns, length_ns):
    clock, source = running
    clock.wall = clock.monotonic = MONDAY_NS + time_ns
    before = {reading.device.uuid: reading for reading in readings(source) if reading.mig is None}
    clock.advance(length_ns)
    for reading in readings(source):
        earlier = before.get(reading.device.uuid)
        if reading.mig is None and earlier is not None:
            since_load = reading.driver_uptime_ns < length_ns
            assert since_load or reading.energy_mj >= earlier.energy_mj
            assert since_load == (reading.driver_uptime_ns != earlier.driver_uptime_ns + length_ns)


def test_nothing_can_pass_for_a_measurement(running):
    _, source = running
    for reading in readings(source):
        assert reading.device.uuid.startswith("GPU-51700000-")
        assert reading.device.name.startswith("Simulated ")
        assert reading.device.driver_version == "simulated"
        assert reading.activity_source in {"simulated", None}
        assert reading.mig is None or reading.mig.uuid.startswith("MIG-51700000-")
        assert all(process.pid > 4_194_304 for process in reading.processes)


def test_says_once_in_the_log_that_nothing_is_measured(caplog):
    source(HandClock())
    assert [record.getMessage() for record in caplog.records] == [
        "simulating GPUs (1): nothing that they show is a measurement"
    ]


def test_activity_is_the_mean_over_the_sweep_interval():
    clock = HandClock(MONDAY_NS + DAY_NS)
    fine, coarse = source(clock), source(clock, 1000 * NS_PER_SECOND)
    total = 0.0
    for _ in range(1000):
        clock.advance(NS_PER_SECOND)
        total += only(fine).device.activity.duty_cycle
    assert only(coarse).device.activity.duty_cycle == pytest.approx(total / 1000, rel=1e-9)


def test_a_wall_clock_that_steps_moves_neither_energy_nor_activity():
    clock = HandClock()
    stepped = source(clock)
    clock.advance(HOUR_NS)
    before = only(stepped).device
    clock.wall -= DAY_NS
    after = only(stepped).device
    assert (after.energy_mj, after.activity) == (before.energy_mj, before.activity)


class Restless(HandClock):
    """Moves between any two readings, as a fast clock does."""

    def monotonic_ns(self) -> int:
        self.advance(40_000_000)
        return self.monotonic

    wall_ns = monotonic_ns


def test_a_fast_clock_that_moves_between_two_readings_still_gives_the_time_of_the_scenario():
    clock = Restless(MONDAY_NS)
    fast = source(clock)
    reading = only(fast).device
    exact = source(HandClock(reading.read_ns))
    assert reading.energy_mj == only(exact).device.energy_mj
    assert reading.share_samples == only(exact).device.share_samples


def test_shares_of_two_holders_add_up_to_the_device():
    works = [
        workload(name="a", share=0.6, holder={"kind": "user", "name": "alice"}, processes=2),
        workload(name="b", share=0.4, holder={"kind": "user", "name": "bob"}),
    ]
    shared = source(HandClock(MONDAY_NS + DAY_NS), 8 * NS_PER_SECOND, workloads=works)
    reading = only(shared).device
    holders = shared.holders_of([process.pid for process in reading.processes])
    assert sorted(holder.name for holder in holders.values()) == ["alice", "alice", "bob"]
    stamps = {sample.timestamp_us for sample in reading.share_samples}
    assert len(stamps) == 8
    mean = sum(sample.sm for sample in reading.share_samples) / len(stamps)
    assert mean == pytest.approx(reading.activity.duty_cycle, abs=0.02)


def test_samples_of_consecutive_readings_neither_repeat_nor_leave_out_a_stamp():
    clock = HandClock(MONDAY_NS + 137_000_001)
    steady = source(clock, 3 * NS_PER_SECOND)
    stamps = []
    for _ in range(20):
        clock.advance(3 * NS_PER_SECOND)
        stamps += [sample.timestamp_us for sample in only(steady).device.share_samples]
    assert stamps == list(range(stamps[0], stamps[0] + 60 * 1_000_000, 1_000_000))


def test_samples_are_whole_percent():
    samples = only(source(HandClock(MONDAY_NS + DAY_NS), 1000 * NS_PER_SECOND)).device.share_samples
    assert 1 <= len(samples) <= 8
    assert all(sample.sm == round(sample.sm * 100) / 100 for sample in samples)


def test_processes_come_and_go_with_their_workload():
    clock = HandClock(MONDAY_NS + 8 * HOUR_NS - 1)
    timed = source(clock, workloads=[workload(when="Mon 08:00-09:00")])
    seen = []
    for step_ns in (0, 1, HOUR_NS - 1, 1):
        clock.advance(step_ns)
        seen.append(len(only(timed).device.processes))
    assert seen == [0, 1, 1, 0]


def test_each_run_has_its_own_processes_and_its_number():
    clock = HandClock(MONDAY_NS + 8 * HOUR_NS)
    daily = source(clock, workloads=[workload(when="daily 08:00-09:00", holder={"kind": "slurm", "name": "9{run}"})])
    runs = []
    for _ in range(8):
        pid = only(daily).device.processes[0].pid
        runs.append((pid, int(daily.holders_of([pid])[pid].name[1:])))
        clock.advance(DAY_NS)
    numbers = [number for _, number in runs]
    assert numbers == list(range(numbers[0], numbers[0] + 8))
    assert len({pid for pid, _ in runs}) == 8


def test_a_process_that_has_just_ended_still_has_its_holder():
    clock = HandClock(MONDAY_NS + 9 * HOUR_NS - 1)
    daily = source(clock, workloads=[workload(when="daily 08:00-09:00", holder={"kind": "slurm", "name": "{run}"})])
    pid = only(daily).device.processes[0].pid
    before = daily.holders_of([pid])
    clock.advance(2)
    assert daily.holders_of([pid]) == before


def test_pids_that_are_not_simulated_have_no_holder():
    assert source(HandClock()).holders_of([1, 4_194_304, 5_000_000 + 4096 * 9, 2**31 - 1]) == {}


def test_processes_without_a_holder_cannot_be_explained():
    stray = source(HandClock(), workloads=[workload(holder={"kind": "none"})])
    (process,) = only(stray).device.processes
    assert stray.holders_of([process.pid]) == {}


@pytest.mark.parametrize("kind", ["container", "systemd", "slurm", "user", "system"])
def test_holders_are_as_on_a_bare_host(kind):
    held = source(HandClock(), workloads=[workload(holder={"kind": kind, "name": "it"})])
    (process,) = only(held).device.processes
    assert held.holders_of([process.pid]) == {process.pid: Holder(kind, "it")}


def test_a_chip_without_gpm_tells_only_its_duty_cycle():
    activity = only(source(HandClock(MONDAY_NS + DAY_NS), devices=[{"model": "T4"}])).device.activity
    assert activity.duty_cycle > 0
    assert (activity.sm, activity.tensor, activity.dram, activity.graphics) == (None, None, None, None)


def test_a_lost_device_is_told_and_comes_back_with_its_counter():
    clock = HandClock(TEN_ON_TUESDAY_NS - 1)
    two = [{"model": "T4"}, {"model": "T4"}]
    broken = source(clock, devices=two, failures=[fails("lost", device=0, minutes=5)])
    lost, kept = broken.discover()
    before = broken.read(lost.uuid).device.energy_mj
    clock.advance(1)
    with pytest.raises(DeviceLost, match=f"^{lost.uuid}: lost, by the scenario; it comes back by itself$"):
        broken.read(lost.uuid)
    assert broken.discover() == [kept]
    assert broken.unreadable() == ["GPU 0 at 00000000:10:00.0: does not answer (lost, by the scenario)"]
    assert broken.read(kept.uuid).device.energy_mj > 0
    clock.advance(5 * MINUTE_NS)
    assert broken.discover() == [lost, kept]
    assert broken.unreadable() == []
    assert 5 * 60 * 9_000 < broken.read(lost.uuid).device.energy_mj - before < 5 * 60 * 10_001


def test_a_driver_reload_takes_every_device_and_restarts_its_counters():
    clock = HandClock(TEN_ON_TUESDAY_NS - 1)
    reloaded = source(clock, failures=[fails("driver_reload", minutes=2)])
    (facts,) = reloaded.discover()
    assert reloaded.read(facts.uuid).device.energy_mj > 10**6
    clock.advance(1)
    for call in (reloaded.discover, lambda: reloaded.read(facts.uuid)):
        with pytest.raises(Unavailable, match="the simulated driver is being reloaded, by the scenario"):
            call()
    clock.advance(2 * MINUTE_NS)
    after = reloaded.read(facts.uuid).device
    assert (after.energy_mj, after.driver_uptime_ns) == (0, 0)


def test_a_hang_lasts_as_long_as_the_scenario_says():
    clock = HandClock(TEN_ON_TUESDAY_NS + MINUTE_NS)
    hung = source(clock, failures=[fails("hang", device=0, minutes=3)])
    reading = only(hung).device
    assert clock.waits == [2 * MINUTE_NS]
    assert reading.read_ns == TEN_ON_TUESDAY_NS + 3 * MINUTE_NS


def test_closing_ends_a_hang():
    hung = source(HandClock(TEN_ON_TUESDAY_NS), failures=[fails("hang", device=0, minutes=3)])
    hung.close()
    with pytest.raises(Unavailable, match="closed while the device was hanging"):
        only(hung)


def test_a_hang_of_one_device_leaves_the_others():
    clock = HandClock(TEN_ON_TUESDAY_NS)
    two = [{"model": "T4"}, {"model": "T4"}]
    hung = source(clock, devices=two, failures=[fails("hang", device=1, minutes=3)])
    assert hung.read(hung.discover()[0].uuid).device.energy_mj > 0
    assert clock.waits == []


@pytest.mark.parametrize("devices", [[{"model": "H100-SXM-80GB"}], [{"model": "H100-SXM-80GB", "mig": ["7g.80gb"]}]])
def test_activity_that_cannot_be_read_is_absent_and_power_stays(devices):
    place = "0/0" if "mig" in devices[0] else 0
    blind = source(
        HandClock(TEN_ON_TUESDAY_NS),
        devices=devices,
        workloads=[workload(devices=[place])],
        failures=[fails("activity_unreadable", device=0, minutes=3)],
    )
    sweep = only(blind)
    reading = (sweep.device, *sweep.instances)[-1]
    assert {getattr(reading.activity, name) for name in reading.activity.__slots__} == {None}
    assert reading.activity_source is None
    assert len(reading.processes) == 1
    assert sweep.device.power.gpu_watts > 70


def test_processes_that_cannot_be_read_are_unknown_not_nobody():
    clock = HandClock(TEN_ON_TUESDAY_NS)
    reading = only(source(clock, failures=[fails("processes_unreadable", device=0, minutes=3)])).device
    assert (reading.processes, reading.processes_known, reading.share_samples) == ((), False, ())
    assert reading.memory.used_bytes > 10**9


def test_xids_come_once_at_their_time_and_in_order():
    clock = HandClock(TEN_ON_TUESDAY_NS - 1)
    failures = [fails("xid", device=0, xid=79, at="Tue 10:05"), fails("xid", device=0, xid=63)]
    broken = source(clock, failures=failures)
    uuid = broken.discover()[0].uuid
    assert broken.drain_xids() == []
    clock.advance(1)
    assert broken.drain_xids() == [XidEvent(uuid, 63)]
    assert broken.drain_xids() == []
    clock.advance(WEEK_NS)
    assert broken.drain_xids() == [XidEvent(uuid, 79), XidEvent(uuid, 63)]


def test_an_unknown_uuid_is_a_lost_device():
    with pytest.raises(DeviceLost, match=r"^GPU-nil: no such simulated device; discover again$"):
        source(HandClock()).read("GPU-nil")


def test_mig_instances_own_their_slices_and_hold_their_processes():
    mig = SimulatedSource(bundled("mig"), HandClock(MONDAY_NS + 12 * HOUR_NS))
    sevenfold, uneven, ampere = (mig.read(facts.uuid) for facts in mig.discover())
    assert [part.mig.compute_slices for part in uneven.instances] == [3, 2, 1]
    assert {part.mig.parent_slices for part in uneven.instances} == {7}
    assert len({part.mig.uuid for part in (*sevenfold.instances, *uneven.instances)}) == 10
    assert sevenfold.device.mig_enabled
    assert (sevenfold.device.activity.duty_cycle, sevenfold.device.processes) == (None, ())
    assert [len(part.processes) for part in sevenfold.instances] == [1, 1, 1, 1, 1, 1, 0]
    assert sevenfold.instances[0].activity.graphics > 0.3
    assert sevenfold.instances[0].processes[0].gpu_instance_id == sevenfold.instances[0].mig.gpu_instance_id
    assert ampere.instances[0].activity_source is None
    assert ampere.instances[0].processes


def test_a_simulated_chip_tells_what_no_profile_can_use():
    mig = SimulatedSource(bundled("mig"), HandClock())
    assert [mig.read(facts.uuid).stranded_slices for facts in mig.discover()] == [0, 0, 1]
    whole = SimulatedSource(bundled("default"), HandClock())
    assert {whole.read(facts.uuid).stranded_slices for facts in whole.discover()} == {None}


@pytest.mark.parametrize(
    ("instances", "stranded"),
    [([], 0), (["3g.40gb", "3g.40gb"], 1), (["1g.20gb"] * 4, 3), (["3g.40gb"], 0), (["4g.40gb", "1g.20gb"], 0)],
)
def test_what_no_profile_can_use_follows_from_compute_and_memory_slices(instances, stranded):
    assert MODELS["A100-SXM-80GB"].stranded_slices(instances) == stranded


def test_memory_of_a_mig_instance_is_its_slices_share():
    mig = SimulatedSource(bundled("mig"), HandClock())
    uneven = mig.read(mig.discover()[1].uuid)
    assert [part.memory.total_bytes // 1024**3 for part in uneven.instances] == [40, 20, 10]


def test_two_threads_may_read_at_the_same_time():
    clock = HandClock(MONDAY_NS + DAY_NS)
    shared = SimulatedSource(bundled("default"), clock)
    uuids = [facts.uuid for facts in shared.discover()] * 20
    random.Random(1).shuffle(uuids)
    found = {uuid: set() for uuid in uuids}

    def work(part):
        for uuid in part:
            found[uuid].add(shared.read(uuid).device.energy_mj)

    threads = [threading.Thread(target=work, args=(uuids[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(energies) == 1 for energies in found.values())


def test_the_night_of_a_time_zone_is_its_own():
    shape = {"kind": "batch", "activity": 0.9, "warmup_minutes": 0, "noise": 0}
    works = [workload(when="daily 02:00-03:00", shape=shape)]
    clock = HandClock(MONDAY_NS + 20 * HOUR_NS + HOUR_NS // 2 + 1)
    kolkata = SimulatedSource(scenario(workloads=works, utc_offset_hours=5.5), clock)
    assert only(kolkata).device.processes
    clock.advance(HOUR_NS)
    assert not only(kolkata).device.processes
