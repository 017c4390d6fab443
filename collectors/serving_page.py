"""Reads a serving engine's metrics page: which engine's it is, its mapped samples, and what these say.

Owns the way from bytes to an :class:`EnginePage`. It reads a page and nothing else: what a counter gained since the
last page is for ``collectors.serving_counters``.
"""

from collections.abc import Sequence
from typing import NamedTuple

from collectors.errors import Unavailable
from collectors.openmetrics import MappedPage, parse_mapped
from collectors.serving_engines import START_TIME, EngineNames, detect_engines
from collectors.serving_layout import layout_of
from collectors.serving_values import EnginePage, GaugeKey, Histogram, PageReading, Slot, TenantCap

__all__ = [
    "EnginePage",
    "EngineUnknown",
    "GaugeKey",
    "Histogram",
    "PageReading",
    "Slot",
    "TakenPage",
    "TenantCap",
    "read_engine_page",
    "take_apart",
]


class EngineUnknown(Unavailable):
    """A page of no engine that the tables know, of which nothing was mapped. A later page may be another."""


class TakenPage(NamedTuple):
    """A page's engines and its mapped samples."""

    engines: tuple[EngineNames, ...]
    mapped: MappedPage


def read_engine_page(
    page: bytes, reading: PageReading | None = None, tenants: TenantCap | None = None, *, whole: bool = True
) -> EnginePage:
    """Read one page by the tables of its engines.

    Where a page has several engines the first that tells a value counts (Triton, which hosts others, is last).
    ``whole`` is what ``collectors.openmetrics.parse_mapped`` says of it.

    An engine that was named may tell nothing yet, or serve an empty page: some do before their first request.

    Raises:
        PageRefused: the page is none, is cut off, has too many samples, or a counter on it cannot be one.
        EngineUnknown: no engine was named and none is known by its names, or the page is another's than the named.
    """
    reading = reading or PageReading()
    engines, mapped = take_apart(page, reading, whole=whole)
    layout = layout_of(engines, mapped.samples, reading, tenants or TenantCap(0))
    return layout.fill([sample.value for sample in mapped.samples])


def take_apart(page: bytes, reading: PageReading, *, whole: bool) -> TakenPage:
    """The page's engines and what of it they map.

    Raises:
        PageRefused, EngineUnknown: as :func:`read_engine_page`, which also looks at the counters' values.
    """
    engines = reading.engines or detect_engines(page)
    wanted = frozenset[str]().union(*(names.sample_names for names in engines))
    idle = bool(reading.engines) and not page.strip()
    mapped = (
        MappedPage(())
        if idle
        else parse_mapped(page, wanted | {START_TIME}, whole=whole, max_samples=reading.max_samples)
    )
    _check_known(reading.engines, page, told=any(sample.name != START_TIME for sample in mapped.samples))
    return TakenPage(engines, mapped)


def _check_known(named: Sequence[EngineNames], page: bytes, *, told: bool) -> None:
    if told or any(names.engine == "mapping" for names in named):
        return
    found = detect_engines(page)
    if not named and not found:
        raise EngineUnknown(
            "no metric of a known serving engine stands on this page: correct its address, or map its counters"
        )
    if named and found and not any(names in named for names in found):
        raise EngineUnknown(
            f"this is the page of {found[0].engine}, not of {named[0].engine}: correct the engine, or leave it out"
        )
