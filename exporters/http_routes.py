"""What is answered on which path: metrics, health, journal, state and page; no sockets here.

It renders what the app gives and never touches a source, so no request can make a driver work or wait for one.
"""

import gzip
import json
import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import parse_qs, urlsplit

from exporters.exposition import Family, render
from exporters.http_secrets import Token
from exporters.negotiation import takes_gzip, wants_openmetrics
from exporters.page import Page
from exporters.state import NodeState

log = logging.getLogger(__name__)

TEXT: Final = "text/plain; charset=utf-8"
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
JSON: Final = "application/json"
HTML: Final = "text/html; charset=utf-8"
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""What needs no token: a prober has none, and they tell nothing of the node but whether it works."""
HEADERS: Final = ("Accept", "Accept-Encoding", "Authorization", "Content-Type", "Host", "Origin")
"""The request headers that matter here."""
INDEX: Final = """\
wattledger
/metrics          Prometheus text or OpenMetrics
/v1/state         this node now, JSON
/v1/hours?since=  the journal of hours, JSON
/healthz          alive
/readyz           fresh
"""

_GZIP_FROM_BYTES: Final = 1024
_KEPT_NS: Final = 1_000_000_000


class Metered(Protocol):
    """What has metrics. Each method is called from many threads and must return at once."""

    def generation(self) -> Hashable:
        """Changes with what there is to show; a rendering is shared by the scrapes between two changes, for 1 s."""
        ...

    def metrics(self) -> Sequence[Family]:
        """The families as of the last change, each metric once."""
        ...


class App(Metered, Protocol):
    """What an agent serves. Each method is called from many threads and must return at once."""

    @property
    def page(self) -> bool:
        """Whether ``/`` is the page; else it is a short index."""
        ...

    def health(self) -> tuple[bool, str]:
        """Alive, and one line."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Fresh, and one line."""
        ...

    def hours(self, since: str | None) -> bytes:
        """The journal from an hour on, as JSON.

        Raises:
            ValueError: ``since`` is no hour; the message says what is allowed.
        """
        ...

    def state(self) -> NodeState:
        """What the page shows."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, ready to be sent."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


Route = Callable[[str, Mapping[str, str]], Answer]
"""Answers a query with the headers that were sent of :data:`HEADERS`."""


def say(status: HTTPStatus, text: str, **headers: str) -> Answer:
    """One line of text; underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, TEXT, text.rstrip("\n").encode("utf-8", "replace") + b"\n", named)


class RenderedMetrics:
    """The metrics page, rendered and compressed once for all who scrape the same sweep."""

    def __init__(self, app: Metered, monotonic_ns: Callable[[], int]) -> None:
        self._app = app
        self._monotonic_ns = monotonic_ns
        self._lock = threading.Lock()
        self._generation: Hashable = None
        self._rendered_ns: int | None = None
        self._families: Sequence[Family] = ()
        self._pages: dict[tuple[bool, bool], bytes] = {}

    def page(self, *, openmetrics: bool, compressed: bool) -> bytes:
        """The page in one format."""
        with self._lock:
            self._refresh()
            page = self._pages.get((openmetrics, compressed))
            if page is None:
                page = render(self._families, openmetrics=openmetrics)
                page = gzip.compress(page, 1, mtime=0) if compressed else page
                self._pages[openmetrics, compressed] = page
            return page

    def _refresh(self) -> None:
        generation, now_ns = self._app.generation(), self._monotonic_ns()
        fresh = self._rendered_ns is not None and now_ns - self._rendered_ns < _KEPT_NS
        if not fresh or generation != self._generation:
            self._families = self._app.metrics()
            self._pages.clear()
            self._generation, self._rendered_ns = generation, now_ns


