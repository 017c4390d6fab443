"""One hour as an agent serves it, read with care: what cannot be true is refused whole, with the reason.

Owns what is asked of a document before it may be booked. Must never correct one: an hour that is refused stays
provisional, and its agent is named.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Any, cast

from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from ledger.accounts import Account
from ledger.hours import ClockStep, HourBook, NodeNote, from_json, hour_name

MEASURED, SIMULATED = "measured", "simulated"
_HOUR_S = NS_PER_HOUR // NS_PER_SECOND
AHEAD_SECONDS = 60
"""An agent's clock may be ahead by this much."""
_ACCOUNTS = frozenset(Account)
_PROFILE_KEY = ("gpu_uuid", "mig", "holder_kind", "holder")
_TEXT_TYPES = (str, "str")
_LARGEST = 1 << 62
_COUNTS = {"gpu_count": 1 << 10, "vcpus": 1 << 20, "memory_bytes": 1 << 56, "booted_s": 1 << 40}
"""Of a node's facts: the most that each may be."""
_EARLIEST_S = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
"""A node whose clock says less has lost it."""
_MALFORMED = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What a document that is not of this shape leads to."""
_MOST_UNEXPLAINED_NS = NS_PER_HOUR
"""A device may have more time in an hour than the hour and its clock steps explain, when a clock was set over a reboot;
not by more than another hour."""


class RefusedHour(ValueError):  # noqa: N818  (named for the caller's move: leave it out and say so)
    """This hour is not booked; the message names node, hour, reason and remedy."""


@dataclass(frozen=True, slots=True)
class AgentHour:
    """One node's hour, whole and believable."""

    node: str
    book: HourBook
    source: str
    """``measured`` or ``simulated``."""
    closed: bool
    digest: str
    """Of the document, whatever the order of its keys."""

    @property
    def facts(self) -> NodeNote:
        """What the node was; empty where the agent did not say."""
        return self.book.node_facts or NodeNote()

    @property
    def instance_id(self) -> str:
        """Empty on a bare host, and where the agent could not learn it."""
        return self.facts.instance_id

    @property
    def began(self) -> datetime:
        """Start of the hour."""
        return datetime.fromtimestamp(self.book.hour_s, UTC)


def read_hour(document: Mapping[str, Any], *, node: str, now: datetime, simulated: bool) -> AgentHour:
    """An hour from an agent's journal, open or closed.

    Args:
        document: as the agent serves it.
        node: whose agent was asked.
        now: the controller's clock.
        simulated: whether the ledger is a simulated one.

    Raises:
        RefusedHour: it is another node's or a future hour, of the other kind, does not add up to its own control
            figures, or has an account or an amount that cannot be.
    """
    who = f"hour {document.get('hour_utc')!r} of node {node!r}"
    told = document.get("node")
    if told != node:
        raise RefusedHour(f"{who}: its agent says that it is node {told!r}; give each agent its own name and address")
    try:
        book = from_json(document)
    except _MALFORMED as error:
        raise RefusedHour(f"{who}: {error}; run agent and controller of one version") from error
    try:
        why = next(_faults(document, book, now, simulated=simulated), None)
    except _MALFORMED as error:
        why = f"it is not whole: {error!r}; run agent and controller of one version"
    if why is not None:
        raise RefusedHour(f"{who}: {why}")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return AgentHour(
        node=node,
        book=book,
        source=SIMULATED if document["source"] == SIMULATED else MEASURED,
        closed=document["closed"] is True,
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )


def _faults(document: Mapping[str, Any], book: HourBook, now: datetime, *, simulated: bool) -> Iterator[str]:
    ahead = now.timestamp() + AHEAD_SECONDS
    if book.hour_s > ahead:
        yield f"it begins after now ({now:%Y-%m-%dT%H:%M:%SZ}); set the node's clock"
    if document.get("closed") is True and book.hour_s + _HOUR_S > ahead:
        yield f"it is closed and ends after now ({now:%Y-%m-%dT%H:%M:%SZ}); set the node's clock"
    if book.hour_s < _EARLIEST_S:
        yield "it begins before 2020; set the node's clock"
    if not isinstance(document.get("source"), str) or not isinstance(document.get("closed"), bool):
        yield "it does not say its source, or whether it is closed; run agent and controller of one version"
    elif (document["source"] == SIMULATED) != simulated:
        kinds = ("simulated", "measured") if document["source"] == SIMULATED else ("measured", "simulated")
        yield f"it is {kinds[0]}, the ledger is {kinds[1]}; give the agent a ledger of its own kind"
    if book.revision < 0:
        yield f"revision {book.revision} is below 0"
    yield from _wrong_types(book)
    yield from _wrong_rows(book)
    yield from _wrong_prices(book)
    yield from _wrong_totals(book)
    yield from _wrong_devices(book)


