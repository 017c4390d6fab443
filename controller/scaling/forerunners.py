"""What former processes did and could not tell any more, from the audit table and the objects as they are now.

Owns the rows that close what they left open: intents without a result, downs that a refusal was told of last, and downs
whose workload was deleted while no controller was there to see it.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from controller.scaling.audit_log import found_again, found_done
from controller.scaling.deleted import View, is_deleted
from controller.scaling.model import Ref
from ledger.audit import GIVE_WAY, RESULT, AuditRow, Target, action_id, downs_that_last, open_intents
from ledger.store import Store

REMEMBERED: Final = timedelta(days=8)
"""Intents that are older are left as they are."""
_DELETED: Final = "it was deleted while it was down, before this controller began"


def untold(store: Store, cluster: str, view: View, now: datetime) -> list[AuditRow]:
    """The rows that are missing.

    Args:
        store: the ledger.
        cluster: its name.
        view: that has seen the whole cluster.
        now: the time.

    Raises:
        StoreError: the ledger cannot be read.
    """
    since = now - REMEMBERED
    found = found_again(open_intents(store, cluster, since), view.get, now)
    found += found_done(open_intents(store, cluster, since, refused=True), view.get, now)
    return [*found, *_deleted(downs_that_last(store, cluster, now - REMEMBERED * 4, now), view, now)]


def _deleted(downs: pl.DataFrame, view: View, now: datetime) -> Iterator[AuditRow]:
    """From now on they save nothing; since when they are gone nobody knows."""
    for row in downs.iter_rows(named=True):
        target = Target(*(str(row[name]) for name in ("cluster", "kind", "namespace", "name", "uid")))
        if is_deleted(Ref(target.kind, target.namespace, target.name), target.uid, view):
            yield _gone(target, row, now)


def _gone(target: Target, row: Mapping[str, Any], now: datetime) -> AuditRow:
    return AuditRow(
        now,
        action_id(target, GIVE_WAY, now),
        RESULT,
        GIVE_WAY,
        target,
        through=row["through"],
        policy=row["policy"],
        window=row["window"],
        until=row["until"],
        before=row["after"],
        after=row["after"],
        result="gone",
        reason=_DELETED,
        gpus=row["gpus"],
        priority=row["priority"] or 0,
    )
