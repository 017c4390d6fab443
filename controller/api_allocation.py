"""``/api/v1/allocation``: who spent what, in the shape of OpenCost's API.

Owns names and JSON; the figures are :func:`ledger.allocate.allocate`'s. OpenCost has floats: they are here for its
readers, and every amount stands beside them exactly, as a decimal integer in text, since JSON's numbers end at 2^53.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, count
from typing import Any, Final, cast

import polars as pl

from controller.api_window import DAY, HOUR, WEEK, BadQuestion, Parameters, Window
from ledger.allocate import GROUPS, OWN, STEP, Basis, Metric, Sharing, Spread, allocate
from ledger.dimension_names import ALLOWED, DIMENSION, is_dimension
from ledger.dimensions import dimension_value
from ledger.store import Store
from ledger.tables import COST, HOLDER, NANO_PER_USD, USAGE

PARAMETERS: Final = (
    "window",
    "aggregate",
    "accumulate",
    "step",
    "basis",
    "shareIdle",
    "shareCharges",
    "shareSplit",
    "limit",
)
SEVERAL: Final = ("filter",)
ALIASES: Final[Mapping[str, str]] = {"controller": "workload", "controllerKind": "workload_kind"}
"""OpenCost's words for columns of the books; ``label:NAME`` is ``dimension:NAME``."""
STEPS: Final[Mapping[str, str]] = {"hour": "1h", "day": "1d", "week": "1w", "month": "1mo"}
ACCUMULATE: Final = ("true", "false", *STEPS)
SPLITS: Final[Mapping[str, tuple[Spread, Metric]]] = {
    "weighted": ("proportional", "gpu_ns"),
    "even": ("even", "gpu_ns"),
    "gpu_time": ("metric", "gpu_ns"),
    "active_time": ("metric", "active_ns"),
    "energy": ("metric", "energy_mj"),
    "requested": ("metric", "requested_ns"),
}
UNKNOWN: Final = "__unallocated__"
"""In a name, for what a holder does not have: OpenCost's word."""
EXACT_AMOUNTS: Final = (
    "cost_nano_usd",
    "spread_nano_usd",
    "idle_nano_usd",
    "unmeasured_nano_usd",
    "estimate_nano_usd",
    "gpu_ns",
    "unpriced_ns",
    "active_ns",
    "idle_ns",
    "requested_ns",
    "energy_mj",
    "carbon_ug",
    "embodied_ug",
)
"""What an allocation tells as text, to the last unit."""
_NS_PER_HOUR: Final = 3_600_000_000_000
_JOULES: Final = 1000
_UG_PER_G: Final = 1_000_000
_MOST_ROWS: Final = 50_000


@dataclass(frozen=True, slots=True)
class AllocationQuestion:
    """What is asked."""

    window: Window
    by: tuple[str, ...]
    step: str | None
    basis: Basis
    sharing: Sharing
    filters: Mapping[str, tuple[str, ...]]
    limit: int

    @classmethod
    def read(cls, query: str, now: datetime) -> "AllocationQuestion":
        """From the query of a URL.

        Raises:
            BadQuestion: a parameter cannot be followed.
        """
        given = Parameters(query, PARAMETERS, SEVERAL)
        split = SPLITS[given.choice("shareSplit", SPLITS, "weighted")]
        idle, charges = given.flag("shareIdle"), given.flag("shareCharges")
        filters = _filters(given.texts("filter"))
        if filters and (idle or charges):
            raise BadQuestion("filter: cannot be given with shareIdle or shareCharges, which share over all there are")
        return cls(
            window=given.window(now),
            by=tuple(dict.fromkeys(_column("aggregate", name) for name in given.listed("aggregate", "holder"))),
            step=_step(given),
            basis=cast("Basis", given.choice("basis", ("best", "list", "effective"), "best")),
            sharing=Sharing(split[0] if idle else "apart", split[0] if charges else "apart", metric=split[1]),
            filters=filters,
            limit=given.number("limit", 10_000, _MOST_ROWS),
        )


def answer(store: Store, question: AllocationQuestion) -> dict[str, Any]:
    """The answer as JSON values.

    Raises:
        StoreError: a table cannot be read.
    """
    versions = {table.name: store.version(table) for table in (COST, USAGE)}
    within = _within(question.window)
    cost, usage = (
        store.scan(table, versions[table.name]).filter(within, *_conditions(question.filters))
        for table in (COST, USAGE)
    )
    rows = allocate(
        cost, usage, question.by, basis=question.basis, sharing=question.sharing, step=question.step
    ).collect(engine="streaming")
    sources = usage.select(pl.col("source").unique().sort()).collect(engine="streaming")["source"]
    sets = _sets(rows.head(question.limit), question)
    return {
        "code": 200,
        "status": "success",
        "data": sets,
        "meta": {
            "window": question.window.as_json(),
            "basis": question.basis,
            "versions": versions,
            "sources": sources.to_list(),
            "unpriced_ns": str(int(rows["unpriced_ns"].sum())),
            "truncated": rows.height > question.limit,
        },
    }


def _sets(rows: pl.DataFrame, question: AllocationQuestion) -> list[dict[str, Any]]:
    """One object for each step, in the order of time; without steps one."""
    steps: dict[datetime, dict[str, Any]] = {} if question.step else {question.window.start: {}}
    for row in rows.iter_rows(named=True):
        span = question.window
        if question.step is not None:
            start = max(row[STEP], question.window.start)
            span = Window(start, min(_after(row[STEP], question.step), question.window.end))
        of_step = steps.setdefault(span.start, {})
        name = _unlike(_name(row, question.by), of_step)
        of_step[name] = _allocation(name, row, question, span)
    return [steps[start] for start in sorted(steps)]


