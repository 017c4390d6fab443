"""How much carbon dioxide a kilowatt-hour bears: the bundled table by cloud region and country, and hourly series.

Owns both formats. Figures are location-based: those of the grid that the region draws from, without certificates and
offsets. Must never fill in what a table does not say. ``DATA-SOURCES.md`` says where the figures are from.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

from collectors.errors import Misconfigured

BUNDLED_TABLE = Path(__file__).parent / "data" / "carbon_intensity.csv"
COLUMNS = ("provider", "region", "country", "g_per_kwh", "year", "source", "as_of")
SERIES_COLUMNS = ("hour_utc", "g_per_kwh")
HIGHEST_G_PER_KWH = Decimal(2000)
"""Above what any grid emits: the worst coal plants are near 1,400."""
_FIGURE = re.compile(r"\d{1,4}(\.\d{1,3})?")


@dataclass(frozen=True, slots=True)
class RegionIntensity:
    """Yearly mean of a cloud's region, or of a country where ``provider`` and ``region`` are empty."""

    provider: str
    region: str
    country: str
    """ISO 3166-1 alpha-3."""
    mg_per_kwh: int
    """Milligrams of CO2 equivalent for a kilowatt-hour."""
    year: int | None
    """``None`` where the source names none."""
    source: str
    as_of: date


@dataclass(frozen=True, slots=True)
class HourIntensity:
    """An hour of a series."""

    hour_utc: datetime
    mg_per_kwh: int


def load(path: Path = BUNDLED_TABLE) -> tuple[RegionIntensity, ...]:
    """The rows of the table.

    Raises:
        Misconfigured: it is not there or is malformed: file, line, column, what was found, what is allowed.
    """
    rows = [_region(cells, path, line) for line, cells in _rows(path, COLUMNS)]
    _once(path, [(row.provider, row.region, row.country if not row.region else "") for row in rows])
    return tuple(rows)


def load_series(path: Path) -> tuple[HourIntensity, ...]:
    """The hours of a CSV with the columns ``hour_utc`` (RFC 3339, with ``Z`` or an offset) and ``g_per_kwh``.

    Raises:
        Misconfigured: it is not there or is malformed: file, line, column, what was found, what is allowed.
    """
    rows = [
        HourIntensity(_hour(cells["hour_utc"], path, line), _milligrams(cells["g_per_kwh"], path, line))
        for line, cells in _rows(path, SERIES_COLUMNS)
    ]
    _once(path, [(row.hour_utc,) for row in rows])
    return tuple(rows)


class SeriesFile:
    """A series of hours that others write, and add to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> tuple[HourIntensity, ...]:
        """Its hours; raises as :func:`load_series`."""
        self._seen = self._look()
        return load_series(self._path)

    def read_if_changed(self) -> tuple[HourIntensity, ...] | None:
        """Its hours; ``None``: it is as it was when it was last read, or refused. Raises as :func:`load_series`."""
        return None if self._look() == self._seen else self.read()

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def _rows(path: Path, columns: tuple[str, ...]) -> Iterable[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            header = next(reader, list[str]())
            if tuple(header) != columns:
                _refuse(path, 1, "header", ",".join(header), f"exactly {','.join(columns)}")
            found = False
            for cells in reader:
                if len(cells) != len(columns):
                    _refuse(path, reader.line_num, "row", f"{len(cells)} cells", f"{len(columns)}")
                found = True
                yield reader.line_num, dict(zip(columns, cells, strict=True))
            if not found:
                _refuse(path, 2, "row", "no rows", "at least one")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Misconfigured(f"carbon intensities {path}: cannot be read ({error}); give one that can") from error


def _region(cells: dict[str, str], path: Path, line: int) -> RegionIntensity:
    if not re.fullmatch(r"[A-Z]{3}", cells["country"]):
        _refuse(path, line, "country", cells["country"], "three capitals, such as DEU")
    if bool(cells["provider"]) != bool(cells["region"]):
        _refuse(path, line, "region", cells["region"], "a provider with a region, or neither for a country")
    if not re.fullmatch(r"(?:20\d\d)?", cells["year"]):
        _refuse(path, line, "year", cells["year"], "a year, or nothing")
    try:
        as_of = date.fromisoformat(cells["as_of"])
    except ValueError:
        _refuse(path, line, "as_of", cells["as_of"], "a date as YYYY-MM-DD")
    return RegionIntensity(
        provider=cells["provider"],
        region=cells["region"],
        country=cells["country"],
        mg_per_kwh=_milligrams(cells["g_per_kwh"], path, line),
        year=int(cells["year"]) if cells["year"] else None,
        source=cells["source"],
        as_of=as_of,
    )


def _milligrams(said: str, path: Path, line: int) -> int:
    figure = Decimal(said) if _FIGURE.fullmatch(said) else Decimal(0)
    if not 0 < figure <= HIGHEST_G_PER_KWH:
        _refuse(path, line, "g_per_kwh", said, f"a decimal above 0, at most {HIGHEST_G_PER_KWH}, with at most 3 places")
    return int(figure * 1000)


def _hour(said: str, path: Path, line: int) -> datetime:
    allowed = "the start of an hour with its time zone, such as 2026-11-01T05:00:00Z"
    try:
        hour = datetime.fromisoformat(said)
    except ValueError:
        _refuse(path, line, "hour_utc", said, allowed)
    if hour.tzinfo is None:
        _refuse(path, line, "hour_utc", said, allowed)
    hour = hour.astimezone(UTC)
    if hour.minute or hour.second or hour.microsecond:
        _refuse(path, line, "hour_utc", said, allowed)
    return hour


def _once(path: Path, keys: list[tuple[object, ...]]) -> None:
    seen: dict[tuple[object, ...], int] = {}
    for line, key in enumerate(keys, 2):
        if first := seen.get(key):
            _refuse(path, line, "row", " ".join(map(str, key)), f"each once; line {first} has it")
        seen[key] = line


def _refuse(path: Path, line: int, column: str, found: str, allowed: str) -> NoReturn:
    raise Misconfigured(
        f"carbon intensities {path}, line {line}, {column}: found {found[:120]!r}, allowed is {allowed}"
    )
