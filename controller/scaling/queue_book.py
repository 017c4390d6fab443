"""What is done to ScaledObjects, into the audit table and as Events: intents first, results once.

Owns the rows and texts, and what was told lately; the keeper looks every few seconds. What it refuses again in the same
words is no news.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from controller.scaling.act import Wrote
from controller.scaling.event_remarks import Tell
from controller.scaling.events import About, EventText, about
from controller.scaling.kinds.scaled_object import SCALED_OBJECT as KIND
from controller.scaling.model import Ref, Seen
from controller.scaling.queue_mark import Bounds, bounds_json
from controller.scaling.registry import kind_of
from ledger.audit import INTENT, MAKE_SCALER, MOVE_BOUNDS, RESULT, UNDO_SCALER, AuditRow, Result, Target, action_id

_log = logging.getLogger(__name__)

AGAIN: Final = timedelta(hours=1)
"""What keeps something as it is is told again after so long; API servers forget Events then."""
POLICY: Final = "queue_scaling"
_REASONS: Final = {
    MAKE_SCALER: "QueueScalingMade",
    MOVE_BOUNDS: "QueueScalingBounds",
    UNDO_SCALER: "QueueScalingUndone",
}


Action = Literal["make_scaler", "move_bounds", "undo_scaler"]


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that is to be done to one ScaledObject."""

    action: Action
    ref: Ref
    """The ScaledObject."""
    subject: Ref
    """The workload that it scales."""
    why: str
    after: Bounds | None
    """``None``: it is not there then."""
    at: datetime
    """When it was decided; the same for each try."""
    seen: Seen | None = None
    """The ScaledObject; ``None``: it is not there yet."""
    workload: Seen | None = None
    """The workload, where it is seen."""
    until: datetime | None = None


class Rows(Protocol):
    """The audit table."""

    def commit(self, intents: Sequence[AuditRow], what: str, /) -> None:
        """Commit intents.

        Raises:
            StoreError: they are not known to be committed.
        """
        ...

    def found(self, rows: Sequence[AuditRow], /) -> None:
        """Take results; waits for nothing."""
        ...


@dataclass(slots=True)
class QueueBook:
    """Records.

    Args:
        rows: the audit table.
        tell: takes Events.
        cluster: its name in the ledger.
    """

    rows: Rows
    tell: Tell
    cluster: str
    _told: dict[tuple[Ref, str], tuple[str, datetime]] = field(
        default_factory=dict[tuple[Ref, str], tuple[str, datetime]]
    )

    def intend(self, deed: Deed) -> None:
        """Commit the intent.

        Raises:
            StoreError: it is not known to be committed, and nothing may be written.
        """
        self.rows.commit([self._row(deed, deed.at, "", "")], "change of a ScaledObject")

    def note(self, deed: Deed, wrote: Wrote, now: datetime) -> None:
        """Take what became of it."""
        result: Result = "unknown" if wrote.result == "pending" else wrote.result
        self.rows.found([self._row(deed, now, result, wrote.why)])
        reason, why = _REASONS[deed.action], wrote.why or deed.why
        if result == "done":
            self._event(deed, EventText(reason, deed.why), now)
        elif result not in {"conflict", "gone"}:
            self._event(deed, EventText(f"{reason}Failed", f"{deed.action} {result}: {why}", "Warning"), now)

    def remark(self, deed: Deed, result: Literal["done", "refused"], why: str, now: datetime) -> None:
        """Take why it was not done, once: ``done``: it is a dry run; ``refused``: something stands against it."""
        key = deed.ref, deed.action
        said, when = self._told.get(key, ("", now))
        if said == why and now - when < AGAIN:
            return
        self._told[key] = why, now
        if said != why:
            row = self._row(deed, now, result, why)
            self.rows.found([replace(row, dry_run=result == "done")])
            if result == "done":  # what is refused is an Event, which is logged
                _log.info("%s: %s", deed.ref, why)
        if result == "refused":
            self._event(deed, EventText("QueueScalingLeftAlone", why, "Warning"), now)

    def _event(self, deed: Deed, text: EventText, now: datetime) -> None:
        self.tell(_about(deed), text, now)

    def _row(self, deed: Deed, at: datetime, result: Result, why: str) -> AuditRow:
        subject, workload = deed.subject, deed.workload
        uid = "" if workload is None else workload.uid
        target = Target(self.cluster, subject.kind, subject.namespace, subject.name, uid)
        return AuditRow(
            at,
            action_id(target, deed.action, deed.at),
            RESULT if result else INTENT,
            deed.action,
            target,
            through=f"{deed.ref.kind} {deed.ref.name}",
            policy=POLICY,
            until=deed.until,
            before=bounds_json(None if deed.seen is None else deed.seen.bounds),
            after=bounds_json(deed.after),
            result=result,
            reason=why or deed.why,
        )


def _about(deed: Deed) -> About:
    """The ScaledObject; before there is one, its workload where that is seen."""
    if deed.seen is not None:
        return about(deed.seen, KIND)
    kind = kind_of(deed.subject.kind)
    if deed.workload is not None and kind is not None:
        return about(deed.workload, kind)
    return About(f"{KIND.group}/{KIND.versions[0]}", deed.ref.kind, deed.ref.namespace, deed.ref.name, "")
