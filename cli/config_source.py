"""Reads settings from where a person wrote them and remembers where that was.

Owns the three sources (one YAML file, environment variables, command-line options) and their order; must never know
a setting by name or judge a value.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, cast

import yaml

from collectors.errors import Misconfigured

ENVIRONMENT_PREFIX = "WATTLEDGER_"
NESTING = "__"
"""Only variables with this in their name are settings. Kubernetes itself sets ``WATTLEDGER_SERVICE_HOST`` and the like
beside a service of that name, and the tests have switches of their own."""

KeyPath = tuple[str | int, ...]
Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"


def dotted(path: KeyPath) -> str:
    """``("prices", "overrides", 0, "model")`` as ``prices.overrides[0].model``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


@dataclass(slots=True)
class Sources:
    """What was said, merged, and who said it."""

    values: dict[str, Value] = field(default_factory=dict[str, Value])
    origins: dict[KeyPath, str] = field(default_factory=dict[KeyPath, str])

    def origin(self, path: KeyPath) -> str:
        """Who said this, or the innermost thing around it; empty when nobody said anything."""
        inside = (self.origins[path[:length]] for length in range(len(path), -1, -1) if path[:length] in self.origins)
        return next(inside, "")

    def put(self, path: tuple[str, ...], value: Value, origin: str) -> None:
        """Replace what stands at ``path``.

        Raises:
            Misconfigured: something on the way to ``path`` is no mapping.
        """
        place = self.values
        for length, key in enumerate(path[:-1], start=1):
            inner = place.setdefault(key, {})
            if not isinstance(inner, dict):
                whole = dotted(path[:length])
                raise Misconfigured(f"{origin}: {whole} is no mapping, so no part of it can be set; set {whole} itself")
            self.origins.setdefault(path[:length], origin)
            place = inner
        for known in [known for known in self.origins if known[: len(path)] == path]:
            del self.origins[known]
        place[path[-1]] = value
        self.origins[path] = origin


def read_file(path: Path) -> Sources:
    """The settings of one YAML file; an empty section counts as an empty mapping.

    Raises:
        Misconfigured: not readable, not YAML, a key twice, a key that is no text, an alias.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{path}: cannot be read ({error.strerror}); give --config a readable YAML file") from error
    return read_content(content, path)


def read_content(content: bytes, path: Path) -> Sources:
    """As :func:`read_file`, of what was read from it.

    Raises:
        Misconfigured: not YAML, a key twice, a key that is no text, an alias.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    sources = Sources(origins={(): str(path)})
    value = _parse(text, str(path), sources.origins)
    if value is None:
        return sources
    if not isinstance(value, dict):
        raise Misconfigured(f"{path}: found {_kind(value)}, allowed: a mapping of sections, such as `agent:`")
    sources.values = {key: {} if section is None else section for key, section in value.items()}
    return sources


def add_environment(sources: Sources, environ: Mapping[str, str], is_text: Callable[[KeyPath], bool]) -> None:
    """Lay ``WATTLEDGER_SECTION__KEY`` over the file; a value is read as YAML, that of a text setting as it stands.

    Raises:
        Misconfigured: a value is not YAML, or the variable points into something that is no mapping.
    """
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX) or NESTING not in name:
            continue
        path = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split(NESTING))
        origin = f"environment variable {name}"
        text = environ[name]
        sources.put(path, text if is_text(path) else _parse(text, origin, {}), origin)


def add_options(sources: Sources, options: Mapping[str, tuple[str, Value]]) -> None:
    """Lay command-line options over all else: key to (option as typed, value)."""
    for key, (option, value) in options.items():
        sources.put(tuple(key.split(".")), value, f"option {option}")


class _Loader(yaml.SafeLoader):
    """YAML without aliases: a configuration is read by people, and each key has one line that says it."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = cast("yaml.AliasEvent", self.get_event()).start_mark  # type: ignore[no-untyped-call]  # bare stubs
            line = mark.line + 1 if mark else "?"
            raise yaml.YAMLError(f"line {line}: aliases are not read here, write the value out")
        return super().compose_node(parent, index)


# YAML 1.1 takes 1e3 for text, which no person means.
_Loader.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]  # bare in the stubs
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


# YAML 1.1 takes on, off, yes and no for truth values too, and `off` is a value of some settings. A day stays as it is
# written: one that there is not is then refused by its key.
_BOOL, _DAY = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"
for _first, _resolvers in _Loader.yaml_implicit_resolvers.items():
    _Loader.yaml_implicit_resolvers[_first] = [each for each in _resolvers if each[0] not in {_BOOL, _DAY}]
_Loader.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]  # bare in the stubs
    _BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _parse(text: str, origin: str, origins: dict[KeyPath, str]) -> Value:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _build(loader, node, (), origin, origins)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = ", ".join(filter(None, (error.context, error.problem)))
        raise Misconfigured(f"{origin}{place}: not valid YAML: {problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise Misconfigured(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise Misconfigured(f"{origin}: nested too deeply to be a configuration") from error


def _build(loader: _Loader, node: yaml.Node, at: KeyPath, origin: str, origins: dict[KeyPath, str]) -> Value:
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, at, origin, origins)
    if isinstance(node, yaml.SequenceNode):
        items: list[Value] = []
        for place, item in enumerate(node.value):
            origins[(*at, place)] = f"{origin}:{item.start_mark.line + 1}"
            items.append(_build(loader, item, (*at, place), origin, origins))
        return items
    value = cast("Value", loader.construct_object(node))  # pyright: ignore[reportUnknownMemberType]  # bare stubs
    if isinstance(value, int) and ":" in node.value:
        return str(node.value)  # YAML 1.1 turns 22:00 into 1320
    return value


def _mapping(
    loader: _Loader, node: yaml.MappingNode, at: KeyPath, origin: str, origins: dict[KeyPath, str]
) -> dict[str, Value]:
    result: dict[str, Value] = {}
    for key_node, value_node in node.value:
        line = f"{origin}:{key_node.start_mark.line + 1}"
        key = _build(loader, key_node, at, origin, {})
        if not isinstance(key, str):
            raise Misconfigured(f"{line}: the key {key_node.value} is no text; write it in quotes")
        if key in result:
            raise Misconfigured(
                f"{line}: {dotted((*at, key))} stands twice (before in {origins[(*at, key)]}); keep one"
            )
        origins[(*at, key)] = line
        result[key] = _build(loader, value_node, (*at, key), origin, origins)
    return result


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else f"the value {value!r}"
