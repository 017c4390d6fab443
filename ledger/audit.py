"""The audit table: what was done to the cluster, by whom, why, and what came of it.

Owns its rows and what is asked of them. Rows are appended and never rewritten: an action whose process died between
intent and result keeps its intent, and whoever finds out later what came of it appends that.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import polars as pl

from ledger.store import Store
from ledger.tables import AUDIT

Phase = Literal["intent", "result"]
Result = Literal["", "done", "conflict", "gone", "forbidden", "refused", "unknown"]
UNKNOWN: Final = "unknown"
REFUSED: Final = ("forbidden", "refused")
"""Results of actions that were not made, and may be tried again as what was decided then."""
RESULTS: Final = ("done", "conflict", "gone", "forbidden", "refused", "unknown")

INTENT: Final = "intent"
RESULT: Final = "result"
DONE: Final = "done"
DOWN: Final = "down"
RAISE: Final = "raise"
RESTORE: Final = "restore"
FINISH: Final = "finish"
GIVE_WAY: Final = "give_way"
AWAIT: Final = "await"
"""A restore is not Ready though it should be."""
TELL_OWNER: Final = "tell_owner"
"""An owner was told of a down that is to come; its window is that of the down."""
MAKE_SCALER: Final = "make_scaler"
"""A ScaledObject was made for a workload."""
MOVE_BOUNDS: Final = "move_bounds"
"""The replicas between which a ScaledObject scales a workload were changed."""
UNDO_SCALER: Final = "undo_scaler"
"""A ScaledObject that was made was deleted, or one whose bounds were moved got back its own."""
OF_SCALERS: Final = (MAKE_SCALER, MOVE_BOUNDS, UNDO_SCALER)
COMMITTED_FIRST: Final = (DOWN, *OF_SCALERS)
"""Actions whose intents are in the table before anything is written."""
MOST_AHEAD: Final = timedelta(days=1)
"""So long before a window, at most, its owners are told."""
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


def steps_of_windows(
    store: Store,
    cluster: str,
    now: datetime,
    since: datetime,
    *,
    windows: Collection[datetime | None] = (),
    newest: Sequence[AuditRow] = (),
) -> pl.DataFrame:
    """What was done for windows that are not over, and tells how things stand in them, in the order of time.

    Downs, raises, restores, and owners who were told. Dry runs and what was not done are left out; an action is there
    once, however often its result was told.

    Args:
        store: the ledger.
        cluster: its name.
        now: the time; a window is over when its downs said so.
        since: nothing earlier is looked at, but for ``windows``.
        windows: when windows began, or will, that are not over whatever their downs said.
        newest: rows that are not in the table yet.

    Raises:
        StoreError: the table cannot be read.
    """
    begun = [window.astimezone(UTC) for window in windows if window is not None]
    first = min([since.astimezone(UTC), *(window - MOST_AHEAD for window in begun)])
    asked = Asked(first, cluster=cluster, actions=(DOWN, RAISE, RESTORE, TELL_OWNER), results=(DONE,))
    recorded = pl.concat([read(store, asked), frame_of(newest).lazy().filter(*_conditions(asked))])
    rows = recorded.filter(~pl.col("dry_run"))
    lasts = pl.col("until").is_null() | (pl.col("until") > pl.lit(now).cast(AUDIT.schema["until"]))
    lasting = rows.filter(pl.col("action").is_in([DOWN, TELL_OWNER]), lasts).select("window").unique().collect()
    wanted = pl.concat([lasting["window"], pl.Series("window", begun, dtype=AUDIT.schema["window"])])
    endless = pl.col("window").is_null()
    return (
        rows.filter(endless | pl.col("window").is_in(wanted.implode()))
        .unique("id", keep="first", maintain_order=True)
        .collect()
    )


def open_intents(store: Store, cluster: str, since: datetime, *, refused: bool = False) -> pl.DataFrame:
    """Intents without any result: a process died, or what it noted was lost; the objects tell what came of them.

    Args:
        store: the ledger.
        cluster: its name.
        since: nothing earlier is looked at.
        refused: those of downs instead that were refused, or whose answer was lost, and nothing else is told of them:
            they may have been tried again, with success, by a process that died before it told, or were made at once.

    Raises:
        StoreError: the table cannot be read.
    """
    rows = read(store, Asked(since, cluster=cluster)).collect()
    results, intents = rows.filter(pl.col("phase") == RESULT), rows.filter(pl.col("phase") == INTENT)
    if refused:
        in_doubt = pl.col("result").is_in([*REFUSED, UNKNOWN])
        no = results.filter(in_doubt, pl.col("action") == DOWN).select("id").unique()
        results = results.filter(~in_doubt)
        intents = intents.unique("id", keep="first", maintain_order=True).join(no, on="id", how="semi")
    return intents.join(results.select("id").unique(), on="id", how="anti", maintain_order="left")


def downs_that_last(store: Store, cluster: str, since: datetime, now: datetime) -> pl.DataFrame:
    """The rows of downs that are not over: nothing gave the workload back since, and their window has not ended.

    Raises:
        StoreError: the table cannot be read.
    """
    changes = (DOWN, RAISE, RESTORE, FINISH, GIVE_WAY)
    asked = Asked(since, cluster=cluster, actions=changes, results=(DONE, "gone"))
    last = read(store, asked).filter(~pl.col("dry_run")).collect()
    last = last.unique(["kind", "namespace", "name", "uid"], keep="last", maintain_order=True)
    lasts = pl.col("until").is_null() | (pl.col("until") > pl.lit(now).cast(AUDIT.schema["until"]))
    return last.filter(pl.col("action").is_in([DOWN, RAISE]), pl.col("result") == DONE, lasts)


def late_restores(store: Store, cluster: str, since: datetime) -> list[tuple[datetime, str]]:
    """When restores were told to be late, and why; oldest first.

    Raises:
        StoreError: the table cannot be read.
    """
    asked = Asked(since, cluster=cluster, actions=(AWAIT,), results=("unknown",))
    return list(read(store, asked).select("at_utc", "reason").collect().iter_rows())


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
