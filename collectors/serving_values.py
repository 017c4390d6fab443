"""What a serving engine's metrics page says, in canonical names and units; and how it is to be read.

Owns the shape of these values; reads nothing and never knows an engine's own names.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from collectors.openmetrics import MAX_SAMPLES
from collectors.serving_engines import DEFAULT_MODEL_LABELS, EngineNames, GaugeName, LatencyName, Phase, WorkKind

OTHER_TENANTS = "__other__"
"""Bears the work of all tenants beyond the cap."""
MAX_LABEL_CHARACTERS = 200
"""Longer names of models and tenants are cut: they become labels of ours, and a file's path may stand there."""

WorkKey = tuple[str, str, WorkKind]
"""Model, tenant, kind; a model or tenant that the page does not tell is empty."""
PhaseKey = tuple[str, Phase]
LatencyKey = tuple[str, LatencyName]
GaugeKey = tuple[str, GaugeName]
Part = str | float
Values = Mapping[Part, float]
"""The parts of one series: ``value`` of a counter; ``sum``, ``count`` and each bucket's upper bound of a histogram."""
_Key = TypeVar("_Key", WorkKey, PhaseKey, LatencyKey)


@dataclass(frozen=True, slots=True)
class Slot:
    """All series of one page that tell one thing, apart, since each may restart alone."""

    source: str
    """The name on the page that was chosen; another one later is another counter."""
    series: Mapping[str, Values]


class SlotPlan(NamedTuple):
    """A slot without its values, which stand one after the other among those of its page."""

    source: str
    series: Mapping[str, tuple[Part, ...]]
    """The parts of each series, by its labels."""
    parts: tuple[Part, ...] | None
    """The parts of every series; ``None`` where they differ."""
    start: int
    stop: int

    def slot(self, values: Sequence[float]) -> Slot:
        """The slot with its values."""
        at, series = self.start, dict[str, Values]()
        for labels, parts in self.series.items():
            series[labels] = dict(zip(parts, values[at : at + len(parts)], strict=True))
            at += len(parts)
        return Slot(self.source, series)


@dataclass(frozen=True, slots=True, eq=False)
class Plans:
    """The slots of pages of one layout; compared by identity."""

    work: Mapping[WorkKey, SlotPlan]
    phases: Mapping[PhaseKey, SlotPlan]
    latency: Mapping[LatencyKey, SlotPlan]
    scales: tuple[float, ...]
    """What each value is multiplied with, as the page writes it."""


class CounterValues(NamedTuple):
    """The values of all counters of a page, side by side."""

    plans: Plans
    values: list[float]
    written: str | None = None
    """The same as the page wrote them, before scaling, each behind a blank but the first; ``None``: not kept."""


class _Slots(Mapping[_Key, Slot]):
    """Slots that are put together when they are looked at."""

    def __init__(self, plans: Mapping[_Key, SlotPlan], values: Sequence[float]) -> None:
        self._plans: Mapping[_Key, SlotPlan] = plans
        self._values = values

    def __getitem__(self, key: _Key) -> Slot:
        return self._plans[key].slot(self._values)

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._plans)

    def __len__(self) -> int:
        return len(self._plans)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative buckets by upper bound in seconds, the number of observations, and their sum in seconds.

    An engine that tells sum and count alone has no buckets.
    """

    buckets: Mapping[float, float]
    count: float
    sum_seconds: float


@dataclass(frozen=True, slots=True)
class EnginePage:
    """What one page says, in canonical names and seconds. What the page does not tell is absent."""

    engine: str
    """The first engine found on the page; ``mapping`` where the configuration mapped it."""
    work_slots: Mapping[WorkKey, Slot]
    phase_slots: Mapping[PhaseKey, Slot]
    latency_slots: Mapping[LatencyKey, Slot]
    gauges: Mapping[GaugeKey, float]
    """Queue and running requests add up over the engines of a page; of cache usage the fullest one's stands."""
    start_time_seconds: float | None = None
    """When the process that serves the page started, since the Unix epoch."""
    cached_within_input: bool = False
    """Whether ``input_tokens`` include ``cached_tokens``, as this engine counts them."""
    counters: CounterValues | None = None
    """The values of the slots, side by side, for those who compare one page with another of the same layout."""

    @property
    def work(self) -> dict[WorkKey, float]:
        """Cumulative work, as the engine counts it."""
        return {key: _total(slot) for key, slot in self.work_slots.items()}

    @property
    def latency(self) -> dict[LatencyKey, Histogram]:
        """Cumulative latency."""
        return {key: add_up(slot.series.values()) for key, slot in self.latency_slots.items()}


def work_slots(counters: CounterValues) -> Mapping[WorkKey, Slot]:
    """The slots of work."""
    return _Slots(counters.plans.work, counters.values)


def phase_slots(counters: CounterValues) -> Mapping[PhaseKey, Slot]:
    """The slots of engine time."""
    return _Slots(counters.plans.phases, counters.values)


def latency_slots(counters: CounterValues) -> Mapping[LatencyKey, Slot]:
    """The slots of latency."""
    return _Slots(counters.plans.latency, counters.values)


@dataclass(frozen=True, slots=True)
class PageReading:
    """How a page is to be read."""

    engines: tuple[EngineNames, ...] = ()
    """The tables to read by; none means those of the engines whose names stand on the page."""
    default_model: str = ""
    """The model of samples without a model label."""
    model_labels: tuple[str, ...] = DEFAULT_MODEL_LABELS
    """Labels that name the model; the first that a sample bears counts."""
    tenant_label: str = ""
    """The label that names the tenant; empty: work is not told apart by tenant."""
    max_samples: int = MAX_SAMPLES


class TenantCap:
    """Names up to ``most`` tenants, first come first served and for good; all others are one. Safe to share.

    ``named`` are those that were named before, by a former process: they keep their names.
    """

    def __init__(self, most: int, named: Iterable[str] = ()) -> None:
        self._most = most
        self._named = set(named) - {OTHER_TENANTS}
        self._lock = threading.Lock()

    def name(self, tenant: str) -> str:
        """The tenant's own name, or :data:`OTHER_TENANTS` where the cap is reached."""
        if not tenant or tenant in self._named:
            return tenant
        with self._lock:
            if len(self._named) >= self._most and tenant not in self._named:
                return OTHER_TENANTS
            self._named.add(tenant)
        return tenant


def add_up(series: Iterable[Values]) -> Histogram:
    """The sum of histograms, in the buckets that all of them have."""
    several = tuple(series)
    bounds = set[Part](several[0]).intersection(*several) if several else set[Part]()
    return Histogram(
        {bound: sum(each[bound] for each in several) for bound in sorted(b for b in bounds if not isinstance(b, str))},
        sum(each["count"] for each in several),
        sum(each["sum"] for each in several),
    )


def _total(slot: Slot) -> float:
    return sum(values["value"] for values in slot.series.values())
