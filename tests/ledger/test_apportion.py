from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.apportion import apportion

weights = st.lists(st.integers(0, 10**12), min_size=1, max_size=20)


@given(st.integers(-(10**20), 10**20), weights)
def test_parts_add_up_to_the_whole(whole, shares):
    assert sum(apportion(whole, shares)) == whole


@given(st.integers(0, 10**20), weights.filter(any))
def test_each_part_is_within_one_unit_of_its_exact_share(whole, shares):
    for part, weight in zip(apportion(whole, shares), shares, strict=True):
        assert abs(part - Fraction(whole * weight, sum(shares))) < 1


@given(st.integers(0, 10**20), weights.filter(any))
def test_no_weight_gets_nothing(whole, shares):
    for part, weight in zip(apportion(whole, shares), shares, strict=True):
        assert weight or not part


def test_what_is_left_goes_to_the_largest_remainders_and_ties_to_the_earlier():
    assert apportion(10, [1, 1, 1]) == [4, 3, 3]
    assert apportion(7, [5, 3, 1]) == [4, 2, 1]


def test_without_weights_the_parts_are_equal():
    assert apportion(5, [0, 0]) == [3, 2]


@pytest.mark.parametrize("shares", [[], [1, -1], [-1]])
def test_refuses_no_and_negative_weights(shares):
    with pytest.raises(ValueError, match="weights"):
        apportion(1, shares)
