"""Boards and drivers of other generations: what they cannot tell is absent, and not asked again."""

import pynvml
import pytest

from tests.collectors.nvml_rig import nvml_rig
from tests.fakedriver import profiles


def reading_of(tmp_path, profile, **options):
    with nvml_rig(tmp_path, [profile], **options) as rig:
        rig.driver.device(0).set(utilization=0.5, power_mw=60_000)
        rig.reading()
        return rig.reading(seconds=2)


def test_an_h100_tells_everything(tmp_path):
    reading = reading_of(tmp_path, profiles.h100())
    absent = [name for name in ("energy_mj", "driver_uptime_ns", "activity_source") if getattr(reading, name) is None]
    for part in (reading.activity, reading.memory, reading.thermals, reading.clocks, reading.links):
        absent += [name for name in part.__slots__ if getattr(part, name) is None]
    assert absent == []
    assert reading.power.module_watts is None
    assert len(reading.throttle.duration_ns) == 11
    assert len(reading.faults.ecc) == len(reading.faults.nvlink_errors) == 4


def test_a_grace_hopper_tells_its_modules_power_beside_the_gpus(tmp_path):
    with nvml_rig(tmp_path, [profiles.gh200()]) as rig:
        rig.driver.device(0).set(power_mw=300_000, module_power_mw=500_000)
        power = rig.reading().power
        assert (power.gpu_watts, power.instant_watts, power.module_watts) == (300.0, 300.0, 500.0)


def test_an_a100_has_no_average_power_and_no_gpm(tmp_path):
    reading = reading_of(tmp_path, profiles.a100())
    assert (reading.power.average_watts, reading.power.instant_watts) == (None, 60.0)
    assert (reading.activity.sm, reading.activity.tensor, reading.activity_source) == (None, None, "nvml")
    assert reading.links.nvlink_rx_bytes_per_second is None
    assert reading.energy_mj is not None


def test_a_t4_has_energy_but_neither_rows_nor_links(tmp_path):
    reading = reading_of(tmp_path, profiles.t4())
    assert reading.energy_mj is not None
    assert (reading.faults.remapped_rows, reading.faults.nvlink_errors, reading.faults.remap_pending) == ({}, {}, None)
    assert (reading.activity.jpeg, reading.activity.ofa, reading.thermals.memory_celsius) == (None, None, None)
    assert reading.device.nvlink_max_bytes_per_second is None


def test_a_p4_has_no_energy_counter(tmp_path):
    reading = reading_of(tmp_path, profiles.p4())
    assert (reading.energy_mj, reading.driver_uptime_ns) == (None, None)
    assert reading.power.gpu_watts == 60.0
    assert reading.activity.duty_cycle == 0.5
    assert reading.mig_enabled is False


def test_what_is_unsupported_is_asked_once_until_the_next_discovery(tmp_path):
    with nvml_rig(tmp_path, [profiles.p4()]) as rig:
        for _ in range(5):
            rig.reading(seconds=1)
        asked = rig.driver.calls()["nvmlDeviceGetTotalEnergyConsumption"]
        rig.discover()
        rig.reading(seconds=1)
        assert (asked, rig.driver.calls()["nvmlDeviceGetTotalEnergyConsumption"]) == (1, 2)


def test_static_facts_are_asked_once(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()]) as rig:
        for _ in range(3):
            rig.reading(seconds=60)
            rig.discover()
        calls = rig.driver.calls()
        assert [calls[f"nvmlDeviceGet{name}"] for name in ("Name", "Serial", "PciInfo_v3", "MaxClockInfo")] == [1] * 4


def test_permission_is_asked_for_again_each_minute(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()]) as rig:
        device = rig.driver.device(0)
        device.set(power_mw=60_000)
        device.fail("nvmlDeviceGetPowerUsage", pynvml.NVML_ERROR_NO_PERMISSION)
        assert [rig.reading(seconds=20).power.gpu_watts for _ in range(2)] == [None, None]
        assert rig.driver.calls()["nvmlDeviceGetPowerUsage"] == 1
        device.clear_faults()
        assert [rig.reading(seconds=30).power.gpu_watts for _ in range(2)] == [None, 60.0]


