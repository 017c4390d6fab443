"""No setting that is an address takes a password, and none that was written into one is ever shown."""

import json

import pytest
from pydantic import ValidationError

from cli.config import Config
from cli.config_load import load_config
from collectors.errors import Misconfigured

ADDRESSES = {
    "agent.push_url": ("agent.push_token_file", lambda url: {"agent": {"push_url": url}}),
    "bills.cost_explorer.endpoint_url": (
        "AWS_SECRET_ACCESS_KEY",
        lambda url: {"bills": {"cost_explorer": {"endpoint_url": url}}},
    ),
    "bills.sources[0].endpoint_url": (
        "AWS_SECRET_ACCESS_KEY",
        lambda url: {"bills": {"sources": [{"name": "a", "path": "s3://bills", "endpoint_url": url}]}},
    ),
    "controller.agents.urls": ("controller.agents.token_file", lambda url: {"controller": {"agents": {"urls": [url]}}}),
    "dcgm.url": ("without credentials", lambda url: {"dcgm": {"url": url}}),
    "kubernetes.api_url": ("kubernetes.token_file", lambda url: {"kubernetes": {"api_url": url}}),
    "prices.live.cloudtrail_url": (
        "AWS_SECRET_ACCESS_KEY",
        lambda url: {"prices": {"live": {"cloudtrail_url": url}}},
    ),
    "prices.live.ec2_url": ("AWS_SECRET_ACCESS_KEY", lambda url: {"prices": {"live": {"ec2_url": url}}}),
    "prices.live.pricing_url": ("AWS_SECRET_ACCESS_KEY", lambda url: {"prices": {"live": {"pricing_url": url}}}),
    "prometheus.url": ("password_file", lambda url: {"prometheus": {"url": url}}),
    "queue_scaling.prometheus_url": (
        "queue_scaling.authentication",
        lambda url: {"queue_scaling": {"prometheus_url": url}},
    ),
    "serving.targets[0].url": ("without credentials", lambda url: {"serving": {"targets": [{"url": url}]}}),
}
PASSWORD = "http://:hunter2@a:9477"


def refused(values, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(values))
    with pytest.raises(Misconfigured) as caught:
        load_config(file, {}, {})
    return str(caught.value)


@pytest.mark.parametrize("key", ADDRESSES)
def test_an_address_with_a_password_is_refused_unseen_and_the_remedy_is_named(key, tmp_path):
    remedy, values = ADDRESSES[key]
    told = refused(values(PASSWORD), tmp_path)
    assert "hunter2" not in told
    assert f": {key}: " in told
    assert "bears a name or a password" in told
    assert remedy in told


@pytest.mark.parametrize("key", ADDRESSES)
def test_what_is_no_address_is_refused_with_what_is_allowed(key, tmp_path):
    told = refused(ADDRESSES[key][1]("a:9477"), tmp_path)
    assert "allowed: an http or https address, such as http" in told


@pytest.mark.parametrize("key", ADDRESSES)
def test_an_address_is_taken_as_it_is(key, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(ADDRESSES[key][1]("https://a.example:9477/b")))
    assert "https://a.example:9477/b" in load_config(file, {}, {}).model_dump_json()


def test_every_setting_that_is_an_address_is_among_these():
    definitions = Config.model_json_schema()["$defs"]
    named = [name for each in definitions.values() for name in each.get("properties", {}) if "url" in name]
    assert sorted(named) == sorted(key.rsplit(".", 1)[1] for key in ADDRESSES)


@pytest.mark.parametrize(
    "values",
    [{"prometheus": [PASSWORD]}, {"prometheus": {"url": [PASSWORD]}}, {"prometheus": {"url": {"a": PASSWORD}}}],
    ids=["a section", "a list", "a mapping"],
)
def test_a_password_where_another_type_belongs_is_not_shown_either(values, tmp_path):
    assert "hunter2" not in refused(values, tmp_path)


def test_it_is_not_in_the_error_of_the_checker_itself():
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"prometheus": {"url": PASSWORD}})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "shown"),
    [("http://a.example:9477", "http://a.example:9477"), ("soon", "soon"), ("hunter2@a.example", "***@a.example")],
)
def test_what_is_shown_of_a_value_that_is_refused_hides_only_what_stands_before_an_at(given, shown, tmp_path):
    assert f'found "{shown}"' in refused({"prometheus": {"timeout_seconds": given}}, tmp_path)
