"""Agents' hours and witnesses, made to order."""

from datetime import UTC, datetime
from hashlib import sha256

import polars as pl

from ledger.agent_hours import AgentHour
from ledger.booking_units import Scope
from ledger.hours import (
    Amount,
    CellKey,
    DeviceHour,
    HolderKey,
    HolderNote,
    HourBook,
    NodeNote,
    PriceNote,
    RowKey,
    encode,
)
from ledger.lifetimes import EXISTED

HOUR_NS = 3600 * 10**9
MINUTE_NS = 60 * 10**9
MODEL = "NVIDIA H100 80GB HBM3"
POD = "ml/chat-0/server"


def at(hour, minute=0, second=0):
    return datetime(2026, 11, 1, hour, minute, second, tzinfo=UTC)


NOW = at(12)
SCOPE = Scope(NOW, cluster="eu")


def row(uuid, account, ns, mj=0, *, holder=POD, method="exclusive", energy="whole", price="p", mig=""):
    kind = "pod" if holder else ""
    return RowKey(CellKey(uuid, mig, kind, holder, account, method), energy, price), Amount(ns, mj)


def agent_hour(hour, *rows, node="a", closed=True, revision=1, energy=True, devices=(), facts=None, **book):
    """An hour whose control figures are what its rows add up to, with further ``devices`` that have no rows."""
    figures = {uuid: DeviceHour(MODEL, 0, 0 if energy else None) for uuid in devices}
    for key, amount in rows:
        figure = figures.setdefault(key.cell.gpu_uuid, DeviceHour(MODEL, 0, 0 if energy else None))
        figure.accounted_ns += amount.gpu_ns
        if energy:
            figure.energy_mj += amount.energy_mj
    prices = {key.price_id for key, _ in rows if key.price_id}
    made = HourBook(
        int(hour.timestamp()),
        revision,
        rows=dict(rows),
        devices=figures,
        prices={
            price: PriceNote(2_500_000_000, "config", "2026-10-01", "on_demand", estimate=False) for price in prices
        },
        holders={
            HolderKey("pod", POD): HolderNote(workload="chat", namespace="ml", team="search", requested_devices=1)
        },
        node_facts=NodeNote(node=node, **{"instance_id": "i-1", "provider": "aws", **(facts or {})}),
        **book,
    )
    return AgentHour(node, made, "measured", closed, sha256(encode(made, node=node, closed=closed)).hexdigest())


def witnessed(*rows):
    """EXISTED rows: (hour, node, minutes) with further facts."""
    known = {
        "cluster": "eu",
        "provider": "aws",
        "region": "eu-west-1",
        "zone": "",
        "instance_type": "p5",
        "gpu_model": "",
    }
    made = [
        {
            **known,
            "day": hour.date(),
            "hour_utc": hour,
            "node": node,
            "existed_ns": round(minutes * MINUTE_NS),
            "instance_id": "i-1",
            "capacity_type": "on_demand",
            "evidence": "api",
            "gpu_count": None,
            **facts,
        }
        for hour, node, minutes, facts in rows
    ]
    return pl.DataFrame(made, schema=EXISTED)


NOBODY = witnessed()
