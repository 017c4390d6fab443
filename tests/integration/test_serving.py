"""A real agent reads a scripted engine: its work is in the books to the token, whatever happens on the way."""

import pytest

from tests.engines.load import Load
from tests.engines.server import ScriptedEngine
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Process
from tests.integration.agent_process import AgentProcess, eventually
from tests.integration.processes import FakeHost, container, container_name

LOAD = Load(requests_per_second=40, seconds=1e6, input_tokens=200, cached_tokens=50, output_tokens=80)

pytestmark = pytest.mark.tool("gcc")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts agents on one driver, each name with books of its own."""
    folder = tmp_path_factory.mktemp("serving")
    with FakeDriver.create(folder, [profiles.h100()]) as driver:
        host = FakeHost(folder)
        driver.device(0).set(power_mw=400_000, utilization=0.6, sm_clock_mhz=1500)
        driver.device(0).processes([Process(pid=host.process(101, container(1)), share=0.5)])

        def agent(name, engine):
            target = {"url": engine.url, "name": "chat", "holder": {"container": container_name(1)}}
            config = {**host.config, "serving": {"interval_seconds": 1, "targets": [target]}}
            return AgentProcess(folder / name, driver.environment(), config=config)

        yield agent


def test_what_an_engine_served_is_in_the_books_to_the_token_over_kills_of_the_agent(start):
    with ScriptedEngine("sglang", model="llama") as engine:

        def counted(agent):
            page = agent.scrape()
            return {name: page.total("wattledger_work_total", kind=name) for name in engine.truth()}

        def served():
            truth = engine.truth()
            return truth | {"input_tokens": truth["input_tokens"] - truth["cached_tokens"]}

        with start("kills", engine) as agent:
            eventually("its page is up", lambda: agent.scrape().value("wattledger_serving_target_up") == 1)
            engine.serve(7, LOAD)
            eventually("its work", lambda: counted(agent) == served())
            engine.serve(11, LOAD)
        for away in (3, 0, 5):
            engine.serve(away, LOAD)
            with start("kills", engine) as agent:
                eventually("all that it did meanwhile", lambda: counted(agent) == served())
                engine.serve(2, LOAD)
        with start("kills", engine) as agent:
            eventually("the rest", lambda: counted(agent) == served())
            hours = agent.json("/v1/hours")["hours"]
    rows = [dict(zip(hour["work_columns"], row, strict=True)) for hour in hours for row in hour["work"]]
    journal = {name: sum(row["amount"] for row in rows if row["kind"] == name) for name in served()}
    assert journal == served()
