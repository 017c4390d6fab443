"""What a look leaves behind: remarks, lead times, what is late, and how things stand.

Owns what is remembered from one look to the next, all of which may be lost: it is for people and metrics, and the next
looks find it again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from controller.scaling.act import Outcome, Task
from controller.scaling.coming_back import Came, Late, LeadTimes, came, late
from controller.scaling.decide import record_or_none
from controller.scaling.engine import Report, Tick
from controller.scaling.guard_desk import ASKED_AGAIN
from controller.scaling.model import PodSeen, Ref, Seen, Wish
from ledger.audit import Result

LATE_AFTER = timedelta(minutes=5)
"""A restore that is not Ready so long after it was due is overdue."""
_HELD_UNTOLD = frozenset({"CronJob", "ScaledJob", "ScaledObject", "HorizontalPodAutoscaler"})
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
    scarce: set[str] = field(default_factory=set[str])
    """Instance types that were seen out of capacity."""

    def note(self, task: Task, outcome: Outcome) -> None:
        """Count a step that was acted upon."""
        if outcome.result != "pending":
            self.writes[task.step.action, outcome.result] += 1


class FollowUp:
    """Draws what follows from each look.

    Args:
        tally: where it is kept.
        leads: learns how long restores take.
        remarks: where remarks go, such as the audit table and Events.
    """

    def __init__(self, tally: Tally, leads: LeadTimes, remarks: Sequence[Remarks]) -> None:
        self._tally = tally
        self._leads = leads
        self._remarks = remarks

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
                self._tally.scarce.update(found.instance_types)
                self._say(task, "unknown", f"not Ready, {found.reason}: {found.why}", now)
        self._tally.late = lates

    def _came(self, report: Report, now: datetime) -> None:
        record = record_or_none(report.workload.lever)
        took: Came | None = None if record is None else came(record, now)
        if record is None or took is None:
            return
        self._leads.learn(report.subject, took.seconds)
        self._tally.scarce.difference_update(record.instance_types)
        window, slowest = self._tally.delays.get(record.policy, (None, took.delay_seconds))
        slowest = max(slowest, took.delay_seconds) if window == record.due else took.delay_seconds
        self._tally.delays[record.policy] = record.due, slowest

    def _late(self, report: Report, now: datetime) -> Late | None:
        record = record_or_none(report.workload.lever)
        pods: Sequence[PodSeen] = report.workload.pods
        return None if record is None else late(report.subject, record, pods, now, LATE_AFTER)

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


def skipped(reports: Iterable[Report]) -> Counter[tuple[str, ...]]:
    """Workloads that are left as they are, by the first reason."""
    found: Counter[tuple[str, ...]] = Counter()
    for report in reports:
        if report.step.action in {"unclear", "broken"}:
            found[report.step.action,] += 1
        elif report.step.action == "down" and report.refusals:
            found[report.refusals[0].guard,] += 1
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
