"""Allocation: who spent what, by any dimension, from the cost and usage of a range of hours.

Owns the groups and how cost that no holder caused is spread. Terms follow the OpenCost specification: a holder's own
cost is what it held, its idle part the cost of holding without working; cluster idle is what nobody held. Cost without
a holder is kept apart, or spread evenly, in proportion to own cost, or by a metric; the spread parts add up to what was
spread. Sums are taken in Int128.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from ledger.apportion_frame import apportion_over
from ledger.tables import DEVICE, HOLDER, PLACE

Basis = Literal["list", "effective", "best"]
"""List price; effective cost, null where no bill has come; or effective where it is known and list elsewhere, with the
part that is list told in ``estimate_nano_usd``."""
Spread = Literal["apart", "even", "proportional", "metric"]
Metric = Literal["gpu_ns", "active_ns", "energy_mj", "requested_ns"]

OWN = "own"
"""A holder's."""
POOLS: Mapping[str, str] = {
    "unallocated": "idle",
    "unattributed": "unattributed",
    "unobserved": "unobserved",
    "system": "system",
    "host": "host",
    "shared": "shared",
}
"""Account to the pool that its cost without a holder is in."""
DIMENSION = "dimension:"
"""Before the name of one of the installation's own dimensions."""
STEP = "step"
"""Where an answer has steps: the start of each."""

ROWS_AT_ONCE = 1 << 19
"""Days are taken together up to so many rows, so that memory does not grow with the range."""

_HELD = ("active", "idle", "unmeasured")
_READ_OF_USAGE = ("gpu_ns", "requested_ns", "energy_mj")
_USAGE_SUMS = ("gpu_ns", "active_ns", "idle_ns", "requested_ns", "energy_mj")
_READ_OF_COST = ("cost_nano_usd", "estimate_nano_usd", "carbon_ug", "embodied_ug")
_COST_SUMS = ("cost_nano_usd", "idle_nano_usd", "estimate_nano_usd", "carbon_ug", "embodied_ug")
GROUPS = frozenset({*PLACE, *DEVICE, *HOLDER, "account", "method"} - {"dimensions"})


@dataclass(frozen=True, slots=True)
class Sharing:
    """How pools are spread over the holders' groups."""

    idle: Spread = "apart"
    shared: Spread = "apart"
    """Of the pools ``shared`` and ``host``."""
    charges: Mapping[str, Spread] = field(default_factory=dict[str, Spread])
    """Exceptions from ``shared`` by charge, such as tax or support."""
    metric: Metric = "gpu_ns"


def allocate(
    cost: pl.LazyFrame,
    usage: pl.LazyFrame,
    by: Sequence[str],
    *,
    basis: Basis = "best",
    sharing: Sharing | None = None,
    step: str | None = None,
) -> pl.LazyFrame:
    """Cost, time, energy and carbon by group; the rows are read and summed at once, some days at a time.

    Args:
        cost: COST rows of the range.
        usage: USAGE rows of the same range.
        by: columns of PLACE, DEVICE or HOLDER, ``account``, ``method``, or ``dimension:NAME``.
        basis: what a dollar is; see :data:`Basis`.
        sharing: how cost without a holder is spread; nothing is, unless told.
        step: cut the range into ``1h``, ``1d``, ``1w`` or ``1mo`` of UTC.

    Returns:
        ``step`` (where asked for), ``by``, ``pool`` (``own`` or the pool's name), ``gpu_ns``, ``active_ns``,
        ``idle_ns``, ``requested_ns``, ``energy_mj``, ``cost_nano_usd``, ``idle_nano_usd`` (the part of own cost held
        and not worked), ``estimate_nano_usd`` (the part of ``cost_nano_usd`` that is list price), ``carbon_ug``,
        ``embodied_ug``, ``spread_nano_usd`` (what came from pools). Their ``cost_nano_usd + spread_nano_usd`` adds up
        to the range's cost, whatever the sharing. Columns of ``by`` that only holders have are empty in pools.

    Raises:
        ValueError: an unknown column in ``by``; the message lists those that there are.
    """
    _refuse_unknown(by)
    sharing = sharing or Sharing()
    keys = [*([STEP] if step else []), *by, "pool"]
    money = _grouped(
        _idle_costs(_read(_costs(cost, basis), by, step, _READ_OF_COST)), by, [*keys, "charge"], _COST_SUMS
    )
    time = _grouped(_times(_read(usage, by, step, _READ_OF_USAGE)), by, keys, _USAGE_SUMS)
    groups = (
        money.group_by(keys)
        .agg(_sums(_COST_SUMS))
        .join(time, on=keys, how="full", coalesce=True)
        .with_columns(pl.col("cost_nano_usd").fill_null(0) if basis != "effective" else pl.col("cost_nano_usd"))
    )
    spread = money.with_columns(how=_how(sharing)).filter(pl.col("how") != "apart", pl.col("pool") != OWN)
    if step is None:
        return _without_step(_spread(groups, spread, ["__all__"], sharing.metric), keys)
    return _spread(groups, spread, [STEP], sharing.metric).sort(keys)


