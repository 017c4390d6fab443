"""Settings without their checker: classes that declare as pydantic's do, and hold what pydantic's have checked.

Owns no rule: bounds and validators are passed over here, since every value but a default comes out of the pickle of a
checked one. For :mod:`collectors.setting` alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

_F = TypeVar("_F")


class BaseModel:
    """A section; what was not given is the default, which stands in the class."""

    def __init__(self, **values: object) -> None:
        vars(self).update(values)

    @property
    def model_fields_set(self) -> frozenset[str]:
        """The settings that somebody gave; in a section of defaults none."""
        return frozenset(vars(self).get("model_fields_set_", ()))

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take over the values of pydantic's object of the same name."""
        vars(self).update(state["__dict__"], model_fields_set_=tuple(state["__pydantic_fields_set__"]))


def Field(default: Any = None, **_: object) -> Any:  # noqa: N802  (pydantic's name)
    """The default alone."""
    return default


def ConfigDict(**settings: object) -> Mapping[str, object]:  # noqa: N802  (pydantic's name)
    """Nothing is configured here."""
    return settings


def field_validator(*_: str, **__: object) -> Callable[[_F], _F]:
    """The rule was kept where the value was checked."""
    return _as_it_is


def model_validator(**_: object) -> Callable[[_F], _F]:
    """The rule was kept where the value was checked."""
    return _as_it_is


def _as_it_is(function: _F) -> _F:
    return function
