"""The bundled list of GPU prices: reads ``collectors/data/gpu_prices.csv``, refuses what is malformed, whole.

Owns the format of the list. Must never choose between prices, fill in a missing one or correct a wrong one: a list
that cannot be read whole is not used at all. ``DATA-SOURCES.md`` says for each source id where its figures are from.

One row is one published price of one offer:

===================== ====================================================================================
``provider``          ``aws``, ``azure``, ``gcp``, ... in small letters
``region``            the provider's own name, ``*`` where the source names none
``instance_type``     the provider's own name; the source's label of the GPU where an offer has no name;
                      ``*`` where the price is per GPU, whatever the instance
``gpu_model``         key of :func:`collectors.gpu_model.canonical_model`
``gpu_count``         whole GPUs in the offer
``capacity_type``     ``on_demand`` or ``spot``
``usd_per_hour``      US dollars for the whole offer, decimal, at most nine places
``source``, ``as_of`` who published it, and the date for which the source vouches
===================== ====================================================================================
"""

import csv
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from sys import intern
from typing import Literal, NoReturn

from collectors.errors import Misconfigured

ListCapacityType = Literal["on_demand", "spot"]

COLUMNS = (
    "provider",
    "region",
    "instance_type",
    "gpu_model",
    "gpu_count",
    "capacity_type",
    "usd_per_hour",
    "source",
    "as_of",
)
BUNDLED_LIST = Path(__file__).parent / "data" / "gpu_prices.csv"
ANY = "*"
LOWEST_USD_PER_GPU_HOUR = Decimal("0.03")
HIGHEST_USD_PER_GPU_HOUR = Decimal(60)

MOST_GPUS = 1024
"""Above what any instance holds; more is a slipped column."""

_CAPACITY: dict[str, ListCapacityType] = {"on_demand": "on_demand", "spot": "spot"}
_NANO = Decimal(1_000_000_000)
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9-]*")
_SOURCE = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One published price of one offer."""

    provider: str
    region: str
    instance_type: str
    gpu_model: str
    gpu_count: int
    capacity_type: ListCapacityType
    nano_usd_per_hour: int
    """Nano-dollars an hour for the whole offer."""
    source: str
    as_of: date


Keep = Callable[[PriceRow], bool]


def keep_all(_row: PriceRow) -> bool:
    """Keep every row."""
    return True


def load(path: Path = BUNDLED_LIST, keep: Keep = keep_all) -> tuple[PriceRow, ...]:
    """The rows of the list for which ``keep`` holds, in the list's order.

    Every row is checked, whether kept or not.

    Raises:
        Misconfigured: the list is not there or is malformed; file, line, column, what was found, what is allowed.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return tuple(row for row in parse(lines, str(path)) if keep(row))
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            f"price list {path}: cannot be read ({error}); install wattledger again, or give a list that is there"
        ) from error


def parse(lines: Iterable[str], name: str) -> Iterable[PriceRow]:
    """The rows of a list, read one at a time.

    Raises:
        Misconfigured: as :func:`load`, at the first row that is malformed or that repeats an offer.
    """
    reader = csv.reader(lines, strict=True)
    seen: dict[tuple[object, ...], int] = {}
    try:
        header = next(reader, list[str]())
        if tuple(header) != COLUMNS:
            _refuse(name, 1, "header", ",".join(header), f"exactly {','.join(COLUMNS)}")
        for cells in reader:
            if not cells:
                continue
            row = _row(cells, name, reader.line_num)
            offer = (row.provider, row.region, row.instance_type, row.gpu_model, row.gpu_count, row.capacity_type)
            first = seen.setdefault(offer, reader.line_num)
            if first != reader.line_num:
                _refuse(name, reader.line_num, "row", ",".join(cells), f"one price for an offer; line {first} has it")
            yield row
    except csv.Error as error:
        _refuse(name, reader.line_num, "row", str(error), "comma-separated values")
    if not seen:
        _refuse(name, 2, "row", "no rows", "at least one price")


def _row(cells: list[str], name: str, line: int) -> PriceRow:
    if len(cells) != len(COLUMNS):
        _refuse(name, line, "row", f"{len(cells)} cells", f"{len(COLUMNS)}: {','.join(COLUMNS)}")
    value: dict[str, str] = dict(zip(COLUMNS, cells, strict=True))

    def refuse(column: str, allowed: str) -> NoReturn:
        _refuse(name, line, column, value[column], allowed)

    for column in ("region", "instance_type", "gpu_model"):
        if not value[column] or value[column] != value[column].strip():
            refuse(column, "a name without blanks around it")
    if not _PROVIDER.fullmatch(value["provider"]):
        refuse("provider", "small letters, digits and -")
    if not _SOURCE.fullmatch(value["source"]):
        refuse("source", "an id of small letters, digits, . and -")
    capacity = _CAPACITY.get(value["capacity_type"]) or refuse("capacity_type", "on_demand or spot")
    count = _count(value["gpu_count"]) or refuse("gpu_count", f"a whole number from 1 to {MOST_GPUS}")
    return PriceRow(
        provider=intern(value["provider"]),
        region=intern(value["region"]),
        instance_type=value["instance_type"],
        gpu_model=intern(value["gpu_model"]),
        gpu_count=count,
        capacity_type=capacity,
        nano_usd_per_hour=_nano_usd(value["usd_per_hour"], count)
        or refuse(
            "usd_per_hour",
            f"a decimal with at most 9 places, above 0, from {LOWEST_USD_PER_GPU_HOUR} to"
            f" {HIGHEST_USD_PER_GPU_HOUR} US dollars for each GPU",
        ),
        source=intern(value["source"]),
        as_of=_day(value["as_of"]) or refuse("as_of", "a date as YYYY-MM-DD"),
    )


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9]\d{0,3}", text) and int(text) <= MOST_GPUS else None


def _nano_usd(text: str, gpu_count: int) -> int | None:
    """Nano-dollars, exactly; ``None`` for what is no plausible price of so many GPUs."""
    try:
        usd = Decimal(text) if re.fullmatch(r"\d+(\.\d{1,9})?", text) else Decimal(0)
    except InvalidOperation:
        return None
    if not LOWEST_USD_PER_GPU_HOUR * gpu_count <= usd <= HIGHEST_USD_PER_GPU_HOUR * gpu_count:
        return None
    return int(usd * _NANO)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == len("2026-01-31") else None
    except ValueError:
        return None


def _refuse(name: str, line: int, column: str, found: str, allowed: str) -> NoReturn:
    raise Misconfigured(f"price list {name}, line {line}, {column}: found {found[:120]!r}, allowed is {allowed}")
