"""By hand: 300 s of one GPU at 3.60 $ an hour cost 0.30 $; at 400 W they take 120 kJ."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.economics import Point, Window, figures, met_ratio
from agent.economics_settings import EconomicsSettings, Objective
from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from ledger.hours import LatencySum

SECONDS = 300
COST = 300_000_000 * NS_PER_HOUR
ENERGY_MJ = 120_000_000
WORK = {
    ("llama", "requests"): 100,
    ("llama", "input_tokens"): 50_000,
    ("llama", "cached_tokens"): 100_000,
    ("llama", "output_tokens"): 10_000,
}
PHASES = {("llama", "prefill_ns"): 25 * NS_PER_SECOND, ("llama", "decode_ns"): 75 * NS_PER_SECOND}


def spent(work=None, *, cost=COST, energy=ENERGY_MJ, **more):
    return Point(SECONDS * NS_PER_SECOND, cost, energy, WORK if work is None else work, **more)


def llama(point, **settings):
    return figures(point, EconomicsSettings(**settings)).models["llama"]


def test_a_request_bears_its_part_of_all_that_was_spent():
    found = llama(spent())
    assert found.cost_per_request_usd == pytest.approx(0.003)
    assert found.joules_per_request == pytest.approx(1200)
    assert found.requests_per_second == pytest.approx(1 / 3)
    assert found.tokens_per_second == pytest.approx(100 / 3)


def test_tokens_cost_by_weight_where_the_engine_tells_no_phases():
    # 50,000 + 0.1 x 100,000 + 4 x 10,000 = 100,000 weighed tokens for 0.30 $: 3 $ a million, output four times that.
    found = llama(spent())
    assert found.cost_per_million_input_tokens_usd == pytest.approx(3)
    assert found.cost_per_million_output_tokens_usd == pytest.approx(12)


def test_tokens_cost_by_the_engines_own_phases_where_it_tells_them():
    # A quarter of 0.30 $ over 60,000 weighed input tokens, three quarters over 10,000 output tokens.
    found = llama(spent(WORK | PHASES))
    assert found.cost_per_million_input_tokens_usd == pytest.approx(1.25)
    assert found.cost_per_million_output_tokens_usd == pytest.approx(22.5)


@given(
    st.integers(1, 10**9),
    st.integers(0, 10**9),
    st.integers(1, 10**9),
    st.one_of(st.none(), st.tuples(st.integers(1, 10**12), st.integers(1, 10**12))),
    st.floats(0.1, 100),
    st.floats(0, 1),
)
def test_the_tokens_bear_the_whole_cost(fresh, cached, output, phases, weight, cached_weight):
    work = {("llama", "input_tokens"): fresh, ("llama", "cached_tokens"): cached, ("llama", "output_tokens"): output}
    if phases:
        work |= {("llama", "prefill_ns"): phases[0], ("llama", "decode_ns"): phases[1]}
    found = llama(spent(work), output_token_weight=weight, cached_token_weight=cached_weight)
    paid = (fresh + cached * cached_weight) * found.cost_per_million_input_tokens_usd
    paid += output * found.cost_per_million_output_tokens_usd
    assert paid / 1e6 == pytest.approx(0.3)


def test_energy_is_told_by_output_token_by_token_and_turned_round():
    found = llama(spent(WORK | PHASES))
    assert found.joules_per_output_token == pytest.approx(12)
    assert found.joules_per_total_token == pytest.approx(0.75)
    assert found.work_per_joule == {
        kind: pytest.approx(WORK["llama", kind] / 120_000)
        for kind in ("requests", "input_tokens", "cached_tokens", "output_tokens")
    }


def test_no_work_means_absent_not_zero_and_not_infinite():
    assert figures(spent({}), EconomicsSettings()).models == {}
    found = llama(spent({("llama", "input_tokens"): 10}))
    assert found.cost_per_million_input_tokens_usd is not None
    assert (found.cost_per_request_usd, found.cost_per_million_output_tokens_usd) == (None, None)
    assert (found.joules_per_request, found.joules_per_output_token, found.tokens_per_second) == (None, None, None)


def test_without_a_price_there_is_no_cost_and_without_a_counter_no_energy():
    found = llama(spent(cost=None, energy=None))
    assert (found.cost_per_request_usd, found.cost_per_million_input_tokens_usd) == (None, None)
    assert (found.joules_per_request, found.work_per_joule) == (None, {})
    assert found.requests_per_second is not None


def test_energy_of_zero_gives_no_work_per_joule():
    assert llama(spent(energy=0)).work_per_joule == {}


def test_several_models_share_a_holder_by_engine_time_else_by_tokens_else_by_requests():
    def of(work):
        return {
            model: each.cost_per_request_usd for model, each in figures(spent(work), EconomicsSettings()).models.items()
        }

    requests = {("a", "requests"): 10, ("b", "requests"): 30}
    assert of(requests) == {"a": pytest.approx(0.0075), "b": pytest.approx(0.0075)}
    tokens = requests | {("a", "output_tokens"): 10, ("b", "input_tokens"): 40}
    assert of(tokens) == {"a": pytest.approx(0.015), "b": pytest.approx(0.005)}
    phases = tokens | {("a", "decode_ns"): 1, ("b", "prefill_ns"): 3}
    assert of(phases) == {"a": pytest.approx(0.0075), "b": pytest.approx(0.0075)}


def test_a_model_that_only_steps_shares_equally_with_its_like():
    found = figures(spent({("a", "steps"): 1, ("b", "steps"): 9}), EconomicsSettings()).models
    assert found["a"].work_per_joule["steps"] == pytest.approx(1 / 60_000)


LATENCY = {("llama", "time_to_first_token"): LatencySum(10, 1, {100_000_000: 4, 500_000_000: 4, 1_000_000_000: 1})}
FAST = Objective(name="fast", latency="time_to_first_token", seconds=0.7)


def test_tokens_within_an_objective_cost_more_by_those_that_missed_it():
    # Eight of ten met it: 0.30 $ over 0.8 x 160,000 tokens.
    found = llama(spent(latency=LATENCY), objectives=(FAST,))
    assert found.within_objective_usd == {"fast": pytest.approx(0.3 / (0.8 * 0.16))}


@pytest.mark.parametrize(
    ("seconds", "ratio"), [(0.05, None), (0.1, 0.4), (0.4999, 0.4), (0.5, 0.8), (1, 0.9), (9, 0.9)]
)
def test_the_highest_bound_that_is_not_above_the_objective_counts(seconds, ratio):
    assert met_ratio(LATENCY["llama", "time_to_first_token"], seconds) == ratio


def test_an_objective_that_nothing_met_or_tells_of_has_no_cost():
    none_met = {("llama", "time_to_first_token"): LatencySum(3, 1, {100_000_000: 0})}
    assert llama(spent(latency=none_met), objectives=(FAST,)).within_objective_usd == {}
    assert llama(spent(), objectives=(FAST,)).within_objective_usd == {}
    assert met_ratio(LatencySum(), 1) is None


def at(seconds, *, cost=0, tokens=0, flop=None, latency=None):
    work = {("llama", "output_tokens"): tokens}
    return Point(seconds * NS_PER_SECOND, cost * NS_PER_HOUR, 0, work, latency or {}, flop)


def window(*points, seconds=60):
    made = Window()
    for point in points:
        made.add(point, seconds * NS_PER_SECOND)
    return made.figures(EconomicsSettings())


def test_one_point_says_nothing():
    assert window(at(0)) is None


def test_a_window_forgets_what_is_older_than_itself():
    found = window(at(0, tokens=0), at(60, tokens=600), at(120, tokens=660))
    assert found.seconds == 60
    assert found.models["llama"].tokens_per_second == 1


def test_a_sum_that_fell_begins_a_new_window():
    assert window(at(0, tokens=9), at(15, tokens=3)) is None
    assert window(at(0, cost=9), at(15, cost=3), at(30, cost=4, tokens=15)).seconds == 15


def test_a_price_that_came_late_begins_a_new_window():
    unpriced = Point(0, None, 0, {("llama", "output_tokens"): 0})
    assert window(unpriced, at(15, tokens=3), at(30, tokens=9)).seconds == 15


def test_latencies_are_those_of_the_window():
    before, after = LatencySum(1, 1, {5: 1}), LatencySum(3, 4, {5: 1, 9: 2})
    key = ("llama", "time_to_first_token")
    made = Window()
    made.add(at(0, latency={key: before}), NS_PER_HOUR)
    made.add(at(1, latency={key: after}, tokens=1, cost=10**9), NS_PER_HOUR)
    objective = Objective(name="o", latency="time_to_first_token", seconds=5e-9)
    assert made.figures(EconomicsSettings(objectives=(objective,))).models["llama"].within_objective_usd == {}


def test_floating_point_operations_per_joule_are_told_where_no_part_of_the_window_is_unknown():
    def point(seconds, flop):
        return Point(seconds * NS_PER_SECOND, None, seconds * 1000, {}, {}, flop)

    assert window(point(0, 0), point(10, 5 * 10**12)).flop_per_joule == 5 * 10**11
    assert window(point(0, 0), point(5, None), point(10, 5 * 10**12)).flop_per_joule is None
    assert window(point(0, 0), point(5, 10**12), point(10, None)).flop_per_joule is None


def test_objectives_have_names_of_their_own():
    with pytest.raises(ValueError, match="objectives fast stand twice; give each its own name"):
        EconomicsSettings(objectives=(FAST, FAST))
