"""The books as families: exact counters by account and holder, and the devices' control figures beside them.

Owns which meter goes into which series: the cap's folding, and the sum over methods where a family has no such label.
That assignment changes only when meters come or go, so a scrape is a pass over prebuilt label strings.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from agent.books import Books, DeviceMeter, Meter
from exporters import catalogue_books as names
from exporters.exposition import Family, Labels, SeriesCache, decimal
from exporters.folding import Folded, fold
from exporters.metric import Metric
from ledger.hours import CellKey

COST_PLACES = 15
_NUMERATOR_PER_UNIT = 3_600_000
"""A cost numerator (nanoseconds x nano-dollars an hour) over this is 10^-15 dollars."""

_Value = Callable[[Meter], int | None]


def _cost_units(numerator: int) -> int:
    return numerator // _NUMERATOR_PER_UNIT


def _seconds_labels(key: CellKey) -> Labels:
    return key.gpu_uuid, key.mig, key.account, key.method, key.holder_kind, key.holder


def _labels(key: CellKey) -> Labels:
    return key.gpu_uuid, key.mig, key.account, key.holder_kind, key.holder


@dataclass(frozen=True, slots=True)
class _Spec:
    metric: Metric
    labels: Callable[[CellKey], Labels]
    value: _Value
    places: int


SPECS = (
    _Spec(names.ACCOUNT_GPU_SECONDS, _seconds_labels, lambda meter: meter.gpu_ns, 9),
    _Spec(names.ACCOUNT_ENERGY, _labels, lambda meter: meter.energy_mj, 3),
    _Spec(names.ACCOUNT_LIST_COST, _labels, lambda meter: meter.cost_numerator, COST_PLACES),
)


@dataclass(slots=True)
class _Assigned:
    """A family's series and the meters that make each up."""

    spec: _Spec
    cache: SeriesCache
    series: list[tuple[str, list[Meter]]] = field(default_factory=list[tuple[str, list[Meter]]])
    folded: Folded | None = None

    def assign(self, meters: Iterable[tuple[CellKey, Meter]], cap: int) -> None:
        sums: dict[Labels, int] = {}
        members: dict[Labels, list[Meter]] = {}
        for key, meter in meters:
            value = self.spec.value(meter)
            if value is None:
                continue
            labels = self.spec.labels(key)
            sums[labels] = sums.get(labels, 0) + value
            members.setdefault(labels, []).append(meter)
        self.folded = fold(sums, cap, before=self.folded)
        shown: dict[Labels, list[Meter]] = {labels: [] for labels in self.folded.series}
        other = next(iter(shown), ())
        for labels, parts in members.items():
            if labels in self.folded.hidden:
                other = (*labels[:-2], "", "__other__")
                shown[other].extend(parts)
            else:
                shown[labels].extend(parts)
        self.series = [(self.cache.prefix(*labels), parts) for labels, parts in shown.items()]

    def family(self) -> Family:
        value, places = self.spec.value, self.spec.places
        scale = _NUMERATOR_PER_UNIT if places == COST_PLACES else 1
        lines = [
            (
                prefix,
                decimal((value(parts[0]) or 0) // scale, places)
                if len(parts) == 1
                else decimal(sum(value(part) or 0 for part in parts) // scale, places),
            )
            for prefix, parts in self.series
        ]
        return Family(self.spec.metric, lines)


class AccountFamilies:
    """Families of one node's books."""

    def __init__(self, node: str, cap: int) -> None:
        self._cap = cap
        self._assigned = [_Assigned(spec, SeriesCache(spec.metric, node)) for spec in SPECS]
        self._controls = {
            metric.name: SeriesCache(metric, node)
            for metric in (names.GPU_ACCOUNTED_SECONDS, names.GPU_ENERGY, names.GPU_LIST_COST, names.SERIES_FOLDED)
        }
        self._shape: tuple[int, int] | None = None

    def families(self, books: Books) -> list[Family]:
        """The books as they stand; call with the books locked."""
        shape = books.shape, id(books.meters)
        if shape != self._shape:
            present = [(key, meter) for key, meter in books.meters.items() if key.gpu_uuid in books.bases]
            for assigned in self._assigned:
                assigned.assign(present, self._cap)
            self._shape = shape
        return [*(assigned.family() for assigned in self._assigned), *self._control_families(books)]

    def _control_families(self, books: Books) -> list[Family]:
        devices = {uuid: device for uuid, device in books.devices.items() if uuid in books.bases}
        folded = {assigned.spec.metric.name: assigned.folded.holders for assigned in self._assigned if assigned.folded}
        return [
            self._control(names.GPU_ACCOUNTED_SECONDS, devices, lambda d: d.accounted_ns, 9),
            self._control(names.GPU_ENERGY, devices, lambda d: d.energy_mj, 3),
            self._control(
                names.GPU_LIST_COST,
                devices,
                lambda d: None if d.cost_numerator is None else _cost_units(d.cost_numerator),
                COST_PLACES,
            ),
            self._controls[names.SERIES_FOLDED.name].family(((name,), count) for name, count in folded.items()),
        ]

    def _control(
        self,
        metric: Metric,
        devices: Mapping[str, DeviceMeter],
        value: Callable[[DeviceMeter], int | None],
        places: int,
    ) -> Family:
        cache = self._controls[metric.name]
        amounts = ((uuid, value(device)) for uuid, device in devices.items())
        return Family(
            metric, [(cache.prefix(uuid), decimal(amount, places)) for uuid, amount in amounts if amount is not None]
        )
