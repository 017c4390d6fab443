"""What a metric is: the declaration that exposition, dashboards, alerts, documentation and tests share.

Owns the shape and its rules; the metrics themselves stand in ``exporters/catalogue.py`` and its siblings.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypedDict, Unpack

MetricKind = Literal["gauge", "counter", "info", "histogram"]
Unit = Literal[
    "",
    "seconds",
    "joules",
    "bytes",
    "watts",
    "celsius",
    "hertz",
    "ratio",
    "usd",
    "usd_per_hour",
    "usd_per_day",
    "bytes_per_second",
]
Group = Literal[
    "activity",
    "board",
    "clocks",
    "efficiency",
    "engine",
    "errors",
    "host_use",
    "media",
    "power",
    "sharing",
    "throttle",
    "traffic",
]

PREFIX: Final = "wattledger_"
NODE: Final = "node"
"""The label that every series bears, first."""
HOLDER: Final = "<holder>"
"""Stands in :attr:`Metric.labels` for the holder labels of the installation."""
HOST_HOLDER_LABELS: Final = ("holder_kind", "holder")
"""The holder labels outside Kubernetes."""
KUBERNETES_HOLDER_LABELS: Final = ("namespace", "pod", "container")
"""The holder labels in Kubernetes."""
SUFFIXES: Final[dict[MetricKind, str]] = {"gauge": "", "counter": "_total", "info": "_info", "histogram": ""}
"""What the name of each kind ends with."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of the contract. Name and label set are frozen once published; changing one takes a deprecation."""

    name: str
    """The full name, unit and ``_total`` included."""
    kind: MetricKind
    unit: Unit
    """The base unit that the name carries; empty for counts, flags and infos."""
    labels: tuple[str, ...]
    """The labels after ``node``, where it bears that; :data:`HOLDER` stands for the holder labels."""
    help: str
    """One sentence for the reader of a dashboard."""
    since: str
    """The release that published it."""
    group: Group | None = None
    """The group of series that shows it; ``None`` for what is always shown."""
    details: tuple[str, ...] = ()
    """Where not empty, its group adds these values of its label alone; all others are always shown."""
    stands_in_for: str = ""
    """A metric without the prefix; where a device or holder lacks that one, this is shown without its group, too."""
    of_fleet: bool = False
    """The controller serves it, of all nodes together: it bears no ``node``."""

    def label_names(self, holder_labels: tuple[str, ...]) -> tuple[str, ...]:
        """Every label in the order of exposition, ``node`` first, the holder's in place of :data:`HOLDER`."""
        names: list[str] = [] if self.of_fleet else [NODE]
        for label in self.labels:
            names.extend(holder_labels if label == HOLDER else (label,))
        return tuple(names)

    @property
    def family_name(self) -> str:
        """The name without ``_total`` or ``_info``: what OpenMetrics calls the family."""
        return self.name.removesuffix(SUFFIXES[self.kind])


class Shown(TypedDict, total=False):
    """When a metric is shown; the fields of :class:`Metric`."""

    group: Group
    details: tuple[str, ...]
    stands_in_for: str
    of_fleet: bool


def gauge(
    name: str, unit: Unit, labels: tuple[str, ...], text: str, since: str = "0.1.0", **shown: Unpack[Shown]
) -> Metric:
    """A value that goes up and down; ``name`` without the prefix."""
    return Metric(PREFIX + name, "gauge", unit, labels, text, since, **shown)


def counter(
    name: str, unit: Unit, labels: tuple[str, ...], text: str, since: str = "0.1.0", **shown: Unpack[Shown]
) -> Metric:
    """A value that only grows, or starts again at zero; ``name`` without the prefix."""
    return Metric(PREFIX + name, "counter", unit, labels, text, since, **shown)


def info(name: str, labels: tuple[str, ...], text: str, since: str = "0.1.0", **shown: Unpack[Shown]) -> Metric:
    """A constant 1 whose labels tell; ``name`` without the prefix."""
    return Metric(PREFIX + name, "info", "", labels, text, since, **shown)


def histogram(name: str, unit: Unit, labels: tuple[str, ...], text: str, since: str = "0.1.0") -> Metric:
    """Observations in cumulative buckets, with their number and sum; ``name`` without the prefix."""
    return Metric(PREFIX + name, "histogram", unit, labels, text, since)
