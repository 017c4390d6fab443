"""Two nodes of a cluster, scraped as the Prometheus operator has it: what PromQL finds in raw counters is what the
agents and the script of the load say, and a restart of an agent brings no series that was not there before."""

import itertools
import time
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import NamedTuple

import pytest

from alerts.recording_rules import RuleSettings, recording_groups
from alerts.rule import render_yaml
from tests.collectors import kubelet as told_by
from tests.collectors.kube_server import KubeServer, container_id, pod
from tests.collectors.kubelet import Kubelet
from tests.engines.load import Load
from tests.engines.server import ScriptedEngine
from tests.fakedriver import profiles
from tests.fakedriver.driver import FakeDriver, Process
from tests.integration.agent_process import NAMES, AgentProcess, eventually
from tests.integration.processes import FakeHost
from tests.integration.prometheus import AgentPod, Prometheus, pod_monitor, service_monitor, write_targets

pytestmark = [pytest.mark.tool("gcc"), pytest.mark.tool("prometheus")]

SWEEP_SECONDS = 2
"""Longer than between two readings of a page: each sweep books one, so that cost and work move together."""
WINDOW_SECONDS = 31
"""Fifteen sweeps and a half: which sweep a window begins with is plain."""
USD_PER_GPU_HOUR = 3.6
LOAD = Load(requests_per_second=40, seconds=1e6, input_tokens=200, cached_tokens=50, output_tokens=80)
PODS = {"node-a": ("solo", "leader"), "node-b": ("worker",)}
"""By node; each pod holds one GPU. The leader's page tells what it and the worker do together."""
CHIPS = {"node-a": profiles.h100, "node-b": profiles.a100}
GROUPED = {"wattledger.io/work-group": "chat"}
JOBS = {"pod": 'job="monitoring/wattledger-agent"', "service": 'job="wattledger-agent"'}
"""Selector of what came through each kind of monitor."""
SOLO = 'namespace="ml",pod="solo",container="main"'
COST, TIME = NAMES["cost"][0], NAMES["time"][1]
PER_OUTPUT = "wattledger_cost_per_million_output_tokens_usd"
FORMULAS = {
    "wattledger_cost_per_request_usd": "{cost} / {requests}",
    PER_OUTPUT: "1e6 * {cost} * {decode} / ({prefill} + {decode}) / {output}",
    "wattledger_cost_per_million_input_tokens_usd": "1e6 * {cost} * {prefill} / ({prefill} + {decode})"
    " / ({input} + 0.1 * {cached})",
    "wattledger_joules_per_request": "{energy} / {requests}",
    "wattledger_joules_per_output_token": "{energy} / {output}",
    "wattledger_joules_per_total_token": "{energy} / ({input} + {cached} + {output})",
}
"""By gauge of the agent, out of what its raw counters gained."""
COUNTERS = {
    "cost": (COST, ""),
    "energy": (NAMES["energy"][0], ""),
    "requests": ("wattledger_work_total", ',kind="requests"'),
    "input": ("wattledger_work_total", ',kind="input_tokens"'),
    "cached": ("wattledger_work_total", ',kind="cached_tokens"'),
    "output": ("wattledger_work_total", ',kind="output_tokens"'),
    "prefill": ("wattledger_serving_phase_seconds_total", ',phase="prefill"'),
    "decode": ("wattledger_serving_phase_seconds_total", ',phase="decode"'),
}


def uid_of(name):
    return f"{name.encode().hex():0<32.32}"


