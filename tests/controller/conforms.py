"""Whether a JSON value is what a schema of the API's description says: as much of JSON Schema as that uses."""

import re
from datetime import date, datetime

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}
KNOWN = {
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "pattern",
    "format",
    "anyOf",
    "$ref",
    "description",
    "default",
}


def faults(value, schema, document, at="$"):
    """What of the value is not as the schema says, by place."""
    unknown = set(schema) - KNOWN
    assert not unknown, f"{at}: the check does not know {unknown}"
    if "$ref" in schema:
        target = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return faults(value, target, document, at)
    if "anyOf" in schema:
        tried = [faults(value, choice, document, at) for choice in schema["anyOf"]]
        return [] if any(not found for found in tried) else tried[-1]
    found = [*_of_type(value, schema, at), *_of_text(value, schema, at)]
    if isinstance(value, dict):
        found += _of_object(value, schema, document, at)
    if isinstance(value, list):
        for place, item in enumerate(value):
            found += faults(item, schema.get("items", {}), document, f"{at}[{place}]")
    return found


def _of_type(value, schema, at):
    wanted = schema.get("type", list(TYPES))
    wanted = [wanted] if isinstance(wanted, str) else wanted
    is_bool = isinstance(value, bool)
    if not any(isinstance(value, TYPES[name]) and (name == "boolean") == is_bool for name in wanted):
        yield f"{at}: {value!r} is no {wanted}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"


def _of_text(value, schema, at):
    if not isinstance(value, str):
        return
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at}: {value!r} is not like {schema['pattern']}"
    try:
        if schema.get("format") == "date-time":
            assert datetime.fromisoformat(value).tzinfo is not None
        elif schema.get("format") == "date":
            date.fromisoformat(value)
    except (ValueError, AssertionError):
        yield f"{at}: {value!r} is no {schema['format']}"


def _of_object(value, schema, document, at):
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{at}: lacks {name}"
    for name, inner in value.items():
        more = schema.get("additionalProperties", True)
        if name in known:
            yield from faults(inner, known[name], document, f"{at}.{name}")
        elif more is False:
            yield f"{at}: has {name}, which is not told"
        elif isinstance(more, dict):
            yield from faults(inner, more, document, f"{at}.{name}")
