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
of which this is not known) brings cash by others alone. Where several that are down claim one device's hour, they share
what it brought. Time in which a GPU was not observed, hours without books, and what several claim beyond the hour are
neither held nor freed: ``unmeasured``. Work that would have ended by itself (:data:`FINITE`) is only put off: nothing
is said to be saved.

Owns the arithmetic: integers, products in Int128. Must never take an hour without books for an hour without holders.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType
from typing import Final

import polars as pl

from collectors.clock import NS_PER_HOUR
from controller.scaling.device_hours import CHAIN, DEVICE, WORKLOAD, Books, claims, freed, held_rows, sum_all, sum_of
from controller.scaling.down_spans import HOUR, DownSpan, spans
from ledger.apportion_frame import apportion_over
from ledger.audit import Asked
from ledger.audit import read as read_audit
from ledger.store import Store
from ledger.tables import AUDIT, COST, LIFETIMES, NODE_HOURS, TIME, USAGE

FINITE: Final = frozenset({"Job", "CronJob", "PyTorchJob", "ScaledJob", "RayJob"})
"""Kinds whose work is the same however long it waits."""
SEEN_BEFORE: Final = timedelta(days=15)
"""Downs that began so long before a range are found, too; one that began earlier, and goes on, is in no figure."""
AMOUNTS: Final = (
    "stayed_ns", "held_ns", "freed_ns", "cash_ns", "unmeasured_ns", "cost_nano_usd", "freed_nano_usd", "cash_nano_usd",
)  # fmt: skip
LIST, EFFECTIVE = "list", "effective"
COUNTERFACTUAL: Final = (
    "Had it stayed, each hour would have gone on as the last whole hour before in which it was not down: the same GPUs "
    "for the same part of the hour, at the price of then. freed is what it would have held beyond what it held; cash "
    "is the part of that which was not paid for, since the node had ended, or others held the GPU and could not have, "
    "had it stayed. What several that were down would have held of one GPU is counted once. A node that was begun "
    "elsewhere meanwhile is not set against one that ended: where it stands idle in its stead, cash is too high by it."
)
"""Of every figure, in words for whoever reads it."""
# freed is split as its two parts, so that cash never passes it
_SPLIT: Final = ("held_ns", "unmeasured_ns", "cash_ns", "rest_ns", "cost_nano_usd", "cash_nano_usd", "rest_nano_usd")


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
    freed_list_nano_usd: int = 0
    """The part of what was freed whose price of before was list price, be it in part: an estimate."""
    cash_list_nano_usd: int = 0
    """Of the saving likewise."""

    @property
    def freed_by_basis(self) -> Mapping[str, int]:
        """Nano-dollars; the two add up to the whole."""
        return _by_basis(self.freed_nano_usd, self.freed_list_nano_usd)

    @property
    def cash_by_basis(self) -> Mapping[str, int]:
        """Likewise."""
        return _by_basis(self.cash_nano_usd, self.cash_list_nano_usd)


@dataclass(frozen=True, slots=True)
class _Part:
    """What the books say of some downs."""

    hours: pl.DataFrame
    by_hour: pl.DataFrame
    claimed: pl.DataFrame
    about: pl.DataFrame


def measurable_since(store: Store) -> datetime | None:
    """The first day whose hours are still told; ``None``: all are."""
    rolled = store.rolled_before(USAGE)
    return None if rolled is None else datetime.combine(rolled, time(), UTC)


def measure(
    store: Store,
    cluster: str,
    since: datetime,
    through: datetime,
    versions: Mapping[str, int | None] = MappingProxyType({}),
) -> pl.DataFrame:
    """The savings of all downs in a range, of each what lies within it; see :func:`savings`.

    Args:
        store: the ledger.
        cluster: its name in the ledger; empty: all.
        since: start of the range, a whole hour; moved to the first day whose hours are still told.
        through: the books are complete before it, as :func:`ledger.unsettled.settled_through` says.
        versions: of tables by name; as they are now where none is told.

    Raises:
        StoreError: a table cannot be read.
    """
    oldest = measurable_since(store)
    since = since if oldest is None else max(since, oldest)
    rows = read_audit(store, Asked(since - SEEN_BEFORE, through, cluster=cluster), versions.get(AUDIT.name)).collect()
    told = list(_clipped(spans(rows, through), since))
    first = min((span.reference for span in told), default=since)
    first = first if oldest is None else max(first, oldest)
    within = pl.col("day").is_between(first.date(), through.date())
    of_cluster = pl.col("cluster") == cluster if cluster else pl.lit(value=True)
    cost, usage, node_hours, lifetimes = (
        store.scan(table, versions.get(table.name)).filter(of_cluster) for table in (COST, USAGE, NODE_HOURS, LIFETIMES)
    )
    return savings(told, Books(cost.filter(within), usage.filter(within), node_hours.filter(within), lifetimes))


