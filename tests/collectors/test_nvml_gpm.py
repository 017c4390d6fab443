import pynvml
import pytest

from tests.collectors.nvml_rig import nvml_rig
from tests.fakedriver import profiles


@pytest.fixture
def rig(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()]) as rig:
        rig.driver.device(0).set(sm=0.5, utilization=1.0)
        yield rig


def test_the_first_reading_has_nothing_to_compare_with(rig):
    reading = rig.reading()
    assert (reading.activity.sm, reading.activity_source) == (None, "nvml")


def test_two_samples_closer_than_100_ms_give_nothing(rig):
    rig.reading()
    assert rig.reading(seconds=0.1).activity.sm is None
    assert rig.reading(seconds=0.000_001).activity.sm == pytest.approx(0.5)


def test_a_sample_too_close_is_not_taken(rig):
    rig.reading()
    rig.reading(seconds=0.05)
    assert rig.driver.calls()["nvmlGpmSampleGet"] == 1


def test_the_value_is_the_mean_since_the_last_reading(rig):
    rig.reading()
    rig.driver.advance(seconds=1)
    rig.driver.device(0).set(sm=0.1)
    assert rig.reading(seconds=3).activity.sm == pytest.approx(0.2)
    assert rig.reading(seconds=1).activity.sm == pytest.approx(0.1)


def test_two_buffers_serve_for_ever(rig):
    for _ in range(10):
        rig.reading(seconds=1)
    assert rig.driver.calls()["nvmlGpmSampleAlloc"] == 2


def test_streaming_is_never_turned_on(rig):
    for _ in range(3):
        rig.reading(seconds=1)
    assert rig.driver.calls().get("nvmlGpmSetStreamingEnabled", 0) == 0
    assert rig.driver.violations() == {}


def test_turned_off_it_is_not_touched(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()], gpm=False) as rig:
        rig.driver.device(0).set(sm=0.5, utilization=1.0)
        rig.reading()
        reading = rig.reading(seconds=1)
        assert (reading.activity.sm, reading.activity.duty_cycle, reading.activity_source) == (None, 1.0, "nvml")
        assert not [name for name, times in rig.driver.calls().items() if times and "Gpm" in name]


def test_a_chip_without_gpm_is_asked_once(tmp_path):
    with nvml_rig(tmp_path, [profiles.a100()]) as rig:
        for _ in range(3):
            rig.reading(seconds=1)
        calls = rig.driver.calls()
        assert (calls["nvmlGpmQueryDeviceSupport"], calls.get("nvmlGpmSampleGet", 0)) == (1, 0)


def test_a_driver_without_gpm_reads_the_rest(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()], missing_symbols=("nvmlGpmMigSampleGet",)) as rig:
        rig.driver.device(0).set(utilization=1.0)
        rig.reading()
        reading = rig.reading(seconds=1)
        assert (reading.activity.duty_cycle, reading.activity_source) == (1.0, "nvml")


def test_a_sample_that_fails_is_absent_and_the_next_spans_the_gap(rig):
    device = rig.driver.device(0)
    rig.reading()
    device.fail("nvmlGpmSampleGet", pynvml.NVML_ERROR_UNKNOWN)
    assert rig.reading(seconds=1).activity.sm is None
    device.clear_faults()
    device.set(sm=0.0)
    assert rig.reading(seconds=1).activity.sm == pytest.approx(0.25)


def test_samples_of_a_lost_device_are_given_back(rig):
    rig.reading()
    rig.reading(seconds=1)
    rig.source.close()
    calls = rig.driver.calls()
    assert calls["nvmlGpmSampleAlloc"] == calls["nvmlGpmSampleFree"] == 2
