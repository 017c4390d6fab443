"""Hours of an agent on the fake driver that a Prometheus and a VictoriaMetrics scrape each second: it is killed and
starts again, then loses its disk with all counters. What the fallback makes of either server's answers is held against
the agent's own journal; each edge of a stretch may be off by the scrapes that it lies between, and nothing else may be.
"""

import itertools
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan

import pytest

from collectors.prometheus_api import PrometheusApi
from collectors.prometheus_settings import PrometheusSettings
from ledger.hours import NodeNote, from_json
from ledger.prometheus_own import own_hours
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Process, Segment
from tests.integration.agent_process import NAMES, AgentProcess, eventually
from tests.integration.processes import FakeHost, container
from tests.integration.prometheus import Prometheus, plain_job
from tests.integration.victoria import flush, victoria

HOUR = 3600
S = 10**9
LIFE_SAMPLES = 5
"""Of each life of the agent."""
BEFORE_SECONDS = 5
"""The agent must be at work for so long before the hour turns."""
AGE_SECONDS = 1.5
"""A page is rendered for a second at most, and tells what the last sweep saw."""
COVERED = NAMES["time"][1]
SERVERS = ("prometheus", "victoria")
AHEAD = """
import os, sys, time
ahead_ns, wall_ns = int(os.environ["AHEAD_SECONDS"]) * 10**9, time.time_ns
time.time_ns = lambda: wall_ns() + ahead_ns
time.time = lambda: time.time_ns() / 1e9
from cli.main import main
sys.exit(main())
"""
"""The agent on a machine whose clock is ahead, so that its hour turns when the test would have it."""

pytestmark = [pytest.mark.tool("gcc"), pytest.mark.tool("prometheus"), pytest.mark.tool("victoria-metrics")]


