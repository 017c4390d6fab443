import pytest

from collectors.readings import (
    Activity,
    Clocks,
    DeviceFacts,
    DeviceSweep,
    Faults,
    GpuReading,
    Links,
    Memory,
    MigFacts,
    Power,
    ProcessReading,
    Thermals,
    Throttle,
)
from exporters import catalogue_gpu
from exporters.exposition import render
from exporters.gpu_families import STANDS_IN, DeviceHealth, GpuFamilies
from exporters.metric import PREFIX
from exporters.metric_choice import EVERYTHING, GROUPS, STANDARD, MetricChoice

SECOND = 1_000_000_000
DEVICE = DeviceFacts("GPU-1", 0, "NVIDIA H100 80GB HBM3", "0000:18:00.0", "165", "580.95.05", "hopper")
SLICE = MigFacts("MIG-1", 3, 0, "2g.20gb", 2, 7)


def full_reading(**changes):
    values = {
        "device": DEVICE,
        "read_ns": 1,
        "activity": Activity(0.9, 0.4, 0.1, 0.2, 0.3, 0.05, 0.88, 0.7, 0.35, 0.5, 0.25),
        "activity_source": "gpm",
        "memory": Memory(80, 40, 1),
        "power": Power(301.5, 310.0, 300.0, 450.0, 700.0),
        "thermals": Thermals(61.0, 70.0),
        "clocks": Clocks(1.98e9, 2.6e9, 1.98e9, 1.5e9),
        "throttle": Throttle(frozenset({"sw_power_cap"}), {"sw_power_cap": 1_500_000_000}),
        "faults": Faults(
            {("volatile", "corrected"): 3, ("aggregate", "uncorrected"): 1},
            {"corrected": 2},
            remap_pending=False,
            remap_failure=True,
            pcie_replays=5,
            nvlink_errors={"crc_flit": 7},
        ),
        "links": Links(1.0, 2.0, 3.0, 4.0, 5, 6),
        "processes": (ProcessReading(1, "compute"), ProcessReading(2, "compute"), ProcessReading(3, "mps")),
    }
    return GpuReading(**{**values, **changes})


def lines(sweeps, source="nvml", choice=EVERYTHING):
    page = render(GpuFamilies("n1", source, choice).families(sweeps), openmetrics=False).decode()
    return [
        line.removeprefix("wattledger_").replace('node="n1",', "")
        for line in page.splitlines()
        if not line.startswith("#")
    ]


