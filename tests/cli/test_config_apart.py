import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli import config_apart
from cli.config_apart import load_config_apart
from cli.config_load import load_config
from collectors.errors import Misconfigured

EVERYTHING = """
agent: {interval_seconds: 2, node_name: n7, data_dir: books}
server: {listen: "0.0.0.0:9477", max_connections: 8}
prices:
  node: {usd_per_hour: "21.957642", as_of: 2026-11-01}
  instances: [{instance_type: p5.48xlarge, usd_per_hour: 40, gpus: 8, as_of: 2026-11-01}]
  on_prem: [{capital_usd: 240000, years: 4, mean_watts: 700, tariff_usd_per_kwh: 0.12, as_of: 2026-11-01}]
dcgm: {url: "http://127.0.0.1:9400/metrics"}
host: {proc: /host/proc}
holders: {system_processes: [nvtop]}
kubernetes: {mode: "off", dimensions: [{name: cost_centre, label_keys: [cost]}]}
serving:
  targets: [{url: "http://127.0.0.1:8000/metrics", mapping: {tokens: output_tokens}, holder: {user: ada}}]
economics: {objectives: [{name: fast, latency: end_to_end_latency, seconds: 2}]}
"""
SHOW = """
def show(value):
    if hasattr(value, "model_fields_set"):
        fields = {name: getattr(value, name) for base in type(value).__mro__ for name in vars(base).get("__annotations__", {}) if name[0] != "_" and not name.startswith("model_")}
        return {"class": type(value).__name__, **{name: show(inner) for name, inner in sorted(fields.items())}}
    if isinstance(value, (tuple, list)):
        return [show(inner) for inner in value]
    if isinstance(value, dict):
        return {key: show(inner) for key, inner in value.items()}
    return repr(value)
"""  # noqa: E501
PROGRAM = (
    SHOW
    + """
import json, os, sys
from pathlib import Path
from cli.config_apart import load_config_apart
config = load_config_apart(Path(sys.argv[1]) if sys.argv[1:] else None, os.environ, {})
import cli.node, cli.kube_node, cli.serving_node
loaded = sorted({name.partition(".")[0] for name in sys.modules})
given = sorted(config.agent.model_fields_set)
print(json.dumps({"config": show(config), "loaded": loaded, "given": given}))
"""
)


def show(value):
    names: dict = {}
    exec(SHOW, names)
    return names["show"](value)


@pytest.fixture
def alone(tmp_path):
    """Loads a configuration in an interpreter of its own, as an agent does."""

    def load(text: str | None = None, **environ: str) -> dict:
        file = tmp_path / "c.yaml"
        if text is not None:
            file.write_text(text)
        checkout = str(Path(__file__).parents[2])
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *([str(file)] if text is not None else [])],
            env={**os.environ, "PYTHONPATH": checkout, **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return load


def test_what_a_child_has_checked_is_what_this_process_would_have_loaded(alone, tmp_path):
    found = alone(EVERYTHING)

    assert found["config"] == show(load_config(tmp_path / "c.yaml", {}, {}))


def test_the_defaults_are_the_same_on_both_ways(alone):
    assert alone()["config"] == show(load_config(None, {}, {}))


def test_the_process_that_goes_on_holds_neither_checker_nor_yaml(alone):
    assert {"pydantic", "pydantic_core", "yaml"}.isdisjoint(alone(EVERYTHING)["loaded"])


def test_a_setting_that_was_given_can_be_told_from_a_default(alone):
    assert alone("agent: {data_dir: x}")["given"] == ["data_dir"]
    assert alone()["given"] == []


def test_the_environment_counts(alone):
    assert alone(WATTLEDGER_AGENT__JOURNAL_DAYS="3")["config"]["agent"]["journal_days"] == "3"


def run_in_child(work):
    return config_apart._in_child(work)


def test_a_refusal_in_the_child_is_told_as_it_is():
    def refuse():
        raise Misconfigured("c.yaml:1: agent.journal_days: found 0")

    with pytest.raises(Misconfigured, match=r"^c\.yaml:1: agent\.journal_days: found 0$"):
        run_in_child(refuse)


def test_a_defect_in_the_child_is_no_empty_configuration(capfd):
    with pytest.raises(RuntimeError, match="the process that checks the configuration ended with status"):
        run_in_child(lambda: 1 // 0)

    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_process_that_holds_the_checker_already_asks_no_child(monkeypatch):
    monkeypatch.setattr(config_apart, "_in_child", None)

    assert load_config_apart(None, {}, {}).agent.journal_days == 14
