"""What a look leaves behind: remarks, lead times, what is late, and how things stand.

Owns what is remembered from one look to the next, all of which may be lost: it is for people and metrics, and the next
looks find it again; of instance types without capacity the audit table tells the next process.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from controller.scaling.act import Outcome, Task
from controller.scaling.coming_back import UNSAID, Came, Late, LeadTimes, came, late, short_types
from controller.scaling.decide import record_or_none
from controller.scaling.engine import Report, Tick
from controller.scaling.guard_desk import ASKED_AGAIN
from controller.scaling.model import PodSeen, Ref, Seen, Wish
from ledger.audit import Result

LATE_AFTER = timedelta(minutes=5)
"""A restore that is not Ready so long after it was due is overdue."""
SCARCE_FOR = timedelta(days=7)
"""A type that a restore waited for may be short again tomorrow, though that one came back in the end."""
_HELD_UNTOLD = frozenset({"CronJob", "ScaledJob", "ScaledObject", "HorizontalPodAutoscaler"})
REFUSED = "refused"
"""A reason: the API server does not take the write."""
_REMARKED = frozenset({"contested", "broken", "unclear"})


class Remarks(Protocol):
    """Takes why something was left as it is, once for each window."""

    def remark(self, task: Task, result: Result, why: str, now: datetime, /) -> None:
        """Take one."""
        ...


@dataclass(slots=True)
class Tally:
    """What is counted since the process began, and what stands now."""

    writes: Counter[tuple[str, ...]] = field(default_factory=Counter[tuple[str, ...]])
    """By action and result."""
    late: dict[Ref, Late] = field(default_factory=dict[Ref, Late])
    delays: dict[str, tuple[datetime | None, float]] = field(default_factory=dict[str, tuple[datetime | None, float]])
    """By policy, the window's end and the slowest of those that came back for it."""
    scarce: dict[str, datetime] = field(default_factory=dict[str, datetime])
    """Instance types that were seen out of capacity in the last :data:`SCARCE_FOR`, and when they last were."""
    _former: deque[tuple[datetime, str]] = field(default_factory=deque[tuple[datetime, str]])

    def note(self, task: Task, outcome: Outcome) -> None:
        """Count a step that was acted upon."""
        if outcome.result != "pending":
            self.writes[task.step.action, outcome.result] += 1

    def short(self, instance_types: Iterable[str], at: datetime) -> None:
        """Note types that a restore waited for."""
        for each in instance_types:
            self.scarce[each] = max(at, self.scarce.get(each, at))

    def recall(self, lates: Iterable[tuple[datetime, str]]) -> None:
        """Take what former processes told of late restores, when and :attr:`Late.told`, for looks that begin from now
        on; any thread may call it.
        """
        self._former.extend(lates)

    def sweep(self, now: datetime) -> None:
        """Bring the types that are short up to date."""
        while self._former:
            at, told = self._former.popleft()
            self.short(short_types(told), at)
        self.scarce = {each: at for each, at in self.scarce.items() if now - at < SCARCE_FOR}


