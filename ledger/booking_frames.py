"""Agents' hours as frames: one row for each row of a journal, with the number of the node-hour that it belongs to.

Owns the way from journals to columns. Must never change an amount; what a journal does not know becomes null.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from ledger.agent_hours import AgentHour
from ledger.hours import HourBook
from ledger.tables import PRICES

Numbered = Sequence[tuple[int, AgentHour]]
"""Agents' hours with the numbers of their node-hours."""

UNIT = "unit"
_NUMBER = {UNIT: pl.UInt32}
_WHOSE = {"holder_kind": pl.String, "holder": pl.String}
_WHERE = {"gpu_uuid": pl.String, "mig": pl.String, **_WHOSE}
_MEMORY = "memory_mib"
_NS_PER_S = 1_000_000_000

ROWS = {
    **_NUMBER,
    **_WHERE,
    "account": pl.String,
    "method": pl.String,
    "energy_method": pl.String,
    "price_id": pl.String,
    "gpu_ns": pl.Int64,
    "energy_mj": pl.Int64,
}
DEVICES = {**_NUMBER, "gpu_uuid": pl.String, "gpu_model": pl.String, "accounted_ns": pl.Int64, "has_energy": pl.Boolean}
NOTES = {
    **_NUMBER,
    **_WHOSE,
    "namespace": pl.String,
    "pod": pl.String,
    "container": pl.String,
    "workload_kind": pl.String,
    "workload": pl.String,
    "team": pl.String,
    "environment": pl.String,
    "run": pl.String,
    "dimensions": pl.String,
    "requested_devices": pl.Int64,
}
_MEASURES = {
    **_NUMBER,
    **_WHERE,
    "measure": pl.String,
    "weighted": pl.Int128,
    "ns": pl.Int64,
    "peak": pl.Int64,
    "total": pl.Int64,
}
_MEMORIES = {**_NUMBER, **_WHERE, "memory_whole": pl.Int64}
_WORK = {
    **_NUMBER,
    **_WHOSE,
    "model": pl.String,
    "tenant": pl.String,
    "kind": pl.String,
    "amount": pl.Int64,
    "sum_ns": pl.Int64,
    "buckets": pl.String,
}


@dataclass(frozen=True, slots=True)
class JournalFrames:
    """What journals hold, each with the column ``unit``."""

    rows: pl.DataFrame
    """:data:`ROWS`; energy is null where the device has none, and where the row's share of it is not known."""
    devices: pl.DataFrame
    """:data:`DEVICES`."""
    notes: pl.DataFrame
    """:data:`NOTES`, for holders of whom more is known than their name."""
    memory: pl.DataFrame
    """MiB-seconds of each holder on each device or MIG instance."""
    profile: pl.DataFrame
    work: pl.DataFrame
    prices: pl.DataFrame
    """PRICES rows, each price once for each node-hour."""


def journal_frames(hours: Numbered) -> JournalFrames:
    """The frames of some agents' hours."""
    books = [(unit, hour.book) for unit, hour in hours]
    return JournalFrames(
        rows=_rows(books),
        devices=_frame(
            DEVICES,
            (
                (unit, uuid, device.name, device.accounted_ns, device.energy_mj is not None)
                for unit, book in books
                for uuid, device in book.devices.items()
            ),
        ),
        notes=_frame(NOTES, _notes(books)),
        memory=_frame(_MEMORIES, _memory(books)),
        profile=_frame(_MEASURES, _profile(books)),
        work=_frame(_WORK, _work(books)),
        prices=_prices(books),
    )


Books = Sequence[tuple[int, HourBook]]


def _frame(schema: dict[str, Any], rows: Iterable[tuple[Any, ...]]) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pl.DataFrame(
        [pl.Series(name, values, dtype) for (name, dtype), values in zip(schema.items(), columns, strict=True)]
    )


def _rows(books: Books) -> pl.DataFrame:
    told = (
        (unit, *key.cell, key.energy_method, key.price_id, amount.gpu_ns, amount.energy_mj)
        for unit, book in books
        for key, amount in book.rows.items()
    )
    return _frame(ROWS, told)


def _notes(books: Books) -> Iterable[tuple[Any, ...]]:
    for unit, book in books:
        for key, note in book.holders.items():
            own = json.dumps(dict(note.dimensions), sort_keys=True) if note.dimensions else ""
            yield (
                unit,
                *key,
                *(note.namespace, note.pod, note.container, note.workload_kind, note.workload),
                *(note.team, note.environment, note.run, own, note.requested_devices),
            )


def _memory(books: Books) -> Iterable[tuple[Any, ...]]:
    for unit, book in books:
        for row in book.profile:
            if _MEMORY in row["measures"]:
                weighted = row["measures"][_MEMORY][0]
                yield unit, row["gpu_uuid"], row["mig"], row["holder_kind"], row["holder"], weighted // _NS_PER_S


def _profile(books: Books) -> Iterable[tuple[Any, ...]]:
    for unit, book in books:
        for row in book.profile:
            whose = unit, row["gpu_uuid"], row["mig"], row["holder_kind"], row["holder"]
            for name, (weighted, ns, peak) in row["measures"].items():
                yield *whose, name, weighted, ns, peak, None
            for name, total in row["totals"].items():
                yield *whose, name, None, None, None, total


def _work(books: Books) -> Iterable[tuple[Any, ...]]:
    for unit, book in books:
        for done, amount in book.work.items():
            yield unit, *done, amount, None, None
        for key, seen in book.latency.items():
            buckets = json.dumps(sorted(seen.buckets.items()), separators=(",", ":"))
            yield unit, *key[:3], "", key.latency, seen.count, seen.sum_ns, buckets


def _prices(books: Books) -> pl.DataFrame:
    names = ("price_id", "nano_usd_per_gpu_hour", "capacity_type", "source", "as_of", "estimate")
    schema = {**_NUMBER, **{name: PRICES.schema[name] for name in names}}
    told = (
        (
            unit,
            price_id,
            note.nano_usd_per_gpu_hour,
            note.capacity_type,
            note.source,
            date.fromisoformat(note.as_of),
            note.estimate,
        )
        for unit, book in books
        for price_id, note in book.prices.items()
    )
    return _frame(schema, told)
