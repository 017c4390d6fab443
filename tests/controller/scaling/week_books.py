"""Machines and pods of the week, and the books of them that agents keep and the ledger takes."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import polars as pl

from collectors.carbon_intensity import load
from controller.scaling.model import Ref
from ledger.agent_hours import read_hour
from ledger.carbon import Carbon
from ledger.carbon_settings import CarbonSettings
from ledger.costing import Costing, CostRules
from ledger.hours import DeviceHour, HolderKey, HolderNote, HourBook, NodeNote, to_json
from ledger.keeper import Keeper
from ledger.price_live_settings import LivePriceSettings
from ledger.price_settings import PriceSettings
from ledger.price_table import LedgerPrices
from ledger.store import Store
from ledger.tables import LIFETIMES
from tests.controller.scaling import week_script as script
from tests.ledger.ledger_rig import MODEL, row

HOUR = timedelta(hours=1)
SECOND_NS = 10**9


@dataclass
class Node:
    """A machine; its name is never used again."""

    name: str
    pool: str
    began: datetime
    ended: datetime | None = None
    users: dict[str, Ref] = field(default_factory=dict)
    """By GPU, whose it is or was last."""
    busy: set[str] = field(default_factory=set)
    emptied: datetime | None = None

    @property
    def gpus(self) -> list[str]:
        return [f"GPU-{self.name}-{number}" for number in range(script.POOLS[self.pool].gpus)]


@dataclass
class Pod:
    """A pod with a GPU, and from when to when it held it."""

    name: str
    owner: Ref
    node: Node
    gpu: str
    began: datetime
    ready_at: datetime
    ended: datetime | None = None
    ready: bool = False

    @property
    def holder(self) -> str:
        return f"{self.owner.namespace}/{self.name}/main"


def document(node: Node, pods: list[Pod], hour: datetime, now: datetime) -> dict | None:
    """One hour of a node's books, whole or as far as it has come, as its agent serves it; ``None``: it was not."""
    begin, end = max(node.began, hour), min(node.ended or now, now, hour + HOUR)
    if begin >= end:
        return None
    book = HourBook(
        int(hour.timestamp()),
        1,
        devices={gpu: DeviceHour(MODEL, _ns(end - begin), 0) for gpu in node.gpus},
        node_facts=NodeNote(**_facts(node)),
    )
    left = dict.fromkeys(node.gpus, end - begin)
    for pod in pods:
        first, last = max(pod.began, begin), min(pod.ended or end, end)
        if pod.node is not node or first >= last:
            continue
        active = _within(script.TRAINS if pod.owner.kind == "Job" else script.WORKS, first, last)
        left[pod.gpu] -= last - first
        _add(book, pod.gpu, "active", active, holder=pod.holder)
        _add(book, pod.gpu, "idle", last - first - active, holder=pod.holder)
        book.holders[HolderKey("pod", pod.holder)] = HolderNote(
            pod.owner.kind, pod.owner.name, pod.owner.namespace, pod.name, requested_devices=1
        )
    for gpu, length in left.items():
        _add(book, gpu, "unallocated", length, holder="", energy="idle_split")
    closed = now >= hour + HOUR
    told = {} if closed else {"booked_ns": _ns(end - hour)}
    return {"node": node.name, "source": "nvml", "closed": closed, **told, **to_json(book)}


def keep_books(store: Store, nodes: list[Node], pods: list[Pod]) -> None:
    """Node-hours by the keeper that makes real ones, at configured prices."""
    know = {"cluster": script.CLUSTER, "provider": "aws", "region": "eu-central-1", "zone": "", "gpu_model": MODEL}
    lives = [
        {
            **know,
            **{
                key: _facts(node)[key] for key in ("node", "instance_id", "instance_type", "capacity_type", "gpu_count")
            },
            "began": node.began,
            "ended": node.ended,
            "seen": node.ended or script.END,
            "evidence": "api",
        }
        for node in nodes
    ]
    store.replace(LIFETIMES, pl.DataFrame(lives, schema=LIFETIMES.schema), {})
    begun = [script.BEGIN + number * HOUR for number in range((script.END - script.BEGIN) // HOUR)]
    told = [(node.name, document(node, pods, hour, script.END)) for hour in begun for node in nodes]
    hours = [read_hour(each, node=name, now=script.END, simulated=False) for name, each in told if each is not None]
    prices = [
        {
            "instance_type": pool,
            "usd_per_hour": f"{what.nano_usd_per_gpu_second * what.gpus * 3600 / 10**9:.4f}",
            "gpus": what.gpus,
            "as_of": date(2026, 10, 1),
            "capacity_type": what.capacity,
        }
        for pool, what in script.POOLS.items()
    ]
    known = LedgerPrices(PriceSettings(instances=prices, fallback="none"), [], LivePriceSettings())
    costing = Costing(store, CostRules(known, Carbon(CarbonSettings(), load())))
    Keeper(store, costing, cluster=script.CLUSTER).keep(hours, since=script.BEGIN, now=script.END)


def _add(book: HourBook, gpu: str, account: str, length: timedelta, **how: str) -> None:
    if length:
        key, amount = row(gpu, account, _ns(length), price="", **how)
        book.rows[key] = amount


def _facts(node: Node) -> dict:
    what = script.POOLS[node.pool]
    return {
        "node": node.name,
        "cluster": script.CLUSTER,
        "provider": "aws",
        "region": "eu-central-1",
        "instance_id": f"i-{node.name}",
        "instance_type": node.pool,
        "capacity_type": what.capacity,
        "gpu_count": what.gpus,
    }


def _within(parts, begin: datetime, end: datetime) -> timedelta:
    """How much of some stretches lies in another."""
    return sum((max(timedelta(0), min(last, end) - max(first, begin)) for first, last in parts), timedelta(0))


def _ns(length: timedelta) -> int:
    return length // timedelta(seconds=1) * SECOND_NS
