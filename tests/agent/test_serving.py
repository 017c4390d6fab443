"""The loop with pages of engines in it: what a scrape then shows, and that its gauges follow from its counters."""

import json
import os
import re

import pytest

from agent.app import AgentApp
from agent.economics_settings import EconomicsSettings, Objective
from agent.holdings import Holdings
from agent.installation import Installation
from agent.node_families import NodeFamilies
from agent.node_state import NodeStates
from agent.serving import Serving
from agent.work import WorkBooker
from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from collectors.holder import Holder
from exporters.exposition import render
from exporters.metric_settings import MetricsSettings
from tests.agent.pages import answer, page, silence
from tests.agent.test_daemon import Prices, Rig

KEY = "http://127.0.0.1:8000/metrics"
TTFT = ("llama", "time_to_first_token")
SERIES = re.compile(r"wattledger_(\w+)\{(.*)\} (\S+)")


class ServingRig(Rig):
    metrics = MetricsSettings(groups=("all",))

    def open(self):
        super().open()
        self.show_anew()

    def kill(self):
        os.close(self.store._lock)
        self.store._file.close()
        self.agent.parts.sampler.close()

    def show_anew(self):
        where, prices = Installation("n", "1.0"), Prices()
        families = NodeFamilies(self.agent, prices, where, self.metrics)
        self.app = AgentApp(self.agent, families, NodeStates(self.agent, prices, where), "n")

    def show(self, **metrics):
        """What a scrape shows by these settings of it."""
        self.metrics = MetricsSettings(**metrics)
        self.show_anew()
        return shown(self)


class Nobody:
    def holdings(self, pids):
        return Holdings()


