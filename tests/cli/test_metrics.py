import json

import pytest
from click.testing import CliRunner

from cli.metrics import metrics
from exporters.catalogue import ALL


@pytest.fixture
def show():
    return lambda *arguments: CliRunner().invoke(metrics, arguments)


def test_every_metric_is_listed_with_what_it_says(show):
    out = show().output
    for metric in ALL:
        assert f"{metric.name} " in out
        assert metric.help in out


def test_words_keep_the_metrics_that_have_them_all(show):
    out = show("energy", "account").output
    assert "wattledger_account_energy_joules_total" in out
    assert "wattledger_gpu_temperature_celsius" not in out


def test_what_is_not_standard_says_what_shows_it(show):
    assert "Shown by group host_use." in show("holder_cpu").output
    assert "Shown of memory, graphics, video by group clocks." in show("gpu_clock").output
    assert "Shown" not in show("account_energy").output


def test_word_that_no_metric_has_is_said(show):
    result = show("nosuchword")
    assert (result.exit_code, result.output) == (1, "Error: no metric has nosuchword in its name or help\n")


def test_json_holds_the_catalogue(show):
    assert [entry["name"] for entry in json.loads(show("--json").output)] == [metric.name for metric in ALL]


def test_markdown_has_each_metric(show):
    out = show("--markdown").output
    assert all(metric.name in out for metric in ALL)
