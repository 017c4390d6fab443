"""The fake driver through the real pynvml: what a device is and says at one moment."""

import ctypes

import pytest

from tests.fakedriver import build, layout, profiles
from tests.fakedriver.control import Block, LayoutMismatch
from tests.fakedriver.driver import FakeDriver
from tests.fakedriver.rig import loaded


@pytest.fixture
def hopper(tmp_path):
    with loaded(tmp_path, profiles.h100()) as (driver, pynvml):
        yield driver.device(0), pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)


def code(pynvml, call, *arguments):
    """The error code that a call raises."""
    with pytest.raises(pynvml.NVMLError) as caught:
        call(*arguments)
    return caught.value.value


def test_a_device_is_found_by_index_uuid_and_bus_id(tmp_path):
    with loaded(tmp_path, profiles.h100(), profiles.t4()) as (driver, pynvml):
        assert pynvml.nvmlDeviceGetCount() == 2
        second = pynvml.nvmlDeviceGetHandleByIndex(1)
        assert pynvml.nvmlDeviceGetName(second) == "Tesla T4"
        assert pynvml.nvmlDeviceGetUUID(second) == driver.device(1).uuid
        bus_id = pynvml.nvmlDeviceGetPciInfo(second).busId
        assert bus_id == "00000000:19:00.0"
        for again in (
            pynvml.nvmlDeviceGetHandleByUUID(driver.device(1).uuid),
            pynvml.nvmlDeviceGetHandleByPciBusId(bus_id),
        ):
            assert pynvml.nvmlDeviceGetIndex(again) == 1


def test_the_driver_tells_its_versions(tmp_path):
    with loaded(tmp_path, profiles.t4(), version="550.54.15", cuda=12_040) as (_, pynvml):
        assert pynvml.nvmlSystemGetDriverVersion() == "550.54.15"
        assert pynvml.nvmlSystemGetNVMLVersion() == "12.550.54.15"
        assert pynvml.nvmlSystemGetCudaDriverVersion() == 12_040


def test_what_is_set_is_what_is_read(hopper):
    device, pynvml, handle = hopper
    device.set(
        utilization=0.93,
        memory_utilization=0.41,
        encoder=0.2,
        decoder=0.1,
        jpeg=0.05,
        ofa=0.07,
        power_mw=612_345,
        memory_used_bytes=40 << 30,
        temperature_celsius=66,
        sm_clock_mhz=1755,
        memory_clock_mhz=2619,
        video_clock_mhz=1545,
        pcie_rx_bytes_per_second=3_000_000,
        throttle_reasons=0x24,
        power_limit_mw=650_000,
    )
    rates = pynvml.nvmlDeviceGetUtilizationRates(handle)
    assert (rates.gpu, rates.memory) == (93, 41)
    assert pynvml.nvmlDeviceGetEncoderUtilization(handle)[0] == 20
    assert pynvml.nvmlDeviceGetDecoderUtilization(handle)[0] == 10
    assert pynvml.nvmlDeviceGetJpgUtilization(handle)[0] == 5
    assert pynvml.nvmlDeviceGetOfaUtilization(handle)[0] == 7
    assert pynvml.nvmlDeviceGetPowerUsage(handle) == 612_345
    assert pynvml.nvmlDeviceGetTemperature(handle, 0) == 66
    assert pynvml.nvmlDeviceGetTemperatureV(handle, 0) == 66
    assert [pynvml.nvmlDeviceGetClockInfo(handle, kind) for kind in range(4)] == [1755, 1755, 2619, 1545]
    assert [pynvml.nvmlDeviceGetMaxClockInfo(handle, kind) for kind in range(4)] == [1980, 1980, 2619, 1545]
    assert pynvml.nvmlDeviceGetPcieThroughput(handle, pynvml.NVML_PCIE_UTIL_RX_BYTES) == 3000
    assert pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle) == 0x24
    assert pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle) == 0x24
    assert pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) == 650_000
    assert pynvml.nvmlDeviceGetPowerManagementLimitConstraints(handle) == [200_000, 700_000]


def test_memory_of_version_1_counts_the_reserved_part_as_used(hopper):
    device, pynvml, handle = hopper
    device.set(memory_used_bytes=1000, memory_reserved_bytes=200)
    second = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    assert (second.used, second.reserved, second.free) == (1000, 200, second.total - 1200)
    assert pynvml.nvmlDeviceGetMemoryInfo(handle).used == 1200