def _without_step(frame: pl.LazyFrame, keys: list[str]) -> pl.LazyFrame:
    return frame.drop("__all__").sort(keys)


def _spread(groups: pl.LazyFrame, pools: pl.LazyFrame, over: list[str], metric: str) -> pl.LazyFrame:
    """Pools that are spread go to the own groups of their step; where there are none they stay."""
    if over == ["__all__"]:
        groups, pools = groups.with_columns(__all__=pl.lit(0)), pools.with_columns(__all__=pl.lit(0))
    own = pl.col("pool") == OWN
    amounts = pools.group_by(*over, "how").agg(whole=_sum("cost_nano_usd"))
    takers = groups.filter(own).with_row_index("taker")
    weights = (
        pl.when(pl.col("how") == "even")
        .then(pl.lit(1, dtype=pl.Int128))
        .when(pl.col("how") == "metric")
        .then(pl.col(metric).fill_null(0).cast(pl.Int128))
        # a group that credits brought below nothing takes no part of what is shared
        .otherwise(pl.max_horizontal(pl.col("cost_nano_usd").fill_null(0), 0).cast(pl.Int128))
    )
    parts = apportion_over(
        takers.join(amounts, on=over).with_columns(weight=weights),
        whole="whole",
        weight="weight",
        by=(*over, "how"),
        order=("taker",),
        into="part",
    )
    given = parts.group_by("taker").agg(spread_nano_usd=_sum("part"))
    taken = takers.join(given, on="taker", how="left").drop("taker")
    met = takers.select(over).unique()
    left = _pools_left(groups.filter(~own), pools.join(met, on=over, how="semi"))
    return pl.concat([taken, left], how="diagonal").with_columns(pl.col("spread_nano_usd").fill_null(0))


def _pools_left(groups: pl.LazyFrame, spread: pl.LazyFrame) -> pl.LazyFrame:
    """What stays in the pools once some of their charges were spread; their time and joules stay where they are."""
    keys = [name for name in groups.collect_schema().names() if name not in {*_COST_SUMS, *_USAGE_SUMS}]
    gone = spread.group_by(keys).agg(
        _sum("cost_nano_usd").name.prefix("gone_"), _sum("estimate_nano_usd").name.prefix("gone_")
    )
    return (
        groups.join(gone, on=keys, how="left", nulls_equal=True)
        .with_columns(
            pl.col(name) - pl.col(f"gone_{name}").fill_null(0) for name in ("cost_nano_usd", "estimate_nano_usd")
        )
        .drop("gone_cost_nano_usd", "gone_estimate_nano_usd")
    )


def _how(sharing: Sharing) -> pl.Expr:
    shared = pl.col("charge").replace_strict(dict(sharing.charges), default=sharing.shared, return_dtype=pl.String)
    return (
        pl.when(pl.col("pool") == "idle")
        .then(pl.lit(sharing.idle))
        .when(pl.col("pool").is_in(["shared", "host"]))
        .then(shared)
        .otherwise(pl.lit("apart"))
    )


