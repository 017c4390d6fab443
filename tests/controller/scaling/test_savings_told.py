"""What the scaler tells of its savings: as far as the books are complete, and no further."""

import polars as pl

from ledger.audit import AuditRow, Target, append
from ledger.tables import COST, LIFETIMES, NODE_HOURS, USAGE
from ledger.unsettled import note_settled
from tests.controller.scaling.savings_rig import MIN, at
from tests.controller.scaling.test_policies_followed import Home
from tests.controller.scaling.test_savings import night


def test_the_windows_end_where_the_books_are_complete(tmp_path):
    home = Home(tmp_path)
    home.now, store, books = at(31), home.scaler._parts.store, night().books()
    for table in (COST, USAGE, NODE_HOURS, LIFETIMES):
        store.append(table, getattr(books, table.name).with_columns(cluster=pl.lit("c")))
    done = {"phase": "result", "result": "done", "target": Target("c", "Deployment", "ml", "chat")}
    append(store, [AuditRow(at(20, 5), "a", action="down", until=at(32), **done)])
    home.scaler.measure()
    assert home.scaler.stand().saved == {}
    for settled, minutes in ((at(22, 20), 108), (at(22, 40), 228)):
        note_settled(store, None, settled)
        home.scaler.measure()
        saved = home.scaler.stand().saved
        assert {window: each.freed_ns / MIN for window, each in saved.items()} == {"7d": minutes, "30d": minutes}
