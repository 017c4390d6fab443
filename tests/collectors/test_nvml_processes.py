import pynvml
import pytest

from collectors.readings import ProcessReading, ShareSample
from tests.collectors.nvml_rig import nvml_rig
from tests.fakedriver import profiles
from tests.fakedriver.driver import Process

GIB = 1 << 30


@pytest.fixture
def rig(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()]) as rig:
        yield rig


def test_no_process_is_known_to_be_none(rig):
    reading = rig.reading()
    assert (reading.processes, reading.processes_known) == ((), True)


def test_a_process_is_read_with_its_memory(rig):
    rig.driver.device(0).processes([Process(pid=4711, share=0.4, memory_bytes=8 * GIB)])
    assert rig.reading(seconds=1).processes == (ProcessReading(4711, "compute", 8 * GIB),)


def test_memory_that_is_not_available_is_absent(rig):
    rig.driver.device(0).processes([Process(pid=4711, share=0.4, memory_bytes=None)])
    assert rig.reading(seconds=1).processes == (ProcessReading(4711, "compute", None),)


def test_each_list_names_its_kind(rig):
    rig.driver.device(0).processes(
        [
            Process(pid=pid, share=0.1, memory_bytes=GIB, kind=kind)
            for pid, kind in ((1, "compute"), (2, "graphics"), (3, "mps"))
        ]
    )
    assert {one.pid: one.kind for one in rig.reading(seconds=1).processes} == {1: "compute", 2: "graphics", 3: "mps"}


def test_a_process_in_two_lists_appears_once_as_compute_with_the_larger_memory(rig):
    device = rig.driver.device(0)
    device.processes(
        [
            Process(pid=7, share=0.1, memory_bytes=GIB, kind="compute"),
            Process(pid=8, share=0.0, memory_bytes=3 * GIB, kind="graphics"),
        ]
    )
    for row in device._device.processes:
        row.pid = min(row.pid, 7)
    assert rig.reading(seconds=1).processes == (ProcessReading(7, "compute", 3 * GIB),)


def test_more_processes_than_the_first_array_holds_are_all_read(rig, monkeypatch):
    monkeypatch.setattr("collectors.nvml_processes._ROOM", 2)
    rig.source.close()
    rig.discover()
    rig.driver.device(0).processes([Process(pid=pid, share=0.01, memory_bytes=GIB) for pid in range(1, 41)])
    reading = rig.reading(seconds=2)
    assert {one.pid for one in reading.processes} == set(range(1, 41))
    assert {one.pid for one in reading.share_samples} == set(range(1, 41))


def test_processes_that_leave_are_gone_in_the_next_reading(rig):
    device = rig.driver.device(0)
    device.processes([Process(pid=1, share=0.1, memory_bytes=GIB)])
    assert len(rig.reading(seconds=1).processes) == 1
    device.processes([])
    assert rig.reading(seconds=1).processes == ()


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NO_PERMISSION, pynvml.NVML_ERROR_UNKNOWN])
def test_a_list_that_could_not_be_read_is_unknown_not_empty(rig, code):
    rig.driver.device(0).fail("nvmlDeviceGetComputeRunningProcesses_v3", code)
    for _ in range(2):
        reading = rig.reading(seconds=1)
        assert (reading.processes, reading.processes_known) == ((), False)


def test_a_list_that_the_device_does_not_have_hides_nothing(rig):
    device = rig.driver.device(0)
    device.fail("nvmlDeviceGetGraphicsRunningProcesses_v3", pynvml.NVML_ERROR_NOT_SUPPORTED)
    device.processes([Process(pid=1, share=0.1, memory_bytes=GIB)])
    for _ in range(2):
        reading = rig.reading(seconds=1)
        assert ([one.pid for one in reading.processes], reading.processes_known) == ([1], True)


def test_an_older_driver_answers_by_the_second_version(tmp_path):
    missing = tuple(f"nvmlDeviceGet{kind}RunningProcesses_v3" for kind in ("Compute", "Graphics", "MPSCompute"))
    with nvml_rig(tmp_path, [profiles.h100()], missing_symbols=missing) as rig:
        rig.driver.device(0).processes([Process(pid=1, share=0.1, memory_bytes=GIB)])
        reading = rig.reading(seconds=1)
        assert (reading.processes, reading.processes_known) == ((ProcessReading(1, "compute", GIB),), True)


def test_a_driver_with_neither_version_leaves_them_unknown(tmp_path):
    kinds = ("Compute", "Graphics", "MPSCompute")
    missing = tuple(f"nvmlDeviceGet{kind}RunningProcesses_v{version}" for kind in kinds for version in (2, 3))
    with nvml_rig(tmp_path, [profiles.h100()], missing_symbols=missing) as rig:
        assert not rig.reading().processes_known


def test_shares_are_ratios_with_the_drivers_stamp(rig):
    rig.driver.device(0).processes(
        [Process(pid=1, share=0.4, memory_bytes=GIB), Process(pid=2, share=0.25, memory_bytes=GIB)]
    )
    samples = rig.reading(seconds=3).share_samples
    assert {sample.pid for sample in samples} == {1, 2}
    assert {(sample.pid, sample.sm) for sample in samples} == {(1, 0.4), (2, 0.25)}
    assert all(
        isinstance(sample, ShareSample) and sample.timestamp_us <= rig.driver.wall_ns() // 1000 for sample in samples
    )


def test_a_sample_is_handed_out_once(rig):
    rig.driver.device(0).processes([Process(pid=1, share=0.4, memory_bytes=GIB)])
    first, again, later = (rig.reading(seconds=seconds).share_samples for seconds in (3, 0, 2))
    assert first
    assert again == ()
    assert min(sample.timestamp_us for sample in later) > max(sample.timestamp_us for sample in first)


@pytest.mark.parametrize("empty_as_success", [False, True])
def test_no_new_sample_is_no_error(rig, empty_as_success):
    rig.driver.device(0).sampling(empty_as_success=empty_as_success)
    reading = rig.reading(seconds=1)
    assert reading.share_samples == ()
    assert reading.processes_known


def test_samples_go_on_after_the_wall_clock_stepped_back(rig):
    rig.driver.device(0).processes([Process(pid=1, share=0.4, memory_bytes=GIB)])
    assert rig.reading(seconds=3).share_samples
    rig.driver.step_wall(-3600)
    rig.reading(seconds=1)
    assert rig.reading(seconds=3).share_samples
