import ctypes
import math

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.nvml_field_table import fields_of
from collectors.nvml_fields import FIELD_BYTES, _Answers, from_raw
from tests.collectors.nvml_rig import nvml_rig
from tests.fakedriver import profiles

MEMBERS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}


@given(st.binary(min_size=8, max_size=8), st.sampled_from(sorted(MEMBERS)))
def test_a_value_is_what_the_drivers_union_holds_whatever_its_other_bytes_are(raw, kind):
    union = pynvml.c_nvmlValue_t.from_buffer_copy(raw)
    expected = getattr(union, MEMBERS[kind])
    assert from_raw(kind, union.ullVal) == (expected if math.isfinite(expected) else None)


def test_a_type_that_a_newer_driver_has_added_is_absent():
    assert from_raw(99, 5) is None


def test_the_array_is_laid_out_as_the_drivers_struct():
    assert ctypes.sizeof(pynvml.c_nvmlFieldValue_t) == FIELD_BYTES
    answers = _Answers([(186, 1), (94, 0)])
    first, second = (pynvml.c_nvmlFieldValue_t * 2).from_buffer_copy(answers.array)
    assert [(field.fieldId, field.scopeId, field.nvmlReturn) for field in (first, second)] == [
        (186, 1, 0xFFFFFFFF),
        (94, 0, 0xFFFFFFFF),
    ]


def test_a_driver_that_leaves_a_field_alone_gives_no_value_of_before():
    answers = _Answers([(94, 0)])
    answers.ask(lambda *_: 0, ctypes.c_void_p(1))
    assert answers.layout.unpack(answers.array)[1] == 0xFFFFFFFF


@pytest.mark.parametrize("driver", [535, 550, 570, 615])
def test_no_name_is_asked_for_twice(driver):
    names = [field.name for field in fields_of(driver, links=18)]
    assert len(names) == len(set(names))


def test_one_call_brings_all_fields(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()]) as rig:
        rig.reading()
        rig.driver.reset_calls()
        rig.reading(seconds=1)
        assert rig.driver.calls()["nvmlDeviceGetFieldValues"] == 1


def test_a_batch_that_is_refused_as_a_whole_is_absent_and_asked_again_after_a_minute(tmp_path):
    with nvml_rig(tmp_path, [profiles.h100()]) as rig:
        device = rig.driver.device(0)
        device.set(power_mw=70_000)
        device.fail("nvmlDeviceGetFieldValues", pynvml.NVML_ERROR_NO_PERMISSION)
        assert rig.reading().power.instant_watts is None
        device.clear_faults()
        assert rig.reading(seconds=59).power.instant_watts is None
        assert rig.reading(seconds=2).power.instant_watts == 70.0