def test_a_device_is_shown_whole_and_as_read():
    assert lines([DeviceSweep(full_reading())]) == [
        'gpu_info{gpu_uuid="GPU-1",gpu="0",model="NVIDIA H100 80GB HBM3",driver="580.95.05",source="nvml"} 1',
        'gpu_board_info{gpu_uuid="GPU-1",pci_bus_id="0000:18:00.0",serial="165",architecture="hopper"} 1',
        'gpu_memory_used_bytes{gpu_uuid="GPU-1",mig=""} 40',
        'gpu_memory_total_bytes{gpu_uuid="GPU-1",mig=""} 80',
        'gpu_memory_reserved_bytes{gpu_uuid="GPU-1",mig=""} 1',
        'gpu_utilization_ratio{gpu_uuid="GPU-1",mig="",source="nvml"} 0.9',
        'gpu_memory_controller_utilization_ratio{gpu_uuid="GPU-1",mig="",source="nvml"} 0.4',
        'gpu_encoder_utilization_ratio{gpu_uuid="GPU-1",mig="",source="nvml"} 0.1',
        'gpu_decoder_utilization_ratio{gpu_uuid="GPU-1",mig="",source="nvml"} 0.2',
        'gpu_jpeg_utilization_ratio{gpu_uuid="GPU-1",mig="",source="nvml"} 0.3',
        'gpu_ofa_utilization_ratio{gpu_uuid="GPU-1",mig="",source="nvml"} 0.05',
        'gpu_graphics_activity_ratio{gpu_uuid="GPU-1",mig="",source="gpm"} 0.88',
        'gpu_sm_activity_ratio{gpu_uuid="GPU-1",mig="",source="gpm"} 0.7',
        'gpu_sm_occupancy_ratio{gpu_uuid="GPU-1",mig="",source="gpm"} 0.35',
        'gpu_tensor_activity_ratio{gpu_uuid="GPU-1",mig="",source="gpm"} 0.5',
        'gpu_dram_activity_ratio{gpu_uuid="GPU-1",mig="",source="gpm"} 0.25',
        'gpu_processes{gpu_uuid="GPU-1",mig="",type="compute"} 2',
        'gpu_processes{gpu_uuid="GPU-1",mig="",type="graphics"} 0',
        'gpu_processes{gpu_uuid="GPU-1",mig="",type="mps"} 1',
        'gpu_mig_enabled{gpu_uuid="GPU-1"} 0',
        'gpu_power_instant_watts{gpu_uuid="GPU-1"} 310.0',
        'gpu_power_average_watts{gpu_uuid="GPU-1"} 300.0',
        'gpu_power_limit_watts{gpu_uuid="GPU-1"} 700.0',
        'gpu_temperature_celsius{gpu_uuid="GPU-1"} 61.0',
        'gpu_memory_temperature_celsius{gpu_uuid="GPU-1"} 70.0',
        'gpu_remap_pending{gpu_uuid="GPU-1"} 0',
        'gpu_remap_failed{gpu_uuid="GPU-1"} 1',
        'gpu_pcie_replays_total{gpu_uuid="GPU-1"} 5',
        'gpu_pcie_receive_bytes_per_second{gpu_uuid="GPU-1"} 1.0',
        'gpu_pcie_transmit_bytes_per_second{gpu_uuid="GPU-1"} 2.0',
        'gpu_nvlink_receive_bytes_per_second{gpu_uuid="GPU-1"} 3.0',
        'gpu_nvlink_transmit_bytes_per_second{gpu_uuid="GPU-1"} 4.0',
        'gpu_pcie_receive_bytes_total{gpu_uuid="GPU-1"} 5',
        'gpu_pcie_transmit_bytes_total{gpu_uuid="GPU-1"} 6',
        'gpu_power_watts{gpu_uuid="GPU-1",scope="gpu"} 301.5',
        'gpu_power_watts{gpu_uuid="GPU-1",scope="module"} 450.0',
        'gpu_clock_hertz{gpu_uuid="GPU-1",clock="sm"} 1980000000.0',
        'gpu_clock_hertz{gpu_uuid="GPU-1",clock="memory"} 2600000000.0',
        'gpu_clock_hertz{gpu_uuid="GPU-1",clock="graphics"} 1980000000.0',
        'gpu_clock_hertz{gpu_uuid="GPU-1",clock="video"} 1500000000.0',
        'gpu_throttled{gpu_uuid="GPU-1",reason="sw_power_cap"} 1',
        'gpu_ecc_volatile_errors_total{gpu_uuid="GPU-1",severity="corrected"} 3',
        'gpu_ecc_aggregate_errors_total{gpu_uuid="GPU-1",severity="uncorrected"} 1',
        'gpu_remapped_rows_total{gpu_uuid="GPU-1",severity="corrected"} 2',
        'gpu_nvlink_errors_total{gpu_uuid="GPU-1",type="crc_flit"} 7',
        'gpu_throttle_seconds_total{gpu_uuid="GPU-1",reason="sw_power_cap"} 1.500000000',
    ]


def test_what_a_device_does_not_tell_has_no_series():
    bare = GpuReading(DEVICE, 1, processes_known=False)
    assert [line.split("{")[0] for line in lines([DeviceSweep(bare)])] == [
        "gpu_info",
        "gpu_board_info",
        "gpu_mig_enabled",
    ]


def test_a_mig_instance_bears_its_parents_uuid_and_its_own():
    instance = GpuReading(DEVICE, 1, mig=SLICE, activity=Activity(graphics=0.5, encoder=0.1), activity_source="dcgm")
    device = GpuReading(DEVICE, 1, mig_enabled=True, processes_known=False)
    shown = [line for line in lines([DeviceSweep(device, (instance,))]) if "MIG-1" in line]
    assert shown == [
        'mig_info{gpu_uuid="GPU-1",mig="MIG-1",profile="2g.20gb",gpu_instance="3",compute_instance="0"} 1',
        'mig_slices_ratio{gpu_uuid="GPU-1",mig="MIG-1"} 0.2857142857142857',
        'gpu_encoder_utilization_ratio{gpu_uuid="GPU-1",mig="MIG-1",source="dcgm"} 0.1',
        'gpu_graphics_activity_ratio{gpu_uuid="GPU-1",mig="MIG-1",source="dcgm"} 0.5',
        'gpu_processes{gpu_uuid="GPU-1",mig="MIG-1",type="compute"} 0',
        'gpu_processes{gpu_uuid="GPU-1",mig="MIG-1",type="graphics"} 0',
        'gpu_processes{gpu_uuid="GPU-1",mig="MIG-1",type="mps"} 0',
    ]


