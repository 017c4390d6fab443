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
from controller.scaling.decide import Step, decide, record_or_none
from controller.scaling.down_label import is_remade
from controller.scaling.kind import Kind
from controller.scaling.left_by_downscaler import taken_over
from controller.scaling.lost_answers import FOUND, LostAnswers
from controller.scaling.model import NOTHING, NamespaceSeen, Ref, Refusal, Seen, Wish, Workload
from controller.scaling.record import RECORD
from controller.scaling.refused_writes import RefusedWrites, Tried
from controller.scaling.registry import described_elsewhere, managed_by, size_refused, with_template
from controller.scaling.reverts import Standing, standing_of
from ledger.store_errors import StoreError

_log = logging.getLogger(__name__)

UPS = frozenset({"restore", "raise", "finish", "give_way"})
BATCH = 125
"""Downs whose intents are committed together; what comes back in the meantime waits for no more of them."""
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
    tried: Tried | None = None
    """How the same step went at its last try, this look's or an earlier one's; ``None``: it did not fail."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One look."""

    at: datetime
    reports: tuple[Report, ...]
    """Of objects that a policy concerns, or that bear a record."""
    waiting: int = 0
    """Downs that are left for later: by the cap, or since none could be made or recorded any more."""
    error: StoreError | None = None
    """Why the intents of downs could not be committed, so that no more were made."""


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
    overtaken: Callable[[], bool] = field(default=lambda: False)
    """Whether something may have become due since the look began: what comes back waits for no row of downs."""


