"""Families of work, latency and economics of one node.

Owns which meter goes into which series. Work by holder is summed over its tenants; tenants have families of their own,
and only where pages name any.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from agent.account_families import COST_PLACES, cost_units
from agent.books import OTHER, Books
from agent.economics import PHASES, ModelFigures
from agent.holder_labels import HolderLabels
from agent.serving import Serving
from agent.work_books import TenantMeter
from collectors.holder import NOBODY, Holder
from exporters import catalogue_work as names
from exporters.exposition import Family, Labels, SeriesCache, decimal
from exporters.histogram import HistogramCache, Observed
from exporters.metric import Metric
from exporters.metric_choice import EVERYTHING, MetricChoice
from ledger.hours import WorkKey

_PHASE_SUFFIX = "_ns"
_FIGURES = (
    (names.COST_PER_REQUEST, "cost_per_request_usd"),
    (names.COST_PER_INPUT, "cost_per_million_input_tokens_usd"),
    (names.COST_PER_OUTPUT, "cost_per_million_output_tokens_usd"),
    (names.JOULES_PER_REQUEST, "joules_per_request"),
    (names.JOULES_PER_OUTPUT_TOKEN, "joules_per_output_token"),
    (names.JOULES_PER_TOTAL_TOKEN, "joules_per_total_token"),
)
_GAUGES = (
    (names.QUEUE_DEPTH, "queue_depth"),
    (names.RUNNING_REQUESTS, "running"),
    (names.KV_CACHE_USAGE, "kv_cache_usage"),
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a meter of work is shown."""

    model: str
    holder: Labels


class WorkFamilies:
    """Builds the families; keeps label strings between scrapes."""

    def __init__(
        self,
        node: str,
        holders: HolderLabels,
        choice: MetricChoice = EVERYTHING,
        histograms: Collection[str] = names.LATENCIES.keys(),
    ) -> None:
        self._holders = holders
        self._choice = choice
        self._caches = {
            metric.name: SeriesCache(metric, node, holder_labels=holders.names)
            for metric in names.ALL
            if metric.kind != "histogram"
        }
        self._histograms = {
            latency: HistogramCache(metric, node, holder_labels=holders.names)
            for latency, metric in names.LATENCIES.items()
            if latency in histograms
        }
        self._shape: int | None = None

    def families(self, books: Books, serving: Serving) -> list[Family]:
        """All as they stand; call with the books locked."""
        return [
            *self._work(books),
            self._tenant_costs(books.work.tenants.items()),
            *self._latency(books),
            *self._pages(serving),
            *self._economics(serving),
        ]

    def _work(self, books: Books) -> Iterable[Family]:
        work: dict[Labels, int] = {}
        phases: dict[Labels, int] = {}
        tenants: dict[Labels, int] = {}
        for key, meter in books.work.meters.items():
            place = self._place(key, folded=meter.folded)
            rest = place.model, *place.holder
            if key.kind in PHASES:
                _add(phases, (key.kind.removesuffix(_PHASE_SUFFIX), *rest), meter.amount)
                continue
            _add(work, (key.kind, *rest), meter.amount)
            if key.tenant:
                _add(tenants, ("" if meter.folded else key.tenant, key.kind, *rest), meter.amount)
        yield self._family(names.WORK, work.items())
        yield self._caches[names.PHASE_SECONDS.name].exact_family(phases.items())
        yield self._family(names.TENANT_WORK, tenants.items())

    def _place(self, key: WorkKey, *, folded: bool) -> _Place:
        if folded:
            return _Place("", self._holders.of("", OTHER))
        return _Place(key.model, self._holders.of(key.holder_kind, key.holder))

    def _tenant_costs(self, meters: Iterable[tuple[tuple[str, str, str], TenantMeter]]) -> Family:
        cache = self._caches[names.TENANT_LIST_COST.name]
        return Family(
            names.TENANT_LIST_COST,
            [
                (
                    cache.prefix(tenant, *self._holders.of(kind, name)),
                    decimal(cost_units(meter.cost_numerator), COST_PLACES),
                )
                for (kind, name, tenant), meter in meters
            ],
        )

    def _latency(self, books: Books) -> Iterable[Family]:
        rows: dict[str, list[Observed]] = {latency: [] for latency in self._histograms}
        for key, meter in books.work.latency.items():
            if key.latency in rows and not meter.folded:
                labels = key.model, *self._holders.of(key.holder_kind, key.holder)
                seen = meter.latency
                rows[key.latency].append((labels, seen.count, seen.sum_ns, seen.buckets))
        for latency, observed in rows.items():
            if books.work.shape != self._shape:
                self._histograms[latency].keep(labels for labels, *_ in observed)
            yield self._histograms[latency].family(observed)
        self._shape = books.work.shape

    def _pages(self, serving: Serving) -> Iterable[Family]:
        views = [(key, view, self._of(view.holder or NOBODY)) for key, view in serving.booker.views.items()]
        yield self._family(names.TARGET_UP, (((key, *holder), int(view.up)) for key, view, holder in views))
        if self._choice.whole(names.TARGET_INFO):
            engines = (((key, v.engine, *holder), 1) for key, v, holder in views if v.engine)
            yield self._family(names.TARGET_INFO, engines)
        for metric, name in _GAUGES:
            if not self._choice.whole(metric):
                continue
            values: dict[Labels, float] = {}
            for _, view, holder in views:
                for (model, gauge), value in view.gauges.items():
                    labels = model, *holder
                    if gauge == name:
                        before = values.get(labels, 0.0)
                        values[labels] = max(before, value) if name == "kv_cache_usage" else before + value
            yield self._family(metric, values.items())
        groups = ((holder, serving.group_of(holder)) for holder in serving.held)
        yield self._family(names.WORK_GROUP_INFO, (((*self._of(h), group), 1) for h, group in groups if group))

    def _economics(self, serving: Serving) -> Iterable[Family]:
        models: list[tuple[Labels, ModelFigures]] = [
            ((model, *self._of(holder)), found)
            for holder, figures in serving.figures.items()
            for model, found in figures.models.items()
        ]
        for metric, name in _FIGURES:
            yield self._family(metric, ((labels, getattr(found, name)) for labels, found in models))
        shown = _by_key(models, lambda found: found.work_per_joule)
        of_kinds = ((labels, value) for labels, value in shown if self._choice.value(names.WORK_PER_JOULE, labels[0]))
        yield self._family(names.WORK_PER_JOULE, of_kinds)
        yield self._family(names.COST_WITHIN_OBJECTIVE, _by_key(models, lambda found: found.within_objective_usd))
        estimates = self._choice.whole(names.FLOP_PER_JOULE_ESTIMATE)
        flops = [
            (self._of(holder), figures.flop_per_joule)
            for holder, figures in serving.figures.items()
            if estimates or not any(found.work_per_joule for found in figures.models.values())
        ]
        yield self._family(names.FLOP_PER_JOULE_ESTIMATE, flops)

    def _of(self, holder: Holder) -> Labels:
        return self._holders.of(holder.kind, holder.name)

    def _family(self, metric: Metric, rows: Iterable[tuple[Labels, int | float | None]]) -> Family:
        return self._caches[metric.name].family(rows)


def _add(sums: dict[Labels, int], labels: Labels, amount: int) -> None:
    sums[labels] = sums.get(labels, 0) + amount


def _by_key(
    models: Iterable[tuple[Labels, ModelFigures]], of: Callable[[ModelFigures], Mapping[str, float]]
) -> Iterable[tuple[Labels, float]]:
    return (((name, *labels), value) for labels, found in models for name, value in of(found).items())