class Node:
    """A node with its devices and pods, and the agents that it had one after the other."""

    def __init__(self, name, folder, api, stack):
        self.name, self.folder, self.api, self.stack = name, folder, api, stack
        self.agents = []
        names = PODS[name]
        self.driver = stack.enter_context(FakeDriver.create(folder, [CHIPS[name]()] * len(names)))
        self.host, self.kubelet = FakeHost(folder), Kubelet(folder / "kubelet")
        stack.callback(self.kubelet.stop)
        held = []
        for n, (each, device) in enumerate(zip(names, self.driver.devices, strict=True)):
            device.set(power_mw=400_000, utilization=0.6, sm_clock_mhz=1500)
            cgroup = f"0::/kubepods.slice/kubepods-pod{uid_of(each)}.slice/cri-containerd-{container_id(each)}.scope\n"
            device.processes([Process(pid=self.host.process(100 + n, cgroup), share=0.5)])
            held.append(told_by.pod("ml", each, held=[told_by.devices("nvidia.com/gpu", device.uuid)]))
        self.kubelet.answer(*held)

    def start(self):
        kubernetes = {
            "mode": "on",
            "node": self.name,
            "kubelet_socket": str(self.kubelet.socket),
            "api_url": self.api.url,
            "token_file": str(self.folder / "token"),
        }
        usd_per_hour = USD_PER_GPU_HOUR * len(self.driver.devices)
        config = {
            **self.host.config,
            "agent": {"interval_seconds": SWEEP_SECONDS, "node_name": self.name},
            "kubernetes": kubernetes,
            "serving": {"interval_seconds": 1},
            "economics": {"window_seconds": WINDOW_SECONDS},
            "prices": {"cloud_identity": "off", "node": {"usd_per_hour": usd_per_hour, "as_of": "2026-01-01"}},
        }
        (self.folder / "token").write_text("token", encoding="ascii")
        folder, books = self.folder / f"agent-{len(self.agents)}", self.folder / "books"
        agent = AgentProcess(folder, self.driver.environment(), config=config, data_dir=books)
        self.agents.append(self.stack.enter_context(agent))

    def pod(self):
        """The agent's pod; each time it is made anew it has another name and address."""
        return AgentPod(f"wattledger-agent-{self.name}-{len(self.agents)}", self.name, self.agents[-1].url)


@dataclass
class Scraped:
    """What Prometheus knows after the second of two restarts; times are its own."""

    prometheus: Prometheus
    device: str
    """That of the pod which bears its model alone."""
    second: Decimal
    """When the second agents began."""
    full: Decimal
    """When they had been at work for longer than a window."""
    before: set[frozenset[tuple[str, str]]]
    """All series of the second agents."""
    after: set[frozenset[tuple[str, str]]]
    """All series of the third agents."""


def furnish(api, engines):
    """The API server's pods and nodes."""
    for node, names in PODS.items():
        api.set({"metadata": {"name": node, "labels": {}}, "spec": {}, "status": {}}, path="/api/v1/nodes")
        for name in names:
            page = (
                {"wattledger.io/engine": "vllm", "wattledger.io/port": str(engines[name].port)}
                if name in engines
                else {}
            )
            annotations = page | ({} if name == "solo" else GROUPED)
            made = pod(name, uid=uid_of(name), node=node, metadata={"annotations": annotations})
            made["status"]["podIP"] = "127.0.0.1"
            api.set(made)


def seen(prometheus, since):
    """The labels of every series that there was a sample of since then."""
    found = prometheus.ask(f'last_over_time({{__name__=~".+"}}[{max(1, round(time.time() - since))}s])')
    return {frozenset(one["metric"].items()) for one in found}


