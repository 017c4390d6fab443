"""Scheduled scaling at work: looks at the cluster again and again, acts, and tells how it stands.

Owns the parts and the order among them. Four things are called from outside, each by a thread of its own, so that none
waits for another: :meth:`Scaler.run` looks and acts, and asks neither ledger nor agents but for the intents of downs;
:meth:`Scaler.ask` asks agents before downs; :meth:`Scaler.tell` sends what is recorded; :meth:`Scaler.measure` and
:meth:`Scaler.recall` read the books.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from collectors.clock import Clock
from controller.scaling.act import Actor, Outcome, Task, Writes
from controller.scaling.activity import ActivityBook
from controller.scaling.audit_log import AuditLog, found_again
from controller.scaling.breaker import Breaker
from controller.scaling.cluster_view import NAMESPACES, NODES, PODS, ClusterView
from controller.scaling.coming_back import LeadTimes
from controller.scaling.compose import AUTOSCALER, SCALED_OBJECT
from controller.scaling.decide import Step
from controller.scaling.engine import Engine, Policy, Report, Tick
from controller.scaling.event_remarks import EventRemarks
from controller.scaling.events import Events, EventText, about, text_of
from controller.scaling.follow_up import FollowUp, Tally, gpus_put_down, policies_of, put_down, skipped
from controller.scaling.guard_desk import GuardDesk
from controller.scaling.kind import Kind
from controller.scaling.model import Ref, Refusal, Seen, Wish, Workload
from controller.scaling.notices import Notices
from controller.scaling.policies import Policies
from controller.scaling.record import RECORD
from controller.scaling.savings import Saved, measure, total
from controller.scaling.schedule_settings import ScheduleSettings
from controller.scaling.stand import ScalingStand
from ledger.audit import downs_in_window, open_intents, times_to_ready
from ledger.store import Store

_log = logging.getLogger(__name__)

STALE_SECONDS = 180.0
"""A kind that is not followed for so long makes what is known of the cluster old."""
_AUTOSCALERS = (AUTOSCALER, SCALED_OBJECT)
_NEEDED = frozenset({PODS, NAMESPACES, NODES, *_AUTOSCALERS})
"""What is looked at of every workload; another kind that is not followed keeps only its own from going down."""
_REMEMBERED = timedelta(days=8)
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
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))


class Scaler:
    """Looks and acts."""

    def __init__(self, parts: ScalerParts) -> None:
        self._parts = parts
        self._policies = Policies(parts.settings)
        self._leads = LeadTimes(
            timedelta(seconds=parts.settings.lead_least_seconds), timedelta(seconds=parts.settings.lead_most_seconds)
        )
        self.tally = Tally()
        self.notices = Notices(self._tell_owner, self._resolve)
        self._desk = parts.desk(self)
        self._follow_up = FollowUp(self.tally, self._leads, (parts.audit, EventRemarks(parts.events.tell)))
        policy = Policy(
            wish=self._policies.wish,
            lead=self._leads.of,
            refusals=self._refusals,
            allowance=self._allowance,
            hold=self._hold,
            instance_types=self._instance_types,
        )
        self.engine = Engine(parts.view, parts.kinds, policy, Actor(parts.writes, self, parts.downs))
        self._recalled = False
        self._heard = False
        self._went_down: deque[datetime] = deque()
        self._last: Tick | None = None
        self._next_edge = datetime.min.replace(tzinfo=UTC)
        self._saved: Mapping[str, Saved] = {}

    def run(self) -> None:
        """Looks, and what follows from them: one, or more while each leaves downs for the next.

        None where nothing can have become due: nothing changed in the cluster, nothing is under way, no edge passed.

        Raises:
            StoreError: intents could not be committed, so that no down was made; what comes back has come back.
        """
        if not self._is_due(self._parts.now()):
            return
        while self._look() and self._allowance(self._parts.now()) > 0:
            pass

    def seconds_to_next(self) -> float:
        """Until the next look is due: at the next edge of a window, or when a tick has passed."""
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

    def _look(self) -> bool:
        """One look; whether it put workloads down and left others that could follow at once."""
        now = self._parts.now()
        self._observe(now)
        tick = self.engine.tick(now)
        if not self._parts.view.ready():
            return False
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
        went = any(each.outcome is not None and each.outcome.result == "done" for each in tick.reports)
        return tick.waiting > 0 and went

    def ask(self) -> None:
        """Ask agents for what the guards want to know."""
        self._desk.ask(self._parts.now())

    def tell(self) -> None:
        """Send Events, and write the rows that wait."""
        parts = self._parts
        parts.events.send(parts.now(), parts.clock.monotonic_ns())
        parts.audit.write()

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
        windows = {report.wish.window for report in self._last.reports} - {None}
        downs = downs_in_window(parts.store, parts.cluster, [window for window in windows if window is not None])
        self.engine.recall(
            {Ref(kind, space, name): (window, count) for (kind, space, name, window), count in downs.items()}
        )
        for row in times_to_ready(parts.store, parts.cluster, now - _REMEMBERED * 4).iter_rows(named=True):
            self._leads.learn(Ref(row["kind"], row["namespace"], row["name"]), float(row["seconds"]))
        parts.audit.found(found_again(open_intents(parts.store, parts.cluster, now - _REMEMBERED), parts.view.get, now))
        self._recalled = True

    def measure(self) -> None:
        """Work out what downs saved.

        Raises:
            StoreError: the ledger cannot be read.
        """
        through = self._parts.now().replace(minute=0, second=0, microsecond=0)
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
        if (text := text_of(task, outcome)) is not None:
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
            gpus_down=gpus_put_down(down),
            coming_back=actions["restore"] + actions["await"],
            contested=Counter((r.subject.namespace,) for r in tick.reports if r.step.action == "contested"),
            skipped=skipped(tick.reports),
            waiting=tick.waiting,
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
        """Record what was deleted since the former look while it was down: from then on it saves nothing."""
        if self._last is None:
            return
        there = {report.ref for report in tick.reports}
        for report in self._last.reports:
            lever = report.workload.lever
            if report.ref in there or RECORD not in lever.annotations or self._parts.view.get(report.ref) is not None:
                continue
            gone = replace(report, step=Step("give_way", "it was deleted while it was down"))
            self._parts.audit.remark(self.engine.task(gone), "gone", gone.step.why, tick.at)

    def _resolve(self, workload: Workload, moment: datetime) -> Wish:
        return self._policies.wish(workload.subject, workload.namespace, workload.gpus, moment)

    def _refusals(self, downs: Sequence[tuple[Workload, Wish]], now: datetime) -> Mapping[Ref, tuple[Refusal, ...]]:
        unknown = self._unknown_kinds()
        return {
            workload.ref: (
                *self._desk.refusals(workload, wish, now),
                *(Refusal("breaker", why) for why in (unknown.get(workload.lever.ref.kind),) if why),
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
        settings = self._parts.settings
        own = min(settings.changes_per_run, settings.changes_per_minute - len(self._went_down))
        theirs = self._parts.breaker.allowance(self._parts.clock.monotonic_ns())
        return own if theirs is None else min(own, theirs)

    def _hold(self, now: datetime) -> str:
        del now
        if not self._recalled:
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
        if self._heard and not heard:
            stale["telemetry"] = "no agent was heard for ten minutes"
        parts.breaker.observe(stale, now_ns)

    def _instance_types(self, nodes: Sequence[str]) -> tuple[str, ...]:
        known = self._parts.view.nodes
        return tuple(sorted({known[node].instance_type for node in nodes if node in known} - {""}))

    def _tell_owner(self, workload: Workload, text: str, now: datetime) -> None:
        subject = workload.subject
        kind = self._parts.kinds[subject.ref.kind]
        self._parts.events.tell(about(subject, kind), EventText("ScheduledDownSoon", text), now)
        _log.info("%s: %s", subject.ref, text)


def _workload_of(seen: Seen) -> Ref:
    return seen.ref if seen.scales is None else Ref(seen.scales[0], seen.ref.namespace, seen.scales[1])
