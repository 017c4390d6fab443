"""Which steps the API server would not take, and when each of them is tried again.

A missing right or an admission webhook refuses a write for as long as nothing changes: repeated at each look it would
take the place of downs that could be made, and fill log and audit table. Owns waits and the count of tries, all of
which may be lost: a new process just tries. What was written in vain for other reasons waits for nothing here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.scaling.act import Outcome, Task
from controller.scaling.decide import Step
from controller.scaling.model import Ref, Seen, Wish

FIRST_WAIT = timedelta(seconds=5)
"""Doubled with each try that is refused again."""
MOST_WAIT = timedelta(minutes=5)
MOST_WAIT_BACK = timedelta(minutes=1)
"""Of what comes back."""
_REFUSED = frozenset({"forbidden", "refused", "gone"})


@dataclass(frozen=True, slots=True)
class Tried:
    """How a step went that did not succeed, at its last try."""

    outcome: Outcome
    at: datetime
    tries: int = 0
    """In a row that were refused, while nothing changed."""
    wait: timedelta = timedelta(0)

    @property
    def is_refused(self) -> bool:
        """Whether the API server said no; otherwise it is not known to have heard, or another was faster."""
        return self.outcome.result in _REFUSED

    def holds(self, now: datetime) -> bool:
        """Whether it is not tried again yet."""
        return holds(self.at, self.wait, now)


def holds(at: datetime, wait: timedelta, now: datetime) -> bool:
    """Whether what was tried then is not tried again yet; a clock that was set back holds back nothing."""
    return at <= now < at + wait


def wait_after(tries: int, most: timedelta) -> timedelta:
    """How long after so many tries the next is made."""
    return min(most, FIRST_WAIT * (1 << min(tries - 1, 16)))


@dataclass(frozen=True, slots=True)
class _Known:
    stood: tuple[object, ...]
    step: Step
    tried: Tried


class RefusedWrites:
    """What is remembered of steps that did not succeed, by the object that is written."""

    def __init__(self) -> None:
        self._known: dict[Ref, _Known] = {}

    def recall(self, lever: Seen, wish: Wish, step: Step) -> tuple[Step, Tried | None]:
        """A step with what is remembered of it: tried again, it is still the one that was decided first.

        What was remembered of another step of the object is forgotten.

        Returns:
            The step, and how it went; ``None``: it was not tried yet, or succeeded.
        """
        known = self._known.get(lever.ref)
        if known is None:
            return step, None
        if known.step.action != step.action:
            del self._known[lever.ref]
            return step, None
        step = _due_as_before(step, known.step)
        if known.stood != _stood(lever, wish, step):
            return step, replace(known.tried, tries=0, wait=timedelta(0))
        if known.tried.is_refused and step.action == "down" and step.record is not None and known.step.record:
            step = replace(step, record=replace(step.record, at=known.step.record.at))
        return step, known.tried

    def take(self, task: Task, tried: Tried | None, outcome: Outcome, now: datetime) -> Tried | None:
        """Take how a step went; what is remembered of it from now on.

        Args:
            task: with the step as :meth:`recall` gave it.
            tried: as :meth:`recall` gave it.
            outcome: of this try; one that succeeded is remembered no longer.
            now: the time.
        """
        if outcome.result == "pending":
            return tried
        if outcome.result == "done":
            self._known.pop(task.lever.ref, None)
            return None
        refused = Tried(outcome, now)
        if refused.is_refused:
            tries = 1 if tried is None else tried.tries + 1
            most = MOST_WAIT if task.step.action == "down" else MOST_WAIT_BACK
            refused = replace(refused, tries=tries, wait=wait_after(tries, most))
        self._known[task.lever.ref] = _Known(_stood(task.lever, task.wish, task.step), task.step, refused)
        return refused

    def keep(self, refs: Iterable[Ref]) -> None:
        """Forget all other objects."""
        kept = frozenset(refs)
        self._known = {ref: known for ref, known in self._known.items() if ref in kept}


def _stood(lever: Seen, wish: Wish, step: Step) -> tuple[object, ...]:
    """All that an owner or a policy can change so that a step may be taken. A status that is written every few seconds,
    and with it the resource version, is none of it.
    """
    owned = lever.uid, lever.generation, lever.levers, lever.labels, lever.annotations
    return *owned, step.levers, wish.policy, wish.window


def _due_as_before(step: Step, former: Step) -> Step:
    """What could not be given back in time is due since then, not since now."""
    if step.action != "restore" or step.recorded or step.record is None or former.record is None:
        return step
    return replace(step, record=replace(step.record, due=former.record.due))
