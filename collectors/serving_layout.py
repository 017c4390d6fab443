"""Where on a serving page each canonical value stands: worked out from names and labels, then filled by value.

Owns the choice between old and new names, the reading of model and tenant labels, and what is counted once only
(tensor parallel ranks that all tell the same). Values decide nothing here: a page with the names and labels of another
has that one's layout.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from collectors.openmetrics import PageRefused, Sample
from collectors.serving_engines import START_TIME, Distribution, EngineNames, LatencyName, Source
from collectors.serving_values import (
    MAX_LABEL_CHARACTERS,
    CounterValues,
    EnginePage,
    GaugeKey,
    LatencyKey,
    PageReading,
    Part,
    PhaseKey,
    Plans,
    SlotPlan,
    TenantCap,
    WorkKey,
    latency_slots,
    phase_slots,
    work_slots,
)

_RANK_LABELS = ("tp_rank", "pp_rank", "moe_ep_rank")
_BUCKET_LABEL = "le"


class _At(NamedTuple):
    """A value: the place of its sample on the page, and what to multiply it with."""

    place: int
    scale: float = 1.0


class _Gauge(NamedTuple):
    key: GaugeKey
    values: tuple[_At, ...]
    fullest: bool
    """The largest counts, instead of the sum."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The series of one slot: where their parts stand, by their labels."""

    source: str
    series: Mapping[str, Mapping[Part, _At]]


_Key = TypeVar("_Key", WorkKey, PhaseKey, LatencyKey)


@dataclass(frozen=True, slots=True, eq=False)
class PageLayout:
    """The layout of one page."""

    engine: str
    cached_within_input: bool
    plans: Plans
    places: tuple[int, ...]
    """Where the values of the plans stand among the page's samples."""
    counters: Mapping[int, str]
    """The names of all counters by place, also of those that another name of the same thing overrules."""
    gauges: tuple[_Gauge, ...]
    starts: tuple[int, ...]

    def fill(self, values: Sequence[float], texts: Sequence[bytes] | None = None) -> EnginePage:
        """The page whose samples have these values, in its order; ``texts`` is how the page writes them.

        Raises:
            PageRefused: a counter cannot have its value.
        """
        self._check(values)
        scaled = [values[place] * scale for place, scale in zip(self.places, self.plans.scales, strict=True)]
        written = None if texts is None else b" ".join([texts[place] for place in self.places]).decode("ascii")
        counters = CounterValues(self.plans, scaled, written)
        return EnginePage(
            self.engine,
            work_slots(counters),
            phase_slots(counters),
            latency_slots(counters),
            self._gauges(values),
            start_time_seconds=max([values[place] for place in self.starts], default=None),
            cached_within_input=self.cached_within_input,
            counters=counters,
        )

    def _check(self, values: Sequence[float]) -> None:
        counted = [values[place] for place in self.counters]
        if not counted or (min(counted) >= 0 and math.isfinite(sum(counted))):
            return
        for place, name in self.counters.items():
            value = values[place]
            if not math.isfinite(value) or value < 0:
                raise PageRefused(f"counter {name} is {value:g}; a counter has to be finite and zero or more")

    def _gauges(self, values: Sequence[float]) -> dict[GaugeKey, float]:
        gauges: dict[GaugeKey, float] = {}
        for key, places, fullest in self.gauges:
            known = [values[place] * scale for place, scale in places if math.isfinite(values[place])]
            if known:
                gauges.setdefault(key, max(known) if fullest else sum(known))
        return gauges


def layout_of(
    engines: Sequence[EngineNames], samples: Iterable[Sample], reading: PageReading, tenants: TenantCap
) -> PageLayout:
    """The layout of a page with these samples, whose values do not count.

    Where a page has several engines the first that tells a value counts.

    Raises:
        PageRefused: a bucket has no bound.
    """
    return _LayoutReader(reading, tenants).read(engines, samples)


class _Placed(NamedTuple):
    """A sample, and its place among those of its page."""

    place: int
    name: str
    labels: Mapping[str, str]


