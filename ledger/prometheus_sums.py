"""What the books say of a range's estimates, in sums for a person to read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from ledger.accounts import Account
from ledger.prometheus_hours import PROMETHEUS
from ledger.store import Store
from ledger.tables import COST, USAGE

_NS_PER_HOUR, _MJ_PER_KWH, _NANO = 3_600_000_000_000, 3_600_000_000, 1_000_000_000
_NODE_HOUR = ("hour_utc", "node", "instance_id")
_DEVICE_HOUR = (*_NODE_HOUR, "gpu_uuid")


@dataclass(frozen=True, slots=True)
class EstimateSums:
    """What the books say of a range's estimates."""

    hours: int
    nodes: int
    gpus: int
    """Those that an exporter told of."""
    gpu_hours: float
    unobserved_gpu_hours: float
    kwh: float | None
    """``None``: no energy is known."""
    list_usd: float | None
    """``None``: no price is known."""
    unpriced_gpu_hours: float


def estimate_sums(store: Store, hours: Sequence[datetime], cluster: str) -> EstimateSums:
    """Sums over the estimates of a cluster.

    Args:
        store: the ledger.
        hours: starts of hours, ascending, at least one.
        cluster: whose.

    Raises:
        StoreError: a table cannot be read.
    """
    within = (
        pl.col("day").is_between(hours[0].date(), hours[-1].date()),
        pl.col("hour_utc").is_between(hours[0], hours[-1]),
        pl.col("cluster") == cluster,
    )
    usage = store.scan(USAGE).filter(*within, pl.col("source") == PROMETHEUS)
    cost = store.scan(COST).filter(*within).join(usage.select(_NODE_HOUR).unique(), on=_NODE_HOUR, how="semi")
    unpriced = cost.filter(pl.col("gpu_uuid") != "", pl.col("price_id") == "").select(_DEVICE_HOUR).unique()
    time, energy, dollars = pl.col("gpu_ns").cast(pl.Int128), pl.col("energy_mj"), pl.col("list_nano_usd")
    told = usage.select(
        hours=pl.col("hour_utc").n_unique(),
        nodes=pl.struct("node", "instance_id").n_unique(),
        gpus=pl.col("gpu_uuid").filter(~pl.col("gpu_uuid").str.starts_with(pl.col("node") + "/gpu-")).n_unique(),
        gpu_ns=time.sum(),
        unobserved_ns=time.filter(pl.col("account") == Account.UNOBSERVED).sum(),
        energy_mj=pl.when(energy.count() > 0).then(energy.cast(pl.Int128).sum()),
    )
    paid = cost.select(nano=pl.when(dollars.count() > 0).then(dollars.cast(pl.Int128).sum()))
    free = usage.join(unpriced, on=_DEVICE_HOUR, how="semi").select(unpriced_ns=time.sum())
    found = pl.concat([told, paid, free], how="horizontal").collect().row(0, named=True)
    return EstimateSums(
        hours=found["hours"],
        nodes=found["nodes"],
        gpus=found["gpus"],
        gpu_hours=found["gpu_ns"] / _NS_PER_HOUR,
        unobserved_gpu_hours=found["unobserved_ns"] / _NS_PER_HOUR,
        kwh=None if found["energy_mj"] is None else found["energy_mj"] / _MJ_PER_KWH,
        list_usd=None if found["nano"] is None else found["nano"] / _NANO,
        unpriced_gpu_hours=found["unpriced_ns"] / _NS_PER_HOUR,
    )