def test_errors_and_rows_are_read_as_set(hopper):
    device, pynvml, handle = hopper
    device.set(
        ecc={("volatile", "corrected"): 3, ("aggregate", "uncorrected"): 9},
        remapped_rows=(5, 2),
        remap_pending=True,
        pcie_replays=11,
        nvlink_errors={"replay": 4, "crc_data": 6},
    )
    ecc = [
        pynvml.nvmlDeviceGetTotalEccErrors(handle, error, counter)
        for counter in (pynvml.NVML_VOLATILE_ECC, pynvml.NVML_AGGREGATE_ECC)
        for error in (pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)
    ]
    assert ecc == [3, 0, 0, 9]
    assert pynvml.nvmlDeviceGetRemappedRows(handle) == (5, 2, 1, 0)
    assert pynvml.nvmlDeviceGetPcieReplayCounter(handle) == 11
    assert pynvml.nvmlDeviceGetNvLinkErrorCounter(handle, 0, pynvml.NVML_NVLINK_ERROR_DL_REPLAY) == 4
    assert pynvml.nvmlDeviceGetNvLinkErrorCounter(handle, 0, pynvml.NVML_NVLINK_ERROR_DL_CRC_DATA) == 6


def test_nvlink_states_follow_the_links_of_the_board(hopper):
    _, pynvml, handle = hopper
    states = [pynvml.nvmlDeviceGetNvLinkState(handle, link) for link in range(pynvml.NVML_NVLINK_MAX_LINKS)]
    assert sum(states) == 18


@pytest.mark.parametrize(
    ("board", "lacks"),
    [
        (profiles.p4(), ["TotalEnergyConsumption", "RemappedRows", "JpgUtilization", "MigMode", "GpmSupport"]),
        (profiles.t4(), ["RemappedRows", "JpgUtilization", "MigMode", "NvLinkState", "GpmSupport"]),
        (profiles.l40s(), ["MigMode", "NvLinkState", "GpmSupport"]),
        (profiles.a100(), ["GpmSupport"]),
        (profiles.h100(), []),
        (profiles.h200(), []),
    ],
    ids=lambda value: value.name if isinstance(value, profiles.DeviceProfile) else "",
)
def test_a_board_lacks_what_its_generation_lacks(tmp_path, board, lacks):
    with loaded(tmp_path, board) as (_, pynvml):
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        calls = {
            "TotalEnergyConsumption": lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle),
            "RemappedRows": lambda: pynvml.nvmlDeviceGetRemappedRows(handle),
            "JpgUtilization": lambda: pynvml.nvmlDeviceGetJpgUtilization(handle),
            "MigMode": lambda: pynvml.nvmlDeviceGetMigMode(handle),
            "NvLinkState": lambda: pynvml.nvmlDeviceGetNvLinkState(handle, 0),
            "PowerUsage": lambda: pynvml.nvmlDeviceGetPowerUsage(handle),
        }
        lacking = {"GpmSupport"} if not pynvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice else set()
        for name, call in calls.items():
            try:
                call()
            except pynvml.NVMLError_NotSupported:
                lacking.add(name)
        assert lacking >= set(lacks)
        assert "PowerUsage" not in lacking
        if board.name.startswith("NVIDIA H"):
            assert not lacking


def test_a_null_pointer_and_a_stranger_handle_are_invalid_arguments(hopper):
    _, pynvml, handle = hopper
    assert pynvml.nvmlLib.nvmlDeviceGetPowerUsage(handle, None) == pynvml.NVML_ERROR_INVALID_ARGUMENT
    stranger = ctypes.c_void_p(12345)
    assert code(pynvml, pynvml.nvmlDeviceGetPowerUsage, stranger) == pynvml.NVML_ERROR_INVALID_ARGUMENT
    assert code(pynvml, pynvml.nvmlDeviceGetHandleByIndex, 1) == pynvml.NVML_ERROR_INVALID_ARGUMENT
    assert code(pynvml, pynvml.nvmlDeviceGetHandleByUUID, "GPU-none") == pynvml.NVML_ERROR_NOT_FOUND


