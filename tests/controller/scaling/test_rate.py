from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import NS_PER_SECOND
from controller.scaling.rate import TokenBucket


def test_a_burst_goes_at_once_and_the_rest_evenly():
    bucket = TokenBucket(per_second=50, burst=3)
    waits = [bucket.take(0) / NS_PER_SECOND for _ in range(6)]
    assert waits == [0, 0, 0, 0.02, 0.04, 0.06]


def test_a_pause_is_saved_up_for_one_burst_only():
    bucket = TokenBucket(per_second=1, burst=2)
    for _ in range(2):
        assert bucket.take(0) == 0
    hour = 3600 * NS_PER_SECOND
    assert [bucket.take(hour) for _ in range(3)] == [0, 0, NS_PER_SECOND]


@given(
    st.integers(1, 100),
    st.integers(1, 20),
    st.lists(st.integers(0, 3 * NS_PER_SECOND), min_size=1, max_size=60),
)
def test_no_stretch_of_time_sees_more_than_rate_and_burst(per_second, burst, pauses_ns):
    bucket, now_ns, turns_ns = TokenBucket(per_second, burst), 0, []
    for pause_ns in pauses_ns:
        now_ns += pause_ns
        turns_ns.append(now_ns + bucket.take(now_ns))
    for first, begin_ns in enumerate(turns_ns):
        for last in range(first, len(turns_ns)):
            seconds = (turns_ns[last] - begin_ns) / NS_PER_SECOND
            assert last - first + 1 <= burst + per_second * seconds + 1e-6


def test_what_slow_answers_cost_is_caught_up_by_a_burst():
    def seconds(burst):
        bucket, now_ns = TokenBucket(per_second=50, burst=burst), 0
        for number in range(1000):
            now_ns += bucket.take(now_ns)
            now_ns += (150 if number % 10 == 0 else 5) * NS_PER_SECOND // 1000
        return now_ns / NS_PER_SECOND

    assert seconds(burst=25) < 1000 / 50 < 1.3 * 1000 / 50 < seconds(burst=1)