def test_nothing_simulated_can_be_taken_for_a_measurement():
    shown = lines([DeviceSweep(full_reading(activity_source="simulated"))], source="simulated")
    assert {line.split('source="')[1].split('"')[0] for line in shown if "source=" in line} == {"simulated"}


def test_a_lost_device_is_down_and_ages_beside_one_that_answers():
    health = [
        DeviceHealth("GPU-1", up=True, age_seconds=0.2, implausible=("energy_still",)),
        DeviceHealth("GPU-2", up=False, age_seconds=61.5),
        DeviceHealth("GPU-3", up=False, age_seconds=None),
    ]
    page = render(GpuFamilies("n1", "nvml").health_families(health), openmetrics=False).decode()
    assert [line for line in page.splitlines() if not line.startswith("#")] == [
        'wattledger_gpu_up{node="n1",gpu_uuid="GPU-1"} 1',
        'wattledger_gpu_up{node="n1",gpu_uuid="GPU-2"} 0',
        'wattledger_gpu_up{node="n1",gpu_uuid="GPU-3"} 0',
        'wattledger_gpu_age_seconds{node="n1",gpu_uuid="GPU-1"} 0.2',
        'wattledger_gpu_age_seconds{node="n1",gpu_uuid="GPU-2"} 61.5',
        'wattledger_gpu_implausible{node="n1",gpu_uuid="GPU-1",check="energy_still"} 1',
    ]


def test_xids_are_counted_by_device_and_number():
    family = GpuFamilies("n1", "nvml").xid_family({("GPU-1", 79): 2})
    assert family.lines == [('wattledger_gpu_xid_errors_total{node="n1",gpu_uuid="GPU-1",xid="79"} ', 2)]


def test_every_metric_of_a_device_is_served_by_some_family():
    families = GpuFamilies("n1", "nvml")
    served = [family.metric for family in families.families([]) + families.health_families([])]
    assert {metric.name for metric in [*served, families.xid_family({}).metric]} == {
        metric.name for metric in catalogue_gpu.ALL
    }


@pytest.mark.parametrize("sweeps", [[], [DeviceSweep(full_reading())]])
def test_calling_twice_gives_the_same(sweeps):
    families = GpuFamilies("n1", "nvml")
    assert families.families(sweeps) == families.families(sweeps)


REASONS = ("sw_power_cap", "sw_thermal", "hw_thermal", "hw_power_brake", "thermal", "sync_boost", "app_clocks")
SEVERITIES = [(life, kind) for life in ("volatile", "aggregate") for kind in ("corrected", "uncorrected")]
TELLS_ALL = {
    "throttle": Throttle(frozenset({"sw_power_cap"}), dict.fromkeys(REASONS, 0)),
    "faults": Faults(
        dict.fromkeys(SEVERITIES, 0),
        {"corrected": 0, "uncorrected": 0},
        remap_pending=False,
        remap_failure=False,
        pcie_replays=0,
        nvlink_errors=dict.fromkeys(("crc_flit", "crc_data", "replay", "recovery"), 0),
    ),
    "power": Power(301.5, 310.0, 300.0, None, 700.0),
}
"""What an H100 reads: the power of a module is told by boards that bear a CPU as well."""
STANDARD_SERIES = """\
gpu_info gpu_memory_used_bytes gpu_memory_total_bytes gpu_utilization_ratio gpu_sm_activity_ratio
gpu_tensor_activity_ratio gpu_dram_activity_ratio gpu_power_limit_watts gpu_temperature_celsius
gpu_memory_temperature_celsius gpu_remap_pending gpu_remap_failed gpu_pcie_replays_total
gpu_nvlink_receive_bytes_per_second gpu_nvlink_transmit_bytes_per_second
gpu_pcie_receive_bytes_total gpu_pcie_transmit_bytes_total
gpu_power_watts{scope="gpu"} gpu_clock_hertz{clock="sm"} gpu_ecc_volatile_errors_total{severity="uncorrected"}
gpu_remapped_rows_total{severity="corrected"} gpu_remapped_rows_total{severity="uncorrected"}
gpu_throttle_seconds_total{reason="sw_power_cap"} gpu_throttle_seconds_total{reason="sw_thermal"}
gpu_throttle_seconds_total{reason="hw_thermal"} gpu_throttle_seconds_total{reason="hw_power_brake"}
"""


def keys(shown):
    """The series without what tells devices apart."""
    found = []
    for line in shown:
        name, _, labels = line.rpartition(" ")[0].partition("{")
        own = [label for label in labels.rstrip("}").split(",") if label.split("=")[0] in KEYS]
        found.append(f"{name}{{{own[0]}}}" if own else name)
    return found


