"""A stand-in for a serving engine: its metrics page over HTTP, driven by a script, with faults to order.

In a test: ``with ScriptedEngine("vllm", model="m") as engine: engine.serve(requests=3); engine.url``. As a process of
its own, for containers and for other people's tests: ``python -m tests.engines.server --kind vllm --port 8000``; it
then takes ``POST /serve`` with a JSON object (``requests`` and the fields of a load), ``POST /restart`` and
``POST /fault`` with a name. Needs nothing but Python's own library.
"""

import argparse
import contextlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.engines.load import Load, Script, Totals, load_from
from tests.engines.pages import KINDS, PageState, render

FAULTS = ("none", "html", "invalid_utf8", "endless", "silent", "error", "redirect", "huge", "duplicate", "cut", "gzip")


class ScriptedEngine:
    """One engine process: it serves its script from the moment it starts, and what ``serve`` adds.

    ``clock`` gives seconds; the default is real time. ``truth`` is what it served in its whole life, restarts included;
    the page tells only what came since the last restart.
    """

    def __init__(
        self,
        kind: str,
        *,
        model: str = "test-model",
        loads: Sequence[Load] = (),
        clock: Callable[[], float] = time.monotonic,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str = "/metrics",
        old_names: bool = False,
        tenant_label: str = "user",
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}")
        self.kind, self.path = kind, path
        self.fault = "none"
        self.running = self.waiting = 0
        self.kv_cache_usage = 0.0
        self.fetches = 0
        self._clock = clock
        self._began = clock()
        self._script = Script(loads)
        self._lock = threading.Lock()
        self._added: dict[str, Totals] = {}
        self._past: list[dict[str, Totals]] = []
        self._state = PageState(model, {}, old_names=old_names, tenant_label=tenant_label)
        self._stopping = threading.Event()
        self._server = _Server((host, port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def serve(self, requests: int = 1, load: Load | None = None) -> None:
        """Serve requests at once, besides the script."""
        load = load or Load()
        with self._lock:
            self._added.setdefault(load.tenant, Totals()).serve(load, requests)

    def restart(self, *, old_names: bool | None = None) -> None:
        """A new process: counters at zero, the script from its beginning, possibly another version's names."""
        with self._lock:
            self._past.append(self._totals())
            self._added = {}
            self._began = self._clock()
            names = self._state.old_names if old_names is None else old_names
            later = self._state.start_time_seconds + 60
            self._state = replace(self._state, start_time_seconds=later, old_names=names)

    def truth(self) -> dict[str, int]:
        """Requests and tokens served so far, all tenants and all lives of the process together."""
        names = ("requests", "input_tokens", "cached_tokens", "output_tokens")
        with self._lock:
            lives = [*self._past, self._totals()]
        return {name: sum(getattr(each, name) for life in lives for each in life.values()) for name in names}

    def page(self) -> str:
        """The page as it stands."""
        with self._lock:
            state = replace(
                self._state,
                tenants=self._totals(),
                running=self.running,
                waiting=self.waiting,
                kv_cache_usage=self.kv_cache_usage,
            )
        return render(self.kind, state)

    def _totals(self) -> dict[str, Totals]:
        totals = self._script.totals_after(self._clock() - self._began)
        for tenant, added in self._added.items():
            totals[tenant] = PageState("", {"script": totals.get(tenant, Totals()), "added": added}).all
        return totals or {"": Totals()}

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One GET."""
        self.fetches += 1
        if handler.path.partition("?")[0] != self.path:
            _send(handler, 404, b"not found")
        elif self.fault == "endless":
            self._never_end(handler)
        elif self.fault == "silent":
            self._stopping.wait(30)
        else:
            self._answer_at_once(handler)

    def _answer_at_once(self, handler: BaseHTTPRequestHandler) -> None:
        page = self.page().encode()
        match self.fault:
            case "html":
                _send(handler, 200, b"<!doctype html><title>engine</title>", "text/html")
            case "invalid_utf8":
                _send(handler, 200, page + b'vllm:prompt_tokens_total{model_name="\xff\xfe"} 1.0\n')
            case "error":
                _send(handler, 500, b"out of memory")
            case "redirect":
                handler.send_response(302)
                handler.send_header("Location", "http://127.0.0.1:1/metrics")
                handler.end_headers()
            case "huge":
                series = (f'vllm:prompt_tokens_total{{model_name="{number}"}} 1.0\n' for number in range(200_000))
                _send(handler, 200, "".join(series).encode())
            case "duplicate":
                _send(handler, 200, page + page)
            case "cut":
                _send(handler, 200, page, claimed=len(page) + 100)
            case "gzip":
                _send(handler, 200, b"\x1f\x8b\x08", encoding="gzip")
            case _:
                _send(handler, 200, page)

    def _never_end(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain; version=0.0.4")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not self._stopping.wait(0.01):
                handler.wfile.write(b"# HELP more and more\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], engine: ScriptedEngine) -> None:
        self.engine = engine
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        with contextlib.suppress(ConnectionError):
            self.server.engine.answer(self)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            _command(self.server.engine, self.path, json.loads(body or b"{}"))
        except (ValueError, TypeError, KeyError) as error:
            _send(self, 400, str(error).encode())
        else:
            _send(self, 200, json.dumps(self.server.engine.truth()).encode(), "application/json")

    def log_message(self, *_: object) -> None:
        """Silent: a test's output is the test's."""


def _command(engine: ScriptedEngine, path: str, order: dict[str, Any]) -> None:
    match path:
        case "/serve":
            engine.serve(int(order.pop("requests", 1)), load_from({**asdict(Load()), **order}))
        case "/restart":
            engine.restart(old_names=order.get("old_names"))
        case "/fault":
            if order["name"] not in FAULTS:
                raise ValueError(f"fault is {order['name']!r}; allowed: {', '.join(FAULTS)}")
            engine.fault = order["name"]
        case "/gauges":
            engine.running, engine.waiting = int(order.get("running", 0)), int(order.get("waiting", 0))
            engine.kv_cache_usage = float(order.get("kv_cache_usage", 0.0))
        case _:
            raise ValueError(f"path is {path!r}; allowed: /serve, /restart, /fault, /gauges")


def _send(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    kind: str = "text/plain; version=0.0.4; charset=utf-8",
    *,
    claimed: int | None = None,
    encoding: str = "",
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body) if claimed is None else claimed))
    if encoding:
        handler.send_header("Content-Encoding", encoding)
    handler.end_headers()
    handler.wfile.write(body)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until killed; tells its address in one line first."""
    parser = argparse.ArgumentParser(description="A scripted stand-in for a serving engine's metrics page.")
    parser.add_argument("--kind", choices=KINDS, default="vllm")
    parser.add_argument("--model", default="test-model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--path", default="/metrics")
    parser.add_argument("--old-names", action="store_true")
    parser.add_argument("--load", action="append", default=[], help="a load as JSON; several follow one another")
    given = parser.parse_args(arguments)
    loads = [load_from(json.loads(text)) for text in given.load]
    engine = ScriptedEngine(
        given.kind,
        model=given.model,
        loads=loads,
        host=given.host,
        port=given.port,
        path=given.path,
        old_names=given.old_names,
    )
    with engine:
        print(engine.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
