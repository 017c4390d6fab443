"""Two controllers and one Lease of a real API server: one leads, and whoever loses it writes nothing more."""

import json
import re
import signal
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from controller.lease import LOST
from ledger.store import APP, Store
from ledger.store_facts import table_facts
from ledger.tables import COST, NODE_HOURS, USAGE
from ledger.verify import verify
from tests.cluster.cluster import AGENT_NAMESPACE
from tests.cluster.processes import freeze
from tests.controller.agent_server import Agent
from tests.integration.agent_process import AgentProcess, eventually, fetch
from tests.ledger.ledger_rig import HOUR_NS, row

SECONDS = 120
ACCOUNT = "controller"
RULES = [
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
    {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["get", "list"]},
]
DURATION = 20
LEASE = {"duration_seconds": DURATION, "renew_deadline_seconds": 15, "retry_seconds": 0.5}
"""Long enough that a leader on a busy machine, beside a busy API server, does not lose it."""
BEGIN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=100)


@pytest.fixture(scope="module")
def token(cluster):
    """Of an account that may do what a controller needs, and no more."""
    named, rbac = {"metadata": {"name": ACCOUNT}}, "/apis/rbac.authorization.k8s.io/v1"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ACCOUNT}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": AGENT_NAMESPACE}
    accounts = f"/api/v1/namespaces/{AGENT_NAMESPACE}/serviceaccounts"
    cluster.admin.post(accounts, named)
    cluster.admin.post(f"{rbac}/clusterroles", named | {"rules": RULES})
    cluster.admin.post(f"{rbac}/clusterrolebindings", named | {"roleRef": role, "subjects": [subject]})
    asked = {"spec": {"expirationSeconds": 3600}}
    yield cluster.admin.post(f"{accounts}/{ACCOUNT}/token", asked)["status"]["token"]
    cluster.admin.delete(f"{rbac}/clusterrolebindings/{ACCOUNT}")
    cluster.admin.delete(f"{rbac}/clusterroles/{ACCOUNT}")
    cluster.admin.delete(f"{accounts}/{ACCOUNT}")


class Pair:
    """Two controllers of one ledger, and the agent whose hours they book."""

    def __init__(self, cluster, token, folder, name, stack):
        (folder / "token").write_text(token)
        self.root = str(folder / "ledger")
        self.folder = folder
        self.agent = Agent("gpu-1")
        stack.callback(self.agent.server.close)
        self.hours = 0
        self.config = {
            "controller": {
                "agents": {"urls": [self.agent.url], "discovery": "off"},
                "lease": {**LEASE, "mode": "on", "namespace": AGENT_NAMESPACE, "name": name},
                "pull_interval_seconds": 1,
                "server": {"listen": "127.0.0.1:0"},
            },
            "ledger": {"root": self.root},
            "prices": {"cloud_identity": "off", "live": {"aws": "off"}},
            "kubernetes": {
                "mode": "on",
                "api_url": cluster.api_url,
                "token_file": str(folder / "token"),
                "ca_file": str(cluster.ca),
            },
        }
        self.stack = stack
        self.count = 0

    def start(self):
        self.count += 1
        made = AgentProcess(self.folder / f"c{self.count}", command=("controller",), config=self.config)
        return self.stack.enter_context(made)

    def close_hours(self, count):
        """The agent closes some more hours."""
        for _ in range(count):
            hour = BEGIN + timedelta(hours=self.hours)
            self.agent.close(hour, row("GPU-1", "active", HOUR_NS, 9_000, price=""))
            self.hours += 1

    @property
    def store(self):
        return Store(self.root)

    def epochs(self, table):
        """Of the leadership that made each commit, in their order."""
        commits = sorted(Path(self.root, table.name, "_delta_log").glob("*.json"))
        actions = [json.loads(line) for commit in commits for line in commit.read_text().splitlines()]
        claims = [action["txn"] for action in actions if "txn" in action]
        return [claim["version"] for claim in claims if claim["appId"] == APP]

    def booked(self):
        return self.store.scan(NODE_HOURS).filter(node="gpu-1", state="final").select("hour_utc").collect()

    def until_booked(self):
        eventually("all hours are booked", lambda: self.booked().height == self.hours, SECONDS, every=0.2)

    def prove(self):
        """No hour is lost, none stands twice, and the laws hold."""
        assert self.booked()["hour_utc"].sort().to_list() == [BEGIN + timedelta(hours=n) for n in range(self.hours)]
        usage = self.store.scan(USAGE).select(pl.col("gpu_ns").sum()).collect().item()
        assert usage >= self.hours * HOUR_NS
        assert list(verify(self.store)) == []


@pytest.fixture
def pair(cluster, token, tmp_path, request):
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-")
    with ExitStack() as stack:
        yield Pair(cluster, token, tmp_path, name, stack)


def status(process):
    url = eventually("it serves", lambda: re.search(r"^Books: (\S+/api/v1)/", process.said, re.MULTILINE), SECONDS)
    return json.loads(fetch(f"{url.group(1)}/status"))


def leads(process):
    return status(process)["leads"]


def until_leading(process, seconds=SECONDS):
    eventually("it leads", lambda: leads(process), seconds, every=0.1)


def test_another_takes_over_when_the_leader_is_killed(pair):
    first = pair.start()
    until_leading(first)
    second = pair.start()
    pair.close_hours(5)
    pair.until_booked()
    assert not leads(second)
    pair.close_hours(20)
    first.kill()
    began = time.monotonic()
    until_leading(second)
    assert time.monotonic() - began > DURATION / 2
    pair.close_hours(5)
    pair.until_booked()
    pair.prove()
    assert table_facts(pair.store, COST).epoch == 2


def test_a_leader_that_ends_in_order_is_followed_at_once(pair):
    first, second = pair.start(), None
    until_leading(first)
    second = pair.start()
    assert not leads(second)
    assert first.terminate(SECONDS) == 0
    until_leading(second)
    pair.close_hours(3)
    pair.until_booked()
    pair.prove()


def test_a_leader_that_was_frozen_past_its_lease_ends_and_writes_nothing(pair):
    first = pair.start()
    until_leading(first)
    second = pair.start()
    for _ in range(30):
        pair.close_hours(1)
        time.sleep(0.05)  # so that it is frozen at work
    freeze(first.process)
    until_leading(second)
    pair.close_hours(10)
    pair.until_booked()
    first.process.send_signal(signal.SIGCONT)
    assert first.wait(SECONDS) == LOST
    for table in (COST, NODE_HOURS, USAGE):  # the second goes on writing: whose each commit is tells
        epochs = pair.epochs(table)
        assert (set(epochs), epochs) == ({1, 2}, sorted(epochs)), table.name
    pair.close_hours(3)
    pair.until_booked()
    pair.prove()


def test_without_the_right_to_leases_it_stands_by_and_says_what_is_missing(pair, cluster):
    (pair.folder / "token").write_text(cluster.token)  # the agent's account
    process = pair.start()
    eventually("it says so", lambda: "the verbs get, create and update on leases" in process.said, SECONDS)
    assert not leads(process)
