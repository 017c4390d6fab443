"""The API's other reports: node-hours, prices, variance, what the laws say; each tells the versions it is from."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime
from itertools import islice
from typing import Any, Final

import polars as pl

from collectors.price_list import load
from controller.api_window import HOUR, BadQuestion, Parameters, Window, rfc3339
from ledger.audit import RESULTS, Asked
from ledger.audit import read as read_audit
from ledger.bill_witness import gpu_types
from ledger.store import Store
from ledger.tables import AUDIT, BILLS, CHARGES, COST, INSTANCE_TYPES, NODE_HOURS, PRICES, Table
from ledger.variance import billed_not_observed, billed_without_node, observed_not_billed, variance
from ledger.verify import pending_hours, verify
from ledger.verify_law import LAWS

HOURS_PARAMETERS: Final = ("window", "node", "state", "limit")
PRICES_PARAMETERS: Final = ("limit",)
VARIANCE_PARAMETERS: Final = ("window", "limit")
VERIFY_PARAMETERS: Final = ("window",)
AUDIT_PARAMETERS: Final = ("window", "cluster", "kind", "namespace", "name", "action", "result", "limit")
AUDIT_RESULTS: Final = ("", *RESULTS)
_STATES: Final = ("", "final", "provisional")
MOST_ROWS: Final = 100_000
_MOST_BREAKS: Final = 1000
Json = dict[str, Any]


def hours(store: Store, query: str, now: datetime) -> Json:
    """Node-hours of a window, the last first.

    Raises:
        BadQuestion: a parameter cannot be followed.
        StoreError: the table cannot be read.
    """
    given = Parameters(query, HOURS_PARAMETERS)
    window, limit = given.window(now, "24h"), given.number("limit", 1000, MOST_ROWS)
    node, state = given.text("node"), given.choice("state", _STATES, "")
    version, rows = _pinned(store, NODE_HOURS)
    wanted = rows.filter(_within(window))
    if node:
        wanted = wanted.filter(pl.col("node") == node)
    if state:
        wanted = wanted.filter(pl.col("state") == state)
    found = wanted.drop("day", "digest").sort("hour_utc", "node", "instance_id", descending=[True, False, False])
    return _report("node_hours", found, limit, {NODE_HOURS.name: version}, window)


def prices(store: Store, query: str, now: datetime) -> Json:
    """Every price that was used, with its source; raises as :func:`hours`."""
    del now
    given = Parameters(query, PRICES_PARAMETERS)
    version, rows = _pinned(store, PRICES)
    return _report("prices", rows.sort("price_id"), given.number("limit", 1000, MOST_ROWS), {PRICES.name: version})


def variances(store: Store, query: str, now: datetime) -> Json:
    """List price against the bill, and what only one of the two knows; raises as :func:`hours`."""
    given = Parameters(query, VARIANCE_PARAMETERS)
    window, limit = given.window(now, "lastmonth"), given.number("limit", 10_000, MOST_ROWS)
    tables = (COST, CHARGES, NODE_HOURS, BILLS, INSTANCE_TYPES)
    pinned = {table.name: _pinned(store, table) for table in tables}
    cost, nodes = (pinned[table.name][1].filter(_within(window)) for table in (COST, NODE_HOURS))
    lines = pinned[CHARGES.name][1].filter(
        pl.col("period_start") < pl.lit(window.end), pl.col("period_end") >= pl.lit(window.start)
    )
    versions = {name: version for name, (version, _) in pinned.items()}
    report = _report("variance", variance(cost, lines, nodes), limit, versions, window)
    types = gpu_types(load(), pinned[INSTANCE_TYPES.name][1].collect())
    within = lines.filter(pl.col("period_end") > pl.lit(window.start))
    unmatched = {
        "billed_not_observed": billed_not_observed(cost, nodes),
        "billed_without_node": billed_without_node(within, pinned[NODE_HOURS.name][1], types),
        "observed_not_billed": observed_not_billed(cost, pinned[BILLS.name][1]),
    }
    for name, frame in unmatched.items():
        rows = frame.head(limit + 1).collect(engine="streaming")
        report[name] = [plain(row) for row in rows.head(limit).iter_rows(named=True)]
        report["meta"]["truncated"] |= rows.height > limit
    return report


def verified(store: Store, query: str, now: datetime) -> Json:
    """The laws of the books over a window, and where they do not hold; raises as :func:`hours`."""
    window = Parameters(query, VERIFY_PARAMETERS).window(now, "24h")
    looked: list[Mapping[str, int | None]] = []
    found = list(islice(verify(store, window.start, window.end - HOUR, looked=looked.append), _MOST_BREAKS))
    return {
        "holds": not found,
        "laws": [{"law": law.name, "says": law.says} for law in LAWS],
        "breaks": [plain(asdict(each)) for each in found],
        "pending": [rfc3339(hour) for hour in pending_hours(store) if window.start <= hour < window.end],
        "meta": {
            "window": window.as_json(),
            "versions": dict(looked[-1]),
            "changed_meanwhile": looked[0] != looked[-1],
            "truncated": len(found) == _MOST_BREAKS,
        },
    }


def audit(store: Store, query: str, now: datetime) -> Json:
    """What was done to the cluster in a window, the last first; raises as :func:`hours`."""
    given = Parameters(query, AUDIT_PARAMETERS)
    window, limit = given.window(now, "7d"), given.number("limit", 1000, MOST_ROWS)
    result, version = given.choice("result", AUDIT_RESULTS, ""), store.version(AUDIT)
    asked = Asked(
        window.start,
        window.end,
        **{column: given.text(column) for column in ("cluster", "kind", "namespace", "name")},
        actions=given.listed("action"),
        results=(result,) if result else (),
    )
    rows = read_audit(store, asked, version).drop("day").reverse()
    return _report("audit", rows, limit, {AUDIT.name: version}, window)


def versions(store: Store, *tables: Table) -> dict[str, int | None]:
    """Each table's version now."""
    return {table.name: store.version(table) for table in tables}


def _pinned(store: Store, table: Table) -> tuple[int | None, pl.LazyFrame]:
    version = store.version(table)
    return version, store.scan(table, version)


def _within(window: Window) -> pl.Expr:
    last = window.end - HOUR
    days = pl.col("day").is_between(window.start.date(), last.date())
    return days & pl.col("hour_utc").is_between(window.start, last)


def _report(
    name: str, frame: pl.LazyFrame, limit: int, pinned: Mapping[str, int | None], window: Window | None = None
) -> Json:
    rows = frame.head(limit + 1).collect(engine="streaming")
    meta: Json = {"versions": dict(pinned), "truncated": rows.height > limit}
    if window is not None:
        meta["window"] = window.as_json()
    return {name: [plain(row) for row in rows.head(limit).iter_rows(named=True)], "meta": meta}


def plain(row: Mapping[str, Any]) -> Json:
    """JSON values: times by RFC 3339, amounts as text where they may pass what JSON's numbers hold exactly."""
    return {name: _value(name, value) for name, value in row.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    exact = name.endswith(("_ns", "_usd", "_per_gpu_hour", "_per_node_hour"))
    return str(value) if exact and isinstance(value, int) else value


__all__ = ("BadQuestion", "audit", "hours", "prices", "variances", "verified", "versions")
