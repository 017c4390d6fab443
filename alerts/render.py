"""Writes the default rendering of all rule files: ``python -m alerts.render FOLDER``."""

import sys
from collections.abc import Mapping
from pathlib import Path

from alerts.dcgm_compat import dcgm_groups
from alerts.recording_rules import RuleSettings, recording_groups
from alerts.rule import render_yaml

_HEAD = "Written by `make generate`; change alerts/{module}.py instead.\n{about}"


def rule_files(settings: RuleSettings) -> Mapping[str, str]:
    """Text of each file by name."""
    return {
        "wattledger-recording.yaml": render_yaml(
            _HEAD.format(
                module="recording_rules",
                about="What several pods or nodes bear together costs the sum of cost by the sum of work.",
            ),
            recording_groups(settings),
        ),
        "wattledger-dcgm-compat.yaml": render_yaml(
            _HEAD.format(module="dcgm_compat", about="Optional: names and labels of dcgm-exporter, from our metrics."),
            dcgm_groups(),
        ),
    }


def main(folder: Path) -> None:
    """Write them all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in rule_files(RuleSettings()).items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
