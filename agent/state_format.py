"""How the books and their entries look on disk: JSON values, usage keys interned as small numbers in the log.

Owns the encoding and its version; must never decide what to do about a file that it cannot read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agent.books import Books, DeviceMeter, Meter
from agent.entry import Base, Control, CounterBase, Entry, LatencyRow, NoteRow, Row, TenantKey, WorkRow
from agent.work_books import LatencyMeter, TenantMeter, WorkBooks, WorkMeter
from ledger.hours import (
    CellKey,
    ClockStep,
    HolderKey,
    HolderNote,
    LatencyKey,
    NodeNote,
    PriceNote,
    RowKey,
    WorkKey,
    from_json,
    latency_of,
    plain_latency,
    plain_note,
    to_json,
)

VERSION = 1


class Interner:
    """Numbers for usage keys, so that a log line does not repeat them. One per log file."""

    def __init__(self, keys: Sequence[RowKey] = ()) -> None:
        """``keys``: those that the file already holds, in its order."""
        self._numbers: dict[RowKey, int] = {key: number for number, key in enumerate(keys)}

    def number(self, key: RowKey, fresh: list[list[str]]) -> int:
        """The key's number; a new key is appended to ``fresh`` (its number is its place in the file)."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers)
            fresh.append([*key.cell, key.energy_method, key.price_id])
        return number

    def forget(self, count: int) -> None:
        """Take back the last ``count`` keys: their record did not reach the file."""
        for _ in range(count):
            self._numbers.popitem()


def encode_entry(entry: Entry, interner: Interner) -> dict[str, Any]:
    """One entry as a log record; what is empty is left out."""
    fresh: list[list[str]] = []
    rows = [[row.hour_s, interner.number(row.key, fresh), row.gpu_ns, row.energy_mj] for row in entry.rows]
    record: dict[str, Any] = {"t": entry.monotonic_ns, "r": rows, "c": entry.controls}
    if fresh:
        record["k"] = fresh
    record["b"] = {
        uuid: [base.booked_ns, base.energy_ns, base.energy_mj, base.loaded_ns, base.integral_mw_ns]
        for uuid, base in entry.bases.items()
    }
    optional = {
        "names": entry.names,
        "prices": {price_id: asdict(price) for price_id, price in entry.prices.items()},
        "idle": entry.idle_mw,
        "steps": [asdict(step) for step in entry.steps],
        "segments": entry.segments,
        "settled": entry.settled,
        "gone": entry.gone,
        "hours_only": entry.hours_only,
        "work": [[row.hour_s, *row.key, row.amount] for row in entry.work],
        "latency": [[row.hour_s, *row.key, *plain_latency(row.latency)] for row in entry.latency],
        "tenants": [[*key, numerator] for key, numerator in entry.tenant_costs.items()],
        "counters": entry.counter_bases,
        "series": entry.counter_series,
        "notes": [[row.hour_s, *row.key, *plain_note(row.note)] for row in entry.notes],
        "node": [[hour_s, asdict(node)] for hour_s, node in entry.node_facts.items()],
    }
    record.update({key: value for key, value in optional.items() if value})
    return record


def decode_entry(record: Mapping[str, Any], keys: list[RowKey]) -> Entry:
    """The inverse; ``keys`` are those of the file so far and grow by the record's own."""
    keys.extend(RowKey(CellKey(*names[:6]), names[6], names[7]) for names in record.get("k", ()))
    return Entry(
        monotonic_ns=record["t"],
        rows=[Row(hour_s, keys[number], ns, mj) for hour_s, number, ns, mj in record["r"]],
        controls=[Control(*control) for control in record["c"]],
        bases={uuid: Base(*base) for uuid, base in record["b"].items()},
        names=record.get("names", {}),
        prices={price_id: PriceNote(**note) for price_id, note in record.get("prices", {}).items()},
        idle_mw=record.get("idle", {}),
        steps=[ClockStep(**step) for step in record.get("steps", ())],
        segments=_segments(record.get("segments")),
        settled=record.get("settled", []),
        gone=record.get("gone", []),
        work=[WorkRow(hour_s, WorkKey(*key), amount) for hour_s, *key, amount in record.get("work", ())],
        latency=[LatencyRow(row[0], LatencyKey(*row[1:5]), latency_of(*row[5:])) for row in record.get("latency", ())],
        tenant_costs={TenantKey(*key): numerator for *key, numerator in record.get("tenants", ())},
        counter_bases=_counter_bases(record.get("counters", {})),
        counter_series=record.get("series", {}),
        notes=[NoteRow(row[0], HolderKey(*row[1:3]), HolderNote(*row[3:])) for row in record.get("notes", ())],
        node_facts={hour_s: NodeNote(**node) for hour_s, node in record.get("node", ())},
        hours_only=record.get("hours_only", False),
    )


