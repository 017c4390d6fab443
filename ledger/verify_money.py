"""Laws of money: list cost is price times time, effective cost is the bill, each row bears its share."""

from collections.abc import Mapping

import polars as pl

from collectors.clock import NS_PER_HOUR
from ledger.apportion_frame import half_even
from ledger.carbon import ROW
from ledger.reconcile import SHARED
from ledger.remake import GROUP, NODE_HOUR
from ledger.tables import COST

USAGE_KEY = ROW
"""What cost has in common with the usage that it stands on."""
_LIST = pl.col("list_nano_usd")


def without_price(cost: pl.LazyFrame, prices: pl.LazyFrame) -> pl.LazyFrame:
    """Prices that no row of the table explains, list cost without a price, and none where there is a price."""
    used = cost.filter(pl.col("node") != "")
    unknown = (
        used.filter(pl.col("price_id") != "")
        .join(prices.select("price_id").unique(), on="price_id", how="anti")
        .unique([*NODE_HOUR, "price_id"])
        .select(
            "hour_utc",
            "node",
            subject=pl.format("price {}", "price_id"),
            expected=pl.lit("a row of prices"),
            found=pl.lit("none"),
        )
    )
    made_up = used.filter(pl.col("price_id") == "", _LIST.is_not_null()).select(
        "hour_utc", "node", subject=_device(), expected=pl.lit("no list cost without a price"), found=_nano(_LIST)
    )
    key = (*USAGE_KEY, "price_id")
    missing = (
        used.filter(pl.col("price_id") != "")
        .group_by(key)
        .agg(_LIST.is_not_null().sum().alias("bearers"))
        .filter(pl.col("bearers") != 1)
        .select(
            "hour_utc",
            "node",
            subject=_device(),
            expected=pl.lit("list cost on one of its charges"),
            found=pl.format("on {}", "bearers"),
        )
    )
    return pl.concat([unknown, made_up, missing])


def without_usage(cost: pl.LazyFrame, usage: pl.LazyFrame) -> pl.LazyFrame:
    """Cost of devices that stands on no usage, and usage without cost."""
    on_devices = cost.filter(pl.col("gpu_uuid") != "").select(USAGE_KEY).unique()
    booked = usage.select(USAGE_KEY).unique()
    told = {"expected": pl.lit("usage and cost of it"), "subject": _row()}
    return pl.concat(
        [
            on_devices.join(booked, on=USAGE_KEY, how="anti").select(
                "hour_utc", "node", **told, found=pl.lit("cost without usage")
            ),
            booked.join(on_devices, on=USAGE_KEY, how="anti").select(
                "hour_utc", "node", **told, found=pl.lit("usage without cost")
            ),
        ]
    )


def list_totals(
    cost: pl.LazyFrame, usage: pl.LazyFrame, node_hours: pl.LazyFrame, prices: pl.LazyFrame
) -> pl.LazyFrame:
    """Node-hours whose list cost is not price times time, rounded once, half to even."""
    group = (*NODE_HOUR, "gpu_model", "price_id")
    priced = (
        cost.filter(pl.col("gpu_uuid") != "", pl.col("price_id") != "")
        .select(group)
        .unique()
        .join(prices.select("price_id", "nano_usd_per_gpu_hour", "nano_usd_per_node_hour"), on="price_id")
        .join(node_hours.select(*NODE_HOUR, "existed_ns"), on=NODE_HOUR)
        .join(usage.group_by(group).agg(ns=pl.col("gpu_ns").cast(pl.Int128).sum()), on=group, how="left")
    )
    node_price, gpu_price = (pl.col(f"nano_usd_per_{of}_hour").cast(pl.Int128) for of in ("node", "gpu"))
    dollars_ns = (
        pl.when(node_price.is_not_null())
        .then(node_price * pl.col("existed_ns").cast(pl.Int128))
        .otherwise(gpu_price * pl.col("ns"))
    )
    expected = priced.group_by(NODE_HOUR).agg(
        expected=half_even(dollars_ns.sum(), pl.lit(NS_PER_HOUR, pl.Int128)),
    )
    found = cost.filter(pl.col("node") != "").group_by(NODE_HOUR).agg(found=_LIST.cast(pl.Int128).sum())
    return (
        expected.join(found, on=NODE_HOUR, how="full", coalesce=True)
        .with_columns(pl.col("expected", "found").fill_null(0))
        .filter(pl.col("expected") != pl.col("found"))
        .select("hour_utc", "node", subject=_instance(), expected=_nano("expected"), found=_nano("found"))
    )


def line_totals(cost_sums: pl.LazyFrame, expected: pl.LazyFrame) -> pl.LazyFrame:
    """Node-hours, and shared hours, whose effective cost is not what the bill's lines give.

    Args:
        cost_sums: of :func:`ledger.remake.line_sums`.
        expected: of :func:`ledger.remake.expected_lines`.
    """
    key = (*NODE_HOUR, *GROUP)
    return (
        expected.rename({"effective_nano_usd": "expected"})
        .join(cost_sums.rename({"effective_nano_usd": "found"}), on=key, how="full", coalesce=True)
        .with_columns(pl.col("expected", "found").fill_null(0))
        .filter(pl.col("expected") != pl.col("found"))
        .select(
            "hour_utc",
            "node",
            subject=pl.format(
                "{}, {} of account {}, {}",
                pl.when(pl.col("node") == "").then(pl.lit(SHARED)).otherwise(_instance()),
                "charge",
                _or_none("billing_account"),
                _or_none("stack_layer"),
            ),
            expected=_nano("expected"),
            found=_nano("found"),
        )
    )


