"""From which hour on node-hours have to be brought in step with their witnesses: what changed since it was last done.

Owns how far that has come. So a witness that speaks late (a bill, an event, an agent after days) and a controller that
was away for a week lose no node-hour, and a round that changes nothing looks at little.
"""

from datetime import datetime, timedelta

import polars as pl

from ledger.store import Store
from ledger.store_errors import StoreError
from ledger.store_progress import changed_parts, note_progress, progress
from ledger.tables import LIFETIMES, NODE_HOURS

WHAT = "witnesses"
"""The name of its progress."""
FURTHEST = timedelta(days=62)
"""A witness who speaks of longer ago is not heard: bills come within a month and a half."""
_END = pl.coalesce("ended", "seen")
_INSTANCE = (
    pl.when(pl.col("instance_id") != "").then("instance_id").otherwise(pl.concat_str("cluster", pl.lit("/"), "node"))
)


def unsettled_since(store: Store, version: int | None, now: datetime) -> datetime:
    """The first moment of which witnesses may say something else than when :func:`note_settled` was last called.

    Never before the first hour that is booked, nor before :data:`FURTHEST`; ``now`` where nothing changed.

    Args:
        store: the ledger.
        version: of LIFETIMES as it is to be looked at; None: there are none.
        now: the time.

    Raises:
        StoreError: a table cannot be read.
    """
    noted = progress(store, WHAT)
    first = store.scan(NODE_HOURS).select(pl.col("hour_utc").min()).collect().item()
    if not isinstance(first, datetime):
        return now
    through = noted.get("through")
    moments = [now, datetime.fromisoformat(through) if isinstance(through, str) else now]
    former = noted.get("version")
    if version is not None and version != former:
        moments += _changed_from(store, former if isinstance(former, int) else None, version)
    return max(min(moments), first, now - FURTHEST)


def note_settled(store: Store, version: int | None, now: datetime) -> None:
    """All node-hours up to now are as that version of LIFETIMES has them.

    Raises:
        StoreError: it cannot be written; more is looked at next time.
    """
    note_progress(store, WHAT, {"version": version, "through": now.isoformat()}, now)


def _changed_from(store: Store, former: int | None, version: int) -> list[datetime]:
    try:
        before, after = changed_parts(store, LIFETIMES, former, version)
    except StoreError:  # that version is not kept any more: all are looked at
        before, after = changed_parts(store, LIFETIMES, None, version)
    rows = [part.with_columns(end=_END, instance=_INSTANCE) for part in (before, after)]
    told = [part.select("instance", *LIFETIMES.key, "end", "ended", "gpu_count") for part in rows]
    differing = (
        pl.concat([told[0].with_columns(was=pl.lit(value=True)), told[1].with_columns(was=pl.lit(value=False))])
        .group_by("instance", *LIFETIMES.key, "end", "ended", "gpu_count")
        .agg(pl.len(), pl.col("was").first())
        .filter(pl.col("len") == 1)
    )
    stretches = differing.group_by("instance", *LIFETIMES.key).agg(
        # one that only grew, or was ended, is another one from the sooner of its ends on
        since=pl.when((pl.len() > 1) & (pl.col("gpu_count").n_unique() == 1))
        .then(pl.col("end").min())
        .otherwise(pl.col("began").first())
    )
    # another stretch of an instance may go on until a new one begins, or is seen
    ends = rows[0].group_by("instance").agg(since=pl.col("end").max()).join(stretches, on="instance", how="semi")
    both = pl.concat([stretches.select("since"), ends.select("since")])
    first = both.select(pl.col("since").min()).collect().item()
    return [first] if isinstance(first, datetime) else []