@dataclass(frozen=True)
class Node:
    """The machine, for as many lives of its agent as the test has."""

    name: str
    driver: FakeDriver
    host: FakeHost
    listen: str
    ahead: int
    """Its clock less that of the servers."""

    @property
    def turns(self):
        """When its hour turns, by the servers' clock."""
        return (int(time.time() + self.ahead) // HOUR + 1) * HOUR - self.ahead

    def agent(self, folder, disk):
        return AgentProcess(
            folder / "agent",
            {**self.driver.environment(), "AHEAD_SECONDS": str(self.ahead)},
            config={**self.host.config, "agent": {"node_name": self.name}},
            listen=self.listen,
            data_dir=folder / self.name / disk,
            program=(sys.executable, "-c", AHEAD),
        )


@dataclass(frozen=True)
class Scraped:
    node: Node
    apis: Mapping[str, PrometheusApi]
    turned: int
    lost: float
    """When its disk was lost."""
    read: float
    """When its journal was read last."""
    journal: Mapping[int, Counter]
    """What its books say, by the number of the hour."""

    def estimate(self, server, number):
        begin = self.turned + (number - 1) * HOUR
        (made,) = own_hours(self.apis[server], begin, {self.node.name: NodeNote(node=self.node.name)})
        return seconds(made.book)

    def totals(self, server):
        """When each page was scraped, and the time that its counters then covered, by device."""
        found = self.apis[server].query(f'{COVERED}{{node="{self.node.name}"}}[10m]', time.time())
        finite = {each.labels["gpu_uuid"]: [(t, v) for t, v in each.points if not isnan(v)] for each in found}
        assert set(finite) == {device.uuid for device in self.node.driver.devices}
        return finite

    def stamps(self, server):
        return [when for when, _ in next(iter(self.totals(server).values()))]

    def open(self, server, number, key):
        """How much an account of an hour may be off: its part of the scrapes about the hour's edges, and of what the
        agent booked after the last of them. It was dead within the second hour, away from its edges.
        """
        uuid, _, account = key
        if account == "unobserved":
            return AGE_SECONDS
        stamps = self.stamps(server)
        edges = next(b - a for a, b in itertools.pairwise(stamps) if a <= self.turned <= b) + AGE_SECONDS
        if number == 1:
            edges += self.lost - max(when for when in stamps if when < self.lost) + self.read - stamps[-1] + AGE_SECONDS
        return edges * self.share(uuid, key)

    def share(self, uuid, key):
        """Of a device at steady work each account has the same part of any time; others may have all of it."""
        if uuid != self.node.driver.device(1).uuid:
            return 1
        observed = {each: s for each, s in self.journal[0].items() if each[0] == uuid}
        return observed[key] / sum(observed.values()) if key in observed else 1


def seconds(book):
    """By device, holder and account."""
    found = Counter()
    for key, amount in book.rows.items():
        found[key.cell.gpu_uuid, key.cell.holder, key.cell.account] += amount.gpu_ns / S
    return found


@pytest.fixture(scope="module")
def scraped(tmp_path_factory, require_tool):
    folder = tmp_path_factory.mktemp("scraped")
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    jobs = [plain_job(f"http://{listen}")]
    with (
        FakeDriver.create(folder, [profiles.h100(), profiles.a100(), profiles.a100()]) as driver,
        Prometheus(folder / "prometheus", require_tool("prometheus"), jobs) as prometheus,
        victoria(folder / "victoria", require_tool("victoria-metrics"), jobs) as victoria_url,
    ):
        urls = prometheus.api.removesuffix("/api/v1"), victoria_url
        apis = {name: PrometheusApi(PrometheusSettings(url=url)) for name, url in zip(SERVERS, urls, strict=True)}
        host = load(driver, FakeHost(folder))
        yield lived(folder, apis, Servers(apis, victoria_url), driver, host, listen)


def load(driver, host):
    """One holder that works now and then, two that share a device at work, and a device that nobody holds."""
    alone, shared, _ = driver.devices
    work = [Segment.seconds(3, utilization=0.7), Segment.seconds(2, utilization=0.0)]
    alone.script(work, then="repeat")
    alone.start(Process(pid=host.process(101, container(1)), share=((3 * S, 0.7), (2 * S, 0.0)), repeat=True))
    shared.set_signals(utilization=0.75)
    shared.processes([
        Process(pid=host.process(102, container(2)), share=0.5),
        Process(pid=host.user_process(103, "carol"), share=0.25),
    ])  # fmt: skip
    return host


@dataclass(frozen=True)
class Servers:
    apis: Mapping[str, PrometheusApi]
    victoria_url: str

    def until(self, what, expression, holds):
        def look():
            flush(self.victoria_url)
            return all(holds(api.query(expression, time.time())) for api in self.apis.values())

        eventually(what, look, seconds=60, every=0.3)

    def scraped_since(self, node, since):
        def holds(found):
            return found and all(sum(when > since for when, _ in each.points) >= LIFE_SAMPLES for each in found)

        self.until("it is scraped", f'{COVERED}{{node="{node.name}"}}[10m]', holds)

    def missed(self):
        self.until("a scrape failed", "up", lambda found: {each.value for each in found} == {0.0})


def lived(folder, apis, servers, driver, host, listen):
    """Killed once the hour has turned, started again on its books, killed again, and started with none."""
    node, first = begun(folder, driver, host, listen)
    turned = node.turns
    with first:
        servers.scraped_since(node, turned)
        first.kill()
    servers.missed()
    with node.agent(folder, "disk") as agent:
        begin = agent.scrape() and time.time()
        servers.scraped_since(node, begin)
        documents = agent.json("/v1/hours")["hours"]
        agent.kill()
        lost = time.time()
    servers.missed()
    with node.agent(folder, "another disk") as agent:
        begin = agent.scrape() and time.time()
        servers.scraped_since(node, begin)
        documents += agent.json("/v1/hours")["hours"]
        read = time.time()
    journal = {0: Counter(), 1: Counter()}
    for book in map(from_json, documents):
        journal[(book.hour_s - node.ahead - turned) // HOUR + 1] += seconds(book)
    flush(servers.victoria_url)
    return Scraped(node, apis, turned, lost, read, journal)


def begun(folder, driver, host, listen):
    """An agent that is at work for some seconds before its hour turns; a slow machine gets longer to start it."""
    stepped = 0
    for place, lead in enumerate((10, 20, 40, 80)):
        ahead = HOUR - int(time.time()) % HOUR - lead
        driver.step_wall(ahead - stepped)
        stepped = ahead
        node = Node(f"node-{place}", driver, host, listen, ahead)
        turns, agent = node.turns, node.agent(folder, "disk")
        agent.until_booked(driver.device(0).uuid)
        if time.time() < turns - BEFORE_SECONDS:
            return node, agent
        agent.kill()
    raise AssertionError("the agent does not start within 75 s")


@pytest.fixture(params=SERVERS)
def server(request):
    return request.param


@pytest.mark.parametrize("number", [0, 1])
def test_each_account_has_the_agents_own_seconds_but_for_the_scrapes_at_the_edges(scraped, server, number):
    told, own = scraped.estimate(server, number), scraped.journal[number]
    assert {account for _, _, account in own} >= {"active", "idle", "unallocated"}
    off = {key: scraped.open(server, number, key) for key in {*told, *own}}
    assert {key: told[key] for key in off} == {key: pytest.approx(own[key], abs=off[key]) for key in off}


def test_the_time_in_which_the_agent_was_dead_is_unobserved_and_nobodys(scraped, server):
    dead = {key: ns for key, ns in scraped.estimate(server, 1).items() if key[2] == "unobserved"}
    assert {(uuid, holder) for uuid, holder, _ in dead} == {(device.uuid, "") for device in scraped.node.driver.devices}
    assert min(dead.values()) > 1


def test_the_hours_add_up_to_the_time_that_the_counters_covered(scraped, server):
    """Of both disks; the time between them is in no counter."""
    sums = Counter()
    for number in (0, 1):
        for (uuid, _, _), amount in scraped.estimate(server, number).items():
            sums[uuid] += amount
    for uuid, totals in scraped.totals(server).items():
        before = max(value for when, value in totals if when < scraped.lost)
        assert totals[-1][1] < before, "no counter was reset"
        # where one counter takes all of the time, a page that is younger than the first one gains more than passed
        assert before + totals[-1][1] - AGE_SECONDS < sums[uuid] <= before + totals[-1][1] + 1e-6


def test_the_first_hour_ends_when_the_agents_clock_turned(scraped, server):
    sums = Counter()
    for (uuid, _, _), amount in scraped.estimate(server, 0).items():
        sums[uuid] += amount
    for uuid, totals in scraped.totals(server).items():
        when, covered = totals[0]
        assert sums[uuid] == pytest.approx(scraped.turned - (when - covered), abs=AGE_SECONDS)


def test_victoria_metrics_hands_out_the_markers_of_failed_scrapes_and_prometheus_does_not(scraped):
    query = f'{COVERED}{{node="{scraped.node.name}"}}[10m]'
    marked = {
        name: sum(isnan(value) for each in api.query(query, time.time()) for _, value in each.points)
        for name, api in scraped.apis.items()
    }
    assert marked["prometheus"] == 0
    assert marked["victoria"] >= 2 * len(scraped.node.driver.devices)
