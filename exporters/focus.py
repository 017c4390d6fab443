"""Allocated cost as FOCUS 1.2 rows: one for each day (or hour), node, holder's group, account, price and charge.

Owns what each column of FOCUS means for allocated cost. EffectiveCost adds up to the ledger's cost to the nano-dollar:
the bill where it has come, list price where it has not, told apart by x_Estimate. Must never give 0 for a cost that is
not known: FOCUS has no word for it, so such rows are left out and their time is counted.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Literal

import polars as pl

from collectors.clock import NS_PER_HOUR
from exporters.focus_columns import (
    CAPACITY,
    CATEGORIES,
    CURRENCY,
    DESCRIPTIONS,
    FOCUS,
    FREQUENCIES,
    GPU_SERVICE,
    OWN,
    PROVIDERS,
    SERVICES,
    SHARED_SERVICES,
    UNBILLED,
)
from ledger.apportion_frame import apportion_over
from ledger.carbon import MJ_PER_KWH
from ledger.tables import DEVICE, HOLDER, PLACE

Step = Literal["1d", "1h"]

_CELL = ("hour_utc", *PLACE, *DEVICE, *HOLDER, "account", "method")
"""What usage and cost have in common."""
_PART_OF_HOLDER = ("pod", "container")
_GROUP = (
    *PLACE,
    "gpu_model",
    *(name for name in HOLDER if name not in _PART_OF_HOLDER),
    "account",
    "price_id",
    "billing_account",
    "charge",
    "stack_layer",
)
_SUMS = ("list_nano_usd", "effective_nano_usd", "gpu_ns", "energy_mj", "carbon_ug", "embodied_ug")
_PICO = 1_000_000_000_000


def focus_rows(cost: pl.LazyFrame, usage: pl.LazyFrame, step: Step = "1d") -> pl.LazyFrame:
    """FOCUS rows of some hours.

    Args:
        cost: COST rows of whole days (or hours).
        usage: USAGE rows of the same.
        step: what a row spans.

    Returns:
        The columns of :data:`exporters.focus_columns.FOCUS`, then those of ``OWN``, sorted.
    """
    known = _known(_groups(cost, usage, step))
    named = known.with_columns(*_words(), _charge_category()).with_columns(_amounts()).with_columns(_quantities(step))
    filled = named.with_columns(_unit_prices()).with_columns(_periods(step))
    made = {**_focus(), **_own()}
    columns = [made.get(name, pl.lit(None)).cast(dtype).alias(name) for name, dtype in {**FOCUS, **OWN}.items()]
    return _with_tags(filled).sort("start", *_GROUP).select(columns)


def unpriced(cost: pl.LazyFrame, usage: pl.LazyFrame) -> pl.LazyFrame:
    """What is left out, since nobody knows its cost: one row with ``gpu_ns``."""
    groups = _groups(cost, usage, "1d")
    return groups.filter(_cost().is_null()).select(pl.col("gpu_ns").cast(pl.Int128).sum().fill_null(0))


def _groups(cost: pl.LazyFrame, usage: pl.LazyFrame, step: Step) -> pl.LazyFrame:
    held = pl.col("holder_kind"), pl.col("holder")
    # a pod's name says nothing beside its workload's; who has no workload goes by the own name
    named = [pl.when(pl.col("workload") == "").then(column).otherwise(pl.lit("")) for column in held]
    return (
        _with_usage(cost, usage)
        .with_columns(*named, start=pl.col("hour_utc").dt.truncate(step))
        .group_by("start", *_GROUP)
        .agg(*(_sum(name) for name in _SUMS), *_sources("source", "other_source"))
    )


def _with_usage(cost: pl.LazyFrame, usage: pl.LazyFrame) -> pl.LazyFrame:
    """Cost rows with time and energy: on the one that bears the list cost, over several by it."""
    known = _sum("gpu_ns"), _sum("energy_mj"), *_sources("source", "source")
    cells = usage.group_by(_CELL).agg(known).with_row_index("cell")
    priced = pl.col("list_nano_usd").is_not_null()
    order = [~priced, "charge", "billing_account", "stack_layer", "price_id"]
    met = cost.join(cells, on=_CELL, how="left").with_columns(
        first=pl.struct(order).rank("ordinal").over("cell") == 1, priced=priced.any().over("cell")
    )
    weight = (
        pl.when(pl.col("cell").is_not_null() & pl.when("priced").then(priced).otherwise("first"))
        .then(pl.col("list_nano_usd").fill_null(0))
        .otherwise(None)
    )
    spread = apportion_over(
        met.with_columns(weight=weight, whole=pl.col("gpu_ns").cast(pl.Int64)),
        whole="whole",
        weight="weight",
        by=["cell"],
        order=["price_id", "billing_account", "charge", "stack_layer"],
        into="part",
    )
    return spread.with_columns(gpu_ns=pl.col("part"), energy_mj=pl.when("first").then("energy_mj"))


def _known(groups: pl.LazyFrame) -> pl.LazyFrame:
    something = (_cost() != 0) | pl.col("gpu_ns").fill_null(0).ne(0) | pl.col("list_nano_usd").fill_null(0).ne(0)
    return groups.filter(_cost().is_not_null(), something)


def _cost() -> pl.Expr:
    return pl.coalesce("effective_nano_usd", "list_nano_usd")


def _words() -> list[pl.Expr]:
    shared = pl.col("account") == "shared"
    layer = pl.col("stack_layer").replace_strict(SHARED_SERVICES, default="Shared", return_dtype=pl.String)
    return [
        _cost().alias("cost"),
        pl.when(shared).then(layer).otherwise(pl.lit(GPU_SERVICE)).alias("service"),
        pl.col("provider").replace_strict(PROVIDERS, default=pl.col("provider")).alias("provider_name"),
        pl.col("gpu_ns").is_not_null().alias("of_gpus"),
    ]


def _charge_category() -> pl.Expr:
    """What nobody lists a price for and is below nothing is no usage: its unit price could not be."""
    category = pl.col("charge").replace_strict(CATEGORIES, default="Adjustment", return_dtype=pl.String)
    below = category.is_in(["Usage", "Purchase"]) & (pl.col("price_id") == "") & (_cost() < 0)
    return pl.when(below).then(pl.lit("Adjustment")).otherwise(category).alias("category")


def _amounts() -> pl.Expr:
    """ListCost: the ledger's; where it knows none the cost itself; nothing where another charge of the row bears it."""
    own = pl.col("list_nano_usd")
    borne_elsewhere = _is_usage() & (pl.col("price_id") != "")
    return pl.when(borne_elsewhere).then(own.fill_null(0)).otherwise(pl.coalesce(own, "cost")).alias("listed")


