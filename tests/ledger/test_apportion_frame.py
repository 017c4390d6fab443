"""Whole frames at once agree with Python's own integers, group by group."""

from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.apportion import apportion
from ledger.apportion_frame import apportion_over, round_over

NS_PER_HOUR = 3_600_000_000_000
GROUPS = st.lists(
    st.tuples(st.integers(-(2**62), 2**62), st.lists(st.integers(0, 2**52), min_size=1, max_size=9)),
    min_size=1,
    max_size=6,
)


def split(frame, **others):
    plan = apportion_over(
        frame.lazy(), whole="whole", weight="weight", by=["hour", "node"], order=["a", "b"], into="part"
    )
    return plan.collect(**others)


def rows(groups):
    return pl.DataFrame(
        [
            {"hour": at // 2, "node": f"n{at % 2}", "a": f"g{i // 3}", "b": i % 3, "whole": whole, "weight": weight}
            for at, (whole, weights) in enumerate(groups)
            for i, weight in enumerate(weights)
        ],
        schema_overrides={"whole": pl.Int64, "weight": pl.Int64},
    )


@given(GROUPS, st.randoms(use_true_random=False))
def test_each_group_is_split_as_by_pythons_own_integers_whatever_the_order_of_rows(groups, chance):
    frame = rows(groups)
    shuffled = frame[chance.sample(range(frame.height), frame.height)]
    parts = split(shuffled).sort("hour", "node", "a", "b")["part"].to_list()
    assert parts == [part for whole, weights in groups for part in apportion(whole, weights)]


@given(GROUPS)
def test_one_integer_column_orders_as_well_as_several(groups):
    frame = rows(groups).with_row_index("place")
    one = apportion_over(
        frame.lazy(), whole="whole", weight="weight", by=["hour", "node"], order=["place"], into="part"
    )
    assert one.collect()["part"].to_list() == split(frame)["part"].to_list()


def test_rows_stay_where_they_were_and_no_column_is_left_behind():
    frame = rows([(7, [5, 3, 1]), (-7, [5, 3, 1])]).reverse()
    result = split(frame)
    assert result.drop("part").equals(frame)
    assert result["part"].to_list() == [-1, -2, -4, 1, 2, 4]


def test_what_is_not_known_stays_unknown():
    result = split(rows([(None, [1, 2]), (10, [None, 1, 1])]))
    assert result["part"].to_list() == [None, None, None, 5, 5]


def test_an_amount_of_which_nobody_has_a_weight_is_given_to_nobody():
    assert split(rows([(10, [None, None])]))["part"].to_list() == [None, None]


def test_an_empty_frame_stays_empty():
    assert split(rows([(1, [1])]).clear())["part"].dtype == pl.Int64


def test_a_negative_weight_is_refused_by_name():
    with pytest.raises(ValueError, match="weights must not be negative, got -1"):
        split(rows([(1, [1, -1])]))


def test_a_product_past_128_bits_is_refused_not_wrapped():
    frame = rows([(2**62, [2**62] * 9)])
    with pytest.raises(ValueError, match="past 128 bits: apportion smaller amounts"):
        split(frame)


@given(GROUPS.map(lambda groups: groups[:2]))
def test_the_streaming_engine_gives_the_same(groups):
    frame = rows(groups)
    keys = ["hour", "node", "a", "b"]
    assert split(frame, engine="streaming").sort(keys).equals(split(frame).sort(keys))


NUMERATORS = st.lists(st.lists(st.integers(0, 10**18), min_size=1, max_size=6), min_size=1, max_size=5)


def rounded(groups, denominator):
    told = [(g, i, n) for g, numerators in enumerate(groups) for i, n in enumerate(numerators)]
    frame = pl.DataFrame(told, {"g": pl.Int8, "i": pl.UInt8, "n": pl.Int128}, orient="row").lazy()
    return round_over(frame, numerator="n", denominator=denominator, by=["g"], order=["i"], into="part").collect()


@given(NUMERATORS, st.sampled_from([1, 2, 7, NS_PER_HOUR]))
def test_what_is_rounded_adds_up_to_the_sum_rounded_once(groups, denominator):
    parts = rounded(groups, denominator)
    for g, numerators in enumerate(groups):
        own = parts.filter(g=g)["part"].to_list()
        assert sum(own) == round(Fraction(sum(numerators), denominator))
        assert all(abs(part - Fraction(n, denominator)) < 1 for part, n in zip(own, numerators, strict=True))


def test_half_a_unit_goes_to_the_even_sum_and_to_the_largest_remainder():
    assert rounded([[1, 1], [1, 2], [3, 2], [5]], 2)["part"].to_list() == [1, 0, 1, 1, 1, 1, 2]


KINDS_OF_NODE_HOUR = st.lists(
    st.tuples(
        st.integers(1_000_000, 120_000_000_000_000),  # nano-dollars of a node-hour, up to $120,000
        st.lists(st.integers(0, 8 * NS_PER_HOUR), min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=6,
)


@given(KINDS_OF_NODE_HOUR)
def test_parts_of_a_node_hour_times_a_large_fleets_node_hours_of_a_year_agree_with_pythons_own_integers(kinds):
    """Times 12,500 nodes and 8,760 hours: the sums of time, and of time times price, pass 64 bits."""
    times = 12_500 * 8760
    booked = split(rows(kinds)).with_columns(times=pl.lit(times, pl.Int128))
    totals = booked.select(
        usd=(pl.col("part").cast(pl.Int128) * pl.col("times")).sum(),
        ns=(pl.col("weight").cast(pl.Int128) * pl.col("times")).sum(),
        product=(pl.col("weight").cast(pl.Int128) * pl.col("whole").cast(pl.Int128) * pl.col("times")).sum(),
    )
    assert totals.row(0) == (
        sum(usd for usd, _ in kinds) * times,
        sum(sum(weights) for _, weights in kinds) * times,
        sum(usd * sum(weights) for usd, weights in kinds) * times,
    )
    expected = [part * times for usd, weights in kinds for part in apportion(usd, weights)]
    by_row = booked.sort("hour", "node", "a", "b").select(pl.col("part").cast(pl.Int128) * pl.col("times"))
    assert by_row.to_series().to_list() == expected
