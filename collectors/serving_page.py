"""A serving engine's metrics page as canonical, cumulative values: work, gauges, latency, prefill and decode time.

Owns the choice between old and new names, the reading of model and tenant labels, and what is counted once only
(tensor parallel ranks that all tell the same). It reads a page and nothing else: what a counter gained since the last
page is for ``collectors.serving_counters``.
"""

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from collectors.errors import Unavailable
from collectors.openmetrics import MAX_SAMPLES, PageRefused, Sample, parse_mapped
from collectors.serving_engines import (
    DEFAULT_MODEL_LABELS,
    START_TIME,
    Distribution,
    EngineNames,
    GaugeName,
    LatencyName,
    Phase,
    Source,
    WorkKind,
    detect_engines,
)

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

_RANK_LABELS = ("tp_rank", "pp_rank", "moe_ep_rank")
_BUCKET_LABEL = "le"


class EngineUnknown(Unavailable):
    """A page of no engine that the tables know, of which nothing was mapped. A later page may be another."""


@dataclass(frozen=True, slots=True)
class Slot:
    """All series of one page that tell one thing, apart, since each may restart alone."""

    source: str
    """The name on the page that was chosen; another one later is another counter."""
    series: Mapping[str, Values]


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

    @property
    def work(self) -> dict[WorkKey, float]:
        """Cumulative work, as the engine counts it."""
        return {key: _total(slot) for key, slot in self.work_slots.items()}

    @property
    def phase_seconds(self) -> dict[PhaseKey, float]:
        """Cumulative seconds of prefill and of decode."""
        return {key: _total(slot) for key, slot in self.phase_slots.items()}

    @property
    def latency(self) -> dict[LatencyKey, Histogram]:
        """Cumulative latency."""
        return {key: add_up(slot.series.values()) for key, slot in self.latency_slots.items()}


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


def read_engine_page(
    page: bytes, reading: PageReading | None = None, tenants: TenantCap | None = None, *, whole: bool = True
) -> EnginePage:
    """Read one page by the tables of its engines.

    Where a page has several engines the first that tells a value counts (Triton, which hosts others, is last).
    ``whole`` is what ``collectors.openmetrics.parse_mapped`` says of it.

    An engine that was named may tell nothing yet, or serve an empty page: some do before their first request.

    Raises:
        PageRefused: the page is none, is cut off, has too many samples, or a counter on it cannot be one.
        EngineUnknown: no engine was named and none is known by its names, or the page is another's than the named.
    """
    reading = reading or PageReading()
    engines = reading.engines or detect_engines(page)
    wanted = frozenset[str]().union(*(names.sample_names for names in engines))
    idle = bool(reading.engines) and not page.strip()
    samples = () if idle else _samples(page, wanted, whole=whole, most=reading.max_samples)
    _check_known(reading.engines, page, told=any(sample.name != START_TIME for sample in samples))
    return _PageReader(reading, tenants or TenantCap(0)).read(engines, samples)


def _samples(page: bytes, names: frozenset[str], *, whole: bool, most: int) -> tuple[Sample, ...]:
    return parse_mapped(page, names | {START_TIME}, whole=whole, max_samples=most).samples


def _check_known(named: Sequence[EngineNames], page: bytes, *, told: bool) -> None:
    if told or any(names.engine == "mapping" for names in named):
        return
    found = detect_engines(page)
    if not named and not found:
        raise EngineUnknown(
            "no metric of a known serving engine stands on this page: correct its address, or map its counters"
        )
    if named and found and not any(names in named for names in found):
        raise EngineUnknown(
            f"this is the page of {found[0].engine}, not of {named[0].engine}: correct the engine, or leave it out"
        )


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


