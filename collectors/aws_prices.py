"""What AWS asks for its instances: on-demand list prices, the history of spot prices, and what an instance is made of.

Owns the shapes of three answers: ``pricing:GetProducts``, ``ec2:DescribeSpotPriceHistory``,
``ec2:DescribeInstanceTypes``. Decides nothing about which price is used. Must never read money as a float, nor let a
price of zero or below pass.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, cast

from collectors.aws_client import Client, Page, pages
from collectors.errors import Unavailable
from collectors.kube_json import JsonObject, child, children, text

SPOT_PRODUCT = "Linux/UNIX"
SPOT_HISTORY_DAYS = 90
"""What EC2 can still tell of the past."""
_NANO = Decimal(1_000_000_000)
_HIGHEST_USD_PER_HOUR = Decimal(100_000)
"""A price above it is a slipped column; the dearest instance is below 1,000."""


@dataclass(frozen=True, slots=True)
class OnDemandPrice:
    """The list price of an instance type in a region: Linux, shared tenancy, nothing installed."""

    region: str
    instance_type: str
    nano_usd_per_hour: int
    effective_at: datetime
    """Since when the price list says that it holds."""


@dataclass(frozen=True, slots=True)
class SpotChange:
    """A spot price, in force in its zone from ``changed_at`` until the next change."""

    region: str
    zone: str
    instance_type: str
    nano_usd_per_hour: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class SpotHistory:
    """What was read, and what was not taken."""

    changes: tuple[SpotChange, ...]
    refused: tuple[str, ...] = ()
    """One line each: a zone and type with a price that cannot be one. All its changes of this reading are left out,
    since nobody knows what held in between."""


@dataclass(frozen=True, slots=True)
class OnDemandPrices:
    """What was read, and what was not taken."""

    prices: tuple[OnDemandPrice, ...]
    refused: tuple[str, ...] = ()
    """One line each: a type that has no price, two of them, or one that cannot be."""


@dataclass(frozen=True, slots=True)
class InstanceShape:
    """What an instance type is made of."""

    instance_type: str
    vcpus: int
    memory_mib: int
    gpu_count: int
    """Of NVIDIA's, fractions counted as one each; 0 where it has none."""
    gpu_model: str
    """As AWS calls it, such as ``H100``; empty without GPUs."""
    gpu_memory_mib: int
    gpu_partition: str
    """The part of a GPU that each is, decimal: ``1``, or ``0.125`` and the like (g6f)."""


def pricing_endpoint(region: str) -> str:
    """The region whose price list endpoint is nearest: there are three, and each knows the prices of all regions."""
    if region.startswith(("eu-", "il-", "af-")):
        return "eu-central-1"
    return "ap-south-1" if region.startswith(("ap-", "me-")) else "us-east-1"


def on_demand_prices(pricing: Client, endpoint: str, region: str, instance_types: Iterable[str]) -> OnDemandPrices:
    """The list prices in force now.

    Args:
        pricing: a client of ``pricing`` in one of its three regions.
        endpoint: that region, for messages.
        region: whose prices.
        instance_types: of which types; one request each.

    Raises:
        Unavailable: no answer, no permission, throttled, or an answer that is none.
        Misconfigured: no credentials.
    """
    found: list[OnDemandPrice] = []
    refused: list[str] = []
    for instance_type in sorted(set(instance_types)):
        try:
            found.append(_on_demand(pricing, endpoint, region, instance_type))
        except _RefusedPrice as why:
            refused.append(f"AWS price list, {instance_type} in {region}: {why}")
    return OnDemandPrices(tuple(found), tuple(refused))


def spot_history(ec2: Client, region: str, instance_types: Iterable[str], since: datetime) -> SpotHistory:
    """The spot prices of Linux in every zone of ``region`` from ``since`` on, oldest first.

    The first of each zone and type is the last change before ``since``, which is the price then in force.

    Args:
        ec2: a client of ``ec2`` in that region.
        region: its name.
        instance_types: of which types.
        since: at most 90 days ago; AWS does not know more.

    Raises:
        Unavailable: no answer, no permission, throttled, or an answer that is none.
        Misconfigured: no credentials.
    """
    wanted = sorted(set(instance_types))
    if not wanted:
        return SpotHistory(())
    said = pages(
        ec2,
        "describe_spot_price_history",
        ("ec2", region, "ec2:DescribeSpotPriceHistory"),
        InstanceTypes=wanted,
        ProductDescriptions=[SPOT_PRODUCT],
        StartTime=since,
    )
    series: dict[tuple[str, str], dict[datetime, SpotChange]] = defaultdict(dict)
    refused: dict[tuple[str, str], str] = {}
    for entry in _entries(said, "SpotPriceHistory"):
        place = str(entry.get("AvailabilityZone", "")), str(entry.get("InstanceType", ""))
        try:
            change = _spot_change(region, *place, entry)
        except _RefusedPrice as why:
            refused.setdefault(place, f"AWS spot price, {place[1]} in {place[0]}: {why}; the former price stays")
            continue
        series[place][change.changed_at] = change
    changes = [
        change
        for place in sorted(series)
        if place not in refused
        for _, change in sorted(series[place].items(), key=lambda item: item[0])
    ]
    return SpotHistory(tuple(changes), tuple(refused[place] for place in sorted(refused)))


