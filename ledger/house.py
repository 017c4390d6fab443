"""What keeps the whole ledger small and quick: compaction, vacuum, closed months rolled into days. Owns their order.

Each step may be cut off or done again; none changes what the books say.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ledger.rolldays import closed_before, roll_days
from ledger.store import Store
from ledger.store_maintenance import compact, many_files, vacuum
from ledger.tables import ALL, BILLS, COST, EPOCHS, USAGE, Table

_log = logging.getLogger(__name__)

ROLLED = (USAGE, COST)


@dataclass(frozen=True, slots=True)
class Kept:
    """What was done."""

    rolled_days: int = 0
    compacted_parts: int = 0
    deleted_files: int = 0


def keep_house(
    store: Store, *, now: datetime, roll_after_days: int, closed_after_days: int = 15, tables: Sequence[Table] = ALL
) -> Kept:
    """One round over all tables.

    Args:
        store: the ledger; fenced where its epoch is past.
        now: the time; today's files are left to those who write them.
        roll_after_days: hours become days so long after their month's bill was closed.
        closed_after_days: from a month's end until its bill counts as closed.
        tables: those to keep.

    Raises:
        StoreError: a table could not be kept; what was done stands.
    """
    closed_after = timedelta(days=closed_after_days)
    closed = closed_before(store.scan(BILLS).collect(), now=now, after_days=roll_after_days, closed_after=closed_after)
    rolled = 0 if closed is None else sum(roll_days(store, table, closed=closed) for table in ROLLED)
    compacted = deleted = 0
    for table in tables:
        if store.version(table) is None:
            continue
        if table.partition:
            compacted += compact(store, table, many_files(store, table, before=now.date()))
        elif table.name != EPOCHS.name:
            compacted += compact(store, table)
        deleted += vacuum(store, table)
    done = Kept(rolled, compacted, deleted)
    if done != Kept():
        _log.info("house kept: %d days rolled, %d parts compacted, %d files deleted", rolled, compacted, deleted)
    return done
