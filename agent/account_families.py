"""The books as families: exact counters by account and holder, and the devices' control figures beside them.

Owns which meter goes into which series: the cap's folding, and the sum over methods where a family has no such label.
That assignment changes only when meters come or go, so a scrape is a pass over prebuilt label strings.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from agent.books import OTHER, Books, DeviceMeter, Meter
from agent.holder_labels import HolderLabels
from exporters import catalogue_books as names
from exporters.exposition import Family, Labels, SeriesCache, decimal, decimals
from exporters.metric import Metric
from ledger.accounts import Account
from ledger.hours import CellKey

COST_PLACES = 15
_NUMERATOR_PER_UNIT = 3_600_000
"""A cost numerator (nanoseconds x nano-dollars an hour) over this is 10^-15 dollars."""


def cost_units(numerator: int) -> int:
    """A cost numerator in units of 10^-15 dollars, rounded down."""
    return numerator // _NUMERATOR_PER_UNIT


@dataclass(frozen=True, slots=True)
class _Spec:
    metric: Metric
    with_method: bool
    value: Callable[[Meter], int | None]
    places: int
    scale: int = 1
    """How many of the books' units are one of the last place."""
    account: Account | None = None
    """The only account that counts; the family then has its holder's labels and no others."""

    def labels(self, key: CellKey, holder: Labels) -> Labels:
        if self.account is not None:
            return holder
        method = (key.method,) if self.with_method else ()
        return key.gpu_uuid, key.mig, key.account, *method, *holder


SPECS = (
    _Spec(names.ACCOUNT_GPU_SECONDS, with_method=True, value=attrgetter("gpu_ns"), places=9),
    _Spec(names.ACCOUNT_ENERGY, with_method=False, value=attrgetter("energy_mj"), places=3),
    _Spec(
        names.ACCOUNT_LIST_COST,
        with_method=False,
        value=attrgetter("cost_numerator"),
        places=COST_PLACES,
        scale=_NUMERATOR_PER_UNIT,
    ),
    _Spec(
        names.UTILIZATION_GAP_COST,
        with_method=False,
        value=attrgetter("cost_numerator"),
        places=COST_PLACES,
        scale=_NUMERATOR_PER_UNIT,
        account=Account.IDLE,
    ),
)


@dataclass(slots=True)
class _Assigned:
    """A family's series and the meters that make each up."""

    spec: _Spec
    cache: SeriesCache
    holders: HolderLabels
    prefixes: list[str] = field(default_factory=list[str])
    meters: list[Meter] = field(default_factory=list[Meter])
    sums: list[tuple[str, list[Meter]]] = field(default_factory=list[tuple[str, list[Meter]]])
    folded_holders: int = 0

    def assign(self, meters: Iterable[tuple[CellKey, Meter]]) -> None:
        members: dict[Labels, list[Meter]] = {}
        folded: set[tuple[str, str]] = set()
        for key, meter in meters:
            if self.spec.value(meter) is None or self.spec.account not in (None, key.account):
                continue
            if meter.folded:
                folded.add((key.holder_kind, key.holder))
            holder = self.holders.of("", OTHER) if meter.folded else self.holders.of(key.holder_kind, key.holder)
            members.setdefault(self.spec.labels(key, holder), []).append(meter)
        series = [(self.cache.prefix(*labels), parts) for labels, parts in members.items()]
        self.cache.forget_all_but(prefix for prefix, _ in series)
        self.prefixes = [prefix for prefix, parts in series if len(parts) == 1]
        self.meters = [parts[0] for _, parts in series if len(parts) == 1]
        self.sums = [(prefix, parts) for prefix, parts in series if len(parts) > 1]
        self.folded_holders = len(folded)

    def family(self) -> Family:
        value, scale = self.spec.value, self.spec.scale
        amounts = [(value(meter) or 0) // scale for meter in self.meters]
        sums = [sum([value(meter) or 0 for meter in parts]) // scale for _, parts in self.sums]
        prefixes = [*self.prefixes, *(prefix for prefix, _ in self.sums)]
        return Family(self.spec.metric, list(zip(prefixes, decimals([*amounts, *sums], self.spec.places), strict=True)))


@dataclass(slots=True)
class _Gaps:
    """Idle over held and measured time since the counters began, by holder."""

    cache: SeriesCache
    holders: HolderLabels
    series: list[tuple[str, list[Meter], list[Meter]]] = field(
        default_factory=list[tuple[str, list[Meter], list[Meter]]]
    )

    def assign(self, meters: Iterable[tuple[CellKey, Meter]]) -> None:
        held: dict[tuple[str, str], tuple[list[Meter], list[Meter]]] = {}
        for key, meter in meters:
            if key.holder and key.account in (Account.ACTIVE, Account.IDLE):
                idle, whole = held.setdefault((key.holder_kind, key.holder), ([], []))
                whole.append(meter)
                if key.account == Account.IDLE:
                    idle.append(meter)
        self.series = [(self.cache.prefix(*self.holders.of(*who)), *meters) for who, meters in held.items()]
        self.cache.forget_all_but(prefix for prefix, _, _ in self.series)

    def family(self) -> Family:
        lines: list[tuple[str, float]] = []
        for prefix, idle, whole in self.series:
            total_ns = sum([meter.gpu_ns for meter in whole])
            if total_ns:
                lines.append((prefix, sum([meter.gpu_ns for meter in idle]) / total_ns))
        return Family(self.cache.metric, lines)


class AccountFamilies:
    """Families of one node's books."""

    def __init__(self, node: str, holders: HolderLabels = HolderLabels()) -> None:  # noqa: B008  (frozen)
        self._assigned = [
            _Assigned(spec, SeriesCache(spec.metric, node, holder_labels=holders.names), holders) for spec in SPECS
        ]
        self._gaps = _Gaps(SeriesCache(names.UTILIZATION_GAP, node, holder_labels=holders.names), holders)
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
                assigned.assign(present)
            self._gaps.assign(present)
            self._shape = shape
        accounts = [assigned.family() for assigned in self._assigned]
        return [*accounts, self._gaps.family(), *self._control_families(books)]

    def _control_families(self, books: Books) -> list[Family]:
        devices = {uuid: device for uuid, device in books.devices.items() if uuid in books.bases}
        folded = {assigned.spec.metric.name: assigned.folded_holders for assigned in self._assigned}
        return [
            self._control(names.GPU_ACCOUNTED_SECONDS, devices, lambda d: d.accounted_ns, 9),
            self._control(names.GPU_ENERGY, devices, lambda d: d.energy_mj, 3),
            self._control(
                names.GPU_LIST_COST,
                devices,
                lambda d: None if d.cost_numerator is None else cost_units(d.cost_numerator),
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
