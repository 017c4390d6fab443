"""Drivers that go, come back, hang and were never there."""

import threading

import pynvml
import pytest

from collectors.errors import DeviceLost, Unavailable
from collectors.nvml import NvmlSource
from collectors.readings import XidEvent
from tests.collectors.nvml_rig import DriverClock, eventually, in_thread, nvml_rig
from tests.fakedriver import profiles


@pytest.fixture
def rig(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100(), profiles.h100(), profiles.h100()]) as rig:
        yield rig


def uuids(rig):
    return [facts.uuid for facts in rig.discover()]


class StoppedClock:
    boot_id = "boot"

    def monotonic_ns(self):
        return 0

    def wall_ns(self):
        return 0

    def wait(self, event, duration_ns):
        return True


def test_without_the_library_the_remedy_is_told(monkeypatch):
    def refuse(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", refuse)
    source = NvmlSource(StoppedClock())
    with pytest.raises(Unavailable, match=r"libnvidia-ml\.so\.1 not found: install the NVIDIA driver.*=utility"):
        source.discover()
    with pytest.raises(Unavailable, match="not initialized"):
        source.read("GPU-0")
    source.close()


def test_nothing_is_loaded_before_discovery(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()], discover=False) as rig:
        assert rig.driver.calls().get("nvmlInitWithFlags", 0) == 0
        assert rig.source.name == "nvml"
        with pytest.raises(Unavailable, match="next discovery"):
            rig.sweep()


def test_a_kernel_driver_that_is_not_loaded_is_told_and_found_later(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()], discover=False) as rig:
        rig.driver.unload()
        with pytest.raises(Unavailable, match="kernel driver is not loaded: load it"):
            rig.discover()
        rig.driver.load()
        assert len(rig.discover()) == 1


def test_a_library_of_another_version_than_the_driver_asks_for_a_restart(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()], discover=False) as rig:
        rig.driver.fail("nvmlInitWithFlags", pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
        with pytest.raises(Unavailable, match=r"different versions.*restart this process"):
            rig.discover()


def test_an_initialization_that_hangs_is_told_and_its_late_end_taken(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()], answer_seconds=0.05, discover=False) as rig:
        rig.driver.hang("nvmlInitWithFlags")
        for _ in range(2):
            with pytest.raises(Unavailable, match="nvmlInit: the driver has not answered"):
                rig.discover()
        rig.driver.release()

        def found():
            try:
                return len(uuids(rig)) == 1
            except Unavailable:
                return False

        eventually(found)
        assert rig.driver.calls()["nvmlInitWithFlags"] == 1


def test_a_lost_device_is_lost_alone(rig):
    rig.driver.device(1).lose()
    with pytest.raises(DeviceLost, match=r"GPU 1 .*fallen off the bus"):
        rig.sweep(1)
    assert [rig.reading(index).device.uuid for index in (0, 2)] == [rig.driver.device(i).uuid for i in (0, 2)]


def test_discovery_leaves_a_lost_device_out_and_says_so(rig):
    rig.driver.device(1).lose()
    assert uuids(rig) == [rig.driver.device(index).uuid for index in (0, 2)]
    (line,) = rig.source.unreadable()
    assert line.startswith("GPU 1: the GPU has fallen off the bus")
    with pytest.raises(DeviceLost, match="not among the devices"):
        rig.sweep(1)


def test_a_device_that_came_back_is_read_again_from_the_start(rig):
    device = rig.driver.device(1)
    device.set(sm=0.5)
    rig.sweep(1)
    device.lose()
    with pytest.raises(DeviceLost):
        rig.sweep(1)
    device.restore()
    with pytest.raises(DeviceLost):
        rig.sweep(1)
    assert len(uuids(rig)) == 3
    assert rig.source.unreadable() == ()
    assert rig.reading(1, seconds=1).activity.sm is None
    assert rig.reading(1, seconds=1).activity.sm == 0.5


def test_a_device_taken_out_of_the_list_moves_the_indices_of_the_others(rig):
    rig.driver.device(0).detach()
    facts = rig.discover()
    assert [(one.index, one.uuid) for one in facts] == [(0, rig.driver.device(1).uuid), (1, rig.driver.device(2).uuid)]
    assert rig.reading(1).device.index == 0


