"""What is raw in the driver, and what must stand in the reading."""

import operator

import pytest

from tests.collectors.nvml_rig import nvml_rig
from tests.fakedriver import profiles

MIB = 1 << 20


@pytest.fixture
def rig(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()]) as rig:
        rig.reading()
        yield rig


@pytest.mark.parametrize(
    ("readings", "path", "expected"),
    [
        ({"utilization": 0.93}, "activity.duty_cycle", 0.93),
        ({"memory_utilization": 0.41}, "activity.memory_controller", 0.41),
        ({"encoder": 0.07}, "activity.encoder", 0.07),
        ({"decoder": 0.12}, "activity.decoder", 0.12),
        ({"jpeg": 0.31}, "activity.jpeg", 0.31),
        ({"ofa": 0.05}, "activity.ofa", 0.05),
        ({"graphics": 0.625}, "activity.graphics", 0.625),
        ({"sm": 0.5}, "activity.sm", 0.5),
        ({"sm_occupancy": 0.375}, "activity.sm_occupancy", 0.375),
        ({"tensor": 0.25}, "activity.tensor", 0.25),
        ({"dram": 0.125}, "activity.dram", 0.125),
        ({"pcie_rx_bytes_per_second": 64 * MIB}, "links.pcie_rx_bytes_per_second", 64.0 * MIB),
        ({"pcie_tx_bytes_per_second": 32 * MIB}, "links.pcie_tx_bytes_per_second", 32.0 * MIB),
        ({"nvlink_rx_bytes_per_second": 900 * MIB}, "links.nvlink_rx_bytes_per_second", 900.0 * MIB),
        ({"nvlink_tx_bytes_per_second": 800 * MIB}, "links.nvlink_tx_bytes_per_second", 800.0 * MIB),
        ({"memory_used_bytes": 5 << 30}, "memory.used_bytes", 5 << 30),
        ({"power_mw": 312_500}, "power.gpu_watts", 312.5),
        ({"power_mw": 312_500}, "power.instant_watts", 312.5),
        ({"temperature_celsius": 67}, "thermals.gpu_celsius", 67.0),
        ({"memory_temperature_celsius": 71}, "thermals.memory_celsius", 71.0),
        ({"sm_clock_mhz": 1755}, "clocks.sm_hertz", 1.755e9),
        ({"sm_clock_mhz": 1755}, "clocks.graphics_hertz", 1.755e9),
        ({"memory_clock_mhz": 2619}, "clocks.memory_hertz", 2.619e9),
        ({"video_clock_mhz": 1545}, "clocks.video_hertz", 1.545e9),
    ],
)
def test_a_value_arrives_in_base_units(rig, readings, path, expected):
    rig.driver.device(0).set(**readings)
    assert operator.attrgetter(path)(rig.reading(seconds=2)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("field", "raw", "read", "expected"),
    [
        (3, 11, lambda r: r.faults.ecc["volatile", "corrected"], 11),
        (4, 12, lambda r: r.faults.ecc["volatile", "uncorrected"], 12),
        (5, 13, lambda r: r.faults.ecc["aggregate", "corrected"], 13),
        (6, 14, lambda r: r.faults.ecc["aggregate", "uncorrected"], 14),
        (38, 21, lambda r: r.faults.nvlink_errors["crc_flit"], 21),
        (45, 22, lambda r: r.faults.nvlink_errors["crc_data"], 22),
        (52, 23, lambda r: r.faults.nvlink_errors["replay"], 23),
        (59, 24, lambda r: r.faults.nvlink_errors["recovery"], 24),
        (74, 31, lambda r: r.throttle.duration_ns["sw_power_cap"], 31),
        (75, 32, lambda r: r.throttle.duration_ns["thermal"], 32),
        (76, 33, lambda r: r.throttle.duration_ns["sync_boost"], 33),
        (77, 34, lambda r: r.throttle.duration_ns["board_limit"], 34),
        (78, 35, lambda r: r.throttle.duration_ns["low_utilization"], 35),
        (79, 36, lambda r: r.throttle.duration_ns["reliability"], 36),
        (80, 37, lambda r: r.throttle.duration_ns["app_clocks"], 37),
        (81, 38, lambda r: r.throttle.duration_ns["base_clocks"], 38),
        (269, 41, lambda r: r.throttle.duration_ns["sw_thermal"], 41),
        (270, 42, lambda r: r.throttle.duration_ns["hw_thermal"], 42),
        (271, 1 << 40, lambda r: r.throttle.duration_ns["hw_power_brake"], 1 << 40),
        (82, 77, lambda r: r.thermals.memory_celsius, 77.0),
        (94, 5, lambda r: r.faults.pcie_replays, 5),
        (142, 2, lambda r: r.faults.remapped_rows["corrected"], 2),
        (143, 3, lambda r: r.faults.remapped_rows["uncorrected"], 3),
        (144, 1, lambda r: r.faults.remap_pending, True),
        (145, 1, lambda r: r.faults.remap_failure, True),
        (185, 301_500, lambda r: r.power.average_watts, 301.5),
        (186, 302_500, lambda r: r.power.instant_watts, 302.5),
        (197, 987_654, lambda r: r.links.pcie_tx_bytes, 987_654),
        (198, 123_456, lambda r: r.links.pcie_rx_bytes, 123_456),
    ],
)
def test_a_field_value_arrives_where_it_belongs(rig, field, raw, read, expected):
    rig.driver.device(0).set_field(field, raw)
    value = read(rig.reading())
    assert value == expected
    assert type(value) is type(expected)


