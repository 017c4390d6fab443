"""What journals and the Kubernetes API witness of when nodes existed, as rows of LIFETIMES.

Owns the merge: a stretch is one row that grows by ``seen``. Must never end a stretch: a witness that sees a node no
more says nothing further, and the node existed until it was last seen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from collectors.clock import NS_PER_SECOND
from ledger.agent_hours import MEASURED, SIMULATED, AgentHour
from ledger.store import Store
from ledger.tables import LIFETIMES

API, JOURNAL = "api", "journal"


@dataclass(frozen=True, slots=True)
class SeenNode:
    """A node as the API server tells it."""

    node: str
    began: datetime
    place: Mapping[str, str]
    """Columns of PLACE beside ``node``; what is not known is missing or empty."""
    gpu_count: int | None = None
    gpu_model: str = ""


def journal_lifetimes(hours: Iterable[AgentHour]) -> pl.DataFrame:
    """One row for each instance and boot that agents told of.

    A bare host is no row, since it exists on or off; nor is an estimate. A machine that says when it was booted existed
    from then on, though its agent came later.
    """
    rows: list[dict[str, object]] = []
    for hour in hours:
        facts = hour.facts
        if not facts.instance_id or hour.source not in {MEASURED, SIMULATED}:
            continue
        start = datetime.fromtimestamp(hour.book.hour_s, UTC)
        booted = start if facts.booted_s is None else datetime.fromtimestamp(facts.booted_s, UTC)
        covered_ns = max((device.accounted_ns for device in hour.book.devices.values()), default=0)
        rest = timedelta(microseconds=covered_ns * 1_000_000 // NS_PER_SECOND)
        rows.append(
            {
                **{name: getattr(facts, name) for name in _PLACE},
                "node": hour.node,
                "gpu_count": facts.gpu_count,
                "gpu_model": "",
                "began": min(booted, start + rest),
                "ended": None,
                "seen": start + (timedelta(hours=1) if hour.closed else min(rest, timedelta(hours=1))),
                "evidence": JOURNAL,
            }
        )
    return pl.DataFrame(rows, schema=LIFETIMES.schema)


def api_lifetimes(nodes: Iterable[SeenNode], now: datetime) -> pl.DataFrame:
    """One row for each node that is there now."""
    rows: list[dict[str, object]] = [
        {
            **{name: each.place.get(name, "") for name in _PLACE},
            "node": each.node,
            "gpu_count": each.gpu_count,
            "gpu_model": each.gpu_model,
            "began": each.began,
            "ended": None,
            "seen": max(now, each.began),
            "evidence": API,
        }
        for each in nodes
    ]
    return pl.DataFrame(rows, schema=LIFETIMES.schema)


def witnessed(known: pl.LazyFrame, told: pl.DataFrame) -> pl.DataFrame:
    """All rows after ``told``: of a stretch the last that was said of it, seen as late as anyone saw it."""
    return (
        pl.concat([known.collect(), told])
        .with_columns(pl.col("seen").max().over(LIFETIMES.key))
        .unique(LIFETIMES.key, keep="last", maintain_order=True)
        .sort(LIFETIMES.key)
    )


def note_lifetimes(store: Store, told: pl.DataFrame) -> bool:
    """Keep what was witnessed; whether anything was new.

    Raises:
        StoreError: it could not be written.
    """
    if told.is_empty():
        return False
    evidence = told["evidence"].unique().to_list()
    of_them = store.scan(LIFETIMES).filter(pl.col("evidence").is_in(evidence))
    before = of_them.sort(LIFETIMES.key).collect()
    if witnessed(before.lazy(), told).equals(before):
        return False
    # all of it: one file, written in a fraction of the time that a condition takes
    store.rewrite(LIFETIMES, {}, lambda known: witnessed(known, told))
    return True


_PLACE = ("cluster", "provider", "region", "zone", "instance_id", "instance_type", "capacity_type")