def test_a_device_that_answers_nothing_counts_as_lost(rig):
    device = rig.driver.device(1)
    rig.sweep(1)
    for name in [name for name in rig.driver.calls() if name.startswith("nvmlDevice")]:
        device.fail(name, pynvml.NVML_ERROR_UNKNOWN)
    with pytest.raises(DeviceLost, match="answers none of its getters"):
        rig.sweep(1)


def test_a_device_without_permission_is_named_with_the_remedy(rig):
    rig.driver.device(1).fail("nvmlDeviceGetUUID", pynvml.NVML_ERROR_NO_PERMISSION)
    assert len(uuids(rig)) == 2
    (line,) = rig.source.unreadable()
    assert "GPU 1: no permission on the device: run as root" in line


def test_a_reload_is_noticed_and_everything_starts_anew(rig):
    device = rig.driver.device(0)
    device.set(power_mw=100_000, sm=0.5)
    rig.reading()
    before = rig.reading(seconds=10)
    rig.driver.reload()
    with pytest.raises(Unavailable) as raised:
        rig.sweep()
    assert not isinstance(raised.value, DeviceLost)
    with pytest.raises(Unavailable, match="next discovery"):
        rig.sweep()
    assert len(uuids(rig)) == 3
    after = rig.reading(seconds=1)
    assert after.energy_mj < before.energy_mj
    assert after.driver_uptime_ns < before.driver_uptime_ns
    assert after.activity.sm is None
    assert rig.reading(seconds=1).activity.sm == 0.5


def test_discovery_itself_notices_a_reload(rig):
    rig.driver.reload(version="590.10.01")
    assert [facts.driver_version for facts in rig.discover()] == ["590.10.01"] * 3
    assert rig.reading().driver_uptime_ns is not None


def test_a_driver_that_is_away_for_a_while_comes_back(rig):
    rig.driver.unload()
    with pytest.raises(Unavailable):
        rig.sweep()
    for _ in range(2):
        with pytest.raises(Unavailable, match="not loaded"):
            rig.discover()
    rig.driver.load()
    assert len(uuids(rig)) == 3
    assert rig.reading().memory.total_bytes


def test_initializations_and_shutdowns_are_even(rig):
    for _ in range(3):
        rig.driver.reload()
        rig.discover()
    rig.source.close()
    calls = rig.driver.calls()
    assert calls["nvmlInitWithFlags"] == calls["nvmlShutdown"] == 4


def test_a_hanging_reading_leaves_the_others_alone(rig):
    rig.driver.device(1).hang()
    stuck = in_thread(lambda: rig.source.read(rig.driver.device(1).uuid))
    eventually(lambda: rig.driver.device(1).calls().get("nvmlDeviceGetTotalEnergyConsumption"))
    assert rig.reading(0).memory.total_bytes
    with pytest.raises(DeviceLost, match="still hangs"):
        rig.sweep(1)
    assert len(uuids(rig)) == 3
    rig.driver.device(1).release()
    stuck.join(5)
    assert stuck.outcome.device.device.uuid == rig.driver.device(1).uuid
    assert rig.reading(1).memory.total_bytes


def test_a_device_that_hangs_in_discovery_costs_only_itself(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100(), profiles.h100()], answer_seconds=1, discover=False) as rig:
        rig.driver.device(0).hang("nvmlDeviceGetUUID")
        assert uuids(rig) == [rig.driver.device(1).uuid]
        assert "GPU 0: the driver has not answered" in rig.source.unreadable()[0]
        rig.driver.device(0).release()
        eventually(lambda: len(uuids(rig)) == 2)
        assert rig.source.unreadable() == ()