def _unlike(name: str, taken: Collection[str]) -> str:
    """The name, or, where slashes in names make two groups look alike, one with a number behind it."""
    names = chain([name], (f"{name} ({number})" for number in count(2)))
    return next(each for each in names if each not in taken)


def _allocation(name: str, row: Mapping[str, Any], question: AllocationQuestion, span: Window) -> dict[str, Any]:
    cost, idle, spread = (row[key] for key in ("cost_nano_usd", "idle_nano_usd", "spread_nano_usd"))
    total = None if cost is None and not spread else (cost or 0) + spread
    measured = (cost or 0) - (row["unmeasured_nano_usd"] or 0)
    working = (measured - (idle or 0)) / measured if measured else None
    return {
        "name": name,
        "properties": {column: row[column] for column in question.by} | {"pool": row["pool"]},
        "window": span.as_json(),
        "start": span.as_json()["start"],
        "end": span.as_json()["end"],
        "minutes": (span.end - span.start) / timedelta(minutes=1),
        "gpuHours": _ratio(row["gpu_ns"], _NS_PER_HOUR),
        "gpuUnpricedHours": _ratio(row["unpriced_ns"], _NS_PER_HOUR),
        "gpuActiveHours": _ratio(row["active_ns"], _NS_PER_HOUR),
        "gpuRequestedHours": _ratio(row["requested_ns"], _NS_PER_HOUR),
        "gpuCost": _ratio(cost, NANO_PER_USD),
        "gpuCostIdle": _ratio(idle, NANO_PER_USD),
        "gpuCostUnmeasured": _ratio(row["unmeasured_nano_usd"], NANO_PER_USD),
        "cpuCost": 0.0,
        "ramCost": 0.0,
        "pvCost": 0.0,
        "networkCost": 0.0,
        "loadBalancerCost": 0.0,
        "externalCost": 0.0,
        "sharedCost": _ratio(spread, NANO_PER_USD),
        "totalCost": _ratio(total, NANO_PER_USD),
        "estimatedCost": _ratio(row["estimate_nano_usd"], NANO_PER_USD),
        "totalEfficiency": working if row["pool"] == OWN else None,
        "energyJoules": _ratio(row["energy_mj"], _JOULES),
        "carbonGrams": _ratio(row["carbon_ug"], _UG_PER_G),
        "embodiedCarbonGrams": _ratio(row["embodied_ug"], _UG_PER_G),
        "exact": {key: None if row[key] is None else str(row[key]) for key in EXACT_AMOUNTS},
    }


def _name(row: Mapping[str, Any], by: Sequence[str]) -> str:
    """The parts with slashes; a pool ends with its own name, as OpenCost's ``__idle__`` does."""
    if row["pool"] == OWN:
        return "/".join(str(row[column] or UNKNOWN) for column in by) or "__all__"
    kept = [str(row[column] or UNKNOWN) for column in by if column not in HOLDER and not column.startswith(DIMENSION)]
    return "/".join([*kept, f"__{row['pool']}__"])


def _ratio(amount: int | None, unit: int) -> float | None:
    return None if amount is None else amount / unit


def _within(window: Window) -> pl.Expr:
    last = window.end - HOUR
    return pl.col("day").is_between(window.start.date(), last.date()) & pl.col("hour_utc").is_between(
        window.start, last
    )


def _after(start: datetime, step: str) -> datetime:
    if step == STEPS["month"]:
        return (start + 32 * DAY).replace(day=1)
    return start + {STEPS["hour"]: HOUR, STEPS["day"]: DAY, STEPS["week"]: WEEK}[step]


def _step(given: Parameters) -> str | None:
    said = given.choice("accumulate", ACCUMULATE, "true")
    step = given.choice("step", STEPS, "day")
    if said == "true":
        return None
    return STEPS[step if said == "false" else said]


def _column(parameter: str, name: str) -> str:
    if name.startswith("label:"):
        name = DIMENSION + name.removeprefix("label:")
    name = ALIASES.get(name, name)
    if name not in GROUPS and not is_dimension(name):
        known = ", ".join([*sorted(GROUPS), *ALIASES, ALLOWED])
        raise BadQuestion(f"{parameter}: found {name!r}, allowed: {known}".replace(DIMENSION, "label:"))
    return name


def _filters(given: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """``COLUMN:VALUE`` or ``COLUMN:VALUE,VALUE``; of several all have to hold."""
    filters: dict[str, tuple[str, ...]] = {}
    for said in given:
        prefix = next((start for start in ("label:", DIMENSION) if said.startswith(start)), "")
        name, colon, values = said.removeprefix(prefix).partition(":")
        if not colon or not name:
            raise BadQuestion(f"filter: found {said!r}, allowed: COLUMN:VALUE or COLUMN:VALUE,VALUE")
        column = _column("filter", prefix + name)
        if column in filters:
            raise BadQuestion(f"filter: {prefix + name} is given twice; give it once, its values with commas")
        filters[column] = tuple(values.split(","))
    return filters


def _conditions(filters: Mapping[str, tuple[str, ...]]) -> list[pl.Expr]:
    return [_values(name).is_in(list(values)) for name, values in filters.items()]


def _values(name: str) -> pl.Expr:
    return dimension_value(name) if name.startswith(DIMENSION) else pl.col(name)
