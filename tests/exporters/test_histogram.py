from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from exporters.catalogue_work import TIME_TO_FIRST_TOKEN
from exporters.exposition import render
from exporters.histogram import HistogramCache

MODEL = ('lla"ma', "container", "chat")


def page(*rows, cache=None, openmetrics=False):
    family = (cache or HistogramCache(TIME_TO_FIRST_TOKEN, "n")).family(rows)
    return render([family], openmetrics=openmetrics).decode()


def buckets(text, parse=openmetrics):
    (family,) = parse(text)
    return {s.labels.get("le", s.name.rsplit("_", 1)[-1]): s.value for s in family.samples}


def test_buckets_are_cumulative_with_their_count_and_sum():
    text = page((MODEL, 7, 2_500_000_001, {500_000_000: 4, 100_000_000: 2}), openmetrics=True)
    assert buckets(text) == {"0.1": 2, "0.5": 6, "+Inf": 7, "sum": 2.500000001, "count": 7}
    assert text.startswith("# TYPE wattledger_time_to_first_token_seconds histogram\n")
    assert r'model="lla\"ma",holder_kind="container",holder="chat",le="0.1"} 2' in text


def test_both_formats_say_the_same():
    row = (MODEL, 3, 9, {1_000_000_000: 2})
    assert buckets(page(row), plain) == buckets(page(row, openmetrics=True))


def test_what_was_never_observed_has_no_series():
    assert page((MODEL, 0, 0, {1: 0})) == ""


def test_a_series_that_left_and_comes_again_is_the_same():
    cache = HistogramCache(TIME_TO_FIRST_TOKEN, "n")
    row = (MODEL, 1, 1, {1: 1})
    before = page(row, cache=cache)
    cache.keep([])
    assert page(row, cache=cache) == before


@given(st.dictionaries(st.integers(1, 10**12), st.integers(0, 10**6), max_size=9), st.integers(0, 5))
def test_any_histogram_is_one_that_a_strict_parser_takes(counts, above):
    count = sum(counts.values()) + above
    text = page((MODEL, count, 1, counts), openmetrics=True)
    if count:
        assert buckets(text)["+Inf"] == count
