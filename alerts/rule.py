"""What a recording rule is, and how groups of them become a file for Prometheus.

Owns the YAML: written by hand-made strings so that it is the same, byte for byte, wherever it is rendered.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """One recording rule."""

    record: str
    expr: str


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, at one instant."""

    name: str
    rules: tuple[Record, ...]


def render_yaml(about: str, groups: Iterable[Group]) -> str:
    """A rule file; ``about`` are comment lines at its head."""
    lines = [f"# {line}" for line in about.splitlines()]
    lines.append("groups:")
    for group in groups:
        lines += [f"  - name: {group.name}", "    rules:"]
        for rule in group.rules:
            lines += [f"      - record: {json.dumps(rule.record)}", "        expr: |"]
            lines += [f"          {line}" for line in rule.expr.splitlines()]
    return "\n".join(lines) + "\n"
