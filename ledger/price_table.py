"""The price of every node-hour: configuration, then the cloud's live price, then the bundled list; and each price used.

Owns the order of sources for the ledger and the identity of a price. Every price here is a list price; what
commitments and discounts made of it stands in the bill, as effective cost, and never in this table. Must never make up
a price: an hour that nobody can price has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

import polars as pl

from collectors.cloud_metadata import CloudCapacityType, CloudIdentity, Provider
from collectors.price_list import PriceRow
from collectors.readings import DeviceFacts
from ledger.price import gpu_shares
from ledger.price_live import ON_DEMAND_SOURCE, SERIES, SPOT_SOURCE, in_force
from ledger.price_live_settings import LivePriceSettings
from ledger.price_settings import PriceSettings
from ledger.price_sources import (
    ESTIMATE_KINDS,
    OTHER_NOTE,
    SPOT_NOTE,
    UNSAID_NOTE,
    BundledInstancePrices,
    ConfiguredPrices,
    MarketMedian,
    Offer,
)
from ledger.tables import PRICES, conform

PRICED = {
    "price_id": pl.String,
    "nano_usd_per_node_hour": pl.Int64,
    "price_source": pl.String,
    "price_as_of": pl.Date,
    "price_capacity_type": pl.String,
    "price_estimate": pl.Boolean,
    "price_note": pl.String,
    "price_stale": pl.Boolean,
}
"""What pricing adds to a node-hour. All null where there is no price, but ``price_id``, which is empty then."""

_KEY = ("_own", "provider", "region", "instance_type", "capacity_type", "gpu_model", "gpu_count", "_total")
_KIND = (*_KEY, "hour_utc", "zone", "_before")
_OFFER = {
    "label": pl.String,
    "nano": pl.Int64,
    "source": pl.String,
    "as_of": pl.Date,
    "capacity": pl.String,
    "estimate": pl.Boolean,
    "note": pl.String,
    "of_provider": pl.String,  # with the two below: what the offer is of, empty where it is of any
    "of_region": pl.String,
    "of_zone": pl.String,
    "of_type": pl.String,
    "of_gpus": pl.Boolean,  # the figure is that of the row's GPUs, not of the whole node
}


@dataclass(frozen=True, slots=True)
class LedgerPrices:
    """What is known apart from live prices."""

    settings: PriceSettings
    rows: Sequence[PriceRow]
    """The bundled list."""
    live: LivePriceSettings
    own_node: str = ""
    """The node that ``prices.node`` is for; empty in a fleet, where that setting is passed over."""


@dataclass(frozen=True, slots=True)
class PricedHours:
    """Node-hours with their prices."""

    hours: pl.DataFrame
    """The rows given, with the columns of :data:`PRICED`, sorted by hour, cluster, node and model."""
    prices: pl.DataFrame
    """Rows of the table ``prices``: each price used, once."""


def price_node_hours(
    hours: pl.LazyFrame, known: LedgerPrices, spot: pl.LazyFrame, on_demand: pl.LazyFrame
) -> PricedHours:
    """The price in force in each node-hour, by list, for the whole node.

    Args:
        hours: ``hour_utc``, the columns of ``tables.PLACE``, ``gpu_model`` and ``gpu_count``: one row for each
            node-hour and GPU model. Where a node holds several models, its price is split over them by their numbers.
        known: configuration and bundled list.
        spot: rows of ``spot_prices``.
        on_demand: rows of ``on_demand_prices``.

    Raises:
        Misconfigured: the price configured for the own node is for fewer GPUs than it has.
    """
    node = ("hour_utc", "cluster", "node", "instance_id")
    count = pl.col("gpu_count").cast(pl.Int64)
    placed = (
        hours.with_columns(((pl.col("node") == known.own_node) & bool(known.own_node)).alias("_own"))
        .sort(*node, "gpu_model")
        .with_columns(count.sum().over(node).alias("_total"), (count.cum_sum().over(node) - count).alias("_before"))
        .collect()
    )
    kinds = _priced_kinds(placed.lazy().select(_KIND).unique(maintain_order=True), known, spot, on_demand)
    frame = placed.join(kinds, on=_KIND, how="left", nulls_equal=True, maintain_order="left")
    columns = [*hours.collect_schema().names(), *PRICED]
    return PricedHours(frame.select(columns), _price_rows(kinds.lazy()))


def _priced_kinds(
    kinds: pl.LazyFrame, known: LedgerPrices, spot: pl.LazyFrame, on_demand: pl.LazyFrame
) -> pl.DataFrame:
    """Node-hours that are priced alike, each kind once: a fleet has few."""
    places = kinds.select(_KEY).unique().collect()
    offers = pl.concat([places, _offers(places, known)], how="horizontal")
    priced = _live(kinds, spot, on_demand).join(offers.lazy(), on=_KEY, how="left", nulls_equal=True)
    chosen = priced.with_columns(_choice().alias("_offer")).unnest("_offer")
    done = chosen.with_columns(_stale(known).alias("price_stale"), _part().alias("nano")).with_columns(_priced())
    return done.sort(_KIND).collect()


def _live(placed: pl.LazyFrame, spot: pl.LazyFrame, on_demand: pl.LazyFrame) -> pl.LazyFrame:
    """With the structs ``_spot`` and ``_listed``: the cloud's prices at the start of the hour."""
    region = [column for column in SERIES if column != "zone"]
    is_spot = pl.col("capacity_type") == "spot"
    names = ("live_since", "live_nano", "live_source", "live_through")
    own_zone = in_force(placed, spot).with_columns(
        _live_offer("spot", pl.lit(""), pl.lit(value=False)).alias("_spot"),
        pl.col("live_through").alias("_spot_through"),
    )
    note = (
        pl.when(is_spot)
        .then(pl.lit(SPOT_NOTE))
        .when(pl.col("capacity_type") == "")
        .then(pl.lit(UNSAID_NOTE))
        .when(pl.col("capacity_type") != "on_demand")
        .then(pl.lit(OTHER_NOTE))
        .otherwise(pl.lit(""))
    )
    estimate = ~pl.col("capacity_type").is_in(["on_demand", "reserved"])
    return (
        in_force(own_zone.drop(names), on_demand, region)
        .with_columns(_live_offer("on_demand", note, estimate).alias("_listed"))
        .rename({"live_through": "_listed_through"})
        .with_columns(pl.when(is_spot).then(pl.col("_spot")).alias("_spot"))
    )


