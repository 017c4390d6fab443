"""A scaler at work while its policies are edited: the next look goes by what stands there, or by the last good ones."""

from datetime import UTC, datetime, timedelta

import pytest

from cli.config_load import load_config
from collectors.clock import SystemClock
from controller.scaling.activity import ActivityBook
from controller.scaling.audit_log import AuditLog
from controller.scaling.breaker import Breaker, BreakerLimits
from controller.scaling.cluster_view import ClusterView
from controller.scaling.events import Events
from controller.scaling.families import ScalingFamilies
from controller.scaling.guard_desk import DeskFacts, GuardDesk
from controller.scaling.queues import NO_ENGINE
from controller.scaling.rate import TokenBucket
from controller.scaling.record import COMMAND, RECORD
from controller.scaling.scaler import Scaler, ScalerParts
from exporters.exposition import render
from ledger.store import Store
from tests.controller.scaling.engine_rig import REGISTRY
from tests.controller.scaling.guard_rig import at, hour, pod, worked, workload
from tests.controller.scaling.kind_objects import OBJECTS
from tests.controller.scaling.policy_file import GOOD, NO_POLICY, Mounted, looks, source_of
from tests.controller.scaling.test_every_step import become_ready
from tests.controller.scaling.toy_server import ToyServer, merge

MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MONDAY_NIGHT = MONDAY_NOON + timedelta(hours=10)
POD = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "web:1", "resources": None}]}}}}
CHAT = workload(pod())
BY_DAY = GOOD.replace("Mon-Fri 20:00-07:00", "Mon-Fri 09:00-17:00")


class Agents:
    """None of them has anything to tell."""

    def ask(self, nodes, minutes):
        del nodes, minutes
        return {}

    def of(self, workloads, now):
        del now
        return {each.ref: NO_ENGINE for each in workloads}


class Home:
    """A Deployment, a scaler that sees it, and the file that it goes by."""

    def __init__(self, folder, text=GOOD):
        self.now = MONDAY_NOON
        self.view = ClusterView(SystemClock())
        self.view.decide(())
        self.server = ToyServer(REGISTRY, follow=self._follow)
        self.web = self.server.add("Deployment", merge(OBJECTS["Deployment"], POD))
        self.file = Mounted(folder, text)
        self.activity = ActivityBook(most_minutes=30)
        store = Store(str(folder / "books"))
        store.claim_epoch()
        self.scaler = Scaler(
            ScalerParts(
                settings=load_config(self.file.path, {}, {}).schedule,
                view=self.view,
                kinds=REGISTRY,
                writes=self.server,
                downs=self.server,
                desk=self._desk,
                activity=self.activity,
                breaker=Breaker(BreakerLimits(), 0),
                audit=AuditLog(lambda rows: None, cluster="c", actor="test"),
                events=Events(None, TokenBucket(1), "test"),
                store=store,
                cluster="c",
                clock=SystemClock(),
                now=lambda: self.now,
            )
        )
        self.source = source_of(self.file.path, self.scaler)
        self.scaler.run()
        self.scaler.recall()

    def _desk(self, scaler):
        facts = DeskFacts(protected_namespaces=lambda: scaler.settings.protected_namespaces)
        return GuardDesk(self.activity, Agents(), Agents(), facts)

    def _follow(self, item):
        become_ready(item)
        self.view.put_object(REGISTRY[item["kind"]].seen(item))

    def edit(self, text):
        """The file says something else, and what follows it has looked."""
        self.file.swap(text)
        looks(self.source)

    def settle(self):
        """Looks, until nothing changes any more."""
        for _ in range(6):
            self.scaler.run()

    @property
    def replicas(self):
        return self.server.objects[self.web]["spec"]["replicas"]

    @property
    def marks(self):
        return {RECORD, COMMAND} & self.server.objects[self.web]["metadata"]["annotations"].keys()

    @property
    def policies_up(self):
        page = render(ScalingFamilies().metrics(self.scaler.stand()), openmetrics=False).decode()
        return dict(line.rsplit(" ", 1) for line in page.splitlines())["wattledger_schedule_policies_up"]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_the_next_look_goes_by_an_edited_policy(home):
    home.settle()
    assert home.replicas == 3
    home.edit(BY_DAY)
    home.scaler.run()
    assert home.replicas == 0
    assert home.policies_up == "1"