def _concerns(report: Report) -> bool:
    """Whether anything is wished or done, or may have to be told before it is."""
    wish = report.wish
    ahead = wish.until is not None and wish.options.tell_owner_minutes > 0
    return wish.wished != "none" or report.step.action != "nothing" or ahead


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
        self._downs: dict[Ref, Standing] = {}
        """By object that is written: for records that are taken away with the change."""
        self._brought_back: dict[Ref, datetime] = {}
        """By object, the restore that was made, as its record names it: who puts it down after that meant it."""
        self._refused = RefusedWrites()
        self._lost = LostAnswers()
        self._told: dict[Ref, str] = {}
        """By object, why nothing could be made of it at the last look."""
        self._former: list[Mapping[Ref, Standing]] = []
        self.recalled = False
        """Whether looks know what former processes did."""

    def recall(self, downs: Mapping[Ref, Standing]) -> None:
        """Take what former processes did, for all looks that begin from now on; any thread may call it."""
        self._former.append(downs)

    def look(self, now: datetime) -> list[Report]:
        """What would be done now, guards asked, nothing written."""
        seen: set[Ref] = set()
        former, self._told = self._told, {}
        reports = [self._report(subject, now, seen) for subject in self.subjects()]
        reports += [self._orphan(each, now) for each in self._marked() if each.ref not in seen]
        concerned = [each for each in reports if _concerns(each)]
        guarded = self._guarded(concerned, now)
        for ref, why in self._told.items():
            if former.get(ref) != why:
                _log.error("%s: %s", ref, why)
        return guarded

    def tick(self, now: datetime) -> Tick:
        """One look, and what follows from it."""
        if not self._cluster.ready():
            return Tick(now, ())
        self._take_former()
        self._downs = {ref: count for ref, count in self._downs.items() if self._cluster.get(ref) is not None}
        self._brought_back = {ref: at for ref, at in self._brought_back.items() if RECORD in self._annotations(ref)}
        for task in self._lost.found(self._cluster.get):
            self._actor.found(task, FOUND, now)
            self._count(task)
        reports = {report.ref: self._recalled(report) for report in self.look(now)}
        self._refused.keep(reports)
        due = [each for each in reports.values() if each.tried is None or not each.tried.holds(now)]
        ups = [report for report in due if report.step.action in UPS]
        ups.sort(key=lambda report: (-report.wish.priority, report.ref))
        for report in ups:
            reports[report.ref] = self._act(report, now)
        downs = [r for r in due if r.step.action == "down" and not r.refusals and not r.wish.dry_run]
        downs.sort(key=lambda report: report.tried.tries if report.tried is not None else 0)
        allowed = downs[: max(0, self._policy.allowance(now))]
        made, error = self._make(allowed, reports, now)
        return Tick(now, tuple(reports.values()), len(downs) - made, error)

    def _make(
        self, downs: Sequence[Report], reports: dict[Ref, Report], now: datetime
    ) -> tuple[int, StoreError | None]:
        """Put down one after the other; how many were tried, and why no more could be."""
        made = 0
        for first in range(0, len(downs), BATCH):
            batch = downs[first : first + BATCH]
            if self._policy.overtaken():
                break
            try:
                self._actor.intend([self.task(report) for report in batch], now)
            except StoreError as error:
                return made, error
            for report in batch:
                if self._policy.hold(now):  # what opens while they are made holds back the rest
                    return made, None
                reports[report.ref] = self._act(report, now)
                made += 1
        return made, None

    def _annotations(self, ref: Ref) -> Mapping[str, str]:
        seen = self._cluster.get(ref)
        return NOTHING if seen is None else seen.annotations

    def subjects(self) -> list[Subject]:
        """All that may be scaled, whether a policy concerns it or not."""
        rollouts = self._cluster.objects("Rollout") if "Rollout" in self._kinds else ()
        described = described_elsewhere(rollouts)
        return list(
            subjects(
                self._cluster,
                tuple(self._kinds),
                managed=lambda seen: managed_by(seen, described),
                complete=self.complete,
            )
        )

    def complete(self, seen: Seen) -> Seen:
        """An object with what another one describes of it."""
        if seen.template_of is None:
            return seen
        kind, name = seen.template_of
        return with_template(seen, self._cluster.get(Ref(kind, seen.ref.namespace, name)))

    def _marked(self) -> list[Seen]:
        return [seen for kind in self._kinds for seen in self._cluster.objects(kind) if RECORD in seen.annotations]

    def _report(self, subject: Subject, now: datetime, used: set[Ref]) -> Report:
        """What is found about one workload; the others are looked at whatever befalls."""
        levers = [each for each in (subject.scaled_object, subject.autoscaler, subject.seen) if each is not None]
        try:
            report = self._found(subject, levers, now)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is this workload's alone)
            used.update(each.ref for each in levers)
            lever = next((each for each in levers if RECORD in each.annotations), subject.seen)
            return self._broken(Workload(subject.seen, lever, subject.namespace, subject.pods), error)
        used.add(report.ref)
        return report

    def _broken(self, workload: Workload, error: Exception) -> Report:
        """Left alone, and told once."""
        lever = workload.lever.ref
        why = f"it is left as it is, since nothing can be made of it: {type(error).__name__}: {error!s:.200}"
        self._told[lever] = why
        return Report(lever, workload.ref, _FORGOTTEN, Step("broken", f"{lever}: {why}"), workload)

    def _found(self, subject: Subject, levers: Sequence[Seen], now: datetime) -> Report:
        gpus = sum(pod.gpus for pod in subject.pods) or subject.seen.gpus_per_pod
        wish = self._early(subject, self._policy.wish(subject.asked, subject.namespace, gpus, now), now)
        workload = subject.workload(wish.size)
        lever = workload.lever
        if wish.wished != "down" and RECORD not in lever.annotations:
            # what was put down through another lever comes back through that one
            lever = next((each for each in levers if RECORD in each.annotations), lever)
            workload = replace(workload, lever=lever)
        lever = taken_over(lever, wish, now)
        if lever is not workload.lever:
            workload = replace(workload, lever=lever)
        return Report(lever.ref, subject.seen.ref, wish, self._decide(workload, wish, now), workload)

    def _guarded(self, reports: list[Report], now: datetime) -> list[Report]:
        """Downs with what stands against them."""
        downs = {report.ref: report for report in reports if report.step.action == "down"}
        if not downs:
            return reports
        refused = self._refusals(list(downs.values()), now)
        held = (Refusal("breaker", why),) if (why := self._policy.hold(now)) else ()
        for ref, report in downs.items():
            said = refused[report.subject]
            if isinstance(said, Exception):
                downs[ref] = self._broken(report.workload, said)
            else:
                downs[ref] = replace(report, refusals=(*said, *held))
        return [downs.get(report.ref, report) for report in reports]

    def _refusals(self, downs: Sequence[Report], now: datetime) -> Mapping[Ref, tuple[Refusal, ...] | Exception]:
        """By workload what its guards say, or why they cannot be asked about it."""
        try:
            refused = self._policy.refusals([(each.workload, each.wish) for each in downs], now)
        except Exception as error:  # noqa: BLE001  (of one of them: each is asked about by itself)
            if len(downs) == 1:
                return {downs[0].subject: error}
            return {ref: said for each in downs for ref, said in self._refusals([each], now).items()}
        return {each.subject: refused.get(each.subject, ()) for each in downs}

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
        standing = self._downs.get(lever.ref)
        return decide(
            lever,
            wish,
            self._kinds[lever.ref.kind],
            now,
            ready=is_back(workload),
            downs_before=0 if standing is None else standing.within(wish.window, now),
            brought_back=self._brought_back.get(lever.ref),
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
        namespace = self._cluster.namespace(seen.ref.namespace)
        workload = Workload(seen, seen, namespace, tuple(self._cluster.pods_of(seen.ref)))
        try:
            kind, brought_back = self._kinds[seen.ref.kind], self._brought_back.get(seen.ref)
            step = decide(seen, _FORGOTTEN, kind, now, ready=seen.readiness.done, brought_back=brought_back)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is this object's alone)
            return self._broken(workload, error)
        return Report(seen.ref, seen.ref, _FORGOTTEN, step, workload)

    def task(self, report: Report) -> Task:
        """A report as what is recorded of it."""
        former = report.tried.outcome if report.tried is not None and report.tried.is_refused else None
        return Task(report.workload, report.wish, report.step, self._kinds[report.ref.kind], former)

    def _recalled(self, report: Report) -> Report:
        """With how the same step went before."""
        step, tried = self._refused.recall(report.workload.lever, report.wish, report.step)
        return replace(report, step=step, tried=tried)

    def _act(self, report: Report, now: datetime) -> Report:
        task = self.task(report)
        if report.step.action in {"down", "raise", "restore"}:
            self._brought_back.pop(report.ref, None)  # the next restore may bear the same time, and be cut in two
        try:
            outcome = self._actor.act(task, now)
        except Exception as error:  # noqa: BLE001  (whatever it is, the others are written)
            outcome = Outcome("refused", f"{type(error).__name__}: {error!s:.200}")
            if task.is_news(outcome):
                _log.error("%s of %s cannot be written: %s", report.step.action, report.ref, outcome.why)
        tried = self._refused.take(task, report.tried, outcome, now)
        self._lost.take(task, outcome)
        if outcome.result == "done":
            self._count(task)
        return replace(report, outcome=outcome, tried=tried)

    def _count(self, task: Task) -> None:
        """Keep what was done, as the record tells it: the count without what we gave back ourselves."""
        step, ref = task.step, task.lever.ref
        record = step.record or record_or_none(task.lever)
        if record is None:
            return
        if step.action == "down" or record.restoring is not None:
            self._downs[ref] = standing_of(record)
        if step.action == "restore" and record.restoring is not None:
            self._brought_back[ref] = record.restoring

    def _take_former(self) -> None:
        """What this process did tells more than a record, which tells more than the audit table."""
        while self._former:
            records = ((seen.ref, record_or_none(seen)) for seen in self._marked())
            told = ((ref, record) for ref, record in records if record is not None and not is_remade(record))
            borne = {ref: standing_of(record) for ref, record in told}
            self._downs = {**self._former.pop(), **borne, **self._downs}
            self.recalled = True
