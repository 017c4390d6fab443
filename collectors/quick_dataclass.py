"""Dataclasses of which a sweep makes hundreds: frozen for the type checkers, plain at run time.

At run time a frozen dataclass sets each field by ``object.__setattr__``, which makes it four times as dear as a plain
one: a seventh of a sweep of 56 MIG instances. Both type checkers refuse to write a field of these classes; nothing else
does. To be imported beside the real one, which is what the checkers see::

    if TYPE_CHECKING:
        from dataclasses import dataclass
    else:
        from collectors.quick_dataclass import dataclass
"""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def dataclass(*, frozen: bool, slots: bool) -> Callable[[type[_T]], type[_T]]:
    """What stands for ``dataclasses.dataclass(frozen=True, slots=True)``: equal by value, with a hash.

    Raises:
        ValueError: asked for anything else, which has no use for this.
    """
    if not (frozen and slots):
        raise ValueError("frozen and slots are True here; take dataclasses.dataclass for any other class")

    def decorate(made: type[_T]) -> type[_T]:
        return dataclasses.dataclass(slots=True, unsafe_hash=True)(made)

    return decorate
