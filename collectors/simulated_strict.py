"""Reading a scenario strictly: a wrong key or value becomes one line: file, key, what was found, what is allowed."""

import re
from collections.abc import Collection, Hashable, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from collectors.errors import Misconfigured

MAX_FOUND = 60
_MAPPING = re.compile(r"a valid dictionary or instance of \w+")
ModelT = TypeVar("ModelT", bound=BaseModel)


class Strict(BaseModel):
    """A part of a scenario: unknown keys, numbers that are none and values of another type are refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: object) -> object:
        _refuse_others(cls.model_fields, data)
        return data


def _refuse_others(known: Collection[str], data: object) -> None:
    if isinstance(data, dict):
        keys = cast("dict[object, object]", data).keys()
        if unknown := sorted(str(key) for key in keys - set(known)):
            raise refusal(f"unknown key {unknown[0]!r}", "the keys " + ", ".join(known))


def refusal(found: str, allowed: str) -> PydanticCustomError:
    """The error of a value that is refused: what was found, what is allowed."""
    return PydanticCustomError("refused", "found {found}; allowed: {allowed}", {"found": found, "allowed": allowed})


def load(model: type[ModelT], path: Path) -> ModelT:
    """Read ``path`` as YAML into ``model``.

    Raises:
        Misconfigured: the file cannot be read, is no YAML or holds a wrong key or value.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceLoader)  # noqa: S506  (a SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise Misconfigured(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    return validate(model, data, str(path))


def validate(model: type[ModelT], data: object, origin: str) -> ModelT:
    """Check ``data`` against ``model``; ``origin`` names it in messages.

    Raises:
        Misconfigured: a wrong key or value.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise Misconfigured(f"{origin}: {_line(errors[0], data)}{more}") from error


def _line(error: ErrorDetails, data: object) -> str:
    key = ".".join(_keys(error["loc"], data, missing=error["type"] == "missing")) or "the file"
    if error["type"] == "refused":
        return f"{key}: {error['msg']}"
    context = error.get("ctx", {})
    if error["type"] == "union_tag_invalid":
        return f"{key}.kind: found {context['tag']!r}; allowed: {context['expected_tags']}"
    if error["type"] in {"missing", "union_tag_not_found"}:
        key += "" if error["type"] == "missing" else ".kind"
        return f"{key}: found nothing; allowed: a value, the key is required"
    allowed = _MAPPING.sub("a mapping of keys to values", error["msg"].removeprefix("Input should be "))
    return f"{key}: found {_shown(error['input'])}; allowed: {allowed}"


def _keys(location: tuple[int | str, ...], data: object, *, missing: bool) -> Iterator[str]:
    """The location as the file has it: without the names that pydantic puts between for the branch of a union."""
    node = data
    for place, part in enumerate(location, start=1):
        if isinstance(node, dict):
            keys = cast("dict[object, object]", node)
            if part not in keys and not (missing and place == len(location)):
                continue
            node = keys.get(part)
        elif isinstance(node, list) and isinstance(part, int):
            node = cast("list[object]", node)[part]
        yield str(part)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_FOUND else text[: MAX_FOUND - 3] + "..."


class _OnceLoader(yaml.SafeLoader):
    """YAML without the silent overwriting of a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  (PyYAML's signature)
        """A mapping; a key that stands twice is an error with its line."""
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
