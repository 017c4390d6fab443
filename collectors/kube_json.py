"""Steps into a JSON document whose shape nobody has vouched for.

A step that finds another type than it looks for finds nothing; it never raises. What must be there is checked by the
caller, who can say what is missing.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import cast

JsonObject = Mapping[str, object]

_NOTHING: JsonObject = MappingProxyType({})


def child(value: object, *keys: str) -> JsonObject:
    """The object under ``keys``; an empty one where there is none."""
    for key in keys:
        if not isinstance(value, Mapping):
            return _NOTHING
        value = cast("JsonObject", value).get(key)
    return cast("JsonObject", value) if isinstance(value, Mapping) else _NOTHING


def children(value: object, *keys: str) -> Sequence[JsonObject]:
    """The objects of the list under ``keys``; members that are none are left out."""
    found = child(value, *keys[:-1]).get(keys[-1])
    if not isinstance(found, list):
        return ()
    members = cast("list[object]", found)
    return [cast("JsonObject", member) for member in members if isinstance(member, Mapping)]


def text(value: object, *keys: str) -> str:
    """The string under ``keys``; empty where there is none."""
    found = child(value, *keys[:-1]).get(keys[-1])
    return found if isinstance(found, str) else ""


def number(value: object, *keys: str) -> int | None:
    """The whole number under ``keys``."""
    found = child(value, *keys[:-1]).get(keys[-1])
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def strings(value: object, *keys: str) -> dict[str, str]:
    """The members of the object under ``keys`` that are strings."""
    return {key: member for key, member in child(value, *keys).items() if isinstance(member, str)}
