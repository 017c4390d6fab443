import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import NS_PER_SECOND
from collectors.scenario import Place
from collectors.simulated_device import DRIVER_LOADED_NS, SimulatedDevice
from collectors.simulated_week import ANCHOR_NS, STEP_NS, WEEK_NS
from collectors.simulated_work import Staff
from tests.collectors.simulated_rig import DAY_NS, HOUR_NS, MONDAY_NS, bundled, scenario, workload

moments = st.integers(0, 2 * WEEK_NS)


def device(**changes) -> SimulatedDevice:
    whole = scenario(**changes)
    return SimulatedDevice(whole, 0, Staff(whole))


@pytest.fixture(scope="module")
def busy() -> SimulatedDevice:
    return device()


@given(st.integers(0, 2 * WEEK_NS // STEP_NS), st.integers(0, 3000))
def test_energy_between_steps_is_the_sum_of_the_power_exactly(busy, first, count):
    start_ns = MONDAY_NS + first * STEP_NS
    end_ns = start_ns + count * STEP_NS
    summed = sum(busy.power_mw.at(start_ns + step * STEP_NS) for step in range(count))
    assert busy.energy_mj(end_ns) - busy.energy_mj(start_ns) == summed * STEP_NS // NS_PER_SECOND


@given(moments, moments)
def test_energy_between_any_two_instants_is_the_integral_rounded_down(busy, one, other):
    start_ns, end_ns = sorted((MONDAY_NS + one, MONDAY_NS + other))
    exact = busy.power_mw.integral(end_ns) - busy.power_mw.integral(start_ns)
    assert abs((busy.energy_mj(end_ns) - busy.energy_mj(start_ns)) * NS_PER_SECOND - exact) < NS_PER_SECOND


def test_energy_begins_with_the_driver(busy):
    assert busy.energy_mj(DRIVER_LOADED_NS) == 0
    assert busy.energy_mj(DRIVER_LOADED_NS - 1) > 0
    assert busy.driver_loaded_ns(DRIVER_LOADED_NS - 1) == ANCHOR_NS


def test_power_is_idle_without_work_and_below_the_limit_with_it():
    assert set(map(int, device(workloads=[]).power_mw.steps)) <= set(range(69_300, 70_001))
    shape = {"kind": "constant", "activity": 1.0, "noise": 0.0}
    loaded = device(workloads=[workload(shape=shape, power=1.0)])
    assert min(loaded.power_mw.steps) > 670_000
    assert max(loaded.power_mw.steps) <= 700_000


def test_power_near_the_limit_counts_as_capped():
    shape = {"kind": "constant", "activity": 1.0, "noise": 0.0}
    capped = device(seed=3, workloads=[workload(shape=shape, power=1.0)])
    assert capped.capped.at(MONDAY_NS) == int(capped.power_mw.at(MONDAY_NS) >= 679_000)
    assert set(device(workloads=[workload(power=0.5)]).capped.steps) == {0}


def test_every_bundled_device_stays_within_its_limits():
    for name in ("default", "mig", "failures"):
        whole = bundled(name)
        staff = Staff(whole)
        for index in range(len(whole.devices)):
            one = SimulatedDevice(whole, index, staff)
            assert 0.98 * one.gpu.idle_watts * 1000 < min(one.power_mw.steps)
            assert max(one.power_mw.steps) <= one.max_mw


def test_a_device_that_is_away_draws_idle_power_and_does_no_work():
    lost = device(failures=[{"kind": "lost", "at": "Mon 10:00", "minutes": 60, "device": 0}])
    start_ns = MONDAY_NS + 10 * HOUR_NS
    (placement,) = lost.placements[Place(0)]
    assert lost.busy(placement, start_ns, start_ns + HOUR_NS) == 0
    assert lost.power_mw.at(start_ns + HOUR_NS // 2) <= 70_000
    assert lost.power_mw.at(start_ns - 1) > 100_000
    around = lost.busy(placement, start_ns - HOUR_NS, start_ns + 2 * HOUR_NS)
    halves = [lost.busy(placement, start_ns + n * HOUR_NS, start_ns + (n + 1) * HOUR_NS) for n in (-1, 1)]
    assert around == pytest.approx(sum(halves) / 3)


def test_losses_that_meet_are_not_taken_off_twice():
    failures = [
        {"kind": "lost", "at": "Mon 10:00", "minutes": 60, "device": 0},
        {"kind": "driver_reload", "at": "Mon 10:30", "minutes": 20},
        {"kind": "driver_reload", "at": "Mon 10:50", "minutes": 20},
    ]
    (placement,) = (lost := device(failures=failures)).placements[Place(0)]
    (whole,) = (sound := device()).placements[Place(0)]
    start_ns, end_ns, back_ns = (
        MONDAY_NS + 9 * HOUR_NS,
        MONDAY_NS + 12 * HOUR_NS,
        MONDAY_NS + 11 * HOUR_NS + 600 * NS_PER_SECOND,
    )
    expected = sound.busy(whole, start_ns, start_ns + HOUR_NS) * 60 + sound.busy(whole, back_ns, end_ns) * 50
    assert lost.busy(placement, start_ns, end_ns) == pytest.approx(expected / 180)


def test_the_last_reload_restarts_the_counter():
    reloads = [{"kind": "driver_reload", "at": at, "minutes": 1} for at in ("Mon 04:00", "Wed 04:00")]
    reloaded = device(failures=reloads)
    after_ns = MONDAY_NS + 2 * DAY_NS + 4 * HOUR_NS + 60 * NS_PER_SECOND
    assert reloaded.driver_loaded_ns(after_ns) == after_ns
    assert reloaded.driver_loaded_ns(after_ns + DAY_NS) == after_ns
    assert reloaded.driver_loaded_ns(MONDAY_NS + DAY_NS) == MONDAY_NS + 4 * HOUR_NS + 60 * NS_PER_SECOND
