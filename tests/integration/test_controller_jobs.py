"""A real `wattledger controller` with all that it can be told to ask: agents, AWS, bills in two places, Prometheus."""

import json
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest

from collectors.cost_explorer import METRICS
from ledger.hours import NodeNote
from ledger.store import Store
from ledger.tables import CHARGES, NODE_HOURS
from ledger.verify import verify
from tests.collectors.aws_server import AwsServer, product, recorded, shape
from tests.collectors.bucket_rig import KEYS, BucketServer
from tests.controller.agent_server import Agent
from tests.integration.agent_process import AgentProcess, eventually
from tests.integration.kept_samples import prometheus_with
from tests.integration.test_books import api_of, ask
from tests.ledger.bill_rig import CUR, csv_of
from tests.ledger.ledger_rig import HOUR_NS, row
from tests.ledger.scraped_agent import BEGIN, CHAT, HOUR, ScrapedAgent, openmetrics

pytestmark = [pytest.mark.tool("prometheus"), pytest.mark.tool("promtool")]

OURS, GONE, KIND, REGION = "i-00000000000000001", "i-00000000000000002", "g5.xlarge", "us-east-1"
FOLDERS, BUCKETS, EXPLORED, FOREIGN = "111", "222", "333", "444"
"""Accounts: of the bill in the directory, of that in the bucket, of Cost Explorer, of a bill that is not ours."""
JOBS = {"pull", "cost", "prices", "instances", "bills", "cost explorer", "prometheus", "house", "look", "laws"}
SECONDS = 180


class Aws(AwsServer):
    """And Cost Explorer, with one day that cost 7 dollars."""

    def answer(self, target, body):
        if not target.endswith("GetCostAndUsage"):
            return super().answer(target, body)
        start = json.loads(body)["TimePeriod"]["Start"]
        after = datetime.fromisoformat(start) + timedelta(days=1)
        amounts = {name: {"Amount": "7", "Unit": "USD"} for name in METRICS}
        groups = [{"Keys": ["Amazon Simple Storage Service", "TimedStorage-ByteHrs"], "Metrics": amounts}]
        day = {"TimePeriod": {"Start": start, "End": f"{after:%Y-%m-%d}"}, "Groups": groups, "Estimated": True}
        return 200, "application/x-amz-json-1.1", json.dumps({"ResultsByTime": [day]})


