"""What schedules do, into the audit table: intents before downs, everything else when the ledger answers.

Owns the rows and the buffer before them. Nothing here may hold back a restore: results, and both rows of a restore,
wait in memory, up to a bound, and are written by a thread of their own. What a crash loses of them is found again from
the objects: their records say what was decided and when, and :func:`found_again` makes the missing result of it.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from controller.scaling.act import Outcome, Task
from controller.scaling.decide import record_or_none
from controller.scaling.model import Levers, Ref, Seen, Wish, Workload
from controller.scaling.queue_mark import fate_of_scaler
from controller.scaling.reverts import written
from ledger.audit import (
    COMMITTED_FIRST,
    DONE,
    DOWN,
    INTENT,
    OF_SCALERS,
    REFUSED,
    RESTORE,
    RESULT,
    TELL_OWNER,
    AuditRow,
    Result,
    Target,
    action_id,
)
from ledger.store_errors import StoreError

_log = logging.getLogger(__name__)

MOST_WAITING: Final = 20_000
"""Rows; some ten megabytes. A ledger that is away for so long loses the oldest results, which objects still tell."""
ANSWER_SECONDS: Final = 15.0
"""That downs wait for their intents."""

MOST_REMARKED: Final = 8
"""Remarks of one workload that are remembered."""

Append = Callable[[Sequence[AuditRow]], object]
_Said = tuple[str, str, datetime | None]
"""Action, result with the reason's name, and window of a remark."""


class _Attempt:
    """One commit, in a thread that nobody has to wait for."""

    def __init__(self, append: Append, rows: Sequence[AuditRow], then: "Callable[[_Attempt], None]") -> None:
        self.rows = rows
        self.error: Exception | None = None
        self._append = append
        self._then = then
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="audit", daemon=True).start()

    def ended(self, seconds: float = 0) -> bool:
        return self._ended.wait(seconds)

    def _run(self) -> None:
        try:
            self._append(self.rows)
        except Exception as error:  # noqa: BLE001  (whatever it is, its asker is told, and the rows are kept)
            self.error = error
        self._then(self)
        self._ended.set()


