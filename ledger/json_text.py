"""JSON text of large documents, a part at a time.

The standard encoder holds each token of a document as an object until all are joined, ten times the length of the text;
what it takes for a full hour a process never gives back.
"""

import json
from collections.abc import Sequence
from typing import Any, cast

_DEPTH = 4
"""Levels that are taken apart: document, list of hours, hour, rows."""


def compact(value: Any, depth: int = _DEPTH) -> str:
    """As ``json.dumps`` with no blanks; keys are text."""
    if depth and isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return f"{{{','.join([f'{json.dumps(key)}:{compact(inner, depth - 1)}' for key, inner in members.items()])}}}"
    if depth and isinstance(value, list):
        items = cast("Sequence[Any]", value)
        return f"[{','.join([compact(item, depth - 1) for item in items])}]"
    return json.dumps(value, separators=(",", ":"))
