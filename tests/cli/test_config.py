import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from cli.config import Config
from cli.config_load import load_config
from collectors.errors import Misconfigured


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes ``c.yaml`` and gives its relative path, so that messages are the same everywhere."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        Path("c.yaml").write_text(text, encoding="utf-8")
        return Path("c.yaml")

    return write


def refusal(file: Path | None = None, environ=None, options=None) -> str:
    with pytest.raises(Misconfigured) as caught:
        load_config(file, environ or {}, options or {})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nothing_said_gives_the_defaults():
    assert load_config(None, {}, {}) == Config()


@pytest.mark.parametrize("text", ["", "# only a comment\n", "agent:\n", "agent: {}\n"])
def test_empty_file_or_section_gives_the_defaults(written, text):
    assert load_config(written(text), {}, {}) == Config()


@pytest.mark.parametrize("word", ["off", "no", "yes", "on"])
def test_words_that_old_yaml_takes_for_truth_values_are_words(written, word):
    assert load_config(written(f"agent:\n  node_name: {word}\n"), {}, {}).agent.node_name == word


def test_settings_that_can_be_off_are_switched_off_without_quotes(written):
    file = written("kubernetes:\n  mode: off\nprices:\n  cloud_identity: off\n")
    environ = {"WATTLEDGER_PRICES__CLOUD_IDENTITY": "off"}

    assert load_config(file, {}, {}).kubernetes.mode == "off"
    assert load_config(file, {}, {}).prices.cloud_identity == "off"
    assert load_config(None, environ, {}).prices.cloud_identity == "off"


def test_file_is_overridden_by_the_environment_and_that_by_an_option(written):
    file = written("agent:\n  journal_days: 2\n  node_name: file\n  interval_seconds: 2\n")
    environ = {"WATTLEDGER_AGENT__NODE_NAME": "env", "WATTLEDGER_AGENT__INTERVAL_SECONDS": "3"}
    settings = load_config(file, environ, {"agent.interval_seconds": ("--interval", 4)}).agent
    assert (settings.journal_days, settings.node_name, settings.interval_seconds) == (2, "env", 4)


def test_variables_without_two_underscores_are_no_settings():
    environ = {
        "WATTLEDGER_REQUIRE_TOOLS": "1",
        "WATTLEDGER_SERVICE_HOST": "10.0.0.1",
        "WATTLEDGER_PORT": "tcp://10.0.0.1",
    }
    assert load_config(None, environ, {}) == Config()


@pytest.mark.parametrize("text", ["no", "08", "null", "1e3", "2026-01-01", "a: b"])
def test_environment_gives_text_as_it_stands(text):
    assert load_config(None, {"WATTLEDGER_AGENT__NODE_NAME": text}, {}).agent.node_name == text


def test_times_and_days_in_the_file_stay_as_written(written):
    assert load_config(written("agent: {node_name: 22:30}"), {}, {}).agent.node_name == "22:30"
    assert load_config(written("agent: {node_name: 2026-01-01}"), {}, {}).agent.node_name == "2026-01-01"


def test_exponents_are_numbers(written):
    assert load_config(written("agent: {interval_seconds: 1e1}"), {}, {}).agent.interval_seconds == 10


def test_money_is_the_decimal_that_was_written(written):
    text = "prices: {node: {usd_per_hour: 2.4987, as_of: 2026-01-01}}"
    node = load_config(written(text), {"WATTLEDGER_PRICES__NODE__GPUS": "8"}, {}).prices.node
    assert (node.usd_per_hour, node.as_of, node.gpus) == (Decimal("2.4987"), date(2026, 1, 1), 8)


def test_rule_over_several_keys_names_the_section(written):
    file = written("server:\n  tls_cert_file: a.pem\n")
    wanted = "c.yaml:1: server: tls_cert_file is given without tls_key_file, allowed: both or neither"
    assert refusal(file) == wanted


@pytest.mark.parametrize("price", ["0", "-1", "0.0", ".inf", "1e9", "cheap", "null"])
def test_price_of_zero_or_below_or_no_number_is_refused(written, price):
    message = refusal(written(f"prices:\n  node:\n    as_of: 2026-01-01\n    usd_per_hour: {price}\n"))
    assert message.startswith("c.yaml:4: prices.node.usd_per_hour: found ")
    assert ", allowed: a " in message


