"""Every metric, setting and decision has its page, and what the pages point to is there."""

import re
import shlex
from pathlib import Path

import click
import pytest

from cli.config import Config
from cli.main import COMMANDS, main
from exporters.catalogue import ALL

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
PAGES = sorted([*CHECKOUT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SHELL = re.compile(r"(?:^(?:\$ | {4})|`)wattledger +([^`\n]+)", re.MULTILINE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def described(node: dict, definitions: dict, name: str):
    """Every setting below a node of the JSON Schema, with its description."""
    for choice in [node, *node.get("anyOf", ()), node.get("items", {})]:
        model = definitions.get(choice.get("$ref", "").rsplit("/", 1)[-1], {})
        for key, inner in model.get("properties", {}).items():
            yield f"{name}.{key}", inner.get("description", "")
            yield from described(inner, definitions, f"{name}.{key}" + ("[]" if "items" in inner else ""))


def settings() -> dict[str, str]:
    schema = Config.model_json_schema()
    sections = schema["properties"].items()
    return {name: text for key, node in sections for name, text in described(node, schema["$defs"], key)}


def test_every_setting_has_a_docstring():
    assert len(settings()) > 40
    assert [name for name, text in settings().items() if not text] == []


def test_every_setting_is_on_the_page_of_settings():
    page = text_of(DOCS / "configuration.md")
    assert [name for name in settings() if f"### `{name}`" not in page] == []


def test_every_metric_is_on_the_page_of_metrics():
    page = text_of(DOCS / "metrics.md")
    assert [metric.name for metric in ALL if f"| `{metric.name}` |" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_what_a_page_links_to_is_there(page):
    text = re.sub(r"`[^`\n]*`|text that matches .*", "", text_of(page))  # code and patterns are no links
    local = [target.split("#")[0] for target in LINK.findall(text) if "://" not in target]
    assert [target for target in local if target and not (page.parent / target).exists()] == []


def test_decisions_are_numbered_without_a_gap_and_listed():
    records = sorted((DOCS / "adr").glob("[0-9]*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    index = text_of(DOCS / "README.md")
    assert [record.name for record in records if f"(adr/{record.name})" not in index] == []


def test_each_decision_has_context_choice_and_cost():
    for record in (DOCS / "adr").glob("[0-9]*.md"):
        headings = re.findall(r"^## (.+)$", text_of(record), re.MULTILINE)
        assert headings == ["Context", "Choice", "Cost"], record.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_commands_in_a_page_exist_with_their_options(page):
    for line in SHELL.findall(text_of(page)):
        words = shlex.split(line.split("|")[0].split(">")[0], comments=True)
        if words[0].startswith("-"):
            continue
        assert words[0] in COMMANDS, line
        command = main
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            command = command.get_command(None, words.pop(0))
            assert command is not None, line
        known = {"--help", *(option for parameter in command.params for option in parameter.opts)}
        assert [word for word in words if word.startswith("--") and word.split("=")[0] not in known] == [], line
