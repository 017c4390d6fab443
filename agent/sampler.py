"""Reads all devices of a source once, without ever being held up by one of them.

Owns the worker thread that calls the driver. A call that outlasts the timeout keeps its thread: that thread becomes the
device's quarantine, the device is left out until the call returns, and a new thread goes on with the others.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from collectors.clock import NS_PER_SECOND, Clock
from collectors.errors import SourceError
from collectors.gpu_source import GpuSource
from collectors.readings import DeviceFacts, DeviceSweep, SourceName, XidEvent

_log = logging.getLogger(__name__)

_DISCOVERY = ""
_REDISCOVER_NS = 60 * NS_PER_SECOND


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What one sweep brought."""

    sweeps: dict[str, DeviceSweep]
    failures: dict[str, str]
    """Why a device that is known did not answer, by UUID."""
    driver_error: str | None
    """Why there is no device at all."""
    xids: tuple[XidEvent, ...] = ()
    unreadable: tuple[str, ...] = ()


@dataclass(slots=True)
class _Job:
    """Calls to make one after another; results stand in ``done`` as they come."""

    calls: Sequence[tuple[str, Callable[[], object]]]
    done: dict[str, object] = field(default_factory=dict[str, object])
    finished: threading.Event = field(default_factory=threading.Event)
    started: float = 0.0
    abandoned: bool = False


class _Worker:
    """A thread that works off jobs; it ends with the first job that was abandoned."""

    def __init__(self, returned: Callable[[str], None]) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._returned = returned
        threading.Thread(target=self._run, name="wattledger-reader", daemon=True).start()

    def submit(self, job: _Job) -> None:
        job.started = time.monotonic()
        self._jobs.put(job)

    def end(self) -> None:
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            for key, call in job.calls:
                job.started = time.monotonic()
                try:
                    outcome = call()
                except SourceError as error:
                    outcome = error
                except Exception as error:  # noqa: BLE001  (a defect in one reading must not end the sweeps)
                    _log.exception("reading %s failed", key or "the driver")
                    outcome = SourceError(f"internal error: {error!r}")
                if job.abandoned:
                    self._returned(key)
                    return
                job.done[key] = outcome
            job.finished.set()


class Sampler:
    """Sweeps a source. To be used from one thread."""

    def __init__(self, source: GpuSource, clock: Clock, call_timeout_seconds: float) -> None:
        self._source = source
        self._clock = clock
        self._timeout = call_timeout_seconds
        self._hung: dict[str, float] = {}
        self._came_back: SimpleQueue[str] = SimpleQueue()
        self._worker = _Worker(self._came_back.put)
        self._facts: dict[str, DeviceFacts] = {}
        self._present: tuple[str, ...] = ()
        self._unreadable: tuple[str, ...] = ()
        self._driver_error: str | None = None
        self._failing: dict[str, str] = {}
        self._discovered_ns: int | None = None

    @property
    def source_name(self) -> SourceName:
        """What the readings come from."""
        return self._source.name

    @property
    def facts(self) -> dict[str, DeviceFacts]:
        """Each device ever seen by this process, by UUID."""
        return self._facts

    def sweep(self) -> SweepResult:
        """Read each device that is there; takes at most the timeout for each device that hangs anew."""
        self._release_returned()
        if self._discovery_due():
            self._discover()
        due = [uuid for uuid in self._present if uuid not in self._hung]
        outcomes = self._call([(uuid, _reader(self._source, uuid)) for uuid in due])
        sweeps = {uuid: sweep for uuid, sweep in outcomes.items() if isinstance(sweep, DeviceSweep)}
        failures = {uuid: str(error) for uuid, error in outcomes.items() if isinstance(error, SourceError)}
        failures.update({uuid: self._hang_message(uuid) for uuid in self._hung if uuid != _DISCOVERY})
        gone = self._facts.keys() - sweeps.keys() - failures.keys()
        failures.update(dict.fromkeys(gone, self._driver_error or "the driver no longer lists this device"))
        self._note(failures)
        if self._driver_error is not None or failures.keys() - self._hung.keys():
            self._discovered_ns = None
        xids = () if self._driver_error else tuple(self._source.drain_xids())
        return SweepResult(sweeps, failures, self._driver_error, xids, self._unreadable)

    def close(self) -> None:
        """End the worker and let go of the source, unless a call still hangs in it."""
        self._worker.end()
        if not self._hung:
            self._source.close()

    def _discovery_due(self) -> bool:
        if _DISCOVERY in self._hung:
            return False
        return self._discovered_ns is None or self._clock.monotonic_ns() - self._discovered_ns >= _REDISCOVER_NS

    def _discover(self) -> None:
        outcome = self._call([(_DISCOVERY, self._source.discover)]).get(_DISCOVERY)
        if isinstance(outcome, SourceError):
            self._present, self._driver_error = (), str(outcome)
            return
        if outcome is None:
            self._driver_error = self._hang_message(_DISCOVERY)
            return
        devices: Sequence[DeviceFacts] = outcome  # type: ignore[assignment]  # what discover returns
        self._facts.update({facts.uuid: facts for facts in devices})
        self._present = tuple(facts.uuid for facts in devices)
        self._note_unreadable(tuple(self._source.unreadable()))
        self._driver_error = None
        self._discovered_ns = self._clock.monotonic_ns()

    def _note_unreadable(self, unreadable: tuple[str, ...]) -> None:
        """Say once which slots hold a device that was never met; one that was met is said not to answer."""
        lost = len(self._facts) - len(self._present)
        if unreadable != self._unreadable and len(unreadable) > lost:
            _log.warning("left out, and not in any figure: %s", "; ".join(unreadable))
        self._unreadable = unreadable

    def _call(self, calls: list[tuple[str, Callable[[], object]]]) -> dict[str, object]:
        """Make the calls; those that hang are missing in the answer and quarantined."""
        outcomes: dict[str, object] = {}
        while calls:
            job = _Job(calls)
            self._worker.submit(job)
            if self._finishes(job):
                return outcomes | job.done
            outcomes |= dict(job.done)
            key = calls[len(job.done)][0]
            self._hung[key] = time.monotonic()
            self._worker = _Worker(self._came_back.put)
            calls = calls[len(job.done) + 1 :]
        return outcomes

    def _finishes(self, job: _Job) -> bool:
        while not job.finished.wait(max(0.0, job.started + self._timeout - time.monotonic())):
            if time.monotonic() - job.started >= self._timeout and not job.finished.is_set():
                job.abandoned = True
                return False
        return True

    def _release_returned(self) -> None:
        while not self._came_back.empty():
            key = self._came_back.get()
            self._hung.pop(key, None)
            self._discovered_ns = None
            _log.info("the call to %s has returned", key or "the driver")

    def _hang_message(self, key: str) -> str:
        since = time.monotonic() - self._hung[key]
        return f"a driver call has not returned for {self._timeout + since:.0f} s; see dmesg for Xid, a reset may help"

    def _note(self, failures: dict[str, str]) -> None:
        for uuid in failures.keys() - self._failing.keys():
            _log.warning("%s does not answer: %s", uuid, failures[uuid])
        for uuid in self._failing.keys() - failures.keys():
            _log.info("%s answers again", uuid)
        self._failing = failures


def _reader(source: GpuSource, uuid: str) -> Callable[[], object]:
    return lambda: source.read(uuid)
