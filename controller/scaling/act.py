"""Makes a step's writes, and has them recorded.

Owns what is written around a write: the intents of downs before the first of them, results after. A write whose fate is
not known is neither repeated nor believed: the object is looked at again.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from controller.scaling.decide import Step
from controller.scaling.kind import Kind
from controller.scaling.model import Ref, Seen, Wish, Workload
from controller.scaling.patches import Patch, patches

_log = logging.getLogger(__name__)

Result = Literal["done", "conflict", "gone", "forbidden", "refused", "unknown", "pending"]
"""``unknown``: the answer did not come, and it may have been written. ``pending``: a former write of ours is not seen
yet, and nothing was written."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the writes of a step went."""

    result: Result
    why: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A step, with all that is recorded of it."""

    workload: Workload
    wish: Wish
    step: Step
    kind: Kind
    former: Outcome | None = None
    """How the same step was refused before; ``None``: it was not."""

    @property
    def lever(self) -> Seen:
        """What is written."""
        return self.workload.lever

    def is_news(self, outcome: Outcome) -> bool:
        """Whether this is told for the first time: the last try was not refused in the same words."""
        return outcome != self.former


@dataclass(frozen=True, slots=True)
class Wrote:
    """What became of one patch."""

    result: Result
    version: str = ""
    """resourceVersion of the object afterwards."""
    why: str = ""


class Writes(Protocol):
    """Writes one patch at a time."""

    def write(self, kind: Kind, ref: Ref, patch: Patch, version: str, /) -> Wrote:
        """Write it if the object still stands at ``version``."""
        ...


class Book(Protocol):
    """Where actions are recorded."""

    def intend(self, tasks: Sequence[Task], now: datetime, /) -> None:
        """Commit the intents of downs, once for all.

        Raises:
            StoreError: they could not be committed.
        """
        ...

    def note(self, task: Task, outcome: Outcome, now: datetime, /) -> None:
        """Take a result; never fails and never waits for the ledger."""
        ...


class Actor:
    """Acts.

    Args:
        writes: the API server, as fast as it takes what comes back.
        book: the audit table, Events and metrics.
        downs: the same for downs, at the configured rate; ``None``: as ``writes``.
    """

    def __init__(self, writes: Writes, book: Book, downs: Writes | None = None) -> None:
        self._writes = writes
        self._downs = downs or writes
        self._book = book
        self._past: dict[Ref, frozenset[str]] = {}
        """The versions that each object was last written on; while it is still seen at one, our write is not seen."""

    def intend(self, tasks: Sequence[Task], now: datetime) -> None:
        """Commit intents.

        Raises:
            StoreError: they could not be committed, and nothing may be written.
        """
        waiting = [task for task in tasks if not self._is_pending(task.lever)]
        if waiting:
            self._book.intend(waiting, now)

    def act(self, task: Task, now: datetime) -> Outcome:
        """Make the writes of one step, in order, until one does not succeed."""
        if self._is_pending(task.lever):
            return Outcome("pending", "the former write is not seen yet")
        outcome = self._write(task)
        self._book.note(task, outcome, now)
        return outcome

    def found(self, task: Task, outcome: Outcome, now: datetime) -> None:
        """Have it recorded that a step was made of which that was not known."""
        self._book.note(task, outcome, now)

    def _write(self, task: Task) -> Outcome:
        lever, version = task.lever, task.lever.version
        past: frozenset[str] = frozenset()
        writes = self._downs if task.step.action == "down" else self._writes
        for patch in patches(task.step, lever, task.kind):
            wrote = writes.write(task.kind, lever.ref, patch, version)
            if wrote.result != "done":
                outcome = Outcome(wrote.result, wrote.why)
                if wrote.result not in {"conflict", "unknown"} and task.is_news(outcome):
                    _log.warning("%s of %s: %s", task.step.action, lever.ref, wrote.why)
                return outcome
            past |= {version}
            self._past[lever.ref] = past
            version = wrote.version
        return Outcome("done")

    def _is_pending(self, lever: Seen) -> bool:
        past = self._past.get(lever.ref)
        if past is not None and lever.version not in past:
            del self._past[lever.ref]
            return False
        return past is not None
