from agent.idle_power import IdlePower
from collectors.clock import NS_PER_SECOND

MINUTE = 60 * NS_PER_SECOND


def test_is_learnt_once_the_device_was_idle_long_enough():
    power = IdlePower(MINUTE)
    for second in range(61):
        assert power.idle_mw is None
        power.observe(second * NS_PER_SECOND, 1000 + second * 70_000, idle=True)

    assert power.idle_mw == 70_000


def test_activity_in_between_begins_anew():
    power = IdlePower(MINUTE)
    for second in range(100):
        power.observe(second * NS_PER_SECOND, second * 70_000, idle=second != 50)

    assert power.idle_mw is None


def test_a_counter_that_fell_teaches_nothing():
    power = IdlePower(MINUTE)
    power.observe(0, 10**9, idle=True)
    power.observe(2 * MINUTE, 5, idle=True)

    assert power.idle_mw is None


def test_without_energy_nothing_is_learnt():
    power = IdlePower(MINUTE)
    power.observe(0, None, idle=True)
    power.observe(2 * MINUTE, None, idle=True)

    assert power.idle_mw is None


def test_the_latest_idle_stretch_counts():
    power = IdlePower(MINUTE)
    for minute, energy in enumerate((0, 60 * 70_000, 60 * 70_000 + 60 * 90_000)):
        power.observe(minute * MINUTE, energy, idle=True)

    assert power.idle_mw == 90_000