def _costs(cost: pl.LazyFrame, basis: Basis) -> pl.LazyFrame:
    best = pl.coalesce("effective_nano_usd", "list_nano_usd")
    amount = {"list": pl.col("list_nano_usd"), "effective": pl.col("effective_nano_usd"), "best": best}[basis]
    estimated = pl.col("effective_nano_usd").is_null() if basis == "best" else pl.lit(basis == "list")
    return cost.with_columns(cost_nano_usd=amount, estimate_nano_usd=pl.when(estimated).then(amount).otherwise(0))


def _idle_costs(cost: pl.LazyFrame) -> pl.LazyFrame:
    return cost.with_columns(idle_nano_usd=pl.when(pl.col("account") == "idle").then("cost_nano_usd").otherwise(0))


def _times(usage: pl.LazyFrame) -> pl.LazyFrame:
    return usage.with_columns(
        active_ns=pl.when(pl.col("account") == "active").then("gpu_ns").otherwise(0),
        idle_ns=pl.when(pl.col("account") == "idle").then("gpu_ns").otherwise(0),
    )


def _read(rows: pl.LazyFrame, by: Sequence[str], step: str | None, sums: Sequence[str]) -> pl.LazyFrame:
    """The rows summed by the columns as they stand, so that all that follows is of few rows."""
    told = ["dimensions" if name.startswith(DIMENSION) else name for name in by]
    names = rows.collect_schema().names()
    keys = list(dict.fromkeys([*told, "account", *(name for name in ("charge",) if name in names)]))
    if step:
        rows, keys = rows.with_columns(pl.col("hour_utc").dt.truncate(step).alias(STEP)), [STEP, *keys]
    parts = [part.group_by(keys).agg(_sums(sums)).collect(engine="streaming") for part in _portions(rows)]
    return pl.concat(parts).lazy()


def _portions(rows: pl.LazyFrame) -> Iterator[pl.LazyFrame]:
    """The rows, whole days together; at least one portion."""
    days = rows.group_by("day").len().sort("day").collect(engine="streaming")
    portion = (pl.col("len").cum_sum() - 1) // ROWS_AT_ONCE
    for part in days.with_columns(portion.alias("portion")).partition_by("portion", maintain_order=True):
        yield rows.filter(pl.col("day").is_between(part["day"][0], part["day"][-1]))
    if days.is_empty():
        yield rows


def _grouped(rows: pl.LazyFrame, by: Sequence[str], keys: Sequence[str], sums: Sequence[str]) -> pl.LazyFrame:
    held = pl.col("account").is_in(_HELD)
    pool = pl.when(held).then(pl.lit(OWN)).otherwise(pl.col("account").replace_strict(POOLS, default=pl.col("account")))
    columns = [_dimension(name, held) for name in by]
    return rows.with_columns(*columns, pool=pool).group_by(keys).agg(_sums(sums)).collect().lazy()


def _dimension(name: str, held: pl.Expr) -> pl.Expr:
    if name.startswith(DIMENSION):
        path = "$." + name.removeprefix(DIMENSION)
        value = pl.col("dimensions").replace("", "{}").str.json_path_match(path).fill_null("")
        return pl.when(held).then(value).otherwise(pl.lit("")).alias(name)
    if name in HOLDER:
        return pl.when(held).then(pl.col(name)).otherwise(pl.lit("")).alias(name)
    return pl.col(name)


def _sum(column: str) -> pl.Expr:
    """An exact sum; null where every value is null."""
    return pl.when(pl.col(column).is_not_null().any()).then(pl.col(column).cast(pl.Int128).sum()).alias(column)


def _sums(columns: Sequence[str]) -> list[pl.Expr]:
    return [_sum(column) for column in columns]


def _refuse_unknown(by: Sequence[str]) -> None:
    for name in by:
        if name not in GROUPS and not name.startswith(DIMENSION):
            raise ValueError(f"cannot aggregate by {name!r}; there are {', '.join(sorted(GROUPS))} and {DIMENSION}NAME")
