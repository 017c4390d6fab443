import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.serving_counters import CounterDeltas
from collectors.serving_engines import mapped_names
from collectors.serving_page import PageReading, TenantCap, read_engine_page
from tests.engines.load import Load
from tests.engines.server import ScriptedEngine


def vllm(*, start=100.0, **counters):
    """A page of one vLLM: ``name=value``."""
    lines = [f'vllm:{name}{{model_name="m"}} {value}' for name, value in counters.items()]
    return read_engine_page("\n".join([*lines, f"process_start_time_seconds {start}", ""]).encode())


def text(page):
    return read_engine_page(page.encode())


def book_all(deltas, pages):
    return [deltas.book(page) for page in pages]


INPUT, CACHED, OUTPUT = ("m", "", "input_tokens"), ("m", "", "cached_tokens"), ("m", "", "output_tokens")


def test_the_first_page_sets_the_base_and_books_nothing():
    gain = CounterDeltas().book(vllm(prompt_tokens_total=1_000_000))
    assert (gain.work, gain.latency, gain.restarted) == ({}, {}, ())


def test_the_first_page_of_an_engine_that_is_known_to_be_new_counts_from_zero():
    gain = CounterDeltas().book(vllm(prompt_tokens_total=70), from_zero=True)
    assert gain.work == {INPUT: 70}


def test_what_is_gained_between_two_pages_is_booked_once():
    deltas = CounterDeltas()
    gains = book_all(deltas, [vllm(prompt_tokens_total=value) for value in (10, 25, 25, 60)])
    assert [gain.work for gain in gains] == [{}, {INPUT: 15}, {}, {INPUT: 35}]


def test_a_counter_that_fell_counts_from_zero_and_is_told():
    deltas = CounterDeltas()
    _, gain = book_all(deltas, [vllm(prompt_tokens_total=500), vllm(prompt_tokens_total=30)])
    assert gain.work == {INPUT: 30}
    assert gain.restarted == ("vllm:prompt_tokens_total",)


def test_a_restart_is_told_by_the_start_time_even_where_the_new_counter_is_higher():
    deltas = CounterDeltas()
    _, gain = book_all(deltas, [vllm(prompt_tokens_total=50), vllm(start=160.0, prompt_tokens_total=80)])
    assert gain.work == {INPUT: 80}
    assert gain.restarted == ("vllm:prompt_tokens_total",)


def test_a_start_time_that_wavers_by_a_second_is_no_restart():
    deltas = CounterDeltas()
    _, gain = book_all(deltas, [vllm(prompt_tokens_total=50), vllm(start=101.0, prompt_tokens_total=80)])
    assert gain.work == {INPUT: 30}


def test_after_a_restart_a_counter_that_was_away_counts_from_zero_when_it_returns():
    pages = [
        vllm(prompt_tokens_total=50, generation_tokens_total=9),
        vllm(start=160.0, prompt_tokens_total=1),
        vllm(start=160.0, prompt_tokens_total=1, generation_tokens_total=12),
    ]
    assert book_all(CounterDeltas(), pages)[2].work == {OUTPUT: 12}


def test_of_two_engines_on_one_page_only_the_one_that_restarted_counts_from_zero():
    pages = [
        f'vllm:prompt_tokens_total{{engine="0",model_name="m"}} {one}\n'
        f'vllm:prompt_tokens_total{{engine="1",model_name="m"}} {two}\n'
        for one, two in ((1000, 500), (40, 510))
    ]
    assert book_all(CounterDeltas(), map(text, pages))[1].work == {INPUT: 50}


def test_a_switch_from_an_old_to_a_new_name_makes_no_jump():
    pages = [
        vllm(request_prompt_tokens_sum=1000),
        vllm(request_prompt_tokens_sum=1010, prompt_tokens_total=900_000),
        vllm(prompt_tokens_total=900_020),
    ]
    gains = book_all(CounterDeltas(), pages)
    assert [gain.work for gain in gains] == [{}, {}, {INPUT: 20}]
    assert gains[1].rebased == ("vllm:prompt_tokens_total",)


