"""``/api/v1/savings``: what each workload that was down saved over a window, with the counterfactual in words."""

from datetime import datetime
from typing import Final

import polars as pl

from controller.api_reports import MOST_ROWS, Json, plain, versions
from controller.api_window import Parameters, Window, rfc3339
from controller.scaling.savings import COUNTERFACTUAL, by_workload, measurable_since, measure
from ledger.store import Store
from ledger.tables import AUDIT, COST, LIFETIMES, NODE_HOURS, USAGE
from ledger.unsettled import settled_through

PARAMETERS: Final = ("window", "cluster", "namespace", "kind", "name", "limit")
_COLUMNS: Final = {"namespace": "namespace", "kind": "workload_kind", "name": "workload"}


def savings(store: Store, query: str, now: datetime) -> Json:
    """Rows by workload and basis, most cash first.

    Raises:
        BadQuestion: a parameter cannot be followed.
        StoreError: a table cannot be read.
    """
    given = Parameters(query, PARAMETERS)
    window, limit = given.window(now, "7d"), given.number("limit", 1000, MOST_ROWS)
    settled = settled_through(store)
    start = min(max(window.start, measurable_since(store) or window.start), window.end)
    through = start if settled is None else max(start, min(window.end, settled))
    pinned = versions(store, AUDIT, COST, USAGE, NODE_HOURS, LIFETIMES)
    rows = by_workload(measure(store, given.text("cluster"), start, through, pinned))
    for name, column in _COLUMNS.items():
        if given.text(name):
            rows = rows.filter(pl.col(column) == given.text(name))
    ordered = rows.sort("cash_nano_usd", "freed_ns", descending=True, nulls_last=True, maintain_order=True)
    found = ordered.with_columns(estimate=pl.col("basis") == "list").head(limit)
    return {
        "savings": [plain(row) for row in found.iter_rows(named=True)],
        "counterfactual": COUNTERFACTUAL,
        "measured_through": None if settled is None or start == window.end else rfc3339(min(window.end, settled)),
        "meta": {
            "window": Window(start, through).as_json(),
            "versions": pinned,
            "truncated": rows.height > limit,
        },
    }
