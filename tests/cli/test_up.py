"""What is typed after `up` and `agent` reaches the node as one value."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from cli.node_options import NodeOptions, Simulation


@pytest.fixture
def typed(monkeypatch):
    """Gives the options that a command line makes, in place of running a node with them."""
    seen: list[NodeOptions] = []

    def run_node(options: NodeOptions) -> int:
        seen.append(options)
        return 7

    monkeypatch.setattr("cli.node.run_node", run_node)

    def type_(*arguments: str) -> NodeOptions:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 7, result.output
        return seen[-1]

    return type_


def test_up_measures_and_simulates_only_without_a_driver(typed):
    options = typed("up")
    assert options.simulation is None
    assert options.simulate_without_driver


def test_agent_never_simulates(typed):
    options = typed("agent")
    assert options.simulation is None
    assert not options.simulate_without_driver


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--simulate"], Simulation()),
        (["--speed", "600"], Simulation(speed=600)),
        (["--seed", "0"], Simulation(seed=0)),
        (["--scenario", "x.yaml", "--seed", "3"], Simulation(Path("x.yaml"), seed=3)),
    ],
)
def test_each_option_of_the_simulation_asks_for_one(typed, arguments, wanted):
    assert typed("up", *arguments).simulation == wanted


@pytest.mark.parametrize("command", ["up", "agent"])
def test_address_and_directory_override_the_file(typed, tmp_path, command):
    file = tmp_path / "c.yaml"
    file.write_text("server: {listen: 127.0.0.1:1}\nagent: {data_dir: a, journal_days: 3}\n", encoding="utf-8")
    config = typed(command, "--config", str(file), "--listen", "[::1]:2", "--data-dir", "b").config
    assert (config.server.listen, config.agent.data_dir, config.agent.journal_days) == ("[::1]:2", Path("b"), 3)


@pytest.mark.parametrize("option", ["--simulate", "--scenario", "--speed", "--seed"])
def test_agent_does_not_know_the_options_of_the_simulation(option):
    result = CliRunner().invoke(main, ["agent", option, "1"])
    assert result.exit_code == 2
    assert f"No such option '{option}'" in result.output or f"No such option: {option}" in result.output


@pytest.mark.parametrize(("option", "value"), [("--speed", "0.5"), ("--speed", "x"), ("--seed", "-1")])
def test_number_out_of_bounds_is_refused_by_the_option(option, value):
    result = CliRunner().invoke(main, ["up", option, value])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output


def test_address_that_is_none_is_refused_by_the_option():
    result = CliRunner().invoke(main, ["up", "--listen", "9477"])
    assert result.exit_code == 2
    assert result.output == (
        'Error: option --listen: server.listen: found "9477": allowed: HOST:PORT, such as 127.0.0.1:9477, '
        "0.0.0.0:9477 (every interface) or [::1]:9477\n"
    )