def test_a_switch_to_a_name_that_stands_lower_makes_no_jump_either():
    pages = [vllm(request_prompt_tokens_sum=1000), vllm(prompt_tokens_total=600), vllm(prompt_tokens_total=605)]
    assert [gain.work for gain in book_all(CounterDeltas(), pages)] == [{}, {}, {INPUT: 5}]


def test_an_upgrade_that_restarts_the_engine_under_new_names_loses_nothing():
    pages = [vllm(request_prompt_tokens_sum=1000), vllm(start=200.0, prompt_tokens_total=33)]
    gain = book_all(CounterDeltas(), pages)[1]
    assert (gain.work, gain.restarted) == ({INPUT: 33}, ("vllm:prompt_tokens_total",))


def test_labels_that_all_change_without_a_restart_make_no_jump():
    pages = [
        'vllm:prompt_tokens_total{model_name="m"} 800\n',
        'vllm:prompt_tokens_total{engine="0",model_name="m"} 805\n',
    ]
    gain = book_all(CounterDeltas(), map(text, pages))[1]
    assert (gain.work, gain.rebased) == ({}, ("vllm:prompt_tokens_total",))


def test_labels_that_all_change_while_the_sum_falls_are_a_restart():
    pages = [
        'vllm:prompt_tokens_total{model_name="m"} 800\n',
        'vllm:prompt_tokens_total{engine="0",model_name="m"} 5\n',
    ]
    gain = book_all(CounterDeltas(), map(text, pages))[1]
    assert (gain.work, gain.restarted) == ({INPUT: 5}, ("vllm:prompt_tokens_total",))


def test_a_counter_that_appears_later_began_at_zero():
    pages = ["sglang:num_running_reqs 0\n", 'sglang:prompt_tokens_total{model_name="m"} 12\n']
    assert book_all(CounterDeltas(), map(text, pages))[1].work == {INPUT: 12}


def test_a_series_that_leaves_the_page_and_comes_back_as_it_was_makes_no_jump():
    label = 'vllm:request_success_total{{finished_reason="{}",model_name="m"}} {}\n'
    pages = [
        label.format("stop", 90) + label.format("length", 10),
        label.format("stop", 91),
        label.format("stop", 92) + label.format("abort", 1),
        label.format("stop", 92) + label.format("length", 11),
    ]
    gained = [gain.work.get(("m", "", "requests"), 0) for gain in book_all(CounterDeltas(), map(text, pages))]
    assert gained == [0, 1, 2, 1]


def test_cached_tokens_are_not_counted_among_the_input_tokens_again():
    pages = [
        vllm(prompt_tokens_total=0, prompt_tokens_cached_total=0),
        vllm(prompt_tokens_total=1000, prompt_tokens_cached_total=640),
    ]
    assert book_all(CounterDeltas(), pages)[1].work == {INPUT: 360, CACHED: 640}


def test_cached_tokens_that_are_counted_ahead_of_their_prompt_are_set_off_later():
    values = [(0, 0), (0, 640), (1000, 640), (1100, 640)]
    pages = [vllm(prompt_tokens_total=prompt, prefix_cache_hits_total=cached) for prompt, cached in values]
    gains = [gain.work.get(INPUT, 0) for gain in book_all(CounterDeltas(), pages)]
    assert gains == [0, 0, 360, 100]


def test_a_restart_forgives_cached_tokens_whose_prompt_was_never_finished():
    pages = [
        vllm(prompt_tokens_total=0, prefix_cache_hits_total=0),
        vllm(prompt_tokens_total=0, prefix_cache_hits_total=640),
        vllm(start=200.0, prompt_tokens_total=50, prefix_cache_hits_total=0),
    ]
    assert book_all(CounterDeltas(), pages)[2].work == {INPUT: 50}


