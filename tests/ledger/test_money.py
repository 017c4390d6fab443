import re
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import money

GRAMMAR = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")

RATED = {"nano": pl.Int64, "top": pl.Int128, "bottom": pl.Int128}

plain = st.decimals(-(10**9), 10**9, allow_nan=False, places=None).map(lambda d: format(d, "f"))
short = st.decimals(-(10**9), 10**9, allow_nan=False, places=11).map(str)
scientific = st.builds(
    lambda sign, head, tail, exponent: f"{sign}{head}{'.' + tail if tail else ''}e{exponent}",
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 9),
    st.text("0123456789", max_size=20),
    st.integers(-60, 8),
)
amounts = st.one_of(plain, short, scientific)


def read(*texts):
    return money.read(pl.Series(texts, dtype=pl.String))


@given(st.lists(st.one_of(st.none(), amounts), max_size=20))
def test_the_sum_of_a_column_is_the_sum_of_its_texts_to_the_last_digit(texts):
    frame = read(*texts)
    assert frame["valid"].all()
    assert money.exact_sum(frame) == sum((Fraction(text) for text in texts if text is not None), Fraction(0))


@given(amounts)
def test_a_line_is_its_text_rounded_to_the_nearest_nano_unit(text):
    nano = read(text)["nano"][0]
    assert abs(nano - Fraction(text) * 10**9) <= Fraction(1, 2) + Fraction(1, 10**9)


@given(st.text(alphabet="0123456789.,+-eE _$'NaInf٣", max_size=24))
def test_what_is_no_plain_decimal_is_not_read(text):
    frame = read(text)
    well_formed = GRAMMAR.fullmatch(text.strip())
    if not well_formed:
        assert not frame["valid"][0]
    elif abs(Decimal(text.strip())) < money.MOST_UNITS:
        assert frame["valid"][0]


@pytest.mark.parametrize(
    "text",
    [
        "1,5",
        "1,000.50",
        "$1.00",
        "NaN",
        "inf",
        "",
        "1.2.3",
        "1_000",
        "0x1",
        "9000000001",
        "1e30",
        "1e+-5",
        "--1",
        "1 000",
    ],
)
def test_commas_signs_and_words_are_refused(text):
    assert read(text).row(0) == (None, None, None, False)


def test_an_absent_amount_is_absent_and_no_fault():
    assert read(None).row(0) == (None, None, None, True)


def test_blanks_around_a_number_do_not_matter():
    assert read(" 0.00 ", "-7.5 ")["nano"].to_list() == [0, -7_500_000_000]


def test_a_half_goes_to_the_even_nano_unit_on_both_sides_of_zero():
    halves = read("0.0000000005", "0.0000000015", "-0.0000000005", "-0.0000000015")
    assert halves["nano"].to_list() == [0, 2, 0, -2]


def test_a_sum_of_two_columns_keeps_every_digit():
    left, right = read("1.5", None, "1e-25", "2"), read("-0.25", "7", "3e-30", None)
    both = money.plus(left, right, sign=-1)
    assert both["nano"].to_list() == [1_750_000_000, None, 0, 2_000_000_000]
    assert money.exact_sum(both) == Fraction("3.75") + Fraction("1e-25") - Fraction("3e-30")


@given(st.integers(-9 * 10**18, 9 * 10**18), st.decimals("0.000001", "99999", places=12))
def test_another_currency_is_converted_to_the_nearest_nano_dollar(nano, rate):
    top, bottom = Fraction(rate).as_integer_ratio()
    frame = pl.DataFrame({"nano": [nano], "top": [top], "bottom": [bottom]}, schema=RATED)
    converted = frame.select(money.in_usd(pl.col("nano"), pl.col("top"), pl.col("bottom"))).item()
    exact = round(Fraction(nano) * Fraction(rate))
    assert converted == (exact if -(2**63) <= exact < 2**63 else None)
