"""What the controller answers on which path: the API, its description, metrics and health; no sockets here."""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import urlsplit

from collectors.cost_explorer import Spent
from collectors.kube_json import JsonObject, children, text
from controller import api_allocation, api_reports, api_savings
from controller.api_ask import Busy, Worker
from controller.api_reports import Json
from controller.api_window import BadQuestion, Parameters, rfc3339
from controller.budget_report import READ, as_json, budget_states
from controller.gather import Gather
from controller.openapi import document
from controller.present import Present
from controller.quota_report import as_json as quotas_as_json
from controller.status import Stand
from exporters.http_routes import JSON, Answer, Metered, RenderedMetrics, Route, Routes, compressed, probe, say, scrape
from exporters.http_secrets import Token
from ledger.budget_settings import BudgetSettings
from ledger.store import Store
from ledger.store_errors import StoreError

_log = logging.getLogger(__name__)

API: Final = "/api/v1"
HOURS: Final = f"{API}/hours"
INDEX: Final = f"""\
wattledger controller
{API}/openapi.json  what there is
{API}/allocation?window=7d&aggregate=team
{API}/status
/metrics                 Prometheus text or OpenMetrics
/healthz                 alive
/readyz                  the books can be read
"""
_MOST_PUSHED_BYTES: Final = 64 << 20
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Doors:
    """Who may do what."""

    read: Token | None = None
    push: Token | None = None
    push_open: bool = False
    """Anybody may push: only this machine is listened to."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What the site answers from."""

    store: Store
    worker: Worker
    present: Present
    gather: Gather
    stand: Stand
    budgets: BudgetSettings
    metrics: Metered


