"""Serving pages that are not what they should be: the target is down and says why, everything else goes on, and no
token is lost or counted twice."""

import re
from pathlib import Path

import pytest

from tests.engines.load import Load
from tests.engines.server import ScriptedEngine
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Process
from tests.integration.agent_process import NAMES, AgentProcess, eventually
from tests.integration.processes import FakeHost, container, container_name

LOAD = Load(input_tokens=200, cached_tokens=50, output_tokens=80)
MOST_MEMORY_MB = 64
"""What the agent's process may ever have come to, whatever stood on a page."""
TARGET_UP = "wattledger_serving_target_up"

pytestmark = pytest.mark.tool("gcc")


class Rig:
    """An agent that reads the page of an engine which fails, and of one on another device which does not."""

    def __init__(self, agent, bad, good):
        self.agent, self.bad, self.good = agent, bad, good

    def served(self, page, number):
        return page.total("wattledger_work_total", kind="requests", holder=container_name(number))

    def message(self):
        rows = self.agent.json("/v1/state")["serving"]
        return next(row["message"] for row in rows if row["holder"] == container_name(1)) or ""

    def until(self, what, look):
        return self.agent.until(what, look, seconds=30)

    def peak_mb(self):
        status = Path(f"/proc/{self.agent.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


@pytest.fixture
def rig(running):
    yield running
    running.bad.fault = "none"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    with (
        FakeDriver.create(folder, [profiles.h100(), profiles.t4()]) as driver,
        ScriptedEngine("vllm", model="chat") as bad,
        ScriptedEngine("sglang", model="code") as good,
    ):
        host, targets = FakeHost(folder), []
        for number, engine in enumerate((bad, good), 1):
            device = driver.device(number - 1)
            device.set(power_mw=60_000, utilization=0.6, sm_clock_mhz=1500)
            device.processes([Process(pid=host.process(100 + number, container(number)), share=0.5)])
            name = ("bad", "good")[number - 1]
            targets.append({"url": engine.url, "name": name, "holder": {"container": container_name(number)}})
        config = {**host.config, "serving": {"interval_seconds": 1, "timeout_seconds": 1, "targets": targets}}
        with AgentProcess(folder / "agent", driver.environment(), config=config) as agent:
            rig = Rig(agent, bad, good)
            rig.until("both pages are read", lambda s: [each.value for each in s.find(TARGET_UP)] == [1, 1])
            yield rig


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("html", "not a metrics page but markup"),
        ("huge", "longer than the limit of 4194304 bytes"),
        ("endless", "did not end within 1 s"),
        ("silent", "did not end within 1 s"),
        ("invalid_utf8", "is not UTF-8"),
        ("duplicate", "stands twice; it may stand once"),
        ("error", "answers 500"),
        ("cut", "does not answer"),
        ("redirect", "redirects (302)"),
    ],
)
def test_a_bad_page_takes_its_target_down_says_why_and_loses_nothing(rig, fault, words):
    rig.bad.waiting = 3
    rig.until("the page is up", lambda s: s.value("wattledger_queue_depth", holder=container_name(1)) == 3)
    rig.bad.fault = fault
    down = rig.until("the target is down", lambda s: s.value(TARGET_UP, target="bad") == 0)
    eventually("it is said why", lambda: words in rig.message())
    assert down.value("wattledger_queue_depth", holder=container_name(1)) is None
    assert down.value(TARGET_UP, target="good") == 1
    rig.bad.serve(5, LOAD)
    rig.good.serve(3, LOAD)
    goes_on = rig.until("the other's work is booked", lambda s: rig.served(s, 2) == rig.good.truth()["requests"])
    assert goes_on.value(TARGET_UP, target="bad") == 0
    assert rig.served(goes_on, 1) == rig.bad.truth()["requests"] - 5
    assert goes_on.total(NAMES["time"][1]) > down.total(NAMES["time"][1])
    assert goes_on.imbalance() is None
    rig.bad.fault = "none"
    back = rig.until("its work is booked", lambda s: rig.served(s, 1) == rig.bad.truth()["requests"])
    assert back.value(TARGET_UP, target="bad") == 1
    assert rig.message() == ""
    assert rig.peak_mb() < MOST_MEMORY_MB


@pytest.mark.parametrize("number", [1, 2], ids=["one that tells its start", "one that does not"])
def test_counters_that_go_down_have_begun_anew(rig, number):
    engine = (rig.bad, rig.good)[number - 1]
    rig.until("all is booked", lambda s: rig.served(s, number) == engine.truth()["requests"])
    engine.serve(9, LOAD)
    rig.until("more is booked", lambda s: rig.served(s, number) == engine.truth()["requests"])
    engine.restart()
    engine.serve(2, LOAD)
    page = rig.until("what it did since is booked", lambda s: rig.served(s, number) == engine.truth()["requests"])
    assert page.imbalance() is None


def test_a_page_that_changes_its_names_with_an_upgrade_goes_on(rig):
    rig.until("all is booked", lambda s: rig.served(s, 1) == rig.bad.truth()["requests"])
    rig.bad.restart(old_names=True)
    rig.bad.serve(4, LOAD)
    rig.until("the older names are read", lambda s: rig.served(s, 1) == rig.bad.truth()["requests"])
    rig.bad.restart(old_names=False)
    rig.bad.serve(6, LOAD)
    page = rig.until("the newer names are read", lambda s: rig.served(s, 1) == rig.bad.truth()["requests"])
    assert page.value(TARGET_UP, target="bad") == 1