def instance_shapes(ec2: Client, region: str, instance_types: Iterable[str]) -> tuple[InstanceShape, ...]:
    """What the types are made of; one that the region does not know is left out.

    Raises:
        Unavailable: no answer, no permission, throttled, or an answer that is none.
        Misconfigured: no credentials.
    """
    wanted = sorted(set(instance_types))
    if not wanted:
        return ()
    said = pages(
        ec2,
        "describe_instance_types",
        ("ec2", region, "ec2:DescribeInstanceTypes"),
        # not by name: one unknown name fails the whole request
        Filters=[{"Name": "instance-type", "Values": wanted}],
    )
    return tuple(sorted(map(_shape, _entries(said, "InstanceTypes")), key=lambda shape: shape.instance_type))


class _RefusedPrice(Exception):  # noqa: N818  (it never leaves this module)
    """Why a price is not taken."""


def _on_demand(pricing: Client, endpoint: str, region: str, instance_type: str) -> OnDemandPrice:
    terms = {
        "instanceType": instance_type,
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    said = pages(
        pricing,
        "get_products",
        ("pricing", endpoint, "pricing:GetProducts"),
        ServiceCode="AmazonEC2",
        FormatVersion="aws_v1",
        Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in terms.items()],
    )
    prices = {price for page in said for product in _products(page, endpoint) for price in _hourly(product)}
    if not prices:
        raise _RefusedPrice("the list has no on-demand price of it; see whether the region sells it")
    if len({nano for nano, _ in prices}) > 1:
        figures = " and ".join(str(Decimal(nano) / _NANO) for nano, _ in sorted(prices))
        raise _RefusedPrice(f"the list has more than one on-demand price, {figures} USD; set prices.instances")
    nano, effective_at = min(prices, key=lambda price: price[1])
    return OnDemandPrice(region, instance_type, nano, effective_at)


def _products(page: Page, endpoint: str) -> Iterator[JsonObject]:
    for product in page.get("PriceList", ()):
        try:
            document: object = json.loads(product, parse_float=str)
        except ValueError as error:
            raise Unavailable(f"AWS pricing in {endpoint} gave a product that is no JSON ({error})") from error
        yield child(document)


def _hourly(product: JsonObject) -> Iterator[tuple[int, datetime]]:
    """Nano-dollars an hour and since when, of the on-demand terms; a capacity block's figure is none."""
    if text(product, "product", "attributes", "marketoption") not in ("", "OnDemand"):
        return
    for term in _members(child(product, "terms", "OnDemand")):
        since = _moment(text(term, "effectiveDate"))
        for dimension in _members(child(term, "priceDimensions")):
            if text(dimension, "unit") != "Hrs":
                raise _RefusedPrice(f"priced by {text(dimension, 'unit')!r}, not by Hrs; set prices.instances")
            per_unit = child(dimension, "pricePerUnit")
            if "USD" not in per_unit:
                raise _RefusedPrice(f"priced in {', '.join(per_unit) or 'nothing'}, not in USD; set prices.instances")
            yield _nano_usd(per_unit["USD"]), since


def _members(value: JsonObject) -> Sequence[JsonObject]:
    return children({"members": list(value.values())}, "members")


def _spot_change(region: str, zone: str, instance_type: str, entry: Mapping[str, Any]) -> SpotChange:
    changed_at = entry.get("Timestamp")
    if not zone or not instance_type or not isinstance(changed_at, datetime):
        raise _RefusedPrice(f"an entry without zone, type or time: {str(dict(entry))[:120]}")
    nano = _nano_usd(entry.get("SpotPrice"))
    return SpotChange(region, zone, instance_type, nano, changed_at.astimezone(UTC))


def _shape(entry: Mapping[str, Any]) -> InstanceShape:
    gpus = [gpu for gpu in entry.get("GpuInfo", {}).get("Gpus", ()) if gpu.get("Manufacturer", "") == "NVIDIA"]
    # of a fraction of a GPU EC2 counts 0, and 1 as a logical one
    counts = [max(int(gpu.get("Count", 0)), int(gpu.get("LogicalGpuCount", 0))) for gpu in gpus]
    each_mib = [int(gpu.get("MemoryInfo", {}).get("SizeInMiB", 0)) for gpu in gpus]
    part = Decimal(str(gpus[0].get("GpuPartitionSize", 1) if gpus else 1)).normalize()
    return InstanceShape(
        instance_type=str(entry["InstanceType"]),
        vcpus=int(entry.get("VCpuInfo", {}).get("DefaultVCpus", 0)),
        memory_mib=int(entry.get("MemoryInfo", {}).get("SizeInMiB", 0)),
        gpu_count=sum(counts),
        gpu_model=str(gpus[0].get("Name", "")) if gpus else "",
        gpu_memory_mib=sum(count * mib for count, mib in zip(counts, each_mib, strict=True)),
        gpu_partition=f"{part:f}",
    )


def _entries(said: Iterator[Page], name: str) -> Iterator[Mapping[str, Any]]:
    for page in said:
        yield from cast("Iterable[Mapping[str, Any]]", page.get(name, ()))


def _nano_usd(figure: object) -> int:
    """Nano-dollars, rounded once, half to even."""
    try:
        usd = Decimal(figure) if isinstance(figure, str) else Decimal("NaN")
    except InvalidOperation:
        usd = Decimal("NaN")
    if not usd.is_finite():
        raise _RefusedPrice(f"found {figure!r}, which is no decimal")
    nano = int((usd * _NANO).quantize(Decimal(1), ROUND_HALF_EVEN)) if abs(usd) <= _HIGHEST_USD_PER_HOUR else 0
    if nano <= 0:
        raise _RefusedPrice(f"found {figure} USD; a price is above 0 and at most {_HIGHEST_USD_PER_HOUR}")
    return nano


def _moment(said: str) -> datetime:
    try:
        moment = datetime.fromisoformat(said)
    except ValueError as error:
        raise _RefusedPrice(f"found the date {said!r}, which is none") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
