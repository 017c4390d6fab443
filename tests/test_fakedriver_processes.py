"""Processes as a driver reports them: sampled, late, in whole percent, sometimes missing."""

from fractions import Fraction

import pytest

from tests.fakedriver import profiles
from tests.fakedriver.driver import Process
from tests.fakedriver.rig import SECOND, loaded

MS = 1_000_000


@pytest.fixture
def rig(tmp_path):
    with loaded(tmp_path, profiles.h100(), uptime_seconds=0) as (driver, pynvml):
        yield driver, driver.device(0), pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)


def shares(pynvml, handle, since=0):
    """(seconds since the start, pid, percent) of each new sample; none where the driver has none."""
    try:
        samples = pynvml.nvmlDeviceGetProcessUtilization(handle, since)
    except pynvml.NVMLError_NotFound:
        return []
    start_us = 1_767_225_600_000_000
    return [((sample.timeStamp - start_us) / 1e6, sample.pid, sample.smUtil) for sample in samples]


def test_processes_are_listed_by_kind_with_their_memory(rig):
    _, device, pynvml, handle = rig
    assert pynvml.nvmlDeviceGetComputeRunningProcesses(handle) == []
    device.processes(
        [
            Process(pid=10, memory_bytes=5 << 30),
            Process(pid=11, memory_bytes=None),
            Process(pid=12, kind="graphics"),
            Process(pid=13, kind="mps"),
        ]
    )
    compute = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    assert [(p.pid, p.usedGpuMemory) for p in compute] == [(10, 5 << 30), (11, None)]
    assert {p.gpuInstanceId for p in compute} == {0xFFFFFFFF}
    assert [p.pid for p in pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle)] == [12]
    assert [p.pid for p in pynvml.nvmlDeviceGetMPSComputeRunningProcesses(handle)] == [13]


def test_processes_come_and_go(rig):
    driver, device, pynvml, handle = rig
    now = driver.now_ns()
    device.processes([Process(pid=1), Process(pid=2, start_ns=now + SECOND), Process(pid=3, end_ns=now + SECOND)])
    listed = lambda: [p.pid for p in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]  # noqa: E731 (read twice)
    assert listed() == [1, 3]
    driver.advance(1)
    assert listed() == [1, 2]
    device.end(1)
    device.start(Process(pid=4))
    assert sorted(listed()) == [2, 4]


def test_a_sample_is_the_whole_percent_of_a_period(rig):
    driver, device, pynvml, handle = rig
    device.processes([Process(pid=7, share=((300 * MS, 0.5), (700 * MS, 0.1), (SECOND, 0.9)))])
    driver.advance(2)
    assert shares(pynvml, handle) == [(1.0, 7, 22), (2.0, 7, 90)]
    assert device.true_share(7, driver.now_ns() - 2 * SECOND, driver.now_ns() - SECOND) == Fraction(22, 100)


def test_only_samples_newer_than_the_last_seen_come(rig):
    driver, device, pynvml, handle = rig
    device.processes([Process(pid=7, share=0.25)])
    driver.advance(3)
    samples = pynvml.nvmlDeviceGetProcessUtilization(handle, 0)
    assert len(samples) == 3
    assert shares(pynvml, handle, samples[1].timeStamp) == [(3.0, 7, 25)]
    assert shares(pynvml, handle, samples[2].timeStamp) == []


def test_samples_are_delivered_late(rig):
    driver, device, pynvml, handle = rig
    device.sampling(period_ms=250, lag_ms=400)
    device.processes([Process(pid=7, share=0.5)])
    driver.advance(0.6)
    assert shares(pynvml, handle) == []
    driver.advance(0.05)
    assert shares(pynvml, handle) == [(0.25, 7, 50)]


def test_the_driver_keeps_only_so_many_samples(rig):
    driver, device, pynvml, handle = rig
    device.sampling(period_ms=1000 / 6, depth=4)
    device.processes([Process(pid=7, share=0.5)])
    driver.advance(10)
    assert len(shares(pynvml, handle)) == 4