def first_tokens(fast, count, seconds):
    name, label = "vllm:time_to_first_token_seconds", 'model_name="m"'
    return text(
        f'{name}_bucket{{le="0.1",{label}}} {fast}\n{name}_bucket{{le="+Inf",{label}}} {count}\n'
        f"{name}_sum{{{label}}} {seconds}\n{name}_count{{{label}}} {count}\n"
    )


def test_latency_gains_are_whole_observations_and_nanoseconds():
    gain = book_all(CounterDeltas(), [first_tokens(1, 2, 1.5), first_tokens(4, 6, 2.75)])[1]
    first = gain.latency["m", "time_to_first_token"]
    assert (first.buckets, first.count, first.sum_ns) == ({0.1: 3, math.inf: 4}, 4, 1_250_000_000)


def test_a_sum_that_falls_by_its_last_digits_is_no_restart():
    pages = [vllm(request_prefill_time_seconds_sum=0.30000000000000004), vllm(request_prefill_time_seconds_sum=0.3)]
    gain = book_all(CounterDeltas(), pages)[1]
    assert (gain.phase_ns, gain.restarted) == ({}, ())


def test_prefill_and_decode_time_are_booked_in_nanoseconds():
    pages = [vllm(request_decode_time_seconds_sum=1.0), vllm(request_decode_time_seconds_sum=1.5)]
    assert book_all(CounterDeltas(), pages)[1].phase_ns == {("m", "decode"): 500_000_000}


def test_tenants_beyond_the_cap_are_gained_as_one():
    cap, deltas = TenantCap(1), CounterDeltas()
    line = 'vllm:prompt_tokens_total{{model_name="m",user="{}"}} {}\n'
    pages = ["".join(line.format(user, base + number) for number, user in enumerate("abc")) for base in (100, 200)]
    reading = PageReading(tenant_label="user")
    _, gain = (deltas.book(read_engine_page(page.encode(), reading, cap)) for page in pages)
    assert gain.work == {("m", "a", "input_tokens"): 100, ("m", "__other__", "input_tokens"): 200}


@given(st.lists(st.floats(0, 1000, allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_no_part_of_a_unit_is_ever_lost(steps):
    names, deltas, value = mapped_names({"work_done": "samples"}), CounterDeltas(), 0.0
    booked = 0
    for step in [0.0, *steps]:
        value += step
        page = read_engine_page(f"work_done {value!r}\n".encode(), PageReading(engines=(names,)))
        booked += deltas.book(page).work.get(("", "", "samples"), 0)
    assert value - 1.001 <= booked <= value + 0.001


@given(
    st.lists(
        st.one_of(st.tuples(st.just("serve"), st.integers(0, 40)), st.tuples(st.just("restart"), st.booleans())),
        max_size=15,
    ),
    st.sampled_from(["vllm", "sglang", "nim"]),
)
def test_over_restarts_and_upgrades_all_that_was_read_is_booked_exactly_once(events, kind):
    engine = ScriptedEngine(kind, model="m", clock=lambda: 0.0)
    load, deltas = Load(input_tokens=7, cached_tokens=3, output_tokens=5), CounterDeltas()
    booked = dict.fromkeys(("requests", "input_tokens", "cached_tokens", "output_tokens"), 0)
    engine._server.server_close()
    deltas.book(read_engine_page(engine.page().encode()))
    for event, value in events:
        if event == "serve":
            engine.serve(value, load)
        elif kind != "sglang":
            engine.restart(old_names=value)
        for (_, _, name), amount in deltas.book(read_engine_page(engine.page().encode())).work.items():
            booked[name] += amount
    truth = engine.truth()
    if kind == "nim":
        assert booked | {"cached_tokens": 0} == truth | {"cached_tokens": 0}
    else:
        assert booked == truth | {"input_tokens": truth["input_tokens"] - truth["cached_tokens"]}


@pytest.mark.parametrize("pages", [("vllm:prompt_tokens_total 5\n", "vllm:num_requests_running 1\n")])
def test_a_page_that_tells_less_than_before_books_nothing(pages):
    assert book_all(CounterDeltas(), map(text, pages))[1].work == {}
