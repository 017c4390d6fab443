"""The quick reader of metrics pages: only the samples whose names the caller maps, in either text format.

Owns the way from the bytes of Prometheus text 0.0.4 or OpenMetrics 1.0 to samples; never books a doubt: a line that
bears a mapped name and is not understood refuses its whole page. Lines of other names are skipped unread. The full
validating reader is ``collectors.openmetrics_strict``.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from collectors.openmetrics_grammar import (
    NOT_UTF8,
    LineSyntaxError,
    PageRefused,
    Sample,
    excerpt,
    parse_sample_line,
    read_number,
)
from collectors.openmetrics_labels import LabelReader
from collectors.openmetrics_names import FoundLine, line_expression

__all__ = ["MAX_PAGE_BYTES", "MAX_SAMPLES", "MappedPage", "PageRefused", "Sample", "parse_mapped", "read_page"]

MAX_PAGE_BYTES = 4 * 1024 * 1024
"""Default cap of a page: about twenty times the page of a large serving engine."""
MAX_SAMPLES = 20_000
"""Default cap of mapped samples of one page, so that one target cannot fill the agent's memory."""

_BLOCK_BYTES = 65_536
_MILLISECONDS_PER_SECOND = 1000.0
_MARKUP = re.compile(r"\s*<")
_KNOWN_LINE = re.compile(
    r"\n(?:\# (?:TYPE|HELP|UNIT|EOF)\b"
    r"|[ \t]*+[a-zA-Z_:][a-zA-Z0-9_:]*+(?:[ \t]*+\{.*\})?[ \t]++[-+.0-9eEINFinfaN]++[ \t\n]"
    r'|[ \t]*+\{[ \t]*+".*"[ \t,]*\}[ \t]++[-+.0-9eEINFinfaN]++[ \t\n])'
)


@dataclass(frozen=True, slots=True)
class MappedPage:
    """The mapped samples of one page, in its order."""

    samples: tuple[Sample, ...]
    nan_samples: int = 0
    """How many mapped samples were NaN: they are absent, so not among ``samples``."""