def _live_offer(capacity: str, note: pl.Expr, estimate: pl.Expr) -> pl.Expr:
    where = pl.concat_str(
        "provider", "region", "zone" if capacity == "spot" else pl.lit("*"), "instance_type", separator="/"
    )
    moment = pl.col("live_since").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    # an estimate's id is not that of the same price where it is none, nor another estimate's
    known = note.replace_strict(ESTIMATE_KINDS, default="", return_dtype=pl.String)
    kind = pl.lit(f"/{capacity}") + pl.when(estimate | (note == "")).then(known).otherwise(pl.lit("~reserved"))
    offer = pl.struct(
        pl.concat_str("live_source", pl.lit("/"), where, kind, pl.lit("@"), moment).alias("label"),
        pl.col("live_nano").alias("nano"),
        pl.col("live_source").alias("source"),
        pl.col("live_since").dt.date().alias("as_of"),
        pl.lit(capacity).alias("capacity"),
        estimate.alias("estimate"),
        note.alias("note"),
        pl.col("provider").alias("of_provider"),
        pl.col("region").alias("of_region"),
        (pl.col("zone") if capacity == "spot" else pl.lit("")).alias("of_zone"),
        pl.col("instance_type").alias("of_type"),
        pl.lit(value=False).alias("of_gpus"),
    )
    return pl.when(pl.col("live_nano").is_not_null()).then(offer)


def _choice() -> pl.Expr:
    return pl.coalesce("_configured", "_spot", "_listed", "_bundled")


def _stale(known: LedgerPrices) -> pl.Expr:
    through = pl.when(pl.col("capacity") == "spot").then("_spot_through").otherwise("_listed_through")
    live = pl.col("hour_utc") > through + pl.duration(hours=known.live.stale_after_hours)
    dated = (pl.col("hour_utc").dt.date() - pl.col("as_of")).dt.total_days() > known.settings.stale_after_days
    from_cloud = pl.col("source").is_in([SPOT_SOURCE, ON_DEMAND_SOURCE])
    return pl.when(from_cloud).then(live).otherwise(dated)


def _part() -> pl.Expr:
    """The model's part of a node's price."""
    whole, before = pl.col("nano").cast(pl.Int128), pl.col("_before").cast(pl.Int128)
    total, count = pl.col("_total").cast(pl.Int128), pl.col("gpu_count").cast(pl.Int128)
    part = whole * (before + count) // total - whole * before // total
    return pl.when(pl.col("of_gpus") | (total == count)).then(pl.col("nano")).otherwise(part).cast(pl.Int64)