def test_reasons_have_names(rig):
    rig.driver.device(0).set(throttle_reasons=0x44)
    assert rig.reading().throttle.reasons == {"sw_power_cap", "hw_thermal"}


def test_memory_tells_total_and_reserved(rig):
    profile = rig.driver.device(0).profile
    memory = rig.reading().memory
    assert memory.total_bytes == profile.memory_bytes
    assert memory.reserved_bytes == profile.reserved_bytes


def test_the_limit_in_force_is_read(rig):
    rig.driver.device(0).set(power_limit_mw=450_000)
    assert rig.reading().power.limit_watts == 450.0


def test_energy_is_that_of_the_stamp(rig):
    device = rig.driver.device(0)
    device.set(power_mw=312_345)
    first, second = rig.reading(), rig.reading(seconds=7)
    assert first.energy_mj == device.true_energy_mj(first.read_ns)
    assert second.energy_mj - first.energy_mj == device.true_energy_between_mj(first.read_ns, second.read_ns)
    assert second.read_ns - first.read_ns == 7_000_000_000


def test_the_drivers_uptime_is_read(rig):
    before = rig.reading().driver_uptime_ns
    assert rig.reading(seconds=3).driver_uptime_ns == before + 3_000_000_000


def test_gpm_is_named_as_the_source_of_activity(rig):
    rig.driver.device(0).set(utilization=1.0, sm=0.01)
    reading = rig.reading(seconds=1)
    assert (reading.activity_source, reading.activity.duty_cycle, reading.activity.sm) == ("gpm", 1.0, 0.01)


def test_facts_are_those_of_the_device(rig):
    facts = rig.discover()[0]
    profile = rig.driver.device(0).profile
    assert facts.uuid == rig.driver.device(0).uuid
    assert facts.name == profile.name
    assert facts.driver_version == "580.95.05"
    assert facts.architecture == "hopper"
    assert facts.index == 0
    assert facts.max_power_watts == profile.power_limits_mw[1] / 1000
    assert facts.pci_bus_id is not None
    assert facts.serial is not None
    assert facts.max_sm_clock_hertz == profile.max_clocks_mhz[0] * 1e6


def test_links_limit_is_the_sum_of_both_directions(rig):
    links, _, megabytes_per_second = rig.driver.device(0).profile.nvlinks
    expected = links * megabytes_per_second * 2e6
    assert rig.discover()[0].nvlink_max_bytes_per_second == expected


def test_nothing_is_ever_set(rig):
    for _ in range(3):
        rig.reading(seconds=1)
    rig.discover()
    assert rig.driver.violations() == {}
    called = rig.driver.calls()
    assert called["nvmlDeviceGetTotalEnergyConsumption"] >= 4
    assert not [
        name for name, times in called.items() if times and "Set" in name and not name.startswith("nvmlEventSet")
    ]


def test_throughput_that_takes_20_ms_is_never_asked(rig):
    rig.reading(seconds=1)
    assert rig.driver.calls().get("nvmlDeviceGetPcieThroughput", 0) == 0