def encode_books(books: Books) -> dict[str, Any]:
    """The whole state."""
    return {
        "version": VERSION,
        "boot_id": books.boot_id,
        "segments": books.segments,
        "sequence": books.sequence,
        "change": books.change,
        "monotonic_ns": books.monotonic_ns,
        "meters": [
            [*key, meter.gpu_ns, meter.energy_mj, meter.cost_numerator, meter.touched_ns, meter.folded]
            for key, meter in books.meters.items()
        ],
        "devices": {uuid: asdict(device) for uuid, device in books.devices.items()},
        "bases": {uuid: asdict(base) for uuid, base in books.bases.items()},
        "idle_mw": books.idle_mw,
        "prices": {price_id: asdict(price) for price_id, price in books.prices.items()},
        "last_price": books.last_price,
        "former": books.former,
        "hours": [to_json(book) for book in books.hours.values()],
        "work": encode_work(books.work),
    }


def encode_work(work: WorkBooks) -> dict[str, Any]:
    """The meters of work and the pages' bases."""
    return {
        "meters": [[*key, meter.amount, meter.touched_ns, meter.folded] for key, meter in work.meters.items()],
        "latency": [
            [*key, meter.touched_ns, meter.folded, *plain_latency(meter.latency)] for key, meter in work.latency.items()
        ],
        "tenants": [[*key, meter.cost_numerator, meter.touched_ns] for key, meter in work.tenants.items()],
        "counters": work.bases,
        "series": work.series,
    }


def decode_work(data: Mapping[str, Any]) -> WorkBooks:
    """The inverse of :func:`encode_work`; nothing where nothing was saved.

    Raises:
        ValueError, KeyError, TypeError: the data is not what this version writes.
    """
    return WorkBooks(
        meters={WorkKey(*row[:5]): WorkMeter(*row[5:]) for row in data.get("meters", ())},
        latency={
            LatencyKey(*row[:4]): LatencyMeter(latency_of(*row[6:]), row[4], row[5]) for row in data.get("latency", ())
        },
        tenants={TenantKey(*row[:3]): TenantMeter(*row[3:]) for row in data.get("tenants", ())},
        bases=_counter_bases(data.get("counters", {})),
        series=data.get("series", {}),
    )


def decode_books(data: Mapping[str, Any]) -> Books:
    """The inverse of :func:`encode_books`.

    Raises:
        ValueError, KeyError, TypeError: the data is not what this version writes.
    """
    hours = [from_json(hour) for hour in data["hours"]]
    return Books(
        boot_id=data["boot_id"],
        segments=_segments(data["segments"]) or [],
        sequence=data["sequence"],
        change=data["change"],
        monotonic_ns=data["monotonic_ns"],
        meters={CellKey(*row[:6]): Meter(*row[6:]) for row in data["meters"]},
        devices={uuid: DeviceMeter(**device) for uuid, device in data["devices"].items()},
        bases={uuid: Base(**base) for uuid, base in data["bases"].items()},
        idle_mw=data["idle_mw"],
        prices={price_id: PriceNote(**note) for price_id, note in data["prices"].items()},
        last_price=data["last_price"],
        former=data["former"],
        hours={book.hour_s: book for book in hours},
        work=decode_work(data.get("work", {})),
    )


def _counter_bases(data: Mapping[str, Any]) -> dict[str, CounterBase]:
    return {key: CounterBase(*base) for key, base in data.items()}


def _segments(value: list[list[int]] | None) -> list[tuple[int, int]] | None:
    return None if value is None else [(start, offset) for start, offset in value]
