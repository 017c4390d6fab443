"""How long each workload was down, from the audit table; and the hour that says what it would have held otherwise."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import polars as pl

from ledger.audit import DONE, DOWN, FINISH, GIVE_WAY, OF_SCALERS, RESTORE, RESULT

HOUR: Final = timedelta(hours=1)
_GONE: Final = "gone"
_ENDS: Final = frozenset({RESTORE, FINISH, GIVE_WAY})


class Key(NamedTuple):
    """A workload, as the books call it."""

    cluster: str
    namespace: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class DownSpan:
    """A workload was down from ``begin`` to before ``end``."""

    key: Key
    begin: datetime
    end: datetime
    reference: datetime
    """Start of the last whole hour before it in which the workload was not down: what it held then is what it would
    have gone on to hold."""


def spans(rows: pl.DataFrame, through: datetime) -> list[DownSpan]:
    """Each stretch that a workload was down, in the order of workload and time.

    It begins with a down that was done and ends with what gave it back, with the window's end if that came first (what
    stays down then is late, and no saving), or with ``through``.

    Args:
        rows: of the audit table.
        through: nothing after it is looked at.
    """
    told = rows.filter(~pl.col("dry_run"), pl.col("phase") == RESULT, pl.col("at_utc") < through)
    done = told.filter(~pl.col("action").is_in(list(OF_SCALERS)))  # what is done to its bounds is no end of its down
    found: list[DownSpan] = []
    for part in done.sort("at_utc").partition_by("cluster", "namespace", "kind", "name", maintain_order=True):
        first = part.row(0, named=True)
        key = Key(*(str(first[name]) for name in ("cluster", "namespace", "kind", "name")))
        found += _with_references(_of_one(key, part.iter_rows(named=True), through))
    return sorted(found, key=lambda span: (span.key, span.begin))


def _of_one(key: Key, rows: Iterator[dict[str, Any]], through: datetime) -> Iterator[DownSpan]:
    begin: datetime | None = None
    until = through
    for row in rows:
        at: datetime = row["at_utc"]
        down = row["action"] == DOWN and row["result"] == DONE
        ended = row["result"] == _GONE or (row["action"] in _ENDS and row["result"] == DONE)
        if begin is not None and (ended or at >= until):
            yield from _span(key, begin, min(at, until))
            begin = None
        if down:
            begin, until = begin or at, min(row["until"] or through, through)
    if begin is not None:
        yield from _span(key, begin, until)


def _span(key: Key, begin: datetime, end: datetime) -> Iterator[DownSpan]:
    if begin < end:
        yield DownSpan(key, begin, end, _hour(begin) - HOUR)


def _with_references(of_one: Iterator[DownSpan]) -> Iterator[DownSpan]:
    """A workload that was down in the hour before is held against what the former span was held against."""
    former: DownSpan | None = None
    for each in of_one:
        span = each
        if former is not None and former.end > span.reference:
            span = replace(span, reference=former.reference)
        yield span
        former = span


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
