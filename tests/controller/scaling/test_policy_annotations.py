"""The annotations that people may set: each in the guide, in the words of the code; values at their bounds."""

import re
from pathlib import Path

import pytest
import yaml

from cli.config_load import load_config
from controller.scaling import downscaler_words
from controller.scaling.annotation_values import read_moment, read_number, read_seconds, read_size
from controller.scaling.model import Size
from controller.scaling.policy_annotations import KNOWN
from controller.time_windows import SpecRefused, known_zone

GUIDES = Path(__file__).parents[3] / "docs" / "guides"


def text_of(name):
    return (GUIDES / name).read_text(encoding="utf-8")


def test_the_guide_has_each_annotation_in_the_words_of_the_code():
    guide = text_of("schedules.md")
    assert [f"| `{name}` | {says} |" for name, says in KNOWN.items() if f"| `{name}` | {says} |" not in guide] == []


def test_the_guide_for_migration_has_each_annotation_that_is_read():
    table = re.findall(r"^\| (.*?) \|", text_of("from-kube-downscaler.md"), re.MULTILINE)
    written = {name for cell in table for name in re.findall(r"`(downscaler/[a-z-]+)`", cell)}
    assert written == downscaler_words.KNOWN


@pytest.mark.parametrize("guide", ["schedules.md", "from-kube-downscaler.md"])
def test_the_configuration_in_a_guide_is_accepted(guide, tmp_path):
    examples = re.findall(r"^( *)```yaml\n(.*?)^ *```", text_of(guide), re.MULTILINE | re.DOTALL)
    assert examples
    for indent, text in examples:
        file = tmp_path / "config.yaml"
        file.write_text(re.sub(f"^{indent}", "", text, flags=re.MULTILINE))
        assert yaml.safe_load(file.read_text())
        assert load_config(file, {}, {}).schedule.policies


@pytest.mark.parametrize(
    ("text", "size"), [("0", Size(0)), (" 12 ", Size(12)), ("0%", Size(percent=0)), ("100%", Size(percent=100))]
)
def test_a_size_is_a_number_or_a_part(text, size):
    assert read_size(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("90", 90), ("1m30s", 90), ("0.5h", 1800), ("2h", 7200)])
def test_a_duration_is_seconds_or_has_units(text, seconds):
    assert read_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-25", "2026-12-25T00:00:00+01:00"),
        ("2026-12-25 18:00", "2026-12-25T18:00:00+01:00"),
        ("2026-12-25T18:00", "2026-12-25T18:00:00+01:00"),
        ("2026-12-25T18:00:00Z", "2026-12-25T18:00:00+00:00"),
        ("2026-12-25 18:00 Asia/Tokyo", "2026-12-25T18:00:00+09:00"),
        ("2026-12-25 Asia/Tokyo", "2026-12-25T00:00:00+09:00"),
    ],
)
def test_a_moment_is_of_the_zone_that_it_names_or_of_the_given_one(text, moment):
    assert read_moment(text, known_zone("Europe/Berlin")).isoformat() == moment


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_size, ""),
        (read_size, "101%"),
        (read_size, "1.5"),
        (read_size, "٣"),
        (read_seconds, "-5"),
        (read_seconds, "15 minutes"),
        (read_seconds, "999999999999"),
        (lambda text: read_moment(text, known_zone("UTC")), "0001-01-01"),
        (lambda text: read_moment(text, known_zone("UTC")), "2026-12-25T18:00:00Z Asia/Tokyo"),
        (lambda text: read_moment(text, known_zone("UTC")), "2026-12-25 25:00"),
        (lambda text: read_moment(text, known_zone("UTC")), "2026-12-25 18:00 PST"),
        (lambda text: read_number(text, -5, 5), "6"),
        (lambda text: read_number(text, -5, 5), "--1"),
    ],
)
def test_nonsense_is_refused_with_the_place_marked(read, text):
    with pytest.raises(SpecRefused) as refused:
        read(text)
    assert "^" in str(refused.value)
