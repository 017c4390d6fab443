import pynvml
import pytest

from collectors.readings import Activity
from tests.collectors.nvml_rig import nvml_rig
from tests.fakedriver import profiles
from tests.fakedriver.driver import Process

GIB = 1 << 30


@pytest.fixture(params=[profiles.h100, profiles.a100], ids=["hopper", "ampere"])
def rig(request, tmp_path):
    with nvml_rig(tmp_path, [request.param()]) as rig:
        yield rig


@pytest.fixture
def hopper(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()]) as rig:
        yield rig


def test_instances_know_which_part_of_the_device_they_own(rig):
    made = rig.driver.device(0).mig(["1g.10gb", "3g.40gb"])
    sweep = rig.sweep(seconds=1)
    assert sweep.device.mig_enabled
    assert [
        (one.mig.uuid, one.mig.profile, one.mig.compute_slices, one.mig.parent_slices) for one in sweep.instances
    ] == [
        (made[0].uuid, "1g.10gb", 1, 7),
        (made[1].uuid, "3g.40gb", 3, 7),
    ]
    assert [one.mig.gpu_instance_id for one in sweep.instances] == [one.gpu_instance_id for one in made]


def test_the_mode_without_an_instance_is_read(rig):
    rig.driver.device(0).mig([])
    sweep = rig.sweep()
    assert (sweep.device.mig_enabled, sweep.instances) == (True, ())


def test_a_device_in_mig_mode_has_no_duty_cycle(rig):
    device = rig.driver.device(0)
    device.set(utilization=0.5, encoder=0.5)
    assert rig.reading().activity.duty_cycle == 0.5
    device.mig(["1g.10gb"])
    activity = rig.reading(seconds=1).activity
    assert (activity.duty_cycle, activity.encoder) == (None, None)


def test_energy_and_power_stay_readable_in_mig_mode(rig):
    device = rig.driver.device(0)
    device.mig(["1g.10gb"])
    device.set(power_mw=250_000)
    reading = rig.reading(seconds=1)
    assert reading.power.gpu_watts == 250.0
    assert reading.energy_mj == device.true_energy_mj(reading.read_ns)


def test_the_duty_cycle_is_back_after_the_mode_was_turned_off(rig):
    device = rig.driver.device(0)
    device.mig(["1g.10gb"])
    rig.sweep(seconds=1)
    device.mig(None)
    device.set(utilization=0.5)
    rig.sweep(seconds=1)
    sweep = rig.sweep(seconds=1)
    assert (sweep.device.mig_enabled, sweep.instances) == (False, ())
    assert sweep.device.activity.duty_cycle == 0.5


def test_a_hopper_instance_has_activity_of_its_own(hopper):
    one, other = hopper.driver.device(0).mig(["1g.10gb", "2g.20gb"])
    one.set(sm=0.5, graphics=0.75, tensor=0.25, dram=0.125, sm_occupancy=0.375, decoder=0.2, jpeg=0.1, ofa=0.3)
    other.set(sm=0.0)
    hopper.sweep()
    first, second = hopper.sweep(seconds=1).instances
    assert first.activity == Activity(
        graphics=0.75, sm=0.5, sm_occupancy=0.375, tensor=0.25, dram=0.125, decoder=0.2, jpeg=0.1, ofa=0.3
    )
    assert first.activity_source == "gpm"
    assert second.activity.sm == 0.0


def test_an_ampere_instance_has_none(tmp_path):
    with nvml_rig(tmp_path, [profiles.a100()]) as rig:
        rig.driver.device(0).mig(["1g.10gb"])[0].set(sm=0.5, graphics=0.75)
        rig.sweep()
        reading = rig.sweep(seconds=1).instances[0]
        assert (reading.activity, reading.activity_source) == (Activity(), None)


def test_each_instance_has_its_own_memory(rig):
    one, other = rig.driver.device(0).mig(["1g.10gb", "2g.20gb"])
    one.set(memory_used_bytes=3 * GIB)
    other.set(memory_used_bytes=5 * GIB)
    assert [reading.memory.used_bytes for reading in rig.sweep(seconds=1).instances] == [3 * GIB, 5 * GIB]


def test_processes_go_to_the_instance_they_run_in(rig):
    device = rig.driver.device(0)
    device.mig(["1g.10gb", "2g.20gb"])
    device.processes(
        [
            Process(pid=10, share=0.5, memory_bytes=GIB, mig=0),
            Process(pid=20, share=0.5, memory_bytes=GIB, mig=1),
            Process(pid=30, share=0.1, memory_bytes=GIB),
        ]
    )
    sweep = rig.sweep(seconds=1)
    assert [[one.pid for one in reading.processes] for reading in sweep.instances] == [[10], [20]]
    assert [one.pid for one in sweep.device.processes] == [30]
    assert all(reading.processes_known for reading in (sweep.device, *sweep.instances))