@pytest.fixture(scope="module")
def scraped(tmp_path_factory, require_tool):
    folder = tmp_path_factory.mktemp("nodes")
    with ExitStack() as stack:
        api = KubeServer()
        stack.callback(api.close)
        engines = {
            name: stack.enter_context(ScriptedEngine("vllm", model=f"model-of-{name}", loads=[LOAD]))
            for name in ("solo", "leader")
        }
        furnish(api, engines)
        nodes = []
        for name in PODS:
            (folder / name).mkdir()
            nodes.append(Node(name, folder / name, api, stack))
        rules = render_yaml("", recording_groups(RuleSettings(window=f"{WINDOW_SECONDS}s")))
        jobs = [pod_monitor(folder / "targets"), service_monitor(folder / "targets")]

        def begin():
            for node in nodes:
                node.start()
            write_targets(folder / "targets", [node.pod() for node in nodes])
            return time.time()

        def are_told(since):
            window = f"[{max(1, int(time.time() - since))}s]"
            wanted = [f"{PER_OUTPUT}{{{job},{SOLO}}}" for job in JOBS.values()]
            return all(
                prometheus.ask(f"last_over_time({each}{window})") for each in (*wanted, f'{TIME}{{node="node-b"}}')
            )

        def wait_for_figures(since):
            eventually("figures of both nodes", lambda: are_told(since), seconds=60, every=0.5)

        first = begin()
        prometheus = stack.enter_context(Prometheus(folder, require_tool("prometheus"), jobs, rules))
        wait_for_figures(first)
        for node in nodes:
            node.agents[-1].kill()
        second = begin()
        wait_for_figures(second)
        eventually("a window and more", lambda: time.time() > second + WINDOW_SECONDS + 14, seconds=60, every=0.5)
        full = time.time()
        before = seen(prometheus, second)
        for node in nodes:
            assert node.agents[-1].terminate() == 0
        third = begin()
        wait_for_figures(third)
        eventually("some scrapes more", lambda: time.time() > third + 18, seconds=30, every=0.5)
        device = nodes[0].driver.device(0).uuid
        after = seen(prometheus, third)
        yield Scraped(prometheus, device, *(Decimal(f"{moment:.3f}") for moment in (second, full)), before, after)


class State(NamedTuple):
    """What the books said after one sweep, as far as it was scraped."""

    stamp: Decimal
    """Of the first scrape of it."""
    booked: Decimal
    """Seconds of the device."""
    output: Decimal
    """Tokens."""


def states(scraped):
    """The sweeps of the second agent of node-a, one after the other."""
    window = f"{int(scraped.full - scraped.second) - 2}s"
    raw = lambda selector: scraped.prometheus.raw(selector, window, scraped.full)  # noqa: E731
    booked = raw(f'{TIME}{{{JOBS["pod"]},gpu_uuid="{scraped.device}"}}')
    output = raw(f'wattledger_work_total{{{JOBS["pod"]},{SOLO},kind="output_tokens"}}')
    found = [State(stamp, booked[stamp], output[stamp]) for stamp in sorted(booked.keys() & output.keys())]
    return [next(each) for _, each in itertools.groupby(found, key=lambda state: state.booked)]


def windows(scraped):
    """The first and last state of each whole window in which every sweep was scraped, and booked a reading."""
    all_states = states(scraped)
    for place, last in enumerate(all_states):
        inside = [each for each in all_states[: place + 1] if last.booked - each.booked <= WINDOW_SECONDS]
        if inside[0] is all_states[0]:
            continue  # the window may begin before what is looked at
        if inside[0].booked - all_states[place - len(inside)].booked > 1.5 * SWEEP_SECONDS:
            continue  # a sweep that was not scraped may be the window's first
        steps = [(b.booked - a.booked, b.output - a.output) for a, b in itertools.pairwise(inside)]
        whole = WINDOW_SECONDS - 1.5 * SWEEP_SECONDS < last.booked - inside[0].booked < WINDOW_SECONDS - 0.2
        if whole and all(seconds < 1.5 * SWEEP_SECONDS and tokens for seconds, tokens in steps):
            yield inside[0], last


@pytest.mark.parametrize("metric", FORMULAS)
def test_promql_over_the_raw_counters_of_the_agents_window_is_the_agents_own_figure(scraped, metric):
    found = list(windows(scraped))
    assert len(found) >= 3
    for first, last in found:
        gained = {}
        for name, (counter, chosen) in COUNTERS.items():
            series = f"{counter}{{{JOBS['pod']},{SOLO}{chosen}}}"
            gained[name] = f"(sum({series}) - sum({series} @ {first.stamp}))"
        own = scraped.prometheus.value(f"{metric}{{{JOBS['pod']},{SOLO}}}", last.stamp)
        assert scraped.prometheus.value(FORMULAS[metric].format(**gained), last.stamp) == pytest.approx(own, rel=1e-9)


