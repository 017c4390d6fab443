"""Histograms on the page: cumulative buckets, count and sum, from sums that hold each observation in one bucket.

Owns the label strings of buckets. It never drops a bound that was shown before: a series that went would look like a
fall.
"""

from collections.abc import Iterable, Mapping

from exporters.exposition import Family, Labels, Line, SeriesCache, decimal, escape
from exporters.metric import HOST_HOLDER_LABELS, Metric

_NS_PER_SECOND = 1_000_000_000
_PLACES = 9

Observed = tuple[Labels, int, int, Mapping[int, int]]
"""Labels, count, sum in nanoseconds, and by upper bound in nanoseconds how many observations are in that bucket."""


class HistogramCache:
    """The series of one histogram on one node."""

    def __init__(self, metric: Metric, node: str, *, holder_labels: tuple[str, ...] = HOST_HOLDER_LABELS) -> None:
        self.metric = metric
        self._series = SeriesCache(metric, node, holder_labels=holder_labels)
        self._bounds: dict[tuple[Labels, int], str] = {}

    def family(self, rows: Iterable[Observed]) -> Family:
        """All series; what was never observed has none."""
        lines: list[Line] = []
        for labels, count, sum_ns, buckets in rows:
            if count:
                lines.extend(self._lines(labels, count, sum_ns, buckets))
        return Family(self.metric, lines)

    def keep(self, shown: Iterable[Labels]) -> None:
        """Let go of the label strings of all other series."""
        kept = set(shown)
        self._bounds = {key: prefix for key, prefix in self._bounds.items() if key[0] in kept}

    def _lines(self, labels: Labels, count: int, sum_ns: int, buckets: Mapping[int, int]) -> Iterable[Line]:
        below = 0
        for bound_ns in sorted(buckets):
            below += buckets[bound_ns]
            yield self._bucket(labels, bound_ns), below
        yield self._bucket(labels, -1), count
        plain = self._series.prefix(*labels)
        yield self._named(plain, "_sum"), decimal(sum_ns, _PLACES)
        yield self._named(plain, "_count"), count

    def _bucket(self, labels: Labels, bound_ns: int) -> str:
        """The series of one bound; -1 is that without end."""
        known = self._bounds.get((labels, bound_ns))
        if known is None:
            bound = "+Inf" if bound_ns < 0 else repr(bound_ns / _NS_PER_SECOND)
            plain = self._named(self._series.prefix(*labels), "_bucket")
            known = self._bounds[labels, bound_ns] = f'{plain[:-2]},le="{escape(bound)}"}} '
        return known

    def _named(self, prefix: str, suffix: str) -> str:
        name = self.metric.name
        return f"{name}{suffix}{prefix[len(name) :]}"
