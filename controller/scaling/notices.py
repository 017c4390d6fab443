"""Tells the owner of a workload before it goes down, with the command that snoozes it.

Told is by an Event on the workload, which names its owner by label or annotation. Owns who was told of which down: an
owner is told once the Event was sent, which the audit table keeps for the next process. One of whom it is not known is
told again, and the down waits anew.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from controller.scaling.engine import Report
from controller.scaling.events import Sent
from controller.scaling.model import Ref, Seen, Wish, Workload
from controller.scaling.policy_annotations import EXCLUDE_UNTIL
from ledger.audit import TELL_OWNER

OWNER_KEYS = ("wattledger.io/owner", "owner")
"""Annotations and labels that name whom to tell, the first that is there."""
SNOOZE = timedelta(hours=2)
"""That the command in a notice asks for; anybody may write another moment."""
AGAIN = timedelta(minutes=1)
"""After so long an Event that was not sent is told anew."""
PATIENCE = timedelta(minutes=1)
"""That a new process waits to know whom its forerunner told, before it tells."""

Tell = Callable[[Workload, str, datetime, Sent], None]
Resolve = Callable[[Workload, datetime], Wish]
Keep = Callable[[Workload, Wish, str, datetime], None]
Told = tuple[datetime | None, datetime]
"""Of which window, and when."""


@dataclass(slots=True)
class Notices:
    """Who was told of which down.

    Args:
        tell: takes workload, text, time, and what to call once it was sent.
        resolve: what will be wished of a workload at a moment.
        keep: takes what was told, for later processes.
        patience: that the first notice waits for :meth:`recall`.
    """

    tell: Tell
    resolve: Resolve
    keep: Keep = lambda _workload, _wish, _text, _now: None
    patience: timedelta = timedelta(0)
    _told: dict[Ref, Told] = field(default_factory=dict[Ref, Told])
    _said: dict[Ref, Told] = field(default_factory=dict[Ref, Told])
    """Given to ``tell``, and not sent yet as far as is known."""
    _heard: list[Mapping[Ref, Told]] = field(default_factory=list[Mapping[Ref, Told]])
    """From other threads."""
    _begun: datetime | None = None
    _recalled: bool = False

    def recall(self, told: Mapping[Ref, Told]) -> None:
        """Take whom former processes told; any thread may call it."""
        self._heard.append(told)
        self._recalled = True

    def told_at(self, workload: Workload, wish: Wish) -> datetime | None:
        """When the owner was told of this down; ``None``: not yet."""
        self._hear()
        window, at = self._told.get(workload.ref, (None, None))
        return at if window == wish.window else None

    def take(self, reports: Iterable[Report], now: datetime) -> None:
        """Tell whoever is to be told after a look."""
        self._hear()
        self._begun = self._begun or now
        knows = self._recalled or now - self._begun >= self.patience
        seen: set[Ref] = set()
        for report in reports:
            seen.add(report.subject)
            wish, minutes = report.wish, report.wish.options.tell_owner_minutes
            if not minutes or wish.dry_run or not knows:
                continue
            if wish.wished != "down":
                self._forget_past(report.subject, now - timedelta(minutes=minutes))
            if report.step.action == "down":
                self._say(report.workload, wish, now, now + timedelta(minutes=minutes))
            elif wish.wished != "down" and wish.until is not None and wish.until - now <= timedelta(minutes=minutes):
                coming = self.resolve(report.workload, wish.until)
                if coming.wished == "down":
                    self._say(report.workload, coming, now, wish.until)
        self._told = {ref: told for ref, told in self._told.items() if ref in seen}
        self._said = {ref: said for ref, said in self._said.items() if ref in seen}

    def _forget_past(self, subject: Ref, before: datetime) -> None:
        """What was told then was of a down that did not come, or is over: the next one of its window is told anew."""
        told = self._told.get(subject)
        if told is not None and told[1] <= before:
            del self._told[subject]

    def _say(self, workload: Workload, wish: Wish, now: datetime, down_at: datetime) -> None:
        if self.told_at(workload, wish) is not None:
            return
        window, said_at = self._said.get(workload.ref, (None, None))
        if said_at is not None and window == wish.window and now - said_at < AGAIN:
            return
        self._said[workload.ref] = wish.window, now
        text = notice(workload.subject, wish, down_at)

        def sent(at: datetime) -> None:
            self._heard.append({workload.ref: (wish.window, at)})
            self.keep(workload, wish, text, at)

        self.tell(workload, text, now, sent)

    def _hear(self) -> None:
        """Who was told twice of one down was told the first time."""
        while self._heard:
            for ref, (window, at) in self._heard.pop(0).items():
                former = self._told.get(ref)
                same = former is not None and former[0] == window
                self._told[ref] = (window, min(at, former[1])) if same and former is not None else (window, at)


def told_before(steps: pl.DataFrame, seen: Callable[[Ref], Seen | None]) -> dict[Ref, Told]:
    """Whom former processes told.

    Args:
        steps: of :func:`ledger.audit.steps_of_windows`.
        seen: an object as it is; of one that was made anew its owner is told anew.
    """
    told: dict[Ref, Told] = {}
    for row in steps.filter(pl.col("action") == TELL_OWNER).iter_rows(named=True):
        ref = Ref(row["kind"], row["namespace"], row["name"])
        if (present := seen(ref)) is not None and present.uid == row["uid"]:
            told[ref] = row["window"], row["at_utc"]
    return told


def notice(subject: Seen, wish: Wish, down_at: datetime) -> str:
    """The text of a notice."""
    said = {**subject.labels, **subject.annotations}
    owner = next((said[key] for key in OWNER_KEYS if said.get(key)), "")
    until = (down_at + SNOOZE).isoformat(timespec="minutes")
    ref = subject.ref
    snooze = f"kubectl annotate {ref.kind.lower()} {ref.name} -n {ref.namespace} --overwrite {EXCLUDE_UNTIL}={until}"
    whom = f"{owner}: " if owner else ""
    return f"{whom}policy {wish.policy} puts it down at {down_at.isoformat(timespec='minutes')}; to snooze it: {snooze}"
