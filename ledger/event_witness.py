"""What a cloud's own records of starts and ends witness of when instances existed, as rows of LIFETIMES.

Owns whose instances count and how descriptions and events become stretches: nodes of these books, and whatever has
GPUs; the rest is left out. What is described as running now is believed before any recorded end. Must never make an end
up: where none is known the row stays open, seen as late as the cloud described it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from collectors.aws_instances import DescribedInstance, InstanceEvent, InstanceFacts
from ledger.bill_witness import BILL
from ledger.store import Store
from ledger.tables import LIFETIMES

EVENT = "event"
_SAME_START = timedelta(minutes=2)
"""The request that starts an instance and the launch time that EC2 notes of it lie seconds apart."""
_LAUNCH, _KNOWN, _REQUEST = range(3)
"""Which of several moments of one start is kept."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the cloud said in one reading."""

    asked_at: datetime
    """What is described as running was there then."""
    described: Sequence[DescribedInstance] = ()
    events: Sequence[InstanceEvent] = ()


@dataclass(slots=True)
class _Stretch:
    began: datetime
    source: int
    seen: datetime
    ended: datetime | None = None


def note_event_lifetimes(store: Store, told: Told, types: Mapping[tuple[str, str], int]) -> bool:
    """Keep what was told of instances that count; whether anything was new.

    Args:
        store: the ledger.
        told: what the cloud said.
        types: of :func:`ledger.bill_witness.gpu_types`.

    Raises:
        StoreError: it could not be written.
    """
    lifetimes = store.scan(LIFETIMES)
    others = lifetimes.filter(~pl.col("evidence").is_in([EVENT, BILL]), pl.col("instance_id") != "")
    nodes = frozenset(others.select(pl.col("instance_id").unique()).collect()["instance_id"])
    before = lifetimes.filter(pl.col("evidence") == EVENT).select(list(LIFETIMES.schema)).collect()
    if event_lifetimes(before, told, types, nodes).equals(before.sort(LIFETIMES.key)):
        return False
    store.rewrite(LIFETIMES, {"evidence": [EVENT]}, lambda known: event_lifetimes(known.collect(), told, types, nodes))
    return True


def event_lifetimes(
    known: pl.DataFrame, told: Told, types: Mapping[tuple[str, str], int], nodes: frozenset[str]
) -> pl.DataFrame:
    """All rows of events after ``told``; telling it again changes nothing.

    A start without an end stays open; an end without a start is of an instance that nobody knows, and is left out. Of
    several ends the first counts, since an instance may be stopped long before it is terminated.

    Args:
        known: LIFETIMES rows of events.
        told: what the cloud said.
        types: GPUs of each provider's instance types.
        nodes: ids of the instances that other witnesses know as nodes.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in known.select(list(LIFETIMES.schema)).iter_rows(named=True):
        rows.setdefault(row["instance_id"], []).append(row)
    described = {each.facts.instance_id: each for each in told.described}
    events: dict[str, list[InstanceEvent]] = {}
    for event in told.events:
        events.setdefault(event.instance_id, []).append(event)
    for instance_id in described.keys() | events.keys():
        facts = _facts(rows.get(instance_id, ()), events.get(instance_id, ()), described.get(instance_id))
        gpus = types.get(("aws", facts.instance_type))
        if not gpus and instance_id not in nodes and instance_id not in rows:
            continue
        stretches = _stretches(
            rows.get(instance_id, ()), events.get(instance_id, ()), described.get(instance_id), told.asked_at
        )
        rows[instance_id] = [_row(facts, gpus, stretch) for stretch in stretches]
    every = [row for instance_id in sorted(rows) for row in rows[instance_id]]
    return pl.DataFrame(every, schema=LIFETIMES.schema).sort(LIFETIMES.key)


def _facts(
    rows: Iterable[Mapping[str, Any]], events: Iterable[InstanceEvent], described: DescribedInstance | None
) -> InstanceFacts:
    """Each as it was last said; what is not said now was said before."""
    launches = [event.facts for event in events if event.facts]
    said = [_facts_of(row) for row in rows] + launches + ([described.facts] if described else [])
    facts = InstanceFacts("", "")
    for each in said:
        facts = replace(facts, **{field.name: value for field in fields(each) if (value := getattr(each, field.name))})
    return facts


def _facts_of(row: Mapping[str, Any]) -> InstanceFacts:
    return InstanceFacts(
        instance_id=row["instance_id"],
        region=row["region"],
        zone=row["zone"],
        instance_type=row["instance_type"],
        capacity_type=row["capacity_type"],
        name=row["node"],
    )


def _stretches(
    rows: Iterable[Mapping[str, Any]],
    events: Iterable[InstanceEvent],
    described: DescribedInstance | None,
    asked_at: datetime,
) -> list[_Stretch]:
    """The instance's life by all that is known of it, oldest first."""
    starts = [_Stretch(row["began"], _KNOWN, row["seen"]) for row in rows]
    ends = [row["ended"] for row in rows if row["ended"] is not None]
    for event in events:
        if event.begins:
            starts.append(_Stretch(event.at, _LAUNCH if event.facts else _REQUEST, event.at))
        else:
            ends.append(event.at)
    if described is not None:
        seen = asked_at if described.there else described.launched_at
        starts.append(_Stretch(described.launched_at, _LAUNCH, max(seen, described.launched_at)))
        ends += [described.ended_at] if described.ended_at else []
    lives = _walked(starts, ends)
    if described is not None and described.there:
        _set_right(lives, asked_at)
    return lives


def _walked(starts: Iterable[_Stretch], ends: Iterable[datetime]) -> list[_Stretch]:
    """Starts and ends in the order of time; at one moment the end belongs to what was before it."""
    moments: list[tuple[datetime, bool, _Stretch | None]] = [(end, False, None) for end in ends]
    moments += [(start.began, True, start) for start in starts]
    lives: list[_Stretch] = []
    for at, _, start in sorted(moments, key=lambda moment: moment[:2]):
        last = lives[-1] if lives else None
        if start is None:
            if last is not None and last.ended is None:
                last.ended = last.seen = at
        elif last is not None and last.ended is None and at - last.began <= _SAME_START:
            lives[-1] = _merged(last, start)
        else:
            lives.append(start)
    return lives


def _merged(one: _Stretch, other: _Stretch) -> _Stretch:
    kept = min(one, other, key=lambda each: (each.source, each.began))
    return _Stretch(kept.began, kept.source, max(one.seen, other.seen))


def _set_right(lives: Sequence[_Stretch], asked_at: datetime) -> None:
    """It runs: an end that was recorded before that did not come about."""
    last = lives[-1]
    if last.ended is not None and last.ended <= asked_at:
        last.ended, last.seen = None, asked_at


def _row(facts: InstanceFacts, gpus: int | None, stretch: _Stretch) -> dict[str, object]:
    return {
        "cluster": "",
        "node": facts.name,
        "provider": "aws",
        "region": facts.region,
        "zone": facts.zone,
        "instance_id": facts.instance_id,
        "instance_type": facts.instance_type,
        "capacity_type": facts.capacity_type,
        "gpu_count": gpus,
        "gpu_model": "",
        "began": stretch.began,
        "ended": stretch.ended,
        "seen": stretch.seen,
        "evidence": EVENT,
    }
