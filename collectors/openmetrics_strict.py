"""The validating reader of OpenMetrics 1.0 text: a whole page, every rule, or a refusal.

Owns the order of lines: families, their metadata, metrics and points; never returns a part of a page. It is for pages
that must be right (tests, ``doctor``); what is scraped every few seconds is read by ``collectors.openmetrics``.
"""

from collectors.openmetrics_families import SUFFIXES, Family, FamilySample
from collectors.openmetrics_grammar import LineSyntaxError, PageRefused, excerpt
from collectors.openmetrics_lines import Metadata, read_metadata, read_sample
from collectors.openmetrics_rules import check_point, check_sample, reserved_label

__all__ = ["PageRefused", "parse_strict"]

_EOF = "# EOF"
_METRIC_IDENTITY = frozenset[tuple[str, str]]


def parse_strict(page: bytes | str) -> tuple[Family, ...]:
    """All families of an OpenMetrics 1.0 text page, in its order. Of equal times of one series the first counts.

    Raises:
        PageRefused: the page breaks a rule; the message names the line, what was found and what is allowed.
    """
    lines = _decoded(page).split("\n")
    if lines[-1] == "":
        lines.pop()
    reader = _PageReader()
    for number, line in enumerate(lines, start=1):
        if line == _EOF:
            if number < len(lines):
                found = excerpt(lines[number])
                raise PageRefused(f"line {number + 1}: found {found} behind # EOF; allowed: the end of the page")
            return reader.finish(number)
        reader.read_line(number, line)
    raise PageRefused(f"line {len(lines) + 1}: found the end of the page; allowed: # EOF as the last line")


def _decoded(page: bytes | str) -> str:
    if isinstance(page, str):
        return page
    try:
        return page.decode("utf-8")
    except UnicodeDecodeError as error:
        line = page.count(b"\n", 0, error.start) + 1
        byte = page[error.start]
        raise PageRefused(f"line {line}: found byte 0x{byte:02x} at byte {error.start}; allowed: UTF-8") from error


class _PageReader:
    """Takes lines in order; every refusal gets the number of the line that caused it."""

    def __init__(self) -> None:
        self._families: list[Family] = []
        self._open: _OpenFamily | None = None
        self._owner_of: dict[str, str] = {}

    def read_line(self, number: int, line: str) -> None:
        try:
            if line.startswith("#"):
                self._take_metadata(read_metadata(line))
            else:
                self._take_sample(read_sample(line))
        except LineSyntaxError as error:
            raise PageRefused(f"line {number}: {error}") from error

    def finish(self, number: int) -> tuple[Family, ...]:
        try:
            self._close_family()
        except LineSyntaxError as error:
            raise PageRefused(f"line {number}: {error}") from error
        return tuple(self._families)

    def _take_metadata(self, metadata: Metadata) -> None:
        if self._open is None or self._open.name != metadata.family:
            self._close_family()
            self._open = _OpenFamily(metadata.family)
        self._open.describe(metadata)

    def _take_sample(self, sample: FamilySample) -> None:
        if self._open is None or not self._open.may_hold(sample.name):
            self._close_family()
            self._open = _OpenFamily(sample.name)
        self._open.add(sample)

    def _close_family(self) -> None:
        if self._open is None:
            return
        family = self._open.close()
        names = {family.name} | {family.name + suffix for suffix in SUFFIXES[family.type]}
        for name in sorted(names & self._owner_of.keys()):
            owner = self._owner_of[name]
            if owner == family.name:
                raise LineSyntaxError(f"found family {owner} again; allowed: once, its samples named for its type")
            raise LineSyntaxError(f"family {family.name} needs the name {name}, which family {owner} above has")
        self._owner_of |= dict.fromkeys(names, family.name)
        self._families.append(family)
        self._open = None


class _OpenFamily:
    """A family whose lines are still coming."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._metadata: dict[str, str] = {}
        self._samples: list[FamilySample] = []
        self._metrics_seen: set[_METRIC_IDENTITY] = set()
        self._metric: _METRIC_IDENTITY | None = None
        self._point: dict[tuple[str, _METRIC_IDENTITY], FamilySample] = {}
        self._timestamp: float | None = None

    @property
    def _kind(self) -> str:
        return self._metadata.get("TYPE", "unknown")

    def describe(self, metadata: Metadata) -> None:
        if self._samples:
            raise LineSyntaxError(f"found # {metadata.keyword} behind samples of {self.name}; allowed: before them")
        if metadata.keyword in self._metadata:
            raise LineSyntaxError(f"found a second # {metadata.keyword} of {self.name}; allowed: one")
        self._metadata[metadata.keyword] = metadata.text

    def may_hold(self, sample_name: str) -> bool:
        return any(sample_name == self.name + suffix for suffix in SUFFIXES[self._kind])

    def add(self, sample: FamilySample) -> None:
        check_sample(self.name, self._kind, sample)
        reserved = reserved_label(self.name, self._kind)
        metric = frozenset(label for label in sample.labels.items() if label[0] != reserved)
        if metric != self._metric:
            self._start_metric(metric, sample)
        elif sample.timestamp_seconds != self._timestamp:
            self._start_point(sample)
        series = (sample.name, frozenset(sample.labels.items()))
        if series not in self._point:
            self._point[series] = sample
            self._samples.append(sample)
        elif sample.timestamp_seconds is None:
            raise LineSyntaxError(f"found {sample.name} with the same labels again; allowed: once")

    def _start_metric(self, metric: _METRIC_IDENTITY, sample: FamilySample) -> None:
        self._close_point()
        if metric in self._metrics_seen:
            raise LineSyntaxError(f"found {sample.name} of a metric that ended above; allowed: its samples together")
        self._metrics_seen.add(metric)
        self._metric, self._timestamp = metric, sample.timestamp_seconds

    def _start_point(self, sample: FamilySample) -> None:
        self._close_point()
        before, now = self._timestamp, sample.timestamp_seconds
        if before is None or now is None:
            raise LineSyntaxError("found a metric with and without timestamps; allowed: all or none")
        if now < before:
            raise LineSyntaxError(f"found timestamp {now} behind {before} of the same metric; allowed: growing ones")
        self._timestamp = now

    def _close_point(self) -> None:
        if self._point:
            check_point(self.name, self._kind, tuple(self._point.values()))
        self._point.clear()

    def close(self) -> Family:
        self._close_point()
        unit = self._metadata.get("UNIT", "")
        if unit and not self.name.endswith(f"_{unit}"):
            raise LineSyntaxError(f"unit {unit} of {self.name} is not the end of its name; allowed: {self.name}_{unit}")
        if unit and self._kind in ("info", "stateset"):
            raise LineSyntaxError(f"found unit {unit} of {self.name}; allowed: none for {self._kind}")
        return Family(self.name, self._kind, unit, self._metadata.get("HELP", ""), tuple(self._samples))
