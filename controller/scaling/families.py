"""The metrics of scheduled scaling from how it stands; nothing is read to answer a scrape."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.scaling.stand import Counts, Labels, ScalingStand
from exporters import catalogue_controller as catalogue
from exporters.exposition import Family, SeriesCache
from exporters.metric import Metric

MOST_NAMESPACES = 1000
"""Series of one metric; namespaces beyond it, the smallest, are one."""
OTHER = "__other__"


@dataclass(slots=True)
class ScalingFamilies:
    """What `/metrics` shows of schedules."""

    _series: dict[Metric, SeriesCache] = field(default_factory=dict[Metric, SeriesCache])

    def metrics(self, stand: ScalingStand) -> list[Family]:
        """The families of one stand; none before the cluster was looked at."""
        if stand.looked_at is None:
            return []
        age = (stand.now - stand.looked_at).total_seconds()
        return [
            self._counts(catalogue.SCHEDULE_DOWN, capped(stand.down)),
            self._counts(catalogue.SCHEDULE_GPUS_DOWN, capped(stand.gpus_down)),
            self._one(catalogue.SCHEDULE_COMING_BACK, stand.coming_back),
            self._counts(catalogue.SCHEDULE_CONTESTED, capped(stand.contested)),
            self._counts(catalogue.SCHEDULE_SKIPPED, stand.skipped),
            self._one(catalogue.SCHEDULE_WAITING, stand.waiting),
            self._counts(catalogue.SCHEDULE_DRY_RUN, {(name,): int(dry) for name, dry in stand.dry_run.items()}),
            self._one(catalogue.SCHEDULE_POLICIES_UP, int(not stand.policies_refused)),
            self._one(catalogue.SCHEDULE_BREAKER_OPEN, int(stand.breaker_open)),
            self._one(catalogue.SCHEDULE_LOOK_AGE, age),
            self._counts(catalogue.SCHEDULE_RESTORES_OVERDUE, stand.overdue),
            self._one(catalogue.SCHEDULE_RESTORE_OVERDUE, stand.longest_overdue_seconds),
            self._of(catalogue.SCHEDULE_READY_DELAY).family(
                sorted(((name,), seconds) for name, seconds in stand.ready_delay_seconds.items())
            ),
            self._counts(catalogue.SCHEDULE_WRITES, stand.writes),
            self._one(catalogue.SCHEDULE_AUDIT_WAITING, stand.audit_waiting),
            self._one(catalogue.SCHEDULE_AUDIT_LOST, stand.audit_lost),
            self._one(catalogue.SCHEDULE_EVENTS_LOST, stand.events_lost),
            *self._of_savings(stand),
        ]

    def _of_savings(self, stand: ScalingStand) -> list[Family]:
        amounts: Mapping[Metric, Mapping[Labels, int]] = {
            catalogue.SCHEDULE_FREED_GPU: {(name,): saved.freed_ns for name, saved in stand.saved.items()},
            catalogue.SCHEDULE_FREED_USD: {
                (name, basis): nano
                for name, saved in stand.saved.items()
                for basis, nano in saved.freed_by_basis.items()
            },
            catalogue.SCHEDULE_SAVED_USD: {
                (name, basis): nano
                for name, saved in stand.saved.items()
                for basis, nano in saved.cash_by_basis.items()
            },
        }
        unknown: Counts = {(name,): saved.unknown for name, saved in stand.saved.items()}
        return [
            *(self._of(metric).exact_family(sorted(found.items())) for metric, found in amounts.items()),
            self._counts(catalogue.SCHEDULE_UNMEASURED, unknown),
        ]

    def _counts(self, metric: Metric, counts: Counts) -> Family:
        return self._of(metric).family(sorted(counts.items()))

    def _one(self, metric: Metric, value: float | None) -> Family:
        return self._of(metric).family([((), value)])

    def _of(self, metric: Metric) -> SeriesCache:
        if metric not in self._series:
            self._series[metric] = SeriesCache(metric, "")
        return self._series[metric]


def capped(counts: Counts, most: int = MOST_NAMESPACES) -> Counts:
    """Counts by namespace first, the smallest beyond the cap together, so that the sum holds."""
    if len(counts) <= most:
        return counts
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    kept = dict(ranked[:most])
    for (_, *rest), count in ranked[most:]:
        other = (OTHER, *rest)
        kept[other] = kept.get(other, 0) + count
    return kept
