"""A real agent reads a scripted engine and is scraped by Debian's Prometheus: PromQL finds what the agent says."""

import json
import socket
import subprocess
import time
import urllib.parse

import pytest

from tests.engines.load import Load
from tests.engines.server import ScriptedEngine
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Process
from tests.integration.agent_process import AgentProcess, eventually, fetch
from tests.integration.processes import FakeHost, container, container_name

LOAD = Load(requests_per_second=40, seconds=1e6, input_tokens=200, cached_tokens=50, output_tokens=80)
WINDOW_SECONDS = 30
STEP = 0.07
"""Work moves when a page is read, once a second; cost at every sweep: so much may a window of half a minute differ."""
CONFIG = """
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: wattledger
    honor_labels: true
    static_configs: [{targets: ["%s"]}]
"""
OUTPUT = "wattledger_cost_per_million_output_tokens_usd"
QUERIES = {
    "wattledger_cost_per_request_usd": "{cost} / {requests}",
    OUTPUT: "1e6 * {cost} * {decode} / ({prefill} + {decode}) / {output}",
    "wattledger_cost_per_million_input_tokens_usd": "1e6 * {cost} * {prefill} / ({prefill} + {decode})"
    " / ({input} + 0.1 * {cached})",
    "wattledger_joules_per_output_token": "{energy} / {output}",
}

pytestmark = [pytest.mark.tool("gcc"), pytest.mark.tool("prometheus")]


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
            config = {
                **host.config,
                "serving": {"interval_seconds": 1, "targets": [target]},
                "economics": {"window_seconds": WINDOW_SECONDS},
            }
            return AgentProcess(folder / name, driver.environment(), config=config)

        yield agent


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory, start, require_tool):
    """Prometheus, after it scraped the agent for longer than a window."""
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with ScriptedEngine("vllm", model="llama", loads=[LOAD]) as engine, start("prometheus", engine) as agent:
        (folder / "prometheus.yml").write_text(CONFIG % agent.url.removeprefix("http://"))
        options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [require_tool("prometheus"), *options, f"--web.listen-address={address}"], stderr=log
            )
            try:
                began = time.monotonic()
                eventually("figures", lambda: agent.scrape().value(OUTPUT), seconds=30, every=0.5)
                eventually("a window of samples", lambda: time.monotonic() - began > WINDOW_SECONDS + 6, seconds=60)
                yield f"http://{address}"
            finally:
                process.terminate()
                process.wait(20)


def ask(api, query):
    answer = json.loads(fetch(f"{api}/api/v1/query?{urllib.parse.urlencode({'query': query})}"))
    (one,) = answer["data"]["result"]
    return float(one["value"][1])


@pytest.mark.parametrize("metric", QUERIES)
def test_promql_over_raw_counters_finds_the_agents_own_figure(prometheus, metric):
    def gained(name, **labels):
        chosen = ",".join(f'{key}="{value}"' for key, value in labels.items())
        return f"sum(increase({name}{{{chosen}}}[{WINDOW_SECONDS}s]))"

    holder = {"holder": container_name(1)}
    parts = {
        "cost": gained("wattledger_account_list_cost_usd_total", **holder),
        "energy": gained("wattledger_account_energy_joules_total", **holder),
        "requests": gained("wattledger_work_total", kind="requests"),
        "input": gained("wattledger_work_total", kind="input_tokens"),
        "cached": gained("wattledger_work_total", kind="cached_tokens"),
        "output": gained("wattledger_work_total", kind="output_tokens"),
        "prefill": gained("wattledger_serving_phase_seconds_total", phase="prefill"),
        "decode": gained("wattledger_serving_phase_seconds_total", phase="decode"),
    }
    assert ask(prometheus, QUERIES[metric].format(**parts)) == pytest.approx(ask(prometheus, metric), rel=STEP)


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


def test_a_page_that_is_away_takes_its_target_down_and_loses_nothing(start):
    with ScriptedEngine("vllm", model="llama") as engine, start("away", engine) as agent:

        def up(expected):
            eventually(f"up is {expected}", lambda: agent.scrape().value("wattledger_serving_target_up") == expected)

        engine.waiting = 3
        up(1)
        assert agent.scrape().value("wattledger_queue_depth") == 3
        engine.fault = "html"
        up(0)
        assert agent.scrape().value("wattledger_queue_depth") is None
        engine.serve(5, LOAD)
        engine.fault = "none"
        up(1)
        assert agent.scrape().value("wattledger_work_total", kind="requests") == 5
