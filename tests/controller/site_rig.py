"""A controller's site over the small books of the ledger's tests, without a socket."""

import json
from contextlib import contextmanager

from collectors.journal_pull import JournalPull
from collectors.kube_quotas import GpuQuota, Quotas
from controller.agents import KnownAgents
from controller.api_ask import Worker
from controller.families import ControllerFamilies
from controller.gather import Gather
from controller.jobs import JobHealth
from controller.marks import LedgerMarks
from controller.present import MachinePresent
from controller.quota_report import QuotaWatch
from controller.site import ControllerSite, Doors, Inside
from controller.status import Lookout, Standing
from ledger.budget_settings import Budget, BudgetSettings

QUOTAS = Quotas(
    (
        GpuQuota("ResourceQuota", "gpus", ("ml",), "nvidia.com/gpu", 4, 2),
        GpuQuota("ClusterQueue", "research", ("ml", "dev"), "nvidia.com/gpu", 16, None),
        GpuQuota("ResourceQuota", "slices", ("dev",), "nvidia.com/mig-1g.10gb", 7, 1),
    ),
    kueue=True,
)
BUDGETS = BudgetSettings(
    monthly=(Budget(name="all", usd_per_month=500), Budget(name="ml", usd_per_month=1, match={"namespace": "ml"})),
    least_days=2,
)


class Fixed(MachinePresent):
    """Stands still."""

    def __init__(self, now):
        self.moment = now

    def now(self):
        return self.moment


class Books:
    """Takes what is pushed."""

    def __init__(self):
        self.booked = []
        self.failure = None

    def book(self, hours, now):
        if self.failure:
            raise self.failure
        self.booked += hours


class Rig:
    """The site, and what stands behind it."""

    def __init__(self, store, now, doors, seconds):
        self.present = Fixed(now)
        self.books = Books()
        self.leads = True
        self.worker = Worker(2, seconds)
        self.lookout = Lookout(store, self.present, BUDGETS, 100)
        self.gather = Gather(
            KnownAgents(), JournalPull(), self.books, LedgerMarks(store), self.present, simulated=False
        )
        self.quotas = QuotaWatch(store, lambda: QUOTAS, "eu", self.present.now)
        self.spent = self.prices_refused = self.bills_waiting = None
        self.jobs = {"pull": JobHealth(3, 1, now, 0.5, "")}
        inside = Inside(
            store, self.worker, self.present, self.gather, self.stand, BUDGETS, ControllerFamilies(self.stand)
        )
        self.site = ControllerSite(inside, doors)

    def stand(self):
        return Standing(
            now=self.present.now(),
            machine_now=self.present.now(),
            leads=self.leads,
            epoch=7,
            simulated=False,
            facts=self.lookout.facts,
            breaks=self.lookout.breaks,
            quotas=self.quotas.facts,
            gathered=self.gather.gathered,
            jobs=self.jobs,
            prices_refused=self.prices_refused,
            bills_waiting=self.bills_waiting,
            cost_explorer=self.spent,
        )

    def get(self, path, **headers):
        answer = self.site.answer(f"/api/v1{path}", headers)
        return int(answer.status), json.loads(answer.body)

    def page(self, path):
        answer = self.site.answer(path, {})
        return int(answer.status), answer.body.decode()

    def post(self, body, path="/hours", **headers):
        target = f"/api/v1{path}"
        given = {name.replace("_", "-"): said for name, said in headers.items()}
        headers = {"Content-Type": "application/json"} | given
        answer = self.site.refusal(target, headers)
        if answer is None:
            answer = self.site.post(target, headers, body if isinstance(body, bytes) else json.dumps(body).encode())
        return int(answer.status), answer.body.decode()


@contextmanager
def site(store, now, doors=None, seconds=30):
    """A rig of these books."""
    rig = Rig(store, now, doors or Doors(push_open=True), seconds)
    try:
        yield rig
    finally:
        rig.worker.close()