class Routes:
    """Answers GET by path, to those who bear the token.

    Args:
        routes: path to what answers it, from the query and the headers.
        token: who may read, or nobody is asked.
        who: whose log says more of an internal error.
    """

    most_body_bytes: int = 0
    """The largest body of a POST that is taken."""

    def __init__(self, routes: Mapping[str, Route], token: Token | None = None, *, who: str = "agent") -> None:
        self._routes = routes
        self._token = token
        self._who = who
        self._failing: set[str] = set()

    def answer(self, target: str, headers: Mapping[str, str]) -> Answer:
        """The answer to GET; never raises. ``headers`` holds what was sent of :data:`HEADERS`, by these names."""
        try:
            url = urlsplit(target)
        except ValueError:
            return say(HTTPStatus.BAD_REQUEST, "bad request: that is no URL")
        if url.path not in OPEN_PATHS and self._token and not self._token.allows(headers.get("Authorization", "")):
            challenge = 'Bearer realm="wattledger", Basic realm="wattledger", charset="UTF-8"'
            return say(HTTPStatus.UNAUTHORIZED, "a token is needed", WWW_Authenticate=challenge)
        route = self._routes.get(url.path)
        if route is None:
            return say(HTTPStatus.NOT_FOUND, f"not found; there are {', '.join(self._routes)}")
        return self.guarded(url.path, lambda: route(url.query, headers))

    def refusal(self, target: str, headers: Mapping[str, str]) -> Answer | None:
        """Why a POST is not taken, before its body is read; ``None``: it is. ``headers`` as of :meth:`answer`."""
        del target, headers
        return say(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed; there are GET and HEAD", Allow="GET, HEAD")

    def post(self, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a POST that :meth:`refusal` lets in; never raises."""
        del target, headers, body
        return say(HTTPStatus.NOT_FOUND, "not found")

    def guarded(self, path: str, answer: Callable[[], Answer]) -> Answer:
        """The answer, or status 500 where there is a defect; its first failure is logged."""
        try:
            found = answer()
        except Exception as error:  # noqa: BLE001  (whatever the app raises, this scrape gets a status)
            self._tell_once(path, error)
            return say(HTTPStatus.INTERNAL_SERVER_ERROR, f"internal error; the {self._who}'s log says more")
        self._failing.discard(path)
        return found

    def _tell_once(self, path: str, error: Exception) -> None:
        if path not in self._failing:
            self._failing.add(path)
            trace = error if log.isEnabledFor(logging.DEBUG) else None
            log.error("%s fails: %s: %s", path, type(error).__name__, error, exc_info=trace)


class Site(Routes):
    """Answers an agent's requests.

    Args:
        app: what there is to serve.
        token: who may read, or nobody is asked.
        monotonic_ns: the clock by which a rendering grows old.
    """

    def __init__(
        self, app: App, token: Token | None = None, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._app = app
        self._page = Page.load() if app.page else None
        self._metrics = RenderedMetrics(app, monotonic_ns)
        routes: Mapping[str, Route] = {
            "/": self._index,
            "/metrics": lambda _query, headers: scrape(self._metrics, headers),
            "/healthz": lambda _query, _headers: probe(*app.health()),
            "/readyz": lambda _query, _headers: probe(*app.ready()),
            "/v1/hours": self._hours,
            "/v1/state": self._state,
        }
        super().__init__(routes, token)

    def _index(self, _query: str, headers: Mapping[str, str]) -> Answer:
        if self._page is None:
            return say(HTTPStatus.OK, INDEX)
        return compressed(Answer(HTTPStatus.OK, HTML, self._page.document, self._page.headers), headers)

    def _hours(self, query: str, headers: Mapping[str, str]) -> Answer:
        given = parse_qs(query, keep_blank_values=True)
        since = given.pop("since", [None])
        if given or len(since) > 1:
            return say(HTTPStatus.BAD_REQUEST, "bad request: allowed is one parameter, since")
        try:
            hours = self._app.hours(since[0])
        except ValueError as error:
            return say(HTTPStatus.BAD_REQUEST, f"bad request: {error}")
        return compressed(Answer(HTTPStatus.OK, JSON, hours), headers)

    def _state(self, _query: str, headers: Mapping[str, str]) -> Answer:
        body = json.dumps(self._app.state(), allow_nan=False, separators=(",", ":")).encode()
        return compressed(Answer(HTTPStatus.OK, JSON, body), headers)


def probe(good: bool, text: str) -> Answer:  # noqa: FBT001  (the pair that a probe returns)
    """What a prober is told."""
    return say(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, text)


def scrape(metrics: RenderedMetrics, headers: Mapping[str, str]) -> Answer:
    """The metrics page in the format and encoding that the client likes best."""
    openmetrics = wants_openmetrics(headers.get("Accept", ""))
    gzipped = takes_gzip(headers.get("Accept-Encoding", ""))
    page = metrics.page(openmetrics=openmetrics, compressed=gzipped)
    extra = {"Vary": "Accept, Accept-Encoding"} | ({"Content-Encoding": "gzip"} if gzipped else {})
    return Answer(HTTPStatus.OK, OPENMETRICS if openmetrics else PROMETHEUS, page, extra)


def compressed(answer: Answer, headers: Mapping[str, str]) -> Answer:
    """The answer with its body compressed, where the client takes that and it is worth it."""
    extra = {**answer.headers, "Vary": "Accept-Encoding"}
    body = answer.body
    if len(body) >= _GZIP_FROM_BYTES and takes_gzip(headers.get("Accept-Encoding", "")):
        body, extra = gzip.compress(body, 1, mtime=0), {**extra, "Content-Encoding": "gzip"}
    return Answer(answer.status, answer.content_type, body, extra)