@dataclass(slots=True)
class _PageReader:
    reading: PageReading
    tenants: TenantCap
    by_name: dict[str, list[Sample]] = field(default_factory=dict[str, list[Sample]])
    identities: dict[int, tuple[str, str]] = field(default_factory=dict[int, tuple[str, str]])
    """By the identity of the mapping of labels, which the samples of a page share."""
    work: dict[WorkKey, Slot] = field(default_factory=dict[WorkKey, Slot])
    phases: dict[PhaseKey, Slot] = field(default_factory=dict[PhaseKey, Slot])
    latency: dict[LatencyKey, Slot] = field(default_factory=dict[LatencyKey, Slot])
    gauges: dict[GaugeKey, float] = field(default_factory=dict[GaugeKey, float])

    def read(self, engines: Sequence[EngineNames], samples: Iterable[Sample]) -> EnginePage:
        for sample in samples:
            self.by_name.setdefault(sample.name, []).append(sample)
        for names in engines:
            self._read_work(names)
            self._read_phases(names)
            self._read_latency(names)
            self._read_gauges(names)
        starts = self.by_name.get(START_TIME)
        return EnginePage(
            engine=engines[0].engine,
            work_slots=self.work,
            phase_slots=self.phases,
            latency_slots=self.latency,
            gauges=self.gauges,
            start_time_seconds=max(sample.value for sample in starts) if starts else None,
            cached_within_input=engines[0].cached_within_input,
        )

    def _read_work(self, names: EngineNames) -> None:
        for kind, sources in names.work.items():
            found: dict[WorkKey, dict[str, Values]] = {}
            name, samples, scale = self._first(names.prefixes, sources)
            for sample in samples:
                model, labels = self._identity(sample)
                series = found.setdefault((model, self._tenant(sample), kind), {})
                series[labels] = {"value": _cumulative(sample) * scale}
            for key, several in found.items():
                self.work.setdefault(key, Slot(name, several))

    def _read_phases(self, names: EngineNames) -> None:
        for phase, sources in names.phases.items():
            found: dict[PhaseKey, dict[str, Values]] = {}
            name, samples, scale = self._first(names.prefixes, sources)
            for sample in samples:
                model, labels = self._identity(sample)
                found.setdefault((model, phase), {})[labels] = {"value": _cumulative(sample) * scale}
            for key, series in found.items():
                self.phases.setdefault(key, Slot(name, series))

    def _read_latency(self, names: EngineNames) -> None:
        for latency, distributions in names.latency.items():
            for prefix, each in ((prefix, each) for each in distributions for prefix in names.prefixes):
                found = self._read_distribution(prefix, each, latency)
                if found:
                    for key, series in found.items():
                        self.latency.setdefault(key, Slot(prefix + each.parts[1], series))
                    break

    def _read_distribution(
        self, prefix: str, distribution: Distribution, name: LatencyName
    ) -> dict[LatencyKey, dict[str, Values]]:
        """Each series of a histogram that has both its sum and its count."""
        bucket_name, sum_name, count_name = (prefix + part if part else "" for part in distribution.parts)
        scale = distribution.scale
        found: dict[tuple[str, str], dict[Part, float]] = {
            self._identity(sample): {"sum": _cumulative(sample) * scale} for sample in self._once(sum_name)
        }
        for sample in self._once(count_name):
            if parts := found.get(self._identity(sample)):
                parts["count"] = _cumulative(sample)
        for sample in self._once(bucket_name):
            if parts := found.get(self._identity(sample)):
                parts[_bound(sample) * scale] = _cumulative(sample)
        series: dict[LatencyKey, dict[str, Values]] = {}
        for (model, labels), parts in found.items():
            if "count" in parts:
                series.setdefault((model, name), {})[labels] = parts
        return series

    def _read_gauges(self, names: EngineNames) -> None:
        for gauge, sources in names.gauges.items():
            _, samples, scale = self._first(names.prefixes, sources)
            found: dict[GaugeKey, list[float]] = {}
            for sample in samples:
                if math.isfinite(sample.value):
                    found.setdefault((self._identity(sample)[0], gauge), []).append(sample.value * scale)
            for key, values in found.items():
                self.gauges.setdefault(key, max(values) if gauge == "kv_cache_usage" else sum(values))

    def _first(self, prefixes: Sequence[str], sources: Sequence[Source]) -> tuple[str, list[Sample], float]:
        """The samples of the first of several names that the page has, each rank's told once."""
        for source in sources:
            for prefix in prefixes:
                samples = self._once(prefix + source.name)
                if source.where is not None:
                    label, value = source.where
                    samples = [sample for sample in samples if sample.labels.get(label) == value]
                if samples:
                    return prefix + source.name, samples, source.scale
        return "", [], 1.0

    def _once(self, name: str) -> list[Sample]:
        """A name's samples, without those that further ranks of the same engine tell again."""
        samples = self.by_name.get(name, [])
        if not any(label in sample.labels for sample in samples for label in _RANK_LABELS):
            return samples
        lowest: dict[str, tuple[tuple[int, ...], Sample]] = {}
        for sample in samples:
            of = _text(sample.labels, _RANK_LABELS)
            rank = _rank(sample)
            if of not in lowest or rank < lowest[of][0]:
                lowest[of] = rank, sample
        return [sample for _, sample in lowest.values()]

    def _identity(self, sample: Sample) -> tuple[str, str]:
        """The model of a sample, and what tells its series from others of its name."""
        known = self.identities.get(id(sample.labels))
        if known is None:
            known = self._model(sample), _text(sample.labels, (_BUCKET_LABEL,))
            self.identities[id(sample.labels)] = known
        return known

    def _model(self, sample: Sample) -> str:
        for label in self.reading.model_labels:
            if value := sample.labels.get(label):
                return value[:MAX_LABEL_CHARACTERS]
        return self.reading.default_model

    def _tenant(self, sample: Sample) -> str:
        if not self.reading.tenant_label:
            return ""
        return self.tenants.name(sample.labels.get(self.reading.tenant_label, "")[:MAX_LABEL_CHARACTERS])


def _text(labels: Mapping[str, str], without: Sequence[str]) -> str:
    return repr(sorted(item for item in labels.items() if item[0] not in without))


def _rank(sample: Sample) -> tuple[int, ...]:
    values = (sample.labels.get(label, "") for label in _RANK_LABELS)
    return tuple(int(value) if value.isascii() and value.isdecimal() else 0 for value in values)


def _cumulative(sample: Sample) -> float:
    if not math.isfinite(sample.value) or sample.value < 0:
        raise PageRefused(f"counter {sample.name} is {sample.value:g}; a counter has to be finite and zero or more")
    return sample.value


def _bound(sample: Sample) -> float:
    text = sample.labels.get(_BUCKET_LABEL, "")
    try:
        bound = float(text)
    except ValueError:
        bound = math.nan
    if math.isnan(bound):
        raise PageRefused(f'bucket {sample.name} has the bound le="{text[:80]}"; a bound has to be a number or +Inf')
    return bound
