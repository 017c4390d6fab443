"""What schedules would do now and over the next days, worked out without a write: for a look before they may.

Owns which guards are asked: those that can be told from the cluster alone. Whether GPUs work, requests wait or an owner
was told is known when the time comes, and not before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from typing import NoReturn

from controller.scaling.act import Actor, Task
from controller.scaling.cluster_view import ClusterView
from controller.scaling.compose import Subject
from controller.scaling.decide import Step
from controller.scaling.engine import Engine, Policy, Report
from controller.scaling.gitops import Gitops, ignore_rule, managed
from controller.scaling.guards import GuardAsk, pods_that_stay, refusals
from controller.scaling.kind import Kind
from controller.scaling.model import Ref, Refusal, Wish, Workload
from controller.scaling.outlook import Span, spans_of_all
from controller.scaling.patches import Patch
from controller.scaling.policies import Policies
from controller.scaling.policy_annotations import read_annotations
from controller.scaling.record import COMMAND, RECORD
from controller.scaling.schedule_settings import SchedulePolicy, ScheduleSettings
from controller.time_windows import SpecRefused, parse
from controller.window_kinds import Dates, Weekly

LATER = ("telemetry", "activity", "queue", "owner_told")
"""Guards that are asked when the time comes."""
MOST_MOMENTS = 40
"""At so many coming downs guards are asked; of those that follow it is not told."""


_SAID = ("wattledger.io/schedule-", "downscaler/")


@dataclass(frozen=True, slots=True)
class Row:
    """One workload that a policy concerns within the time, or that bears a record."""

    now: Report
    spans: tuple[Span, ...]
    """What is wished, from the begin of the picture to its end."""
    zone: str
    """IANA name, of the policy that decides."""
    next_change: Span | None
    """What is wished next; ``None``: nothing else within the time."""
    down: Report | None = None
    """As it would be when the next down begins, or at present where it is down; ``None``: no down, or too far off."""
    down_at: datetime | None = None
    gitops: Gitops | None = None
    rule: str = ""
    """What that is to be told, as YAML."""

    @property
    def policy(self) -> str:
        """That decides now, or next."""
        return self.now.wish.policy or next((span.wish.policy for span in self.spans if span.wish.policy), "")

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What speaks against the next down."""
        return () if self.down is None else self.down.refusals

    @property
    def unfit(self) -> str:
        """Why the next down would do nothing; empty: it would, or it is down already."""
        if self.down is None or self.down.step.action != "nothing" or self.down.step.why == "it is down":
            return ""
        return self.down.step.why


@dataclass(frozen=True, slots=True)
class Scope:
    """What a preview is of."""

    now: datetime
    begin: datetime
    """Of the picture; not after ``now``."""
    end: datetime
    own_namespace: str = ""
    whole_cluster: bool = True
    """Else pods of other namespaces on the same nodes are not seen."""


@dataclass(slots=True)
class _NoHands:
    """Neither writes nor books: a look makes no step."""

    def write(self, kind: Kind, ref: Ref, patch: Patch, version: str, /) -> NoReturn:
        raise AssertionError(f"a preview was about to write {kind.name} {ref}, {patch}, {version}")

    def intend(self, tasks: Sequence[Task], now: datetime, /) -> NoReturn:
        raise AssertionError(f"a preview was about to act on {len(tasks)} objects at {now}")

    def note(self, task: Task, outcome: object, now: datetime, /) -> NoReturn:
        raise AssertionError(f"a preview has acted on {task.lever.ref} at {now}: {outcome}")


