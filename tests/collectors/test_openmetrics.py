import io
import math

import pytest

from collectors.errors import Unavailable
from collectors.openmetrics import PageRefused, Sample, parse_mapped, read_page


def samples(page, *names, **options):
    return list(parse_mapped(page, names, **options).samples)


def test_only_mapped_names_are_read():
    page = '# TYPE a counter\na{x="1"} 1\nab 2\na_total 3\nb{y="2",} 4.5e1\n'
    assert samples(page, "a", "b") == [Sample("a", {"x": "1"}, 1.0), Sample("b", {"y": "2"}, 45.0)]


def test_a_prefix_maps_every_name_that_starts_with_it():
    page = "DCGM_FI_DEV_GPU_TEMP 1\nDCGM_FI_ 2\nXDCGM_FI_A 3\n"
    found = parse_mapped(page, (), prefixes=("DCGM_FI_",)).samples
    assert [(s.name, s.value) for s in found] == [("DCGM_FI_DEV_GPU_TEMP", 1.0), ("DCGM_FI_", 2.0)]


def test_names_that_begin_alike_are_kept_apart():
    names = ("a", "a_b", "a_bc", "b" * 5000, "b.c")
    page = "".join(f"{name} 1\n" for name in ("a_b", "a_", "a_bcd", "a", "a_bc", "b" * 5000, "b" * 4999))
    assert [s.name for s in parse_mapped(page, names).samples] == ["a_b", "a", "a_bc", "b" * 5000]


def test_no_mapped_name_gives_no_sample():
    assert samples("a 1\n") == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"a\"b", 'a"b'),
        (r"a\\", "a\\"),
        (r"a\nb", "a\nb"),
        (r"\\n", r"\n"),
        (r"\t", r"\t"),
        ("a,b={c}", "a,b={c}"),
        ("} 1 # {", "} 1 # {"),
        ("é ☃", "é ☃"),
        ("", ""),
    ],
)
def test_label_values_are_read_to_the_letter(text, value):
    assert samples(f'a{{x="{text}",y="2"}} 7\n', "a") == [Sample("a", {"x": value, "y": "2"}, 7.0)]


@pytest.mark.parametrize(
    "line", ["a 7", "  a 7", "a\t7", "a{} 7", "a { } 7 ", "\ta \t{ }\t7", "a 7.", "a +7e0", "a .7e1"]
)
def test_blanks_and_spellings_of_a_number_do_not_matter(line):
    assert samples(f"{line}\n", "a") == [Sample("a", {}, 7.0)]


def test_blanks_within_labels_and_a_trailing_comma_are_allowed():
    assert samples('a{ x = "1" , y="2", } 7\n', "a") == [Sample("a", {"x": "1", "y": "2"}, 7.0)]


def test_a_quoted_name_is_a_name():
    page = '{"my.metric",x="1"} 1\n{"other.metric"} 2\n{"a"} 3\n{"my.metric", "le.x"="2"} 4\n'
    assert samples(page, "my.metric", "a") == [
        Sample("my.metric", {"x": "1"}, 1.0),
        Sample("a", {}, 3.0),
        Sample("my.metric", {"le.x": "2"}, 4.0),
    ]


def test_nan_is_absent_and_counted():
    page = parse_mapped('a NaN\nb 1\nc nan\nd{x="\\\\"} NaN\n', ("a", "b", "c", "d"))
    assert (page.samples, page.nan_samples) == ((Sample("b", {}, 1.0),), 3)


def test_infinities_are_kept():
    assert [s.value for s in samples("a +Inf\nb -Inf\nc inf\n", "a", "b", "c")] == [math.inf, -math.inf, math.inf]


def test_timestamps_are_milliseconds_in_the_text_format_and_seconds_in_openmetrics():
    assert samples("a 1 1500\n", "a")[0].timestamp_seconds == 1.5
    assert samples("a 1 1500\n# EOF\n", "a")[0].timestamp_seconds == 1500
    assert samples("a 1 1500\n# EOF\n", "a", openmetrics=False)[0].timestamp_seconds == 1.5


def test_an_exemplar_is_left_out():
    page = 'a_bucket{le="1"} 3 # {trace="x}"} 0.5\na_bucket{le="2"} 4 12 # {trace="y"} 0.6 12.5\n# EOF\n'
    assert samples(page, "a_bucket") == [
        Sample("a_bucket", {"le": "1"}, 3.0),
        Sample("a_bucket", {"le": "2"}, 4.0, 12.0),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a", "allowed: a value"),
        ("a x", "'x' is not a number"),
        ("a 1_0", "'1_0' is not a number"),
        ("a 0x1", "'0x1' is not a number"),
        ("a 1e999", "does not fit"),
        ("a 1 z", "timestamp 'z' is not a number"),
        ("a 1 NaN", "is not finite"),
        ("a 1 2 3", "at most a timestamp"),
        ("a 1\r", "'1\\r' is not a number"),
        ("a\u0663 1", "allowed: a value"),
        ("a \u0661", "is not a number"),
        ("a.b 1", "allowed: a value"),
        ('a{x="1"', "within the labels"),
        ('a{x="1} 2', "within the labels"),
        ("a{x=1} 2", "within the labels"),
        ("a{,} 2", "within the labels"),
        ('a{x="1",,y="2"} 2', "within the labels"),
        ('a{x="1"y="2"} 2', "within the labels"),
        ('a{1="1"} 2', "within the labels"),
        ('a{x="1",x="2"} 2', "label 'x' stands twice"),
        ('a{x="1"}2', "allowed: a value"),
        ('a{x="1"} 1 # {y="2} 2', "within the labels"),
        ('a{x="1"} 1 # {y="2"}', "found exemplar"),
        ('{"a"', "does not start with a metric name"),
        ('{"a",} x', "'x' is not a number"),
    ],
)
def test_a_mapped_line_that_is_not_understood_refuses_the_page(line, words):
    with pytest.raises(PageRefused) as refusal:
        parse_mapped(f'# x\nb 1\n{line}\nb{{x="1"}} 2\n', ("a", "b"))
    assert words in str(refusal.value)
    assert str(refusal.value).startswith("line 3 at byte 8: ")


