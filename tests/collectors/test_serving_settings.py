import pytest
from pydantic import ValidationError

from collectors.serving_settings import HolderSelector, ServingSettings, StaticTarget

URL = "http://127.0.0.1:8000/metrics"


def test_the_defaults():
    assert ServingSettings().model_dump() == {
        "enabled": True,
        "interval_seconds": 15.0,
        "timeout_seconds": 2.0,
        "threads": 4,
        "max_targets": 64,
        "max_page_bytes": 4 * 1024 * 1024,
        "max_samples": 20_000,
        "discover_annotations": True,
        "discover_ports": True,
        "tenant_label": "",
        "max_tenants": 50,
        "targets": (),
    }


def test_every_setting_tells_its_meaning():
    for model in (ServingSettings, StaticTarget, HolderSelector):
        assert all(field.description for field in model.model_fields.values())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"interval": 3}, "Extra inputs are not permitted"),
        ({"interval_seconds": 0}, "greater than or equal to 1"),
        ({"targets": [{"url": "localhost:8000"}]}, "an http or https address, such as http://HOST:PORT/PATH"),
        ({"targets": [{"url": URL, "engine": "vlm"}]}, "'vllm', 'sglang', 'tgi'"),
        ({"targets": [{"url": URL, "mapping": {"a_total": "tokens"}}]}, "'input_tokens'"),
        ({"targets": [{"url": URL, "engine": "vllm", "mapping": {"a": "steps"}}]}, "one of them, or none"),
        ({"targets": [{"url": URL}, {"url": URL}]}, "stand twice; give each its own name"),
        ({"targets": [{"url": URL, "holder": {}}]}, "holder names nothing; allowed: exactly one of container"),
        ({"targets": [{"url": URL, "holder": {"user": "a", "port": 1}}]}, "holder names user, port; allowed"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(given, message):
    with pytest.raises(ValidationError, match=message):
        ServingSettings.model_validate(given)


def test_two_targets_of_one_address_are_told_apart_by_their_names():
    targets = [{"url": URL, "name": "a"}, {"url": URL, "name": "b"}]
    assert len(ServingSettings.model_validate({"targets": targets}).targets) == 2