def test_sixteen_devices_fit_and_no_more(tmp_path):
    with loaded(tmp_path, *[profiles.t4()] * 16) as (_, pynvml):
        assert pynvml.nvmlDeviceGetCount() == 16
    with pytest.raises(ValueError, match="17 devices; the fake driver holds 16"):
        FakeDriver.create(tmp_path, [profiles.t4()] * 17)


def test_calls_are_counted_by_function_and_device(tmp_path):
    with loaded(tmp_path, profiles.t4(), profiles.t4()) as (driver, pynvml):
        handle = pynvml.nvmlDeviceGetHandleByIndex(1)
        driver.reset_calls()
        for _ in range(3):
            pynvml.nvmlDeviceGetPowerUsage(handle)
        assert driver.calls() == {"nvmlDeviceGetPowerUsage": 3}
        assert driver.device(1).calls() == {"nvmlDeviceGetPowerUsage": 3}
        assert driver.device(0).calls() == {}


def test_every_setter_of_the_header_is_refused_and_recorded(hopper):
    _, pynvml, handle = hopper
    assert code(pynvml, pynvml.nvmlDeviceSetPowerManagementLimit, handle, 1) == pynvml.NVML_ERROR_NO_PERMISSION
    assert code(pynvml, pynvml.nvmlDeviceSetPersistenceMode, handle, 1) == pynvml.NVML_ERROR_NO_PERMISSION
    assert code(pynvml, pynvml.nvmlGpmSetStreamingEnabled, handle, 1) == pynvml.NVML_ERROR_NO_PERMISSION
    setters = build.setters(build.nvml_header().read_text())
    assert {"nvmlDeviceSetAccountingMode", "nvmlDeviceSetMigMode", "nvmlDeviceClearEccErrorCounts"} <= set(setters)
    assert all(hasattr(pynvml.nvmlLib, name) for name in setters)


def test_violations_name_the_setters_that_were_called(tmp_path):
    with loaded(tmp_path, profiles.t4()) as (driver, pynvml):
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetPowerUsage(handle)
        assert driver.violations() == {}
        code(pynvml, pynvml.nvmlDeviceSetAccountingMode, handle, 1)
        assert driver.violations() == {"nvmlDeviceSetAccountingMode": 1}


def test_the_library_exports_every_function_that_it_lists():
    library = build.library()
    loaded_library = ctypes.CDLL(str(library.path))
    assert [name for name in library.functions if not hasattr(loaded_library, name)] == []


def test_a_control_block_of_another_layout_is_refused(tmp_path, capfd):
    with FakeDriver.create(tmp_path, [profiles.t4()]) as driver:
        driver._block.control.layout_hash ^= 1
        with driver.load_into_pynvml() as pynvml:
            assert code(pynvml, pynvml.nvmlInit) == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
    assert "it was written for another layout than this library's" in capfd.readouterr().err


def test_a_library_of_another_layout_is_refused(tmp_path, monkeypatch):
    library = build.library()
    monkeypatch.setattr(layout, "layout_hash", lambda functions: 1)
    with pytest.raises(LayoutMismatch, match="was built from another layout"):
        Block(tmp_path / "control", library)


def test_an_unknown_reading_function_or_signal_is_named(hopper):
    device, _, _ = hopper
    with pytest.raises(ValueError, match="no such reading: wattage"):
        device.set(wattage=1)
    with pytest.raises(ValueError, match="the fake driver has no function nvmlDeviceGetWattage"):
        device.fail("nvmlDeviceGetWattage", 3)
    with pytest.raises(ValueError, match="power_mw=-1: a number of at least 0 is needed"):
        device.set(power_mw=-1)


def test_without_gcc_the_error_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "HERE", tmp_path)
    for source in build.sources():
        assert source
    (tmp_path / "fake.h").write_text("")
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(build.FakeDriverUnavailable, match=r"gcc is missing.*apt-get install gcc"):
        build.library()


def test_pynvml_is_left_as_it_was_found(tmp_path):
    import pynvml

    before = pynvml.nvmlLib
    with loaded(tmp_path, profiles.t4()):
        assert pynvml.nvmlLib is not before
    assert pynvml.nvmlLib is before
    assert pynvml._nvmlLib_refcount == 0
