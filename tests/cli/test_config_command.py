import json

import pytest
import yaml
from click.testing import CliRunner

from cli.config import Config
from cli.config_load import load_config
from cli.main import main


@pytest.fixture
def show():
    return lambda *arguments: CliRunner().invoke(main, ["config", *arguments])


def test_settings_in_force_are_yaml_that_can_be_given_back(show, tmp_path, monkeypatch):
    monkeypatch.setenv("WATTLEDGER_AGENT__JOURNAL_DAYS", "3")
    file = tmp_path / "c.yaml"
    file.write_text(show().output, encoding="utf-8")
    assert load_config(file, {}, {}).agent.journal_days == 3
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["agent"]["series_cap"] == Config().agent.series_cap


def test_check_says_that_a_file_is_good(show, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("agent: {journal_days: 3}", encoding="utf-8")
    assert show("--check", str(file)).output == f"{file}: good\n"


def test_check_of_a_wrong_file_exits_with_two(show, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("agent: {journal_days: 0}", encoding="utf-8")
    result = show("--check", str(file))
    assert result.exit_code == 2
    assert result.output.startswith(f"Error: {file}:1: agent.journal_days: found 0, allowed: ")


def test_schema_refuses_unknown_keys_in_every_section(show):
    schema = json.loads(show("--schema").output)
    assert schema["additionalProperties"] is False
    models = [node for node in schema["$defs"].values() if node.get("type") == "object"]
    assert models
    assert all(model["additionalProperties"] is False for model in models)
