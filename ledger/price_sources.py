"""Where prices come from: the configuration, the bundled list for this instance, the bundled list's median.

Each source answers with an offer or with nothing. Must never make up a price, and never give one without saying
whose it is, for when, and in what it may not fit this node.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Final, Protocol

from collectors.cloud_metadata import CloudIdentity
from collectors.errors import Misconfigured
from collectors.gpu_model import canonical_model
from collectors.price_list import ANY, PriceRow
from collectors.readings import DeviceFacts
from ledger.price import CapacityType, Price, gpu_shares, nano_usd
from ledger.price_settings import InstancePrice, NodePrice, PriceSettings

SPOT_NOTE: Final = "the node is spot, its price is not known: this is the on-demand list price"
UNSAID_NOTE: Final = "the node did not say whether it is spot"
OTHER_NOTE: Final = "the node is not on demand: this is the on-demand list price, what was paid is in the bill"
ESTIMATE_KINDS: Final = {SPOT_NOTE: "~spot", UNSAID_NOTE: "~unsaid", OTHER_NOTE: "~other"}
"""An estimate's id has one of these, so that it is not that of the same price where it is none."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A price as its source gives it, before it is split over GPUs."""

    what: str
    """What is priced: ``node``, an instance type with its region, a model."""
    nano_usd_per_hour: int
    """For all ``gpus`` together."""
    gpus: int
    source: str
    as_of: date
    capacity_type: CapacityType
    estimate: bool = False
    note: str = ""
    kind: str = ""
    """What makes it an estimate, in short; see :data:`ESTIMATE_KINDS`."""
    repeats: bool = False
    """A node may hold more than ``gpus`` of them, each set at this price."""

    @property
    def label(self) -> str:
        """What its ids begin with."""
        return f"{self.source}/{self.what}/{self.capacity_type}{self.kind}@{self.as_of.isoformat()}"

    def share(self, gpu_index: int) -> Price | None:
        """The price of the GPU at this place in the node; ``None`` past the GPUs that the offer pays for."""
        if gpu_index >= self.gpus and not self.repeats:
            return None
        nano = gpu_shares(self.nano_usd_per_hour, self.gpus)[gpu_index % self.gpus]
        return Price(
            price_id=f"{self.label}={nano}n",
            nano_usd_per_gpu_hour=nano,
            source=self.source,
            as_of=self.as_of,
            capacity_type=self.capacity_type,
            estimate=self.estimate,
            note=self.note,
        )


class PriceSource(Protocol):
    """One place where prices come from."""

    def offer(self, device: DeviceFacts) -> Offer | None:
        """Its price for this device, or ``None`` where it has none."""
        ...


class ConfiguredPrices:
    """What the configuration says: node, instance type, GPU model, then on-prem."""

    def __init__(self, settings: PriceSettings, identity: CloudIdentity | None, gpu_count: int) -> None:
        self._settings = settings
        self._spot = identity.capacity_type == "spot" if identity and identity.capacity_type else None
        self._cloud = identity is not None
        self._whole = _node_offer(settings.node, gpu_count) or _instance_offer(
            [price for price in settings.instances if self._fits(price.capacity_type)], identity
        )

    def offer(self, device: DeviceFacts) -> Offer | None:
        """The most particular price that fits."""
        return self._whole or self._model(device) or (None if self._cloud else self._on_prem(device))

    def _fits(self, capacity_type: CapacityType) -> bool:
        """A spot price is for spot nodes only; where the node's kind is not known every price fits."""
        return self._spot is None or self._spot == (capacity_type == "spot")

    def _model(self, device: DeviceFacts) -> Offer | None:
        names = _names(device)
        fitting = [p for p in self._settings.models if p.model in names and self._fits(p.capacity_type)]
        # where the node's kind is not known, not the spot price of two
        for price in sorted(fitting, key=lambda price: (price.capacity_type == "spot", names.index(price.model))):
            nano = nano_usd(price.usd_per_gpu_hour)
            return Offer(price.model, nano, 1, "config", price.as_of, price.capacity_type, repeats=True)
        return None

    def _on_prem(self, device: DeviceFacts) -> Offer | None:
        priced = {price.model: price for price in self._settings.on_prem}
        for name in (*_names(device), ANY):
            if price := priced.get(name):
                note = f"capital over {price.years} years, {price.mean_watts} W and PUE {price.pue} as configured"
                return Offer(
                    what="any-model" if name == ANY else name,
                    nano_usd_per_hour=price.nano_usd_per_hour(),
                    gpus=price.gpus,
                    source="on_prem",
                    as_of=price.as_of,
                    capacity_type="on_prem",
                    note=note,
                    repeats=True,
                )
        return None


