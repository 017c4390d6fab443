"""From which hour on node-hours have to be brought in step with their witnesses: what changed since it was last done.

Owns how far that has come. So a witness that speaks late (a bill, an event, an agent after days) and a controller that
was away for a week lose no node-hour, and a round that changes nothing looks at little.
"""

from datetime import datetime, timedelta

import polars as pl

from ledger.bill_witness import BILL
from ledger.store import Store
from ledger.store_errors import StoreError
from ledger.store_progress import changed_parts, note_progress, progress
from ledger.tables import LIFETIMES, NODE_HOURS

WHAT = "witnesses"
"""The name of its progress."""
FURTHEST = timedelta(days=62)
"""A witness who speaks of longer ago is not heard: bills come within a month and a half."""
_SEEN_AGAIN = timedelta(minutes=30)
_END = pl.coalesce("ended", "seen")
_INSTANCE = (
    pl.when(pl.col("instance_id") != "").then("instance_id").otherwise(pl.concat_str("cluster", pl.lit("/"), "node"))
)


def unsettled_since(store: Store, version: int | None, now: datetime) -> datetime:
    """The first moment of which witnesses may say something else than when :func:`note_settled` was last called.

    Not before the first hour that is booked, unless a bill tells of what nobody else knows; never before
    :data:`FURTHEST`; ``now`` where nothing changed.

    Args:
        store: the ledger.
        version: of LIFETIMES as it is to be looked at; None: there are none.
        now: the time.

    Raises:
        StoreError: a table cannot be read.
    """
    noted = progress(store, WHAT)
    through, former = noted.get("through"), noted.get("version")
    since = datetime.fromisoformat(through) if isinstance(through, str) else now
    alone = now
    if version is not None and version != former:
        seen, alone = _changed_from(store, former if isinstance(former, int) else None, version, now)
        since = min(since, seen)
    first = store.scan(NODE_HOURS).select(pl.col("hour_utc").min()).collect().item()
    since = max(since, first) if isinstance(first, datetime) else now
    return max(min(since, alone, now), now - FURTHEST)


def note_settled(store: Store, version: int | None, now: datetime) -> None:
    """All node-hours up to now are as that version of LIFETIMES has them.

    Raises:
        StoreError: it cannot be written; more is looked at next time.
    """
    note_progress(store, WHAT, {"version": version, "through": now.isoformat()}, now)


def settled_through(store: Store) -> datetime | None:
    """End of the last hour whose node-hours are as the witnesses have them; None: it was never noted.

    An hour counts half an hour after its end: a node that stood at its end was seen again by then.

    Raises:
        StoreError: it cannot be read.
    """
    through = progress(store, WHAT).get("through")
    if not isinstance(through, str):
        return None
    return (datetime.fromisoformat(through) - _SEEN_AGAIN).replace(minute=0, second=0, microsecond=0)


def _changed_from(store: Store, former: int | None, version: int, now: datetime) -> tuple[datetime, datetime]:
    """From when on witnesses say something else, and from when on bills do of what nobody else knows."""
    try:
        before, after = changed_parts(store, LIFETIMES, former, version)
    except StoreError:  # that version is not kept any more: all are looked at
        before, after = changed_parts(store, LIFETIMES, None, version)
    rows = [part.with_columns(end=_END, instance=_INSTANCE) for part in (before, after)]
    told = [part.select("instance", *LIFETIMES.key, "end", "ended", "gpu_count") for part in rows]
    differing = (
        pl.concat(told)
        .group_by("instance", *LIFETIMES.key, "end", "ended", "gpu_count")
        .len()
        .filter(pl.col("len") == 1)
    )
    grew = (pl.len() > 1) & (pl.col("gpu_count").n_unique() == 1)
    stretches = differing.group_by("instance", *LIFETIMES.key).agg(
        # one that only grew, or was ended, is another one from the sooner of its ends on
        since=pl.when(grew).then(pl.col("end").min()).otherwise(pl.col("began").first())
    )
    # another stretch of an instance may go on until a new one begins, or is seen
    ends = rows[0].group_by("instance").agg(since=pl.col("end").max()).join(stretches, on="instance", how="semi")
    known = pl.concat([part.select("instance", "evidence") for part in rows]).group_by("instance")
    found = (
        pl.concat([stretches.select("instance", "since"), ends])
        .join(known.agg(alone=(pl.col("evidence") == BILL).all()), on="instance")
        .group_by("alone")
        .agg(pl.col("since").min())
        .collect()
    )
    first: dict[bool, datetime] = dict(found.iter_rows())
    return first.get(False, now), first.get(True, now)
