"""Quick reading of label strings: the few shapes that a page's labels have are checked once, then only cut.

Owns the labels of one page while it is read; never takes a string that it has not checked to its last character.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from collectors.openmetrics_grammar import NOT_UTF8

_FIRST_NAME = re.compile(r"[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*")
_NEXT_NAME = re.compile(r"[ \t]*,[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*")
_END = re.compile(r"[ \t]*,?[ \t]*")

NumberedLabels = tuple[Mapping[str, str], int]
"""Labels, and a number that only equal label sets of the page share."""
_SeriesKey = tuple[tuple[str, ...], tuple[str, ...]]


class _Shape(NamedTuple):
    """What stands around the values of a label string: the names as written, and how to sort them."""

    names: tuple[str, ...]
    sorted_names: tuple[str, ...]
    sort_values: Callable[[Sequence[str]], tuple[str, ...]]


class LabelReader:
    """Turns the text between braces into labels, and labels into a number that equal label sets share.

    ``known`` holds what was read so far: look there first, then ``read``.
    """

    def __init__(self) -> None:
        self.known: dict[str, NumberedLabels] = {}
        self._shapes: dict[tuple[str, ...], _Shape | None] = {}
        self._numbers: dict[_SeriesKey, int] = {}

    def read(self, text: str) -> NumberedLabels | None:
        """Labels and their number; ``None`` where the text is not plain (escapes, quoted names, errors)."""
        if "\\" in text or not (text.isascii() or NOT_UTF8.search(text) is None):
            return None
        parts = text.split('"')
        frame = tuple(parts[::2])
        shape = self._shapes[frame] if frame in self._shapes else self._add_shape(frame)
        if shape is None:
            return None
        values = parts[1::2]
        labels = dict(zip(shape.names, values))  # noqa: B905  (one value stands between two parts of the frame)
        if "" in values:
            number = self.number(labels)
        else:
            number = self._numbers.setdefault((shape.sorted_names, shape.sort_values(values)), len(self._numbers))
        result = self.known[text] = labels, number
        return result

    def number(self, labels: Mapping[str, str]) -> int:
        """The number of a label set, whatever its order; an empty value is as good as no label."""
        pairs = sorted((name, value) for name, value in labels.items() if value)
        key = (tuple(name for name, _ in pairs), tuple(value for _, value in pairs))
        return self._numbers.setdefault(key, len(self._numbers))

    def _add_shape(self, frame: tuple[str, ...]) -> _Shape | None:
        shape = self._shapes[frame] = _shape_of(frame)
        return shape


def _shape_of(frame: tuple[str, ...]) -> _Shape | None:
    """The shape of the text around the values, or ``None`` where it is not labels and nothing else."""
    *heads, end = frame
    if not heads:
        return None if end.strip(" \t") else _Shape((), (), tuple)
    matches = [(_NEXT_NAME if place else _FIRST_NAME).fullmatch(head) for place, head in enumerate(heads)]
    names = tuple(match[1] for match in matches if match is not None)
    if len(set(names)) < len(heads) or _END.fullmatch(end) is None:
        return None
    order = sorted(range(len(names)), key=names.__getitem__)
    sort_values = tuple if len(order) == 1 else itemgetter(*order)
    return _Shape(names, tuple(sorted(names)), sort_values)
