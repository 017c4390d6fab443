import math

import pytest

from collectors.openmetrics_families import Exemplar, Family, FamilySample
from collectors.openmetrics_strict import PageRefused, parse_strict

HISTOGRAM = (
    '# TYPE h histogram\nh_bucket{{le="1"}} {low}\nh_bucket{{le="+Inf"}} {high}\nh_count {count}\nh_sum {sum}\n# EOF\n'
)


def refusal(page):
    with pytest.raises(PageRefused) as refused:
        parse_strict(page)
    return str(refused.value)


def test_a_page_gives_its_families_with_type_unit_help_and_samples():
    page = (
        "# TYPE wait_seconds counter\n# UNIT wait_seconds seconds\n# HELP wait_seconds Time \\\\ \\n spent.\n"
        'wait_seconds_total{a="x\\"",b=""} 1.5 12.25 # {id="7"} 0.5 11\nwait_seconds_created{a="x\\"",b=""} 3 12.25\n'
        "# HELP other \nother NaN\n# EOF\n"
    )
    labels = {"a": 'x"', "b": ""}
    first, second = parse_strict(page)
    assert first == Family(
        "wait_seconds",
        "counter",
        "seconds",
        "Time \\ \n spent.",
        (
            FamilySample("wait_seconds_total", labels, 1.5, 12.25, Exemplar({"id": "7"}, 0.5, 11.0)),
            FamilySample("wait_seconds_created", labels, 3.0, 12.25),
        ),
    )
    assert (second.name, second.type, second.unit, second.help) == ("other", "unknown", "", "")
    assert math.isnan(second.samples[0].value)


def test_a_family_without_samples_is_a_family():
    assert parse_strict("# TYPE a gauge\n# EOF") == (Family("a", "gauge", "", "", ()),)


def test_of_equal_times_the_first_counts():
    (family,) = parse_strict("# TYPE a gauge\na 1 0\na 2 0\na 3 1\n# EOF\n")
    assert [(s.value, s.timestamp_seconds) for s in family.samples] == [(1.0, 0.0), (3.0, 1.0)]


def test_points_of_a_histogram_are_checked_each_by_itself():
    point = 'h_bucket{{le="+Inf"}} {n} {t}\nh_count {n} {t}\nh_sum 1 {t}\n'
    page = "# TYPE h histogram\n" + point.format(n=1, t=1) + point.format(n=2, t=2) + "# EOF\n"
    assert len(parse_strict(page)[0].samples) == 6
    assert "they must agree" in refusal(page.replace("h_count 2", "h_count 3"))


def test_a_good_histogram_is_accepted():
    assert len(parse_strict(HISTOGRAM.format(low=1, high=2, count=2, sum=1.5))[0].samples) == 4


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"count": 3}, "line 6: h_count is 3.0, the bucket +Inf 2.0; they must agree"),
        ({"low": 3}, "line 6: bucket inf of h holds 2.0, less than 3.0 before it"),
        ({"low": 0.5}, "line 2: h_bucket is 0.5; allowed: a whole number"),
        ({"count": "NaN"}, "line 4: h_count is nan; allowed: zero or more, never NaN"),
        ({"count": "Inf"}, "line 4: h_count is inf; allowed: a whole number"),
        ({"sum": -1}, "line 5: h_sum is -1.0; allowed: zero or more"),
    ],
)
def test_a_histogram_that_does_not_agree_is_refused(values, words):
    assert words in refusal(HISTOGRAM.format(**({"low": 1, "high": 2, "count": 2, "sum": 1} | values)))


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (b"# EOF\n\xff", "line 2: found byte 0xff at byte 6; allowed: UTF-8"),
        (b'a{b="\xc3"} 1\n# EOF\n', "line 1: found byte 0xc3 at byte 5; allowed: UTF-8"),
        (b"\xef\xbb\xbfa 1\n# EOF\n", "line 1: found '\\ufeffa 1'; allowed: a metric name"),
        ("a 1\r\n# EOF\n", "line 1: value '1\\r' is not a number"),
        ("a 1e999\n# EOF\n", "line 1: value '1e999' does not fit"),
        ("a 1\n", "line 2: found the end of the page; allowed: # EOF as the last line"),
        ("a 1\n# EOF\n\n", "line 3: found '' behind # EOF"),
        ("a 1\na 1\n# EOF\n", "line 2: found a with the same labels again; allowed: once"),
        ("a 1\nb 1\na 2\n# EOF\n", "line 4: found family a again; allowed: once"),
        (
            "# TYPE a counter\na 1\n# EOF\n",
            "line 3: found family a again; allowed: once, its samples named for its type",
        ),
        ("# TYPE a counter\na_created 1\n# EOF\n", "line 3: counter a has no a_total"),
        ("# TYPE a counter\na_total 1\na_created NaN\n# EOF\n", "line 3: a_created is nan; allowed: a time in seconds"),
        (
            '# TYPE a histogram\na_bucket{le="1"} 1 # {} 2\na_bucket{le="+Inf"} 1\n# EOF\n',
            "line 2: found exemplar 2.0 in the bucket up to 1.0",
        ),
        ('# TYPE a summary\na{quantile="2"} 1\n# EOF\n', "line 2: quantile is 2; allowed: 0 to 1"),
        ('# TYPE a gauge\na{x="1"} 1\na{x="2"} 1\na{x="1"} 2\n# EOF\n', "line 4: found a of a metric that ended above"),
        ('a{b="c"} 1 # x\n# EOF\n', "line 1: timestamp '#' is not a number"),
        ("a{" + "b" * 200 + "} 1\n# EOF\n", "..."),
    ],
)
def test_a_refusal_names_the_line_what_was_found_and_what_is_allowed(page, words):
    assert words in refusal(page)


def test_a_summary_quantile_may_be_nan():
    assert len(parse_strict('# TYPE a summary\na{quantile="0.5"} NaN\n# EOF\n')[0].samples) == 1
