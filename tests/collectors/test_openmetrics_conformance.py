"""Both readers against the 211 published parser cases of OpenMetrics, and against pages rendered by a peer."""

import gzip
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from collectors.openmetrics import parse_mapped
from collectors.openmetrics_strict import PageRefused, parse_strict

VALID, REFUSED = 44, 167


def identity(sample):
    return sample.name, frozenset(sample.labels.items()), sample.timestamp_seconds


def strict_values(page):
    samples = [sample for family in parse_strict(page) for sample in family.samples]
    return [(identity(sample), sample.value) for sample in samples]


def fast_values(page, names, **options):
    return [(identity(sample), sample.value) for sample in parse_mapped(page, names, **options).samples]


def names_of(values):
    return {name for (name, _, _), _ in values}


def without_nan(values):
    return [(key, value) for key, value in values if not math.isnan(value)]


@pytest.fixture(scope="module")
def cases(shared_data):
    path = shared_data / "openmetrics_conformance" / "cases.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_all_published_cases_are_there(cases):
    assert sum(case["shouldParse"] for case in cases) == VALID
    assert len(cases) == VALID + REFUSED


@pytest.mark.parametrize("index", range(VALID + REFUSED))
def test_the_strict_reader_accepts_and_refuses_as_published(cases, index):
    case = cases[index]
    page = case["text"].encode("latin-1")
    if case["shouldParse"]:
        parse_strict(page)
    else:
        with pytest.raises(PageRefused, match=r"^line \d+: "):
            parse_strict(page)


def test_both_readers_give_the_same_values_on_the_valid_cases(cases):
    compared = 0
    for case in cases:
        if not case["shouldParse"]:
            continue
        page = case["text"].encode("latin-1")
        expected = strict_values(page)
        assert fast_values(page, names_of(expected), openmetrics=True) == without_nan(expected), case["name"]
        assert fast_values(page, names_of(expected)) == without_nan(expected), case["name"]
        for name in names_of(expected):
            assert fast_values(page, [name]) == [v for v in without_nan(expected) if v[0][0] == name], case["name"]
        compared += len(expected)
    assert compared > 100


@pytest.mark.parametrize("name", ["vllm_metrics.txt", "triton_metrics_head.txt"])
def test_real_engine_pages_give_what_a_peer_reads(shared_data, name):
    page = (shared_data / "llm_metrics_pages" / name).read_bytes()
    assert_as_peer(page)


@pytest.mark.parametrize("glob", ["*fraction*", "*Active_1g*", "*Idle*"])
def test_real_device_pages_give_what_a_peer_reads(shared_data, glob):
    (path,) = (shared_data / "dcgm_pages").glob(glob)
    text = path.read_text(encoding="utf-8")
    assert_as_peer(text[text.index("# HELP") :].encode())


def assert_as_peer(page):
    families = list(text_string_to_metric_families(page.decode()))
    expected = [
        ((s.name, frozenset(s.labels.items()), s.timestamp), s.value) for family in families for s in family.samples
    ]
    # The peer gives a counter's sample the suffix _total where the page has none.
    as_peer = {f.name: f"{f.name}_total" for f in families if f.type == "counter"}
    names = names_of(expected) | as_peer.keys()
    found = [
        ((as_peer.get(name, name), labels, timestamp), value)
        for (name, labels, timestamp), value in fast_values(page, names, whole=True)
    ]
    assert len(found) > 10
    assert sorted(found, key=repr) == sorted(((key, float(value)) for key, value in without_nan(expected)), key=repr)


label_values = st.text(max_size=12) | st.text(alphabet='\\"\n{}, #=\r\t\x85\u2028n', max_size=8)
amounts = st.floats(min_value=0, max_value=1e300, allow_nan=False)
any_number = st.floats() | st.integers(-(2**63), 2**63).map(float)


@st.composite
def registries(draw):
    registry = CollectorRegistry()
    for index in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from((Counter, Gauge, Histogram)))
        labels = draw(st.lists(st.sampled_from(("a", "b_1", "_c", "model")), unique=True, max_size=3))
        metric = kind(f"m{index}_seconds", draw(label_values), labels, registry=registry)
        for _ in range(draw(st.integers(0, 3))):
            child = metric.labels(*(draw(label_values) for _ in labels)) if labels else metric
            if kind is Histogram:
                child.observe(draw(amounts))
            elif kind is Gauge:
                child.set(draw(any_number))
            else:
                child.inc(draw(amounts))
    return registry


@settings(max_examples=150)
@given(registries())
def test_a_page_rendered_by_a_peer_reads_alike_in_both_modes_and_formats(registry):
    page = generate_openmetrics(registry)
    expected = strict_values(page)
    names = names_of(expected)
    assert fast_values(page, names) == without_nan(expected)
    truth = [((s.name, frozenset(s.labels.items()), None), s.value) for f in registry.collect() for s in f.samples]
    assert dict(without_nan(expected)) == dict(without_nan(truth))
    text_page = generate_latest(registry)
    if text_page:
        found = fast_values(text_page, names_of(truth), openmetrics=False)
        assert dict(found) == dict(without_nan(truth))


@settings(max_examples=300)
@given(st.text(alphabet='ab_{}",=\\\n 1.e#\t', max_size=40))
def test_the_quick_reader_never_takes_a_line_that_the_whole_grammar_refuses(body):
    page = f"a{body}\n# EOF\n"
    try:
        found = fast_values(page, ["a", "ab"])
    except PageRefused:
        return
    try:
        expected = without_nan(strict_values(page))
    except PageRefused:
        return
    assert found == [value for value in expected if value[0][0] in ("a", "ab")]
