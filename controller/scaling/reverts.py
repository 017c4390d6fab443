"""How often others put back what was put down in a window, from what was recorded of it.

Owns the count that a new process goes on with where the objects do not tell it: their records were taken away together
with the downs. It is the count that an engine keeps: by the object that is written, without what we gave back
ourselves, and a down to another size is no second one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from controller.scaling.model import Ref, Seen
from controller.scaling.record import Record, is_of_window
from ledger.audit import DOWN, RAISE, RESTORE


class Standing(NamedTuple):
    """How things stand with one object."""

    window: datetime | None
    """When it began."""
    downs: int
    """How often the object was put down in it without being given back by us: so many reverts there are once it is
    seen up and bears no record."""
    at: datetime
    """When it was put down last."""

    def within(self, wished: datetime | None, now: datetime) -> int:
        """The downs that count in the window that is wished."""
        return self.downs if is_of_window(self.window, self.at, wished, now) else 0


@dataclass(frozen=True, slots=True)
class _Told:
    window: datetime | None
    downs: int
    at: datetime
    put: str = ""
    """JSON of the levers as we left them down; empty: we gave them back."""


def standing_of(record: Record) -> Standing:
    """What a record tells."""
    return Standing(record.window, record.reverts + (record.restoring is None), record.at)


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
        after = _after(told.get(lever), row)
        if after is not None:
            told[lever] = after
    return {lever: Standing(each.window, each.downs, each.at) for lever, each in told.items()}


def written(subject: Ref, through: str) -> Ref:
    """The object that was written for a workload, by its row."""
    kind, _, name = through.partition(" ")
    return Ref(kind, subject.namespace, name) if through else subject


def _after(former: _Told | None, row: Mapping[str, Any]) -> _Told | None:
    """What stands after one more row."""
    action, at, put = row["action"], row["at_utc"], row["after"]
    if former is not None and former.window == row["window"] and (action == RAISE or row["before"] == former.put):
        return replace(former, put=put)  # another size
    if former is None or not is_of_window(former.window, former.at, row["window"], at):
        return _Told(row["window"], 1, at, put) if action == DOWN else former
    if action == RESTORE:
        return replace(former, downs=former.downs - bool(former.put), put="")
    return replace(former, downs=former.downs + 1, at=at, put=put)