def _clipped(downs: Sequence[DownSpan], since: datetime) -> Iterator[DownSpan]:
    for span in downs:
        if span.end > since:
            yield replace(span, begin=max(span.begin, since))


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
    parts = [_read(part, _within(books, part)) for part in _portions(downs)] or [_read((), books)]
    about = pl.concat([part.about for part in parts]).lazy()
    # of all parts together: a device's hour may be claimed by downs of several
    of_hours = freed(pl.concat([part.claimed for part in parts]).lazy())
    by_hour = pl.concat([part.by_hour for part in parts]).lazy().join(of_hours, on=[*CHAIN, "hour_utc"])
    told = by_hour.with_columns(unmeasured_ns=pl.col("room_ns") - pl.col("freed_ns"))
    hours = pl.concat([part.hours for part in parts]).lazy()
    sums = _shared_out(hours, told).group_by("down").agg(sum_all(name) for name in _SPLIT)
    return (
        _frame(list(enumerate(downs)))
        .lazy()
        .join(about, on=CHAIN, how="left")
        .join(sums, on="down", how="left")
        .with_columns(
            stayed_ns=pl.col("held_ns") + pl.col("unmeasured_ns") + pl.col("cash_ns") + pl.col("rest_ns"),
            freed_ns=pl.col("cash_ns") + pl.col("rest_ns"),
            freed_nano_usd=pl.col("cash_nano_usd") + pl.col("rest_nano_usd"),
            unknown=_unknown(),
        )
        .sort("down")
        .select(*WORKLOAD, "reference", "begin", "end", *AMOUNTS, "estimate", "unknown")
        .collect()
    )


def total(rows: pl.DataFrame) -> Saved:
    """Sums of :func:`savings`."""
    amounts = ("freed_ns", "cash_ns", "freed_nano_usd", "cash_nano_usd", "unmeasured_ns")
    of_list = {name.replace("_nano", "_list_nano"): name for name in ("freed_nano_usd", "cash_nano_usd")}
    guessed = rows.filter(pl.col("estimate"))
    sums = rows.select(sum_of(name) for name in amounts).row(0, named=True)
    sums |= guessed.select(sum_of(name).alias(into) for into, name in of_list.items()).row(0, named=True)
    known = {name: int(each or 0) for name, each in sums.items()}
    return Saved(**known, unknown=rows.filter(pl.col("unknown") != "").height)


def by_workload(rows: pl.DataFrame) -> pl.DataFrame:
    """Sums of :func:`savings` by workload, ``basis`` of its dollars (``list`` or ``effective``; null: it has none) and
    ``unknown``, with ``downs``, their number; amounts of which nothing is known are null.
    """
    keys = [*WORKLOAD, "basis", "unknown"]
    basis = pl.when("estimate").then(pl.lit(LIST)).otherwise(pl.lit(EFFECTIVE))
    known = rows.with_columns(basis=pl.when(pl.col("cash_nano_usd").is_not_null()).then(basis))
    return known.group_by(keys).agg(pl.len().alias("downs"), *(sum_all(name) for name in AMOUNTS)).sort(keys)


def _by_basis(whole: int, of_list: int) -> Mapping[str, int]:
    return {EFFECTIVE: whole - of_list, LIST: of_list}


def _portions(downs: Sequence[DownSpan]) -> list[list[tuple[int, DownSpan]]]:
    """Downs with their places, those of one reference day together: what shares an hour shares its reference."""
    by_day: dict[date, list[tuple[int, DownSpan]]] = {}
    for place, span in enumerate(downs):
        by_day.setdefault(span.reference.date(), []).append((place, span))
    return list(by_day.values())


