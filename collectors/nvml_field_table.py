"""The table of NVML field values that a reading is made of, with the ids of other driver versions.

Owns which field (and scope) answers which question. The ids are those of ``nvml.h``; where drivers differ, a question
has alternatives, tried in order, and the first that is answered is kept.
"""

from dataclasses import dataclass

SCOPE_GPU = 0
SCOPE_MODULE = 1

Ref = tuple[int, int]
"""Field id and scope id."""


@dataclass(frozen=True, slots=True)
class Field:
    """One question: alternatives of fields whose values are added up."""

    name: str
    alternatives: tuple[tuple[Ref, ...], ...]


def _one(name: str, *ids: int, scope: int = SCOPE_GPU) -> Field:
    return Field(name, tuple(((field_id, scope),) for field_id in ids))


THROTTLE_FIELDS: dict[str, int] = {
    "sw_power_cap": 74,
    "thermal": 75,
    "sync_boost": 76,
    "board_limit": 77,
    "low_utilization": 78,
    "reliability": 79,
    "app_clocks": 80,
    "base_clocks": 81,
}
"""Reason to the field that counts its nanoseconds."""

SLOWDOWN_FIELDS: dict[str, tuple[int, int]] = {
    "sw_thermal": (269, 251),
    "hw_thermal": (270, 252),
    "hw_power_brake": (271, 253),
}
"""Reason to its field in drivers since 570, and before: there 251 to 253, which now are about power smoothing."""

FIRST_DRIVER_WITH_NEW_SLOWDOWN_IDS = 570

ECC_FIELDS: dict[tuple[str, str], int] = {
    ("volatile", "corrected"): 3,
    ("volatile", "uncorrected"): 4,
    ("aggregate", "corrected"): 5,
    ("aggregate", "uncorrected"): 6,
}

REMAPPED_ROW_FIELDS: dict[str, int] = {"corrected": 142, "uncorrected": 143}

NVLINK_ERROR_FIELDS: dict[str, tuple[int, tuple[int, ...]]] = {
    "crc_flit": (38, (163,)),
    "crc_data": (45, ()),
    "replay": (52, (161,)),
    "recovery": (59, (162, 215)),
}
"""Kind to the field that holds the total of all links, and to those that answer link by link where it does not:
161 to 163 from Hopper on, 215 from Blackwell on."""

NVLINK_LINK_COUNT = 91
NVLINK_SPEED_COMMON = 90
NVLINK_SPEED_BY_LINK = 164

_PLAIN = (
    _one("power_average_mw", 185),
    _one("power_instant_mw", 186),
    Field("module_power_mw", (((186, SCOPE_MODULE),), ((185, SCOPE_MODULE),))),
    _one("memory_celsius", 82),
    _one("remap_pending", 144),
    _one("remap_failure", 145),
    _one("pcie_replays", 94),
    _one("pcie_tx_bytes", 197),
    _one("pcie_rx_bytes", 198),
)


def throttle_name(reason: str) -> str:
    """The batch's name of a throttle counter."""
    return f"throttle:{reason}"


def ecc_name(lifetime: str, kind: str) -> str:
    """The batch's name of an ECC counter."""
    return f"ecc:{lifetime}:{kind}"


def rows_name(kind: str) -> str:
    """The batch's name of a count of remapped rows."""
    return f"rows:{kind}"


def nvlink_name(kind: str) -> str:
    """The batch's name of an NVLink error counter."""
    return f"nvlink:{kind}"


def _slowdown(reason: str, new: int, old: int, driver_major: int) -> Field:
    name = throttle_name(reason)
    return _one(name, new) if driver_major >= FIRST_DRIVER_WITH_NEW_SLOWDOWN_IDS else _one(name, new, old)


def _nvlink(kind: str, total: int, by_link: tuple[int, ...], links: int) -> Field:
    per_link = tuple(tuple((field_id, link) for link in range(links)) for field_id in by_link)
    return Field(nvlink_name(kind), (((total, SCOPE_GPU),), *per_link))


def fields_of(driver_major: int, links: int) -> tuple[Field, ...]:
    """The questions for a device under a driver of that major version and with that many NVLinks."""
    throttle = [_one(throttle_name(reason), field_id) for reason, field_id in THROTTLE_FIELDS.items()]
    slowdown = [_slowdown(reason, new, old, driver_major) for reason, (new, old) in SLOWDOWN_FIELDS.items()]
    ecc = [_one(ecc_name(*key), field_id) for key, field_id in ECC_FIELDS.items()]
    rows = [_one(rows_name(kind), field_id) for kind, field_id in REMAPPED_ROW_FIELDS.items()]
    nvlink = [_nvlink(kind, *ids, links) for kind, ids in NVLINK_ERROR_FIELDS.items()] if links else []
    return (*_PLAIN, *throttle, *slowdown, *ecc, *rows, *nvlink)
