import pytest

from agent.plausibility import implausible
from collectors.readings import Activity, Clocks, Links, Memory
from tests.agent.readings import reading

BEFORE = reading(0, energy_mj=1000)


@pytest.mark.parametrize(
    ("now", "check"),
    [
        pytest.param({"activity": Activity(duty_cycle=1.5)}, "activity_range", id="busy for 150 % of the time"),
        pytest.param({"activity": Activity(sm=-0.1)}, "activity_range", id="negative activity"),
        pytest.param({"memory": Memory(total_bytes=80, used_bytes=81)}, "memory_range", id="more memory than there is"),
        pytest.param(
            {"links": Links(nvlink_rx_bytes_per_second=45e12)}, "nvlink_rate", id="NVLink at 50 times its limit"
        ),
        pytest.param(
            {"activity": 0.9, "watts": 450, "energy_mj": 1000}, "energy_still", id="energy stands still under load"
        ),
        pytest.param({"energy_mj": 3_000_000}, "energy_rate", id="3 kW on a 700 W board"),
        pytest.param(
            {"watts": 450, "clocks": Clocks(sm_hertz=345e6)}, "power_at_idle_clocks", id="450 W at idle clocks"
        ),
    ],
)
def test_flags_a_reading_that_cannot_be_true(now, check):
    assert implausible(BEFORE, reading(1, **({"energy_mj": 1100} | now))) == (check,)


@pytest.mark.parametrize(
    "now",
    [
        pytest.param({"activity": 1.0, "watts": 700, "energy_mj": 701_000}, id="full load"),
        pytest.param({"activity": 0.0, "watts": 70, "energy_mj": 71_000}, id="idle"),
        pytest.param({"activity": 0.0, "watts": 16, "energy_mj": 1000}, id="asleep: the counter may stand"),
        pytest.param({"watts": 130, "clocks": Clocks(sm_hertz=210e6)}, id="idle clocks, held memory"),
        pytest.param({"links": Links(nvlink_rx_bytes_per_second=450e9, nvlink_tx_bytes_per_second=450e9)}, id="NVLink"),
    ],
)
def test_leaves_what_can_be_true(now):
    assert implausible(BEFORE, reading(1, **({"energy_mj": 1100} | now))) == ()


def test_what_was_not_read_is_not_judged():
    assert implausible(reading(0, energy_mj=None), reading(1, energy_mj=None, activity=Activity())) == ()


def test_the_energy_counter_may_stand_between_two_quick_readings():
    now = reading(0.1, energy_mj=1000, activity=0.9, watts=450)

    assert implausible(BEFORE, now) == ()