@dataclass(slots=True)
class _LayoutReader:
    reading: PageReading
    tenants: TenantCap
    by_name: dict[str, list[_Placed]] = field(default_factory=dict[str, list[_Placed]])
    identities: dict[int, tuple[str, str]] = field(default_factory=dict[int, tuple[str, str]])
    """By the identity of the mapping of labels, which the samples of a page share."""
    work: dict[WorkKey, _Found] = field(default_factory=dict[WorkKey, _Found])
    phases: dict[PhaseKey, _Found] = field(default_factory=dict[PhaseKey, _Found])
    latency: dict[LatencyKey, _Found] = field(default_factory=dict[LatencyKey, _Found])
    gauges: list[_Gauge] = field(default_factory=list[_Gauge])
    counters: dict[int, str] = field(default_factory=dict[int, str])

    def read(self, engines: Sequence[EngineNames], samples: Iterable[Sample]) -> PageLayout:
        for place, sample in enumerate(samples):
            self.by_name.setdefault(sample.name, []).append(_Placed(place, sample.name, sample.labels))
        for names in engines:
            self._read_work(names)
            self._read_phases(names)
            self._read_latency(names)
            self._read_gauges(names)
        flat: list[_At] = []
        work, phases, latency = _planned(self.work, flat), _planned(self.phases, flat), _planned(self.latency, flat)
        return PageLayout(
            engine=engines[0].engine,
            cached_within_input=engines[0].cached_within_input,
            plans=Plans(work, phases, latency, tuple(at.scale for at in flat)),
            places=tuple(at.place for at in flat),
            counters=self.counters,
            gauges=tuple(self.gauges),
            starts=tuple(placed.place for placed in self.by_name.get(START_TIME, ())),
        )

    def _read_work(self, names: EngineNames) -> None:
        for kind, sources in names.work.items():
            found: dict[WorkKey, dict[str, Mapping[Part, _At]]] = {}
            name, several, scale = self._first(names.prefixes, sources)
            for each in several:
                model, labels = self._identity(each)
                series = found.setdefault((model, self._tenant(each), kind), {})
                series[labels] = {"value": self._counter(each, scale)}
            for key, series in found.items():
                self.work.setdefault(key, _Found(name, series))

    def _read_phases(self, names: EngineNames) -> None:
        for phase, sources in names.phases.items():
            found: dict[PhaseKey, dict[str, Mapping[Part, _At]]] = {}
            name, several, scale = self._first(names.prefixes, sources)
            for each in several:
                model, labels = self._identity(each)
                found.setdefault((model, phase), {})[labels] = {"value": self._counter(each, scale)}
            for key, series in found.items():
                self.phases.setdefault(key, _Found(name, series))

    def _read_latency(self, names: EngineNames) -> None:
        for latency, distributions in names.latency.items():
            for prefix, each in ((prefix, each) for each in distributions for prefix in names.prefixes):
                found = self._read_distribution(prefix, each, latency)
                if found:
                    for key, series in found.items():
                        self.latency.setdefault(key, _Found(prefix + each.parts[1], series))
                    break

    def _read_distribution(
        self, prefix: str, distribution: Distribution, name: LatencyName
    ) -> dict[LatencyKey, dict[str, Mapping[Part, _At]]]:
        """Each series of a histogram that has both its sum and its count."""
        bucket_name, sum_name, count_name = (prefix + part if part else "" for part in distribution.parts)
        scale = distribution.scale
        found: dict[tuple[str, str], dict[Part, _At]] = {
            self._identity(each): {"sum": self._counter(each, scale)} for each in self._once(sum_name)
        }
        for each in self._once(count_name):
            if parts := found.get(self._identity(each)):
                parts["count"] = self._counter(each)
        for each in self._once(bucket_name):
            if parts := found.get(self._identity(each)):
                parts[_bound(each) * scale] = self._counter(each)
        series: dict[LatencyKey, dict[str, Mapping[Part, _At]]] = {}
        for (model, labels), parts in found.items():
            if "count" in parts:
                series.setdefault((model, name), {})[labels] = parts
        return series

    def _read_gauges(self, names: EngineNames) -> None:
        for gauge, sources in names.gauges.items():
            _, several, scale = self._first(names.prefixes, sources)
            found: dict[GaugeKey, list[_At]] = {}
            for each in several:
                found.setdefault((self._identity(each)[0], gauge), []).append(_At(each.place, scale))
            fullest = gauge == "kv_cache_usage"
            self.gauges.extend(_Gauge(key, tuple(values), fullest) for key, values in found.items())

    def _counter(self, placed: _Placed, scale: float = 1.0) -> _At:
        self.counters[placed.place] = placed.name
        return _At(placed.place, scale)

    def _first(self, prefixes: Sequence[str], sources: Sequence[Source]) -> tuple[str, list[_Placed], float]:
        """The samples of the first of several names that the page has, each rank's told once."""
        for source in sources:
            for prefix in prefixes:
                several = self._once(prefix + source.name)
                if source.where is not None:
                    label, value = source.where
                    several = [each for each in several if each.labels.get(label) == value]
                if several:
                    return prefix + source.name, several, source.scale
        return "", [], 1.0

    def _once(self, name: str) -> list[_Placed]:
        """A name's samples, without those that further ranks of the same engine tell again."""
        several = self.by_name.get(name, [])
        if not any(label in each.labels for each in several for label in _RANK_LABELS):
            return several
        lowest: dict[str, tuple[tuple[int, ...], _Placed]] = {}
        for each in several:
            of = _text(each.labels, _RANK_LABELS)
            rank = _rank(each)
            if of not in lowest or rank < lowest[of][0]:
                lowest[of] = rank, each
        return [each for _, each in lowest.values()]

    def _identity(self, placed: _Placed) -> tuple[str, str]:
        """The model of a sample, and what tells its series from others of its name."""
        known = self.identities.get(id(placed.labels))
        if known is None:
            known = self._model(placed), _text(placed.labels, (_BUCKET_LABEL,))
            self.identities[id(placed.labels)] = known
        return known

    def _model(self, placed: _Placed) -> str:
        for label in self.reading.model_labels:
            if value := placed.labels.get(label):
                return value[:MAX_LABEL_CHARACTERS]
        return self.reading.default_model

    def _tenant(self, placed: _Placed) -> str:
        if not self.reading.tenant_label:
            return ""
        return self.tenants.name(placed.labels.get(self.reading.tenant_label, "")[:MAX_LABEL_CHARACTERS])


