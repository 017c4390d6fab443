from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.folding import OTHER, fold
from exporters.metric import HOST_HOLDER_LABELS, KUBERNETES_HOLDER_LABELS

NOBODY = ("", "", "")
FOLDED = ("", OTHER, "")
PODS = st.tuples(
    st.sampled_from(["GPU-1", "GPU-2"]),
    st.sampled_from(["", "MIG-1"]),
    st.sampled_from(["active", "idle"]),
    st.sampled_from([NOBODY, *(("ns", f"pod-{n}", "main") for n in range(12))]),
).map(lambda labels: (*labels[:-1], *labels[-1]))
SERIES = st.dictionaries(PODS, st.integers(0, 10**18), max_size=60)


def sums(series, width):
    totals = Counter()
    for labels, amount in series.items():
        totals[labels[:-width]] += amount
    return totals


def named(count):
    return {("GPU-1", "active", "user", f"u{n}"): 100 + n for n in range(count)}


@given(series=st.lists(SERIES, min_size=1, max_size=5), cap=st.integers(0, 40))
def test_sums_per_device_and_account_hold_over_any_history(series, cap):
    before = None
    for now in series:
        before = fold(now, cap, holder_labels=KUBERNETES_HOLDER_LABELS, before=before)
        assert sums(before.series, 3) == sums(now, 3)
        assert len([labels for labels in before.series if labels[-3:] not in (NOBODY, FOLDED)]) <= cap


@given(series=st.lists(SERIES, min_size=2, max_size=5), cap=st.integers(0, 40))
def test_a_series_goes_neither_back_nor_forth(series, cap):
    before = fold(series[0], cap, holder_labels=KUBERNETES_HOLDER_LABELS)
    for now in series[1:]:
        after = fold(now, cap, holder_labels=KUBERNETES_HOLDER_LABELS, before=before)
        assert all(labels in after.series for labels in before.series if labels in now)
        assert all(labels in after.hidden for labels in before.hidden if labels in now)
        before = after


def test_below_the_cap_nothing_is_folded():
    folded = fold(named(5), 5)
    assert (folded.series, folded.holders) == (named(5), 0)


def test_the_largest_stay_and_the_rest_is_one_series_per_device_and_account():
    folded = fold(named(5), 3)
    assert folded.series == {
        ("GPU-1", "active", "user", "u4"): 104,
        ("GPU-1", "active", "user", "u3"): 103,
        ("GPU-1", "active", "user", "u2"): 102,
        ("GPU-1", "active", "", OTHER): 201,
    }
    assert folded.holders == 2


def test_a_small_series_once_shown_outlives_a_large_newcomer():
    first = fold(named(3), 3)
    large = ("GPU-1", "active", "user", "newcomer")
    second = fold({**named(3), large: 10**12}, 3, before=first)
    assert large in second.hidden
    assert set(named(3)) <= set(second.series)


def test_what_nobody_holds_is_never_folded():
    nobody = ("GPU-1", "unallocated", "", "")
    assert nobody in fold({**named(5), nobody: 0}, 0).series


def test_a_holder_with_many_series_counts_once():
    series = {("GPU-1", account, "user", "ada"): 1 for account in ("active", "idle", "unmeasured")}
    assert fold(series, 1, holder_labels=HOST_HOLDER_LABELS).holders == 1


@pytest.mark.parametrize(
    ("holder_labels", "other"),
    [(HOST_HOLDER_LABELS, ("", OTHER)), (KUBERNETES_HOLDER_LABELS, ("", OTHER, ""))],
)
def test_the_folded_series_bears_other_where_the_holder_stood(holder_labels, other):
    labels = ("GPU-1", *("x" for _ in holder_labels))
    assert fold({labels: 7}, 0, holder_labels=holder_labels).series == {("GPU-1", *other): 7}
