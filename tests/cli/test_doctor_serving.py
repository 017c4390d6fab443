import pytest

from cli.config import Config
from cli.doctor_finding import Machine
from cli.doctor_serving import check_serving
from collectors.clock import SystemClock
from tests.engines.server import ScriptedEngine


@pytest.fixture
def engine():
    with ScriptedEngine("vllm", model="llama") as running:
        running.serve(3)
        yield running


def look(*targets, **settings):
    config = Config.model_validate({"serving": {"targets": targets, "timeout_seconds": 20, **settings}})
    found = list(check_serving(Machine(config, SystemClock())))
    assert all(bool(finding.remedy) == (finding.verdict != "ok") for finding in found)
    return [(finding.verdict, finding.what, finding.remedy) for finding in found]


def test_page_that_is_up_tells_its_engine_work_and_model(engine):
    ((verdict, what, _),) = look({"url": engine.url, "name": "chat"})
    assert verdict == "ok"
    assert what == "chat is up: vllm, cached_tokens, input_tokens, output_tokens, requests; model llama"


def test_page_read_by_a_mapping_is_up():
    with ScriptedEngine("training") as job:
        target = {"url": job.url, "name": "train", "mapping": {"train_steps_total": "steps"}}
        assert look(target) == [("ok", "train is up: mapping, steps; no model named", "")]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("error", "answers 500"),
        ("html", "engine"),
        ("cut", "does not answer"),
        ("endless", "did not end within 0.5 s"),
        ("invalid_utf8", "is not UTF-8"),
        ("duplicate", "stands twice"),
        ("huge", "longer than the limit of 4194304 bytes"),
        ("redirect", "redirects (302)"),
    ],
)
def test_page_that_cannot_be_read_is_warned_about_with_why(engine, fault, words):
    engine.fault = fault
    settings = {"timeout_seconds": 0.5} if fault == "endless" else {}
    ((verdict, what, _),) = look({"url": engine.url, "name": "chat"}, **settings)
    assert verdict == "warn"
    assert what.startswith("chat: ")
    assert words in what


def test_engine_that_is_away_leaves_the_other_up(engine):
    away = {"url": "http://127.0.0.1:9/metrics", "name": "away"}
    found = look(away, {"url": engine.url})
    assert [verdict for verdict, *_ in found] == ["warn", "ok"]
    assert "check that the engine runs" in found[0][1]


def test_page_of_no_known_engine_asks_for_engine_or_mapping():
    with ScriptedEngine("training") as job:
        ((verdict, _, remedy),) = look({"url": job.url})
    assert verdict == "warn"
    assert "mapping of its counters" in remedy


def test_targets_that_are_not_read_are_told(engine):
    found = look({"url": engine.url}, {"url": f"{engine.url}?b"}, max_targets=1)
    assert found[1] == ("warn", "2 pages are configured, of which 1 are read", "raise serving.max_targets")
    assert look({"url": engine.url}, enabled=False)[0][0] == "warn"
    assert look() == look(enabled=False) == []