KEYS = ("scope", "clock", "reason", "severity", "type")


def test_the_standard_series_of_a_device_that_tells_everything_are_these():
    shown = keys(lines([DeviceSweep(full_reading(**TELLS_ALL))], choice=STANDARD))
    assert shown == STANDARD_SERIES.split()


def test_a_mig_instance_has_eight_standard_series():
    instance = full_reading(mig=SLICE, activity=Activity(None, None, 0.1, 0.2, 0.3, 0.05, 0.88, 0.7, 0.35, 0.5, 0.25))
    shown = [line for line in lines([DeviceSweep(full_reading(), (instance,))], choice=STANDARD) if "MIG-1" in line]
    assert keys(shown) == [
        "mig_info", "gpu_memory_used_bytes", "gpu_memory_total_bytes", "mig_slices_ratio",
        "gpu_graphics_activity_ratio", "gpu_sm_activity_ratio", "gpu_tensor_activity_ratio", "gpu_dram_activity_ratio",
    ]  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_adds_its_series_and_no_others(group):
    sweeps = [DeviceSweep(full_reading(**TELLS_ALL))]
    standard, more = (set(lines(sweeps, choice=choice)) for choice in (STANDARD, MetricChoice.of([group])))
    of_group = {metric.name for metric in catalogue_gpu.ALL if metric.group == group}
    assert standard <= more
    assert {PREFIX + line.split("{")[0] for line in more - standard} == of_group


def test_all_groups_together_are_everything():
    sweeps = [DeviceSweep(full_reading(**TELLS_ALL))]
    assert lines(sweeps, choice=MetricChoice.of(["all"])) == lines(sweeps)
    assert lines(sweeps, choice=MetricChoice.of(GROUPS)) == lines(sweeps)


def standing_in(readings):
    """What stands in at each of these readings, one after the other."""
    families, stand_ins = GpuFamilies("n1", "nvml", STANDARD), {name.removeprefix(PREFIX) for name in STANDS_IN}
    pages = [families.families([DeviceSweep(full_reading(**changes))]) for changes in readings]
    return [{family.metric.name.removeprefix(PREFIX) for family in page if family.lines} & stand_ins for page in pages]


@pytest.mark.parametrize(
    ("lacking", "shown"),
    [
        ({"activity": Activity(duty_cycle=None, graphics=0.5, dram=0.1)}, {"gpu_graphics_activity_ratio"}),
        ({"activity": Activity(duty_cycle=0.5, memory_controller=0.5)}, {"gpu_memory_controller_utilization_ratio"}),
        ({"throttle": Throttle(frozenset({"sw_power_cap"}))}, {"gpu_throttled"}),
        (
            {"links": Links(1.0, 2.0)},
            {"gpu_pcie_receive_bytes_per_second", "gpu_pcie_transmit_bytes_per_second"},
        ),
    ],
)
def test_where_a_device_lacks_a_standard_figure_another_stands_in_under_its_own_name(lacking, shown):
    assert standing_in([{"read_ns": at_ns} for at_ns in (1, 11 * SECOND)])[-1] == set()
    assert standing_in([{"read_ns": at_ns, **lacking} for at_ns in (1, 11 * SECOND)])[-1] == shown


def test_nothing_stands_in_for_what_is_missing_for_a_moment():
    told, missed = {"activity": Activity(duty_cycle=0.5, dram=0.1)}, {"activity": Activity(memory_controller=0.5)}
    moments = [(1, missed), (2, told), (3, missed), (602, missed), (603, told), (604, missed), (1300, missed)]

    found = standing_in([{"read_ns": at_s * SECOND, **changes} for at_s, changes in moments])

    both = {"gpu_memory_controller_utilization_ratio"}
    # the counters' first sample is no lack of theirs
    assert found == [set(), set(), set(), both, set(), set(), both]


def test_thermal_throttling_is_told_whichever_way_the_driver_counts_it():
    def reasons(*told):
        reading = full_reading(throttle=Throttle(frozenset(), dict.fromkeys(told, 0)))
        shown = lines([DeviceSweep(reading)], choice=STANDARD)
        return [line.split('reason="')[1].split('"')[0] for line in shown if "throttle_seconds" in line]

    assert reasons("sw_power_cap", "thermal", "sync_boost") == ["sw_power_cap", "thermal"]
    assert reasons("thermal", "sw_thermal", "hw_thermal") == ["sw_thermal", "hw_thermal"]


def test_every_stand_in_of_a_device_is_declared_as_one():
    assert {metric.name for metric in catalogue_gpu.ALL if metric.stands_in_for} == set(STANDS_IN)
