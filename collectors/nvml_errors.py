"""One map from NVML return code to our error, and when a refused question may be put again.

Unsupported   this chip or this driver's version has no such thing: not asked again until the next discovery
Unavailable   not now; no permission is asked again each minute, everything else at the next reading
DeviceLost    the device does not answer
DriverGone    the driver as a whole does not (unloaded, reloaded, replaced): initialize anew
"""

import pynvml

from collectors.errors import DeviceLost, SourceError, Unavailable, Unsupported

PERMISSION_RETRY_NS = 60_000_000_000
NEVER_NS = 1 << 63


class DriverGone(Unavailable):
    """The driver does not answer for any device; the next discovery initializes it anew."""


_ERRORS: dict[int, type[SourceError]] = {
    pynvml.NVML_ERROR_UNINITIALIZED: DriverGone,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: DriverGone,
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: DriverGone,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: DriverGone,
    pynvml.NVML_ERROR_GPU_IS_LOST: DeviceLost,
    pynvml.NVML_ERROR_RESET_REQUIRED: DeviceLost,
    pynvml.NVML_ERROR_GPU_NOT_FOUND: DeviceLost,
    pynvml.NVML_ERROR_NOT_SUPPORTED: Unsupported,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: Unsupported,
    pynvml.NVML_ERROR_INVALID_ARGUMENT: Unsupported,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: Unsupported,
    pynvml.NVML_ERROR_DEPRECATED: Unsupported,
    pynvml.NVML_ERROR_VGPU_ECC_NOT_SUPPORTED: Unsupported,
}
"""Codes that are not here are :class:`Unavailable`: absent in this reading, asked again in the next.

An invalid argument to a getter is an id or version that this driver does not know.
"""

_REMEDIES: dict[int, str] = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "libnvidia-ml.so.1 not found: install the NVIDIA driver, or mount it into the container"
        " (NVIDIA_DRIVER_CAPABILITIES=utility, or a volume holding the driver's libraries on LD_LIBRARY_PATH)"
    ),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (
        "the NVIDIA kernel driver is not loaded: load it (modprobe nvidia), or wait until its reload is over"
    ),
    pynvml.NVML_ERROR_UNINITIALIZED: "the NVIDIA driver was reloaded: it is initialized again at the next discovery",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "libnvidia-ml.so.1 and the loaded kernel driver are of different versions, as after an upgrade:"
        " reload the driver or reboot the node, then restart this process so that it opens the new library"
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: (
        "no permission on the device: run as root or give the container /dev/nvidiactl and /dev/nvidia*"
        " (NVIDIA_VISIBLE_DEVICES=all)"
    ),
    pynvml.NVML_ERROR_OPERATING_SYSTEM: (
        "the operating system refused the call: check the device cgroup and the rights on /dev/nvidia*"
    ),
    pynvml.NVML_ERROR_GPU_IS_LOST: (
        "the GPU has fallen off the bus: reset it (nvidia-smi --gpu-reset) or reboot the node, see dmesg for its XID"
    ),
    pynvml.NVML_ERROR_RESET_REQUIRED: "the GPU asks for a reset: drain it, then nvidia-smi --gpu-reset",
}


def error_class(code: int) -> type[SourceError]:
    """Our error for an NVML return code that is not success."""
    return _ERRORS.get(code, Unavailable)


def error_of(code: int, subject: str) -> SourceError:
    """The error to raise for ``code``, naming ``subject`` (a device or a call) and the remedy where one is known."""
    told = _REMEDIES.get(code) or f"{pynvml.NVMLError(code)} (NVML code {code})"
    return error_class(code)(f"{subject}: {told}")


def raise_if_fatal(code: int, subject: str) -> type[SourceError]:
    """Let a single value's failure pass and return its class.

    Raises:
        DeviceLost: the device is gone, not just this value.
        DriverGone: the driver is.
    """
    kind = error_class(code)
    if kind is DeviceLost or kind is DriverGone:
        raise error_of(code, subject)
    return kind


class Asking:
    """Whether one question is worth putting to the driver now."""

    __slots__ = ("_again_ns",)

    def __init__(self) -> None:
        self._again_ns = 0

    def due(self, now_ns: int) -> bool:
        """Whether to ask."""
        return now_ns >= self._again_ns

    @property
    def unsupported(self) -> bool:
        """Whether it was refused for good: there is nothing to be known."""
        return self._again_ns == NEVER_NS

    def refused(self, code: int, now_ns: int) -> None:
        """Remember a refusal: for good when unsupported, for a minute without permission, else not at all."""
        if error_class(code) is Unsupported:
            self._again_ns = NEVER_NS
        elif code == pynvml.NVML_ERROR_NO_PERMISSION:
            self._again_ns = now_ns + PERMISSION_RETRY_NS

    def forget(self) -> None:
        """Ask again, whatever was refused."""
        self._again_ns = 0
