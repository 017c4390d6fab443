"""What keeps the whole ledger small and quick: compaction, vacuum, closed months rolled into days. Owns their order.

Each step may be cut off or done again; none changes what the books say. A table that cannot be kept stops no other.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache

from ledger.rolldays import closed_before, roll_days
from ledger.store import Store
from ledger.store_errors import Fenced, StoreError
from ledger.store_maintenance import compact, many_files, vacuum
from ledger.tables import ALL, BILLS, COST, EPOCHS, USAGE, Table

_log = logging.getLogger(__name__)

ROLLED = (USAGE, COST)


@dataclass(slots=True)
class Kept:
    """What was done."""

    rolled_days: int = 0
    compacted_parts: int = 0
    deleted_files: int = 0


def keep_house(
    store: Store,
    *,
    now: datetime,
    roll_after_days: int,
    closed_after_days: int = 15,
    told: Callable[[int, int], object] = lambda _step, _steps: None,
) -> Kept:
    """One round over all tables.

    Args:
        store: the ledger; fenced where its epoch is past.
        now: the time; today's files are left to those who write them.
        roll_after_days: hours become days so long after their month's bill was closed.
        closed_after_days: from a month's end until its bill counts as closed.
        told: how far it has come, before each step: which it is, of how many.

    Raises:
        Fenced: a newer leader keeps the books; nothing more was done.
        StoreError: tables could not be kept, with the reason of each; all others were.
    """
    done, wrong = Kept(), dict[str, StoreError]()

    @cache
    def closed() -> date | None:
        bills, closed_after = store.scan(BILLS).collect(), timedelta(days=closed_after_days)
        return closed_before(bills, now=now, after_days=roll_after_days, closed_after=closed_after)

    def roll(table: Table) -> None:
        before = closed()
        done.rolled_days += 0 if before is None else roll_days(store, table, closed=before)

    def tidy(table: Table) -> None:
        if store.version(table) is not None:
            done.compacted_parts += _compact(store, table, now.date())
            done.deleted_files += vacuum(store, table)

    steps = [*((roll, table) for table in ROLLED), *((tidy, table) for table in ALL)]
    for number, (step, table) in enumerate(steps):
        told(number, len(steps))
        try:
            step(table)
        except Fenced:
            raise
        except StoreError as error:
            wrong[str(error)] = error
    if done != Kept():
        _log.info(
            "house kept: %d days rolled, %d parts compacted, %d files deleted",
            done.rolled_days,
            done.compacted_parts,
            done.deleted_files,
        )
    if wrong:
        raise StoreError("; ".join(wrong)) from next(iter(wrong.values()))
    return done


def _compact(store: Store, table: Table, today: date) -> int:
    if table.partition:
        return compact(store, table, many_files(store, table, before=today))
    return 0 if table.name == EPOCHS.name else compact(store, table)
