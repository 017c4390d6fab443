"""One look at the cluster after another: what is wished, what is, and the writes between them.

Owns the order: what comes back comes first, by priority, and neither guards nor breaker nor the downs' cap are asked
about it; then downs, whose intents stand in the audit table before the first of them is written. It keeps nothing that
matters: a new process that looks at the same cluster goes on where this one was killed.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from controller.scaling.act import Actor, Outcome, Task
from controller.scaling.compose import Subject, View, is_back, subjects
from controller.scaling.decide import Step, decide
from controller.scaling.kind import Kind
from controller.scaling.left_by_downscaler import taken_over
from controller.scaling.model import NamespaceSeen, Ref, Refusal, Seen, Wish, Workload
from controller.scaling.record import RECORD
from controller.scaling.registry import described_elsewhere, managed_by, size_refused, with_template
from ledger.store_errors import StoreError

_log = logging.getLogger(__name__)

UPS = frozenset({"restore", "raise", "finish", "give_way"})
_FORGOTTEN = Wish("none", "no policy concerns it any more")


class Cluster(View, Protocol):
    """The cluster as it was last seen, and whether it was seen whole."""

    def ready(self) -> bool:
        """Whether all kinds that there are were listed."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """What one look found about one object."""

    ref: Ref
    """Of the object that is written."""
    subject: Ref
    wish: Wish
    step: Step
    workload: Workload
    refusals: tuple[Refusal, ...] = ()
    outcome: Outcome | None = None
    """Of the writes; ``None``: nothing was written."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One look."""

    at: datetime
    reports: tuple[Report, ...]
    """Of objects that a policy concerns, or that bear a record."""
    waiting: int = 0
    """Downs that the cap left for later."""
    error: StoreError | None = None
    """Why the intents of downs could not be committed, so that none was made."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the engine asks for, each a function of one workload."""

    wish: Callable[[Seen, NamespaceSeen, int, datetime], Wish]
    """Object, namespace, its GPUs, time."""
    lead: Callable[[Ref], timedelta]
    """How long before its window ends a workload is brought back."""
    refusals: Callable[[Sequence[tuple[Workload, Wish]], datetime], Mapping[Ref, tuple[Refusal, ...]]]
    """The guards, asked about all downs of a look together; by the workload."""
    allowance: Callable[[datetime], int]
    """How many downs may be made now."""
    hold: Callable[[datetime], str]
    """Why no down may be made at all, such as an open breaker; empty: they may."""
    instance_types: Callable[[Sequence[str]], tuple[str, ...]] = field(default=lambda _nodes: ())
    """Of nodes."""


