"""What goes wrong: errors, lost devices, calls that hang, reloads, missing functions; and XID events."""

import ctypes
import threading
import time

import pytest

from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver
from tests.fakedriver.rig import loaded

XID = 8


@pytest.fixture
def rig(tmp_path):
    with loaded(tmp_path, profiles.h100(), profiles.h100()) as (driver, pynvml):
        yield driver, pynvml, [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(2)]


def eventually(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it never came true"
        time.sleep(0.001)


class Caller(threading.Thread):
    """Makes one call beside the test, and keeps what came of it."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self._call = call
        self.answer = None
        self.start()

    def run(self):
        try:
            self.answer = self._call()
        except Exception as error:  # noqa: BLE001 (the test asserts which)
            self.answer = error


def test_a_function_fails_on_one_device_only(rig):
    driver, pynvml, (first, second) = rig
    driver.device(0).fail("nvmlDeviceGetPowerUsage", pynvml.NVML_ERROR_NO_PERMISSION)
    with pytest.raises(pynvml.NVMLError_NoPermission):
        pynvml.nvmlDeviceGetPowerUsage(first)
    assert pynvml.nvmlDeviceGetPowerUsage(second) == 70_000
    driver.device(0).fail("nvmlDeviceGetPowerUsage", 0)
    assert pynvml.nvmlDeviceGetPowerUsage(first) == 70_000


def test_permission_can_be_denied_at_the_handle(rig):
    driver, pynvml, _ = rig
    driver.device(1).fail("nvmlDeviceGetHandleByIndex_v2", pynvml.NVML_ERROR_NO_PERMISSION)
    assert pynvml.nvmlDeviceGetHandleByIndex(0)
    with pytest.raises(pynvml.NVMLError_NoPermission):
        pynvml.nvmlDeviceGetHandleByIndex(1)


def test_a_driver_wide_failure_meets_every_device(rig):
    driver, pynvml, handles = rig
    driver.fail("nvmlDeviceGetTemperature", pynvml.NVML_ERROR_UNKNOWN)
    for handle in handles:
        with pytest.raises(pynvml.NVMLError_Unknown):
            pynvml.nvmlDeviceGetTemperature(handle, 0)
    driver.clear_faults()
    assert pynvml.nvmlDeviceGetTemperature(handles[0], 0) == 31


def test_a_lost_device_answers_so_and_comes_back(rig):
    driver, pynvml, (first, second) = rig
    driver.device(0).lose()
    assert pynvml.nvmlDeviceGetCount() == 2
    for call in (
        lambda: pynvml.nvmlDeviceGetPowerUsage(first),
        lambda: pynvml.nvmlDeviceGetHandleByIndex(0),
        lambda: pynvml.nvmlDeviceGetFieldValues(first, [83]),
    ):
        with pytest.raises(pynvml.NVMLError_GpuIsLost):
            call()
    assert pynvml.nvmlDeviceGetPowerUsage(second) == 70_000
    driver.device(0).restore()
    assert pynvml.nvmlDeviceGetPowerUsage(first) == 70_000


def test_a_detached_device_leaves_the_count_and_indices_move_up(rig):
    driver, pynvml, _ = rig
    driver.device(0).detach()
    assert pynvml.nvmlDeviceGetCount() == 1
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0)) == driver.device(1).uuid
    driver.device(0).attach()
    assert pynvml.nvmlDeviceGetCount() == 2


def test_a_call_hangs_until_released_and_others_go_on(rig):
    driver, pynvml, (first, second) = rig
    driver.device(0).hang("nvmlDeviceGetPowerUsage")
    caller = Caller(lambda: pynvml.nvmlDeviceGetPowerUsage(first))
    eventually(lambda: driver.device(0).calls().get("nvmlDeviceGetPowerUsage") == 1)
    assert pynvml.nvmlDeviceGetPowerUsage(second) == 70_000
    assert pynvml.nvmlDeviceGetTemperature(first, 0) == 31
    caller.join(0.05)
    assert caller.is_alive()
    driver.device(0).release()
    caller.join(5)
    assert caller.answer == 70_000


def test_a_whole_device_can_hang(rig):
    driver, pynvml, (first, _) = rig
    driver.device(0).hang()
    caller = Caller(lambda: pynvml.nvmlDeviceGetName(first))
    eventually(lambda: "nvmlDeviceGetName" in driver.device(0).calls())
    assert caller.is_alive()
    driver.release()
    caller.join(5)
    assert caller.answer == "NVIDIA H100 80GB HBM3"


def test_a_call_can_be_slow(rig):
    driver, pynvml, (first, _) = rig
    driver.device(0).delay("nvmlDeviceGetPowerUsage", 30)
    begin = time.monotonic()
    pynvml.nvmlDeviceGetPowerUsage(first)
    assert time.monotonic() - begin >= 0.03


def test_a_reload_starts_counters_and_uptime_anew(rig):
    driver, pynvml, (first, _) = rig
    driver.advance(100)
    driver.unload()
    with pytest.raises(pynvml.NVMLError_DriverNotLoaded):
        pynvml.nvmlDeviceGetPowerUsage(first)
    with pytest.raises(pynvml.NVMLError_DriverNotLoaded):
        pynvml.nvmlInit()
    driver.load(version="585.10")
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()
    pynvml.nvmlInit()
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetPowerUsage(first)
    first = pynvml.nvmlDeviceGetHandleByIndex(0)
    driver.advance(10)
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(first) == 700_000 == driver.device(0).true_energy_mj()
    assert pynvml.nvmlSystemGetDriverVersion() == "585.10"
    uptime = pynvml.c_uint(99)
    assert pynvml.nvmlLib.nvmlDeviceGetGpuUptime_v1(first, pynvml.byref(uptime)) == 0
    assert uptime.value == 10


def test_after_shutdown_every_call_is_uninitialized(rig):
    _, pynvml, (first, _) = rig
    pynvml.nvmlShutdown()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetPowerUsage(first)


def test_initialisation_can_fail(tmp_path):
    with FakeDriver.create(tmp_path, []) as driver, driver.load_into_pynvml() as pynvml:
        driver.fail("nvmlInitWithFlags", pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
        with pytest.raises(pynvml.NVMLError_LibRmVersionMismatch):
            pynvml.nvmlInit()
        driver.clear_faults()
        pynvml.nvmlInit()
        assert pynvml.nvmlDeviceGetCount() == 0


def test_a_build_can_lack_functions(tmp_path):
    missing = ("nvmlDeviceGetGpuUptime_v1", "nvmlDeviceGetTemperatureV")
    with loaded(tmp_path, profiles.t4(), missing_symbols=missing) as (_, pynvml):
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        assert not hasattr(pynvml.nvmlLib, "nvmlDeviceGetGpuUptime_v1")
        with pytest.raises(pynvml.NVMLError_FunctionNotFound):
            pynvml.nvmlDeviceGetTemperatureV(handle, 0)
        assert pynvml.nvmlDeviceGetTemperature(handle, 0) == 31
    with pytest.raises(ValueError, match="no such function in the fake driver: nvmlNone"):
        FakeDriver.create(tmp_path, [], missing_symbols=["nvmlNone"])


@pytest.fixture
def events(rig):
    driver, pynvml, handles = rig
    event_set = pynvml.nvmlEventSetCreate()
    for handle in handles:
        pynvml.nvmlDeviceRegisterEvents(handle, XID, event_set)
    yield driver, pynvml, event_set
    pynvml.nvmlEventSetFree(event_set)


def test_xids_come_in_order_with_their_device(events):
    driver, pynvml, event_set = events
    mig = driver.device(0).mig(["1g.10gb"])[0]
    driver.device(1).inject_xid(79)
    driver.device(0).inject_xid(43, mig=mig)
    first, second = (pynvml.nvmlEventSetWait(event_set, 1000) for _ in range(2))
    assert (pynvml.nvmlDeviceGetUUID(first.device), first.eventData) == (driver.device(1).uuid, 79)
    assert (first.eventType, first.gpuInstanceId) == (XID, 0xFFFFFFFF)
    assert (second.eventData, second.gpuInstanceId) == (43, mig.gpu_instance_id)


def test_a_wait_times_out_in_real_time(events):
    _, pynvml, event_set = events
    begin = time.monotonic()
    with pytest.raises(pynvml.NVMLError_Timeout):
        pynvml.nvmlEventSetWait(event_set, 60)
    assert time.monotonic() - begin >= 0.06


def test_a_waiting_thread_wakes_for_an_xid(events):
    driver, pynvml, event_set = events
    caller = Caller(lambda: pynvml.nvmlEventSetWait(event_set, 20_000).eventData)
    eventually(lambda: "nvmlEventSetWait_v2" in driver.calls())
    driver.device(0).inject_xid(13)
    caller.join(5)
    assert caller.answer == 13


def test_a_waiting_thread_wakes_when_the_driver_goes(events):
    driver, pynvml, event_set = events
    caller = Caller(lambda: pynvml.nvmlEventSetWait(event_set, 20_000))
    eventually(lambda: "nvmlEventSetWait_v2" in driver.calls())
    driver.unload()
    caller.join(5)
    assert isinstance(caller.answer, pynvml.NVMLError_DriverNotLoaded)


def test_a_lost_device_ends_the_wait_after_its_last_event(events):
    driver, pynvml, event_set = events
    driver.device(0).inject_xid(79)
    driver.device(0).lose()
    assert pynvml.nvmlEventSetWait(event_set, 1000).eventData == 79
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        pynvml.nvmlEventSetWait(event_set, 20_000)


def test_unregistered_devices_and_types_send_nothing(rig):
    driver, pynvml, handles = rig
    event_set = pynvml.nvmlEventSetCreate()
    assert pynvml.nvmlDeviceGetSupportedEventTypes(handles[0]) & XID
    pynvml.nvmlDeviceRegisterEvents(handles[0], XID, event_set)
    driver.device(1).inject_xid(79)
    with pytest.raises(pynvml.NVMLError_Timeout):
        pynvml.nvmlEventSetWait(event_set, 0)
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceRegisterEvents(handles[0], 1 << 40, event_set)
    pynvml.nvmlEventSetFree(event_set)
    assert pynvml.nvmlLib.nvmlEventSetFree(ctypes.c_void_p(None)) == pynvml.NVML_ERROR_INVALID_ARGUMENT
