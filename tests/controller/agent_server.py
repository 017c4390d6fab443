"""Agents of tests: each serves the journal that a test gives it, over a real socket."""

import json
from datetime import UTC, datetime
from urllib.parse import unquote

from exporters.http_routes import JSON, Answer, Routes
from exporters.http_server import serve_site
from exporters.server_settings import ServerSettings
from ledger.hours import HourBook, NodeNote, to_json
from tests.ledger.ledger_rig import row


class Agent:
    """A node's agent: hours closed so far, an open one, and what it was asked."""

    def __init__(self, node, *, booted_s=1000, source="nvml"):
        self.node, self.booted_s, self.source = node, booted_s, source
        self.change = 0
        self.closed = []
        self.open = None
        self.state = None
        self.asked = []
        routes = {"/v1/hours": self._hours, "/v1/state": self._state}
        self.server = serve_site(ServerSettings(listen="127.0.0.1:0"), Routes(routes))

    @property
    def url(self):
        return self.server.url

    def document(self, hour, *rows, closed=True, revision=1, **facts):
        devices = {}
        for key, amount in rows:
            uuid = key.cell.gpu_uuid
            devices.setdefault(uuid, {"name": "NVIDIA H100 80GB HBM3", "accounted_ns": 0, "energy_mj": 0})
            devices[uuid]["accounted_ns"] += amount.gpu_ns
            devices[uuid]["energy_mj"] += amount.energy_mj
        node_facts = NodeNote(node=self.node, booted_s=self.booted_s, gpu_count=len(devices))
        book = HourBook(int(hour.timestamp()), revision, rows=dict(rows), node_facts=node_facts)
        told = {"node": self.node, "source": self.source, "closed": closed, "booked_ns": 0}
        return {**told, **to_json(book), "devices": devices, **facts}

    def close(self, hour, *rows, **facts):
        """Close an hour; it comes to those who ask for what is new."""
        self.change += 1
        self.closed.append((self.change, self.document(hour, *(rows or [ROW]), **facts)))

    def begin(self, hour, *rows, **facts):
        self.open = self.document(hour, *(rows or [ROW]), closed=False, **facts)

    def forget(self, booted_s=None):
        """Lose the books, as on another machine of the name."""
        self.change, self.closed, self.open = 0, [], None
        self.booted_s = booted_s or self.booted_s

    def _hours(self, query, _headers):
        self.asked.append(query)
        if "change" in query:
            since = int(query.partition("%3A")[2])
            hours = [document for change, document in self.closed if change > since]
        else:
            oldest = unquote(query.partition("=")[2])
            hours = [document for _, document in self.closed if document["hour_utc"] >= oldest]
        hours += [self.open] if self.open else []
        said = {"node": self.node, "source": self.source, "change": self.change, "hours": hours}
        return Answer(200, JSON, json.dumps(said).encode())

    def _state(self, _query, _headers):
        return Answer(200, JSON, json.dumps(self.state).encode())


ROW = row("GPU-1", "active", 1_800_000_000_000, 5_000, price="")


def at(hour, minute=0):
    return datetime(2026, 11, 1, hour, minute, tzinfo=UTC)