class BundledInstancePrices:
    """What the bundled list says of the instance that this node is."""

    def __init__(self, rows: Iterable[PriceRow], identity: CloudIdentity | None, gpu_count: int) -> None:
        self._identity = identity
        self._gpu_count = gpu_count
        self._rows = (
            [r for r in rows if (r.provider, r.instance_type) == (identity.provider, identity.instance_type)]
            if identity
            else []
        )

    def offer(self, device: DeviceFacts) -> Offer | None:
        """The list price of the instance: its own region before any other, the newest first.

        A spot node gets the spot price where one is published, else the on-demand list price, called that.
        """
        if self._identity is None:
            return None
        rows = self._of_model(canonical_model(device.name), named=bool(device.name))
        spot = [row for row in rows if row.capacity_type == "spot"]
        wanted = spot if self._identity.capacity_type == "spot" and spot else []
        candidates = wanted or [row for row in rows if row.capacity_type == "on_demand"]
        if not candidates:
            return None
        return self._describe(max(candidates, key=lambda row: (row.region == self._region, row.as_of)))

    @property
    def _region(self) -> str | None:
        return self._identity.region if self._identity else None

    def _of_model(self, model: str | None, *, named: bool) -> list[PriceRow]:
        """Rows for this model and number of GPUs; fewer GPUs than the instance has may be seen, never more.

        Where one machine type is sold with several sets of GPUs (Google's n1) the number must be that of the row. Of a
        node that nobody measured the model has no name; it is the machine type's, where that has one set of GPUs.
        """
        sets = {(row.gpu_model, row.gpu_count) for row in self._rows}
        fixed = len(sets) == 1
        return [
            row
            for row in self._rows
            if (row.gpu_model == model or (fixed and not named))
            and (self._gpu_count == row.gpu_count or (fixed and self._gpu_count < row.gpu_count))
        ]

    def _describe(self, row: PriceRow) -> Offer:
        notes: list[str] = []
        node = self._identity.capacity_type if self._identity else None
        if node == "spot" and row.capacity_type != "spot":
            notes.append(SPOT_NOTE)
        if node is None:
            notes.append(UNSAID_NOTE)
        kind = "".join(map(ESTIMATE_KINDS.__getitem__, notes))
        if row.region != self._region:
            where = "a region that the list does not name" if row.region == ANY else row.region
            notes.append(f"the list has no price for {self._region}: this is that of {where}")
            kind += f"~{self._region}"
        return Offer(
            what=f"{row.provider}/{row.region}/{row.instance_type}",
            nano_usd_per_hour=row.nano_usd_per_hour,
            gpus=row.gpu_count,
            source=f"bundled:{row.source}",
            as_of=row.as_of,
            capacity_type=row.capacity_type,
            estimate=bool(notes),
            note="; ".join(notes),
            kind=kind,
        )


class MarketMedian:
    """The middle of what the providers of the bundled list ask for a GPU model on demand: an estimate, called one."""

    def __init__(self, rows: Iterable[PriceRow]) -> None:
        newest: dict[tuple[str, str, str, int], PriceRow] = {}
        for row in rows:
            if row.capacity_type != "on_demand":
                continue
            key = (row.gpu_model, row.provider, row.instance_type, row.gpu_count)
            newest[key] = max(newest.get(key, row), row, key=lambda row: row.as_of)
        self._rows: dict[str, list[PriceRow]] = {}
        for row in newest.values():
            self._rows.setdefault(row.gpu_model, []).append(row)

    def offer(self, device: DeviceFacts) -> Offer | None:
        """The median over providers of each one's median per GPU-hour; as of the oldest row in it."""
        model = canonical_model(device.name)
        rows = self._rows.get(model or "", [])
        if model is None or not rows:
            return None
        asked: dict[str, list[Fraction]] = {}
        for row in rows:
            asked.setdefault(row.provider, []).append(Fraction(row.nano_usd_per_hour, row.gpu_count))
        middle = round(_median([_median(prices) for prices in asked.values()]))
        return Offer(
            what=model,
            nano_usd_per_hour=middle,
            gpus=1,
            source=f"bundled:median-of-{len(asked)}",
            as_of=min(row.as_of for row in rows),
            capacity_type="on_demand",
            estimate=True,
            note="nobody gave this node's price: "
            + (
                f"the median of {len(asked)} providers of the bundled list"
                if len(asked) > 1
                else "that of the only provider of the bundled list that sells the model"
            ),
            repeats=True,
        )


def _names(device: DeviceFacts) -> tuple[str, ...]:
    """What a person may call the device's model: as the driver does, or by its key."""
    model = canonical_model(device.name)
    return (device.name,) if model is None else (device.name, model)


def _node_offer(price: NodePrice | None, gpu_count: int) -> Offer | None:
    if price is None or (gpu_count < 1 and price.gpus is None):
        return None
    gpus = price.gpus or gpu_count
    if gpus < gpu_count:
        raise Misconfigured(
            f"prices.node.gpus is {gpus}, but the node has {gpu_count} GPUs: give the price of all of them,"
            " or leave gpus out"
        )
    return Offer("node", nano_usd(price.usd_per_hour), gpus, "config", price.as_of, price.capacity_type)


def _instance_offer(prices: Sequence[InstancePrice], identity: CloudIdentity | None) -> Offer | None:
    fitting = [
        price
        for price in prices
        if identity and price.instance_type == identity.instance_type and price.region in (identity.region, ANY)
    ]
    if not fitting:
        return None
    # the region's own line before that for all; where the node's kind is not known, not the spot price of two
    price = min(fitting, key=lambda price: (price.region == ANY, price.capacity_type == "spot"))
    return Offer(
        what=price.instance_type,
        nano_usd_per_hour=nano_usd(price.usd_per_hour),
        gpus=price.gpus,
        source="config",
        as_of=price.as_of,
        capacity_type=price.capacity_type,
    )


def _median(values: Sequence[Fraction]) -> Fraction:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