def test_a_passing_failure_costs_one_reading(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()]) as rig:
        device = rig.driver.device(0)
        device.set(temperature_celsius=50)
        device.fail("nvmlDeviceGetTemperature", pynvml.NVML_ERROR_TIMEOUT)
        assert rig.reading().thermals.gpu_celsius is None
        device.clear_faults()
        assert rig.reading().thermals.gpu_celsius == 50.0


def test_each_fields_own_return_is_minded(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()]) as rig:
        rig.reading()
        rig.driver.device(0).fail_field(186, pynvml.NVML_ERROR_UNKNOWN)
        power = rig.reading().power
        assert power.instant_watts is None
        assert power.average_watts is not None


def test_a_link_that_fails_makes_the_sum_absent_rather_than_small(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()]) as rig:
        device = rig.driver.device(0)
        device.fail_field(59, pynvml.NVML_ERROR_NOT_SUPPORTED)
        links = device.profile.nvlinks[0]
        for link in range(links):
            device.set_field(162, 10 + link, scope=link)
        rig.discover()
        assert rig.reading().faults.nvlink_errors["recovery"] == sum(range(10, 10 + links))
        device.fail_field(162, pynvml.NVML_ERROR_UNKNOWN)
        assert "recovery" not in rig.reading().faults.nvlink_errors


@pytest.mark.parametrize(("version", "ids"), [("550.54.15", (251, 252, 253)), ("580.95.05", (269, 270, 271))])
def test_the_slowdown_counters_are_found_under_either_drivers_ids(tmp_path, version, ids):
    with nvml_rig(tmp_path, [profiles.h100()], version=version) as rig:
        for at, field in enumerate(ids):
            rig.driver.device(0).set_field(field, 1000 + at)
        durations = rig.reading().throttle.duration_ns
        assert [durations[name] for name in ("sw_thermal", "hw_thermal", "hw_power_brake")] == [1000, 1001, 1002]


def test_a_new_drivers_power_smoothing_is_not_taken_for_slowdown(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()], version="580.95.05") as rig:
        device = rig.driver.device(0)
        for field in (269, 270, 271):
            device.fail_field(field, pynvml.NVML_ERROR_NOT_SUPPORTED)
        for field in (251, 252, 253):
            device.set_field(field, 1)
        assert not {"sw_thermal", "hw_thermal", "hw_power_brake"} & set(rig.reading().throttle.duration_ns)


@pytest.mark.parametrize(
    ("symbol", "read", "expected"),
    [
        ("nvmlDeviceGetCurrentClocksEventReasons", lambda r: r.throttle.reasons, {"sw_power_cap"}),
        ("nvmlDeviceGetTemperature", lambda r: r.thermals.gpu_celsius, 55.0),
        ("nvmlDeviceGetMemoryInfo_v2", lambda r: r.memory.reserved_bytes, None),
        ("nvmlDeviceGetGpuUptime_v1", lambda r: r.driver_uptime_ns, None),
        ("nvmlDeviceGetFieldValues", lambda r: r.power.instant_watts, None),
        ("nvmlDeviceGetMigMode", lambda r: r.mig_enabled, False),
        ("nvmlDeviceGetProcessUtilization", lambda r: r.share_samples, ()),
        ("nvmlDeviceGetOfaUtilization", lambda r: r.activity.ofa, None),
    ],
)
def test_a_function_that_this_driver_lacks_costs_only_its_value(tmp_path, symbol, read, expected):
    with nvml_rig(tmp_path, [profiles.h100()], missing_symbols=(symbol,)) as rig:
        rig.driver.device(0).set(throttle_reasons=4, temperature_celsius=55, utilization=0.5)
        reading = rig.reading()
        assert read(reading) == expected
        assert reading.activity.duty_cycle == 0.5
        assert reading.memory.total_bytes == rig.driver.device(0).profile.memory_bytes


def test_a_getter_that_refuses_its_version_gives_way_to_the_older_one(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()]) as rig:
        device = rig.driver.device(0)
        device.set(memory_used_bytes=1 << 30)
        device.fail("nvmlDeviceGetMemoryInfo_v2", pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
        memory = rig.reading().memory
        assert (memory.reserved_bytes, memory.used_bytes) == (None, (1 << 30) + device.profile.reserved_bytes)