def shares(cost: pl.LazyFrame, made: pl.LazyFrame) -> pl.LazyFrame:
    """Rows that differ from cost made again from usage, prices and lines."""
    key = COST.key
    amounts = ("list_nano_usd", "effective_nano_usd")
    again = made.select(*key, *(pl.col(name).alias(f"made_{name}") for name in amounts), made=pl.lit(value=True))
    both = cost.select(*key, *amounts, booked=pl.lit(value=True)).join(again, on=key, how="full", coalesce=True)
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"made_{name}")) for name in amounts)
    gone = pl.col("made").is_null() | pl.col("booked").is_null()
    return both.filter(gone | differs).select(
        "hour_utc",
        "node",
        subject=pl.concat_str(_row(), pl.lit(", charge "), "charge"),
        expected=_amounts("made", "made_"),
        found=_amounts("booked", ""),
    )


def grams(cost: pl.LazyFrame, again: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of devices whose operational grams differ from those of :func:`ledger.carbon_again.grams_again`."""
    ug = pl.col("carbon_ug")
    borne = cost.group_by(USAGE_KEY).agg(found=pl.when(ug.count() > 0).then(ug.cast(pl.Int128).sum()))
    both = again.rename({"carbon_ug": "expected"}).join(borne, on=USAGE_KEY, how="inner")
    wrong = both.filter(pl.col("expected").cast(pl.Int128).ne_missing(pl.col("found")))
    said = {name: pl.format("{} micrograms", name).fill_null("none") for name in ("expected", "found")}
    return wrong.select("hour_utc", "node", subject=_row(), **said)


def charge_totals(charged: Mapping[tuple[str, str], int], borne: Mapping[tuple[str, str], int]) -> pl.LazyFrame:
    """Billing accounts and categories whose cost over the range is not what was charged."""
    rows = [
        (None, "", f"{category} of account {account or 'none'}", f"{expected} nano-dollars", f"{found} nano-dollars")
        for account, category in sorted({*charged, *borne})
        if (expected := charged.get((account, category), 0)) != (found := borne.get((account, category), 0))
    ]
    texts = {"node": pl.String, "subject": pl.String, "expected": pl.String, "found": pl.String}
    return pl.LazyFrame(rows, schema={"hour_utc": pl.Datetime("us", "UTC"), **texts}, orient="row")


def bill_totals(charges: pl.LazyFrame, bills: pl.LazyFrame) -> pl.LazyFrame:
    """Booked bills whose lines do not add up to them, and lines of no booked bill; charges of whole months."""
    effective, billed = (pl.col(f"{name}_nano_usd").cast(pl.Int128) for name in ("effective", "billed"))
    rounding = (pl.col("line_id") == "rounding").sum().cast(pl.Int64)
    sums = charges.group_by("bill_id").agg(
        have=pl.struct(billed=billed.sum(), effective=effective.sum(), lines=pl.len().cast(pl.Int64) - rounding),
        rounding=rounding,
    )
    told = bills.filter(pl.col("state") == "booked").select(
        "bill_id",
        want=pl.struct(billed=billed, effective=effective, lines=pl.col("lines")),
    )
    both = told.join(sums, on="bill_id", how="full", coalesce=True)
    wrong = pl.col("have").ne_missing(pl.col("want")) | (pl.col("rounding") != 1)
    return both.filter(wrong).select(
        pl.lit(None, pl.Datetime("us", "UTC")).alias("hour_utc"),
        pl.lit("").alias("node"),
        subject=pl.format("bill {}", "bill_id"),
        expected=_bill("want", pl.lit(1)),
        found=_bill("have", pl.col("rounding")),
    )


def _bill(name: str, rounding: pl.Expr) -> pl.Expr:
    bill = pl.col(name).struct
    said = pl.format(
        "{} lines, {} billed, {} effective nano-dollars, {} rounding lines",
        bill.field("lines"),
        bill.field("billed"),
        bill.field("effective"),
        rounding,
    )
    return pl.when(pl.col(name).is_not_null()).then(said).otherwise(pl.lit("no such bill"))


def _amounts(there: str, prefix: str) -> pl.Expr:
    said = pl.format(
        "list {}, effective {} nano-dollars",
        pl.col(f"{prefix}list_nano_usd").cast(pl.String).fill_null("none"),
        pl.col(f"{prefix}effective_nano_usd").cast(pl.String).fill_null("none"),
    )
    return pl.when(pl.col(there).is_not_null()).then(said).otherwise(pl.lit("no row"))


def _nano(amount: str | pl.Expr) -> pl.Expr:
    value = pl.col(amount) if isinstance(amount, str) else amount
    return pl.format("{} nano-dollars", value)


def _device() -> pl.Expr:
    return pl.when(pl.col("gpu_uuid") == "").then(pl.col("account")).otherwise(_row())


def _row() -> pl.Expr:
    return pl.format(
        "device {}, {} of {}",
        pl.when(pl.col("mig") == "").then("gpu_uuid").otherwise(pl.format("{} ({})", "gpu_uuid", "mig")),
        "account",
        pl.when(pl.col("holder") == "").then(pl.lit("nobody")).otherwise("holder"),
    )


def _instance() -> pl.Expr:
    return (
        pl.when(pl.col("instance_id") == "")
        .then(pl.lit("node-hour"))
        .otherwise(pl.format("instance {}", "instance_id"))
    )


def _or_none(name: str) -> pl.Expr:
    return pl.when(pl.col(name) == "").then(pl.lit("none")).otherwise(pl.col(name))