@pytest.mark.parametrize("url", ["localhost:9400", "ftp://x/metrics", "http://", ""])
def test_dcgm_page_needs_an_address(url):
    assert refusal(None, {"WATTLEDGER_DCGM__URL": url}) == (
        f'environment variable WATTLEDGER_DCGM__URL: dcgm.url: found "{url}": '
        "allowed: an http or https address, such as http://127.0.0.1:9400/metrics, or null"
    )


def test_chosen_data_directory_can_be_told_from_the_default(written):
    assert "data_dir" in load_config(written("agent: {data_dir: x}"), {}, {}).agent.model_fields_set
    assert "data_dir" not in load_config(None, {}, {}).agent.model_fields_set


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "agent:\n  interval_seconds: fast\n",
            'c.yaml:2: agent.interval_seconds: found "fast", allowed: a number at least 0.1 and at most 60',
            id="wrong type",
        ),
        pytest.param(
            'agent:\n  interval_seconds: "5"\n',
            'c.yaml:2: agent.interval_seconds: found "5", allowed: a number at least 0.1 and at most 60',
            id="a number in quotes",
        ),
        pytest.param(
            "agent:\n  node_name: a\n  journal_days: 0\n",
            "c.yaml:3: agent.journal_days: found 0, allowed: a whole number at least 1 and at most 400",
            id="out of bounds",
        ),
        pytest.param(
            "agent: {journal_days: true}",
            "c.yaml:1: agent.journal_days: found true, allowed: a whole number at least 1 and at most 400",
            id="a truth value is no 1",
        ),
        pytest.param(
            "agent: {cpu_budget_ratio: 0}",
            "c.yaml:1: agent.cpu_budget_ratio: found 0, allowed: a number greater than 0 and at most 1",
            id="exclusive bound",
        ),
        pytest.param(
            "agent:\n  node_name: false\n",
            "c.yaml:2: agent.node_name: found false, allowed: text (write it in quotes)",
            id="text that YAML takes for false",
        ),
        pytest.param("agent: {data_dir: 5}", "c.yaml:1: agent.data_dir: found 5, allowed: a path", id="path"),
        pytest.param(
            "agent: {interval_seconds: .nan}",
            "c.yaml:1: agent.interval_seconds: found nan, allowed: a finite number",
            id="nan",
        ),
        pytest.param(
            "agent:\n  journal_days: 0\n  series_cap: 0\n",
            "c.yaml:2: agent.journal_days: found 0, allowed: a whole number at least 1 and at most 400"
            " (and 1 more after this one)",
            id="two problems",
        ),
        pytest.param("- agent", "c.yaml: found a list, allowed: a mapping of sections, such as `agent:`", id="list"),
        pytest.param(
            "word", "c.yaml: found the value 'word', allowed: a mapping of sections, such as `agent:`", id="word"
        ),
        pytest.param("1: 2", "c.yaml:1: the key 1 is no text; write it in quotes", id="number as key"),
        pytest.param(
            "agent:\n  node_name: a\n  node_name: b\n",
            "c.yaml:3: agent.node_name stands twice (before in c.yaml:2); keep one",
            id="key twice",
        ),
        pytest.param(
            "agent:\n\tnode_name: a\n",
            "c.yaml:2:1: not valid YAML: while scanning for the next token,"
            " found character '\\t' that cannot start any token",
            id="tab",
        ),
        pytest.param(
            "agent: {node_name: a",
            "c.yaml:1:21: not valid YAML: while parsing a flow mapping, expected ',' or '}', but got '<stream end>'",
            id="cut off",
        ),
        pytest.param(
            "agent: {}\n---\nagent: {}\n",
            "c.yaml:2:1: not valid YAML: expected a single document in the stream, but found another document",
            id="two documents",
        ),
        pytest.param(
            "a: &x 1\nb: *x\n",
            "c.yaml: not valid YAML: line 2: aliases are not read here, write the value out",
            id="alias",
        ),
        pytest.param(
            "agent: {node_name: !!python/name:os.system ''}",
            "c.yaml:1:20: not valid YAML: could not determine a constructor for the tag"
            " 'tag:yaml.org,2002:python/name:os.system'",
            id="python object",
        ),
        pytest.param("[" * 5000, "c.yaml: nested too deeply to be a configuration", id="nested"),
    ],
)
def test_wrong_file_is_refused_in_one_line(written, text, message):
    assert refusal(written(text)) == message


