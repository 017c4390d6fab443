"""MIG and GPM on the fake driver."""

import pytest

from tests.fakedriver import profiles
from tests.fakedriver.driver import Process, Segment
from tests.fakedriver.rig import loaded


@pytest.fixture
def rig(tmp_path):
    with loaded(tmp_path, profiles.h100()) as (driver, pynvml):
        yield driver, driver.device(0), pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)


def test_instances_tell_their_ids_slices_and_memory(rig):
    _, device, pynvml, handle = rig
    assert pynvml.nvmlDeviceGetMigMode(handle) == [0, 0]
    small, large = device.mig(["1g.10gb", "3g.40gb"])
    large.set(memory_used_bytes=7 << 30)
    assert pynvml.nvmlDeviceGetMigMode(handle) == [1, 1]
    assert pynvml.nvmlDeviceGetMaxMigDeviceCount(handle) == 7
    mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 1)
    attributes = pynvml.nvmlDeviceGetAttributes(mig)
    assert (attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount) == (3, 3)
    assert attributes.multiprocessorCount == 48
    assert pynvml.nvmlDeviceGetUUID(mig) == large.uuid != small.uuid
    assert pynvml.nvmlDeviceGetName(mig) == "NVIDIA H100 80GB HBM3 MIG 3g.40gb"
    assert pynvml.nvmlDeviceGetGpuInstanceId(mig) == large.gpu_instance_id
    assert pynvml.nvmlDeviceGetComputeInstanceId(mig) == 0
    memory = pynvml.nvmlDeviceGetMemoryInfo(mig, version=pynvml.nvmlMemory_v2)
    assert (memory.total, memory.used) == (40_576 << 20, 7 << 30)
    parent = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig)
    assert pynvml.nvmlDeviceGetUUID(parent) == device.uuid
    whole = pynvml.nvmlDeviceGetGpuInstanceProfileInfo(handle, pynvml.NVML_GPU_INSTANCE_PROFILE_7_SLICE)
    assert (whole.sliceCount, whole.name) == (7, "MIG 7g.80gb")
    assert pynvml.nvmlDeviceGetGpuInstanceProfileInfo(handle, 0, version=1).sliceCount == 1


def test_what_is_left_of_a_profile_depends_on_where_the_others_lie(rig):
    _, device, pynvml, handle = rig
    ids = {profile.name: profile.profile_id for profile in device.profile.mig}

    def left():
        return [pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity(handle, ids[name]) for name in sorted(ids)]

    device.mig([])
    assert left() == [7, 4, 3, 2, 1, 1]
    device.add_mig("3g.40gb", start=0)
    assert left() == [3, 2, 1, 1, 0, 0]
    device.mig([])
    device.add_mig("3g.40gb", start=4)
    assert left() == [4, 2, 2, 1, 1, 0]
    with pytest.raises(ValueError, match="no room for 7g"):
        device.add_mig("7g.80gb")


def test_gpu_instances_are_listed_with_or_without_compute_instances_and_to_the_privileged_alone(rig):
    _, device, pynvml, handle = rig
    first = device.mig(["1c.3g.40gb"])[0]
    device.add_mig("2c.3g.40gb", gpu_instance=first.gpu_instance_id)
    device.add_gpu_instance("3g.40gb")
    found, count = (pynvml.c_nvmlGpuInstance_t * 7)(), pynvml.c_uint(7)
    pynvml.nvmlDeviceGetGpuInstances(handle, 9, found, pynvml.byref(count))
    assert count.value == 2
    device.set(mig_unprivileged=True)
    with pytest.raises(pynvml.NVMLError_NoPermission):
        pynvml.nvmlDeviceGetGpuInstanceRemainingCapacity(handle, 9)


def test_an_empty_slot_is_not_found_and_a_gone_instance_invalid(rig):
    _, device, pynvml, handle = rig
    device.mig(["1g.10gb"])
    mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0)
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 1)
    device.destroy_mig(0)
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetUUID(mig)
    reborn = device.add_mig("1g.10gb")
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetUUID(mig)
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0)) == reborn.uuid


def test_a_new_instance_starts_with_nothing_of_the_old(rig):
    _, device, pynvml, handle = rig
    device.mig(["1g.10gb"])[0].set(memory_used_bytes=1 << 30)
    device.destroy_mig(0)
    device.add_mig("1g.10gb")
    mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0)
    assert pynvml.nvmlDeviceGetMemoryInfo(mig, version=pynvml.nvmlMemory_v2).used == 0