def test_a_reload_goes_on_beside_a_hanging_reading(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100(), profiles.h100()], answer_seconds=0.5) as rig:
        rig.driver.device(1).hang("nvmlDeviceGetFieldValues")
        stuck = in_thread(lambda: rig.source.read(rig.driver.device(1).uuid))
        eventually(lambda: rig.driver.device(1).calls().get("nvmlDeviceGetFieldValues"))
        rig.driver.reload()
        with pytest.raises(Unavailable):
            rig.sweep(0)
        rig.discover()
        assert rig.reading(0).memory.total_bytes
        rig.driver.device(1).release()
        stuck.join(5)
        assert isinstance(stuck.outcome, Unavailable)
        eventually(lambda: len(uuids(rig)) == 2)
        assert rig.reading(1).memory.total_bytes


def test_devices_are_read_side_by_side(rig):
    for device in rig.driver.devices:
        device.hang("nvmlDeviceGetFieldValues")
    runners = [in_thread(lambda uuid=device.uuid: rig.source.read(uuid)) for device in rig.driver.devices]
    eventually(lambda: all(device.calls().get("nvmlDeviceGetFieldValues") for device in rig.driver.devices))
    for device in rig.driver.devices:
        device.release()
    for runner, device in zip(runners, rig.driver.devices, strict=True):
        runner.join(5)
        assert runner.outcome.device.device.uuid == device.uuid


def watched(rig, times=1):
    eventually(lambda: rig.driver.device(0).calls().get("nvmlDeviceRegisterEvents", 0) >= times)
    eventually(lambda: rig.driver.calls().get("nvmlEventSetWait_v2", 0) >= 1)


def xids(rig, expected):
    seen = []

    def arrived():
        seen.extend(rig.source.drain_xids())
        return len(seen) >= expected

    eventually(arrived)
    return seen


def test_xids_arrive_with_their_device(rig):
    watched(rig)
    rig.driver.device(2).inject_xid(79)
    rig.driver.device(0).inject_xid(13)
    assert xids(rig, 2) == [XidEvent(rig.driver.device(2).uuid, 79), XidEvent(rig.driver.device(0).uuid, 13)]
    assert rig.source.drain_xids() == ()


def test_the_xid_of_a_dying_device_and_those_of_the_others_still_arrive(rig):
    watched(rig)
    rig.driver.device(1).inject_xid(79)
    rig.driver.device(1).lose()
    assert xids(rig, 1) == [XidEvent(rig.driver.device(1).uuid, 79)]
    rig.discover()
    watched(rig, times=2)
    rig.driver.device(0).inject_xid(31)
    assert xids(rig, 1) == [XidEvent(rig.driver.device(0).uuid, 31)]


def test_xids_arrive_after_a_reload(rig):
    watched(rig)
    rig.driver.reload()
    rig.discover()
    watched(rig, times=2)
    rig.driver.device(0).inject_xid(48)
    assert xids(rig, 1) == [XidEvent(rig.driver.device(0).uuid, 48)]


def test_rediscovery_does_not_register_again(rig):
    watched(rig)
    for _ in range(3):
        rig.discover()
    assert rig.driver.device(0).calls()["nvmlDeviceRegisterEvents"] == 1


def test_the_xid_thread_is_a_daemon_and_ends_with_the_source(rig):
    (thread,) = [one for one in threading.enumerate() if one.name == "nvml-xid"]
    assert thread.daemon
    rig.source.close()
    assert not thread.is_alive()


def test_the_clock_of_the_rig_is_the_drivers(rig):
    assert DriverClock(rig.driver).monotonic_ns() == rig.driver.now_ns()


def test_devices_that_share_a_uuid_are_left_out_by_name_until_each_has_its_own(rig):
    one, two, three = rig.driver.devices
    rig.sweep(1, seconds=1)
    three.bear_uuid(two.uuid)
    assert uuids(rig) == uuids(rig) == [one.uuid]
    (said,) = rig.source.unreadable()
    assert said.startswith(f"GPU 1 and GPU 2: all say that they are {two.uuid}, so none of them is read; reboot")
    with pytest.raises(DeviceLost, match="not among the devices"):
        rig.source.read(two.uuid)
    three.bear_uuid(three.uuid)
    assert uuids(rig) == [one.uuid, two.uuid, three.uuid]
    assert rig.source.unreadable() == ()
    assert rig.reading(2, seconds=1).device.uuid == three.uuid