class AuditLog:
    """Records steps; the ``Book`` of whoever acts.

    Args:
        append: writes rows in one commit, fenced; raises ``StoreError``.
        cluster: its name in the ledger.
        actor: who acts, such as the controller's pod.
        seconds: that downs wait for their intents.
        most: rows that wait.
    """

    def __init__(
        self,
        append: Append,
        *,
        cluster: str,
        actor: str,
        seconds: float = ANSWER_SECONDS,
        most: int = MOST_WAITING,
    ) -> None:
        self._append = append
        self._cluster = cluster
        self._actor = actor
        self._seconds = seconds
        self._lock = threading.Lock()
        self._waiting: deque[AuditRow] = deque(maxlen=most)
        self._attempt: _Attempt | None = None
        self._failing = False
        self._remarked: dict[Ref, tuple[_Said, ...]] = {}
        self._refused: dict[Ref, str] = {}
        """By workload, the down that was refused: its intent and how it went are taken."""
        self.lost = 0
        """Rows that no place was left for."""

    @property
    def waiting(self) -> int:
        """Rows that are not known to be written."""
        with self._lock:
            return len(self._waiting) + (0 if self._attempt is None else len(self._attempt.rows))

    def intend(self, tasks: Sequence[Task], now: datetime) -> None:
        """Commit the intents of downs, once for all, with what waits.

        Raises:
            StoreError: they are not known to be committed, so none of these downs may be made.
        """
        intents = [
            row for task in tasks if (row := self._row(task, now, INTENT)).id != self._refused.get(task.workload.ref)
        ]
        if not intents:  # each was tried before as the same down
            return
        self.commit(intents)

    def commit(self, intents: Sequence[AuditRow], what: str = "down") -> None:
        """Commit intents, with what waits; any thread may call it.

        Args:
            intents: of what must not be made before.
            what: they are of, as messages name it.

        Raises:
            StoreError: they are not known to be committed.
        """
        deadline = time.monotonic() + self._seconds
        own = [replace(row, actor=self._actor) for row in intents]
        attempt = self._begin_after_former(own, deadline, what)
        if not attempt.ended(max(0.0, deadline - time.monotonic())):
            raise StoreError(
                f"no {what} is made: the ledger did not take their audit rows within {self._seconds:g} s; see that it "
                "can be written"
            )
        if isinstance(attempt.error, StoreError):
            raise attempt.error
        if attempt.error is not None:
            raise StoreError(f"no {what} is made: {attempt.error}") from attempt.error

    def note(self, task: Task, outcome: Outcome, now: datetime) -> None:
        """Take what became of a step; it waits for nothing and raises nothing.

        What is refused again in the same words is taken once.
        """
        if outcome.result == "pending":
            return
        ref, is_down = task.workload.ref, task.step.action == DOWN
        done = self._row(task, now, RESULT, outcome.result, outcome.why)
        intent = self._row(task, _decided(task, now), INTENT)
        known = self._refused.pop(ref, None)
        if outcome.result == DONE:
            self._remarked.pop(ref, None)
        if is_down and outcome.result in REFUSED:
            self._refused[ref] = done.id
        if task.is_news(outcome) or (is_down and known != done.id):
            self._put([done] if is_down else [intent, done])

    def remark(self, task: Task, result: Result, why: str, now: datetime) -> None:
        """Take why something was left as it is: a refusal, a contested workload, a down that is a dry run.

        The same of the same window is taken once, however often it is looked at, and whatever it alternates with.
        """
        said = task.step.action, f"{result} {why.partition(':')[0]}", task.wish.window
        ref = task.workload.ref
        known = self._remarked.get(ref, ())
        if said in known:
            return
        self._remarked[ref] = (*known, said)[-MOST_REMARKED:]
        self._put([self._row(task, now, RESULT, result, why)])

    def told(self, workload: Workload, wish: Wish, text: str, now: datetime) -> None:
        """Take that an owner was told of a down, whose window ``wish`` names; any thread may call it."""
        target, stands = self._target(workload.subject), _json(workload.lever.levers)
        self._put(
            [
                AuditRow(
                    now,
                    action_id(target, TELL_OWNER, now),
                    RESULT,
                    TELL_OWNER,
                    target,
                    actor=self._actor,
                    policy=wish.policy,
                    window=wish.window,
                    until=wish.until,
                    before=stands,
                    after=stands,
                    result=DONE,
                    reason=text,
                    gpus=workload.gpus,
                    priority=wish.priority,
                )
            ]
        )

    def keep(self, refs: Iterable[Ref]) -> None:
        """Forget what was remarked and refused of all other workloads."""
        kept = frozenset(refs)
        self._refused = {ref: id_ for ref, id_ in self._refused.items() if ref in kept}
        self._remarked = {ref: said for ref, said in self._remarked.items() if ref in kept}

    def found(self, rows: Iterable[AuditRow]) -> None:
        """Take rows of others than a look's steps, such as results that a new process found; see
        :func:`found_again`. Any thread may call it.
        """
        self._put([replace(row, actor=self._actor) for row in rows])

    def write(self) -> None:
        """Begin to write what waits, unless a commit is under way; it waits for nothing and raises nothing."""
        with self._lock:
            if self._waiting and self._attempt is None:
                self._begin([])

    def close(self, seconds: float) -> int:
        """Write what waits, for so long at most; how many rows are left."""
        with self._lock:
            attempt = self._attempt
        if attempt is None or attempt.ended(seconds):
            self.write()
            with self._lock:
                attempt = self._attempt
            if attempt is not None:
                attempt.ended(seconds)
        return self.waiting

    def _begin_after_former(self, intents: Sequence[AuditRow], deadline: float, what: str) -> _Attempt:
        """Begin once no other commit is under way: results are written each second, and that fails no down."""
        while True:
            with self._lock:
                former = self._attempt
                if former is None:
                    return self._begin(intents)
            if not former.ended(max(0.0, deadline - time.monotonic())):
                raise StoreError(
                    f"no {what} is made: the ledger has not answered the former batch of audit rows within "
                    f"{self._seconds:g} s; see that it can be written"
                )

    def _begin(self, intents: Sequence[AuditRow]) -> _Attempt:
        waiting = list(self._waiting)
        self._waiting.clear()
        # set before the thread ends, since the lock is held until then
        attempt = self._attempt = _Attempt(self._append, [*waiting, *intents], self._ended)
        return attempt

    def _ended(self, attempt: _Attempt) -> None:
        with self._lock:
            self._attempt = None
            if attempt.error is None:
                self._failing = False
                return
            # an intent of what was not made is no news; its asker was told
            kept = [row for row in attempt.rows if row.phase == RESULT or row.action not in COMMITTED_FIRST]
            self._give_back(kept)
            first, self._failing = not self._failing, True
        if first:
            _log.error("audit rows cannot be written, and wait in memory: %s", attempt.error)

    def _give_back(self, rows: Sequence[AuditRow]) -> None:
        room = (self._waiting.maxlen or 0) - len(self._waiting)
        self.lost += max(0, len(rows) - room)
        self._waiting.extendleft(reversed(rows[max(0, len(rows) - room) :]))

    def _put(self, rows: Sequence[AuditRow]) -> None:
        with self._lock:
            self.lost += max(0, len(self._waiting) + len(rows) - (self._waiting.maxlen or 0))
            self._waiting.extend(rows)

    def _target(self, subject: Seen) -> Target:
        return Target(self._cluster, subject.ref.kind, subject.ref.namespace, subject.ref.name, subject.uid)

    def _row(self, task: Task, at: datetime, phase: str, result: Result = "", why: str = "") -> AuditRow:
        subject, lever, wish, step = task.workload.subject, task.lever, task.wish, task.step
        target = self._target(subject)
        record = step.record or record_or_none(lever)
        return AuditRow(
            at,
            action_id(target, step.action, _decided(task, at)),
            RESULT if phase == RESULT else INTENT,
            step.action,
            target,
            actor=self._actor,
            through="" if lever.ref == subject.ref else f"{lever.ref.kind} {lever.ref.name}",
            policy=wish.policy or ("" if record is None else record.policy),
            window=wish.window or (None if record is None else record.window),
            until=wish.until,
            before=_json(lever.levers),
            after=_json(step.levers or lever.levers),
            dry_run=wish.dry_run and step.action == DOWN,
            result=result,
            reason=why or step.why,
            gpus=task.workload.gpus,
            priority=wish.priority,
        )


