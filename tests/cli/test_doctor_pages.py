"""Serving pages that the doctor finds on the pods of a node: each with its state and what it tells."""

from urllib.parse import urlsplit

import pytest

from cli.config import Config
from cli.doctor_finding import Machine
from cli.doctor_serving import check_pod_pages
from cli.kube_serving import KEPT_ANNOTATIONS
from collectors.clock import SystemClock
from collectors.holder import Holder
from collectors.kube_pod_facts import Kept, pod_facts
from collectors.kube_pods import PodCache
from collectors.serving_targets import USUAL_PATHS
from tests.collectors import kube_server
from tests.engines.server import ScriptedEngine

CHAT = Holder("pod", "ml/chat/main")


@pytest.fixture
def engine():
    with ScriptedEngine("vllm", model="llama") as running:
        running.serve(3)
        yield running


@pytest.fixture
def usual(engine, monkeypatch):
    """The engine's port is one that engines use."""
    monkeypatch.setitem(USUAL_PATHS, port_of(engine), ("/none", "/metrics"))


def port_of(engine):
    return urlsplit(engine.url).port


def pod(name="chat", ports=(), phase="Running", **annotations):
    containers = [{"name": "main", "ports": [{"containerPort": port} for port in ports]}]
    made = kube_server.pod(
        name,
        metadata={"annotations": {f"{key.replace('__', '.io/')}": value for key, value in annotations.items()}},
        spec={"containers": containers},
        status={"podIP": "127.0.0.1", "phase": phase},
    )
    return pod_facts(made, Kept(annotations=KEPT_ANNOTATIONS))


def look(*pods, held=(), **settings):
    cache = PodCache(None, "node-a", SystemClock())
    cache.replace(pods)
    config = Config.model_validate({"serving": {"timeout_seconds": 20, **settings}})
    found = list(check_pod_pages(Machine(config, SystemClock()), cache, held))
    assert {finding.check for finding in found} <= {"serving"}
    assert all(bool(finding.remedy) == (finding.verdict != "ok") for finding in found)
    return [(finding.verdict, finding.what) for finding in found]


YIELD = "vllm, cached_tokens, input_tokens, output_tokens, requests; model llama"


def test_an_announced_page_is_read_and_told_with_what_it_yields(engine):
    port = str(port_of(engine))
    found = look(pod(wattledger__engine="vllm", wattledger__port=port), held=[CHAT])
    assert found == [("ok", f"ml/chat:{port}/metrics is up (by its annotations): {YIELD}")]


def test_a_page_of_a_pod_that_holds_no_gpu_says_so(engine):
    ((_, what),) = look(pod(wattledger__engine="vllm", wattledger__port=str(port_of(engine))))
    assert "(by its annotations; its pod holds no GPU)" in what


def test_a_page_announced_to_prometheus_is_read_where_the_pod_holds_a_gpu(engine):
    announced = pod(prometheus__scrape="true", prometheus__port=str(port_of(engine)))
    ((verdict, what),) = look(announced, held=[CHAT])
    assert (verdict, "is up (announced to Prometheus): vllm" in what) == ("ok", True)
    assert "no pod of this node announces a page" in look(announced)[0][1]


@pytest.mark.usefixtures("usual")
def test_a_page_at_a_usual_port_is_found_at_the_first_path_that_bears_one(engine):
    port = port_of(engine)
    assert look(pod(ports=[port]), held=[CHAT]) == [("ok", f"ml/chat:{port} is up (guessed by its port): {YIELD}")]


@pytest.mark.usefixtures("usual")
def test_a_guess_that_is_no_page_is_no_fault_and_tells_of_its_first_path(engine):
    engine.fault = "error"
    ((verdict, what),) = look(pod(ports=[port_of(engine)]), held=[CHAT])
    assert verdict == "ok"
    assert "answers 404 Not Found" in what
    assert what.endswith("a guess, tried again now and then")


@pytest.mark.parametrize("fault", ["error", "html", "cut", "endless"])
def test_an_announced_page_that_cannot_be_read_is_warned_about(engine, fault):
    engine.fault = fault
    settings = {"timeout_seconds": 0.5} if fault == "endless" else {}
    announced = pod(wattledger__scrape="true", wattledger__port=str(port_of(engine)))
    ((verdict, what),) = look(announced, held=[CHAT], **settings)
    assert verdict == "warn"
    assert what.startswith("ml/chat:")


def test_an_annotation_that_is_not_understood_is_told_and_leaves_the_others(engine):
    good = pod(wattledger__engine="vllm", wattledger__port=str(port_of(engine)))
    found = look(pod("bad", wattledger__engine="nonsense"), good, held=[CHAT])
    assert [verdict for verdict, _ in found] == ["warn", "ok"]
    assert found[0][1].startswith("pod ml/bad: annotation wattledger.io/engine is 'nonsense'")


def test_pods_that_ended_and_what_is_switched_off_are_not_looked_at(engine):
    port = str(port_of(engine))
    ended = pod(phase="Succeeded", wattledger__engine="vllm", wattledger__port=port)
    assert "no pod of this node announces a page" in look(ended)[0][1]
    running = pod(wattledger__engine="vllm", wattledger__port=port)
    assert look(running, enabled=False) == look(running, discover_annotations=False, discover_ports=False) == []


def test_pages_beyond_the_most_are_told_and_guesses_are_the_first_to_go(engine, monkeypatch):
    port = port_of(engine)
    monkeypatch.setitem(USUAL_PATHS, port, ("/metrics",))
    sure = pod("zoe", wattledger__engine="vllm", wattledger__port=str(port))
    found = look(pod(ports=[port]), sure, held=[CHAT], max_targets=1)
    assert [what.partition(" ")[0] for _, what in found] == [f"ml/zoe:{port}/metrics", "2"]
    assert found[1] == ("warn", "2 pages are found or configured, of which 1 are read")


def test_pages_that_hang_are_waited_for_side_by_side(engine):
    engine.fault = "endless"
    port = str(port_of(engine))
    pods = [pod(f"chat-{n}", wattledger__engine="vllm", wattledger__port=port) for n in range(4)]
    began = SystemClock().monotonic_ns()
    assert len(look(*pods, timeout_seconds=2)) == 4
    assert SystemClock().monotonic_ns() - began < 7_900_000_000
