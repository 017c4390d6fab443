"""The audit table: what was done to the cluster, by whom, why, and what came of it.

Owns its rows and what is asked of them. Rows are appended and never rewritten: an action whose process died between
intent and result keeps its intent, and whoever finds out later what came of it appends that.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

import polars as pl

from ledger.store import Store
from ledger.tables import AUDIT

Phase = Literal["intent", "result"]
Result = Literal["", "done", "conflict", "gone", "forbidden", "refused", "unknown"]
RESULTS: Final = ("done", "conflict", "gone", "forbidden", "refused", "unknown")

INTENT: Final = "intent"
RESULT: Final = "result"
DONE: Final = "done"
DOWN: Final = "down"
RESTORE: Final = "restore"
FINISH: Final = "finish"
GIVE_WAY: Final = "give_way"
DownKey = tuple[str, str, str, datetime]
"""Kind, namespace, name, and when the window began."""
_ID_DIGITS: Final = 24


@dataclass(frozen=True, slots=True)
class Target:
    """What an action is upon."""

    cluster: str
    kind: str
    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of the table."""

    at: datetime
    id: str
    phase: Phase
    action: str
    target: Target
    actor: str = ""
    through: str = ""
    policy: str = ""
    window: datetime | None = None
    until: datetime | None = None
    before: str = ""
    """JSON of the levers."""
    after: str = ""
    dry_run: bool = False
    result: Result = ""
    reason: str = ""
    gpus: int | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """Which rows are asked for; what is empty restricts nothing."""

    since: datetime
    until: datetime | None = None
    """Exclusive."""
    cluster: str = ""
    namespace: str = ""
    name: str = ""
    kind: str = ""
    actions: Sequence[str] = field(default=())
    results: Sequence[str] = field(default=())


def action_id(target: Target, action: str, decided: datetime) -> str:
    """The id of an action, the same for whoever knows what it was upon and when it was decided.

    Both stand in the record on the object, so a process that starts anew finds the intent of its forerunner by it.
    """
    said = [target.cluster, target.kind, target.namespace, target.name, target.uid, action]
    moment = decided.astimezone(UTC).isoformat()
    return hashlib.sha256(json.dumps([*said, moment]).encode()).hexdigest()[:_ID_DIGITS]


def frame_of(rows: Iterable[AuditRow]) -> pl.DataFrame:
    """Rows as the table has them."""
    return pl.DataFrame([_columns(row) for row in rows], schema=AUDIT.schema)


def append(store: Store, rows: Sequence[AuditRow]) -> int | None:
    """Add rows in one commit; its version, ``None`` where there was no row to add.

    Raises:
        Fenced: a newer leader keeps the ledger; nothing was written.
        StoreError: nothing was written.
    """
    return store.append(AUDIT, frame_of(rows)) if rows else None


def read(store: Store, asked: Asked, version: int | None = None) -> pl.LazyFrame:
    """The rows that are asked for, in the order of time.

    Raises:
        StoreError: the table cannot be read.
    """
    return store.scan(AUDIT, version).filter(*_conditions(asked)).sort("at_utc", "id", "phase")


def downs_in_window(store: Store, cluster: str, windows: Iterable[datetime]) -> dict[DownKey, int]:
    """How often each workload was put down in each of these windows, by kind, namespace, name and the window.

    Dry runs and downs that were not done do not count; a down counts once, however often its result is told.

    Raises:
        StoreError: the table cannot be read.
    """
    wanted = {window.astimezone(UTC) for window in windows}
    if not wanted:
        return {}
    rows = read(store, Asked(min(wanted), cluster=cluster, actions=(DOWN,), results=(DONE,)))
    real = rows.filter(~pl.col("dry_run"), pl.col("window").is_not_null())
    counted = real.group_by("kind", "namespace", "name", "window").agg(pl.col("id").n_unique()).collect()
    return {
        (kind, space, name, when): times for kind, space, name, when, times in counted.iter_rows() if when in wanted
    }


def open_intents(store: Store, cluster: str, since: datetime) -> pl.DataFrame:
    """Intents without any result: a process died, or what it noted was lost; the objects tell what came of them.

    Raises:
        StoreError: the table cannot be read.
    """
    rows = read(store, Asked(since, cluster=cluster)).collect()
    done = rows.filter(pl.col("phase") == RESULT).select("id").unique()
    return rows.filter(pl.col("phase") == INTENT).join(done, on="id", how="anti", maintain_order="left")


def times_to_ready(store: Store, cluster: str, since: datetime) -> pl.DataFrame:
    """Past restores that were finished: ``kind``, ``namespace``, ``name``, ``restored_at``, ``seconds``; oldest first.

    From the levers being given back for the first time until the record was taken away since all pods were Ready. A
    restore during which the workload was put down again, or somebody changed it, does not count.

    Raises:
        StoreError: the table cannot be read.
    """
    workload = ["kind", "namespace", "name"]
    asked = Asked(since, cluster=cluster, actions=(DOWN, RESTORE, FINISH, GIVE_WAY), results=(DONE,))
    again = (pl.col("action") == RESTORE) & (pl.col("action").shift(1).over(workload) == RESTORE)
    following = [pl.col(name).shift(-1).over(workload).alias(f"next_{name}") for name in ("action", "at_utc")]
    return (
        read(store, asked)
        .filter(~pl.col("dry_run"))
        .filter(~again.fill_null(value=False))
        .with_columns(following)
        .filter(pl.col("action") == RESTORE, pl.col("next_action") == FINISH)
        .select(
            *workload,
            restored_at=pl.col("at_utc"),
            seconds=(pl.col("next_at_utc") - pl.col("at_utc")).dt.total_microseconds() / 1_000_000,
        )
        .sort("restored_at", *workload)
        .collect()
    )


def _columns(row: AuditRow) -> dict[str, Any]:
    at = row.at.astimezone(UTC)
    target = row.target
    return {
        "day": at.date(),
        "at_utc": at,
        "id": row.id,
        "phase": row.phase,
        "actor": row.actor,
        "action": row.action,
        "cluster": target.cluster,
        "kind": target.kind,
        "namespace": target.namespace,
        "name": target.name,
        "uid": target.uid,
        "through": row.through,
        "policy": row.policy,
        "window": row.window,
        "until": row.until,
        "before": row.before,
        "after": row.after,
        "dry_run": row.dry_run,
        "result": row.result,
        "reason": row.reason,
        "gpus": row.gpus,
        "priority": row.priority,
    }


def _conditions(asked: Asked) -> list[pl.Expr]:
    since = asked.since.astimezone(UTC)
    found = [pl.col("day") >= since.date(), pl.col("at_utc") >= pl.lit(since).cast(AUDIT.schema["at_utc"])]
    if asked.until is not None:
        until = asked.until.astimezone(UTC)
        found += [pl.col("day") <= until.date(), pl.col("at_utc") < pl.lit(until).cast(AUDIT.schema["at_utc"])]
    for column in ("cluster", "namespace", "name", "kind"):
        value: str = getattr(asked, column)
        if value:
            found.append(pl.col(column) == value)
    for column, values in (("action", asked.actions), ("result", asked.results)):
        if values:
            found.append(pl.col(column).is_in(list(values)))
    return found
