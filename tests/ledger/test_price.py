import itertools
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.clock import NS_PER_HOUR
from ledger.price import Price, cost_numerator, gpu_shares, nano_usd, numerator_usd, to_nano_usd

node_prices = st.integers(min_value=1024, max_value=10**14)
gpu_counts = st.integers(min_value=1, max_value=64)
numerators = st.integers(min_value=0, max_value=10**30)


@given(node_prices, gpu_counts)
def test_the_gpus_of_a_node_add_up_to_its_price_and_differ_by_a_nano_dollar_at_most(nano, gpus):
    shares = gpu_shares(nano, gpus)
    assert sum(shares) == nano
    assert max(shares) - min(shares) <= 1
    assert min(shares) > 0


@given(node_prices, gpu_counts, st.integers(min_value=1, max_value=24))
def test_a_node_held_for_whole_hours_costs_its_price_for_each_to_the_nano_dollar(nano, gpus, hours):
    parts = [cost_numerator(hours * NS_PER_HOUR, share) for share in gpu_shares(nano, gpus)]
    assert sum(to_nano_usd(parts)) == hours * nano


@given(node_prices, gpu_counts, st.lists(st.integers(min_value=0, max_value=NS_PER_HOUR), min_size=1, max_size=8))
def test_an_hour_cut_into_accounts_costs_what_the_hour_costs(nano, gpus, cuts):
    edges = [0, *sorted(cuts), NS_PER_HOUR]
    lengths = [end - start for start, end in itertools.pairwise(edges)]
    parts = [cost_numerator(length, share) for share in gpu_shares(nano, gpus) for length in lengths]
    assert sum(to_nano_usd(parts)) == nano


@given(st.lists(numerators, min_size=1, max_size=50))
def test_parts_in_nano_dollars_add_up_to_their_sum_rounded_once(parts):
    booked = to_nano_usd(parts)
    assert abs(sum(booked) * NS_PER_HOUR - sum(parts)) * 2 <= NS_PER_HOUR
    assert all(part >= 0 for part in booked)
    assert all(abs(cell * NS_PER_HOUR - part) < 2 * NS_PER_HOUR for cell, part in zip(booked, parts, strict=True))


@given(numerators, numerators)
def test_a_cost_that_grows_is_never_shown_falling(before, more):
    assert numerator_usd(before + more) >= numerator_usd(before)


def test_half_a_nano_dollar_goes_to_the_even_one():
    assert to_nano_usd([NS_PER_HOUR // 2]) == [0]
    assert to_nano_usd([3 * NS_PER_HOUR // 2]) == [2]
    assert nano_usd(Decimal("0.0000000005")) == 0
    assert nano_usd(Decimal("0.0000000015")) == 2


def test_dollars_are_read_as_decimals_not_floats():
    assert nano_usd(Decimal("21.957642")) == 21_957_642_000
    assert nano_usd(Decimal("99999.999999999")) == 99_999_999_999_999


@pytest.mark.parametrize(("nano", "gpus"), [(0, 1), (-1, 1), (7, 8), (100, 0)])
def test_a_price_that_leaves_a_gpu_without_cost_is_refused(nano, gpus):
    with pytest.raises(ValueError, match=f"cannot split {nano} nano-dollars over {gpus} GPUs"):
        gpu_shares(nano, gpus)


def test_age_counts_from_the_day_for_which_the_source_vouches():
    price = Price("id", 1, "config", date(2026, 2, 9), "on_demand")
    noon = datetime(2026, 2, 10, 12, tzinfo=UTC)
    assert price.age_seconds(int(noon.timestamp()) * 10**9) == 36 * 3600
    assert price.age_seconds(0) == 0