class Engine:
    """100 tokens a second, a request each second; its page is read every 15 s."""

    def __init__(self, rig, **settings):
        self.rig = rig
        self.up = True
        self.group = None
        self.due = 0
        self.tenants = ("alice", "bob")
        self.settings = EconomicsSettings(**settings)
        self.attach()

    def attach(self):
        agent = self.rig.agent
        accountant = agent.parts.accountant
        booker = WorkBooker(accountant.books, accountant.hour_clock, self, self.settings)
        agent.parts.serving = self.serving = Serving(self, booker, lambda _: self.group)

    def holder_of(self, target):
        return Holder("container", "a")

    def take(self):
        seconds = self.rig.clock.now // NS_PER_SECOND
        if seconds < self.due:
            return ()
        self.due = seconds + 15
        if not self.up:
            return (silence(seconds, key=KEY),)
        work = {("llama", "", "requests"): seconds, ("llama", "", "output_tokens"): 100 * seconds}
        work |= {("llama", tenant, "input_tokens"): 250 * seconds for tenant in self.tenants}
        phases = {("llama", "prefill"): 0.25 * seconds, ("llama", "decode"): 0.75 * seconds}
        latency = {TTFT: {"sum": 0.2 * seconds, "count": seconds, 0.1: seconds // 2, 0.5: seconds}}
        gauges = {("llama", "queue_depth"): 3.0, ("llama", "running"): 2.0, ("llama", "kv_cache_usage"): 0.5}
        return (answer(seconds, page(work, phases=phases, latency=latency, gauges=gauges), key=KEY),)


@pytest.fixture
def rig(tmp_path):
    made = ServingRig(tmp_path / "data")
    yield made
    made.agent.close()


def shown(rig):
    """Value by (name, labels as text without node, in any order)."""
    found = {}
    for line in render(rig.app.metrics(), openmetrics=False).decode().splitlines():
        if match := SERIES.fullmatch(line):
            labels = frozenset(re.findall(r'(\w+)="([^"]*)"', match[2])) - {("node", "n")}
            found[match[1], labels] = float(match[3])
    return found


def value(found, name, **labels):
    (one,) = [v for (n, has), v in found.items() if n == name and set(labels.items()) <= has]
    return one


def total(found, name, **labels):
    return sum(v for (n, has), v in found.items() if n == name and set(labels.items()) <= has)


def test_gauges_are_what_the_raw_counters_of_two_scrapes_say(rig):
    """Both scrapes at moments at which the page was read, a window apart."""
    Engine(rig)
    rig.sweep(times=20 * 15 + 1)
    first = shown(rig)
    rig.sweep(times=20 * 15)
    last = shown(rig)

    def gained(name, **labels):
        return total(last, name, **labels) - total(first, name, **labels)

    cost = gained("account_list_cost_usd_total", holder="a")
    energy = gained("account_energy_joules_total", holder="a")
    output = gained("work_total", kind="output_tokens")
    prefill, decode = (gained("serving_phase_seconds_total", phase=phase) for phase in ("prefill", "decode"))
    assert (output, gained("work_total", kind="requests")) == (30_000, 300)
    assert cost == pytest.approx(0.3)
    exact = pytest.approx
    assert value(last, "cost_per_request_usd") == exact(cost / 300, rel=1e-12)
    assert value(last, "cost_per_million_output_tokens_usd") == exact(
        1e6 * cost * decode / (prefill + decode) / output, rel=1e-9
    )
    assert value(last, "cost_per_million_input_tokens_usd") == exact(
        1e6 * cost * prefill / (prefill + decode) / gained("work_total", kind="input_tokens"), rel=1e-9
    )
    assert value(last, "joules_per_request") == exact(energy / 300, rel=1e-9)
    assert value(last, "joules_per_output_token") == exact(energy / output, rel=1e-9)
    assert value(last, "joules_per_total_token") == exact(energy / gained("work_total"), rel=0.01)
    assert value(last, "work_per_joule", kind="output_tokens") == exact(output / energy, rel=1e-9)


def test_a_scrape_shows_work_latency_pages_and_tenants(rig):
    Engine(rig)
    rig.sweep(times=61)
    found = shown(rig)

    assert value(found, "work_total", kind="input_tokens", model="llama", holder_kind="container", holder="a") == 30_000
    assert value(found, "tenant_work_total", kind="input_tokens", tenant="bob") == 15_000
    assert value(found, "queue_depth") == 3
    assert value(found, "running_requests") == 2
    assert value(found, "kv_cache_usage_ratio") == 0.5
    assert value(found, "serving_target_up", target=KEY) == 1
    assert value(found, "serving_target_info", engine="vllm") == 1
    assert value(found, "collector_up", collector="serving") == 1
    assert value(found, "time_to_first_token_seconds_bucket", le="0.1") == 30
    assert value(found, "time_to_first_token_seconds_bucket", le="0.5") == 60
    assert value(found, "time_to_first_token_seconds_bucket", le="+Inf") == 60
    assert value(found, "time_to_first_token_seconds_count") == 60
    assert value(found, "time_to_first_token_seconds_sum") == pytest.approx(12)


def test_tenants_costs_and_what_nobody_asked_for_add_up_to_their_holders(rig):
    Engine(rig)
    rig.sweep(times=61)
    found = shown(rig)
    whole = total(found, "account_list_cost_usd_total", holder="a")
    assert total(found, "tenant_list_cost_usd_total", holder="a") == pytest.approx(whole, abs=0.0011)
    parts = [value(found, "tenant_list_cost_usd_total", tenant=tenant) for tenant in ("alice", "bob")]
    assert parts[0] == pytest.approx(parts[1])
    assert parts[0] > 0


def test_histograms_can_be_left_out(rig):
    Engine(rig)
    rig.sweep(times=31)

    def histograms(**metrics):
        return {name for name, _ in rig.show(**metrics) if name.endswith(("_bucket", "_count", "_sum"))}

    first = {f"time_to_first_token_seconds{part}" for part in ("_bucket", "_count", "_sum")}
    assert histograms() == first
    assert histograms(histograms=("time_to_first_token",)) == first
    assert histograms(histograms=("end_to_end_latency",)) == set()
    assert histograms(histograms=()) == set()


def test_the_standard_series_of_a_holder_that_serves_a_model_are_these(rig):
    """A bare host: in Kubernetes what was requested is told, too, and here prompts of a cache are missing."""
    engine = Engine(rig)
    engine.tenants = ("",)
    rig.sweep(times=61)
    found = [name for name, labels in rig.show(histograms=()) if ("holder", "a") in labels]
    assert sorted(found) == sorted([
        *2 * ["account_gpu_seconds_total", "account_energy_joules_total", "account_list_cost_usd_total"],
        "utilization_gap_ratio", "utilization_gap_usd_total", "holder_info",
        *3 * ["work_total"], *2 * ["serving_phase_seconds_total"], "serving_target_up", "queue_depth",
        "cost_per_request_usd", "cost_per_million_input_tokens_usd", "cost_per_million_output_tokens_usd",
        "joules_per_request", "joules_per_output_token", "joules_per_total_token", "work_per_joule",
    ])  # fmt: skip
    assert len(found) <= 25 - 2


def test_a_group_adds_what_engines_tell_and_what_it_was_worth(rig):
    Engine(rig)
    rig.sweep(times=61)
    standard = rig.show()

    def added(group):
        more = rig.show(groups=(group,)).keys() - standard.keys()
        return {(name, *(text for label, text in labels if label == "kind")) for name, labels in more}

    assert added("engine") == {("running_requests",), ("kv_cache_usage_ratio",), ("serving_target_info",)}
    assert added("efficiency") == {("work_per_joule", "requests"), ("work_per_joule", "input_tokens")}
    assert value(standard, "work_per_joule") == value(standard, "work_per_joule", kind="output_tokens")


def test_an_objective_is_told_by_its_name(rig):
    Engine(rig, objectives=(Objective(name="snappy", latency="time_to_first_token", seconds=0.3),))
    rig.sweep(times=61)
    found = shown(rig)
    within = value(found, "cost_per_million_tokens_within_objective_usd", objective="snappy")
    # From the second page on: 45 s at a thousandth of a dollar, 600 tokens a second, 22 of 45 within 0.1 s.
    assert within == pytest.approx(0.045 / (27_000 * 22 / 45) * 1e6, rel=1e-9)


def test_a_page_that_is_away_takes_its_gauges_and_figures_with_it_and_its_counters_stay(rig):
    engine = Engine(rig)
    rig.sweep(times=46)
    before = shown(rig)
    engine.up = False
    rig.sweep(times=90)
    found = shown(rig)

    assert value(found, "serving_target_up") == 0
    assert value(found, "collector_up", collector="serving") == 0
    names = {name for name, _ in found}
    assert {"cost_per_request_usd", "queue_depth"} & names == set()
    assert value(found, "work_total", kind="requests") == value(before, "work_total", kind="requests")
    engine.up = True
    rig.sweep(times=16)
    assert value(shown(rig), "work_total", kind="requests") == 150


def test_one_of_several_that_bear_a_model_has_counters_and_no_figures(rig):
    engine = Engine(rig)
    engine.group = "llama-405b"
    rig.sweep(times=61)
    found = shown(rig)
    assert value(found, "work_group_info", holder="a", work_group="llama-405b") == 1
    assert value(found, "work_total", kind="requests") == 60
    assert "cost_per_request_usd" not in {name for name, _ in found}


def test_idle_time_costs(rig):
    Engine(rig)
    rig.sweep(times=61)
    found = shown(rig)
    idle = total(found, "account_list_cost_usd_total", account="idle", holder="a")
    assert value(found, "utilization_gap_usd_total", holder="a") == pytest.approx(idle, rel=1e-12)
    assert idle > 0


def test_an_hour_waits_for_the_pages_that_are_due_and_then_has_all_its_work(rig):
    Engine(rig)
    rig.clock.now = NS_PER_HOUR - 20 * NS_PER_SECOND
    rig.sweep(times=36)
    hours = json.loads(rig.app.hours(None))["hours"]
    assert [(hour["closed"], hour["revision"]) for hour in hours] == [(True, 1), (False, 0)]
    rows = [dict(zip(hour["work_columns"], row, strict=True)) for hour in hours for row in hour["work"]]
    requests = [row["amount"] for row in rows if row["kind"] == "requests"]
    assert len(requests) == 2
    assert sum(requests) == value(shown(rig), "work_total", kind="requests")


def test_a_restart_of_the_agent_neither_loses_nor_repeats(rig):
    engine = Engine(rig)
    rig.sweep(times=31)
    rig.kill()
    rig.open()
    engine.attach()
    rig.sweep(times=30)
    assert value(shown(rig), "work_total", kind="requests") == 60


def test_a_holder_that_is_gone_leaves_its_work_to_the_finished(rig):
    engine = Engine(rig)
    rig.sweep(times=46)
    engine.due = 1 << 40
    rig.agent.parts.holders = Nobody()
    rig.sweep(times=800)
    found = shown(rig)
    assert value(found, "work_total", kind="requests", holder="__finished__", model="") == 45
    assert [name for name, has in found if name == "queue_depth"] == []
    assert rig.agent.parts.accountant.books.work.bases[KEY].state == ""


def test_the_page_shows_each_model_with_its_figures(rig):
    Engine(rig)
    rig.sweep(times=61)
    (row,) = rig.app.state()["serving"]
    assert (row["holder_kind"], row["holder"], row["model"], row["engine"]) == ("container", "a", "llama", "vllm")
    assert (row["up"], row["message"], row["queue_depth"], row["running_requests"]) == (True, None, 3, 2)
    assert row["requests_per_second"] == pytest.approx(1)
    assert row["tokens_per_second"] == pytest.approx(100)
    assert row["cost_per_million_output_tokens_usd"] == pytest.approx(7.5)
    assert row["joules_per_output_token"] == pytest.approx(3)


def test_a_page_that_was_never_read_is_shown_with_what_is_wrong(rig):
    Engine(rig).up = False
    rig.sweep()
    (row,) = rig.app.state()["serving"]
    assert (row["up"], row["model"], row["message"]) == (False, "", "it does not answer")
    assert row["requests_per_second"] is None


def test_without_pages_there_are_no_engines(rig):
    rig.sweep()
    assert rig.app.state()["serving"] == []
