"""Hours of devices that workloads would have held had they not been down: how much of each was freed, and not paid for.

Owns that no part of a device's hour counts twice, however many workloads claim it. Must never take an hour without
books for one in which the node was gone.
"""

from dataclasses import dataclass
from typing import Final

import polars as pl

from collectors.clock import NS_PER_HOUR
from controller.scaling.down_spans import HOUR
from ledger.apportion_frame import apportion_over
from ledger.bill_witness import BILL
from ledger.lifetimes import existence

ENDS_WITH_NODE: Final = ("on_demand", "spot")
"""Capacity types of nodes that cost nothing once they are gone."""
WORKLOAD: Final = ("cluster", "namespace", "workload_kind", "workload")
CHAIN: Final = (*WORKLOAD, "reference")
"""A workload and the hour that says what it would have held."""
DEVICE: Final = ("node", "instance_id", "gpu_uuid")
_HELD: Final = ("active", "idle", "unmeasured")
_DEVICE_HOUR: Final = ("cluster", *DEVICE, "hour_utc")
_INSTANCE: Final = (
    pl.when(pl.col("instance_id") != "").then("instance_id").otherwise(pl.concat_str("cluster", pl.lit("/"), "node"))
)


@dataclass(frozen=True, slots=True)
class Books:
    """Rows of the ledger that cover the downs and their reference hours; days that were rolled have no hours."""

    cost: pl.LazyFrame
    usage: pl.LazyFrame
    node_hours: pl.LazyFrame
    lifetimes: pl.LazyFrame


def claims(rooms: pl.LazyFrame, before: pl.LazyFrame, books: Books) -> pl.DataFrame:
    """What each workload may claim of which device in which hour, with what the books say of that hour.

    Args:
        rooms: by workload, reference and hour ``room_ns``, what it could have held beyond what it held.
        before: by device of the reference hour ``before_ns``, ``before_nano`` and ``capacity_type``.
        books: of these hours.
    """
    keys = [*CHAIN, "hour_utc"]
    parts = apportion_over(
        rooms.join(before, on=CHAIN), whole="room_ns", weight="before_ns", by=keys, order=DEVICE, into="part_ns"
    )
    wanted = parts.with_columns(instance=_INSTANCE).collect()
    told = books.lifetimes.filter(pl.col("evidence") != BILL).with_columns(instance=_INSTANCE)
    lived = told.join(wanted.lazy().select("instance").unique(), on="instance", how="semi").collect()
    return (
        wanted.lazy()
        .join(_existed(books), on=["cluster", "node", "instance_id", "hour_utc"], how="left")
        .join(_on_device(books), on=_DEVICE_HOUR, how="left")
        .join(_nameless(books), on=["cluster", "node", "instance_id", "hour_utc"], how="left")
        .join(_own(books), on=[*WORKLOAD, *DEVICE, "hour_utc"], how="left")
        .join(_expected(lived, wanted), on=["instance", "hour_utc"], how="left")
        .join(lived.lazy().select("instance", lived=pl.lit(value=True)).unique(), on="instance", how="left")
        .with_columns(certain=_is_certain(), unobserved_ns=pl.coalesce("unobserved_ns", "nameless_ns"))
        .with_columns(pl.col("existed_ns", "all_held_ns", "own_ns", "unobserved_ns").fill_null(0).cast(pl.Int128))
        .collect()
    )


def freed(claimed: pl.LazyFrame) -> pl.LazyFrame:
    """By workload, reference and hour what was freed and what of it is cash, of all devices.

    Args:
        claimed: rows of :func:`claims`, of all workloads together.
    """
    keys = [*CHAIN, "hour_utc"]
    before_ns = pl.col("before_ns")
    price = pl.col("before_nano").clip(lower_bound=0)  # credits may pay for more than all of it
    split = _cash(_freed(_facts(claimed)))
    return (
        split.with_columns(
            freed_nano=price * pl.col("freed_ns") // before_ns, cash_nano_usd=price * pl.col("cash_ns") // before_ns
        )
        .group_by(keys)
        .agg(sum_of("freed_ns"), sum_of("cash_ns"), sum_all("freed_nano"), sum_all("cash_nano_usd"))
        .with_columns(
            rest_ns=pl.col("freed_ns") - pl.col("cash_ns"),
            rest_nano_usd=pl.col("freed_nano") - pl.col("cash_nano_usd"),
        )
    )


def _facts(claimed: pl.LazyFrame) -> pl.LazyFrame:
    """Of each claim its share of the time in which the node was gone, and in which it was there."""
    existed = pl.col("existed_ns")
    gone = pl.max_horizontal(NS_PER_HOUR - existed, 0)
    of_gone = pl.col("before_ns") * gone // NS_PER_HOUR
    ends = pl.col("certain") & pl.col("capacity_type").is_in(list(ENDS_WITH_NODE))
    return claimed.with_columns(
        gone_ns=pl.when(ends).then(gone).otherwise(0),
        ended_ns=pl.when(ends).then(of_gone).otherwise(0),
        alive_ns=pl.col("before_ns") * existed // NS_PER_HOUR,
        untold_ns=pl.col("unobserved_ns") + pl.when("certain").then(0).otherwise(gone),
        own_untold_ns=pl.col("unobserved_ns") + pl.when("certain").then(0).otherwise(of_gone),
    )


