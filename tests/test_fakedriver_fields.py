"""Batched field values, as the boards and driver versions have them."""

import pytest

from tests.fakedriver import profiles
from tests.fakedriver.rig import loaded

ALL_LINKS = 0xFFFFFFFF


def ask(pynvml, *fields):
    """Field to value, or to its error's name."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    answers = pynvml.nvmlDeviceGetFieldValues(handle, list(fields))
    return [answer.value.ullVal if answer.nvmlReturn == 0 else -answer.nvmlReturn for answer in answers]


def test_power_is_instant_and_average_by_scope(tmp_path):
    with loaded(tmp_path, profiles.gh200()) as (driver, pynvml):
        driver.device(0).power_window(1000)
        driver.advance(10)
        driver.device(0).set(power_mw=500_000, module_power_mw=640_000)
        driver.advance(0.5)
        instant, average = pynvml.NVML_FI_DEV_POWER_INSTANT, pynvml.NVML_FI_DEV_POWER_AVERAGE
        assert ask(pynvml, (instant, 0), (average, 0), (instant, 1), (instant, 2)) == [500_000, 285_000, 640_000, -3]


def test_ga100_has_no_average_power_and_no_module(tmp_path):
    with loaded(tmp_path, profiles.a100()) as (_, pynvml):
        assert ask(pynvml, 185, 186, (186, 1)) == [-3, 60_000, -3]


def test_energy_has_two_names_and_the_counter_one_truth(tmp_path):
    with loaded(tmp_path, profiles.h100()) as (driver, pynvml):
        driver.advance(7)
        assert ask(pynvml, 83, 191) == [driver.device(0).true_energy_mj()] * 2


def test_health_fields_say_what_was_set(tmp_path):
    with loaded(tmp_path, profiles.h100()) as (driver, pynvml):
        driver.device(0).set(
            ecc={("volatile", "corrected"): 1, ("volatile", "uncorrected"): 2, ("aggregate", "corrected"): 3},
            remapped_rows=(4, 5),
            remap_failure=True,
            memory_temperature_celsius=77,
            pcie_replays=6,
            nvlink_errors={"recovery": 8, "crc_flit": 9},
        )
        assert ask(pynvml, 3, 4, 5, 6) == [1, 2, 3, 0]
        assert ask(pynvml, 142, 143, 144, 145) == [4, 5, 0, 1]
        assert ask(pynvml, 82, 94) == [77, 6]
        assert ask(pynvml, 38, 59, 91) == [9, 8, 18]


def test_rows_are_not_had_while_mig_instances_exist(tmp_path):
    with loaded(tmp_path, profiles.h100()) as (driver, pynvml):
        driver.device(0).mig([])
        assert ask(pynvml, 142) == [0]
        driver.device(0).add_mig("1g.10gb")
        assert ask(pynvml, 142) == [-3]


@pytest.mark.parametrize(("version", "have", "lack"), [("580.95.05", 269, 251), ("550.54.15", 251, 269)])
def test_slowdown_counters_bear_the_numbers_of_the_driver_version(tmp_path, version, have, lack):
    with loaded(tmp_path, profiles.h100(), version=version) as (driver, pynvml):
        driver.device(0).set(throttle_ns={"sw_thermal": 11, "hw_thermal": 12, "hw_power_brake": 13, "power": 14})
        assert ask(pynvml, have, have + 1, have + 2, 74) == [11, 12, 13, 14]
        assert ask(pynvml, lack) == [-3]


def test_traffic_counters_are_the_integral_of_the_rates(tmp_path):
    with loaded(tmp_path, profiles.h100()) as (driver, pynvml):
        driver.device(0).set(pcie_tx_bytes_per_second=10**9, nvlink_rx_bytes_per_second=18 * 1024 * 1000)
        driver.advance(10)
        assert ask(pynvml, 197, 198) == [10**10, 0]
        assert ask(pynvml, (139, ALL_LINKS), (139, 0), (138, ALL_LINKS)) == [180_000, 10_000, 0]
        driver.device(0).set(pcie_counter_bits=32)
        assert ask(pynvml, 197) == [10**10 % 2**32]


def test_nvlink_5_counts_bytes_in_fields_of_its_own(tmp_path):
    with loaded(tmp_path, profiles.b200()) as (driver, pynvml):
        driver.device(0).set(nvlink_tx_bytes_per_second=36_000, nvlink_rx_bytes_per_second=18_000)
        driver.advance(10)
        assert ask(pynvml, (202, ALL_LINKS), (202, 17), (204, 0)) == [360_000, 20_000, 10_000]
    with loaded(tmp_path, profiles.h100()) as (_, pynvml):
        assert ask(pynvml, (202, ALL_LINKS)) == [-3]


def test_one_field_can_fail_and_another_be_overridden(tmp_path):
    with loaded(tmp_path, profiles.t4()) as (driver, pynvml):
        device = driver.device(0)
        device.fail_field(83, pynvml.NVML_ERROR_NO_PERMISSION)
        device.set_field(202, 5)
        device.set_field(202, 6)
        device.set_field(202, 7, scope=3)
        assert ask(pynvml, 83, 191, 202, (202, 3)) == [-4, 123_456_789, 6, 7]
        device.clear_faults()
        assert ask(pynvml, 83, 202) == [123_456_789, -3]
