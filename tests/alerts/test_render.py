import re

import pytest

from alerts.recording_rules import RuleSettings
from alerts.render import main, rule_files
from exporters import catalogue
from exporters.metric_choice import STANDARD


def test_the_committed_files_are_what_the_code_makes(request, tmp_path):
    main(tmp_path)
    committed = request.config.rootpath / "alerts" / "generated"
    assert {file.name for file in committed.glob("*.yaml")} == set(rule_files(RuleSettings()))
    for name in rule_files(RuleSettings()):
        made = (tmp_path / name).read_text(encoding="utf-8")
        assert (committed / name).read_text(encoding="utf-8") == made, "run `make generate`"


@pytest.mark.parametrize("name", rule_files(RuleSettings()))
def test_rules_rest_on_standard_series(name):
    text = rule_files(RuleSettings())[name]
    used = [metric for metric in catalogue.ALL if re.search(rf"\b{metric.name}\b", text)]
    assert used
    for metric in used:
        chosen = set(re.findall(rf'\b{metric.name}{{[^}}]*"(\w+)"', text))
        assert not STANDARD.none(metric), metric.name
        assert not chosen & set(metric.details), metric.name
