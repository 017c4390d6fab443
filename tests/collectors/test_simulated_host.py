import pytest

from collectors.clock import NS_PER_SECOND
from collectors.holder import Holder
from collectors.host import HolderUsage
from collectors.simulated_host import SimulatedHolderUsage, SimulatedHost
from tests.collectors.simulated_rig import DAY_NS, HOUR_NS, MONDAY_NS, HandClock, scenario, source, workload

FLAT = {"kind": "constant", "activity": 0.5, "noise": 0.0}
USE = {"cpu_cores": 10.0, "memory_gib": 100.0, "read_mb_per_second": 200.0, "network_mb_per_second": 4.0}


def host(clock, interval_ns=NS_PER_SECOND, **changes):
    return SimulatedHost(scenario(**changes), source(clock, **changes), lambda: interval_ns)


def test_is_as_busy_as_its_workloads():
    keys = {"host": {"cpus": 100, "memory_gib": 1000}, "workloads": [workload(shape=FLAT, host=USE)]}
    reading = host(HandClock(), **keys).read()
    assert reading.cpu_busy_ratio == pytest.approx(0.056)
    assert reading.cpu_iowait_ratio == 0
    assert reading.cpu_count == 100
    assert reading.memory_used_bytes == 120 * 1024**3
    assert reading.memory_available_bytes == 880 * 1024**3
    assert (reading.load1, reading.load5, reading.load15) == (5.6, 5.6, 5.6)


def test_training_that_stalls_shows_as_iowait():
    shape = {"kind": "batch", "activity": 0.9, "warmup_minutes": 30.0, "noise": 0.0}
    works = [workload(shape=shape, host=USE, when="Mon 08:00-10:00")]
    clock = HandClock(MONDAY_NS + 8 * HOUR_NS + HOUR_NS // 4)
    node = host(clock, workloads=works)
    reading_input = node.read()
    clock.advance(HOUR_NS)
    computing = node.read()
    assert reading_input.cpu_iowait_ratio > 0.08
    assert computing.cpu_iowait_ratio == 0
    assert computing.cpu_busy_ratio > reading_input.cpu_busy_ratio


def test_counters_are_integrals():
    clock = HandClock()
    node = host(clock, workloads=[workload(shape=FLAT, host=USE)])
    before = node.read()
    clock.advance(100 * NS_PER_SECOND)
    after = node.read()
    assert after.disk_read_bytes - before.disk_read_bytes == 100 * 100 * 1_000_000
    assert after.network_received_bytes - before.network_received_bytes == 100 * 2 * 1_000_000
    assert after.host_energy_mj - before.host_energy_mj == 100 * (140_000 + 3_600 * 5.6)
    assert after.host_power_watts == pytest.approx(140 + 3.6 * 5.6)


def test_what_the_scenario_does_not_tell_is_absent():
    assert host(HandClock()).read().disk_written_bytes is None


def test_a_holder_uses_what_its_workloads_use():
    works = [
        workload(name="a", shape=FLAT, share=0.5, host=USE),
        workload(name="b", shape=FLAT, share=0.5, host=USE),
    ]
    clock = HandClock()
    usage = SimulatedHolderUsage(source(clock, workloads=works))
    job = Holder("slurm", "77")
    before = usage.read({job: [], Holder("user", "nobody"): []})
    clock.advance(10 * NS_PER_SECOND)
    after = usage.read({job: []})
    assert before.keys() == {job}
    assert after[job].cpu_ns - before[job].cpu_ns == 100 * NS_PER_SECOND
    assert after[job].io_read_bytes - before[job].io_read_bytes == 2 * 10 * 100 * 1_000_000


def test_a_numbered_run_begins_at_zero():
    works = [workload(shape=FLAT, host=USE, when="daily 08:00-09:00", holder={"kind": "slurm", "name": "{run}"})]
    clock = HandClock(MONDAY_NS + DAY_NS + 8 * HOUR_NS)
    simulated = source(clock, workloads=works)
    pid = simulated.read(simulated.discover()[0].uuid).device.processes[0].pid
    holder = simulated.holders_of([pid])[pid]
    usage = SimulatedHolderUsage(simulated)
    assert usage.read({holder: [pid]}) == {holder: HolderUsage(0, 0)}
    clock.advance(2 * NS_PER_SECOND)
    assert usage.read({holder: [pid]}) == {holder: HolderUsage(10 * NS_PER_SECOND, 200_000_000)}
