"""The settings in force: one YAML file, then the environment, then the command line."""

import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from cli.config import Config
from cli.config_problem import explain
from cli.config_source import KeyPath, Sources, Value, add_environment, add_options, dotted, read_content, read_file
from collectors.errors import Misconfigured


def load_config(
    file: Path | None,
    environ: Mapping[str, str],
    options: Mapping[str, tuple[str, Value]],
) -> Config:
    """The settings in force.

    Args:
        file: the YAML file, or none.
        environ: the environment; ``WATTLEDGER_SECTION__KEY`` overrides the file.
        options: dotted key to (the option as typed, its value); overrides both.

    Raises:
        Misconfigured: one line with the place, the key, what was found and what is allowed.
    """
    return _load(read_file(file) if file else Sources(), environ, options)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The file of a configuration and what lies over it, for a process that follows what the file says."""

    path: Path
    environ: Mapping[str, str]
    options: Mapping[str, tuple[str, Value]]

    def load(self, content: bytes) -> Config:
        """As :func:`load_config`, of what was read from the file.

        Raises:
            Misconfigured: as there.
        """
        return _load(read_content(content, self.path), self.environ, self.options)


def _load(sources: Sources, environ: Mapping[str, str], options: Mapping[str, tuple[str, Value]]) -> Config:
    add_environment(sources, environ, _takes_text)
    add_options(sources, options)
    _refuse_infinite(sources, (), sources.values)
    try:
        # Strict JSON: "5" is no number and `yes` is not 1, yet paths and days may be written as text.
        return Config.model_validate_json(json.dumps(sources.values), strict=True)
    except ValidationError as error:
        raise Misconfigured(explain(error, sources, Config)) from error


def _takes_text(path: KeyPath) -> bool:
    """Whether a setting is text or a path: its environment variable is then taken as it stands, `no` and `08` too."""
    annotation: object = Config
    for part in path:
        fields = annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, BaseModel) else {}
        if part not in fields:
            return False
        annotation = fields[str(part)].annotation
    return any(kind in (str, Path) for kind in (annotation, *typing.get_args(annotation)))


def _refuse_infinite(sources: Sources, path: KeyPath, value: Value) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise Misconfigured(f"{sources.origin(path)}: {dotted(path)}: found {value}, allowed: a finite number")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_infinite(sources, (*path, key), item)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _refuse_infinite(sources, (*path, place), item)
