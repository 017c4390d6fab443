import importlib

import click
import pytest
from click.testing import CliRunner

from cli.main import COMMANDS, main
from collectors.errors import Misconfigured, Unavailable


@pytest.fixture
def runner():
    return CliRunner()


@pytest.fixture
def raising(monkeypatch):
    """A command that raises what it is given."""

    def command(error: Exception) -> None:
        def run() -> None:
            raise error

        monkeypatch.setattr(importlib.import_module("cli.metrics"), "metrics", click.command()(run))

    return command


def test_help_names_every_command(runner):
    out = runner.invoke(main, ["--help"]).output
    for name, (_, line) in COMMANDS.items():
        assert f"{name} " in out
        assert line in out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_shows_examples(runner, name):
    result = runner.invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert "Examples" in result.output
    assert f"wattledger {name}" in result.output


def test_version_is_that_of_the_distribution(runner):
    assert runner.invoke(main, ["--version"]).output == "wattledger 0.1.0\n"


def test_unknown_command_is_refused(runner):
    result = runner.invoke(main, ["upp"])
    assert result.exit_code == 2
    assert "No such command 'upp'" in result.output


def test_what_a_person_must_change_is_one_line_and_exit_status_two(runner, raising):
    raising(Misconfigured("c.yaml:1: agent: wrong"))
    result = runner.invoke(main, ["metrics"])
    assert (result.exit_code, result.output) == (2, "Error: c.yaml:1: agent: wrong\n")


def test_what_is_not_there_now_is_one_line_and_exit_status_one(runner, raising):
    raising(Unavailable("no driver"))
    result = runner.invoke(main, ["metrics"])
    assert (result.exit_code, result.output) == (1, "Error: no driver\n")


def test_wrong_setting_stops_the_start_with_one_line(runner, monkeypatch):
    monkeypatch.setenv("WATTLEDGER_AGENT__JOURNAL_DAYS", "0")
    result = runner.invoke(main, ["agent"])
    assert result.exit_code == 2
    assert result.output == (
        "Error: environment variable WATTLEDGER_AGENT__JOURNAL_DAYS: agent.journal_days: found 0, "
        "allowed: a whole number at least 1 and at most 400\n"
    )
