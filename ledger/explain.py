"""Explains one hour: price, source, shares, method and bill lines behind the dollars of a holder.

Owns the way back from a row of cost to what it was made of. Every figure is read from the tables or made by the rule
that made the books; none is worked out in another way. Hours that became days cannot be explained any more.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import polars as pl

from ledger.explanation import ChargeShare, Explanation, LineGroup, NodeHour, PriceUsed, RowExplained
from ledger.late_corrections import LATE_CORRECTION, late_nano_usd
from ledger.list_cost import HOST
from ledger.reconcile import LIST
from ledger.remake import GROUP, NODE_HOUR, expected_lines, line_sums, list_again, touching
from ledger.store import Store
from ledger.tables import CHARGES, COST, DEVICE, HOLDER, NODE_HOURS, PLACE, USAGE
from ledger.verify_books import HOUR, Books
from ledger.verify_money import USAGE_KEY

SELECTORS = (*PLACE, *DEVICE, *(name for name in HOLDER if name != "dimensions"), "account", "method")
"""Columns that rows can be selected by."""
MOST_ROWS = 200
Progress = Callable[[int, int], None]
"""Told what is done, and of how many."""
_MOST_IDS = 5
_ROW = (*USAGE_KEY, "price_id")
_LINES = ("instance_id", "period_start", "period_end", "billing_account", "category", "stack_layer")


class NothingBooked(LookupError):  # noqa: N818  (named for what the caller learns)
    """No row of that hour is as selected."""


class HoursGone(LookupError):  # noqa: N818  (named for what the caller learns)
    """The hour is part of a day now."""


def explain(
    store: Store,
    hour: datetime,
    selected: Mapping[str, str],
    limit: int = MOST_ROWS,
    progress: Progress = lambda _done, _all: None,
) -> Explanation:
    """What the dollars of an hour rest on.

    Args:
        store: the ledger.
        hour: its start.
        selected: column of :data:`SELECTORS` to value, such as ``{"holder": "ml/train-0/worker"}``.
        limit: rows that are told at most.
        progress: called as rows are explained.

    Raises:
        ValueError: a column that there is not, or a time that is no start of an hour.
        NothingBooked: nothing is booked there; the message says what is.
        HoursGone: the hour became part of a day.
        StoreError: a table cannot be read.
    """
    _refuse_unknown(hour, selected)
    books = Books(store)
    if books.is_rolled(hour.date()):
        raise HoursGone(_gone(books, hour.date()))
    part = _Hour(books, hour)
    rows = part.cost.filter(pl.lit(value=True), *(pl.col(name) == value for name, value in selected.items()))
    if rows.is_empty():
        raise NothingBooked(_nothing(part.cost, hour, selected))
    keys = rows.select(_ROW).unique().sort(_ROW)
    wanted = keys.head(limit)
    told: list[RowExplained] = []
    for key in wanted.iter_rows(named=True):
        told.append(part.row(key))
        progress(len(told), wanted.height)
    bare = pl.col("effective_nano_usd").is_null()
    return Explanation(
        hour=hour,
        selected=dict(selected),
        versions=dict(books.versions),
        rows=tuple(told),
        left_out=keys.height - len(told),
        pending=hour in books.pending,
        list_nano_usd=_total(rows["list_nano_usd"]),
        effective_nano_usd=_total(rows["effective_nano_usd"]),
        estimate_nano_usd=_total(rows.filter(bare)["list_nano_usd"]) or 0,
    )


class _Hour:
    """All rows of one hour."""

    def __init__(self, books: Books, hour: datetime) -> None:
        at = (pl.col("day") == hour.date()) & (pl.col("hour_utc") == hour)
        self.hour = hour
        self.prices = books.prices
        self.usage, self.node_hours, self.cost = (
            books.scan(table).filter(at).collect() for table in (USAGE, NODE_HOURS, COST)
        )
        self.listed = list_again(self.usage, self.node_hours, self.cost, self.prices)
        self.sums = line_sums(self.cost.lazy()).collect()
        touched = touching(books.scan(CHARGES), hour, hour + HOUR)
        self.groups = _line_groups(touched.collect(), books, hour)

    def row(self, key: Mapping[str, Any]) -> RowExplained:
        cost = _of(self.cost, key, _ROW)
        usage = _of(self.usage, key, USAGE_KEY)
        listed = _of(self.listed, key, _ROW)
        unit = _of(self.listed, key, NODE_HOUR)
        together = _of(unit, key, ("price_id",)).filter(
            pl.col("gpu_model") == (cost["gpu_model"][0] or ""), pl.col("account") != HOST
        )
        host = _of(self.cost, key, NODE_HOUR).filter(pl.col("account") == HOST)["list_nano_usd"]
        by_list = unit["list_nano_usd"].null_count() == 0
        weighed_by = "list_nano_usd" if by_list else "gpu_ns"
        first = cost.row(0, named=True)
        return RowExplained(
            node_hour=self._node_hour(key),
            **{name: first[name] or "" for name in _TOLD},
            energy_method=", ".join(sorted(set(usage["energy_method"].to_list()))),
            gpu_ns=_total(listed["gpu_ns"]),
            energy_mj=_total(usage["energy_mj"]),
            requested_ns=_total(usage["requested_ns"]),
            price=self._price(str(key["price_id"])),
            priced_gpu_ns=_total(together["gpu_ns"]) or 0,
            priced_nano_usd=_total(together["list_nano_usd"]),
            host_nano_usd=_total(host),
            list_nano_usd=_total(cost["list_nano_usd"]),
            weighed_by=weighed_by,
            weight=_total(listed[weighed_by]) or 0,
            weights=_total(unit[weighed_by]) or 0,
            charges=self._charges(cost),
            carbon_ug=_total(cost["carbon_ug"]),
            embodied_ug=_total(cost["embodied_ug"]),
            intensity=next((text for text in cost["intensity"] if text), ""),
        )

    def _node_hour(self, key: Mapping[str, Any]) -> NodeHour | None:
        found = _of(self.node_hours, key, NODE_HOUR)
        if found.is_empty():
            return None
        row = found.row(0, named=True)
        return NodeHour(**{name: row[name] for name in NodeHour.__dataclass_fields__})

    def _price(self, price_id: str) -> PriceUsed | None:
        found = self.prices.filter(pl.col("price_id") == price_id)
        if not price_id or found.is_empty():
            return None
        row = found.row(0, named=True)
        of_node = row["nano_usd_per_node_hour"] is not None
        return PriceUsed(
            price_id,
            row["nano_usd_per_node_hour"] if of_node else row["nano_usd_per_gpu_hour"],
            "node" if of_node else "gpu",
            source=row["source"] or "",
            as_of=row["as_of"],
            capacity_type=row["capacity_type"] or "",
            estimate=row["estimate"],
            note=row["note"] or "",
        )

    def _charges(self, cost: pl.DataFrame) -> tuple[ChargeShare, ...]:
        billed = cost.filter(pl.col("effective_nano_usd").is_not_null(), pl.col("charge") != LIST).sort(GROUP)
        return tuple(self._charge(row) for row in billed.iter_rows(named=True))

    def _charge(self, row: Mapping[str, Any]) -> ChargeShare:
        key = (*NODE_HOUR, *GROUP)
        whole = _of(self.sums, row, key)["effective_nano_usd"]
        lines = _of(self.groups, row, ("owner", *GROUP), owner=row["instance_id"] if row["node"] else "")
        return ChargeShare(
            billing_account=row["billing_account"],
            charge=row["charge"],
            stack_layer=row["stack_layer"],
            node_hour_nano_usd=int(whole.sum()),
            effective_nano_usd=row["effective_nano_usd"],
            lines=tuple(_line_group(line) for line in lines.sort("period_start", "period_end").iter_rows(named=True)),
        )


_TOLD = (
    "gpu_uuid",
    "gpu_model",
    "mig",
    "holder_kind",
    "holder",
    "namespace",
    "workload",
    "team",
    "run",
    "account",
    "method",
)


def _line_groups(lines: pl.DataFrame, books: Books, hour: datetime) -> pl.DataFrame:
    """Lines that are spread as one, with their part of the hour; ``owner`` is the instance, empty for shared ones."""
    existed = books.existed(lines)
    known = lines["instance_id"].is_in(existed["instance_id"].implode()) & (lines["instance_id"] != "")
    paid = lines.with_columns(owner=pl.when(known).then("instance_id").otherwise(pl.lit("")), charge="category").filter(
        pl.col("effective_nano_usd") != 0
    )
    # shared lines keep to their provider and region; lines of one instance are spread together
    apart = [pl.when(pl.col("owner") == "").then(name).otherwise(pl.lit("")).alias(f"own_{name}") for name in _PLACES]
    key = ["owner", *_LINES, *(f"own_{name}" for name in _PLACES)]
    grouped = paid.with_columns(apart).with_columns(pl.struct(key).rank("dense").cast(pl.String).alias("group"))
    parts = expected_lines([hour], grouped.drop("charge").with_columns(billing_account="group").lazy(), existed.lazy())
    by_group = parts.group_by("billing_account").agg(part=pl.col("effective_nano_usd").sum().cast(pl.Int64)).collect()
    return (
        grouped.group_by("group", "owner", *_LINES, "charge")
        .agg(
            pl.format("{}/{}", "bill_id", "line_id").sort().head(_MOST_IDS).alias("ids"),
            pl.len().alias("lines"),
            pl.col("service", "sku", "pricing").sort().first(),
            pl.col("effective_nano_usd").cast(pl.Int128).sum().cast(pl.Int64),
        )
        .join(by_group, left_on="group", right_on="billing_account", how="left")
        .join(_weights(grouped, existed, hour), on="group", how="left")
        .with_columns(pl.col("part", "weight_ns", "weights_ns").fill_null(0))
    )


_PLACES = ("provider", "region")


def _weights(grouped: pl.DataFrame, existed: pl.DataFrame, hour: datetime) -> pl.DataFrame:
    """What each group of lines is spread by: in this hour, and in all."""
    spans = grouped.select("group", "owner", "period_start", "period_end").unique("group")
    ends = pl.max_horizontal(pl.col("period_end"), pl.col("period_start") + pl.duration(microseconds=1))
    start = pl.col("hour_utc")
    overlap = (
        pl.min_horizontal(ends, start + pl.duration(hours=1)) - pl.max_horizontal("period_start", start)
    ).dt.total_microseconds()
    own = (
        spans.filter(pl.col("owner") != "")
        .join(existed.select("instance_id", "hour_utc", "existed_ns"), left_on="owner", right_on="instance_id")
        .with_columns(overlap_us=overlap)
        .filter(pl.col("overlap_us") > 0)
        .with_columns(ns=pl.col("existed_ns").cast(pl.Int128) * pl.col("overlap_us") // 3_600_000_000)
        .group_by("group")
        .agg(
            weight_ns=pl.col("ns").filter(start == hour).sum().cast(pl.Int64),
            weights_ns=pl.col("ns").sum().cast(pl.Int64),
        )
    )
    shared = (
        spans.filter(pl.col("owner") == "")
        .with_columns(hour_utc=pl.lit(hour).cast(pl.Datetime("us", "UTC")))
        .select(
            "group",
            weight_ns=overlap * 1000,
            weights_ns=(ends - pl.col("period_start")).dt.total_microseconds() * 1000,
        )
    )
    return pl.concat([own, shared])


def _line_group(line: Mapping[str, Any]) -> LineGroup:
    return LineGroup(
        ids=tuple(line["ids"]),
        part_nano_usd=line["part"],
        **{name: line[name] for name in LineGroup.__dataclass_fields__ if name not in {"ids", "part_nano_usd"}},
    )


def _of(frame: pl.DataFrame, row: Mapping[str, Any], names: Sequence[str], **values: str) -> pl.DataFrame:
    """Rows of the frame that have in these columns what the row has."""
    return frame.filter([pl.col(name).eq_missing(pl.lit({**row, **values}[name])) for name in names])


def _total(values: pl.Series) -> int | None:
    """An exact sum; None where nothing is known."""
    known = values.drop_nulls()
    return sum(int(value) for value in known) if known.len() else None


def _gone(books: Books, day: date) -> str:
    late = late_nano_usd(books.rows_of_day(COST, day).filter(pl.col("method") == LATE_CORRECTION).collect())
    told = "" if late is None else f"; {late} nano-dollars came later and stand on it with method {LATE_CORRECTION}"
    return f"the hours of {day} became one day{told}: explain a later hour; verify holds for that day"


def _refuse_unknown(hour: datetime, selected: Mapping[str, str]) -> None:
    if hour.utcoffset() is None or hour.timestamp() % 3600:
        raise ValueError(f"{hour.isoformat()} is no start of an hour of UTC: give one such as 2026-11-01T05:00Z")
    if unknown := [name for name in selected if name not in SELECTORS]:
        raise ValueError(f"rows have no {unknown[0]!r} to be selected by: there is {', '.join(SELECTORS)}")


def _nothing(cost: pl.DataFrame, hour: datetime, selected: Mapping[str, str]) -> str:
    wanted = ", ".join(f"{name} {value!r}" for name, value in selected.items()) or "anything"
    names = [name for name in selected if name in cost.columns] or ["holder"]
    there = sorted({str(value) for value in cost[names[0]].drop_nulls() if value != ""})
    listed = ", ".join(there[:10]) + (f" and {len(there) - 10} more" if len(there) > 10 else "")  # noqa: PLR2004
    has = f"that hour has {names[0]}: {listed}" if there else "that hour has none at all"
    return f"nothing is booked for {wanted} at {hour:%Y-%m-%dT%H:%MZ}; {has}"
