"""Reads all serving pages on an interval, in a few threads, and keeps the last answer of each.

Owns when which page is read. One page that hangs, lies or never ends marks its own target down and costs the others
nothing but a thread for the length of the limit.
"""

import logging
import threading
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from collectors.clock import NS_PER_SECOND, Clock
from collectors.errors import SourceError
from collectors.serving_fetch import Fetch, fetch_page
from collectors.serving_memory import PageMemory
from collectors.serving_page import EnginePage, EngineUnknown, TenantCap
from collectors.serving_settings import ServingSettings
from collectors.serving_targets import ServingTarget, read_first

PROBE_INTERVALS = 20
"""A guessed page that was none is tried again after so many intervals: five minutes by default."""
_IDLE_NS = NS_PER_SECOND

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PollResult:
    """The answer of one target; either ``page`` or ``error`` is there."""

    target: ServingTarget
    at_ns: int
    """Monotonic time at which the answer was complete."""
    duration_ns: int
    page: EnginePage | None = None
    error: str = ""
    """What is wrong and what to do, where there is no page."""
    unknown: bool = False
    """Whether the page was good but no engine's."""


@dataclass(slots=True)
class _Scheduled:
    target: ServingTarget
    memory: PageMemory
    due_ns: int
    busy: bool = False
    up: bool | None = None
    url: str = ""
    """The address that bore a page last."""


