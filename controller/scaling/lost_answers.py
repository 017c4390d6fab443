"""Which writes were made though their answer never came.

Such a write is neither repeated nor believed, but looked for: once the object bears the record and the levers that were
to be written, it was made, and is told as done. Owns what is looked for, all of which may be lost: a new process finds
it in the audit table.
"""

from collections.abc import Callable
from typing import Final

from controller.scaling.act import Outcome, Task
from controller.scaling.decide import Step, record_or_none
from controller.scaling.model import Ref, Seen
from controller.scaling.record import Record

FOUND: Final = Outcome("done", "its answer was lost, and the object bears it")
_MOST: Final = 16
"""Tries of one object that are looked for; of more the oldest are left."""


class LostAnswers:
    """Steps of which it is not known whether they were made, by the object that is written."""

    def __init__(self) -> None:
        self._tasks: dict[Ref, tuple[Task, ...]] = {}

    def take(self, task: Task, outcome: Outcome) -> None:
        """Take how the writes of a step went."""
        ref = task.lever.ref
        if outcome.result == "done":
            self._tasks.pop(ref, None)
        elif outcome.result == "unknown" and task.step.record is not None and task.step.levers is not None:
            self._tasks[ref] = (*self._tasks.get(ref, ()), task)[-_MOST:]

    def found(self, seen: Callable[[Ref], Seen | None]) -> list[Task]:
        """Those that were made, as objects are now; they are looked for no longer, nor what cannot be made any more."""
        made: list[Task] = []
        for ref, tasks in list(self._tasks.items()):
            lever = seen(ref)
            record = None if lever is None else record_or_none(lever)
            if lever is None:
                left: tuple[Task, ...] = ()
            elif (task := next((each for each in tasks if _is_made(each.step, lever, record)), None)) is not None:
                made.append(task)
                left = ()
            else:
                left = tuple(each for each in tasks if _may_come(each, lever, record))
            self._tasks[ref] = left
            if not left:
                del self._tasks[ref]
        return made


def _is_made(step: Step, lever: Seen, record: Record | None) -> bool:
    return _is_of(step, record) and lever.levers == step.levers


def _may_come(task: Task, lever: Seen, record: Record | None) -> bool:
    """Whether its writes may still be under way: the object stands as it was read, or bears the first of two."""
    return lever.version == task.lever.version or _is_of(task.step, record)


def _is_of(step: Step, record: Record | None) -> bool:
    """Whether a record is the step's: by its moments, which tell one decision from another, and what was to be put."""
    told = step.record
    if record is None or told is None:
        return False
    return (record.at, record.restoring, record.put) == (told.at, told.restoring, told.put)
