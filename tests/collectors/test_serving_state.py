"""A state of counters that is saved and read again goes on as if nothing had happened."""

import pytest

from collectors.serving_counters import CounterDeltas
from collectors.serving_page import EnginePage, Slot

KEY = ("llama", "", "output_tokens")


def page(tokens, *, start=None, latency=()):
    slots = {("llama", "time_to_first_token"): Slot("ttft_sum", {"a": dict(latency)})} if latency else {}
    return EnginePage(
        "vllm", {KEY: Slot("tokens_total", {"engine=0": {"value": tokens}})}, {}, slots, {}, start_time_seconds=start
    )


def again(deltas):
    return CounterDeltas.restore(deltas.export())


def test_gains_go_on_from_the_saved_base():
    deltas = CounterDeltas()
    deltas.book(page(100.25, start=5.0))
    deltas = again(deltas)
    assert deltas.book(page(110.75, start=5.0)).work == {KEY: 10}
    assert again(deltas).book(page(111.25, start=5.0)).work == {KEY: 1}


def test_a_restart_is_seen_across_a_save():
    deltas = CounterDeltas()
    deltas.book(page(100, start=5.0))
    gain = again(deltas).book(page(120, start=50.0))
    assert gain.work == {KEY: 120}
    assert gain.restarted == ("tokens_total",)


def test_buckets_are_kept_with_their_bounds():
    deltas = CounterDeltas()
    deltas.book(page(1, latency={"sum": 0.5, "count": 1.0, 0.5: 1.0, float("inf"): 1.0}))
    gain = again(deltas).book(page(1, latency={"sum": 1.75, "count": 3.0, 0.5: 2.0, float("inf"): 3.0}))
    (seen,) = gain.latency.values()
    assert (seen.buckets, seen.count, seen.sum_ns) == ({0.5: 1, float("inf"): 2}, 2, 1_250_000_000)


def test_equal_states_give_equal_texts():
    deltas = CounterDeltas()
    deltas.book(page(7))
    text = deltas.export()
    deltas.book(page(7))
    assert deltas.export() == text == again(deltas).export()


@pytest.mark.parametrize("text", ["", "[]", "{}", "[1,2]", "[null,[1],[],[],[]]", "[null,[],[],[],[[]]]", "nonsense"])
def test_what_is_no_state_is_refused(text):
    with pytest.raises(ValueError, match="no exported state of counters"):
        CounterDeltas.restore(text)
