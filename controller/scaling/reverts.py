"""How often others put back what was put down in a window, from what was recorded of it.

Owns the count that a new process goes on with where the objects do not tell it: their records were taken away together
with the downs. It is the count that an engine keeps: by the object that is written, without what we gave back
ourselves, and a down to another size is no second one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from controller.scaling.model import Ref, Seen
from controller.scaling.record import Record
from ledger.audit import DOWN, RAISE, RESTORE

Standing = tuple[datetime | None, int]
"""When a window began, and how often an object was put down in it without being given back by us: so many reverts
there are once it is seen up and bears no record."""


@dataclass(frozen=True, slots=True)
class _Told:
    window: datetime | None
    downs: int
    put: str = ""
    """JSON of the levers as we left them down; empty: we gave them back."""


def standing_of(record: Record) -> Standing:
    """What a record tells."""
    return record.window, record.reverts + (record.restoring is None)


def standing_told(steps: pl.DataFrame, seen: Callable[[Ref], Seen | None]) -> dict[Ref, Standing]:
    """What the audit table tells, by the object that was written.

    Args:
        steps: of :func:`ledger.audit.steps_of_windows`.
        seen: an object as it is; one that was made anew is another.
    """
    told: dict[Ref, _Told] = {}
    actions = steps.filter(pl.col("action").is_in([DOWN, RAISE, RESTORE]))
    for row in actions.iter_rows(named=True):
        subject = Ref(row["kind"], row["namespace"], row["name"])
        if (present := seen(subject)) is not None and present.uid != row["uid"]:
            continue
        lever = written(subject, row["through"])
        after = _after(told.get(lever), row["action"], row["window"], row["before"], row["after"])
        if after is not None:
            told[lever] = after
    return {lever: (each.window, each.downs) for lever, each in told.items()}


def written(subject: Ref, through: str) -> Ref:
    """The object that was written for a workload, by its row."""
    kind, _, name = through.partition(" ")
    return Ref(kind, subject.namespace, name) if through else subject


def _after(former: _Told | None, action: str, window: datetime | None, before: str, after: str) -> _Told | None:
    """What stands after one more row."""
    if former is None or former.window != window:
        return _Told(window, 1, after) if action == DOWN else former
    if action == RESTORE:
        return replace(former, downs=former.downs - bool(former.put), put="")
    another_size = action == RAISE or before == former.put
    return replace(former, downs=former.downs + (not another_size), put=after)
