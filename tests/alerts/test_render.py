from alerts.recording_rules import RuleSettings
from alerts.render import main, rule_files


def test_the_committed_files_are_what_the_code_makes(request, tmp_path):
    main(tmp_path)
    committed = request.config.rootpath / "alerts" / "generated"
    assert {file.name for file in committed.glob("*.yaml")} == set(rule_files(RuleSettings()))
    for name in rule_files(RuleSettings()):
        made = (tmp_path / name).read_text(encoding="utf-8")
        assert (committed / name).read_text(encoding="utf-8") == made, "run `make generate`"
