"""Scheduled scaling at work: looks at the cluster again and again, acts, and tells how it stands.

Owns the parts and the order among them. Four things are called from outside, each by a thread of its own, so that none
waits for another: :meth:`Scaler.run` looks and acts, and asks neither ledger nor agents but for the intents of downs;
:meth:`Scaler.ask` asks agents before downs; :meth:`Scaler.tell` sends what is recorded; :meth:`Scaler.measure` and
:meth:`Scaler.recall` read the books.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from collectors.clock import Clock
from controller.scaling.act import Actor, Outcome, Task, Writes
from controller.scaling.activity import ActivityBook
from controller.scaling.audit_log import AuditLog
from controller.scaling.breaker import Breaker
from controller.scaling.cluster_view import NAMESPACES, NODES, PODS, ClusterView
from controller.scaling.coming_back import LeadTimes
from controller.scaling.compose import AUTOSCALER, SCALED_OBJECT
from controller.scaling.deleted import Deletions
from controller.scaling.engine import Engine, Policy, Report, Tick
from controller.scaling.event_remarks import EventRemarks
from controller.scaling.events import Events, EventText, Sent, about, text_of
from controller.scaling.follow_up import SCARCE_FOR, FollowUp, Tally, gpus_put_down, policies_of, put_down, skipped
from controller.scaling.forerunners import REMEMBERED, untold
from controller.scaling.guard_desk import GuardDesk
from controller.scaling.kind import Kind
from controller.scaling.model import NamespaceSeen, Ref, Refusal, Seen, Wish, Workload
from controller.scaling.notices import PATIENCE, Notices, told_before
from controller.scaling.policies import Policies, most_minutes_of
from controller.scaling.record import RECORD
from controller.scaling.reverts import standing_told
from controller.scaling.savings import Saved, measure, total
from controller.scaling.schedule_settings import ScheduleSettings
from controller.scaling.stand import ScalingStand
from controller.scaling.unmade_pods import UnmadePods
from ledger.audit import late_restores, steps_of_windows, times_to_ready
from ledger.store import Store
from ledger.unsettled import settled_through

_log = logging.getLogger(__name__)

STALE_SECONDS = 180.0
"""A kind that is not followed for so long makes what is known of the cluster old."""
_AUTOSCALERS = (AUTOSCALER, SCALED_OBJECT)
_NEEDED = frozenset({PODS, NAMESPACES, NODES, *_AUTOSCALERS})
"""What is looked at of every workload; another kind that is not followed keeps only its own from going down."""
_MEASURED = {"7d": timedelta(days=7), "30d": timedelta(days=30)}
_MINUTE = timedelta(minutes=1)
_AT_LEAST_EACH = timedelta(seconds=30)
"""A look is made so often, whatever it may find: how long things take is seen at looks alone."""
_LEAST_SECONDS = 0.2
"""Between two looks."""


@dataclass(frozen=True, slots=True)
class ScalerParts:
    """What scaling works with."""

    settings: ScheduleSettings
    """Of the start; :meth:`Scaler.adopt` takes others."""
    view: ClusterView
    kinds: Mapping[str, Kind]
    writes: Writes
    """For what comes back."""
    downs: Writes
    """At the configured rate."""
    desk: Callable[["Scaler"], GuardDesk]
    activity: ActivityBook
    breaker: Breaker
    audit: AuditLog
    events: Events
    store: Store
    """For reading."""
    cluster: str
    """Its name in the ledger."""
    clock: Clock
    unmade: UnmadePods = field(default_factory=UnmadePods)
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))


class Scaler:
    """Looks and acts."""

    def __init__(self, parts: ScalerParts) -> None:
        self._parts = parts
        self._policies = self._given = Policies(parts.settings)
        self._refused = False
        self._leads = LeadTimes(
            timedelta(seconds=parts.settings.lead_least_seconds), timedelta(seconds=parts.settings.lead_most_seconds)
        )
        self.tally = Tally()
        self.notices = Notices(self._tell_owner, self._resolve, parts.audit.told, PATIENCE)
        self._desk = parts.desk(self)
        self._follow_up = FollowUp(
            self.tally, self._leads, (parts.audit, EventRemarks(parts.events.tell)), parts.unmade.why
        )
        policy = Policy(
            wish=self._wish,
            lead=self._leads.of,
            refusals=self._refusals,
            allowance=self._allowance,
            hold=self._hold,
            instance_types=self._instance_types,
            overtaken=lambda: self._parts.now() >= self._next_edge,
        )
        self.engine = Engine(parts.view, parts.kinds, policy, Actor(parts.writes, self, parts.downs))
        self._recalled = False
        self._heard = False
        self._went_down: deque[datetime] = deque()
        self._deletions = Deletions(parts.view)
        self._last: Tick | None = None
        self._next_edge = datetime.min.replace(tzinfo=UTC)
        self._saved: Mapping[str, Saved] = {}

    @property
    def settings(self) -> ScheduleSettings:
        """In force at the last look, or the next one where there was none."""
        return self._policies.settings

    def adopt(self, settings: ScheduleSettings, *, refused: bool) -> None:
        """Go by other settings from the next look on, which is due at once; for a thread that follows them.

        Args:
            settings: to be in force, of those that a look asks for.
            refused: what the configuration says now cannot be taken, and these are the last that could.
        """
        self._refused = refused
        if settings != self._given.settings:
            self._parts.activity.reach(most_minutes_of(settings))
            self._given = Policies(settings)

    def run(self) -> None:
        """Look once, and make what follows from it; downs that the caps leave are the next run's.

        No look where nothing can have become due: nothing changed in the cluster, nothing is under way, no edge passed.

        Raises:
            StoreError: intents could not be committed, so that no down was made; what comes back has come back.
        """
        if self._is_due(self._parts.now()):
            self._look()

    def seconds_to_next(self) -> float:
        """From one run's start to the next one's: until the next edge of a window, or a tick. Ticks within a run are
        missed, so that many downs take as long as their writes, and a tick for each run at most.
        """
        tick, now = self._parts.settings.tick_seconds, self._parts.now()
        return min(tick, max(_LEAST_SECONDS, (self._next_edge - now).total_seconds()))

    def _is_due(self, now: datetime) -> bool:
        """Whether a look could find anything to do."""
        view, last = self._parts.view, self._last
        changed = view.changed.is_set()
        view.changed.clear()
        return (
            changed
            or last is None
            or self._given is not self._policies
            or now >= min(self._next_edge, last.at + _AT_LEAST_EACH)
            or any(report.step.action != "nothing" for report in last.reports)
        )

    def _edge_after(self, now: datetime) -> datetime:
        """The next moment at which a wish turns, or the lead time before one begins."""
        edges = [
            (report.wish.until, self._leads.of(report.subject))
            for report in self.reports
            if report.wish.until is not None
        ]
        moments = (moment for until, lead in edges for moment in (until, until - lead))
        return min((moment for moment in moments if moment > now), default=now + _AT_LEAST_EACH)

    def _look(self) -> None:
        now = self._parts.now()
        self._policies = self._given
        self._next_edge = self._edge_after(now)
        self._observe(now)
        tick = self.engine.tick(now)
        if not self._parts.view.ready():
            return
        self._follow_up.take(tick, {report.ref: self.engine.task(report) for report in tick.reports})
        self.notices.take(tick.reports, now)
        self._note_deleted(tick)
        self._last = tick
        self._next_edge = self._edge_after(now)
        concerned = {report.subject for report in tick.reports}
        self._parts.audit.keep(concerned)
        self._leads.keep(concerned)
        self._parts.audit.write()
        if tick.error is not None:
            raise tick.error

    def ask(self) -> None:
        """Ask agents for what the guards want to know."""
        self._desk.ask(self._parts.now())

    def tell(self) -> None:
        """Send Events, write the rows that wait, and read why pods are not made."""
        parts = self._parts
        parts.events.send(parts.now(), parts.clock.monotonic_ns())
        parts.audit.write()
        parts.unmade.ask(parts.now())

    @property
    def recalled(self) -> bool:
        """Whether what former processes did is read."""
        return self._recalled

    def recall(self) -> None:
        """Read what former processes did; until then nothing goes down.

        Raises:
            StoreError: the ledger cannot be read.
        """
        if self._recalled or self._last is None:
            return
        parts, now = self._parts, self._parts.now()
        found = untold(parts.store, parts.cluster, parts.view, now)
        windows, long_ago = {report.wish.window for report in self._last.reports}, now - REMEMBERED * 4
        steps = steps_of_windows(parts.store, parts.cluster, now, long_ago, windows=windows, newest=found)
        ready = times_to_ready(parts.store, parts.cluster, long_ago)
        for row in ready.iter_rows(named=True):
            self._leads.learn(Ref(row["kind"], row["namespace"], row["name"]), float(row["seconds"]))
        self.tally.recall(late_restores(parts.store, parts.cluster, now - SCARCE_FOR))
        self.notices.recall(told_before(steps, parts.view.get))
        self.engine.recall(standing_told(steps, parts.view.get))
        parts.audit.found(found)
        self._recalled = True

    def measure(self) -> None:
        """Work out what downs saved, as far as the books are complete.

        Raises:
            StoreError: the ledger cannot be read.
        """
        through = settled_through(self._parts.store)
        if through is None:
            return
        self._saved = {
            name: total(measure(self._parts.store, self._parts.cluster, through - length, through))
            for name, length in _MEASURED.items()
        }

    def close(self, seconds: float) -> None:
        """Write what waits, for so long at most."""
        if left := self._parts.audit.close(seconds):
            _log.warning("%d audit rows could not be written; the objects still tell what was done", left)

    # the book of whoever acts

    def intend(self, tasks: Sequence[Task], now: datetime) -> None:
        """Commit the intents of downs.

        Raises:
            StoreError: they could not be committed.
        """
        self._parts.audit.intend(tasks, now)

    def note(self, task: Task, outcome: Outcome, now: datetime) -> None:
        """Take a result."""
        self._parts.audit.note(task, outcome, now)
        self.tally.note(task, outcome)
        if task.step.action == "down" and outcome.result == "done":
            self._went_down.append(now)
        if task.is_news(outcome) and (text := text_of(task, outcome)) is not None:
            self._parts.events.tell(about(task.lever, task.kind), text, now)

    def stand(self) -> ScalingStand:
        """How it stands, from what the last look saw."""
        parts, tick = self._parts, self._last
        now = parts.now()
        if tick is None:
            return ScalingStand(now=now)
        down = put_down(seen for kind in parts.kinds for seen in parts.view.objects(kind) if RECORD in seen.annotations)
        actions = Counter(report.step.action for report in tick.reports)
        late = self.tally.late.values()
        return ScalingStand(
            now=now,
            looked_at=tick.at,
            down=Counter((seen.ref.namespace, seen.ref.kind) for seen in down),
            gpus_down=gpus_put_down(map(self.engine.complete, down)),
            coming_back=actions["restore"] + actions["await"],
            contested=Counter((r.subject.namespace,) for r in tick.reports if r.step.action == "contested"),
            skipped=skipped(tick.reports),
            waiting=tick.waiting,
            policies_refused=self._refused,
            dry_run=policies_of(report.wish for report in tick.reports),
            breaker_open=parts.breaker.status(parts.clock.monotonic_ns()).state == "open",
            overdue=Counter((each.reason,) for each in late),
            longest_overdue_seconds=max(((now - each.since).total_seconds() for each in late), default=None),
            ready_delay_seconds={policy: seconds for policy, (_, seconds) in self.tally.delays.items()},
            writes=dict(self.tally.writes),
            saved=self._saved,
            audit_waiting=parts.audit.waiting,
            audit_lost=parts.audit.lost,
            events_lost=parts.events.lost,
        )

    @property
    def reports(self) -> tuple[Report, ...]:
        """What the last look found."""
        return () if self._last is None else self._last.reports

    def down_refs(self) -> frozenset[Ref]:
        """Workloads that are put down."""
        parts = self._parts
        marked = put_down(
            seen for kind in parts.kinds for seen in parts.view.objects(kind) if RECORD in seen.annotations
        )
        return frozenset(_workload_of(seen) for seen in marked)

    def _note_deleted(self, tick: Tick) -> None:
        """Record what was deleted while it was down: from then on it saves nothing."""
        for gone in self._deletions.take(tick):
            why = gone.report.step.why
            self._parts.audit.remark(self.engine.task(gone.report), "gone", why, tick.at)
            if gone.left is not None:
                told = EventText("ScheduleLeftDown", why, "Warning")
                self._parts.events.tell(about(gone.left, self._parts.kinds[gone.left.ref.kind]), told, tick.at)

    def _wish(self, subject: Seen, namespace: NamespaceSeen, gpus: int, moment: datetime) -> Wish:
        return self._policies.wish(subject, namespace, gpus, moment)

    def _resolve(self, workload: Workload, moment: datetime) -> Wish:
        return self._wish(workload.subject, workload.namespace, workload.gpus, moment)

    def _refusals(self, downs: Sequence[tuple[Workload, Wish]], now: datetime) -> Mapping[Ref, tuple[Refusal, ...]]:
        unknown = self._unknown_kinds()
        return {
            workload.ref: (
                *self._desk.refusals(workload, wish, now),
                *(Refusal("breaker", unknown[kind]) for kind in _kinds_of(workload) if kind in unknown),
            )
            for workload, wish in downs
        }

    def _unknown_kinds(self) -> Mapping[str, str]:
        """Kinds of which what is known is old, and why."""
        view, now_ns = self._parts.view, self._parts.clock.monotonic_ns()
        return {
            kind: f"{kind} is not followed: {why}"
            for kind, why in view.failing.items()
            if view.stale_seconds(now_ns, (kind,)) > STALE_SECONDS
        }

    def _allowance(self, now: datetime) -> int:
        while self._went_down and self._went_down[0] <= now - _MINUTE:
            self._went_down.popleft()
        settings = self.settings
        own = min(settings.changes_per_run, settings.changes_per_minute - len(self._went_down))
        theirs = self._parts.breaker.allowance(self._parts.clock.monotonic_ns())
        return own if theirs is None else min(own, theirs)

    def _hold(self, now: datetime) -> str:
        del now
        if not self.engine.recalled:
            return "what former processes did is not read from the ledger yet"
        for kind in _AUTOSCALERS:
            if (why := self._parts.view.forbidden.get(kind)) is not None:
                return f"whether an autoscaler holds a workload cannot be seen: {why}"
        return self._parts.breaker.hold(self._parts.clock.monotonic_ns())

    def _observe(self, now: datetime) -> None:
        """Tell the breaker what is too old to act upon."""
        parts, stale = self._parts, dict[str, str]()
        now_ns = parts.clock.monotonic_ns()
        if (seconds := parts.view.stale_seconds(now_ns, _NEEDED)) > STALE_SECONDS:
            failing = {kind: error for kind, error in parts.view.failing.items() if kind in _NEEDED}
            why = "; ".join(f"{kind}: {error}" for kind, error in sorted(failing.items()))
            stale["cluster"] = f"not followed for {seconds:.0f} s ({why})"
        heard = parts.activity.heard(now)
        self._heard = self._heard or heard
        if self._heard and not heard and parts.view.has_gpus():  # else there is nothing to hear of
            stale["telemetry"] = "no agent was heard for ten minutes"
        parts.breaker.observe(stale, now_ns)

    def _instance_types(self, nodes: Sequence[str]) -> tuple[str, ...]:
        known = self._parts.view.nodes
        return tuple(sorted({known[node].instance_type for node in nodes if node in known} - {""}))

    def _tell_owner(self, workload: Workload, text: str, now: datetime, sent: Sent) -> None:
        subject = workload.subject
        kind = self._parts.kinds[subject.ref.kind]
        self._parts.events.tell(about(subject, kind), EventText("ScheduledDownSoon", text), now, sent)


def _kinds_of(workload: Workload) -> tuple[str, ...]:
    return tuple(dict.fromkeys((workload.subject.ref.kind, workload.lever.ref.kind)))


def _workload_of(seen: Seen) -> Ref:
    return seen.ref if seen.scales is None else Ref(seen.scales[0], seen.ref.namespace, seen.scales[1])
