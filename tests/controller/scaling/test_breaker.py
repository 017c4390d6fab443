import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import NS_PER_SECOND
from controller.scaling.breaker import Breaker, BreakerLimits

LIMITS = BreakerLimits(failures_in_row=3, least_writes=10, first_wait_seconds=15, most_wait_seconds=60)


def at(seconds):
    return int(seconds * NS_PER_SECOND)


def play(breaker, words, begin=0.0, step=0.1):
    """``.`` is an answer and ``x`` a failure, one after another; when it was over."""
    for word in words:
        begin += step
        breaker.good(at(begin)) if word == "." else breaker.bad(at(begin), "HTTP 500")
    return begin


@pytest.fixture
def breaker():
    return Breaker(LIMITS, 0)


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("", "closed"),
        ("xx", "closed"),
        ("xx.xx", "closed"),
        ("xxx", "open"),
        (".....xxx", "open"),
        ("x.x.x.x.x", "closed"),
        ("x.x.x.x.x.", "closed"),
        (".x.x.x.x.x", "open"),
        ("..x..x..x..x..x", "closed"),
    ],
)
def test_failures_in_a_row_or_half_of_many_writes_open_it(breaker, words, state):
    end = play(breaker, words)
    assert breaker.status(at(end)).state == state


def test_failures_of_long_ago_do_not_count(breaker):
    play(breaker, "xx.xx.xx", step=40)
    assert breaker.status(at(400)).state == "closed"


def test_open_it_says_why_and_since_when(breaker):
    end = play(breaker, "xxxx")
    status = breaker.status(at(end))
    assert status.since_ns == at(0.1 * 3)
    assert breaker.hold(at(end)) == "the API server fails: HTTP 500"
    assert breaker.allowance(at(end)) == 0
    assert status.openings == 1


def test_half_open_one_is_let_through_and_its_answer_closes_it(breaker):
    end = play(breaker, "xxx")
    assert breaker.hold(at(end + 14.9))
    assert (breaker.hold(at(end + 15)), breaker.allowance(at(end + 15))) == ("", 1)
    assert breaker.status(at(end + 15)).state == "half_open"
    breaker.good(at(end + 16))
    status = breaker.status(at(end + 16))
    assert (status.state, status.since_ns, status.why) == ("closed", at(end + 16), "")
    assert breaker.allowance(at(end + 16)) is None
    assert breaker.status(at(play(breaker, "xx", end + 16))).state == "closed"


def test_each_probe_that_fails_doubles_the_wait_up_to_its_limit(breaker):
    now, waits = play(breaker, "xxx"), []
    for _ in range(5):
        began = now
        while breaker.hold(at(now)):
            now += 0.5
        waits.append(round(now - began))
        breaker.bad(at(now), "cut")
    assert waits == [15, 30, 60, 60, 60]
    assert breaker.status(at(now)).openings == 1


def test_an_answer_to_what_comes_back_does_not_close_it_before_its_time(breaker):
    end = play(breaker, "xxx")
    breaker.good(at(end + 5))
    assert breaker.hold(at(end + 5))


def test_failures_of_what_comes_back_keep_it_open(breaker):
    end = play(breaker, "xxx")
    breaker.bad(at(end + 10), "cut")
    assert breaker.hold(at(end + 20)) == "the API server fails: cut"
    assert breaker.hold(at(end + 25)) == ""


def test_what_is_stale_holds_downs_back_for_as_long_as_it_is(breaker):
    breaker.observe({"watch": "Deployment for 90 s", "telemetry": "node-a for 600 s"}, at(5))
    assert breaker.hold(at(6)) == "telemetry is stale: node-a for 600 s; watch is stale: Deployment for 90 s"
    breaker.observe({"telemetry": "node-a for 601 s"}, at(7))
    assert (breaker.status(at(7)).since_ns, breaker.status(at(7)).openings) == (at(5), 1)
    breaker.observe({}, at(8))
    assert (breaker.hold(at(8)), breaker.status(at(8)).since_ns) == ("", at(8))


def test_fresh_telemetry_does_not_close_what_failures_opened(breaker):
    breaker.observe({"telemetry": "old"}, 0)
    end = play(breaker, "xxx")
    assert breaker.hold(at(end)) == "telemetry is stale: old; the API server fails: HTTP 500"
    breaker.observe({}, at(end))
    assert breaker.hold(at(end)) == "the API server fails: HTTP 500"
    assert breaker.status(at(end)).openings == 1


STEPS = st.tuples(st.sampled_from(["good", "bad", "stale", "fresh"]), st.integers(0, 100))


@given(st.lists(STEPS, max_size=60))
def test_whatever_happened_it_closes_once_all_is_well_again(steps):
    breaker, now = Breaker(LIMITS, 0), 0.0
    for word, pause in steps:
        now += pause
        {
            "good": lambda now: breaker.good(at(now)),
            "bad": lambda now: breaker.bad(at(now), "x"),
            "stale": lambda now: breaker.observe({"telemetry": "x"}, at(now)),
            "fresh": lambda now: breaker.observe({}, at(now)),
        }[word](now)
        status = breaker.status(at(now))
        assert status == breaker.status(at(now))
        assert (status.state == "closed") == (not status.why)
        assert bool(breaker.hold(at(now))) == (status.state == "open") == (breaker.allowance(at(now)) == 0)
        assert status.since_ns <= at(now)
    breaker.observe({}, at(now))
    now += LIMITS.most_wait_seconds
    assert breaker.hold(at(now)) == ""
    breaker.good(at(now))
    assert breaker.status(at(now)).state == "closed"
