"""The thin typed edge over pynvml: it loads and initializes the library, we call its getters by prebuilt ctypes.

Owns nothing but the way in. pynvml opens the library, counts references and knows the error texts; a getter that runs
at every sweep is called through its raw function pointer with buffers made once, which costs a third of pynvml's
wrapper. Must never look up a function that changes a device.
"""

import ctypes
from collections.abc import Callable
from typing import TypeVar

import pynvml

from collectors.errors import Unavailable
from collectors.nvml_errors import error_of, raise_if_fatal

Function = Callable[..., int]
"""A raw NVML function: returns its nvmlReturn_t."""
T = TypeVar("T")


class Library:
    """The loaded libnvidia-ml.so.1, seen through pynvml."""

    def function(self, *names: str) -> Function | None:
        """The first of ``names`` that this driver's version has."""
        loaded = pynvml.nvmlLib
        for name in names:
            found: Function | None = getattr(loaded, name, None)
            if found is not None:
                return found
        return None


def initialize() -> None:
    """Load the library if need be and initialize it.

    Raises:
        Unavailable: no library, no driver, or it refuses; the message holds the remedy.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise Unavailable(str(error_of(error.value, "NVIDIA driver"))) from error


def shut_down() -> None:
    """Let go of the driver; a driver that is gone already is no error."""
    try:
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return


def address_of(handle: pynvml.c_nvmlDevice_t) -> int:
    """The handle as a number: its identity while the driver stays loaded."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def handle_of(address: int) -> pynvml.c_nvmlDevice_t:
    """The handle that pynvml takes, from its number."""
    return ctypes.cast(ctypes.c_void_p(address), pynvml.c_nvmlDevice_t)


def must(subject: str, call: Callable[[], T]) -> T:
    """What ``call`` answers through pynvml.

    Raises:
        SourceError: by the map of codes.
    """
    try:
        return call()
    except pynvml.NVMLError as error:
        raise error_of(error.value, subject) from error


def may(subject: str, call: Callable[[], T]) -> T | None:
    """What ``call`` answers through pynvml, ``None`` where it cannot.

    Raises:
        DeviceLost: the device is gone.
        DriverGone: the driver is.
    """
    try:
        return call()
    except pynvml.NVMLError as error:
        raise_if_fatal(error.value, subject)
        return None


def text(value: str | bytes | None) -> str | None:
    """A driver's string; ``None`` for an empty one."""
    decoded = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return decoded or None
