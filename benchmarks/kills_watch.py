"""Whoever scrapes an agent through all its deaths: what was shown once must not fall, and must not go away."""

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Self

from exporters import catalogue_agent, catalogue_gpu
from tests.integration.agent_process import NAMES, Scrape, name_of

OWN_LIFE = frozenset(
    metric.name
    for metric in (
        catalogue_agent.SWEEPS,
        catalogue_agent.AGENT_CPU_SECONDS,
        catalogue_agent.CLOCK_STEPS,
        catalogue_agent.SAVE_FAILURES,
        catalogue_gpu.GPU_XID_ERRORS,
    )
)
"""Counters that say themselves that they count since the agent started."""
_PAUSE_SECONDS = 0.02
_ACCOUNTS = tuple(account for account, _ in NAMES.values())


class Broken(Exception):  # noqa: N818  (named for what it says)
    """A law does not hold."""


@dataclass
class Watcher:
    """Scrapes without end, in a thread of its own. Use it in a ``with`` block."""

    port: int
    life: int = 0
    """Which run of the agent answers; whoever starts one counts on, after the former is dead."""
    finished: set[str] = field(default_factory=set[str])
    """Holders that are gone for good, so that their series may go into that of the finished."""
    pages: int = 0
    sweeps: int = 0
    """Sweeps that pages told of."""
    compared: int = 0
    """Counters that were compared with what they were before."""
    broken: str | None = None
    """The first thing that was wrong."""
    last: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    """Every counter as it was last seen."""
    seen_in: int = -1
    """The life that last showed a sweep."""
    _unobserved: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    _sweeps: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def check(self) -> None:
        """Nothing was wrong so far.

        Raises:
            Broken: something was.
        """
        if self.broken is not None:
            raise Broken(self.broken)

    def look(self, page: Scrape, life: int) -> None:
        """Compare one page with all before it.

        Raises:
            Broken: a counter fell, a series of the accounts went away, or the accounts do not add up.
        """
        lasting = page.counters - OWN_LIFE
        kept = {series: value for series, value in page.series.items() if name_of(series) in lasting}
        for series, before in self.last.items():
            now = kept.get(series)
            if now is not None and now < before:
                raise Broken(f"life {life}: {series} fell from {before} to {now}")
            if now is None and series.startswith(_ACCOUNTS) and not self._may_go(series, page):
                raise Broken(f"life {life}: {series} went away; it was {before}")
        if (imbalance := page.imbalance()) is not None:
            raise Broken(f"life {life}: {imbalance}")
        self._see_absence(page, life)
        self.compared += len(self.last.keys() & kept.keys())
        self.pages += 1
        self.last = {s: value for s, value in self.last.items() if not s.startswith(_ACCOUNTS)} | kept

    def _may_go(self, series: str, page: Scrape) -> bool:
        gone = any(f'holder="{holder}"' in series for holder in self.finished)
        return gone and bool(page.find(name_of(series), holder="__finished__"))

    def _see_absence(self, page: Scrape, life: int) -> None:
        """While the agent lives, nothing more is unobserved."""
        sweeps = int(page.value(catalogue_agent.SWEEPS.name) or 0)
        if not sweeps:
            return
        self.sweeps += sweeps - (self._sweeps if self.seen_in == life else 0)
        self._sweeps = sweeps
        account, control = NAMES["time"]
        for device in page.find(control):
            uuid = device.labels["gpu_uuid"]
            now = page.total(account, gpu_uuid=uuid, account="unobserved")
            if self.seen_in == life and now != self._unobserved[uuid]:
                raise Broken(f"life {life}: {uuid} was read, yet its unobserved time grew to {now} s")
            self._unobserved[uuid] = now
        self.seen_in = life

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_SECONDS) and self.broken is None:
            life = self.life
            try:
                page = _fetch(self.port)
                if page is not None and self.life == life:
                    self.look(page, life)
            except Broken as error:
                self.broken = str(error)
            except Exception as error:  # noqa: BLE001  (a thread that dies would prove nothing any more)
                self.broken = f"life {life}: the page cannot be compared: {error!r}"


def _fetch(port: int) -> Scrape | None:
    """The page; ``None`` while nobody answers, or where a death cut it short."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise Broken(f"the page answers status {answer.status}")
    return Scrape(body.decode())


def wait_for(happened: Callable[[], object], seconds: float) -> bool:
    """Whether it happened in time; looks so often that a kill lands within a fraction of a millisecond."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.0002)
    return True