def test_an_edit_makes_a_look_due_at_once_though_nothing_else_happened(home):
    home.settle()
    looked_at = home.scaler.stand().looked_at
    home.now += timedelta(seconds=1)
    home.scaler.run()
    assert home.scaler.stand().looked_at == looked_at
    home.edit(GOOD.replace("20:00", "21:00"))
    home.scaler.run()
    assert home.scaler.stand().looked_at == home.now


def test_a_broken_policy_leaves_the_last_good_one_in_force_and_the_metric_says_so(home):
    home.edit(GOOD.replace("Mon-Fri", "Mon-Fry"))
    assert home.policies_up == "0"
    home.now = MONDAY_NIGHT
    home.settle()
    assert home.replicas == 0
    home.edit(GOOD)
    assert home.policies_up == "1"
    home.settle()
    assert home.replicas == 0


def test_what_is_down_stays_down_while_the_file_is_broken_and_comes_back_when_its_window_ends(home):
    home.now = MONDAY_NIGHT
    home.settle()
    home.edit("schedule: [")
    home.settle()
    assert home.replicas == 0
    home.now = MONDAY_NIGHT + timedelta(hours=10)
    home.settle()
    assert (home.replicas, home.marks) == (3, set())
    assert home.policies_up == "0"


def test_a_policy_that_is_removed_while_things_are_down_brings_them_back(home):
    home.now = MONDAY_NIGHT
    home.settle()
    assert (home.replicas, home.marks) == (0, {RECORD, COMMAND})
    home.edit(NO_POLICY)
    home.settle()
    assert (home.replicas, home.marks) == (3, set())


@pytest.mark.parametrize("key", ["exclude: ['team-a/*']", "exclude_until: 2026-11-25", "force: up"])
def test_an_exception_that_is_written_while_things_are_down_brings_them_back_and_one_that_goes_lets_them_down(
    home, key
):
    home.now = MONDAY_NIGHT
    home.settle()
    assert home.replicas == 0
    home.edit(GOOD.replace("gpu_only: false", f"gpu_only: false, {key}"))
    home.settle()
    assert (home.replicas, home.marks) == (3, set())
    home.edit(GOOD)
    home.settle()
    assert home.replicas == 0


def test_a_namespace_that_is_protected_from_now_on_is_not_touched(home):
    home.edit(GOOD + "  protected_namespaces: [team-a]\n")
    home.now = MONDAY_NIGHT
    home.settle()
    assert home.replicas == 3
    assert home.scaler.stand().skipped == {("protected",): 1}


def test_a_dry_run_from_now_on_puts_nothing_down(home):
    home.edit(GOOD.replace("dry_run: false", "dry_run: true"))
    home.now = MONDAY_NIGHT
    home.settle()
    assert home.replicas == 3


def test_the_cap_on_changes_follows(home):
    home.edit(GOOD + "  changes_per_minute: 1\n")
    home.server.add("Deployment", merge(OBJECTS["Deployment"], {"metadata": {"name": "other"}, **POD}))
    home.now = MONDAY_NIGHT
    home.settle()
    assert sorted(item["spec"]["replicas"] for item in home.server.objects.values()) == [0, 3]


def test_a_policy_that_asks_further_back_has_what_agents_told_kept_for_so_long(home):
    night = [hour(number, *worked(0, 60)) for number in range(8)]
    home.activity.take("n1", night, at(8))
    assert home.activity.of(CHAT, at(8), 300).covered_seconds < 18_000
    home.edit(GOOD.replace("down:", "idle_minutes: 300, down:"))
    home.activity.take("n1", night, at(8))
    assert home.activity.of(CHAT, at(8), 300).covered_seconds >= 18_000


def test_settings_change_between_two_looks_and_never_within_one(home):
    home.edit(BY_DAY)
    assert home.scaler.settings.policies[0].down.startswith("Mon-Fri 20:00")
    home.scaler.run()
    assert home.scaler.settings.policies[0].down.startswith("Mon-Fri 09:00")
