"""How metrics become a page: prebuilt label strings, exact decimals, Prometheus text 0.0.4 and OpenMetrics 1.0.

Owns escaping, numbers and the two formats. It must never read a source, and never write a value that was not given:
what is absent has no line.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from exporters.metric import HOST_HOLDER_LABELS, NODE, Metric, Unit

Labels = tuple[str, ...]
"""Label values in the order of :meth:`Metric.label_names`, without ``node``."""
Line = tuple[str, int | float | str]
"""A prebuilt ``name{labels} `` and its value; a string is a number that is already written out."""

PLACES: Final[Mapping[Unit, int]] = {"seconds": 9, "joules": 3, "usd": 9, "usd_per_day": 9}
"""Decimal places of the integer unit that the books hold: nanoseconds, millijoules, nano-dollars."""

_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_SPARE_LABELS: Final = 128


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with its series, as they stand at one instant."""

    metric: Metric
    lines: Sequence[Line]


def decimal(amount: int, places: int) -> str:
    """``amount`` units of 10^-places written exactly: ``decimal(1234567890123, 9)`` is ``1234.567890123``."""
    digits = str(amount)
    if len(digits) > places and amount > 0:
        return f"{digits[:-places]}.{digits[-places:]}"
    sign = "-" if amount < 0 else ""
    digits = str(abs(amount)).zfill(places + 1)
    return f"{sign}{digits[:-places]}.{digits[-places:]}"


def decimals(amounts: Iterable[int], places: int) -> list[str]:
    """:func:`decimal` of many amounts."""
    return [
        f"{digits[:-places]}.{digits[-places:]}"
        if len(digits) > places and digits[0] != "-"
        else decimal(int(digits), places)
        for digits in map(str, amounts)
    ]


def escape(value: str) -> str:
    """A label value as both formats want it; what UTF-8 or Prometheus' parser cannot take becomes U+FFFD."""
    value = _UNWRITABLE.sub("\ufffd", value)
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class SeriesCache:
    """The series of one metric on one node, or of the fleet: each ``name{labels} `` is built once and kept in use.

    Args:
        metric: the declaration.
        node: the value of the label ``node``; nothing to a metric of the fleet.
        holder_labels: names of the holder labels of this installation.
        dimensions: names of labels that the installation adds after the declared ones.
    """

    def __init__(
        self,
        metric: Metric,
        node: str,
        *,
        holder_labels: tuple[str, ...] = HOST_HOLDER_LABELS,
        dimensions: tuple[str, ...] = (),
    ) -> None:
        self.metric = metric
        names = (*metric.label_names(holder_labels), *dimensions)
        self._names = names if metric.of_fleet else names[1:]
        self._head = () if metric.of_fleet else (f'{NODE}="{escape(node)}"',)
        self._known: dict[Labels, str] = {}

    def prefix(self, *values: str) -> str:
        """``name{labels} `` for label values in declared order, ``node`` left out.

        Raises:
            ValueError: there are more or fewer values than labels.
        """
        known = self._known.get(values)
        return self._build(values) if known is None else known

    def family(self, rows: Iterable[tuple[Labels, int | float | None]]) -> Family:
        """The rows as they are; an absent value, and a float that is no finite number, has no line."""
        return self._keep([(self.prefix(*labels), n) for labels, n in rows if n is not None and math.isfinite(n)])

    def exact_family(self, amounts: Iterable[tuple[Labels, int]]) -> Family:
        """Integers of the books (nanoseconds, millijoules, nano-dollars by the metric's unit), to the last digit."""
        places = PLACES[self.metric.unit]
        return self._keep([(self.prefix(*labels), decimal(amount, places)) for labels, amount in amounts])

    def forget_all_but(self, prefixes: Iterable[str]) -> None:
        """Drop what is not among ``prefixes``; for those who keep prefixes themselves and build no family here."""
        used = set(prefixes)
        self._known = {labels: prefix for labels, prefix in self._known.items() if prefix in used}

    def _keep(self, lines: list[Line]) -> Family:
        if len(self._known) > 2 * len(lines) + _SPARE_LABELS:
            self.forget_all_but(prefix for prefix, _ in lines)
        return Family(self.metric, lines)

    def _build(self, values: Labels) -> str:
        if len(values) != len(self._names):
            raise ValueError(f"{self.metric.name} has labels {self._names}, got {len(values)} values: {values}")
        own = [f'{name}="{escape(value)}"' for name, value in zip(self._names, values, strict=True)]
        labels = ",".join([*self._head, *own])
        built = self._known[values] = f"{self.metric.name}{{{labels}}} " if labels else f"{self.metric.name} "
        return built


def render(families: Iterable[Family], *, openmetrics: bool) -> bytes:
    """The page. A family without series is left out; each metric may stand once."""
    parts: list[str] = []
    for family in families:
        if family.lines:
            parts.append(_openmetrics_head(family.metric) if openmetrics else _text_head(family.metric))
            parts.extend([f"{prefix}{value}\n" for prefix, value in family.lines])
    if openmetrics:
        parts.append("# EOF\n")
    return "".join(parts).encode()


def _text_head(metric: Metric) -> str:
    kind = "gauge" if metric.kind == "info" else metric.kind
    text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {metric.name} {text}\n# TYPE {metric.name} {kind}\n"


def _openmetrics_head(metric: Metric) -> str:
    name = metric.family_name
    unit = f"# UNIT {name} {metric.unit}\n" if metric.unit else ""
    return f"# TYPE {name} {metric.kind}\n{unit}# HELP {name} {escape(metric.help)}\n"
