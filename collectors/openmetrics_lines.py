"""The strict grammar of one line of OpenMetrics 1.0 text, as its ABNF has it: single spaces, no trailing anything.

Owns the syntax of a line alone; what lines mean together is ``collectors.openmetrics_rules``.
"""

import math
import re
from typing import NamedTuple

from collectors.openmetrics_families import SUFFIXES, Exemplar, FamilySample
from collectors.openmetrics_grammar import LineSyntaxError, excerpt, read_number, unescape

MAX_EXEMPLAR_CHARACTERS = 128
"""Most characters that the names and values of an exemplar's labels may have together."""

_METADATA = re.compile(r"# (TYPE|HELP|UNIT) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)", re.DOTALL)
_UNIT = re.compile(r"[a-zA-Z0-9_:]*")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*+)"', re.DOTALL)
_WORD = re.compile(r"[^ ]+")


class Metadata(NamedTuple):
    """A TYPE, HELP or UNIT line, its text unescaped."""

    keyword: str
    family: str
    text: str


class _Cursor:
    """A place in a line that only moves on."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._position = 0

    @property
    def at_end(self) -> bool:
        return self._position == len(self._line)

    def skip(self, text: str) -> bool:
        found = self._line.startswith(text, self._position)
        if found:
            self._position += len(text)
        return found

    def take(self, pattern: re.Pattern[str], allowed: str) -> re.Match[str]:
        match = pattern.match(self._line, self._position)
        if match is None:
            raise self.refusal(allowed)
        self._position = match.end()
        return match

    def refusal(self, allowed: str) -> LineSyntaxError:
        rest = self._line[self._position :]
        found = excerpt(rest) if rest else "the end of the line"
        return LineSyntaxError(f"found {found}; allowed: {allowed}")


def read_metadata(line: str) -> Metadata:
    """Read a line that starts with ``#`` and is not the last one.

    Raises:
        LineSyntaxError: it is no TYPE, HELP or UNIT line, or its type or unit is none.
    """
    match = _METADATA.fullmatch(line)
    if match is None:
        raise LineSyntaxError(f"found {excerpt(line)}; allowed: # TYPE, # HELP or # UNIT, a name and a text; or # EOF")
    keyword, family, text = match[1], match[2], match[3]
    if keyword == "TYPE" and text not in SUFFIXES:
        raise LineSyntaxError(f"found type {excerpt(text)}; allowed: {', '.join(SUFFIXES)}")
    if keyword == "UNIT" and _UNIT.fullmatch(text) is None:
        raise LineSyntaxError(f"found unit {excerpt(text)}; allowed: letters, digits, underscores and colons")
    return Metadata(keyword, family, unescape(text))


def read_sample(line: str) -> FamilySample:
    """Read one sample line with its exemplar.

    Raises:
        LineSyntaxError: the line departs from the grammar; what was found there and what is allowed.
    """
    cursor = _Cursor(line)
    name = cursor.take(_NAME, "a metric name, a comment of metadata, or # EOF")[0]
    labels = _read_labels(cursor) if cursor.skip("{") else {}
    value = _read_value(cursor, "value")
    has_exemplar = cursor.skip(" # {")
    timestamp = None if has_exemplar else _read_timestamp(cursor)
    if not has_exemplar and timestamp is not None:
        has_exemplar = cursor.skip(" # {")
    exemplar = _read_exemplar(cursor) if has_exemplar else None
    if not cursor.at_end:
        raise cursor.refusal("a timestamp, an exemplar, or the end of the line")
    return FamilySample(name, labels, value, timestamp, exemplar)


def _read_exemplar(cursor: _Cursor) -> Exemplar:
    labels = _read_labels(cursor)
    length = sum(len(name) + len(value) for name, value in labels.items())
    if length > MAX_EXEMPLAR_CHARACTERS:
        raise LineSyntaxError(f"found an exemplar of {length} characters; allowed: {MAX_EXEMPLAR_CHARACTERS}")
    return Exemplar(labels, _read_value(cursor, "exemplar value"), _read_timestamp(cursor))


def _read_labels(cursor: _Cursor) -> dict[str, str]:
    labels: dict[str, str] = {}
    if cursor.skip("}"):
        return labels
    while True:
        label = cursor.take(_LABEL, 'a label as name="value"')
        if label[1] in labels:
            raise LineSyntaxError(f"label {label[1]} stands twice; allowed: once")
        labels[label[1]] = unescape(label[2])
        if cursor.skip("}"):
            return labels
        if not cursor.skip(","):
            raise cursor.refusal("a comma and a label, or the closing brace")


def _read_value(cursor: _Cursor, what: str) -> float:
    if not cursor.skip(" "):
        raise cursor.refusal(f"one space and the {what}")
    return read_number(cursor.take(_WORD, f"the {what}")[0], what)


def _read_timestamp(cursor: _Cursor) -> float | None:
    if not cursor.skip(" "):
        return None
    text = cursor.take(_WORD, "a timestamp, an exemplar, or the end of the line")[0]
    seconds = read_number(text, "timestamp")
    if not math.isfinite(seconds):
        raise LineSyntaxError(f"found timestamp {text}; allowed: a decimal number of seconds")
    return seconds