class World:
    """Node ``a`` with an agent for five hours up to this one, and node ``gone``, which lived in the third of them: only
    CloudTrail, Prometheus and its bill know of it.
    """

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "books/bills/bill-1/focus.csv"  # below the data directory, where a person may well put it
        self.now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self.aws, self.bucket, self.agent = Aws(), BucketServer(), Agent("a")
        place = {"instance_id": OURS, "provider": "aws", "region": REGION, "instance_type": KIND}
        facts = asdict(NodeNote(node="a", capacity_type="on_demand", gpu_count=1, **place))
        for ago in range(5, 0, -1):
            full = row("GPU-a", "active", HOUR_NS, 5000, price="")
            self.agent.close(self.hour(ago), full, node_facts=facts)
        self.aws.products = {(KIND, REGION): [product("1.006", since=_utc(self.now - timedelta(days=30)))]}
        self.aws.shapes = [shape(KIND, 4, 16_384, 1, "A10G", 22_888)]
        item = {"instanceId": GONE, "instanceType": KIND, "privateDnsName": "gone"}
        born, ended = self.hour(3), self.hour(3) + timedelta(minutes=50)
        run = {**item, "launchTime": int(born.timestamp()) * 1000}
        end = {"instanceId": GONE, "previousState": {"name": "running"}}
        self.aws.trail = [recorded("RunInstances", _utc(born), run), recorded("TerminateInstances", _utc(ended), end)]
        self._deliver()

    @property
    def store(self):
        return Store(str(self.folder / "books/ledger"))

    def hour(self, ago):
        return self.now - timedelta(hours=ago)

    def _deliver(self):
        self.file.parent.mkdir(parents=True)
        ours = self._period(4, "BillingPeriodStart", "ChargePeriodStart", "ChargePeriodEnd")
        csv_of(self.file, {**ours, "BillingAccountId": FOLDERS, "ResourceId": OURS, "EffectiveCost": "0.75"})
        for account, key in ((BUCKETS, "cur/acme.csv"), (FOREIGN, "cur-old/acme.csv")):
            names = ("bill/BillingPeriodStartDate", "lineItem/UsageStartDate", "lineItem/UsageEndDate")
            told = {**self._period(3, *names), "bill/PayerAccountId": account, "lineItem/ResourceId": GONE}
            told |= {"lineItem/UsageType": f"USE1-BoxUsage:{KIND}", "lineItem/UnblendedCost": "0.84"}
            file = csv_of(self.folder / "cur.csv", {**told, "identity/LineItemId": account}, form=CUR)
            self.bucket.put(key, file.read_bytes())

    def _period(self, ago, month, start, end):
        first = self.hour(ago)
        moments = (first.replace(day=1, hour=0), first, first + timedelta(hours=1))
        return dict(zip((month, start, end), map(_utc, moments), strict=True))

    def samples(self):
        """What was scraped off the agent of ``gone``."""
        agent = ScrapedAgent("gone", begin=int(self.hour(3).timestamp()) - BEGIN)
        agent.scrape()
        agent.run(HOUR * 5 // 6, ("GPU-g", CHAT, "active", 1.0))
        return openmetrics(agent)

    def config(self, prometheus):
        aws = {"pricing_url": self.aws.url, "ec2_url": self.aws.url, "cloudtrail_url": self.aws.url, "attempts": 1}
        s3 = {"name": "s3", "path": "s3://bills/cur", "endpoint_url": self.bucket.url}
        explorer = {"enabled": True, "billing_account": EXPLORED, "endpoint_url": self.aws.url}
        return {
            "controller": {
                "agents": {"urls": [self.agent.url]},
                "server": {"listen": "127.0.0.1:0"},
                "pull_interval_seconds": 1,
            },
            "prices": {"cloud_identity": "off", "live": aws},
            "bills": {
                "sources": [{"name": "folder", "path": str(self.file.parents[1])}, s3],
                "every_minutes": 1,
                "cost_explorer": explorer,
            },
            "prometheus": {"url": prometheus},
        }

    def close(self):
        self.agent.server.close()
        self.bucket.close()
        self.aws.close()


def _utc(moment):
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def world_of(folder):
    world = World(folder)
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def world(tmp_path, monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with world_of(tmp_path) as made:
        yield made


def jobs_when(api, look):
    """The jobs of the status once ``look`` says yes of them."""

    def attempt():
        jobs = ask(f"{api}/status")["jobs"]
        return jobs if look(jobs) else None

    return eventually("the jobs ran", attempt, SECONDS, every=0.25)


def sources(world):
    """What the final hours of each node were made of."""
    rows = world.store.scan(NODE_HOURS).filter(state="final").select("node", "source").unique().collect()
    return dict(rows.iter_rows())


def accounts(world):
    """Whose bills are booked."""
    return set(world.store.scan(CHARGES).select("billing_account").collect()["billing_account"])


def billed(api, world):
    """Nano-dollars by node, as the bills say."""
    window = f"{_utc(world.hour(5))},{_utc(world.now)}"
    (told,) = ask(f"{api}/allocation?window={window}&aggregate=node&basis=effective")["data"]
    return {node: int(each["exact"]["cost_nano_usd"] or 0) for node, each in told.items() if node in {"a", "gone"}}


def test_each_job_does_its_work_while_one_fails_and_it_recovers(world, require_tool):
    world.bucket.denied = {"GET"}
    folder = world.folder / "prometheus"
    folder.mkdir()
    with (
        prometheus_with(world.samples(), folder, require_tool("promtool"), require_tool("prometheus")) as prometheus,
        AgentProcess(world.folder, command=("controller",), config=world.config(prometheus)) as process,
    ):
        api = api_of(process)
        jobs = jobs_when(api, lambda jobs: all(jobs[name]["runs"] for name in JOBS))
        assert [name for name, health in jobs.items() if health["error"]] == ["bills"]
        assert all(health["succeeded_at"] for name, health in jobs.items() if name != "bills")
        assert jobs["bills"]["succeeded_at"] is None
        assert "allow s3:ListBucket on bills in the IAM policy" in jobs["bills"]["error"]
        eventually(
            "both nodes' hours are final", lambda: sources(world) == {"a": "measured", "gone": "prometheus"}, SECONDS
        )
        assert billed(api, world) == {"a": 750_000_000, "gone": 0}
        world.bucket.denied = set()
        jobs_when(api, lambda jobs: jobs["bills"]["succeeded_at"] and not jobs["bills"]["error"])
        assert billed(api, world) == {"a": 750_000_000, "gone": 840_000_000}
        (price,) = {each["source"] for each in ask(f"{api}/prices")["prices"] if each["instance_type"] == KIND}
        assert price == "aws:price-list"
        assert process.terminate() == 0, process.said
    assert world.file.is_file()
    assert accounts(world) == {FOLDERS, BUCKETS, EXPLORED}
    assert list(verify(world.store)) == []