def _quantities(step: Step) -> list[pl.Expr]:
    """In millionths of millionths: hours of GPU time, or, of what has none, one day or hour, for which it stands."""
    gpu = (pl.col("gpu_ns").cast(pl.Int128) * _PICO + NS_PER_HOUR // 2) // NS_PER_HOUR
    quantity = pl.when("of_gpus").then(gpu).otherwise(pl.lit(_PICO, pl.Int128))
    unit = pl.when("of_gpus").then(pl.lit("GPU-Hours")).otherwise(pl.lit("Days" if step == "1d" else "Hours"))
    return [pl.when(_is_sold()).then(quantity).alias("quantity"), pl.when(_is_sold()).then(unit).alias("unit")]


def _unit_prices() -> pl.Expr:
    """Pico-dollars for one unit, so that price times quantity is ListCost to less than a nano-dollar."""
    pico = pl.col("listed").cast(pl.Int128) * 1000 * _PICO
    quantity = pl.col("quantity")
    return (
        pl.when(quantity > 0).then((pico + quantity // 2) // quantity).when(quantity == 0).then(0).alias("unit_price")
    )


def _periods(step: Step) -> list[pl.Expr]:
    month = pl.col("start").dt.truncate("1mo")
    return [
        pl.col("start").dt.offset_by(step).alias("end"),
        month.alias("month_start"),
        month.dt.offset_by("1mo").alias("month_end"),
    ]


def _is_usage() -> pl.Expr:
    return pl.col("category") == "Usage"


def _is_sold() -> pl.Expr:
    """Usage and purchases bear a SKU."""
    return pl.col("category").is_in(["Usage", "Purchase"])


def _focus() -> dict[str, pl.Expr]:
    cost, listed, unit_price = _scaled("cost", 9), _scaled("listed", 9), _scaled("unit_price", 12)
    quantity = _scaled("quantity", 12)
    price_id = pl.when(pl.col("price_id") == "").then(pl.format("none/{}", "service")).otherwise("price_id")
    account = pl.when(pl.col("billing_account") == "").then(pl.lit(UNBILLED)).otherwise("billing_account")
    resource = pl.when(pl.col("instance_id") == "").then("node").otherwise("instance_id")
    on_node = pl.col("node") != ""
    capacity = pl.col("capacity_type").replace_strict(CAPACITY, default="Other", return_dtype=pl.String)
    kind = pl.col("service").replace_strict({name: kind for name, (kind, _) in SERVICES.items()})
    subkind = pl.col("service").replace_strict({name: subkind for name, (_, subkind) in SERVICES.items()})
    return {
        "AvailabilityZone": _text("zone"),
        "BilledCost": cost,
        "BillingAccountId": account,
        "BillingAccountName": account,
        "BillingAccountType": pl.lit("Billing Account"),
        "BillingCurrency": pl.lit(CURRENCY),
        "BillingPeriodEnd": pl.col("month_end"),
        "BillingPeriodStart": pl.col("month_start"),
        "ChargeCategory": pl.col("category"),
        "ChargeDescription": _description(),
        "ChargeFrequency": pl.col("category").replace_strict(FREQUENCIES, default="One-Time", return_dtype=pl.String),
        "ChargePeriodEnd": pl.col("end"),
        "ChargePeriodStart": pl.col("start"),
        "ConsumedQuantity": pl.when(_is_usage()).then(quantity),
        "ConsumedUnit": pl.when(_is_usage()).then("unit"),
        "ContractedCost": listed,
        "ContractedUnitPrice": unit_price,
        "EffectiveCost": cost,
        "InvoiceIssuerName": pl.col("provider_name"),
        "ListCost": listed,
        "ListUnitPrice": unit_price,
        "PricingCategory": pl.when(_is_sold()).then(capacity),
        "PricingCurrency": pl.lit(CURRENCY),
        "PricingCurrencyContractedUnitPrice": unit_price,
        "PricingCurrencyEffectiveCost": cost,
        "PricingCurrencyListUnitPrice": unit_price,
        "PricingQuantity": quantity,
        "PricingUnit": pl.col("unit"),
        "ProviderName": pl.col("provider_name"),
        "PublisherName": pl.col("provider_name"),
        "RegionId": _text("region"),
        "RegionName": _text("region"),
        "ResourceId": pl.when(on_node).then(resource),
        "ResourceName": pl.when(on_node & (pl.col("node") != resource)).then("node"),
        "ResourceType": pl.when(on_node).then(pl.lit("GPU node")),
        "ServiceCategory": kind,
        "ServiceName": pl.col("service"),
        "ServiceSubcategory": subkind,
        "SkuId": pl.when(_is_sold()).then(price_id.str.replace("[@=].*", "")),
        "SkuMeter": pl.when(_is_sold()).then(pl.col("service")),
        "SkuPriceId": pl.when(_is_sold()).then(price_id),
        "Tags": pl.col("tags"),
    }


def _description() -> pl.Expr:
    what = pl.col("account").replace_strict(DESCRIPTIONS, default=pl.col("account"))
    paid = pl.col("charge").is_in(["list", "usage"])
    return pl.when(paid).then(what).otherwise(pl.concat_str(what, pl.lit(": "), pl.col("charge").str.replace("_", " ")))


def _own() -> dict[str, pl.Expr]:
    texts = ("cluster", "node", "instance_type", "capacity_type", "gpu_model", "holder_kind", "holder", "namespace")
    more = ("workload_kind", "workload", "team", "environment", "run", "account", "charge", "stack_layer")
    named = {f"x_{''.join(map(str.capitalize, name.split('_')))}": _text(name) for name in (*texts, *more)}
    return {
        **named,
        "x_ListCost": _scaled("list_nano_usd", 9),
        "x_Source": pl.when(pl.col("source") == pl.col("other_source"))
        .then("source")
        .otherwise(pl.concat_str("source", pl.lit(", "), "other_source")),
        "x_Estimate": pl.col("effective_nano_usd").is_null(),
        "x_GpuHours": pl.when(pl.col("of_gpus")).then(_over("gpu_ns", NS_PER_HOUR)),
        "x_GpuSeconds": _scaled("gpu_ns", 9),
        "x_EnergyKwh": _over("energy_mj", MJ_PER_KWH),
        "x_CarbonGrams": _scaled("carbon_ug", 6),
        "x_EmbodiedGrams": _scaled("embodied_ug", 6),
    }


def _scaled(name: str, digits: int) -> pl.Expr:
    """An integer with its last digits behind the point, exactly."""
    unit = pl.lit(f"0.{'0' * (digits - 1)}1").cast(pl.Decimal(38, digits))
    return pl.col(name).cast(pl.Int128).cast(pl.Decimal(38, 0)) * unit


def _over(name: str, divisor: int) -> pl.Expr:
    """A quotient to twelve digits, rounded half up; nothing here is below zero."""
    pico = (pl.col(name).cast(pl.Int128) * _PICO + divisor // 2) // divisor
    return pico.cast(pl.Decimal(38, 0)) * pl.lit("0.000000000001").cast(pl.Decimal(38, 12))


def _sources(first: str, last: str) -> tuple[pl.Expr, pl.Expr]:
    """Where the rows' figures are from: at most two words, since simulated ones have a ledger of their own."""
    return pl.col(first).min().alias("source"), pl.col(last).max().alias("other_source")


def _text(name: str) -> pl.Expr:
    return pl.when(pl.col(name) != "").then(name)


def _sum(name: str) -> pl.Expr:
    """An exact sum; null where nothing is known."""
    return pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).cast(pl.Int128).sum()).alias(name)


_TAGGED: Sequence[str] = ("dimensions", "team", "environment", "run", "workload", "namespace")


def _with_tags(rows: pl.LazyFrame) -> pl.LazyFrame:
    """With ``tags``: one flat JSON object of what the holder's labels said; null where nobody holds."""
    tags = pl.struct(_TAGGED).map_batches(_tags, return_dtype=pl.String)
    return rows.with_columns(tags=tags)


def _tags(values: pl.Series) -> pl.Series:
    kinds = values.struct.unnest().with_row_index("row")
    distinct = kinds.drop("row").unique()
    told = distinct.with_columns(tags=pl.Series([_tag(row) for row in distinct.iter_rows(named=True)], dtype=pl.String))
    return kinds.join(told, on=list(_TAGGED), how="left", maintain_order="left")["tags"]


def _tag(row: Mapping[str, str]) -> str | None:
    own: dict[str, str] = json.loads(row["dimensions"]) if row["dimensions"] else {}
    own.update({name: row[name] for name in _TAGGED[1:] if row[name]})
    return json.dumps(own, sort_keys=True, ensure_ascii=False) if own else None
