"""What was saved by workloads that were down, measured from the books.

The counterfactual: had a workload stayed, each hour would have gone on as its reference hour, the last whole hour
before in which it was not down: the same GPUs, for the same part of the hour, at the price that they had then (by the
bill where it has come, else list price). So, for each hour that a down touches,

    stayed = what it held in the reference hour x the part of this hour that it was down
    held   = of that, what it held all the same (pods slow to end, or back already): what it held in this hour, less
             what it would have held in the rest of the hour, in which it was not down
    freed  = stayed - held
    cash   = the part of freed in which the GPU was not paid for, since its node had ended, or others held it and could
             not have, had the workload stayed

Only cash is a saving. A node that is paid for whether it runs or not (reserved, a capacity block, on-premises, or one
of which this is not known) brings cash by others alone. Time in which a GPU was not observed is neither held nor freed:
``unmeasured``. Work that would have ended by itself (:data:`FINITE`) is only put off: nothing is said to be saved.

Owns the arithmetic: integers, products in Int128. Must never take an hour without books for an hour without holders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import polars as pl

from collectors.clock import NS_PER_HOUR
from controller.scaling.down_spans import HOUR, DownSpan, spans
from ledger.apportion_frame import apportion_over
from ledger.audit import Asked
from ledger.audit import read as read_audit
from ledger.store import Store
from ledger.tables import COST, NODE_HOURS, TIME, USAGE

FINITE: Final = frozenset({"Job", "CronJob", "PyTorchJob", "ScaledJob", "RayJob"})
"""Kinds whose work is the same however long it waits."""
ENDS_WITH_NODE: Final = ("on_demand", "spot")
"""Capacity types of nodes that cost nothing once they are gone."""
SEEN_BEFORE: Final = timedelta(days=15)
"""Downs that began so long before a range are found, too."""
_HELD: Final = ("active", "idle", "unmeasured")
_WORKLOAD: Final = ("cluster", "namespace", "workload_kind", "workload")
_CHAIN: Final = (*_WORKLOAD, "reference")
_NODE: Final = ("node", "instance_id")
_DEVICE: Final = (*_NODE, "gpu_uuid")
_AMOUNTS: Final = (
    "stayed_ns", "held_ns", "freed_ns", "cash_ns", "unmeasured_ns", "cost_nano_usd", "freed_nano_usd", "cash_nano_usd",
)  # fmt: skip
# freed is split as its two parts, so that cash never passes it
_SPLIT: Final = ("held_ns", "unmeasured_ns", "cash_ns", "rest_ns", "cost_nano_usd", "cash_nano_usd", "rest_nano_usd")


@dataclass(frozen=True, slots=True)
class Books:
    """Rows of the ledger that cover the downs and their reference hours; days that were rolled have no hours."""

    cost: pl.LazyFrame
    usage: pl.LazyFrame
    node_hours: pl.LazyFrame


@dataclass(frozen=True, slots=True)
class Saved:
    """Sums over downs."""

    freed_ns: int = 0
    """GPU time that was released."""
    cash_ns: int = 0
    """The part of it that was not paid for."""
    freed_nano_usd: int = 0
    """What it is worth, at the price of before; no saving."""
    cash_nano_usd: int = 0
    """The saving."""
    unmeasured_ns: int = 0
    unknown: int = 0
    """Downs of which nothing, or no price, is known."""


def measure(store: Store, cluster: str, since: datetime, through: datetime) -> pl.DataFrame:
    """The savings of all downs in a range; see :func:`savings`.

    Args:
        store: the ledger.
        cluster: its name in the ledger.
        since: of the range; moved to the first day whose hours are still told.
        through: the books are complete before it, such as the end of the last hour that is final.

    Raises:
        StoreError: a table cannot be read.
    """
    rolled = store.rolled_before(USAGE)
    if rolled is not None:
        since = max(since, datetime.combine(rolled, time(), UTC))
    rows = read_audit(store, Asked(since - SEEN_BEFORE, through, cluster=cluster)).collect()
    told = [span for span in spans(rows, through) if span.reference >= since]
    first = min((span.reference for span in told), default=since)
    within = pl.col("day").is_between(first.date(), through.date()) & (pl.col("cluster") == cluster)
    books = Books(*(store.scan(table).filter(within) for table in (COST, USAGE, NODE_HOURS)))
    return savings(told, books)


def savings(downs: Sequence[DownSpan], books: Books) -> pl.DataFrame:
    """What each down saved, one row each, in their order.

    Returns:
        ``cluster``, ``namespace``, ``workload_kind``, ``workload``, ``reference``, ``begin``, ``end``; in nanoseconds
        of whole GPUs ``stayed_ns`` (had it stayed), ``held_ns`` (what it held all the same), ``freed_ns``, ``cash_ns``,
        ``unmeasured_ns`` (held, freed and unmeasured add up to stayed); in nano-dollars ``cost_nano_usd`` (by the
        books, of what it held), ``freed_nano_usd``, ``cash_nano_usd``; ``estimate`` (the price of before was list price
        in part); and ``unknown``: empty, or why amounts are null: ``no_reference`` (the books have nothing that it held
        before), ``postponed``, ``unpriced``.
    """
    found = [_savings(part, _within(books, part)) for part in _portions(downs)]
    return pl.concat(found or [_savings((), books)]).sort("place").drop("place")


def _portions(downs: Sequence[DownSpan]) -> list[list[tuple[int, DownSpan]]]:
    """Downs with their places, those of one reference day together: what shares an hour shares its reference."""
    by_day: dict[date, list[tuple[int, DownSpan]]] = {}
    for place, span in enumerate(downs):
        by_day.setdefault(span.reference.date(), []).append((place, span))
    return list(by_day.values())


def _within(books: Books, part: Sequence[tuple[int, DownSpan]]) -> Books:
    first = min(span.reference for _, span in part)
    last = max(span.end for _, span in part)
    days = pl.col("day").is_between(first.date(), last.date())
    return Books(books.cost.filter(days), books.usage.filter(days), books.node_hours.filter(days))


def _savings(part: Sequence[tuple[int, DownSpan]], books: Books) -> pl.DataFrame:
    spans_ = _frame(part)
    known = spans_.filter(~pl.col("workload_kind").is_in(list(FINITE)))
    hours = _hours(known)
    before = _before(known, books).collect().lazy()
    by_hour = _by_hour(hours, before, books)
    parts = _shared_out(hours, by_hour)
    sums = parts.group_by("down").agg(_sum_all(name) for name in _SPLIT)
    about = before.group_by(_CHAIN).agg(pl.col("estimate").any())
    return (
        spans_.lazy()
        .join(about, on=_CHAIN, how="left")
        .join(sums, on="down", how="left")
        .with_columns(
            stayed_ns=pl.col("held_ns") + pl.col("unmeasured_ns") + pl.col("cash_ns") + pl.col("rest_ns"),
            freed_ns=pl.col("cash_ns") + pl.col("rest_ns"),
            freed_nano_usd=pl.col("cash_nano_usd") + pl.col("rest_nano_usd"),
            unknown=_unknown(),
        )
        .sort("down")
        .select("place", *_WORKLOAD, "reference", "begin", "end", *_AMOUNTS, "estimate", "unknown")
        .collect()
    )


def total(rows: pl.DataFrame) -> Saved:
    """Sums of :func:`savings`."""
    amounts = ("freed_ns", "cash_ns", "freed_nano_usd", "cash_nano_usd", "unmeasured_ns")
    sums = rows.select(_total(name) for name in amounts).row(0, named=True)
    known = {name: int(each or 0) for name, each in sums.items()}
    return Saved(**known, unknown=rows.filter(pl.col("unknown") != "").height)


def _frame(part: Sequence[tuple[int, DownSpan]]) -> pl.DataFrame:
    texts = dict.fromkeys(_WORKLOAD, pl.String)
    moments = {"reference": TIME, "begin": TIME, "end": TIME}
    rows = [(place, *span.key, span.reference, span.begin, span.end) for place, span in part]
    return pl.DataFrame(rows, schema={"place": pl.Int64, **texts, **moments}, orient="row").with_row_index("down")


def _hours(downs: pl.DataFrame) -> pl.LazyFrame:
    """Each hour that a down touches, and for how long."""
    last = (pl.col("end") - timedelta(microseconds=1)).dt.truncate("1h")
    hour = pl.col("hour_utc")
    lasted = pl.min_horizontal("end", hour + HOUR) - pl.max_horizontal("begin", hour)
    return (
        downs.lazy()
        .with_columns(hour_utc=pl.datetime_ranges(pl.col("begin").dt.truncate("1h"), last, "1h"))
        .explode("hour_utc")
        .with_columns(down_ns=lasted.dt.total_microseconds().cast(pl.Int128) * 1000)
    )


def _before(downs: pl.DataFrame, books: Books) -> pl.LazyFrame:
    """By device what a workload held in its reference hour, and what that cost."""
    chains = downs.lazy().select(_CHAIN).unique()
    on = [*_WORKLOAD, "hour_utc"]
    wanted = chains.with_columns(hour_utc=pl.col("reference"))
    held = _held(books.usage).join(wanted, on=on).group_by(*_CHAIN, *_DEVICE)
    paid = _held(books.cost).join(wanted, on=on).group_by(*_CHAIN, *_DEVICE)
    times = held.agg(before_ns=_total("gpu_ns"), capacity_type=pl.col("capacity_type").max())
    money = paid.agg(before_nano=_sum_all("nano_usd"), estimate=pl.col("effective_nano_usd").is_null().any())
    both = times.join(money, on=[*_CHAIN, *_DEVICE], how="left")
    return both.filter(pl.col("before_ns") > 0)


def _by_hour(hours: pl.LazyFrame, before: pl.LazyFrame, books: Books) -> pl.LazyFrame:
    """Amounts by workload and hour, all its downs in that hour together."""
    keys = [*_CHAIN, "hour_utc"]
    whole = before.group_by(_CHAIN).agg(all_before_ns=_total("before_ns"))
    stayed = pl.col("all_before_ns") * pl.col("down_ns") // NS_PER_HOUR
    less = pl.max_horizontal(pl.col("all_before_ns") - pl.col("now_ns"), 0)
    at_other_times = pl.col("all_before_ns") - pl.col("stayed_ns")
    held = pl.min_horizontal("stayed_ns", pl.max_horizontal(pl.col("now_ns") - at_other_times, 0))
    cost = pl.when(pl.col("now_ns") > 0).then(pl.col("now_nano") * held // pl.col("now_ns")).otherwise(0)
    of_hours = (
        hours.group_by(keys)
        .agg(_total("down_ns"))
        .join(whole, on=_CHAIN)
        .join(_now(books), on=[*_WORKLOAD, "hour_utc"], how="left")
        .with_columns(pl.col("now_ns").fill_null(0), stayed_ns=stayed)
        .with_columns(room_ns=pl.min_horizontal("stayed_ns", less), held_ns=held, cost_nano_usd=cost)
        .collect()
        .lazy()
    )
    freed = _of_devices(of_hours.select(*keys, "room_ns"), before, books)
    return of_hours.join(freed, on=keys).with_columns(unmeasured_ns=pl.col("room_ns") - pl.col("freed_ns"))


def _of_devices(rooms: pl.LazyFrame, before: pl.LazyFrame, books: Books) -> pl.LazyFrame:
    """What was freed and what of it is cash, device by device of the reference hour, summed."""
    keys = [*_CHAIN, "hour_utc"]
    devices = apportion_over(
        rooms.join(before, on=_CHAIN), whole="room_ns", weight="before_ns", by=keys, order=_DEVICE, into="part_ns"
    )
    before_ns, existed = pl.col("before_ns"), pl.col("existed_ns")
    ended = pl.when(pl.col("capacity_type").is_in(list(ENDS_WITH_NODE))).then(NS_PER_HOUR - existed).otherwise(0)
    # what others could have held beside it is not due to its being down
    taken = pl.max_horizontal(pl.col("others_ns") - pl.max_horizontal(existed - before_ns, 0), 0)
    observed = pl.max_horizontal(before_ns - pl.col("unobserved_ns"), 0)
    price = pl.col("before_nano").clip(lower_bound=0)  # credits may pay for more than all of it
    return (
        devices.join(_existed(books), on=["cluster", *_NODE, "hour_utc"], how="left")
        .join(_on_device(books), on=["cluster", *_DEVICE, "hour_utc"], how="left")
        .join(_own(books), on=[*_WORKLOAD, *_DEVICE, "hour_utc"], how="left")
        .with_columns(pl.col("existed_ns", "all_held_ns", "own_ns", "unobserved_ns").fill_null(0).cast(pl.Int128))
        .with_columns(others_ns=pl.col("all_held_ns") - pl.col("own_ns"))
        .with_columns(freed_ns=pl.min_horizontal("part_ns", observed))
        .with_columns(cash_ns=pl.min_horizontal("freed_ns", ended + taken))
        .with_columns(
            freed_nano=price * pl.col("freed_ns") // before_ns, cash_nano_usd=price * pl.col("cash_ns") // before_ns
        )
        .group_by(keys)
        .agg(_total("freed_ns"), _total("cash_ns"), _sum_all("freed_nano"), _sum_all("cash_nano_usd"))
        .with_columns(
            rest_ns=pl.col("freed_ns") - pl.col("cash_ns"),
            rest_nano_usd=pl.col("freed_nano") - pl.col("cash_nano_usd"),
        )
    )


def _shared_out(hours: pl.LazyFrame, by_hour: pl.LazyFrame) -> pl.LazyFrame:
    """Several downs within one hour share what it brought by how long each lasted."""
    keys = [*_CHAIN, "hour_utc"]
    parts = hours.join(by_hour.drop("down_ns"), on=keys)
    for name in _SPLIT:
        parts = apportion_over(parts, whole=name, weight="down_ns", by=keys, order=("down",), into=name)
    return parts


def _now(books: Books) -> pl.LazyFrame:
    """By workload and hour what it held, and what that cost."""
    keys = [*_WORKLOAD, "hour_utc"]
    times = _held(books.usage).group_by(keys).agg(now_ns=_total("gpu_ns"))
    money = _held(books.cost).group_by(keys).agg(now_nano=_sum_all("nano_usd"))
    return times.join(money, on=keys, how="left")


def _existed(books: Books) -> pl.LazyFrame:
    return books.node_hours.group_by("cluster", *_NODE, "hour_utc").agg(existed_ns=_total("existed_ns"))


def _on_device(books: Books) -> pl.LazyFrame:
    held, away = pl.col("account").is_in(_HELD), pl.col("account") == "unobserved"
    return books.usage.group_by("cluster", *_DEVICE, "hour_utc").agg(
        all_held_ns=pl.col("gpu_ns").filter(held).cast(pl.Int128).sum(),
        unobserved_ns=pl.col("gpu_ns").filter(away).cast(pl.Int128).sum(),
    )


def _own(books: Books) -> pl.LazyFrame:
    return _held(books.usage).group_by(*_WORKLOAD, *_DEVICE, "hour_utc").agg(own_ns=_total("gpu_ns"))


def _held(rows: pl.LazyFrame) -> pl.LazyFrame:
    """A holder's rows; of cost with the dollars of the bill, or of the list where none has come."""
    held = rows.filter(pl.col("account").is_in(_HELD))
    if "effective_nano_usd" not in held.collect_schema():
        return held
    return held.with_columns(nano_usd=pl.coalesce("effective_nano_usd", "list_nano_usd"))


def _unknown() -> pl.Expr:
    return (
        pl.when(pl.col("workload_kind").is_in(list(FINITE)))
        .then(pl.lit("postponed"))
        .when(pl.col("cash_ns").is_null())
        .then(pl.lit("no_reference"))
        .when(pl.col("cash_nano_usd").is_null())
        .then(pl.lit("unpriced"))
        .otherwise(pl.lit(""))
    )


def _total(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Int128).sum()


def _sum_all(name: str) -> pl.Expr:
    """The sum; null where any part is not known."""
    return pl.when(pl.col(name).is_not_null().all()).then(_total(name)).alias(name)
