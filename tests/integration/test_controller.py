"""A real agent on the fake driver and a real controller: pulled with a token, pushed at the end, to the nanosecond."""

import json
import re
import socket
from decimal import Decimal

import polars as pl
import pytest

from ledger.store import Store
from ledger.tables import NODE_HOURS, USAGE
from ledger.verify import verify
from tests.fakedriver import profiles
from tests.integration.agent_process import NAMES, AgentProcess, eventually, fetch
from tests.integration.test_books import api_of, ask

pytestmark = pytest.mark.tool("gcc")
TIME = NAMES["time"][1]
SECONDS = 60
NS = 10**9


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Fleet:
    """One agent, one controller, and tokens between them."""

    def __init__(self, folder, pull_seconds):
        self.folder = folder
        self.agent_port, self.controller_port = free_port(), free_port()
        for name in ("agent-token", "push-token"):
            (folder / name).write_text(f"{name}-secret")
        self.agent_config = {
            "agent": {
                "interval_seconds": 0.2,
                "node_name": "gpu-1",
                "push_url": f"http://127.0.0.1:{self.controller_port}",
                "push_token_file": str(folder / "push-token"),
                "push_timeout_seconds": 25,
            },
            "server": {"token_file": str(folder / "agent-token")},
        }
        self.config = {
            "controller": {
                "agents": {
                    "urls": [f"http://127.0.0.1:{self.agent_port}"],
                    "token_file": str(folder / "agent-token"),
                },
                "server": {"listen": f"127.0.0.1:{self.controller_port}"},
                "push_token_file": str(folder / "push-token"),
                "pull_interval_seconds": pull_seconds,
            },
            "prices": {"cloud_identity": "off", "live": {"aws": "off"}},
        }

    def agent(self, driver):
        return AgentProcess(
            self.folder / "agent",
            driver.environment(),
            config=self.agent_config,
            listen=f"127.0.0.1:{self.agent_port}",
        )

    def controller(self, listen=None):
        listen = listen or f"127.0.0.1:{self.controller_port}"
        return AgentProcess(self.folder / "books", command=("controller",), config=self.config, listen=listen)

    @property
    def store(self):
        return Store(str(self.folder / "books/books/ledger"))

    def scraped(self, agent):
        token = (self.folder / "agent-token").read_text()
        page = fetch(f"{agent.url}/metrics", Authorization=f"Bearer {token}")
        found = re.findall(rf'^{TIME}{{[^}}]*gpu_uuid="([^"]+)"}} (\S+)$', page, re.MULTILINE)
        return {uuid: round(Decimal(seconds) * NS) for uuid, seconds in found}

    def booked(self):
        """Nanoseconds by device, without what only the ledger says."""
        rows = self.store.scan(USAGE).filter(pl.col("method") != "lifetime")
        return dict(rows.group_by("gpu_uuid").agg(pl.col("gpu_ns").sum()).collect().iter_rows())


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path, 3600)


def test_an_agent_that_ends_sends_its_last_minutes(fleet, make_driver):
    driver = make_driver(profiles.h100(), profiles.h100())
    with fleet.agent(driver) as agent:
        eventually("the agent booked", lambda: fleet.scraped(agent), SECONDS)
        with fleet.controller() as controller:
            api = api_of(controller)
            eventually("the first pull is booked", fleet.booked, SECONDS)
            first = fleet.booked()
            eventually("time goes on", lambda: min(fleet.scraped(agent).values()) > max(first.values()) + NS, SECONDS)
            last = fleet.scraped(agent)
            assert agent.terminate() == 0
            assert "was not sent" not in agent.said
            assert all(fleet.booked()[uuid] >= seen for uuid, seen in last.items())
            assert ask(f"{api}/agents")["answering"] == 1
    assert list(verify(fleet.store)) == []


def test_the_wrong_token_books_nothing_and_is_said_on_both_sides(fleet, make_driver):
    (fleet.folder / "other").write_text("other")
    fleet.agent_config["agent"]["push_token_file"] = str(fleet.folder / "other")
    fleet.config["controller"]["agents"]["token_file"] = str(fleet.folder / "other")
    with fleet.agent(make_driver(profiles.h100())) as agent, fleet.controller() as controller:
        eventually("the agent serves", lambda: fleet.scraped(agent), SECONDS)
        api = api_of(controller)
        silent = eventually("the pull is refused", lambda: ask(f"{api}/agents")["silent"], SECONDS)
        assert "refuses the token (401): set controller.agents.token_file to the agents' own" in silent[0]["reason"]
        assert agent.terminate() == 0
        assert "it answered 401" in agent.said
    assert fleet.booked() == {}


def test_a_controller_that_is_away_does_not_hold_the_agents_end(fleet, make_driver):
    with fleet.agent(make_driver(profiles.h100())) as agent:
        eventually("the agent booked", lambda: fleet.scraped(agent), SECONDS)
        assert agent.terminate() == 0
        assert "the open hour was not sent to" in agent.said


def test_a_bare_host_whose_agent_dies_goes_on_unobserved(tmp_path, make_driver):
    fleet = Fleet(tmp_path, 1)
    with fleet.controller() as controller:
        with fleet.agent(make_driver(profiles.h100())) as agent:
            eventually("it is booked", fleet.booked, SECONDS)
            agent.kill()
        first = unobserved(fleet.store)
        eventually("time goes on", lambda: unobserved(fleet.store) > first + 2 * NS, SECONDS, every=0.2)
        gone = [f"http://127.0.0.1:{fleet.agent_port}"]
        agents = f"{api_of(controller)}/agents"
        eventually("it is silent", lambda: [each["url"] for each in ask(agents)["silent"]] == gone, SECONDS, every=0.2)
        assert controller.terminate() == 0
    assert fleet.store.scan(NODE_HOURS).collect()["evidence"].unique().to_list() == ["host"]
    assert list(verify(fleet.store)) == []


def unobserved(store):
    return store.scan(USAGE).filter(method="lifetime").select(pl.col("gpu_ns").sum()).collect().item()


def test_a_wrong_option_is_refused_in_one_line(tmp_path):
    process = AgentProcess(tmp_path, command=("controller", "--agent", "node-1:9477"))
    assert process.wait(SECONDS) == 2
    assert "option --agent: controller.agents.urls: found" in process.said
    assert "allowed: an http or https address, such as http://node-1:9477 instead of 'node-1:9477'" in process.said
    assert len(process.said.splitlines()) == 1


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        process = AgentProcess(tmp_path, command=("controller",), listen=listen)
        assert process.wait(SECONDS) == 2
        assert f"controller.server.listen {listen}: another process listens there" in process.said


def test_a_push_over_the_network_needs_a_token(fleet, make_driver):
    del fleet.config["controller"]["push_token_file"]
    fleet.config["controller"]["server"]["listen"] = f"0.0.0.0:{fleet.controller_port}"
    with fleet.agent(make_driver(profiles.h100())) as agent:
        eventually("the agent booked", lambda: fleet.scraped(agent), SECONDS)
        with fleet.controller(f"0.0.0.0:{fleet.controller_port}") as controller:
            eventually("it leads", lambda: ask(f"{api_of(controller)}/status")["leads"], SECONDS)
            agent.terminate()
            assert "it answered 403" in agent.said
            assert "set controller.push_token_file" in agent.said


def test_the_description_is_served(fleet):
    with fleet.controller() as controller:
        assert ask(f"{api_of(controller)}/openapi.json")["openapi"] == "3.1.0"
        assert json.loads(fetch(f"{api_of(controller)}/status"))["simulated"] is False
