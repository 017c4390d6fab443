"""Which series of the catalogue an installation shows: the standard ones, and groups of more by configuration.

Owns the rule, and what each group is for. What is shown depends on this choice and on what a device or holder tells,
never on a counter's value: a counter that came with its first event would hide that event from ``rate()``.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Self

from exporters.metric import Group, Metric

GROUPS: Final[Mapping[Group, str]] = {
    "activity": "further views of activity: SM occupancy, compute or graphics engine, memory controller",
    "board": "where a device sits and its serial number, MIG mode, memory that driver and firmware keep",
    "clocks": "clocks of memory, graphics and video",
    "efficiency": "work per joule of the kinds whose joules per piece are told, FLOP per joule of serving holders",
    "engine": "requests at work, use of the key-value cache, by which engine's names a page is read",
    "errors": "corrected ECC errors, ECC errors in the life of a device, NVLink errors",
    "host_use": "CPU time and block I/O of holders",
    "media": "encoder, decoder, JPEG and optical flow engines",
    "power": "power at the instant of the reading, and averaged by the driver",
    "sharing": "for shared devices: each holder's measured share and memory, number of processes",
    "throttle": "throttle reasons set by hand or rare, and those in force at the reading",
    "traffic": "PCIe rates as the device tells them, where bytes are counted as well",
}
"""What each group adds."""

_EVERY: Final = frozenset[str](GROUPS)


@dataclass(frozen=True, slots=True)
class MetricChoice:
    """What is shown. Without groups: the standard series."""

    groups: frozenset[str] = frozenset()

    @classmethod
    def of(cls, groups: Collection[str]) -> Self:
        """By names of groups; ``all`` is every one of them."""
        return cls(_EVERY if "all" in groups else frozenset(groups))

    def whole(self, metric: Metric) -> bool:
        """Whether every value of the metric is shown."""
        return metric.group is None or metric.group in self.groups

    def value(self, metric: Metric, value: str) -> bool:
        """Whether this value of the metric's own label is shown."""
        return self.whole(metric) or bool(metric.details and value not in metric.details)

    def none(self, metric: Metric) -> bool:
        """Whether nothing of the metric is shown, but where it stands in for another."""
        return not self.whole(metric) and not metric.details


STANDARD: Final = MetricChoice()
EVERYTHING: Final = MetricChoice(_EVERY)