def _priced() -> list[pl.Expr]:
    nano = pl.when(pl.col("gpu_count") > 0).then(pl.col("nano"))
    there = nano.is_not_null()
    price_id = pl.concat_str("label", pl.lit("="), nano, pl.lit("n/"), "gpu_count")
    return [
        pl.when(there).then(price_id).otherwise(pl.lit("")).alias("price_id"),
        nano.alias("nano_usd_per_node_hour"),
        *(
            pl.when(there).then(pl.col(name)).alias(f"price_{as_name}")
            for name, as_name in (
                ("source", "source"),
                ("as_of", "as_of"),
                ("capacity", "capacity_type"),
                ("estimate", "estimate"),
                ("note", "note"),
                ("price_stale", "stale"),
            )
        ),
    ]


def _price_rows(frame: pl.LazyFrame) -> pl.DataFrame:
    rows = (
        frame.filter(pl.col("price_id") != "")
        .unique("price_id", keep="first", maintain_order=True)
        .with_columns(
            (pl.col("nano_usd_per_node_hour") // pl.col("gpu_count").cast(pl.Int64)).alias("nano_usd_per_gpu_hour"),
            pl.col("price_capacity_type").alias("capacity_type"),
            pl.col("price_source").alias("source"),
            pl.col("price_as_of").alias("as_of"),
            pl.col("price_estimate").alias("estimate"),
            pl.col("price_note").alias("note"),
            pl.col("of_provider").alias("provider"),
            pl.col("of_region").alias("region"),
            pl.col("of_zone").alias("zone"),
            pl.col("of_type").alias("instance_type"),
        )
    )
    return conform(PRICES, rows).sort("price_id").collect()


def _offers(places: pl.DataFrame, known: LedgerPrices) -> pl.DataFrame:
    """The columns ``_configured`` and ``_bundled``, for each kind of place there is."""
    fleet = known.settings.model_copy(update={"node": None})
    median = MarketMedian(known.rows) if known.settings.fallback == "market_median" else None
    configured: list[dict[str, object] | None] = []
    bundled: list[dict[str, object] | None] = []
    for place in places.iter_rows(named=True):
        identity, device = _identity(place), DeviceFacts("", 0, str(place["gpu_model"]))
        total, count = int(place["_total"] or 0), int(place["gpu_count"] or 0)
        own = ConfiguredPrices(known.settings if place["_own"] else fleet, identity, total).offer(device)
        listed = BundledInstancePrices(known.rows, identity, total).offer(device)
        listed = listed or (median.offer(device) if median else None)
        configured.append(_offer(own, place, count))
        bundled.append(_offer(listed, place, count))
    return pl.DataFrame(
        [
            pl.Series("_configured", configured, pl.Struct(_OFFER)),
            pl.Series("_bundled", bundled, pl.Struct(_OFFER)),
        ]
    )


def _offer(offer: Offer | None, place: dict[str, object], count: int) -> dict[str, object] | None:
    if offer is None or count < 1:
        return None
    of_instance = str(place["instance_type"]) in offer.what.split("/")
    of_region = of_instance and str(place["region"]) in offer.what.split("/")
    nano = offer.nano_usd_per_hour
    if offer.repeats:
        sets, more = divmod(count, offer.gpus)
        nano = sets * nano + sum(gpu_shares(nano, offer.gpus)[:more])
    return {
        "label": offer.label,
        "nano": nano,
        "source": offer.source,
        "as_of": offer.as_of,
        "capacity": offer.capacity_type,
        "estimate": offer.estimate,
        "note": offer.note,
        "of_provider": place["provider"] if of_instance else "",
        "of_region": place["region"] if of_region else "",
        "of_zone": "",
        "of_type": place["instance_type"] if of_instance else "",
        "of_gpus": offer.repeats,
    }


def _identity(place: dict[str, object]) -> CloudIdentity | None:
    if place["provider"] not in get_args(Provider):
        return None
    said = str(place["capacity_type"])
    capacity: CloudCapacityType | None = None if not said else "spot" if said == "spot" else "on_demand"
    return CloudIdentity(
        provider=cast("Provider", place["provider"]),
        instance_id="",
        instance_type=str(place["instance_type"]),
        region=str(place["region"]),
        zone=None,
        capacity_type=capacity,
        account=None,
    )