class ServingPoller:
    """Keeps reading the pages of its targets.

    ``start`` and ``stop`` run the threads; ``poll_due`` reads in the caller's thread what is due, for those who have
    their own. ``set_targets`` and ``take`` may be called from any thread.
    """

    def __init__(
        self,
        clock: Clock,
        settings: ServingSettings,
        *,
        fetch: Fetch = fetch_page,
        tenants: TenantCap | None = None,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._fetch = fetch
        self._interval_ns = round(settings.interval_seconds * NS_PER_SECOND)
        self._tenants = tenants or TenantCap(settings.max_tenants)
        self._lock = threading.Lock()
        self._scheduled: dict[str, _Scheduled] = {}
        self._results: dict[str, PollResult] = {}
        self._left_out: tuple[str, ...] = ()
        self._stop = threading.Event()
        self._watch = threading.Lock()
        """Held by the one thread that waits for the next page; the others wait to follow it, and wake for no page."""
        self._threads: list[threading.Thread] = []

    @property
    def left_out(self) -> tuple[str, ...]:
        """Keys of targets beyond ``max_targets``, which are not read."""
        return self._left_out

    def set_targets(self, targets: Iterable[ServingTarget]) -> None:
        """Read these from now on; new ones at a moment of the interval that their key gives.

        A target that goes loses its last answer; one whose address or reading changed begins anew.
        """
        wanted = read_first(targets)
        read, rest = wanted[: self._settings.max_targets], wanted[self._settings.max_targets :]
        left_out = tuple(target.key for target in rest)
        if left_out and left_out != self._left_out:
            _log.warning(
                "%d serving pages are not read, the first %s: raise serving.max_targets from %d",
                len(left_out),
                left_out[0],
                self._settings.max_targets,
            )
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            self._left_out = left_out
            before, self._scheduled = self._scheduled, {}
            for target in read:
                known = before.get(target.key)
                self._scheduled[target.key] = (
                    known
                    if known is not None and known.target == target
                    else _Scheduled(target, PageMemory(target.reading, self._tenants), self._offset(target, now_ns))
                )
            self._results = {
                key: result
                for key, result in self._results.items()
                if key in self._scheduled and self._scheduled[key].target == result.target
            }

    def take(self) -> tuple[PollResult, ...]:
        """The last answer of each target that answered since the last call."""
        with self._lock:
            results, self._results = self._results, {}
        return tuple(results.values())

    def poll_due(self) -> int:
        """Read every page that is due, one after the other; how many they were."""
        polled = 0
        while (scheduled := self._claim()) is not None:
            self._poll(scheduled)
            polled += 1
        return polled

    def start(self) -> None:
        """Start the threads; they are daemons and end soon after ``stop``."""
        for number in range(self._settings.threads):
            thread = threading.Thread(target=self._run, name=f"serving-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the threads; waits no longer than a fetch may take."""
        self._stop.set()
        for thread in self._threads:
            thread.join(self._settings.timeout_seconds + 1)
        self._threads.clear()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._watch:
                scheduled = self._next()
            if scheduled is not None:
                self._poll(scheduled)

    def _next(self) -> _Scheduled | None:
        """Wait for the next page that is due; ``None`` at the end."""
        while not self._stop.is_set():
            scheduled = self._claim()
            if scheduled is not None:
                return scheduled
            self._clock.wait(self._stop, self._idle_ns())
        return None

    def _offset(self, target: ServingTarget, now_ns: int) -> int:
        """The next moment of the target's own place within the interval."""
        place_ns = zlib.crc32(target.key.encode()) * self._interval_ns >> 32
        return now_ns + (place_ns - now_ns) % self._interval_ns

    def _idle_ns(self) -> int:
        with self._lock:
            due = [each.due_ns for each in self._scheduled.values() if not each.busy]
        return min(_IDLE_NS, max(1, min(due, default=0) - self._clock.monotonic_ns())) if due else _IDLE_NS

    def _claim(self) -> _Scheduled | None:
        """The target that is due the longest, taken out of the others' reach."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            due = [each for each in self._scheduled.values() if not each.busy and each.due_ns <= now_ns]
            first = min(due, key=lambda each: each.due_ns, default=None)
            if first is not None:
                first.busy = True
        return first

    def _poll(self, scheduled: _Scheduled) -> None:
        began_ns = self._clock.monotonic_ns()
        result = self._read(scheduled, began_ns)
        up = result.page is not None
        if up != scheduled.up:
            _tell(scheduled, result)
        missed = scheduled.target.probe and not up
        wait_ns = self._interval_ns * (PROBE_INTERVALS if missed else 1)
        with self._lock:
            scheduled.busy, scheduled.up = False, up
            # Later intervals keep the place of the first; those that passed meanwhile are skipped.
            scheduled.due_ns += wait_ns * max(1, -(-(result.at_ns - scheduled.due_ns + 1) // wait_ns))
            if self._scheduled.get(scheduled.target.key) is scheduled:
                self._results[scheduled.target.key] = result

    def _read(self, scheduled: _Scheduled, began_ns: int) -> PollResult:
        target, page, error, unknown = scheduled.target, None, "", False
        for url in (scheduled.url,) if scheduled.url else target.urls:
            try:
                page = self._page(url, scheduled.memory)
            except SourceError as problem:
                unknown = isinstance(problem, EngineUnknown)
                error = error or str(problem)
            except Exception as fault:  # noqa: BLE001  (a fault of ours on one page must not end the reading of all)
                error = error or f"{url}: reading it failed ({fault!r}); please report this with the page"
            else:
                scheduled.url, error, unknown = url, "", False
                break
        else:
            scheduled.url = ""
        at_ns = self._clock.monotonic_ns()
        return PollResult(target, at_ns, at_ns - began_ns, page, error, unknown)

    def _page(self, url: str, memory: PageMemory) -> EnginePage:
        fetched = self._fetch(
            url, timeout_seconds=self._settings.timeout_seconds, max_bytes=self._settings.max_page_bytes
        )
        try:
            return memory.read(fetched.body, whole=fetched.whole)
        except SourceError as problem:
            raise type(problem)(f"{url}: {problem}") from problem


def _tell(scheduled: _Scheduled, result: PollResult) -> None:
    """One line per change; a guess that fails is none."""
    if result.page is not None:
        _log.info("serving page %s is read as %s", scheduled.target.key, result.page.engine)
    elif not scheduled.target.probe or scheduled.up:
        _log.warning("serving page %s is down: %s", scheduled.target.key, result.error)
