"""A cluster in memory and the whole scaler over it, process after process, with a ledger that stays."""

from datetime import timedelta

from collectors.kube_api import Listing
from controller.scaling.activity import ActivityBook
from controller.scaling.audit_log import AuditLog
from controller.scaling.breaker import Breaker, BreakerLimits
from controller.scaling.cluster_view import ClusterView
from controller.scaling.events import Events
from controller.scaling.guard_desk import DeskFacts, GuardDesk
from controller.scaling.model import Ref
from controller.scaling.queues import NO_ENGINE
from controller.scaling.rate import TokenBucket
from controller.scaling.record import COMMAND, RECORD
from controller.scaling.scaler import Scaler, ScalerParts
from controller.scaling.schedule_settings import ScheduleSettings
from controller.scaling.unmade_pods import UnmadePods
from ledger.audit import INTENT, Asked, append, read
from ledger.store import Store
from ledger.tables import AUDIT
from tests.controller.scaling.engine_rig import BEFORE, REGISTRY
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.scaling_rig import HandClock
from tests.controller.scaling.test_every_step import become_ready
from tests.controller.scaling.toy_server import ToyServer, merge

MINUTE = timedelta(minutes=1)
LLAMA = Ref("Deployment", "team-a", "llama")
PAUSED = "autoscaling.keda.sh/paused-replicas"
_PLAIN = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "web"}]}}}}


class Api:
    """Remembers Events, unless it fails."""

    def __init__(self):
        self.told = []
        self.error = None
        self.events = []

    def write(self, _verb, _path, item):
        if self.error is not None:
            raise self.error
        self.told.append((item["reason"], item["message"]))
        return item

    def patch(self, _path, body):
        return self.write("create", "", {"reason": "again", **body})

    def list(self, _resource, keep):
        return Listing(tuple(map(keep, self.events)), "1")


class House:
    """What outlives processes: the cluster, the ledger, and the clock.

    Args:
        root: of the ledger.
        scaler: the kind of what scales the Deployment; empty: nothing does.
        policy: of all that is in it, every night from 19:00.
    """

    def __init__(self, root, scaler="", **policy):
        self.server = ToyServer(REGISTRY, follow=become_ready)
        self.lever = self.server.add("Deployment", merge(OBJECTS["Deployment"], _PLAIN))
        if scaler:
            target = {"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}}}
            self.lever = self.server.add(scaler, merge(OBJECTS[scaler], target))
        self.was = dict(self.server.objects[self.lever]["spec"])
        night = {"name": "nights", "namespaces": ["*"], "gpu_only": False, "down": "Mon-Sun 19:00-07:00", **policy}
        self.settings = ScheduleSettings.model_validate({"enabled": True, "dry_run": False, "policies": [night]})
        self.root, self.now, self.api = root, BEFORE, Api()
        self.start()

    def start(self):
        """A new process; the former one is killed."""
        self.loses_results = False
        store, self._clock = Store(self.root, tables=(AUDIT,)), HandClock()
        store.claim_epoch()
        self.view = ClusterView(self._clock)
        self.view.decide(())
        self.audit = AuditLog(lambda rows: append(store, self._that_last(rows)), cluster="eu", actor="wattledger-0")
        self.scaler = Scaler(
            ScalerParts(
                settings=self.settings,
                view=self.view,
                kinds=REGISTRY,
                writes=self.server,
                downs=self.server,
                desk=self._desk,
                activity=ActivityBook(),
                breaker=Breaker(BreakerLimits(), 0),
                audit=self.audit,
                events=Events(self.api, TokenBucket(10_000, 1000), "wattledger-0"),
                store=store,
                cluster="eu",
                clock=self._clock,
                unmade=UnmadePods(self.api),
                now=lambda: self.now,
            )
        )

    def look(self, minutes=1):
        """One look, so long after the former one, with all that a process does around it."""
        self.now += minutes * MINUTE
        for kind in REGISTRY:
            self.view.replace_objects(kind, self.server.objects_of(kind))
        before = self.server.writes
        self.scaler.run()
        self.scaler.tell()
        assert self.audit.close(10) == 0
        fresh = not self.scaler.recalled
        self.scaler.recall()
        assert self.audit.close(10) == 0
        return fresh or self.server.writes != before

    def settle(self):
        """Look until nothing comes of it."""
        while self.look():
            pass

    def at(self, moment):
        """It is that time, and all that follows from it has come about."""
        self.now = moment - MINUTE
        self.settle()

    @property
    def rows(self):
        """Of the audit table."""
        return read(Store(self.root, tables=(AUDIT,)), Asked(BEFORE)).collect().to_dicts()

    @property
    def is_down(self):
        return RECORD in self.server.objects[self.lever]["metadata"].get("annotations", {})

    @property
    def steps(self):
        return {str(report.ref): report.step.action for report in self.scaler.reports}

    def revert(self, *, record_too=True):
        """Somebody puts it back."""
        gone = {RECORD: None, COMMAND: None} if record_too else {}
        paused = {PAUSED: None} if self.lever.kind == "ScaledObject" else {}
        self.server.edit(self.lever, {"metadata": {"annotations": {**gone, **paused}}, "spec": self.was})

    def annotate(self, **said):
        """What its owner says of it."""
        said = {f"wattledger.io/schedule-{key.replace('_', '-')}": value for key, value in said.items()}
        self.server.edit(LLAMA, {"metadata": {"annotations": said}})

    def ask(self, _nodes, _minutes):
        return {}

    def of(self, workloads, _now):
        return {each.ref: NO_ENGINE for each in workloads}

    def _that_last(self, rows):
        return [row for row in rows if row.phase == INTENT] if self.loses_results else rows

    def _desk(self, scaler):
        return GuardDesk(ActivityBook(), self, self, DeskFacts(told_at=scaler.notices.told_at))
