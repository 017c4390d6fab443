"""A keeper of ScaledObjects on the toy server, with what it writes into the audit table and tells as Events."""

from datetime import UTC, datetime, timedelta

from controller.scaling.act import Wrote
from controller.scaling.model import Ref
from controller.scaling.queue_book import QueueBook
from controller.scaling.queue_keeper import QueueKeeper
from controller.scaling.queue_settings import QueueScalingSettings
from ledger.store_errors import StoreError
from tests.controller.scaling.engine_rig import REGISTRY
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.toy_server import ToyServer, ToyView, merge

DAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
NIGHT = DAY + timedelta(hours=10)
CHAT = Ref("ScaledObject", "team-a", "llama")
WORKLOAD = {
    "namespace": "team-a",
    "name": "llama",
    "min_replicas": 3,
    "max_replicas": 9,
    "windows": [{"when": "Mon-Fri 20:00-07:00", "min_replicas": 1, "max_replicas": 2}],
}


def settings(*workloads):
    given = {"write": True, "prometheus_url": "http://prometheus:9090", "workloads": list(workloads)}
    return QueueScalingSettings.model_validate(given)


class Hand(ToyServer):
    """The toy server, that makes and deletes too; ``answers`` are given instead, one for each."""

    def __init__(self):
        super().__init__(REGISTRY)
        self.answers, self.asked = [], []

    def _said(self, what):
        self.asked.append(what)
        return self.answers.pop(0) if self.answers else None

    def create(self, kind, ref, item):
        return self._said("create") or (Wrote("done", "1") if self.add(kind.name, item) == ref else None)

    def write(self, kind, ref, patch, version):
        return self._said("write") or super().write(kind, ref, patch, version)

    def delete(self, kind, seen):
        if (said := self._said("delete")) is None:
            del self.objects[seen.ref]
        return said or Wrote("done", seen.version)


class Rows:
    def __init__(self):
        self.rows, self.fails = [], False

    def commit(self, intents, what):
        if self.fails:
            raise StoreError(f"no {what} is made: the disk is full")
        self.rows += intents

    def found(self, rows):
        self.rows += rows


class Rig:
    """A keeper; the test moves its clock."""

    def __init__(self, *workloads, dry_run=False):
        self.server, self.rows, self.events, self.now, self.dry_run = Hand(), Rows(), [], DAY, dry_run
        self.view = ToyView(self.server)
        self.view.served = lambda _kind: "v1alpha1"
        self.view.unreadable, self.view.forbidden, self.view.failing = {}, {}, {}
        self.begin_anew(*workloads or (WORKLOAD,))

    def add(self, kind, **patch):
        return self.server.add(kind, merge(OBJECTS[kind], patch))

    def run(self, now=None):
        self.now = now or self.now
        self.keeper.run()

    def begin_anew(self, *workloads):
        """A new process, with these settings."""
        book = QueueBook(self.rows, lambda about, text, _now: self.events.append((about.kind, text)), "c")
        given = settings(*workloads)
        self.keeper = QueueKeeper(given, self.view, self.server, book, lambda: self.now, lambda: self.dry_run)

    @property
    def chat(self):
        return self.server.get(CHAT)

    @property
    def told(self):
        return [(row.phase, row.action, row.result, row.before, row.after) for row in self.rows.rows]
