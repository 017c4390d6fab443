"""The one table of clock event (throttle) reasons: the driver's bits to names."""

from functools import lru_cache

REASONS: dict[int, str] = {
    0x001: "gpu_idle",
    0x002: "app_clocks",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal",
    0x040: "hw_thermal",
    0x080: "hw_power_brake",
    0x100: "display_clocks",
    0x200: "board_limit",
    0x400: "reliability",
}
_KNOWN = sum(REASONS)


@lru_cache(maxsize=256)
def reasons_of(bits: int) -> frozenset[str]:
    """The names of the reasons in ``bits``; ``other`` for bits that a newer driver has added."""
    names = {name for bit, name in REASONS.items() if bits & bit}
    if bits & ~_KNOWN:
        names.add("other")
    return frozenset(names)
