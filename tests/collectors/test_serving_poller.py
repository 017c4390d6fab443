import logging
import threading
from contextlib import ExitStack

import pytest

from collectors.clock import NS_PER_SECOND, SystemClock
from collectors.errors import Unavailable
from collectors.serving_counters import CounterDeltas
from collectors.serving_fetch import FetchedPage
from collectors.serving_poller import ServingPoller
from collectors.serving_settings import ServingSettings
from collectors.serving_targets import ServingTarget
from tests.engines.load import Load
from tests.engines.server import ScriptedEngine

GOOD = b'vllm:prompt_tokens_total{model_name="m"} 5\n'


class FakeClock:
    boot_id = "boot"

    def __init__(self):
        self.now_ns = 1_000 * NS_PER_SECOND

    def monotonic_ns(self):
        return self.now_ns

    def wall_ns(self):
        return self.now_ns

    def wait(self, event, duration_ns):
        raise NotImplementedError

    def go(self, seconds):
        self.now_ns += round(seconds * NS_PER_SECOND)


class Rig:
    """A poller over pages of a script: url to bytes, or to an error."""

    def __init__(self, pages, **settings):
        self.pages, self.asked, self.clock = pages, [], FakeClock()
        self.poller = ServingPoller(self.clock, ServingSettings(**settings), fetch=self.fetch)

    def fetch(self, url, *, timeout_seconds, max_bytes):
        self.asked.append((url, self.clock.now_ns))
        page = self.pages[url]
        if isinstance(page, Exception):
            raise page
        return FetchedPage(page, whole=True)

    def watch(self, *keys, **fields):
        self.poller.set_targets([ServingTarget(key, (f"http://{key}/",), **fields) for key in keys])

    def play(self, seconds):
        for _ in range(seconds):
            self.clock.go(1)
            self.poller.poll_due()
        return {result.target.key: result for result in self.poller.take()}


def test_each_page_is_read_once_an_interval():
    rig = Rig({f"http://{key}/": GOOD for key in "abcdefgh"})
    rig.watch(*"abcdefgh")
    rig.play(150)
    assert all(sum(url == f"http://{key}/" for url, _ in rig.asked) == 10 for key in "abcdefgh")


def test_pages_are_spread_over_the_interval():
    keys = [f"pod-{number}:8000" for number in range(60)]
    rig = Rig({f"http://{key}/": GOOD for key in keys})
    rig.watch(*keys)
    rig.play(15)
    at = [now for _, now in rig.asked]
    assert len(at) == 60
    assert max(at.count(now) for now in at) <= 12


def test_a_page_that_fails_marks_only_its_own_target_down():
    rig = Rig({"http://a/": b"<html>", "http://b/": GOOD, "http://c/": Unavailable("c is away")})
    rig.watch("a", "b", "c")
    results = rig.play(15)
    assert "not a metrics page but markup" in results["a"].error
    assert results["b"].page.work == {("m", "", "input_tokens"): 5}
    assert (results["c"].page, results["c"].error) == (None, "c is away")


def test_a_fault_of_ours_on_one_page_leaves_the_others():
    rig = Rig({"http://a/": RuntimeError("bug"), "http://b/": GOOD})
    rig.watch("a", "b")
    results = rig.play(15)
    assert "please report this" in results["a"].error
    assert results["b"].page is not None


def test_a_target_that_goes_away_and_returns_is_told_once_each(caplog):
    caplog.set_level(logging.INFO)
    rig = Rig({"http://a/": GOOD})
    rig.watch("a")
    rig.play(30)
    rig.pages["http://a/"] = Unavailable("a is away")
    rig.play(60)
    rig.pages["http://a/"] = GOOD
    rig.play(30)
    assert [record.getMessage() for record in caplog.records] == [
        "serving page a is read as vllm",
        "serving page a is down: a is away",
        "serving page a is read as vllm",
    ]


def test_a_guess_that_fails_is_silent_and_tried_again_after_twenty_intervals(caplog):
    rig = Rig({"http://a/": b"go_goroutines 1\n"})
    rig.watch("a", probe=True)
    results = rig.play(15)
    assert results["a"].unknown
    rig.play(270)
    assert len(rig.asked) == 1
    rig.play(30)
    assert len(rig.asked) == 2
    assert caplog.records == []


