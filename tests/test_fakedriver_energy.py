"""Scripts over time: the energy counter is their exact integral, and the Python twin knows it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Segment
from tests.fakedriver.rig import SECOND, START_NS, loaded
from tests.fakedriver.tracks import Timeline

SCRIPTS = st.lists(st.tuples(st.integers(1, 10**13), st.integers(0, 2**31)), min_size=1, max_size=12)


@pytest.fixture
def rig(tmp_path):
    with loaded(tmp_path, profiles.h100(), energy_start_mj=1000) as (driver, pynvml):
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        yield driver, driver.device(0), lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle), pynvml, handle


@pytest.fixture(scope="module")
def shared_rig(tmp_path_factory):
    with loaded(tmp_path_factory.mktemp("driver"), profiles.h100()) as (driver, pynvml):
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        yield driver, lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)


def test_energy_is_the_floor_of_the_integral(rig):
    driver, device, energy, _, _ = rig
    device.set(power_mw=333_333)
    driver.advance(ns=2_500_000_001)
    assert energy() == 1000 + 333_333 * 2_500_000_001 // SECOND == device.true_energy_mj()


def test_a_change_starts_where_the_former_ended(rig):
    driver, device, energy, _, _ = rig
    device.set(power_mw=100_001)
    driver.advance(ns=1_234_567)
    device.set(power_mw=7)
    driver.advance(ns=999_999_999)
    assert energy() == 1000 + (100_001 * 1_234_567 + 7 * 999_999_999) // SECOND


def test_after_its_script_the_counter_stands_still(rig):
    driver, device, energy, pynvml, handle = rig
    device.script([Segment.seconds(2, power_mw=300_000, utilization=1.0), Segment.seconds(3, power_mw=100_000)])
    driver.advance(1.5)
    assert (energy(), pynvml.nvmlDeviceGetPowerUsage(handle)) == (1000 + 450_000, 300_000)
    driver.advance(1)
    assert (energy(), pynvml.nvmlDeviceGetPowerUsage(handle)) == (1000 + 650_000, 100_000)
    assert pynvml.nvmlDeviceGetUtilizationRates(handle).gpu == 100
    driver.advance(3600)
    assert (energy(), pynvml.nvmlDeviceGetPowerUsage(handle)) == (1000 + 900_000, 0)
    assert pynvml.nvmlDeviceGetUtilizationRates(handle).gpu == 0


def test_a_script_may_hold_or_repeat(rig):
    driver, device, energy, _, _ = rig
    segments = [Segment.seconds(1, power_mw=100_000), Segment.seconds(1, power_mw=300_000)]
    device.script(segments, then="repeat")
    driver.advance(1001)
    assert energy() == 1000 + 500 * 400_000 + 100_000
    device.script(segments, then="hold")
    before = energy()
    driver.advance(12)
    assert energy() - before == 100_000 + 11 * 300_000


def test_a_repeating_script_must_be_whole(rig):
    _, device, _, _, _ = rig
    with pytest.raises(ValueError, match="must say sm in its first segment too"):
        device.script([Segment(5, power_mw=1), Segment(5, power_mw=2, sm=0.5)], then="repeat")


def test_a_change_in_the_middle_of_a_loop_keeps_what_was_used(rig):
    driver, device, energy, _, _ = rig
    device.script([Segment.seconds(1, power_mw=100_000), Segment.seconds(1, power_mw=300_000)], then="repeat")
    driver.advance(100.5)
    device.set(power_mw=0)
    driver.advance(1000)
    assert energy() == 1000 + 50 * 400_000 + 50_000 == device.true_energy_mj()


@settings(max_examples=60)
@given(SCRIPTS, st.sampled_from(["off", "hold", "repeat"]), st.lists(st.integers(0, 3 * 10**13), max_size=8))
def test_library_and_twin_agree_to_the_millijoule(shared_rig, script, then, moments):
    driver, energy = shared_rig
    device = driver.device(0)
    begin_ns = device.script([Segment(ns, power_mw=mw) for ns, mw in script], then=then)
    for moment in sorted(moments):
        driver.set_now_ns(begin_ns + moment)
        assert energy() == device.true_energy_mj()
        assert device.true_energy_between_mj(begin_ns, driver.now_ns()) >= 0


@given(SCRIPTS, st.integers(0, 10**14))
def test_the_twin_is_the_plain_sum(script, until_ns):
    timeline, at_ns, total = Timeline(), 0, 0
    for duration_ns, value in script:
        timeline.change(at_ns, value)
        total += value * max(0, min(until_ns, at_ns + duration_ns) - at_ns)
        at_ns += duration_ns
    timeline.change(at_ns, 0)
    assert timeline.integral(until_ns) == total


def test_a_loop_that_ran_billions_of_times_is_ended_at_once(rig):
    driver, device, energy, _, _ = rig
    device.script([Segment(1, power_mw=SECOND), Segment(2, power_mw=4 * SECOND)], then="repeat")
    driver.advance(3600)
    device.set(power_mw=0)
    assert energy() == 1000 + 3600 * 3 * SECOND
    assert device.true_energy_between_mj(START_NS, START_NS + 30) == 90
    driver.advance(1)
    assert energy() == 1000 + 3600 * 3 * SECOND


def test_the_counter_may_move_only_now_and_then(rig):
    driver, device, energy, _, _ = rig
    device.energy_update(100)
    device.set(power_mw=1_000_000)
    seen = []
    for _ in range(30):
        driver.advance(ns=10_000_000)
        seen.append(energy() - 1000)
    assert seen == [10_000 * (10 * (i // 10)) for i in range(1, 31)]


def test_a_frozen_counter_stands_still_under_load_and_catches_up(rig):
    driver, device, energy, pynvml, handle = rig
    device.set(power_mw=500_000)
    driver.advance(1)
    device.freeze_energy()
    driver.advance(10)
    assert (energy(), pynvml.nvmlDeviceGetPowerUsage(handle)) == (501_000, 500_000)
    device.thaw_energy()
    assert energy() == 1000 + 11 * 500_000


def test_a_counter_reset_begins_at_zero_without_a_reload(rig):
    driver, device, energy, pynvml, handle = rig
    device.set(power_mw=500_000, pcie_replays=3)
    driver.advance(10)
    uptime = pynvml.nvmlLib.nvmlDeviceGetGpuUptime_v1
    device.reset_counters()
    driver.advance(1)
    assert energy() == 500_000 == device.true_energy_mj()
    assert pynvml.nvmlDeviceGetPcieReplayCounter(handle) == 0
    value = pynvml.c_uint(0)
    assert uptime(handle, pynvml.byref(value)) == 0
    assert value.value == 3600 + 11


def test_utilization_and_power_may_be_means_over_a_window(rig):
    driver, device, _, pynvml, handle = rig
    device.set(utilization=0, power_mw=100_000)
    driver.advance(5)
    device.utilization_window(500)
    device.power_window(1000)
    device.set(utilization=1, power_mw=300_000)
    driver.advance(0.25)
    assert pynvml.nvmlDeviceGetUtilizationRates(handle).gpu == 50
    assert pynvml.nvmlDeviceGetPowerUsage(handle) == 150_000


def test_more_changes_than_the_pool_holds_lose_no_energy(rig):
    driver, device, energy, _, _ = rig
    for i in range(120):
        device.script([Segment(10_000_000, power_mw=1000 + 10 * j + i) for j in range(300)], then="hold")
        driver.advance(ns=3_000_000_000)
    assert energy() == device.true_energy_mj()
    assert device.true_energy_between_mj(START_NS, driver.now_ns()) == energy() - 1000


def test_a_script_that_is_too_long_is_refused(rig):
    _, device, _, _, _ = rig
    with pytest.raises(ValueError, match="there is room for 32768"):
        device.script([Segment(1, power_mw=i) for i in range(40_000)])


def test_on_the_real_clock_the_counter_never_falls_while_power_changes(tmp_path):
    with loaded(tmp_path, profiles.h100(), start_ns=None) as (driver, pynvml):
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        device, seen = driver.device(0), []
        for power_mw in (700_000_000, 0) * 10:
            device.set(power_mw=power_mw)
            seen.extend(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for _ in range(50))
        assert seen == sorted(seen)
        assert seen[-1] == device.true_energy_mj()


def test_the_injected_clock_belongs_to_drivers_that_have_one(tmp_path):
    with (
        FakeDriver.create(tmp_path, [profiles.t4()]) as driver,
        pytest.raises(ValueError, match="create it with start_ns"),
    ):
        driver.advance(1)


def test_samples_come_from_the_ring_since_a_stamp(rig):
    driver, device, _, pynvml, handle = rig
    device.set(power_mw=250_000, utilization=0.5)
    driver.advance(1)
    _, power = pynvml.nvmlDeviceGetSamples(handle, pynvml.NVML_TOTAL_POWER_SAMPLES, 0)
    assert len(power) == 120
    assert power[-1].sampleValue.uiVal == 250_000
    assert power[-1].timeStamp == driver.wall_ns() // 1000
    _, busy = pynvml.nvmlDeviceGetSamples(handle, pynvml.NVML_GPU_UTILIZATION_SAMPLES, power[-4].timeStamp)
    assert [sample.sampleValue.uiVal for sample in busy] == [50, 50, 50]
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetSamples(handle, pynvml.NVML_TOTAL_POWER_SAMPLES, power[-1].timeStamp)
