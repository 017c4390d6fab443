"""Allocation: who spent what, by any dimension, from the cost and usage of a range of hours.

Owns the groups and how cost that no holder caused is spread. Terms follow the OpenCost specification: a holder's own
cost is what it held, its idle part the cost of holding without working; cluster idle is what nobody held. Cost without
a holder is kept apart, or spread evenly, in proportion to own cost, or by a metric; the spread parts add up to what was
spread. Sums are taken in Int128. A cost that nobody knows is in no sum and is never 0: its GPU time is told beside.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from typing import Literal

import polars as pl

from ledger.apportion_frame import apportion_over
from ledger.dimension_names import ALLOWED, DIMENSION, is_dimension
from ledger.dimensions import dimension_value
from ledger.tables import DEVICE, HOLDER, PLACE
from ledger.unpriced import UNPRICED, bare_days, with_unpriced

Basis = Literal["list", "effective", "best"]
"""List price; effective cost, null where no bill has come; or effective where it is known and list elsewhere, with the
part that is list told in ``estimate_nano_usd``."""
Spread = Literal["apart", "even", "proportional", "metric"]
Metric = Literal["gpu_ns", "active_ns", "energy_mj", "requested_ns"]
Progress = Callable[[int, int], None]
"""Told what is done, and of how many."""

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
STEP = "step"
"""Where an answer has steps: the start of each."""

ROWS_AT_ONCE = 1 << 19
"""Days are taken together up to so many rows, so that memory does not grow with the range."""

_HELD = ("active", "idle", "unmeasured")
_READ_OF_USAGE = ("gpu_ns", UNPRICED, "requested_ns", "energy_mj")
_USAGE_SUMS = ("gpu_ns", UNPRICED, "active_ns", "idle_ns", "requested_ns", "energy_mj")
_READ_OF_COST = ("cost_nano_usd", "estimate_nano_usd", "carbon_ug", "embodied_ug")
_COST_SUMS = (
    "cost_nano_usd",
    "idle_nano_usd",
    "unmeasured_nano_usd",
    "estimate_nano_usd",
    "carbon_ug",
    "embodied_ug",
)
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
    progress: Progress = lambda _done, _all: None,
) -> pl.LazyFrame:
    """Cost, time, energy and carbon by group; the rows are read and summed at once, some days at a time.

    Args:
        cost: COST rows of the range.
        usage: USAGE rows of the same range.
        by: columns of PLACE, DEVICE or HOLDER, ``account``, ``method``, or ``dimension:NAME``.
        basis: what a dollar is; see :data:`Basis`.
        sharing: how cost without a holder is spread; nothing is, unless told.
        step: cut the range into ``1h``, ``1d``, ``1w`` or ``1mo`` of UTC.
        progress: called as parts of the two tables are read.

    Returns:
        ``step`` (where asked for), ``by``, ``pool`` (``own`` or the pool's name), ``gpu_ns``,
        ``unpriced_ns`` (the part of it whose cost is not known, and so in no sum), ``active_ns``, ``idle_ns``,
        ``requested_ns``, ``energy_mj``, ``cost_nano_usd`` (null where none of it is known), ``idle_nano_usd`` (the
        part of own cost held and not worked), ``unmeasured_nano_usd`` (the part of which nobody knows whether it
        worked), ``carbon_ug``,
        ``embodied_ug``, ``spread_nano_usd`` (what came from pools), ``estimate_nano_usd`` (the part of own and spread
        cost that is list price). Their ``cost_nano_usd + spread_nano_usd`` adds up to the range's cost, whatever the
        sharing. Columns of ``by`` that only holders have are empty in pools.

    Raises:
        ValueError: an unknown column in ``by``; the message lists those that there are.
    """
    _refuse_unknown(by)
    sharing = sharing or Sharing()
    keys = [*([STEP] if step else []), *by, "pool"]
    amounts = _costs(cost, basis)
    costs = [_of(amounts, span) for span in _spans(amounts)] or [amounts]
    times = _priced_or_not(usage, amounts, basis)
    done = _counted(progress, len(costs) + len(times))
    money = _grouped(_activity_costs(_read(costs, by, step, _READ_OF_COST, done)), by, [*keys, "charge"], _COST_SUMS)
    time = _grouped(_times(_read(times, by, step, _READ_OF_USAGE, done)), by, keys, _USAGE_SUMS)
    groups = money.group_by(keys).agg(_sums(_COST_SUMS)).join(time, on=keys, how="full", coalesce=True)
    spread = money.with_columns(how=_how(sharing)).filter(pl.col("how") != "apart", pl.col("pool") != OWN)
    if step is None:
        return _without_step(_spread(groups, spread, ["__all__"], sharing.metric), keys)
    return _spread(groups, spread, [STEP], sharing.metric).sort(keys)


def _without_step(frame: pl.LazyFrame, keys: list[str]) -> pl.LazyFrame:
    return frame.drop("__all__").sort(keys)


def _spread(groups: pl.LazyFrame, pools: pl.LazyFrame, over: list[str], metric: str) -> pl.LazyFrame:
    """Pools that are spread go to the own groups of their step, and what of them is an estimate likewise; where there
    are none they stay.
    """
    if over == ["__all__"]:
        groups, pools = groups.with_columns(__all__=pl.lit(0)), pools.with_columns(__all__=pl.lit(0))
    own = pl.col("pool") == OWN
    amounts = (
        pools.group_by(*over, "how")
        .agg(_sum("cost_nano_usd").alias("billed"), _sum("estimate_nano_usd").alias("estimate"))
        .with_columns(pl.col("billed") - pl.col("estimate"))
    )
    takers = groups.filter(own).with_row_index("taker")
    weights = (
        pl.when(pl.col("how") == "even")
        .then(pl.lit(1, dtype=pl.Int128))
        .when(pl.col("how") == "metric")
        .then(pl.col(metric).fill_null(0).cast(pl.Int128))
        # a group that credits brought below nothing takes no part of what is shared
        .otherwise(pl.max_horizontal(pl.col("cost_nano_usd").fill_null(0), 0).cast(pl.Int128))
    )
    parts = takers.join(amounts, on=over).with_columns(weight=weights)
    for name in ("billed", "estimate"):
        parts = apportion_over(
            parts, whole=name, weight="weight", by=(*over, "how"), order=("taker",), into=f"{name}_part"
        )
    given = parts.group_by("taker").agg(_sum("billed_part"), _sum("estimate_part"))
    estimates, spread = pl.col("estimate_nano_usd", "estimate_part"), pl.col("billed_part") + pl.col("estimate_part")
    taken = (
        takers.join(given, on="taker", how="left")
        .with_columns(
            spread_nano_usd=spread,
            estimate_nano_usd=pl.when(pl.any_horizontal(estimates.is_not_null())).then(pl.sum_horizontal(estimates)),
        )
        .drop("taker", "billed_part", "estimate_part")
    )
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


def _activity_costs(cost: pl.LazyFrame) -> pl.LazyFrame:
    amount, account = pl.col("cost_nano_usd"), pl.col("account")
    return cost.with_columns(
        pl.when(account == name).then(amount).when(amount.is_not_null()).then(0).alias(f"{name}_nano_usd")
        for name in ("idle", "unmeasured")
    )


def _times(usage: pl.LazyFrame) -> pl.LazyFrame:
    return usage.with_columns(
        active_ns=pl.when(pl.col("account") == "active").then("gpu_ns").otherwise(0),
        idle_ns=pl.when(pl.col("account") == "idle").then("gpu_ns").otherwise(0),
    )


def _counted(progress: Progress, every: int) -> Callable[[], None]:
    """Tells how many of all are done, each time that it is called."""
    done = count(1)
    progress(0, every)
    return lambda: progress(next(done), every)


def _read(
    portions: Sequence[pl.LazyFrame], by: Sequence[str], step: str | None, sums: Sequence[str], done: Callable[[], None]
) -> pl.LazyFrame:
    """The rows summed by the columns as they stand, so that all that follows is of few rows."""
    told = ["dimensions" if name.startswith(DIMENSION) else name for name in by]
    names = portions[0].collect_schema().names()
    keys = list(dict.fromkeys([*told, "account", *(name for name in ("charge",) if name in names)]))
    if step:
        portions = [rows.with_columns(pl.col("hour_utc").dt.truncate(step).alias(STEP)) for rows in portions]
        keys = [STEP, *keys]
    parts: list[pl.DataFrame] = []
    for rows in portions:
        parts.append(rows.group_by(keys).agg(_sums(sums)).collect(engine="streaming"))
        done()
    return pl.concat(parts).lazy()


def _priced_or_not(usage: pl.LazyFrame, amounts: pl.LazyFrame, basis: Basis) -> list[pl.LazyFrame]:
    """The usage in portions, at least one, each row with its time of which no cost is known."""
    bare = bare_days(amounts, basis)
    portions = [
        with_unpriced(
            _of(usage, span), _of(amounts, span) if any(span[0] <= day <= span[1] for day in bare) else None, basis
        )
        for span in _spans(usage)
    ]
    return portions or [with_unpriced(usage, None, basis)]


def _of(rows: pl.LazyFrame, span: tuple[date, date]) -> pl.LazyFrame:
    return rows.filter(pl.col("day").is_between(*span))


def _spans(rows: pl.LazyFrame) -> list[tuple[date, date]]:
    """First and last day of each portion of the rows."""
    days = rows.group_by("day").len().sort("day").collect(engine="streaming")
    portion = (pl.col("len").cum_sum() - 1) // ROWS_AT_ONCE
    parts = days.with_columns(portion.alias("portion")).partition_by("portion", maintain_order=True)
    return [(part["day"][0], part["day"][-1]) for part in parts]


def _grouped(rows: pl.LazyFrame, by: Sequence[str], keys: Sequence[str], sums: Sequence[str]) -> pl.LazyFrame:
    held = pl.col("account").is_in(_HELD)
    pool = pl.when(held).then(pl.lit(OWN)).otherwise(pl.col("account").replace_strict(POOLS, default=pl.col("account")))
    columns = [_dimension(name, held) for name in by]
    return rows.with_columns(*columns, pool=pool).group_by(keys).agg(_sums(sums)).collect().lazy()


def _dimension(name: str, held: pl.Expr) -> pl.Expr:
    if name.startswith(DIMENSION):
        return pl.when(held).then(dimension_value(name)).otherwise(pl.lit("")).alias(name)
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
        if name not in GROUPS and not is_dimension(name):
            raise ValueError(f"cannot aggregate by {name!r}; there are {', '.join(sorted(GROUPS))} and {ALLOWED}")