@dataclass(frozen=True, slots=True)
class Intent:
    """An intent without a result, as the table has it."""

    row: Mapping[str, Any]

    @property
    def target(self) -> Target:
        """What it was upon."""
        return Target(*(str(self.row[name]) for name in ("cluster", "kind", "namespace", "name", "uid")))

    @property
    def at(self) -> datetime:
        """When it was decided."""
        moment: datetime = self.row["at_utc"]
        return moment.astimezone(UTC)


def found_done(refused: pl.DataFrame, seen: Callable[[Ref], Seen | None], now: datetime) -> list[AuditRow]:
    """The results of downs that were refused, and made later by a process that died; see :func:`found_again`."""
    return [row for row in found_again(refused, seen, now) if row.result == DONE]


def found_again(intents: pl.DataFrame, seen: Callable[[Ref], Seen | None], now: datetime) -> list[AuditRow]:
    """The results of intents whose process died, as their objects tell them.

    Args:
        intents: of :func:`ledger.audit.open_intents`.
        seen: an object as it is; ``None``: it is not there.
        now: the time.
    """
    found: list[AuditRow] = []
    for row in intents.iter_rows(named=True):
        intent = Intent(row)
        result, why = _fate(intent, seen)
        found.append(
            AuditRow(
                now,
                str(row["id"]),
                RESULT,
                str(row["action"]),
                intent.target,
                through=str(row["through"]),
                policy=str(row["policy"]),
                window=row["window"],
                until=row["until"],
                before=str(row["before"]),
                after=str(row["after"]),
                dry_run=bool(row["dry_run"]),
                result=result,
                reason=why,
                gpus=row["gpus"],
                priority=int(row["priority"] or 0),
            )
        )
    return found


def _fate(intent: Intent, seen: Callable[[Ref], Seen | None]) -> tuple[Result, str]:
    target, through = intent.target, str(intent.row["through"])
    lever = seen(written(Ref(target.kind, target.namespace, target.name), through))
    if intent.row["action"] in OF_SCALERS:
        return fate_of_scaler(str(intent.row["action"]), str(intent.row["after"]), lever)
    if lever is None or (not through and lever.uid != target.uid):
        return "gone", "it is not there any more; its process ended before it could tell the result"
    record = record_or_none(lever)
    moments = () if record is None else (record.at, record.restoring)
    if record is not None and intent.at in moments and _json(lever.levers) == intent.row["after"]:
        return "done", "found on the object after a restart"
    return "unknown", "its process ended before it could tell the result, and the object bears no record of it"


def _decided(task: Task, now: datetime) -> datetime:
    """When the step was decided, by the record; the same for a process that goes on with it."""
    record = task.step.record
    if record is None:
        return now
    if task.step.action == RESTORE:
        return record.restoring or now
    borne = record_or_none(task.lever)
    # a down to another size keeps the record's time, and is another action
    changed = borne is not None and borne.at == record.at and not task.step.recorded
    return now if changed else record.at


def _json(levers: Levers) -> str:
    return json.dumps(dict(levers), separators=(",", ":"), sort_keys=True)