def _freed(rows: pl.LazyFrame) -> pl.LazyFrame:
    """``freed_ns``: what each could have held of time that is told, all of a device's hour together at most that."""
    observed = pl.max_horizontal(pl.col("before_ns") - pl.col("own_untold_ns"), 0)
    most = pl.max_horizontal(NS_PER_HOUR - pl.col("untold_ns"), 0)
    asked = pl.col("asked_ns").sum().over(_DEVICE_HOUR)
    shared = rows.with_columns(asked_ns=pl.min_horizontal("part_ns", observed)).with_columns(
        whole_ns=pl.min_horizontal(asked, most)
    )
    return _apportioned(shared, "asked_ns", "freed_ns")


def _cash(rows: pl.LazyFrame) -> pl.LazyFrame:
    """``cash_ns``: of it what was not paid for, all of a device's hour together at most what was not.

    What others could have held beside those who claim is not due to their being down; it is asked of each claim alone,
    and of all of them together.
    """
    held, own, existed = pl.col("all_held_ns"), pl.col("own_ns"), pl.col("existed_ns")
    alone = held - own - pl.max_horizontal(existed - pl.col("alive_ns"), 0)
    of_all = held - own.sum().over(_DEVICE_HOUR)
    beside = pl.max_horizontal(existed - pl.col("alive_ns").sum().over(_DEVICE_HOUR), 0)
    limit = pl.min_horizontal("freed_ns", pl.col("ended_ns") + pl.max_horizontal("alone_ns", "together_ns"))
    ended = pl.min_horizontal(pl.col("ended_ns").sum().over(_DEVICE_HOUR), "gone_ns")
    taken = pl.max_horizontal(pl.col("alone_ns").max().over(_DEVICE_HOUR), "together_ns")
    limited = (
        rows.with_columns(alone_ns=pl.max_horizontal(alone, 0), together_ns=pl.max_horizontal(of_all - beside, 0))
        .with_columns(limit_ns=limit)
        .with_columns(whole_ns=pl.min_horizontal(ended + taken, pl.col("limit_ns").sum().over(_DEVICE_HOUR)))
    )
    return _apportioned(limited, "limit_ns", "cash_ns")


def _apportioned(rows: pl.LazyFrame, weight: str, into: str) -> pl.LazyFrame:
    return apportion_over(rows, whole="whole_ns", weight=weight, by=_DEVICE_HOUR, order=CHAIN, into=into)


def _expected(lived: pl.DataFrame, wanted: pl.DataFrame) -> pl.LazyFrame:
    """Hours in which an instance existed by what its witnesses say now."""
    if wanted.is_empty() or lived.is_empty():
        return pl.LazyFrame(
            schema={"instance": pl.String, "hour_utc": wanted.schema["hour_utc"], "expected": pl.Boolean}
        )
    first, last = wanted.select(pl.col("hour_utc").min(), last=pl.col("hour_utc").max()).row(0)
    found = existence(lived.lazy(), first, last, last + HOUR)
    return found.lazy().select("hour_utc", instance=_INSTANCE, expected=pl.lit(value=True)).unique()


def _is_certain() -> pl.Expr:
    """Whether the time that is not booked is known to be time in which the node was not there."""
    unbooked = pl.col("existed_ns").is_null() & pl.col("expected").fill_null(value=False)
    return pl.col("lived").fill_null(value=False) & ~unbooked


def _existed(books: Books) -> pl.LazyFrame:
    return books.node_hours.group_by("cluster", "node", "instance_id", "hour_utc").agg(existed_ns=sum_of("existed_ns"))


def _on_device(books: Books) -> pl.LazyFrame:
    held, away = pl.col("account").is_in(_HELD), pl.col("account") == "unobserved"
    return books.usage.group_by(_DEVICE_HOUR).agg(
        all_held_ns=pl.col("gpu_ns").filter(held).cast(pl.Int128).sum(),
        unobserved_ns=pl.col("gpu_ns").filter(away).cast(pl.Int128).sum(),
    )


def _nameless(books: Books) -> pl.LazyFrame:
    """Of a node-hour that no journal covers, whose devices are booked under numbers, how long each was not observed."""
    away = pl.col("account") == "unobserved", pl.col("gpu_uuid").str.starts_with(pl.col("node") + "/gpu-")
    keys = ["cluster", "node", "instance_id", "hour_utc"]
    return books.usage.filter(*away).group_by(keys).agg(nameless_ns=pl.col("gpu_ns").max().cast(pl.Int128))


def _own(books: Books) -> pl.LazyFrame:
    return held_rows(books.usage).group_by(*WORKLOAD, *DEVICE, "hour_utc").agg(own_ns=sum_of("gpu_ns"))


def held_rows(rows: pl.LazyFrame) -> pl.LazyFrame:
    """A holder's rows; of cost with the dollars of the bill, or of the list where none has come."""
    held = rows.filter(pl.col("account").is_in(_HELD))
    if "effective_nano_usd" not in held.collect_schema():
        return held
    return held.with_columns(nano_usd=pl.coalesce("effective_nano_usd", "list_nano_usd"))


def sum_of(name: str) -> pl.Expr:
    """The sum, wide enough for any fleet."""
    return pl.col(name).cast(pl.Int128).sum()


def sum_all(name: str) -> pl.Expr:
    """The sum; null where any part is not known."""
    return pl.when(pl.col(name).is_not_null().all()).then(sum_of(name)).alias(name)