class FollowUp:
    """Draws what follows from each look.

    Args:
        tally: where it is kept.
        leads: learns how long restores take.
        remarks: where remarks go, such as the audit table and Events.
        unmade: why an object's controller is refused pods, where its status does not say; empty: not known (yet).
    """

    def __init__(
        self,
        tally: Tally,
        leads: LeadTimes,
        remarks: Sequence[Remarks],
        unmade: Callable[[Seen, datetime], str] = lambda _seen, _since: "",
    ) -> None:
        self._tally = tally
        self._leads = leads
        self._remarks = remarks
        self._unmade = unmade

    def take(self, tick: Tick, tasks: Mapping[Ref, Task]) -> None:
        """Take one look.

        Args:
            tick: the look.
            tasks: its reports as tasks, by the object that is written.
        """
        now = tick.at
        lates: dict[Ref, Late] = {}
        for report in tick.reports:
            task = tasks[report.ref]
            self._remark(report, task, now)
            if report.step.action == "finish" and report.outcome is not None and report.outcome.result == "done":
                self._came(report, now)
            if report.step.action == "await" and (found := self._late(report, now)) is not None:
                lates[report.ref] = found
                self._tally.short(found.instance_types, now)
                self._say(task, "unknown", found.told, now)
            elif report.step.action == "restore" and (found := _unwritten(report, now)) is not None:
                lates[report.ref] = found
                self._say(task, "refused" if found.reason == REFUSED else "unknown", found.told, now)
        self._tally.late = lates
        self._tally.sweep(now)

    def _came(self, report: Report, now: datetime) -> None:
        record = record_or_none(report.workload.lever)
        took: Came | None = None if record is None else came(record, now)
        if record is None or took is None:
            return
        self._leads.learn(report.subject, took.seconds)
        window, slowest = self._tally.delays.get(record.policy, (None, took.delay_seconds))
        slowest = max(slowest, took.delay_seconds) if window == record.due else took.delay_seconds
        self._tally.delays[record.policy] = record.due, slowest

    def _late(self, report: Report, now: datetime) -> Late | None:
        record, subject = record_or_none(report.workload.lever), report.workload.subject
        if record is None:
            return None
        pods: Sequence[PodSeen] = report.workload.pods
        found = late(report.subject, record, pods, now, LATE_AFTER, unmade=subject.unmade)
        if found is None or found.why != UNSAID:
            return found
        unmade = self._unmade(subject, record.restoring or found.since)
        return late(report.subject, record, pods, now, LATE_AFTER, unmade=unmade)

    def _remark(self, report: Report, task: Task, now: datetime) -> None:
        if report.step.action in _REMARKED:
            self._say(task, "refused", report.step.why, now)
        elif report.step.action == "down" and report.refusals:
            first = report.refusals[0]
            if first != ASKED_AGAIN:  # which is no news, and would hide the answer behind it
                self._say(task, "refused", f"{first.guard}: {first.why}", now)
        elif report.step.action == "down" and report.wish.dry_run:
            self._say(task, "done", f"dry run: {report.step.why}", now)

    def _say(self, task: Task, result: Result, why: str, now: datetime) -> None:
        for each in self._remarks:
            each.remark(task, result, why, now)


def _unwritten(report: Report, now: datetime) -> Late | None:
    """A restore that is overdue since it cannot be written."""
    record, tried = report.step.record, report.tried
    if tried is None or record is None or record.due is None or now - record.due < LATE_AFTER:
        return None
    reason = REFUSED if tried.is_refused else "other"
    return Late(report.subject, record.due, reason, tried.outcome.why or tried.outcome.result)


def skipped(reports: Iterable[Report]) -> Counter[tuple[str, ...]]:
    """Workloads that are left as they are, by the first reason."""
    found: Counter[tuple[str, ...]] = Counter()
    for report in reports:
        if report.step.action in {"unclear", "broken"}:
            found[report.step.action,] += 1
        elif report.step.action == "down" and report.refusals:
            found[report.refusals[0].guard,] += 1
        elif report.step.action == "down" and report.tried is not None and report.tried.is_refused:
            found[REFUSED,] += 1
    return found


def put_down(seen: Iterable[Seen]) -> list[Seen]:
    """Objects that were put down, and are not coming back yet."""
    return [each for each in seen if (record := record_or_none(each)) is not None and record.restoring is None]


def gpus_put_down(down: Iterable[Seen]) -> Counter[tuple[str, ...]]:
    """GPUs that these held by their originals, by namespace; what only runs now and then, or as an autoscaler decides,
    held none that can be told from them.
    """
    found: Counter[tuple[str, ...]] = Counter()
    for seen in down:
        record = record_or_none(seen)
        if record is None or seen.ref.kind in _HELD_UNTOLD or not seen.gpus_per_pod:
            continue
        was, put = record.was.get("replicas"), record.put.get("replicas")
        count = was - put if isinstance(was, int) and isinstance(put, int) else 1
        found[seen.ref.namespace,] += seen.gpus_per_pod * count
    return found


def policies_of(wishes: Iterable[Wish]) -> dict[str, bool]:
    """By policy, whether it is a dry run; of those that concern a workload."""
    return {wish.policy: wish.dry_run for wish in wishes if wish.policy and not wish.policy.startswith("annotation ")}