def test_processes_that_come_move_or_stay_while_instances_change_are_where_they_are_now(rig):
    device = rig.driver.device(0)
    device.mig(["1g.10gb", "2g.20gb"])

    def pids(**slots):
        device.processes([Process(pid=int(pid[1:]), memory_bytes=GIB, mig=slot) for pid, slot in slots.items()])
        sweep = rig.sweep(seconds=1)
        return [[one.pid for one in part.processes] for part in (*sweep.instances, sweep.device)]

    assert pids(p10=0) == [[10], [], []]
    assert pids(p10=0, p20=1) == [[10], [20], []]
    assert pids(p10=1, p20=None) == [[], [10], [20]]
    device.destroy_mig(0)
    assert pids(p10=1, p20=None) == [[10], [20]]


def test_without_the_privilege_for_the_whole_device_the_instances_still_tell_their_processes(rig):
    device = rig.driver.device(0)
    device.set(mig_unprivileged=True)
    device.mig(["1g.10gb", "2g.20gb"])
    device.processes([Process(pid=10, share=0.5, memory_bytes=GIB, mig=0)])
    for _ in range(2):
        sweep = rig.sweep(seconds=1)
        assert not sweep.device.processes_known
        assert [[one.pid for one in reading.processes] for reading in sweep.instances] == [[10], []]
        assert [reading.processes_known for reading in sweep.instances] == [True, True]


def test_lists_that_nobody_may_read_are_unknown_in_the_instances_too(rig):
    device = rig.driver.device(0)
    device.mig(["1g.10gb"])
    for kind in ("Compute", "Graphics", "MPSCompute"):
        device.fail(f"nvmlDeviceGet{kind}RunningProcesses_v3", pynvml.NVML_ERROR_NO_PERMISSION)
    assert not rig.sweep(seconds=1).instances[0].processes_known


def test_an_instance_made_or_destroyed_is_noticed_at_the_next_reading(rig):
    device = rig.driver.device(0)
    first = device.mig(["1g.10gb"])[0]
    assert [one.mig.uuid for one in rig.sweep().instances] == [first.uuid]
    second = device.add_mig("2g.20gb")
    assert [one.mig.uuid for one in rig.sweep().instances] == [first.uuid, second.uuid]
    device.destroy_mig(first.slot)
    assert [one.mig.uuid for one in rig.sweep().instances] == [second.uuid]


def test_an_instance_made_in_the_place_of_another_starts_afresh(hopper):
    device = hopper.driver.device(0)
    first = device.mig(["1g.10gb"])[0]
    first.set(sm=0.5)
    hopper.sweep()
    before = hopper.sweep(seconds=1).instances[0]
    device.destroy_mig(first.slot)
    second = device.add_mig("1g.10gb")
    second.set(sm=0.25)
    fresh = hopper.sweep(seconds=1).instances[0]
    assert fresh.mig.uuid == second.uuid != before.mig.uuid
    assert fresh.activity.sm is None
    assert hopper.sweep(seconds=1).instances[0].activity.sm == 0.25


