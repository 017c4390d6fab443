"""Agents of fake nodes, whose GPUs all rest: what each serves is what a real one would of the pods that are there.

One server answers for all of them, each under a path that bears its node's name.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from ledger.hours import Amount, CellKey, DeviceHour, HolderKey, HolderNote, HourBook, NodeNote, RowKey, to_json
from tests.cluster.kwok import GPU, GPUS_PER_NODE, INSTANCE_TYPE

_HOUR = timedelta(hours=1)
_FRESH_SECONDS = 1.0
_MODEL = "NVIDIA H100 80GB HBM3"


@dataclass(slots=True)
class _Held:
    """What one pod holds, and from when to when."""

    node: str
    namespace: str
    pod: str
    uuids: tuple[str, ...]
    began: datetime
    ended: datetime | None = None


class IdleAgents:
    """Serves from entering to leaving.

    Args:
        nodes: those that have an agent.
        pods: lists all pods with GPUs.
    """

    def __init__(self, nodes: Sequence[str], pods: Callable[[], Sequence[dict[str, Any]]]) -> None:
        self._nodes = frozenset(nodes)
        self._pods = pods
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._seen_at = -_FRESH_SECONDS
        self._server = _server(self._answer)

    @property
    def urls(self) -> list[str]:
        """One for each node."""
        return [f"http://127.0.0.1:{self._server.server_port}/{node}" for node in sorted(self._nodes)]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="idle-agents", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str) -> dict[str, Any] | None:
        _, node, rest = path.split("/", 2)
        if node not in self._nodes or not rest.startswith("v1/hours"):
            return None
        with self._lock:
            now = datetime.now(UTC)
            self._see(now)
            held = [each for each in self._held.values() if each.node == node]
        hour = now.replace(minute=0, second=0, microsecond=0)
        hours = [_document(node, held, each, now) for each in (hour - _HOUR, hour)]
        return {"node": node, "source": "nvml", "change": int(hour.timestamp()), "hours": hours}

    def _see(self, now: datetime) -> None:
        """Note which pods came and went."""
        if time.monotonic() - self._seen_at < _FRESH_SECONDS:
            return
        self._seen_at = time.monotonic()
        found = {pod["metadata"]["uid"]: pod for pod in self._pods() if pod["spec"].get("nodeName") in self._nodes}
        for uid, held in self._held.items():
            if uid not in found and held.ended is None:
                held.ended = now
        for uid in sorted(found.keys() - self._held.keys()):
            self._held[uid] = self._hold(found[uid])

    def _hold(self, pod: dict[str, Any]) -> _Held:
        node, meta = pod["spec"]["nodeName"], pod["metadata"]
        taken = {
            uuid for held in self._held.values() if held.node == node and held.ended is None for uuid in held.uuids
        }
        free = [uuid for uuid in _uuids(node) if uuid not in taken]
        wanted = sum(int(each["resources"]["limits"].get(GPU, 0)) for each in pod["spec"]["containers"])
        began = datetime.fromisoformat(meta["creationTimestamp"])
        return _Held(node, meta["namespace"], meta["name"], tuple(free[:wanted]), began)


def _uuids(node: str) -> list[str]:
    return [f"GPU-{node}-{number}" for number in range(GPUS_PER_NODE)]


def _document(node: str, held: Sequence[_Held], hour: datetime, now: datetime) -> dict[str, Any]:
    """One hour of a node's books, whole or as far as it has come."""
    end = min(now, hour + _HOUR)
    length = _ns(end - hour)
    book = HourBook(int(hour.timestamp()), 1, node_facts=NodeNote(node, instance_type=INSTANCE_TYPE))
    left = dict.fromkeys(_uuids(node), length)
    book.devices = {uuid: DeviceHour(_MODEL, length, 0) for uuid in left}
    for each in held:
        first, last = max(each.began, hour), min(each.ended or end, end)
        if first >= last:
            continue
        holder = f"{each.namespace}/{each.pod}/main"
        book.holders[HolderKey("pod", holder)] = HolderNote(namespace=each.namespace, pod=each.pod)
        for uuid in each.uuids:
            left[uuid] -= _ns(last - first)
            book.rows[_row(uuid, "idle", holder)] = Amount(_ns(last - first))
    book.rows |= {_row(uuid, "unallocated"): Amount(ns) for uuid, ns in left.items() if ns}
    closed = now >= hour + _HOUR
    told = {} if closed else {"booked_ns": length}
    return {"node": node, "source": "nvml", "closed": closed, **told, **to_json(book)}


def _row(uuid: str, account: str, holder: str = "") -> RowKey:
    cell = CellKey(uuid, "", "pod" if holder else "", holder, account, "exclusive" if holder else "")
    return RowKey(cell, "whole" if holder else "idle_split", "")


def _ns(length: timedelta) -> int:
    return length // timedelta(microseconds=1) * 1000


def _server(answer: Callable[[str], dict[str, Any] | None]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answer(self.path)
            body = json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    return _Server(("127.0.0.1", 0), Handler)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing is said of who asked and did not wait."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)