def _planned(found: Mapping[_Key, _Found], flat: list[_At]) -> dict[_Key, SlotPlan]:
    """The slots' plans; their values are appended to ``flat``."""
    plans: dict[_Key, SlotPlan] = {}
    for key, each in found.items():
        start = len(flat)
        for parts in each.series.values():
            flat.extend(parts.values())
        series = {labels: tuple(parts) for labels, parts in each.series.items()}
        kinds = set(series.values())
        plans[key] = SlotPlan(each.source, series, kinds.pop() if len(kinds) == 1 else None, start, len(flat))
    return plans


def _text(labels: Mapping[str, str], without: Sequence[str]) -> str:
    return repr(sorted(item for item in labels.items() if item[0] not in without))


def _rank(placed: _Placed) -> tuple[int, ...]:
    values = (placed.labels.get(label, "") for label in _RANK_LABELS)
    return tuple(int(value) if value.isascii() and value.isdecimal() else 0 for value in values)


def _bound(placed: _Placed) -> float:
    text = placed.labels.get(_BUCKET_LABEL, "")
    try:
        bound = float(text)
    except ValueError:
        bound = math.nan
    if math.isnan(bound):
        raise PageRefused(f'bucket {placed.name} has the bound le="{text[:80]}"; a bound has to be a number or +Inf')
    return bound
