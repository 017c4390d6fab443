"""What does not change while a device is there: read once, through pynvml, when the device appears."""

from collections.abc import Callable
from typing import TypeVar

import pynvml

from collectors.nvml_field_table import NVLINK_LINK_COUNT, NVLINK_SPEED_BY_LINK, NVLINK_SPEED_COMMON, Field
from collectors.nvml_fields import FieldBatch
from collectors.nvml_library import Library, address_of, may, must, text
from collectors.nvml_units import BYTES_PER_MEGABYTE, HERTZ_PER_MEGAHERTZ, MILLIWATTS_PER_WATT
from collectors.readings import DeviceFacts

T = TypeVar("T")

_CLOCK_SM = 1
_DIRECTIONS = 2
_ARCHITECTURES: dict[int, str] = {
    2: "kepler",
    3: "maxwell",
    4: "pascal",
    5: "volta",
    6: "turing",
    7: "ampere",
    8: "ada",
    9: "hopper",
    10: "blackwell",
    13: "rubin",
}


class Slot:
    """A device as the driver's index finds it: its handle and its UUID."""

    def __init__(self, index: int) -> None:
        """Ask the slot who is there.

        Raises:
            SourceError: it does not tell.
        """
        self.index = index
        subject = f"GPU {index}"
        self.handle = must(subject, lambda: pynvml.nvmlDeviceGetHandleByIndex(index))
        self.address = address_of(self.handle)
        self.uuid = text(must(subject, lambda: pynvml.nvmlDeviceGetUUID(self.handle))) or ""


def driver_version() -> str | None:
    """The driver's version as it spells it, such as ``580.95.05``."""
    return text(may("NVIDIA driver", pynvml.nvmlSystemGetDriverVersion))


def major_of(version: str | None) -> int:
    """The leading number of a driver version, 0 where there is none."""
    head = (version or "").split(".", 1)[0]
    return int(head) if head.isdigit() else 0


def read_facts(library: Library, slot: Slot, driver: str | None, links: int) -> DeviceFacts:
    """Everything static of one device; what it cannot tell is absent.

    Raises:
        DeviceLost: the device is gone.
        DriverGone: the driver is.
    """
    handle, subject = slot.handle, f"GPU {slot.index} {slot.uuid}"

    def ask(call: Callable[[pynvml.c_nvmlDevice_t], T]) -> T | None:
        return may(subject, lambda: call(handle))

    pci = ask(pynvml.nvmlDeviceGetPciInfo)
    limits = ask(pynvml.nvmlDeviceGetPowerManagementLimitConstraints)
    clock = ask(lambda device: pynvml.nvmlDeviceGetMaxClockInfo(device, _CLOCK_SM))
    architecture = ask(pynvml.nvmlDeviceGetArchitecture)
    return DeviceFacts(
        uuid=slot.uuid,
        index=slot.index,
        name=text(ask(pynvml.nvmlDeviceGetName)) or "NVIDIA GPU",
        pci_bus_id=None if pci is None else text(pci.busId),
        serial=text(ask(pynvml.nvmlDeviceGetSerial)),
        driver_version=driver,
        architecture=None if architecture is None else _ARCHITECTURES.get(architecture),
        max_power_watts=None if limits is None else limits[1] / MILLIWATTS_PER_WATT,
        nvlink_max_bytes_per_second=_nvlink_limit(library, slot, subject, links),
        max_sm_clock_hertz=None if clock is None else float(clock * HERTZ_PER_MEGAHERTZ),
    )


def count_links(library: Library, slot: Slot) -> int:
    """How many NVLinks the device has; 0 where it has none or cannot tell."""
    batch = FieldBatch(library, slot.address, f"GPU {slot.index}", [Field("links", (((NVLINK_LINK_COUNT, 0),),))])
    return int(batch.read(0).get("links", 0))


def _nvlink_limit(library: Library, slot: Slot, subject: str, links: int) -> float | None:
    """Speed of the active links, both directions; ``None`` where no link is active or none tells its speed."""
    active = [link for link in range(links) if may(subject, lambda: _link_state(slot, link))]  # noqa: B023  (called at once)
    if not active:
        return None
    by_link = Field("speed", (tuple((NVLINK_SPEED_BY_LINK, link) for link in active),))
    common = Field("common", (((NVLINK_SPEED_COMMON, 0),),))
    speeds = FieldBatch(library, slot.address, subject, [by_link, common]).read(0)
    total = speeds.get("speed") or speeds.get("common", 0) * len(active)
    return float(total * BYTES_PER_MEGABYTE * _DIRECTIONS) or None


def _link_state(slot: Slot, link: int) -> int:
    return pynvml.nvmlDeviceGetNvLinkState(slot.handle, link)
