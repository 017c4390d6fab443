import subprocess
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporters import catalogue, catalogue_agent, catalogue_books, catalogue_gpu
from exporters.exposition import Family, SeriesCache, decimal, decimals, escape, render
from exporters.metric import KUBERNETES_HOLDER_LABELS

PARSERS = pytest.mark.parametrize(("parse", "openmetrics"), [(parse_text, False), (parse_openmetrics, True)])


def samples(parse, families, openmetrics):
    page = render(families, openmetrics=openmetrics).decode()
    return [sample for family in parse(page) for sample in family.samples]


SINGLE = [metric for metric in catalogue.ALL if metric.kind != "histogram"]


def one_of_each():
    """Each metric of the catalogue with one series; histograms, which have several, have a test of their own."""
    for metric in SINGLE:
        series = SeriesCache(metric, "n1")
        names = [name for name in metric.label_names(("holder_kind", "holder")) if name != "node"]
        values = tuple(f"value of {name}" for name in names)
        yield series.family([(values, 1)])


@given(st.integers(), st.sampled_from([3, 9]))
def test_a_decimal_is_the_integer_to_the_last_digit(amount, places):
    assert Fraction(decimal(amount, places)) == Fraction(amount, 10**places)


@given(st.lists(st.integers(-(10**20), 10**20)), st.integers(1, 15))
def test_many_decimals_are_written_as_each_is(amounts, places):
    assert decimals(amounts, places) == [decimal(amount, places) for amount in amounts]


def test_a_decimal_reads_as_people_write_it():
    assert decimal(1234567890123, 9) == "1234.567890123"
    assert decimal(0, 3) == "0.000"
    assert decimal(-5, 3) == "-0.005"


def test_the_text_format_is_byte_exact():
    energy = SeriesCache(catalogue_books.GPU_ENERGY, "n1").exact_family([(("GPU-1",), 1500)])
    power = SeriesCache(catalogue_gpu.GPU_POWER_LIMIT, "n1").family([(("GPU-1",), 700.5), (("GPU-2",), None)])
    assert render([energy, power], openmetrics=False).decode() == (
        "# HELP wattledger_gpu_energy_joules_total "
        "Energy by the device's own counter: the control figure of account_energy_joules.\n"
        "# TYPE wattledger_gpu_energy_joules_total counter\n"
        'wattledger_gpu_energy_joules_total{node="n1",gpu_uuid="GPU-1"} 1.500\n'
        "# HELP wattledger_gpu_power_limit_watts The power limit in force.\n"
        "# TYPE wattledger_gpu_power_limit_watts gauge\n"
        'wattledger_gpu_power_limit_watts{node="n1",gpu_uuid="GPU-1"} 700.5\n'
    )


def test_openmetrics_is_byte_exact():
    energy = SeriesCache(catalogue_books.GPU_ENERGY, "n1").exact_family([(("GPU-1",), 1500)])
    build = SeriesCache(catalogue_agent.BUILD_INFO, "n1").family([(("0.1.0", "3.11"), 1)])
    assert render([energy, build], openmetrics=True).decode() == (
        "# TYPE wattledger_gpu_energy_joules counter\n"
        "# UNIT wattledger_gpu_energy_joules joules\n"
        "# HELP wattledger_gpu_energy_joules "
        "Energy by the device's own counter: the control figure of account_energy_joules.\n"
        'wattledger_gpu_energy_joules_total{node="n1",gpu_uuid="GPU-1"} 1.500\n'
        "# TYPE wattledger_build info\n"
        "# HELP wattledger_build The agent that serves this page.\n"
        'wattledger_build_info{node="n1",version="0.1.0",python="3.11"} 1\n'
        "# EOF\n"
    )


@PARSERS
def test_every_metric_can_be_read_back(parse, openmetrics):
    read = samples(parse, one_of_each(), openmetrics)
    assert [sample.name for sample in read] == [metric.name for metric in SINGLE]
    fleet = {metric.name for metric in catalogue.ALL if metric.of_fleet}
    assert {sample.name: sample.labels.get("node") for sample in read} == {
        sample.name: None if sample.name in fleet else "n1" for sample in read
    }


@PARSERS
@given(node=st.text(), value=st.text())
def test_any_label_value_survives_the_way(parse, openmetrics, node, value):
    series = SeriesCache(catalogue_agent.COLLECTOR_UP, node)
    (sample,) = samples(parse, [series.family([((value,), 1)])], openmetrics)
    assert sample.labels == {"node": node.replace("\x00", "\ufffd"), "collector": value.replace("\x00", "\ufffd")}


@PARSERS
@given(amount=st.integers(min_value=0, max_value=10**24))
def test_an_exact_amount_reads_back_as_the_nearest_float(parse, openmetrics, amount):
    series = SeriesCache(catalogue_books.GPU_ACCOUNTED_SECONDS, "n1")
    (sample,) = samples(parse, [series.exact_family([(("GPU-1",), amount)])], openmetrics)
    assert sample.value == amount / 10**9


@PARSERS
@given(value=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53))
def test_a_plain_value_reads_back_as_it_was(parse, openmetrics, value):
    series = SeriesCache(catalogue_agent.HOST_LOAD1, "n1")
    (sample,) = samples(parse, [series.family([((), value)])], openmetrics)
    assert sample.value == value


def test_bytes_that_are_no_text_become_the_replacement_character():
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert escape(name) == "caf\ufffd"


def test_what_is_absent_or_no_number_has_no_line():
    rows = [(("a",), None), (("b",), float("nan")), (("c",), float("inf")), (("d",), 0)]
    family = SeriesCache(catalogue_agent.COLLECTOR_UP, "n1").family(rows)
    assert family.lines == [('wattledger_collector_up{node="n1",collector="d"} ', 0)]


def test_a_family_without_series_leaves_no_trace():
    assert render([Family(catalogue_agent.HOST_LOAD1, [])], openmetrics=False) == b""
    assert render([Family(catalogue_agent.HOST_LOAD1, [])], openmetrics=True) == b"# EOF\n"


def test_a_series_is_built_once():
    series = SeriesCache(catalogue_agent.COLLECTOR_UP, "n1")
    assert series.prefix("nvml") is series.prefix("nvml")


def test_series_that_are_gone_are_forgotten():
    series = SeriesCache(catalogue_agent.COLLECTOR_UP, "n1")
    kept = series.prefix("kept")
    for number in range(20_000):
        series.family([((f"pod-{number}",), 1), (("kept",), 1)])
    assert len(series._known) < 2000
    assert series.prefix("kept") is kept


def test_a_wrong_number_of_labels_is_refused():
    series = SeriesCache(catalogue_books.ACCOUNT_ENERGY, "n1", holder_labels=KUBERNETES_HOLDER_LABELS)
    with pytest.raises(ValueError, match=r"wattledger_account_energy_joules_total has labels .*'pod'.*got 1 values"):
        series.prefix("GPU-1")


def test_dimensions_of_the_installation_follow_the_declared_labels():
    series = SeriesCache(catalogue_books.HOLDER_INFO, "n1", dimensions=("cost_center",))
    assert series.prefix("user", "ada", "w", "t", "e", "", "4711").endswith('pod_uid="",cost_center="4711"} ')


@pytest.mark.tool("promtool")
def test_promtool_finds_nothing_to_say(require_tool):
    page = render(one_of_each(), openmetrics=False)
    check = subprocess.run([require_tool("promtool"), "check", "metrics"], input=page, capture_output=True, check=False)
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")
