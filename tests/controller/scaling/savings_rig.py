"""Hours of devices, and the rows that the ledger would have of them."""

from datetime import UTC, datetime, timedelta

import polars as pl

from controller.scaling.device_hours import Books
from controller.scaling.down_spans import DownSpan, Key
from ledger.tables import COST, LIFETIMES, NODE_HOURS, USAGE, conform

MIN = 60 * 10**9
USD = 10**9
HOUR = timedelta(hours=1)
CHAT = Key("eu", "ml", "Deployment", "chat")
OTHER = Key("eu", "ml", "Deployment", "other")


def at(hour, minute=0):
    """Of 2 November, or of the day after from 24 on."""
    return datetime(2026, 11, 2, tzinfo=UTC) + timedelta(hours=hour, minutes=minute)


def span(begin, end, key=CHAT, reference=19):
    return DownSpan(key, begin, end, at(reference))


class Script:
    """What happened, written down hour by hour; prices are dollars of a GPU-hour."""

    def __init__(self, capacity="on_demand"):
        self.capacity = capacity
        self.usage, self.cost, self.nodes, self.lives = [], [], [], []

    def _place(self, hour, node):
        moment = at(hour)
        return {
            "day": moment.date(),
            "hour_utc": moment,
            "cluster": "eu",
            "node": node,
            "instance_id": f"i-{node}",
            "capacity_type": self.capacity,
        }

    def node(self, hour, name, minutes):
        """Booked, and witnessed."""
        self.nodes.append({**self._place(hour, name), "existed_ns": int(minutes * MIN)})
        if minutes:
            self.lived(name, at(hour), at(hour, minutes))

    def lived(self, name, began, ended, seen=None):
        """Witnessed alone."""
        place = {"cluster": "eu", "node": name, "instance_id": f"i-{name}", "capacity_type": self.capacity}
        self.lives.append({**place, "began": began, "ended": ended, "seen": seen or ended, "evidence": "event"})

    def held(self, hour, device, minutes, key=CHAT, *, usd=4, account="active", effective=None, ns=None):
        node = device.split("-")[0]
        held_ns = int(minutes * MIN) if ns is None else ns
        row = {**self._place(hour, node), "gpu_uuid": device, "account": account}
        if key is not None:
            row |= {"namespace": key.namespace, "workload_kind": key.kind, "workload": key.name}
        self.usage.append({**row, "gpu_ns": held_ns})
        price = None if usd is None else held_ns * usd * USD // (60 * MIN)
        paid = None if effective is None else held_ns * effective * USD // (60 * MIN)
        self.cost.append({**row, "list_nano_usd": price, "effective_nano_usd": paid})

    def books(self):
        def frame(table, rows):
            made = (
                pl.DataFrame(rows, schema_overrides=dict(table.schema)) if rows else pl.DataFrame(schema=table.schema)
            )
            texts = [name for name, dtype in table.schema.items() if dtype == pl.String]
            return conform(table, made.lazy()).with_columns(pl.col(texts).fill_null(""))

        tables = ((COST, self.cost), (USAGE, self.usage), (NODE_HOURS, self.nodes), (LIFETIMES, self.lives))
        return Books(*(frame(table, rows) for table, rows in tables))