def _within(books: Books, part: Sequence[tuple[int, DownSpan]]) -> Books:
    first = min(span.begin for _, span in part)
    last = max(span.end for _, span in part)
    days = pl.col("day").is_between(first.date(), last.date()) | (pl.col("day") == part[0][1].reference.date())
    return Books(books.cost.filter(days), books.usage.filter(days), books.node_hours.filter(days), books.lifetimes)


def _read(part: Sequence[tuple[int, DownSpan]], books: Books) -> _Part:
    known = _frame(part).filter(~pl.col("workload_kind").is_in(list(FINITE)))
    hours, before = _hours(known).collect(), _before(known, books).collect().lazy()
    by_hour = _by_hour(hours.lazy(), before, books).collect()
    claimed = claims(by_hour.lazy().select(*CHAIN, "hour_utc", "room_ns"), before, books)
    about = before.group_by(CHAIN).agg(pl.col("estimate").any())
    return _Part(hours, by_hour, claimed, about.collect())


def _frame(part: Sequence[tuple[int, DownSpan]]) -> pl.DataFrame:
    texts = dict.fromkeys(WORKLOAD, pl.String)
    moments = {"reference": TIME, "begin": TIME, "end": TIME}
    rows = [(place, *span.key, span.reference, span.begin, span.end) for place, span in part]
    return pl.DataFrame(rows, schema={"down": pl.UInt32, **texts, **moments}, orient="row")


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
    chains = downs.lazy().select(CHAIN).unique()
    on, keys = [*WORKLOAD, "hour_utc"], [*CHAIN, *DEVICE]
    wanted = chains.with_columns(hour_utc=pl.col("reference"))
    held = held_rows(books.usage).join(wanted, on=on).group_by(keys)
    paid = held_rows(books.cost).join(wanted, on=on).group_by(keys)
    times = held.agg(before_ns=sum_of("gpu_ns"), capacity_type=pl.col("capacity_type").max())
    money = paid.agg(before_nano=sum_all("nano_usd"), estimate=pl.col("effective_nano_usd").is_null().any())
    return times.join(money, on=keys, how="left").filter(pl.col("before_ns") > 0)


def _by_hour(hours: pl.LazyFrame, before: pl.LazyFrame, books: Books) -> pl.LazyFrame:
    """Amounts by workload and hour, all its downs in that hour together."""
    whole = before.group_by(CHAIN).agg(all_before_ns=sum_of("before_ns"))
    stayed = pl.col("all_before_ns") * pl.col("down_ns") // NS_PER_HOUR
    less = pl.max_horizontal(pl.col("all_before_ns") - pl.col("now_ns"), 0)
    at_other_times = pl.col("all_before_ns") - pl.col("stayed_ns")
    held = pl.min_horizontal("stayed_ns", pl.max_horizontal(pl.col("now_ns") - at_other_times, 0))
    cost = pl.when(pl.col("now_ns") > 0).then(pl.col("now_nano") * held // pl.col("now_ns")).otherwise(0)
    return (
        hours.group_by(*CHAIN, "hour_utc")
        .agg(sum_of("down_ns"))
        .join(whole, on=CHAIN)
        .join(_now(books), on=[*WORKLOAD, "hour_utc"], how="left")
        .with_columns(pl.col("now_ns").fill_null(0), stayed_ns=stayed)
        .with_columns(room_ns=pl.min_horizontal("stayed_ns", less), held_ns=held, cost_nano_usd=cost)
    )


def _shared_out(hours: pl.LazyFrame, by_hour: pl.LazyFrame) -> pl.LazyFrame:
    """Several downs within one hour share what it brought by how long each lasted."""
    keys = [*CHAIN, "hour_utc"]
    parts = hours.join(by_hour.drop("down_ns"), on=keys)
    for name in _SPLIT:
        parts = apportion_over(parts, whole=name, weight="down_ns", by=keys, order=("down",), into=name)
    return parts


def _now(books: Books) -> pl.LazyFrame:
    """By workload and hour what it held, and what that cost."""
    keys = [*WORKLOAD, "hour_utc"]
    times = held_rows(books.usage).group_by(keys).agg(now_ns=sum_of("gpu_ns"))
    money = held_rows(books.cost).group_by(keys).agg(now_nano=sum_all("nano_usd"))
    return times.join(money, on=keys, how="left")


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