class Engine:
    """Looks, decides, and lets act.

    Args:
        cluster: as it is seen.
        kinds: the registry by name, in the order in which downs are made.
        policy: what is wished and allowed.
        actor: writes.
    """

    def __init__(
        self,
        cluster: Cluster,
        kinds: Mapping[str, Kind],
        policy: Policy,
        actor: Actor,
    ) -> None:
        self._cluster = cluster
        self._kinds = kinds
        self._policy = policy
        self._actor = actor
        self._downs: dict[Ref, tuple[datetime | None, int]] = {}
        """By object, how often it was put down in which window: for records that are taken away with the change."""

    def recall(self, downs: Mapping[Ref, tuple[datetime | None, int]]) -> None:
        """Take how often former processes put objects down, and in which window."""
        self._downs = {**downs, **self._downs}

    def look(self, now: datetime) -> list[Report]:
        """What would be done now, guards asked, nothing written."""
        seen: set[Ref] = set()
        reports = [self._report(subject, now, seen) for subject in self.subjects()]
        reports += [self._orphan(each, now) for each in self._marked() if each.ref not in seen]
        concerned = [each for each in reports if each.wish.wished != "none" or each.step.action != "nothing"]
        return self._guarded(concerned, now)

    def tick(self, now: datetime) -> Tick:
        """One look, and what follows from it."""
        if not self._cluster.ready():
            return Tick(now, ())
        self._downs = {ref: count for ref, count in self._downs.items() if self._cluster.get(ref) is not None}
        reports = {report.ref: report for report in self.look(now)}
        ups = [report for report in reports.values() if report.step.action in UPS]
        ups.sort(key=lambda report: (-report.wish.priority, report.ref))
        for report in ups:
            reports[report.ref] = self._act(report, now)
        downs = [r for r in reports.values() if r.step.action == "down" and not r.refusals and not r.wish.dry_run]
        allowed = downs[: max(0, self._policy.allowance(now))]
        try:
            self._actor.intend([self.task(report) for report in allowed], now)
        except StoreError as error:
            return Tick(now, tuple(reports.values()), len(downs), error)
        for report in allowed:
            if self._policy.hold(now):  # what opens while they are made holds back the rest
                break
            reports[report.ref] = self._act(report, now)
        return Tick(now, tuple(reports.values()), waiting=len(downs) - len(allowed))

    def subjects(self) -> list[Subject]:
        """All that may be scaled, whether a policy concerns it or not."""
        rollouts = self._cluster.objects("Rollout") if "Rollout" in self._kinds else ()
        described = described_elsewhere(rollouts)
        return list(
            subjects(
                self._cluster,
                tuple(self._kinds),
                managed=lambda seen: managed_by(seen, described),
                complete=self._complete,
            )
        )

    def _complete(self, seen: Seen) -> Seen:
        if seen.template_of is None:
            return seen
        kind, name = seen.template_of
        return with_template(seen, self._cluster.get(Ref(kind, seen.ref.namespace, name)))

    def _marked(self) -> list[Seen]:
        return [seen for kind in self._kinds for seen in self._cluster.objects(kind) if RECORD in seen.annotations]

    def _report(self, subject: Subject, now: datetime, used: set[Ref]) -> Report:
        gpus = sum(pod.gpus for pod in subject.pods) or subject.seen.gpus_per_pod
        wish = self._early(subject, self._policy.wish(subject.asked, subject.namespace, gpus, now), now)
        workload = subject.workload(wish.size)
        lever = workload.lever
        if wish.wished != "down" and RECORD not in lever.annotations:
            # what was put down through another lever comes back through that one
            marked = [each for each in (subject.scaled_object, subject.autoscaler, subject.seen) if each is not None]
            lever = next((each for each in marked if RECORD in each.annotations), lever)
            workload = replace(workload, lever=lever)
        used.add(lever.ref)
        lever = taken_over(lever, wish, now)
        if lever is not workload.lever:
            workload = replace(workload, lever=lever)
        return Report(lever.ref, subject.seen.ref, wish, self._decide(workload, wish, now), workload)

    def _guarded(self, reports: list[Report], now: datetime) -> list[Report]:
        """Downs with what stands against them."""
        downs = [(report.workload, report.wish) for report in reports if report.step.action == "down"]
        refused: Mapping[Ref, tuple[Refusal, ...]] = self._policy.refusals(downs, now) if downs else {}
        held = (Refusal("breaker", why),) if downs and (why := self._policy.hold(now)) else ()
        return [
            replace(report, refusals=(*refused.get(report.subject, ()), *held))
            if report.step.action == "down"
            else report
            for report in reports
        ]

    def _early(self, subject: Subject, wish: Wish, now: datetime) -> Wish:
        """The wish with the lead time in it: a down that ends so soon has ended."""
        if wish.wished != "down" or wish.until is None:
            return wish
        lead = self._policy.lead(subject.seen.ref)
        if wish.until - now > lead:
            return wish
        why = f"its window ends at {wish.until.isoformat()}, and it takes {lead.total_seconds():.0f} s to be Ready"
        return replace(wish, wished="up", why=why, due=wish.until)

    def _decide(self, workload: Workload, wish: Wish, now: datetime) -> Step:
        lever = workload.lever
        if wish.wished == "down" and RECORD not in lever.annotations and (why := self._unfit(workload, wish)):
            return Step("nothing", why)
        window, count = self._downs.get(lever.ref, (None, 0))
        return decide(
            lever,
            wish,
            self._kinds[lever.ref.kind],
            now,
            ready=is_back(workload),
            downs_before=count if window == wish.window else 0,
            instance_types=self._policy.instance_types([pod.node for pod in workload.pods if pod.node]),
        )

    def _unfit(self, workload: Workload, wish: Wish) -> str:
        """Why a workload cannot be put down to the wished size; empty: it can."""
        kind, subject, number = self._kinds[workload.lever.ref.kind], workload.subject, wish.size.number or 0
        if why := size_refused(kind, wish.size):
            return why
        replicas = subject.levers.get("replicas")
        if workload.lever.ref != subject.ref and isinstance(replicas, int) and replicas < number:
            return f"it runs {replicas}, and its autoscaler held at {number} would make it more"
        return ""

    def _orphan(self, seen: Seen, now: datetime) -> Report:
        """An object that bears a record, and is not what would be written for any workload now: it comes back."""
        step = decide(seen, _FORGOTTEN, self._kinds[seen.ref.kind], now, ready=seen.readiness.done)
        namespace = self._cluster.namespace(seen.ref.namespace)
        workload = Workload(seen, seen, namespace, tuple(self._cluster.pods_of(seen.ref)))
        return Report(seen.ref, seen.ref, _FORGOTTEN, step, workload)

    def task(self, report: Report) -> Task:
        """A report as what is recorded of it."""
        return Task(report.workload, report.wish, report.step, self._kinds[report.ref.kind])

    def _act(self, report: Report, now: datetime) -> Report:
        outcome = self._actor.act(self.task(report), now)
        if outcome.result == "done":
            self._count(report)
        return replace(report, outcome=outcome)

    def _count(self, report: Report) -> None:
        if report.step.action == "down":
            window, count = self._downs.get(report.ref, (None, 0))
            same = window == report.wish.window
            self._downs[report.ref] = report.wish.window, count + 1 if same else 1
        elif report.step.action == "restore":
            self._downs.pop(report.ref, None)
