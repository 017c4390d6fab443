import pynvml
import pytest

from collectors.errors import DeviceLost, Unavailable, Unsupported
from collectors.nvml_errors import Asking, DriverGone, error_class, error_of, raise_if_fatal

MINUTE_NS = 60_000_000_000


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (pynvml.NVML_ERROR_UNINITIALIZED, DriverGone),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, DriverGone),
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, DriverGone),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, DriverGone),
        (pynvml.NVML_ERROR_GPU_IS_LOST, DeviceLost),
        (pynvml.NVML_ERROR_RESET_REQUIRED, DeviceLost),
        (pynvml.NVML_ERROR_NOT_SUPPORTED, Unsupported),
        (pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, Unsupported),
        (pynvml.NVML_ERROR_INVALID_ARGUMENT, Unsupported),
        (pynvml.NVML_ERROR_NO_PERMISSION, Unavailable),
        (pynvml.NVML_ERROR_TIMEOUT, Unavailable),
        (pynvml.NVML_ERROR_UNKNOWN, Unavailable),
        (4711, Unavailable),
    ],
)
def test_each_code_has_one_error(code, expected):
    assert error_class(code) is expected


def test_an_error_names_what_was_asked_and_the_remedy():
    error = error_of(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "NVIDIA driver")
    assert str(error).startswith("NVIDIA driver: libnvidia-ml.so.1 not found: install the NVIDIA driver")
    assert "NVIDIA_DRIVER_CAPABILITIES=utility" in str(error)


def test_a_code_without_a_remedy_is_told_with_its_number():
    assert "(NVML code 24)" in str(error_of(24, "GPU 0"))


def test_the_failure_of_one_value_does_not_stop_a_reading():
    assert raise_if_fatal(pynvml.NVML_ERROR_NOT_SUPPORTED, "GPU 0") is Unsupported


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNINITIALIZED])
def test_the_loss_of_device_or_driver_does(code):
    with pytest.raises(Unavailable, match="GPU 0"):
        raise_if_fatal(code, "GPU 0")


def test_what_is_unsupported_is_not_asked_again_until_told_to():
    asking = Asking()
    asking.refused(pynvml.NVML_ERROR_NOT_SUPPORTED, 0)
    assert asking.unsupported
    assert not asking.due(1000 * MINUTE_NS)
    asking.forget()
    assert asking.due(0)


def test_permission_is_asked_for_again_after_a_minute():
    asking = Asking()
    asking.refused(pynvml.NVML_ERROR_NO_PERMISSION, 5)
    assert not asking.due(MINUTE_NS)
    assert not asking.unsupported
    assert asking.due(5 + MINUTE_NS)


def test_a_passing_failure_is_asked_again_at_once():
    asking = Asking()
    asking.refused(pynvml.NVML_ERROR_TIMEOUT, 5)
    assert asking.due(5)
