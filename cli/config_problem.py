"""Says in one line what is wrong with a setting: where it stands, its key, what was found, what is allowed.

Also describes what a setting allows, for these lines and for the generated page, from the JSON Schema alone.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cli.config_source import KeyPath, Sources, dotted
from collectors.web_address import masked

Schema = Mapping[str, Any]

_FOUND_CHARACTERS = 60
_OWN_WORDS = ("value_error", "assertion_error")
_SIMPLE = {"boolean": "true or false", "null": "null", "integer": "a whole number", "number": "a number"}
_FORMATS = {"path": "a path", "file-path": "a path", "date": "a day (YYYY-MM-DD)", "date-time": "a time (RFC 3339)"}
_BOUNDS = (
    ("exclusiveMinimum", "greater than"),
    ("minimum", "at least"),
    ("exclusiveMaximum", "less than"),
    ("maximum", "at most"),
)


def explain(error: ValidationError, sources: Sources, model: type[BaseModel]) -> str:
    """The first problem in one line, and how many more there are."""
    schema = model.model_json_schema()
    lines: dict[KeyPath, str] = {}
    missing: set[KeyPath] = set()
    for problem in error.errors(include_url=False):
        path = _written_path(problem, sources.values)
        lines.setdefault(path, _line(problem, path, sources, schema))
        if problem["type"] == "missing":
            missing.add(path)
    first = lines[min(lines, key=lambda path: path in missing)]  # a key that was misspelt is not missing
    more = len(lines) - 1
    return first + (f" (and {more} more after this one)" if more else "")


def allowed(node: Schema, definitions: Mapping[str, Schema]) -> str:
    """What a node of a JSON Schema lets pass, in words."""
    if "$ref" in node:
        return allowed(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
    if "const" in node:
        return _show(node["const"])
    if "enum" in node:
        return "one of " + ", ".join(map(str, node["enum"]))
    for several in ("anyOf", "oneOf", "allOf"):
        if several in node:
            return " or ".join(dict.fromkeys(allowed(one, definitions) for one in _plain(node[several])))
    return _allowed_of_type(node, definitions)


def _allowed_of_type(node: Schema, definitions: Mapping[str, Schema]) -> str:
    kind = node.get("type")
    if kind == "array":
        return f"a list, each item {allowed(node['items'], definitions)}" if "items" in node else "a list"
    if kind == "object":
        return _allowed_of_object(node, definitions)
    if kind == "string":
        return _allowed_text(node)
    bounds = " and ".join(f"{words} {node[key]:.12g}" for key, words in _BOUNDS if key in node)
    return f"{_SIMPLE.get(kind or '', 'any value')} {bounds}".rstrip()


def _allowed_of_object(node: Schema, definitions: Mapping[str, Schema]) -> str:
    if "properties" in node:
        return "a mapping with the keys " + ", ".join(node["properties"])
    if isinstance(inner := node.get("additionalProperties"), dict):
        return f"a mapping, each value {allowed(cast('Schema', inner), definitions)}"
    return "a mapping"


def _allowed_text(node: Schema) -> str:
    if "allowed" in node:  # a setting's own words
        return str(node["allowed"])
    text = _FORMATS.get(node.get("format", ""), "text")
    if "pattern" in node:
        return f"{text} that matches {node['pattern']}"
    return f"{text}, not empty" if node.get("minLength", 0) > 0 else text


def _plain(choices: Sequence[Schema]) -> Sequence[Schema]:
    """A decimal may be written as text as well; saying so would only confuse."""
    is_decimal = any(choice.get("type") == "number" for choice in choices)
    return [choice for choice in choices if not (is_decimal and choice.get("type") == "string")]


def _written_path(problem: ErrorDetails, values: object) -> KeyPath:
    """The key as the person wrote it: pydantic's location also names the members of unions."""
    path: list[str | int] = []
    last = len(problem["loc"]) - 1
    for place, part in enumerate(problem["loc"]):
        if isinstance(values, dict) and part in values:
            values = cast("dict[object, object]", values)[part]
        elif isinstance(values, list) and isinstance(part, int):
            values = cast("list[object]", values)[part]
        elif not (place == last and problem["type"] == "missing"):
            continue
        path.append(part)
    return tuple(path)


def _line(problem: ErrorDetails, path: KeyPath, sources: Sources, schema: Schema) -> str:
    definitions: Mapping[str, Schema] = schema.get("$defs", {})
    where = ": ".join(filter(None, (sources.origin(path), dotted(path))))
    if problem["type"] == "extra_forbidden":
        return f"{where}: {_unknown(str(path[-1]), _keys(_node(schema, path[:-1], definitions), definitions))}"
    found = _show(problem["input"])
    if problem["type"] in _OWN_WORDS:
        whole = isinstance(problem["input"], dict)  # a rule over several keys, which the words name
        return ": ".join(filter(None, (where, "" if whole else f"found {found}", problem["msg"].split(", ", 1)[-1])))
    node = _node(schema, path, definitions)
    wanted = allowed(node, definitions) if node is not None else problem["msg"]
    if problem["type"] == "missing":
        return f"{where}: is missing, allowed: {wanted}"
    quotes = " (write it in quotes)" if problem["type"] == "string_type" and "text" in wanted else ""
    return f"{where}: found {found}, allowed: {wanted}{quotes}"


def _unknown(key: str, keys: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, keys, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"no such key{hint} Allowed: {', '.join(keys)}" if hint else f"no such key; allowed: {', '.join(keys)}"


def _node(schema: Schema, path: KeyPath, definitions: Mapping[str, Schema]) -> Schema | None:
    node: Schema | None = schema
    for part in path:
        node = next((inner for one in _members(node, definitions) if (inner := _inner(one, part)) is not None), None)
        if node is None:
            return None
    return node


def _inner(node: Schema, part: str | int) -> Schema | None:
    if isinstance(part, int):
        return node.get("items")
    return node.get("properties", {}).get(part) or node.get("additionalProperties") or None


def _members(node: Schema | None, definitions: Mapping[str, Schema]) -> Sequence[Schema]:
    """The node itself with references followed, or each choice of a union."""
    if node is None:
        return ()
    if "$ref" in node:
        return _members(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
    choices: Sequence[Schema] = node.get("anyOf") or node.get("oneOf") or node.get("allOf") or ()
    return [one for choice in choices for one in _members(choice, definitions)] or [node]


def _keys(node: Schema | None, definitions: Mapping[str, Schema]) -> list[str]:
    return [key for one in _members(node, definitions) for key in one.get("properties", {})]


def _show(value: object) -> str:
    text = json.dumps(_masked(value), ensure_ascii=False, default=str)
    return text if len(text) <= _FOUND_CHARACTERS else text[:_FOUND_CHARACTERS] + "..."


def _masked(value: object) -> object:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in cast("dict[object, object]", value).items()}
    return [_masked(item) for item in cast("list[object]", value)] if isinstance(value, list) else value