def test_wrong_key_names_the_close_one_and_all_that_are_allowed(written):
    message = refusal(written("agent:\n  node_name: a\n  intervall_seconds: 3\n"))
    assert message.startswith(
        "c.yaml:3: agent.intervall_seconds: no such key; did you mean interval_seconds? Allowed: interval_seconds, "
    )
    assert "journal_days" in message


def test_wrong_key_close_to_none_names_all_that_are_allowed(written):
    assert refusal(written("zzz: 1")).startswith("c.yaml:1: zzz: no such key; allowed: agent")


def test_wrong_section_names_the_keys_of_the_right_one(written):
    message = refusal(written("agent: [1]"))
    assert message.startswith("c.yaml:1: agent: found [1], allowed: a mapping with the keys interval_seconds, ")


def test_file_that_is_not_there_is_named(tmp_path):
    file = tmp_path / "none.yaml"
    wanted = f"{file}: cannot be read (No such file or directory); give --config a readable YAML file"
    assert refusal(file) == wanted


def test_file_that_is_a_directory_is_named(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path}: cannot be read (Is a directory); give --config a readable YAML file"


@pytest.fixture
def unprivileged():
    """Root reads every file, so for a moment the test is nobody."""
    before = os.geteuid()
    os.seteuid(65534 if before == 0 else before)
    yield
    os.seteuid(before)


def test_file_without_permission_is_named(written, request):
    file = written("agent: {}")
    file.chmod(0)
    request.getfixturevalue("unprivileged")
    assert refusal(file) == "c.yaml: cannot be read (Permission denied); give --config a readable YAML file"


def test_file_that_is_no_text_is_named(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_bytes(b"a: \xff\xfe")
    assert refusal(file) == f"{file}: is not UTF-8 text (byte 3); save it as UTF-8"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "WATTLEDGER_AGENT__JOURNAL_DAYS",
            "x",
            'agent.journal_days: found "x", allowed: a whole number at least 1 and at most 400',
        ),
        ("WATTLEDGER_AGNET__JOURNAL_DAYS", "1", "agnet: no such key; did you mean agent? Allowed: "),
        ("WATTLEDGER_AGENT__JOURNAL_DAY", "1", "agent.journal_day: no such key; did you mean journal_days? Allowed: "),
        ("WATTLEDGER__AGENT__NODE_NAME", "a", "_agent: no such key; did you mean agent? Allowed: "),
        ("WATTLEDGER_AGENT__JOURNAL_DAYS__X", "1", 'agent.journal_days: found {"x": 1}, allowed: a whole number'),
    ],
)
def test_wrong_variable_is_refused_by_name(name, value, message):
    assert refusal(None, {name: value}).startswith(f"environment variable {name}: {message}")


def test_variable_that_is_not_yaml_is_refused_with_its_place():
    assert refusal(None, {"WATTLEDGER_AGENT__JOURNAL_DAYS": "{1"}) == (
        "environment variable WATTLEDGER_AGENT__JOURNAL_DAYS:1:3: not valid YAML: "
        "while parsing a flow mapping, expected ',' or '}', but got '<stream end>'"
    )


def test_variable_below_a_plain_value_of_the_file_is_refused(written):
    assert refusal(written("agent: {journal_days: 1}"), {"WATTLEDGER_AGENT__JOURNAL_DAYS__X": "1"}) == (
        "environment variable WATTLEDGER_AGENT__JOURNAL_DAYS__X: agent.journal_days is no mapping, "
        "so no part of it can be set; set agent.journal_days itself"
    )


def test_wrong_option_is_refused_by_the_option_as_typed():
    message = refusal(None, {}, {"agent.journal_days": ("--days", 0)})
    assert message == "option --days: agent.journal_days: found 0, allowed: a whole number at least 1 and at most 400"


def test_an_override_is_blamed_and_not_the_file_below_it(written):
    message = refusal(written("agent: {journal_days: 1}"), {"WATTLEDGER_AGENT__JOURNAL_DAYS": "0"})
    assert message.startswith("environment variable WATTLEDGER_AGENT__JOURNAL_DAYS: ")