def test_of_several_addresses_the_first_that_bears_a_page_is_kept():
    rig = Rig({"http://a/": Unavailable("404"), "http://b/": GOOD})
    rig.poller.set_targets([ServingTarget("x", ("http://a/", "http://b/"))])
    rig.play(30)
    assert [url for url, _ in rig.asked] == ["http://a/", "http://b/", "http://b/"]


def test_targets_beyond_the_most_are_told_and_guesses_go_first(caplog):
    rig = Rig({"http://z/": GOOD}, max_targets=1)
    rig.poller.set_targets([ServingTarget("a", ("http://a/",), probe=True), ServingTarget("z", ("http://z/",))])
    assert rig.play(15).keys() == {"z"}
    assert rig.poller.left_out == ("a",)
    assert "1 serving pages are not read, the first a: raise serving.max_targets from 1" in caplog.text


def test_a_target_that_is_no_longer_wanted_is_not_read_nor_told():
    rig = Rig({"http://a/": GOOD})
    rig.watch("a")
    rig.clock.go(15)
    rig.poller.poll_due()
    rig.watch()
    assert rig.play(30) == {}
    assert len(rig.asked) == 1


def test_setting_the_same_targets_again_changes_no_place():
    rig = Rig({"http://a/": GOOD})
    for _ in range(150):
        rig.watch("a")
        rig.play(1)
    assert len(rig.asked) == 10


def test_an_answer_is_taken_once():
    rig = Rig({"http://a/": GOOD})
    rig.watch("a")
    assert rig.play(15)
    assert rig.poller.take() == ()


def test_a_page_that_hangs_holds_up_no_other():
    # Real threads, sockets and time: three targets hang, the fourth must answer while they do.
    answered = threading.Event()
    settings = ServingSettings(interval_seconds=1, timeout_seconds=2, threads=4)
    poller = ServingPoller(SystemClock(), settings)
    with ScriptedEngine("vllm", model="m") as good, ScriptedEngine("vllm") as stuck:
        stuck.fault = "silent"
        hanging = [ServingTarget(f"stuck-{number}", (stuck.url,)) for number in range(3)]
        poller.set_targets([*hanging, ServingTarget("good", (good.url,))])
        poller.start()
        try:
            for _ in range(200):
                if any(result.page for result in poller.take()):
                    answered.set()
                    break
                threading.Event().wait(0.02)
        finally:
            poller.stop()
    assert answered.is_set()
    assert good.fetches >= 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("html", "not a metrics page but markup"),
        ("invalid_utf8", "is not UTF-8"),
        ("duplicate", "stands twice; it may stand once"),
        ("huge", "longer than the limit of 4194304 bytes"),
        ("endless", "did not end within"),
        ("error", "answers 500"),
    ],
)
def test_each_bad_page_says_what_is_wrong_and_where(fault, message):
    clock = FakeClock()
    settings = ServingSettings(timeout_seconds=0.3 if fault == "endless" else 20)
    poller = ServingPoller(clock, settings)
    with ScriptedEngine("vllm", model="m") as engine:
        engine.fault = fault
        poller.set_targets([ServingTarget("x", (engine.url,))])
        clock.go(15)
        poller.poll_due()
    (result,) = poller.take()
    assert result.page is None
    assert engine.url in result.error
    assert message in result.error


def test_what_several_engines_served_is_booked_exactly_once_though_pages_fail_meanwhile():
    clock, booked = FakeClock(), {}
    poller = ServingPoller(clock, ServingSettings(timeout_seconds=20))
    with ExitStack() as stack:
        engines = {kind: stack.enter_context(ScriptedEngine(kind, model="m")) for kind in ("vllm", "sglang", "nim")}
        deltas = {kind: CounterDeltas() for kind in engines}
        poller.set_targets(ServingTarget(kind, (engine.url,)) for kind, engine in engines.items())
        for fault in ("none", "none", "html", "none", "error", "cut", "none"):
            engines["vllm"].fault = fault
            clock.go(15)
            poller.poll_due()
            for result in poller.take():
                if result.page is not None:
                    gain = deltas[result.target.key].book(result.page)
                    for (_, _, kind), amount in gain.work.items():
                        booked[result.target.key, kind] = booked.get((result.target.key, kind), 0) + amount
            for engine in engines.values():
                engine.serve(3, Load(input_tokens=9, output_tokens=4))
    # The last three requests of each came after the last reading.
    assert {key: amount for key, amount in booked.items() if amount} == {
        (engine, kind): amount
        for engine in engines
        for kind, amount in (("requests", 18), ("input_tokens", 162), ("output_tokens", 72))
    }