def test_a_gpu_instance_may_hold_several_compute_instances(rig):
    _, device, pynvml, handle = rig
    (first,) = device.mig(["1c.3g.40gb"])
    second = device.add_mig("2c.3g.40gb", gpu_instance=first.gpu_instance_id)
    attributes = pynvml.nvmlDeviceGetAttributes(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 1))
    assert (attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount) == (3, 2)
    assert (second.gpu_instance_id, second.compute_instance_id) == (first.gpu_instance_id, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda p, h: p.nvmlDeviceGetUtilizationRates(h),
        lambda p, h: p.nvmlDeviceGetEncoderUtilization(h),
        lambda p, h: p.nvmlDeviceGetProcessUtilization(h, 0),
        lambda p, h: p.nvmlDeviceGetSamples(h, p.NVML_GPU_UTILIZATION_SAMPLES, 0),
        lambda p, h: p.nvmlDeviceGetRemappedRows(h),
    ],
)
def test_with_mig_on_activity_is_not_supported(rig, call):
    _, device, pynvml, handle = rig
    device.mig(["1g.10gb"])
    with pytest.raises(pynvml.NVMLError_NotSupported):
        call(pynvml, handle)
    with pytest.raises(pynvml.NVMLError_NotSupported):
        call(pynvml, pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0))
    assert pynvml.nvmlDeviceGetPowerUsage(handle) == 70_000


def test_an_instance_has_no_power_of_its_own(rig):
    _, device, pynvml, handle = rig
    device.mig(["1g.10gb"])
    mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0)
    for call in (pynvml.nvmlDeviceGetPowerUsage, pynvml.nvmlDeviceGetTotalEnergyConsumption):
        with pytest.raises(pynvml.NVMLError_NotSupported):
            call(mig)


def test_processes_are_listed_with_their_instance(rig):
    _, device, pynvml, handle = rig
    first, second = device.mig(["1g.10gb", "2g.20gb"])
    device.processes([Process(pid=10, mig=first.slot), Process(pid=20, mig=second.slot)])
    mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 1)
    assert [p.pid for p in pynvml.nvmlDeviceGetComputeRunningProcesses(mig)] == [20]
    whole = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    assert [(p.pid, p.gpuInstanceId) for p in whole] == [(10, first.gpu_instance_id), (20, second.gpu_instance_id)]


def test_seven_instances_fit_and_strange_profiles_are_refused(rig):
    _, device, _, _ = rig
    assert len(device.mig(["1g.10gb"] * 7)) == 7
    with pytest.raises(ValueError, match="seven MIG instances"):
        device.add_mig("1g.10gb")
    with pytest.raises(ValueError, match=r"has no MIG profile 5g\.60gb"):
        device.mig(["5g.60gb"])


def metrics(pynvml, first, second, *ids):
    get = pynvml.c_nvmlGpmMetricsGet_t()
    get.version, get.numMetrics, get.sample1, get.sample2 = pynvml.NVML_GPM_METRICS_GET_VERSION, len(ids), first, second
    for place, identity in enumerate(ids):
        get.metrics[place].metricId = identity
    pynvml.nvmlGpmMetricsGet(get)
    rows = get.metrics[: len(ids)]
    return [row.value if row.nvmlReturn == 0 else -row.nvmlReturn for row in rows]


def test_gpm_is_the_mean_of_the_script_between_two_samples(rig):
    driver, device, pynvml, handle = rig
    device.script(
        [
            Segment.seconds(1, utilization=1.0, sm=0.8, sm_occupancy=0.5, tensor=0.4, dram=0.3),
            Segment.seconds(3, utilization=0.2, sm=0.0, sm_occupancy=0.1, tensor=0.0, dram=0.1),
        ]
    )
    device.set(nvlink_rx_bytes_per_second=3 << 30, pcie_tx_bytes_per_second=1 << 20)
    first, second = pynvml.nvmlGpmSampleAlloc(), pynvml.nvmlGpmSampleAlloc()
    pynvml.nvmlGpmSampleGet(handle, first)
    driver.advance(4)
    pynvml.nvmlGpmSampleGet(handle, second)
    assert metrics(pynvml, first, second, 1, 2, 3, 5, 10) == pytest.approx([40, 20, 20, 10, 15])
    assert metrics(pynvml, first, second, 60, 61, 20, 99) == pytest.approx([3 << 10, 0, 1, -3])
    pynvml.nvmlGpmSampleFree(first)
    pynvml.nvmlGpmSampleFree(second)


def test_gpm_of_an_instance_is_its_own(rig):
    driver, device, pynvml, handle = rig
    mig = device.mig(["1g.10gb", "2g.20gb"])[1]
    mig.set(sm=0.6, graphics=0.9)
    first, second = pynvml.nvmlGpmSampleAlloc(), pynvml.nvmlGpmSampleAlloc()
    pynvml.nvmlGpmMigSampleGet(handle, mig.gpu_instance_id, first)
    driver.advance(1)
    pynvml.nvmlGpmSampleGet(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 1), second)
    assert metrics(pynvml, first, second, 1, 2, 60) == pytest.approx([90, 60, -3])
    pynvml.nvmlGpmSampleGet(handle, first)
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        metrics(pynvml, first, second, 1)
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlGpmMigSampleGet(handle, 42, first)


def test_gpm_is_not_supported_before_hopper(tmp_path):
    with loaded(tmp_path, profiles.a100()) as (_, pynvml):
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        assert pynvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice == 0
        with pytest.raises(pynvml.NVMLError_NotSupported):
            pynvml.nvmlGpmSampleGet(handle, pynvml.nvmlGpmSampleAlloc())
