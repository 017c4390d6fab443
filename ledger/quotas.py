"""GPU quotas: what was granted against what was held, and what was worked with.

Owns the comparison. A quota is of numbers at one time, the books are of time: the measured side is GPU-hours over a
window, against those that the grant gave room for in the hours that are booked. Must never take an hour without books
for one in which nothing was held, nor compare what does not count alike: MIG instances and shared replicas are not
whole GPUs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import polars as pl

from collectors.kube_quotas import GpuQuota, QuotaKind

WHOLE_GPUS = "nvidia.com/gpu"
_HOUR = timedelta(hours=1)
_HELD = ("active", "idle", "unmeasured")


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """One quota over a window."""

    kind: QuotaKind
    name: str
    namespaces: tuple[str, ...]
    teams: tuple[str, ...]
    """Who held GPUs there in the window."""
    resource: str
    granted: int
    used_now: int | None
    """As the cluster says."""
    granted_ns: int | None
    """GPU time that the grant gave room for in the booked hours of the window; ``None`` where the resource is no whole
    GPU."""
    held_ns: int | None
    """Booked GPU time that holders held there, worked with or not."""
    active_ns: int | None
    scoped: bool = False
    """It counts some pods only, the measured side all of the namespace."""

    @property
    def held_ratio(self) -> float | None:
        """Held over granted; may pass 1 where a queue borrows."""
        return self.held_ns / self.granted_ns if self.held_ns is not None and self.granted_ns else None

    @property
    def active_ratio(self) -> float | None:
        """Worked over granted."""
        return self.active_ns / self.granted_ns if self.active_ns is not None and self.granted_ns else None


@dataclass(frozen=True, slots=True)
class TeamQuota:
    """What one team was granted and used, over all namespaces that are its own."""

    team: str
    namespaces: tuple[str, ...]
    granted: int
    used_now: int | None
    granted_ns: int
    held_ns: int
    active_ns: int


def quota_use(
    quotas: Iterable[GpuQuota], usage: pl.LazyFrame, cluster: str, since: datetime, until: datetime
) -> tuple[QuotaUse, ...]:
    """Each quota with what was measured in its namespaces.

    Args:
        quotas: of one cluster.
        usage: rows of the table ``usage``.
        cluster: its name in the books.
        since: first hour of the window.
        until: its end; of the hour in which that lies the part before it counts.
    """
    within = usage.filter(
        pl.col("cluster") == cluster, pl.col("hour_utc") >= pl.lit(since), pl.col("hour_utc") < pl.lit(until)
    )
    measured, booked_ns = _measured(within), _booked_ns(within, until)
    return tuple(_use(quota, measured, booked_ns) for quota in quotas)


def team_quotas(uses: Iterable[QuotaUse]) -> tuple[TeamQuota, ...]:
    """Whole GPUs by team, from ResourceQuotas of namespaces in which one team alone held GPUs.

    Of several quotas on a namespace the smallest binds. Scoped ones count some pods only and are left out; so are
    namespaces of several teams, since nobody granted a team its part.
    """
    binding: dict[tuple[str, ...], QuotaUse] = {}
    for use in uses:
        if use.kind != "ResourceQuota" or use.granted_ns is None or use.scoped or len(use.teams) != 1:
            continue
        former = binding.get(use.namespaces)
        if former is None or use.granted < former.granted:
            binding[use.namespaces] = use
    teams = sorted({use.teams[0] for use in binding.values()})
    return tuple(_team(team, [use for use in binding.values() if use.teams[0] == team]) for team in teams)


def _team(team: str, uses: list[QuotaUse]) -> TeamQuota:
    used = [use.used_now for use in uses if use.used_now is not None]
    return TeamQuota(
        team=team,
        namespaces=tuple(sorted(namespace for use in uses for namespace in use.namespaces)),
        granted=sum(use.granted for use in uses),
        used_now=sum(used) if len(used) == len(uses) else None,
        granted_ns=sum(use.granted_ns or 0 for use in uses),
        held_ns=sum(use.held_ns or 0 for use in uses),
        active_ns=sum(use.active_ns or 0 for use in uses),
    )


def _booked_ns(usage: pl.LazyFrame, until: datetime) -> int:
    """Time of the hours that stand in the books, whoever's time is booked in them."""
    hours = usage.select(pl.col("hour_utc").unique()).collect().get_column("hour_utc")
    passed = (min(until - hour, _HOUR) for hour in cast("list[datetime]", hours.to_list()))
    return sum(each // timedelta(microseconds=1) for each in passed) * 1000


def _measured(usage: pl.LazyFrame) -> pl.DataFrame:
    """Whole GPUs held, by namespace and team; MIG instances are quotas of their own."""
    time = pl.col("gpu_ns").cast(pl.Int128)
    return (
        usage.filter(
            pl.col("account").is_in(_HELD),
            pl.col("mig") == "",
            pl.col("namespace") != "",
        )
        .group_by("namespace", "team")
        .agg(time.sum().alias("held"), time.filter(pl.col("account") == "active").sum().alias("active"))
        .collect()
    )


def _use(quota: GpuQuota, measured: pl.DataFrame, booked_ns: int) -> QuotaUse:
    here = measured.filter(pl.col("namespace").is_in(quota.namespaces))
    whole = quota.resource == WHOLE_GPUS
    return QuotaUse(
        kind=quota.kind,
        name=quota.name,
        namespaces=quota.namespaces,
        teams=tuple(sorted(cast("list[str]", here.get_column("team").unique().to_list()))) if whole else (),
        resource=quota.resource,
        granted=quota.granted,
        used_now=quota.used,
        granted_ns=quota.granted * booked_ns if whole else None,
        held_ns=int(here.get_column("held").sum()) if whole else None,
        active_ns=int(here.get_column("active").sum()) if whole else None,
        scoped=quota.scoped,
    )
