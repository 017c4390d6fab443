"""The words that both readers of a metrics page share: samples, refusals, escapes, and one whole sample line.

Owns the tolerant grammar of a single line (Prometheus text 0.0.4, OpenMetrics 1.0 and quoted UTF-8 names); decides
nothing about a page as a whole, and never guesses: a line is understood wholly or refused.
"""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from collectors.errors import Unavailable

EXCERPT_CHARACTERS = 80
NOT_UTF8 = re.compile("[\udc80-\udcff]")
"""Finds the bytes that decoding by ``surrogateescape`` kept because they are not UTF-8."""


class PageRefused(Unavailable):
    """A metrics page that cannot be read as a whole; nothing of it may be used. The next scrape may be good."""


class Sample(NamedTuple):
    """One sample of a page. ``labels`` may be shared between samples: read it, never write it."""

    name: str
    """Full sample name, suffix included, such as ``vllm:request_success_total`` or ``..._bucket``."""
    labels: Mapping[str, str]
    value: float
    timestamp_seconds: float | None = None
    """Seconds since the Unix epoch where the page gave a time, in either format."""


class LineSyntaxError(ValueError):
    """What is wrong with one line: what was found, what is allowed."""


class ParsedLine(NamedTuple):
    """The parts of one sample line; numbers as written."""

    name: str
    labels: Mapping[str, str]
    value: float
    timestamp: float | None


_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?inf(?:inity)?|nan", re.IGNORECASE)
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_QUOTED = r'"((?:[^"\\\n]|\\[^\n])*+)"'
_QUOTED_NAME = re.compile(rf"\{{[ \t]*{_QUOTED}[ \t]*(,|(?=\}}))")
_LABEL = re.compile(rf"[ \t]*(?:([a-zA-Z_][a-zA-Z0-9_]*)|{_QUOTED})[ \t]*=[ \t]*{_QUOTED}[ \t]*(,|(?=\}}))")
_LABELS_END = re.compile(r"[ \t]*\}")
_TAIL = re.compile(r"[ \t]+([^ \t#]+)(?:[ \t]+([^ \t#]+))?(?:[ \t]+#[ \t]+(\{.*))?[ \t]*")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", '"': '"', "\\": "\\"}


def excerpt(text: str) -> str:
    """The text as it can stand in a one-line message, cut to ``EXCERPT_CHARACTERS``."""
    cut = text if len(text) <= EXCERPT_CHARACTERS else text[:EXCERPT_CHARACTERS] + "..."
    return ascii(cut)


def unescape(text: str) -> str:
    r"""The value behind ``\n``, ``\"`` and ``\\``; any other backslash stands for itself (both formats)."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[0]), text)


def read_number(text: str, what: str) -> float:
    """The float of a decimal number, Inf or NaN; hexadecimal, underscores and numbers beyond a float are refused.

    Raises:
        LineSyntaxError: ``text`` is no such number; ``what`` names it in the message.
    """
    if _NUMBER.fullmatch(text) is None:
        raise LineSyntaxError(f"{what} {excerpt(text)} is not a number; allowed: a decimal number, +Inf, -Inf or NaN")
    number = float(text)
    if math.isinf(number) and "n" not in text.lower():
        raise LineSyntaxError(f"{what} {excerpt(text)} does not fit a 64-bit float")
    return number


def parse_sample_line(line: str) -> ParsedLine:
    """Read one sample line, without its line feed, in the tolerant grammar; an exemplar is checked and left out.

    Raises:
        LineSyntaxError: the line is no sample line; the message says what was found and what is allowed.
    """
    start = len(line) - len(line.lstrip(" \t"))
    labels: dict[str, str] = {}
    quoted = _QUOTED_NAME.match(line, start)
    plain = _NAME.match(line, start)
    if quoted is not None:
        name = unescape(quoted[1])
        end = _read_labels(line, quoted.end(), labels)
    elif plain is not None:
        name = plain[0]
        after = _skip_blanks(line, plain.end())
        end = _read_labels(line, after + 1, labels) if line[after : after + 1] == "{" else plain.end()
    else:
        raise LineSyntaxError(f"{excerpt(line)} does not start with a metric name")
    value, timestamp = _read_tail(line[end:])
    return ParsedLine(name, labels, value, timestamp)


def _skip_blanks(line: str, position: int) -> int:
    while line[position : position + 1] in (" ", "\t"):
        position += 1
    return position


def _read_labels(line: str, position: int, labels: dict[str, str]) -> int:
    """Fill ``labels`` from behind the opening brace; the position behind the closing one."""
    while (end := _LABELS_END.match(line, position)) is None:
        label = _LABEL.match(line, position)
        if label is None:
            found = excerpt(line[position:])
            raise LineSyntaxError(f'found {found} within the labels; allowed: name="value", or the closing brace')
        name = label[1] if label[1] is not None else unescape(label[2])
        if name in labels:
            raise LineSyntaxError(f"label {excerpt(name)} stands twice; a label may stand once")
        labels[name] = unescape(label[3])
        position = label.end()
    return end.end()


def _read_tail(tail: str) -> tuple[float, float | None]:
    match = _TAIL.fullmatch(tail)
    if match is None:
        raise LineSyntaxError(f"found {excerpt(tail)} behind the name; allowed: a value, then at most a timestamp")
    if match[3] is not None:
        _check_exemplar(match[3])
    timestamp = None if match[2] is None else read_number(match[2], "timestamp")
    if timestamp is not None and not math.isfinite(timestamp):
        raise LineSyntaxError(f"timestamp {excerpt(match[2])} is not finite")
    return read_number(match[1], "value"), timestamp


def _check_exemplar(text: str) -> None:
    end = _read_labels(text, 1, {})
    match = _TAIL.fullmatch(text[end:])
    if match is None or match[3] is not None:
        raise LineSyntaxError(f"found exemplar {excerpt(text)}; allowed: labels in braces, a value, then a timestamp")
    read_number(match[1], "exemplar value")
    if match[2] is not None:
        read_number(match[2], "exemplar timestamp")