def test_lines_of_other_names_may_be_anything():
    page = b'Title\n\n# NOTE\n\xff\xfe 1\nother{\xff="1"} x\n{"status": 1}\na 1\nb x\n# HELP c \xff\n'
    assert samples(page, "a") == [Sample("a", {}, 1.0)]


@pytest.mark.parametrize("line", [b'a{x="\xff"} 1', b'a{x="\\\\\xff"} 1', b'{"a",x="\xff"} 1', b"a\xff 1"])
def test_a_mapped_line_that_is_not_utf8_refuses_the_page_with_its_byte_offset(line):
    with pytest.raises(PageRefused, match=r"^line 2 at byte 7: .*(not UTF-8)"):
        parse_mapped("b{é} 1\n".encode()[:6] + b"\n" + line + b"\n", ("a",))


@pytest.mark.parametrize("again", ["a 2", "a{} 1", 'a{x=""} 1', "a NaN"])
def test_one_series_twice_refuses_the_page(again):
    with pytest.raises(PageRefused, match=r"line 2 .*series a.* stands twice"):
        parse_mapped(f"a 1\n{again}\n", ("a",))


def test_the_order_of_labels_does_not_hide_a_duplicate():
    with pytest.raises(PageRefused, match="stands twice"):
        parse_mapped('a{x="1",y="2"} 1\na{y="2",x="1"} 1\n', ("a",))
    with pytest.raises(PageRefused, match="stands twice"):
        parse_mapped('a{x="\\"",y="2"} 1\na{y="2",x="\\""} 1\n', ("a",))


def test_label_values_that_only_join_alike_are_no_duplicates():
    assert len(samples('a{x="1",y="2"} 1\na{x="2",y="1"} 1\na{x="1"} 1\na{y="1"} 1\n', "a")) == 4


def test_openmetrics_lets_a_series_stand_again_later():
    page = "a 1 1\na 2 2\na 3 2\n# EOF\n"
    assert [(s.value, s.timestamp_seconds) for s in samples(page, "a")] == [(1.0, 1.0), (2.0, 2.0)]
    with pytest.raises(PageRefused, match="stands twice"):
        parse_mapped("a 1 1\na 2 2\n", ("a",))
    with pytest.raises(PageRefused, match="goes back in time"):
        parse_mapped("a 1 2\na 2 1\n# EOF\n", ("a",))


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("", "it is empty"),
        (" \n\n", "it is empty"),
        ("\n <!DOCTYPE html>\n<html>a 1\n", "markup: it starts '<!DOCTYPE html>"),
        ('{"status": "ok"}\n', "not a metrics page"),
        ("404 page not found\n", "not a metrics page"),
    ],
)
def test_what_is_no_metrics_page_is_refused(page, words):
    with pytest.raises(PageRefused, match=words):
        parse_mapped(page, ("a",))


@pytest.mark.parametrize("page", ["# TYPE a counter\n", "# EOF", "b 1\n", 'b{x="1"} 1 2\n', '{"b.c"} 1\n', "a NaN\n"])
def test_a_metrics_page_without_a_mapped_sample_is_no_error(page):
    assert samples(page, "a") == []


def test_a_page_cut_off_in_a_mapped_line_is_refused():
    with pytest.raises(PageRefused, match="cut off: its last line 'a 12' does not end"):
        parse_mapped("b 1\na 12", ("a",))
    assert samples("a 1\nb 12", "a") == [Sample("a", {}, 1.0)]
    assert samples("b 1\na 12", "a", whole=True) == [Sample("a", {}, 12.0)]


def test_an_openmetrics_page_without_its_end_is_refused():
    with pytest.raises(PageRefused, match="cut off: an OpenMetrics page ends"):
        parse_mapped("a 1\n", ("a",), openmetrics=True)
    assert samples("a 1\n# EOF", "a", openmetrics=True) == [Sample("a", {}, 1.0)]


def test_too_many_series_refuse_the_page_naming_the_limit():
    page = "".join(f'a{{x="{i}"}} 1\n' for i in range(200_000))
    with pytest.raises(PageRefused, match="more than 20000 mapped samples"):
        parse_mapped(page, ("a",))
    assert samples(page + "b 1\n", "b", max_samples=1) == [Sample("b", {}, 1.0)]
    assert len(samples(page, "a", max_samples=200_000)) == 200_000


class Endless:
    def __init__(self):
        self.given = 0

    def read(self, size, /):
        self.given += size
        return b"x" * size


def test_a_page_that_never_ends_is_refused_at_the_limit():
    stream = Endless()
    with pytest.raises(PageRefused, match="longer than the limit of 100000 bytes"):
        read_page(stream, 100_000)
    assert stream.given < 300_000


def test_a_page_as_long_as_the_limit_is_read():
    assert read_page(io.BytesIO(b"x" * 100_000), 100_000) == b"x" * 100_000


def test_a_refusal_means_that_the_source_is_unavailable_now():
    assert issubclass(PageRefused, Unavailable)
