"""Tells the owner of a workload before it goes down, with the command that snoozes it.

Owns what was told in this process; one that starts anew tells again, and the down waits for it again. Told is by an
Event on the workload, which names its owner by label or annotation.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from controller.scaling.engine import Report
from controller.scaling.model import Ref, Seen, Wish, Workload
from controller.scaling.policy_annotations import EXCLUDE_UNTIL

OWNER_KEYS = ("wattledger.io/owner", "owner")
"""Annotations and labels that name whom to tell, the first that is there."""
SNOOZE = timedelta(hours=2)
"""That the command in a notice asks for; anybody may write another moment."""

Tell = Callable[[Workload, str, datetime], None]
Resolve = Callable[[Workload, datetime], Wish]


@dataclass(slots=True)
class Notices:
    """Who was told of which down.

    Args:
        tell: takes workload, text and time.
        resolve: what will be wished of a workload at a moment.
    """

    tell: Tell
    resolve: Resolve
    _told: dict[Ref, tuple[datetime | None, datetime]] = field(
        default_factory=dict[Ref, tuple[datetime | None, datetime]]
    )

    def told_at(self, workload: Workload, wish: Wish) -> datetime | None:
        """When the owner was told of this down; ``None``: not yet."""
        window, at = self._told.get(workload.ref, (None, None))
        return at if window == wish.window else None

    def take(self, reports: Iterable[Report], now: datetime) -> None:
        """Tell whoever is to be told after a look."""
        seen: set[Ref] = set()
        for report in reports:
            seen.add(report.subject)
            wish, minutes = report.wish, report.wish.options.tell_owner_minutes
            if not minutes or wish.dry_run:
                continue
            if report.step.action == "down":
                self._say(report.workload, wish, now, now + timedelta(minutes=minutes))
            elif wish.wished == "up" and wish.until is not None and wish.until - now <= timedelta(minutes=minutes):
                coming = self.resolve(report.workload, wish.until)
                if coming.wished == "down":
                    self._say(report.workload, replace(coming, window=wish.until), now, wish.until)
        self._told = {ref: told for ref, told in self._told.items() if ref in seen}

    def _say(self, workload: Workload, wish: Wish, now: datetime, down_at: datetime) -> None:
        if self.told_at(workload, wish) is not None:
            return
        self._told[workload.ref] = wish.window, now
        self.tell(workload, notice(workload.subject, wish, down_at), now)


def notice(subject: Seen, wish: Wish, down_at: datetime) -> str:
    """The text of a notice."""
    said = {**subject.labels, **subject.annotations}
    owner = next((said[key] for key in OWNER_KEYS if said.get(key)), "")
    until = (down_at + SNOOZE).isoformat(timespec="minutes")
    ref = subject.ref
    snooze = f"kubectl annotate {ref.kind.lower()} {ref.name} -n {ref.namespace} --overwrite {EXCLUDE_UNTIL}={until}"
    whom = f"{owner}: " if owner else ""
    return f"{whom}policy {wish.policy} puts it down at {down_at.isoformat(timespec='minutes')}; to snooze it: {snooze}"