@dataclass(slots=True)
class Preview:
    """Works it out.

    Args:
        view: the cluster.
        kinds: the registry by name.
        settings: of schedules.
        scope: of what time.
    """

    view: ClusterView
    kinds: Mapping[str, Kind]
    settings: ScheduleSettings
    scope: Scope
    _policies: Policies = field(init=False)
    _engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        """Build the engine that looks."""
        self._policies = Policies(self.settings)
        least = timedelta(seconds=self.settings.lead_least_seconds)
        policy = Policy(
            wish=self._policies.wish,
            lead=lambda _ref: least,
            refusals=self._refusals,
            allowance=lambda _now: 0,
            hold=lambda _now: "",
        )
        hands = _NoHands()
        self._engine = Engine(self.view, self.kinds, policy, Actor(hands, hands))

    def rows(self) -> list[Row]:
        """One for each workload, by policy and name."""
        reports = {report.subject: report for report in self._engine.look(self.scope.now)}
        rows: list[Row] = []
        subjects = self._engine.subjects()
        alike = {self._alike(subject): subject for subject in subjects}
        wished = [partial(self._wish, subject) for subject in alike.values()]
        found = dict(zip(alike, spans_of_all(wished, self.scope.begin, self.scope.end), strict=True))
        for subject in subjects:
            row = self._row(subject, found[self._alike(subject)], reports.pop(subject.seen.ref, None))
            if row is not None:
                rows.append(row)
        rows += [
            Row(report, (Span(self.scope.begin, self.scope.end, report.wish),), self.settings.timezone, None)
            for report in reports.values()
        ]
        rows = [self._with_gitops(row) for row in self._with_downs(rows)]
        return sorted(rows, key=lambda row: (row.policy, row.now.subject))

    @property
    def asked_later(self) -> tuple[str, ...]:
        """Guards that were not asked."""
        return LATER if self.scope.whole_cluster else (*LATER, "last_on_node")

    def _alike(self, subject: Subject) -> tuple[object, ...]:
        """What a wish depends on: of workloads that have it in common one is asked about."""
        asked = subject.asked
        said = any(key.startswith(_SAID) and key not in {RECORD, COMMAND} for key in asked.annotations)
        labels = frozenset(asked.labels.items()) if any(policy.labels for policy in self.settings.policies) else None
        holds = any(pod.gpus for pod in subject.pods) or subject.seen.gpus_per_pod > 0
        name = f"{asked.ref.namespace}/{asked.ref.name}"
        patterns = (pattern for policy in self.settings.policies for pattern in policy.exclude)
        excluded = frozenset(pattern for pattern in patterns if fnmatchcase(name, pattern))
        return asked.ref.namespace, asked.ref.kind, asked.ref.name if said else "", labels, excluded, holds

    def _wish(self, subject: Subject, moment: datetime) -> Wish:
        gpus = sum(pod.gpus for pod in subject.pods) or subject.seen.gpus_per_pod
        return self._policies.wish(subject.asked, subject.namespace, gpus, moment)

    def _row(self, subject: Subject, found: tuple[Span, ...], report: Report | None) -> Row | None:
        if report is None:
            if not any(span.wish.policy for span in found):
                return None
            report = self._unconcerned(subject, self._wish(subject, self.scope.now))
        following = next((span for span in found if span.begin > self.scope.now), None)
        return Row(report, found, self._zone(subject, report, found), following)

    def _unconcerned(self, subject: Subject, wish: Wish) -> Report:
        """Of a workload that nothing is wished of at present."""
        workload = subject.workload(wish.size)
        return Report(workload.lever.ref, subject.seen.ref, wish, Step("nothing", wish.why), workload)

    def _with_downs(self, rows: list[Row]) -> list[Row]:
        """Each with the look at the moment when it goes down next."""
        begins = [_next_down(row, self.scope.now) for row in rows]
        looks: dict[datetime, dict[Ref, Report]] = {}
        for moment in sorted({begin for begin in begins if begin is not None})[:MOST_MOMENTS]:
            looks[moment] = {report.subject: report for report in self._engine.look(moment)}
        return [
            row
            if begin is None or begin not in looks
            else replace(row, down=looks[begin].get(row.now.subject), down_at=begin)
            for row, begin in zip(rows, begins, strict=True)
        ]

    def _with_gitops(self, row: Row) -> Row:
        lever = (row.down or row.now).workload.lever
        found = managed(lever)
        return (
            row if found is None else replace(row, gitops=found, rule=ignore_rule(found, self._kind(lever.ref), lever))
        )

    def _kind(self, ref: Ref) -> Kind:
        return self.kinds[ref.kind]

    def _refusals(self, downs: Sequence[tuple[Workload, Wish]], now: datetime) -> Mapping[Ref, tuple[Refusal, ...]]:
        nodes = {pod.node for workload, _ in downs for pod in workload.pods if pod.node}
        staying = pods_that_stay(pod for node in nodes for pod in self.view.pods_on(node))
        known, later = self.view.nodes, self.asked_later
        found: dict[Ref, tuple[Refusal, ...]] = {}
        for workload, wish in downs:
            ask = GuardAsk(
                workload,
                wish,
                now,
                gpu_pods=staying,
                nodes=known,
                own_namespace=self.scope.own_namespace,
                protected_namespaces=self.settings.protected_namespaces,
            )
            found[workload.ref] = tuple(each for each in refusals(ask) if each.guard not in later)
            if not found[workload.ref]:
                # two on a node do not let each other go
                uids = {pod.uid for pod in workload.pods}
                for node in {pod.node for pod in workload.pods} & staying.keys():
                    staying[node] = [pod for pod in staying[node] if pod.uid not in uids]
        return found

    def _zone(self, subject: Subject, report: Report, found: Sequence[Span]) -> str:
        policies = {policy.name: policy for policy in self.settings.policies}
        name = report.wish.policy or next((span.wish.policy for span in found if span.wish.policy), "")
        if name in policies:
            return _zone_of_policy(policies[name], self.settings.timezone)
        zone, theirs = self.settings.timezone, self.settings.annotations.downscaler
        above = read_annotations(subject.namespace.annotations, zone, on_namespace=True, downscaler=theirs)
        default = above.timezone or zone
        own = read_annotations(subject.asked.annotations, default, downscaler=theirs)
        for said, annotations in ((own, subject.asked.annotations), (above, subject.namespace.annotations)):
            if said.times is not None:
                specs = [annotations[key] for key in said.times.keys if key in annotations]
                return next((_zone_in(spec, said.timezone or default) for spec in specs), said.timezone or default)
        return own.timezone or default


def _next_down(row: Row, now: datetime) -> datetime | None:
    """When the next down begins; the present where one is wished now."""
    if row.now.wish.wished == "down":
        return now
    return next((span.begin for span in row.spans if span.begin > now and span.wish.wished == "down"), None)


def _zone_of_policy(policy: SchedulePolicy, default: str) -> str:
    return _zone_in(policy.down or policy.up, policy.timezone or default)


def _zone_in(spec: str, default: str) -> str:
    """The zone of a spec's first window."""
    try:
        windows = parse(spec, default).windows
    except SpecRefused:
        return default
    return next((window.zone.key for window in windows if isinstance(window, Weekly | Dates)), default)