@pytest.mark.parametrize("metric", FORMULAS)
def test_increase_over_a_window_as_a_board_has_it_is_near_the_agents_own_figure(scraped, metric):
    """In windows of which nothing is missing: where an agent got no processor, cost and work of a sweep fall apart."""
    gained = {
        name: f"sum(increase({counter}{{{JOBS['pod']},{SOLO}{chosen}}}[{WINDOW_SECONDS}s]))"
        for name, (counter, chosen) in COUNTERS.items()
    }
    own, formula = f"{metric}{{{JOBS['pod']},{SOLO}}}", FORMULAS[metric].format(**gained)
    ratios = [
        scraped.prometheus.value(formula, last.stamp) / scraped.prometheus.value(own, last.stamp)
        for _, last in windows(scraped)
    ]
    assert len(ratios) >= 3
    assert median(ratios) == pytest.approx(1, rel=0.02)


def test_a_model_over_two_nodes_costs_what_its_two_gpus_cost(scraped):
    usd_per_token = 2 * USD_PER_GPU_HOUR / 3600 / (LOAD.requests_per_second * LOAD.output_tokens)
    decode = LOAD.seconds_per_token * (LOAD.output_tokens - 1)
    truth = {
        "cost_per_million_output_tokens_usd": 1e6 * usd_per_token * decode / (decode + LOAD.prefill_seconds),
        "cost_per_request_usd": usd_per_token * LOAD.output_tokens,
        "joules_per_output_token": 2 * 400 / (LOAD.requests_per_second * LOAD.output_tokens),
    }
    for name, expected in truth.items():
        rule = f'work_group:wattledger_{name}:rate{WINDOW_SECONDS}s{{namespace="ml",work_group="chat"}}'
        # the nodes' sweeps are not in step: at most one of the worker's fifteen is missing or too many
        assert scraped.prometheus.value(rule, scraped.full) == pytest.approx(expected, rel=0.05)


def test_the_agents_themselves_say_nothing_of_what_only_a_part_of_a_model_costs(scraped):
    figures = "|".join(FORMULAS)
    assert scraped.prometheus.ask(f'{{__name__=~"{figures}",pod=~"leader|worker"}}', scraped.full) == []
    assert scraped.prometheus.ask(f'{{__name__=~"{figures}",pod="solo"}}', scraped.full) != []


@pytest.mark.parametrize("job", JOBS.values())
def test_no_label_of_a_target_takes_the_place_of_ours(scraped, job):
    key, value = job.replace('"', "").split("=")
    series = [labels for labels in map(dict, scraped.before) if labels.get(key) == value]
    ours = [labels for labels in series if labels["__name__"].startswith("wattledger_")]
    assert {labels["__name__"] for labels in series if labels not in ours} >= {"up", "scrape_samples_scraped"}
    assert {
        label for labels in series for label in labels if label.startswith("exported_") or label == "endpoint"
    } == set()
    assert {labels["instance"] for labels in series} == set(PODS)
    assert [labels for labels in ours if labels["node"] != labels["instance"]] == []
    pods = {(labels.get("namespace"), labels.get("pod")) for labels in series}
    assert pods == {(None, None), *(("ml", name) for names in PODS.values() for name in names)}
    devices = [labels for labels in ours if labels["__name__"] == TIME]
    assert len(devices) == 3
    assert [labels for labels in devices if "pod" in labels] == []


def test_a_restart_of_the_agents_in_pods_of_other_names_brings_no_new_series_and_takes_none_away(scraped):
    assert len(scraped.before) > 500
    assert scraped.after - scraped.before == set()
    gone = {dict(labels)["__name__"] for labels in scraped.before - scraped.after}
    assert gone <= {"wattledger_flop_per_joule_estimate"}  # it takes a whole window


def test_no_counter_falls_over_the_restarts(scraped):
    for name in ("wattledger_work_total", *itertools.chain(*NAMES.values())):
        fallen = f"max by (instance) (resets({name}[5m]))"
        assert {one["value"][1] for one in scraped.prometheus.ask(fallen)} == {"0"}, name
