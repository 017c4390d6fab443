import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.shares import MethodChooser, ShareWindow
from collectors.clock import NS_PER_SECOND
from collectors.holder import Holder
from collectors.readings import ShareSample
from ledger.accounts import Method

A, B = Holder("container", "a"), Holder("container", "b")
ALL = {Method.SM, Method.MEMORY, Method.EQUAL}


def test_new_samples_weigh_by_holder():
    window = ShareWindow()

    weights = window.add(0, [ShareSample(1, 0, 0.5), ShareSample(2, 0, 0.1), ShareSample(1, 1, 0.3)], {1: A, 2: B})

    assert weights == {A: 800, B: 100}


def test_a_sample_of_an_ended_process_belongs_to_the_holder_it_had():
    window = ShareWindow()
    window.add(0, [], {1: A})

    assert window.add(1, [ShareSample(1, 0, 0.5)], {2: B}) == {A: 500}


def test_a_sample_that_comes_sweeps_after_its_process_ended_is_not_lost_to_the_holder():
    window = ShareWindow()
    window.add(0, [], {1: A})
    window.add(1, [], {2: B})

    assert window.add(60 * NS_PER_SECOND, [ShareSample(1, 0, 0.5)], {2: B}) == {A: 500}
    assert window.add(60 * NS_PER_SECOND + 1, [ShareSample(1, 0, 0.5)], {2: B}) == {None: 500}


def test_a_sample_belongs_to_its_holder_however_long_ago_the_sweep_before_was():
    window = ShareWindow()
    window.add(0, [], {1: A})

    assert window.add(1000 * NS_PER_SECOND, [ShareSample(1, 0, 0.5)], {}) == {A: 500}


def test_a_sample_of_a_process_never_seen_belongs_to_nobody():
    assert ShareWindow().add(0, [ShareSample(9, 0, 0.2)], {}) == {None: 200}


def test_the_window_stands_in_and_forgets_after_a_minute():
    window = ShareWindow()
    window.add(0, [ShareSample(1, 0, 0.5)], {1: A})

    assert window.add(60 * NS_PER_SECOND, [], {1: A}) == {}
    assert window.completed({}) == {A: 500}
    window.add(60 * NS_PER_SECOND + 1, [], {1: A})
    assert not window.available()


def test_samples_of_a_process_that_did_nothing_are_forgotten_like_others():
    window = ShareWindow()
    for seconds in (0, 1, 2):
        window.add(seconds * NS_PER_SECOND, [ShareSample(1, 0, 0.0)], {1: A})
    window.add(100 * NS_PER_SECOND, [], {1: A})

    assert not window.available()


def steady(window, seconds, of, active_ppm=800_000):
    """Second by second the samples ``of(second)`` of a and b, each by PID and ratio; the last interval's weights."""
    weights = {}
    for second in seconds:
        samples = [ShareSample(pid, 0, ratio) for pid, ratio in of(second)]
        fresh = window.add(second * NS_PER_SECOND, samples, {1: A, 2: B}, active_ppm)
        weights = window.completed(fresh)
    return weights


def test_what_a_driver_missed_of_one_process_is_not_given_to_the_other():
    window = ShareWindow()
    steady(window, range(60), lambda _: [(1, 0.6), (2, 0.2)])

    weights = steady(window, [60], lambda _: [(2, 0.2)])

    # 0.8 of active time were to be explained and 0.2 were; of the rest three parts in four are a's, but for rounding.
    assert weights[A] / sum(weights.values()) == pytest.approx(0.75 * 0.75, abs=0.02)


def test_over_time_missing_samples_favour_nobody():
    window, shares, chance = ShareWindow(), [], random.Random(1)
    for second in range(2000):
        weights = steady(window, [second], lambda _: [s for s in ((1, 0.6), (2, 0.2)) if chance.random() > 0.1])
        shares.append(weights.get(A, 0) / sum(weights.values()))

    assert sum(shares[60:]) / len(shares[60:]) == pytest.approx(0.75, abs=0.01)


def test_samples_that_explain_all_of_the_active_time_stand_as_they_are():
    window = ShareWindow()
    steady(window, range(60), lambda _: [(1, 0.6), (2, 0.2)])

    assert steady(window, [60], lambda _: [(2, 0.8)]) == {B: 800}
    assert steady(window, [61], lambda _: [(2, 0.1)], active_ppm=100_000) == {B: 100}


def test_what_stands_in_follows_a_change_within_seconds():
    window = ShareWindow()
    steady(window, range(50), lambda _: [(1, 0.8)])
    steady(window, range(50, 60), lambda _: [(2, 0.8)])

    assert window.latest() == {B: 8000}


def test_what_was_delivered_before_the_first_interval_tells_nothing_of_how_much_to_expect():
    window = ShareWindow()
    window.add(0, [ShareSample(1, 0, 0.5)] * 16, {1: A})

    assert steady(window, [1, 2], lambda _: [(2, 0.5)], active_ppm=500_000) == {B: 500}


def test_the_first_method_is_taken_at_once():
    assert MethodChooser(60).choose(Method.SM, 0, ALL) is Method.SM


def test_another_method_has_to_hold_before_it_is_taken():
    chooser = MethodChooser(60)
    chooser.choose(Method.MEMORY, 0, ALL)

    assert chooser.choose(Method.SM, 100, ALL) is Method.MEMORY
    assert chooser.choose(Method.SM, 159, ALL) is Method.MEMORY
    assert chooser.choose(Method.SM, 160, ALL) is Method.SM


def test_at_first_a_better_method_is_taken_at_once_and_a_worse_one_is_not():
    chooser = MethodChooser(60)
    chooser.choose(Method.MEMORY, 0, ALL)

    assert chooser.choose(Method.EQUAL, 5, ALL) is Method.MEMORY
    assert chooser.choose(Method.SM, 6, ALL) is Method.SM
    assert chooser.choose(Method.MEMORY, 7, ALL) is Method.SM


def test_a_method_that_comes_and_goes_is_not_taken():
    chooser = MethodChooser(60)
    chooser.choose(Method.MEMORY, 0, ALL)
    chooser.choose(Method.SM, 100, ALL)
    chooser.choose(Method.MEMORY, 140, ALL)

    assert chooser.choose(Method.SM, 180, ALL) is Method.MEMORY


def test_a_method_that_cannot_be_used_any_more_is_left_at_once():
    chooser = MethodChooser(60)
    chooser.choose(Method.SM, 0, ALL)

    assert chooser.choose(Method.EQUAL, 1, {Method.EQUAL}) is Method.EQUAL


moments = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.integers(0, 1_000_000),
        st.sampled_from([{}, {1: A}, {1: A, 2: B}]),
        st.lists(st.builds(ShareSample, st.integers(1, 3), st.just(0), st.sampled_from([0.0, 0.2, 0.7])), max_size=2),
    ),
    max_size=40,
)


@given(moments)
def test_to_rest_is_to_add_the_same_holders_without_a_sample(several):
    added, rested, now_ns, before = ShareWindow(), ShareWindow(), 0, None
    for seconds, active_ppm, holders, samples in several:
        now_ns += seconds * NS_PER_SECOND
        fresh = added.add(now_ns, samples, holders, active_ppm)
        if holders == before and not samples:
            rested.rest(now_ns, active_ppm)
        else:
            assert rested.add(now_ns, samples, holders, active_ppm) == fresh
        before = holders
        assert rested.available() == added.available()
        assert rested.completed(fresh) == added.completed(fresh)