def test_slices_of_the_parent_come_from_its_largest_profile(tmp_path):
    small = profiles.a100(
        name="NVIDIA A30",
        mig=tuple(
            profiles.MigProfile(name, kind, identity, slices, slices * 14, slices * 6144, 4 // slices)
            for name, kind, identity, slices in (("1g.6gb", 0, 14, 1), ("2g.12gb", 1, 5, 2), ("4g.24gb", 3, 0, 4))
        ),
    )
    with nvml_rig(tmp_path, [small]) as rig:
        rig.driver.device(0).mig(["1g.6gb", "2g.12gb"])
        assert [(one.mig.compute_slices, one.mig.parent_slices) for one in rig.sweep().instances] == [(1, 4), (2, 4)]


def test_compute_instances_of_one_gpu_instance_share_it(hopper):
    device = hopper.driver.device(0)
    first = device.mig(["1c.3g.40gb"])[0]
    second = device.add_mig("2c.3g.40gb", gpu_instance=first.gpu_instance_id)
    first.set(sm=0.5)
    device.processes([Process(pid=10 + slot, share=0.2, memory_bytes=GIB, mig=slot) for slot in range(2)])
    hopper.sweep()
    readings = hopper.sweep(seconds=1).instances
    assert [(one.mig.profile, one.mig.compute_slices) for one in readings] == [("1c.3g.40gb", 1), ("2c.3g.40gb", 2)]
    assert [[process.pid for process in one.processes] for one in readings] == [[10], [11]]
    assert [(one.activity, one.activity_source) for one in readings] == [(Activity(), None)] * 2
    device.destroy_mig(second.slot)
    hopper.sweep(seconds=1)
    assert hopper.sweep(seconds=1).instances[0].activity.sm == 0.5


def test_an_instance_that_cannot_be_identified_is_met_again_at_the_next_reading(rig):
    device = rig.driver.device(0)
    device.mig(["1g.10gb", "2g.20gb"])
    device.fail("nvmlDeviceGetAttributes_v2", pynvml.NVML_ERROR_UNKNOWN)
    assert rig.sweep().instances == ()
    device.clear_faults()
    assert len(rig.sweep().instances) == 2


def test_gpm_samples_of_destroyed_instances_are_given_back(hopper):
    device = hopper.driver.device(0)
    for _ in range(5):
        slot = device.mig(["1g.10gb"])[0]
        hopper.sweep(seconds=1)
        hopper.sweep(seconds=1)
        device.destroy_mig(slot.slot)
        hopper.sweep(seconds=1)
    calls = hopper.driver.calls()
    device_samples = 2
    assert calls["nvmlGpmSampleAlloc"] - calls["nvmlGpmSampleFree"] == device_samples


def stranded(rig, seconds=1):
    return rig.sweep(seconds=seconds).stranded_slices


@pytest.mark.parametrize(
    ("layout", "left"),
    [
        ([("3g.40gb", 0), ("3g.40gb", 4)], 1),
        ([("1g.20gb", start) for start in (0, 2, 4, 6)], 3),
        ([("3g.40gb", 4)], 0),
        ([("3g.40gb", 0)], 1),
        ([("4g.40gb", 0), ("2g.20gb", 4)], 0),
        ([("1g.10gb", start) for start in range(7)], 0),
        ([("7g.80gb", 0)], 0),
    ],
)
def test_slices_that_no_profile_can_use_are_counted_by_what_fits_beside_the_instances(rig, layout, left):
    device = rig.driver.device(0)
    device.mig([])
    for profile, start in layout:
        device.add_mig(profile, start=start)
    assert stranded(rig) == left


def test_without_instances_or_mig_mode_nothing_is_stranded(rig):
    assert stranded(rig) is None
    rig.driver.device(0).mig([])
    assert stranded(rig) is None


def test_without_the_privilege_to_ask_what_is_stranded_is_not_known(rig):
    device = rig.driver.device(0)
    device.set(mig_unprivileged=True)
    device.mig(["3g.40gb", "3g.40gb"])
    assert stranded(rig) is None


def test_a_driver_without_the_function_tells_nothing_of_what_is_stranded(tmp_path):
    missing = ("nvmlDeviceGetGpuInstanceRemainingCapacity",)
    with nvml_rig(tmp_path, [profiles.a100()], missing_symbols=missing) as rig:
        rig.driver.device(0).mig(["3g.40gb", "3g.40gb"])
        assert stranded(rig) is None
        assert len(rig.sweep().instances) == 2


def test_a_gpu_instance_without_compute_instances_strands_nothing_of_itself(rig):
    device = rig.driver.device(0)
    device.mig([])
    device.add_mig("3g.40gb", start=4)
    slot = device.add_gpu_instance("3g.40gb")
    assert stranded(rig) == 1
    device.destroy_gpu_instance(slot)
    assert stranded(rig, seconds=600) == 0


def test_slices_of_a_gpu_instance_that_no_compute_instance_has_are_not_stranded(rig):
    device = rig.driver.device(0)
    first = device.mig(["1c.3g.40gb"])[0]
    device.add_mig("1c.3g.40gb", gpu_instance=first.gpu_instance_id)
    device.add_mig("3g.40gb")
    sweep = rig.sweep(seconds=1)
    assert sum(one.mig.compute_slices for one in sweep.instances) == 5
    assert sweep.stranded_slices == 1


def test_what_is_stranded_is_asked_when_the_layout_changed_once_more_soon_and_then_rarely(rig):
    device = rig.driver.device(0)
    device.mig(["3g.40gb"])
    rig.sweep(seconds=1)

    def asked(seconds):
        before = rig.driver.calls()["nvmlDeviceGetGpuInstanceRemainingCapacity"]
        rig.sweep(seconds=seconds)
        return rig.driver.calls()["nvmlDeviceGetGpuInstanceRemainingCapacity"] > before

    assert [asked(seconds) for seconds in (1, 8, 2, 1, 590, 10)] == [False, False, True, False, False, True]
    device.add_mig("3g.40gb")
    assert asked(1)


def test_a_refusal_is_put_again_after_the_next_discovery(rig):
    device = rig.driver.device(0)
    device.mig(["3g.40gb", "3g.40gb"])
    device.fail("nvmlDeviceGetGpuInstanceRemainingCapacity", pynvml.NVML_ERROR_UNKNOWN)
    assert [stranded(rig) for _ in range(2)] == [None, None]  # all is asked twice after a change of mode
    device.clear_faults()
    assert stranded(rig) is None
    rig.discover()
    assert stranded(rig) == 1
