"""What a whole OpenMetrics page holds: families, their samples, exemplars, and which sample names a type may have.

Owns the shape of a validated page; reads nothing and checks nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "counter": ("_total", "_created"),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum", "_created"),
    "gaugehistogram": ("_bucket", "_gcount", "_gsum"),
    "summary": ("", "_count", "_sum", "_created"),
    "info": ("_info",),
    "stateset": ("",),
    "unknown": ("",),
}
"""What may follow the family's name in a sample's name, by the family's type."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observed event behind a counter or a bucket."""

    labels: Mapping[str, str]
    value: float
    timestamp_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class FamilySample:
    """One sample as the page gave it; NaN stays NaN here."""

    name: str
    labels: Mapping[str, str]
    value: float
    timestamp_seconds: float | None = None
    exemplar: Exemplar | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family; ``help`` and ``unit`` are empty where the page gives none."""

    name: str
    type: str
    unit: str
    help: str
    samples: tuple[FamilySample, ...]