class ByteStream(Protocol):
    """What ``read_page`` reads from: an HTTP response, a file."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        ...


def read_page(stream: ByteStream, max_bytes: int = MAX_PAGE_BYTES) -> bytes:
    """Read a page to its end, never holding more than ``max_bytes`` and one block of it.

    Raises:
        PageRefused: the page is longer than ``max_bytes``, or never ends.
    """
    page = bytearray()
    while block := stream.read(_BLOCK_BYTES):
        page += block
        if len(page) > max_bytes:
            raise PageRefused(f"page is longer than the limit of {max_bytes} bytes; expose fewer series or raise it")
    return bytes(page)


def parse_mapped(
    page: bytes | str,
    names: Collection[str],
    *,
    prefixes: Collection[str] = (),
    openmetrics: bool | None = None,
    whole: bool = False,
    max_samples: int = MAX_SAMPLES,
) -> MappedPage:
    """The samples of ``page`` whose full name is in ``names`` or starts with one of ``prefixes``.

    The samples of a histogram have names of their own: map ``x_bucket``, ``x_sum`` and ``x_count``. ``openmetrics``
    says what the Content-Type said; ``None`` takes a page that ends in ``# EOF`` as OpenMetrics. It decides the unit of
    timestamps (there seconds, in text 0.0.4 milliseconds), whether a series may stand again with a later timestamp
    (there alone; the first of equal times counts), and whether a page without ``# EOF`` was cut off. NaN means absent:
    such a sample is left out and counted. Infinities are kept. Exemplars are checked and left out. ``whole`` says that
    the transport vouches for the page's length (Content-Length or the last chunk was seen); else a mapped last line
    without a line feed counts as cut off, since 12 may be the beginning of 123.

    Raises:
        PageRefused: the page is HTML, empty, cut off, or no metrics page; it has more than ``max_samples`` mapped
            samples; one series stands twice; a mapped line is not understood or not UTF-8. The message names the line.
    """
    expression = line_expression(frozenset(names), frozenset(prefixes))
    text = _framed(_decoded(page), expression, openmetrics=openmetrics is True, whole=whole)
    found = _find(text, expression, max_samples)
    if not found and _KNOWN_LINE.search(text) is None:
        raise PageRefused(f"not a metrics page: no line of it is a sample or metadata; it starts {excerpt(text[1:])}")
    reader = _Reader(openmetrics=_ends_in_eof(text) if openmetrics is None else openmetrics)
    try:
        return reader.read(found)
    except LineSyntaxError as error:
        raise PageRefused(f"{_place(text, expression, reader.lines_read)}: {error}") from error


class _Reader:
    """Turns found lines into samples; ``lines_read`` points at the line in work, for messages."""

    def __init__(self, *, openmetrics: bool) -> None:
        self.lines_read = 0
        self._openmetrics = openmetrics
        self._ticks_per_second = 1.0 if openmetrics else _MILLISECONDS_PER_SECOND
        self._labels = LabelReader()
        self._last_seen: dict[tuple[str, int], float | None] = {}

    def read(self, found: Sequence[tuple[str, ...]]) -> MappedPage:
        samples: list[Sample] = []
        known_labels, read_labels, last_seen = self._labels.known, self._labels.read, self._last_seen
        nan_samples = 0
        for self.lines_read, line in enumerate(found):
            name, label_text, value_text, timestamp_text, _, _ = line
            known = known_labels.get(label_text) or read_labels(label_text)
            if known is None or timestamp_text or not value_text:
                name, labels, value, seconds = self._read_uncommon(FoundLine(*line))
                series = name, self._labels.number(labels)
            else:
                labels, number = known
                series = name, number
                value, seconds = float(value_text), None
            if series in last_seen and not self._is_later(name, labels, last_seen[series], seconds):
                continue
            last_seen[series] = seconds
            if value - value == 0 or not _is_absent(value, value_text):
                samples.append(Sample(name, labels, value, seconds))
            else:
                nan_samples += 1
        return MappedPage(tuple(samples), nan_samples)

    def _read_uncommon(self, line: FoundLine) -> Sample:
        """A line with escapes, an exemplar, a timestamp or a quoted name, read in the whole grammar."""
        if line.quoted:
            text = line.quoted
        elif line.value:
            text = f"{line.name}{{{line.label_text}}} {line.value} {line.timestamp}"
        else:
            text = line.name + line.odd
        if NOT_UTF8.search(text):
            raise LineSyntaxError(f"{excerpt(text)} is not UTF-8")
        name, labels, value, ticks = parse_sample_line(text)
        return Sample(name, labels, value, None if ticks is None else ticks / self._ticks_per_second)

    def _is_later(self, name: str, labels: Mapping[str, str], last: float | None, seconds: float | None) -> bool:
        """Whether a series that stood before adds a sample; false where OpenMetrics has the first one count."""
        if not self._openmetrics or last is None or seconds is None:
            raise LineSyntaxError(f"series {name}{excerpt(str(dict(labels)))} stands twice; it may stand once")
        if seconds < last:
            raise LineSyntaxError(f"series {name}{excerpt(str(dict(labels)))} goes back in time by its timestamps")
        return seconds > last


def _is_absent(value: float, value_text: str) -> bool:
    """Whether a value that is not finite is NaN.

    Raises:
        LineSyntaxError: it is infinite because its digits do not fit a float.
    """
    read_number(value_text or "Inf", "value")
    return math.isnan(value)


def _decoded(page: bytes | str) -> str:
    """The page as text; bytes that are not UTF-8 stay as lone surrogates, and are looked for in mapped lines."""
    return page if isinstance(page, str) else page.decode("utf-8", "surrogateescape")


def _framed(page: str, expression: re.Pattern[str], *, openmetrics: bool, whole: bool) -> str:
    """The page between two line feeds, as the expression wants it.

    Raises:
        PageRefused: it is empty, HTML, or was cut off in a mapped line or before the end that OpenMetrics marks.
    """
    text = "\n" + page
    if not page or page.isspace():
        raise PageRefused("not a metrics page: it is empty")
    if _MARKUP.match(page):
        raise PageRefused(f"not a metrics page but markup: it starts {excerpt(page.lstrip())}")
    if not text.endswith("\n"):
        last_line = text[text.rfind("\n") :] + "\n"
        if not whole and expression.match(last_line):
            raise PageRefused(f"page is cut off: its last line {excerpt(last_line.strip())} does not end")
        text += "\n"
    if openmetrics and not _ends_in_eof(text):
        raise PageRefused("page is cut off: an OpenMetrics page ends in the line # EOF")
    return text


def _ends_in_eof(text: str) -> bool:
    return text.endswith("\n# EOF\n")


def _find(text: str, expression: re.Pattern[str], max_samples: int) -> list[tuple[str, ...]]:
    """All mapped lines; counted first where the page has lines enough to pass the limit, to bound memory."""
    if text.count("\n") > max_samples:
        lines = sum(1 for _ in islice(expression.finditer(text), max_samples + 1))
        if lines > max_samples:
            raise PageRefused(f"page has more than {max_samples} mapped samples; map fewer names or raise the limit")
    return expression.findall(text)


def _place(text: str, expression: re.Pattern[str], index: int) -> str:
    """Where the mapped line number ``index`` stands in the page, for a message; text starts one line feed early."""
    match = next(islice(expression.finditer(text), index, None))
    start = match.start() + 1
    offset = len(text[1:start].encode("utf-8", "surrogateescape"))
    return f"line {text.count(chr(10), 0, start)} at byte {offset}"