def _wrong_types(book: HourBook) -> Iterator[str]:
    texts = {
        "usage": ((*key.cell, key.energy_method, key.price_id) for key in book.rows),
        "work": book.work,
        "latency": book.latency,
        "holders": ((*key, *_texts(note)) for key, note in book.holders.items()),
        "profile": ([row[name] for name in _PROFILE_KEY] for row in book.profile),
        "devices": ((uuid, device.name) for uuid, device in book.devices.items()),
        "prices": ((price_id, *_texts(price)) for price_id, price in book.prices.items()),
        "node_facts": [_texts(book.node_facts)] if book.node_facts else [],
    }
    for part, rows in texts.items():
        if any(not isinstance(value, str) for row in rows for value in row):
            yield f"{part} has something else where a text belongs; run agent and controller of one version"
    for name, most in _COUNTS.items():
        count = getattr(book.node_facts, name, None)
        if count is not None and not (type(count) is int and 0 <= count <= most):
            yield f"node_facts has {name} {count!r:.60}, which is no count up to {most}"
    amounts = [
        *(value for amount in book.rows.values() for value in (amount.gpu_ns, amount.energy_mj)),
        *book.work.values(),
        *(value for latency in book.latency.values() for value in (latency.count, latency.sum_ns)),
        *(note.requested_devices for note in book.holders.values() if note.requested_devices is not None),
        *(price.nano_usd_per_gpu_hour for price in book.prices.values()),
        *(value for row in book.profile for value in row["totals"].values()),
        *(value for row in book.profile for _, ns, peak in row["measures"].values() for value in (ns, peak)),
    ]
    if any(not isinstance(value, int) or abs(value) > _LARGEST for value in amounts):
        yield "it has an amount that is no whole number, or past 2^62"


def _texts(note: object) -> list[Any]:
    """The values of those fields that are said to be text."""
    return [getattr(note, each.name) for each in fields(cast("Any", note)) if each.type in _TEXT_TYPES]


def _wrong_rows(book: HourBook) -> Iterator[str]:
    for key, amount in book.rows.items():
        if key.cell.account not in _ACCOUNTS:
            yield f"account {key.cell.account!r} is not known; run a controller at least as new as the agent"
        if amount.gpu_ns < 0 or amount.energy_mj < 0:
            yield (
                f"device {key.cell.gpu_uuid} has a negative amount under {key.cell.account}: "
                f"{amount.gpu_ns} ns, {amount.energy_mj} mJ"
            )
        if key.price_id and key.price_id not in book.prices:
            yield f"price {key.price_id!r} is used but not told"


def _wrong_prices(book: HourBook) -> Iterator[str]:
    for price_id, price in book.prices.items():
        if price.nano_usd_per_gpu_hour <= 0:
            yield f"price {price_id!r} is {price.nano_usd_per_gpu_hour} nano-dollars; a price is above 0"
        try:
            date.fromisoformat(price.as_of)
        except ValueError:
            yield f"price {price_id!r} is as of {price.as_of!r}, which is no date"


def _wrong_totals(book: HourBook) -> Iterator[str]:
    """Work, latency and profile: counts of what was done are never negative."""
    for key, amount in book.work.items():
        if amount < 0:
            yield f"work {key.kind!r} of {key.holder!r} is {amount}, below 0"
    for seen, latency in book.latency.items():
        if min(latency.count, latency.sum_ns, *latency.buckets.values()) < 0:
            yield f"latency {seen.latency!r} of {seen.holder!r} has a negative count"
    for row in book.profile:
        measures = cast("Mapping[str, tuple[int, int, int]]", row.get("measures", {}))
        if any(ns < 0 for _, ns, _ in measures.values()):
            yield f"the profile of {row.get('holder')!r} covers a negative time"


def _wrong_devices(book: HourBook) -> Iterator[str]:
    """Rows against the device's own control figures, and those against the clock."""
    time: dict[str, int] = {}
    energy: dict[str, int] = {}
    for key, amount in book.rows.items():
        uuid = key.cell.gpu_uuid
        time[uuid] = time.get(uuid, 0) + amount.gpu_ns
        energy[uuid] = energy.get(uuid, 0) + amount.energy_mj
    for uuid in sorted(time.keys() - book.devices.keys()):
        yield f"device {uuid} has rows but no control figures"
    most = NS_PER_HOUR + stepped_back_ns(book) + _MOST_UNEXPLAINED_NS
    for uuid, device in sorted(book.devices.items()):
        if time.get(uuid, 0) != device.accounted_ns:
            yield f"the rows of device {uuid} add up to {time.get(uuid, 0)} ns, its clock to {device.accounted_ns} ns"
        if energy.get(uuid, 0) != (device.energy_mj or 0):
            yield f"the rows of device {uuid} add up to {energy.get(uuid, 0)} mJ, its counter to {device.energy_mj} mJ"
        if device.accounted_ns > most:
            yield (
                f"device {uuid} has {device.accounted_ns} ns in {hour_name(book.hour_s)}, "
                "more than the hour and the steps of its clock explain"
            )


def stepped_back_ns(book: HourBook) -> int:
    """Time that the steps recorded in this hour made the node's clock go through again."""
    return sum(max(0, step.from_wall_ns - step.to_wall_ns) for step in book.steps)


def correction_ns(steps: Iterable[ClockStep], hour_s: int) -> int:
    """What clock steps add to an hour that was gone through again, or take from one that was skipped."""
    begin = hour_s * NS_PER_SECOND
    total = 0
    for step in steps:
        low, high = sorted((step.from_wall_ns, step.to_wall_ns))
        overlap = max(0, min(high, begin + NS_PER_HOUR) - max(low, begin))
        total += overlap if step.to_wall_ns < step.from_wall_ns else -overlap
    return total
