"""Workloads, pods and agents' hours for the tests of what guards look at."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from controller.scaling.model import DownOptions, NamespaceSeen, PodSeen, Readiness, Ref, Seen, Wish, Workload
from ledger.hours import ClockStep, HourBook, WorkKey, to_json
from tests.ledger.ledger_rig import MINUTE_NS, row

LONG_AGO = datetime(2026, 10, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 1, 10, 45, tzinfo=UTC)
CHAT = Ref("Deployment", "ml", "chat")
POD = "ml/chat-0/server"


def at(hour, minute=0, second=0):
    return datetime(2026, 11, 1, hour, minute, second, tzinfo=UTC)


def pod(name="chat-0", node="n1", gpus=1, **more):
    known = {"workload": CHAT, "phase": "Running", "ready": True, "created": LONG_AGO, "uid": f"uid-{name}"}
    return PodSeen(namespace="ml", name=name, node=node, gpus=gpus, **{**known, **more})


def workload(*pods, **more):
    seen = Seen(
        ref=CHAT,
        uid="u",
        version="1",
        generation=1,
        created=LONG_AGO,
        levers={"replicas": 1},
        readiness=Readiness(1, 1),
        gpus_per_pod=1,
    )
    seen = replace(seen, **more)
    return Workload(seen, seen, NamespaceSeen(seen.ref.namespace), pods)


def wish(wished="down", **options):
    return Wish(wished, "the window nights says so", policy="nights", options=DownOptions(**options))


def minutes(count, account="active", uuid="GPU-1", holder=POD, **more):
    """A usage row: so many minutes of a device."""
    return row(uuid, account, round(count * MINUTE_NS), holder=holder, price="", **more)


def hour(number, *rows, booked=None, steps=0, work=(), node="n1", accounted=None):
    """An hour as an agent serves it: closed, or booked for so many minutes."""
    devices = {}
    for key, amount in rows:
        figure = devices.setdefault(key.cell.gpu_uuid, {"name": "H100", "accounted_ns": 0, "energy_mj": None})
        figure["accounted_ns"] += amount.gpu_ns
    for uuid, length in (accounted or {}).items():
        devices[uuid]["accounted_ns"] = round(length * MINUTE_NS)
    book = HourBook(
        int(at(number).timestamp()),
        1,
        rows=dict(rows),
        steps=[ClockStep(0, 5)] * steps,
        work={WorkKey("pod", each, "m", "", "requests"): 3 for each in work},
    )
    told = {"node": node, "source": "nvml", "closed": booked is None}
    if booked is not None:
        told["booked_ns"] = round(booked * MINUTE_NS)
    return {**told, **to_json(book), "devices": devices}


def worked(active, idle, **more):
    """Both rows of a device that one pod holds."""
    return [minutes(active, **more), minutes(idle, "idle", **more)]


def ago(seconds):
    return NOW - timedelta(seconds=seconds)