def test_idle_processes_are_not_reported(rig):
    driver, device, pynvml, handle = rig
    device.processes([Process(pid=7, share=0.004), Process(pid=8, share=0.3), Process(pid=9)])
    driver.advance(1)
    assert [pid for _, pid, _ in shares(pynvml, handle)] == [8]


def test_missing_samples_depend_on_the_seed_alone(rig):
    driver, device, pynvml, handle = rig
    device.processes([Process(pid=pid, share=0.2) for pid in (7, 8)])
    device.sampling(period_ms=10, missing=0.25, seed=5, depth=2000)
    driver.advance(20)
    first = shares(pynvml, handle)
    assert 2600 < len(first) < 3400
    assert shares(pynvml, handle) == first
    device.sampling(period_ms=10, missing=0.25, seed=6, depth=2000)
    assert shares(pynvml, handle) != first


def test_nothing_new_may_also_be_success_with_no_samples(rig):
    _, device, pynvml, handle = rig
    device.sampling(empty_as_success=True)
    with pytest.raises(pynvml.NVMLError) as caught:
        pynvml.nvmlDeviceGetProcessUtilization(handle, 0)
    assert caught.value.value == pynvml.NVML_SUCCESS


def test_too_small_an_array_is_refused_with_the_size_it_takes(rig):
    driver, device, pynvml, handle = rig
    device.processes([Process(pid=pid, share=0.2) for pid in (7, 8, 9)])
    driver.advance(1)
    array = (pynvml.c_nvmlProcessUtilizationSample_t * 2)()
    count = pynvml.c_uint(2)
    call = pynvml.nvmlLib.nvmlDeviceGetProcessUtilization
    answer = call(handle, array, pynvml.byref(count), pynvml.c_ulonglong(0))
    assert (answer, count.value) == (pynvml.NVML_ERROR_INSUFFICIENT_SIZE, 3)


def test_the_newer_call_says_the_same(rig):
    driver, device, pynvml, handle = rig
    device.processes([Process(pid=7, share=0.4, encoder=0.2, decoder=0.1, memory=0.05)])
    driver.advance(1)
    (sample,) = pynvml.nvmlDeviceGetProcessesUtilizationInfo(handle, 0)
    assert (sample.pid, sample.smUtil, sample.encUtil, sample.decUtil, sample.memUtil) == (7, 40, 20, 10, 5)
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetProcessesUtilizationInfo(handle, sample.timeStamp)


def test_a_share_may_repeat(rig):
    driver, device, pynvml, handle = rig
    device.processes([Process(pid=7, share=((10 * MS, 1.0), (30 * MS, 0.0)), repeat=True)])
    driver.advance(2)
    assert shares(pynvml, handle) == [(1.0, 7, 25), (2.0, 7, 25)]


def test_a_process_that_stays_keeps_its_history(rig):
    driver, device, pynvml, handle = rig
    device.processes([Process(pid=7, share=0.8)])
    driver.advance(0.5)
    device.processes([Process(pid=7, share=0.2), Process(pid=8, share=0.1)])
    driver.advance(0.5)
    assert shares(pynvml, handle) == [(1.0, 7, 50), (1.0, 8, 5)]


def test_sixty_four_processes_fit_and_no_more(rig):
    _, device, pynvml, handle = rig
    device.processes([Process(pid=pid, share=0.01) for pid in range(1, 65)])
    assert len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) == 64
    with pytest.raises(ValueError, match="holds 64 processes"):
        device.start(Process(pid=65))


def test_a_step_of_the_wall_clock_shows_in_the_stamps(rig):
    driver, device, pynvml, handle = rig
    device.processes([Process(pid=7, share=0.8)])
    driver.advance(1)
    driver.step_wall(-30)
    assert shares(pynvml, handle) == [(-29.0, 7, 80)]
