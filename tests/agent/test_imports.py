"""The agent is a guest on the node: its process never holds what only the controller needs."""

import json
import subprocess
import sys

import pytest

HEAVY = (
    "polars",
    "boto3",
    "botocore",
    "kubernetes",
    "grafanalib",
    "grpc",
    "deltalake",
    "pyarrow",
    "numpy",
    "apscheduler",
)
FOR_PEOPLE = ("rich", "pygments", "pydantic", "pydantic_core", "yaml")
"""Light enough for a command, too heavy for a process that runs for months."""

EVERY_AGENT_MODULE = """
import importlib, pkgutil
import agent
for found in pkgutil.walk_packages(agent.__path__, "agent."):
    importlib.import_module(found.name)
"""
AGENT_COMMAND = """
from cli.main import main
main.get_command(None, "agent")
from cli.config_apart import load_config_apart
load_config_apart(None, {}, {})
import cli.node, cli.kube_node, cli.serving_node
"""


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter holds after running the code."""
    program = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def offenders(modules: set[str], banned: tuple[str, ...]) -> list[str]:
    return sorted(name for name in modules if any(name == ban or name.startswith(f"{ban}.") for ban in banned))


@pytest.mark.parametrize("code", [EVERY_AGENT_MODULE, AGENT_COMMAND], ids=["agent modules", "agent command"])
def test_agent_holds_nothing_heavy(code):
    assert offenders(loaded_by(code), HEAVY) == []


def test_agent_command_holds_nothing_made_for_people():
    assert offenders(loaded_by(AGENT_COMMAND), FOR_PEOPLE) == []


def test_an_offender_would_be_seen():
    assert offenders(loaded_by("import rich.text"), ("rich.text",)) == ["rich.text"]