class ControllerSite(Routes):
    """Answers a controller's requests."""

    most_body_bytes = _MOST_PUSHED_BYTES

    def __init__(self, inside: Inside, doors: Doors, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._inside = inside
        self._doors = doors
        rendered = RenderedMetrics(inside.metrics, monotonic_ns)
        routes: dict[str, Route] = {
            "/": lambda _query, _headers: say(HTTPStatus.OK, INDEX),
            "/metrics": lambda _query, headers: scrape(rendered, headers),
            "/healthz": lambda _query, _headers: probe(True, "alive"),  # noqa: FBT003  (the pair that a probe returns)
            "/readyz": lambda _query, _headers: probe(*self._ready()),
            f"{API}/openapi.json": lambda _query, headers: _json(document(), headers),
            f"{API}/allocation": self._asked(self._allocation),
            f"{API}/budgets": self._asked(self._budgets),
            HOURS: self._asked(lambda query: api_reports.hours(inside.store, query, inside.present.now())),
            f"{API}/prices": self._asked(lambda query: api_reports.prices(inside.store, query, inside.present.now())),
            f"{API}/variance": self._asked(
                lambda query: api_reports.variances(inside.store, query, inside.present.now())
            ),
            f"{API}/verify": self._asked(lambda query: api_reports.verified(inside.store, query, inside.present.now())),
            f"{API}/audit": self._asked(lambda query: api_reports.audit(inside.store, query, inside.present.now())),
            f"{API}/savings": self._asked(lambda query: api_savings.savings(inside.store, query, inside.present.now())),
            f"{API}/quotas": self._told(lambda: quotas_as_json(inside.stand().quotas)),
            f"{API}/agents": self._told(self._agents),
            f"{API}/status": self._told(self._status),
        }
        super().__init__(routes, doors.read, who="controller")

    def refusal(self, target: str, headers: Mapping[str, str]) -> Answer | None:
        """Only hours are taken, and only from those who may push."""
        if urlsplit(target).path != HOURS:
            return say(HTTPStatus.METHOD_NOT_ALLOWED, f"method not allowed; POST goes to {HOURS}", Allow="GET, HEAD")
        return self._stranger(headers) or _by_a_browser(headers)

    def _stranger(self, headers: Mapping[str, str]) -> Answer | None:
        if self._doors.push is not None:
            if self._doors.push.allows(headers.get("Authorization", "")):
                return None
            return _error(HTTPStatus.UNAUTHORIZED, "the token of controller.push_token_file is needed")
        if not self._doors.push_open:
            return _error(HTTPStatus.FORBIDDEN, "nobody may push here: set controller.push_token_file")
        if _is_loopback(headers.get("Host", "")):
            return None
        return _error(
            HTTPStatus.FORBIDDEN,
            "this machine alone may push here, by the host 127.0.0.1, ::1 or localhost; for others set "
            "controller.push_token_file",
        )

    def post(self, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Hours of an agent that ends, as `/v1/hours` of the agent has them."""
        del headers
        return self.guarded(f"POST {urlsplit(target).path}", lambda: self._pushed(body))

    def _pushed(self, body: bytes) -> Answer:
        if not self._inside.stand().leads:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, "this controller stands by; the one that leads takes hours")
        try:
            said = cast("JsonObject", json.loads(body))
            node, hours = text(said, "node"), children(said, "hours")
        except (ValueError, RecursionError) as error:
            return _error(HTTPStatus.BAD_REQUEST, f"the body is no JSON ({type(error).__name__})")
        if not node or not hours:
            return _error(HTTPStatus.BAD_REQUEST, "the body has no node or no hours; send what /v1/hours answers")
        try:
            refused = self._inside.gather.push(node, hours)
        except StoreError as error:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return _json({"booked": len(hours) - len(refused), "refused": dict(refused)}, {})

    def _asked(self, answer: Callable[[str], Json]) -> Route:
        """Worked on by the worker."""

        def route(query: str, headers: Mapping[str, str]) -> Answer:
            try:
                return _json(self._inside.worker.ask(lambda: answer(query)), headers)
            except BadQuestion as error:
                return _error(HTTPStatus.BAD_REQUEST, str(error))
            except (Busy, StoreError) as error:
                return _error(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

        return route

    def _told(self, answer: Callable[[], Json]) -> Route:
        """Answered at once, and takes no parameters."""

        def route(query: str, headers: Mapping[str, str]) -> Answer:
            try:
                Parameters(query, ())
            except BadQuestion as error:
                return _error(HTTPStatus.BAD_REQUEST, str(error))
            return _json(answer(), headers)

        return route

    def _allocation(self, query: str) -> Json:
        question = api_allocation.AllocationQuestion.read(query, self._inside.present.now())
        return api_allocation.answer(self._inside.store, question)

    def _budgets(self, query: str) -> Json:
        Parameters(query, ())
        pinned = api_reports.versions(self._inside.store, *READ)
        states = budget_states(self._inside.store, self._inside.budgets, self._inside.present.now(), pinned)
        return {"budgets": [as_json(state) for state in states], "meta": {"versions": pinned}}

    def _agents(self) -> Json:
        gathered = self._inside.gather.gathered
        return {
            "answering": gathered.answering,
            "silent": [{"url": url, "reason": why} for url, why in sorted(gathered.silent.items())],
            "refused": [{"hour": hour, "reason": why} for hour, why in sorted(gathered.refused.items())],
            "last": {node: rfc3339(moment) for node, moment in sorted(gathered.last.items())},
        }

    def _status(self) -> Json:
        standing = self._inside.stand()
        facts = standing.facts
        jobs = {
            name: {**asdict(health), "succeeded_at": health.succeeded_at and rfc3339(health.succeeded_at)}
            for name, health in standing.jobs.items()
        }
        return {
            "now": rfc3339(standing.now),
            "leads": standing.leads,
            "epoch": standing.epoch,
            "simulated": standing.simulated,
            "last_closed": None if facts is None or facts.last_closed is None else rfc3339(facts.last_closed),
            "provisional_node_hours": None if facts is None else facts.provisional,
            "bills_refused": {} if facts is None else dict(facts.bills_refused),
            "bills_waiting": list(standing.bills_waiting or ()),
            "prices_refused": list(standing.prices_refused or ()),
            "versions": {} if facts is None else dict(facts.versions),
            "jobs": jobs,
            "cost_explorer": None if standing.cost_explorer is None else _spent(standing.cost_explorer),
        }

    def _ready(self) -> tuple[bool, str]:
        standing = self._inside.stand()
        if standing.facts is None:
            return False, "the books were not read yet"
        return True, "leads" if standing.leads else "stands by"


def _by_a_browser(headers: Mapping[str, str]) -> Answer | None:
    """What a web page can send without being asked: a browser tells the page's origin, and needs leave to send JSON."""
    if headers.get("Origin"):
        return _error(HTTPStatus.FORBIDDEN, "hours are taken from agents, not from web pages: send no Origin")
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        return _error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the hours with Content-Type: application/json")
    return None


def _is_loopback(host: str) -> bool:
    """Whether a request was sent to this machine by its own name; another name may have been pointed at it."""
    try:
        return not host or urlsplit(f"//{host}").hostname in _LOOPBACK
    except ValueError:
        return False


def _spent(spent: Spent) -> Json:
    nano_usd = int(spent.cost_usd.scaleb(9))
    return {"requests": spent.requests, "allowed": spent.most, "cost_nano_usd": str(nano_usd)}


def _json(value: Mapping[str, Any] | Sequence[Any], headers: Mapping[str, str]) -> Answer:
    body = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()
    return compressed(Answer(HTTPStatus.OK, JSON, body), headers)


def _error(status: HTTPStatus, message: str) -> Answer:
    body = json.dumps({"code": int(status), "status": "error", "message": message}).encode()
    extra = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else dict[str, str]()
    return Answer(status, JSON, body, extra)
