"""The controller's jobs: each looks at what is, makes what should be, and may be missed or run twice without harm.

Owns when jobs run and what is known of how they went. One runs at a time: they write the same tables, and the memory
of one is what the process is sized by. A job that fails is logged once for each reason and tried again when it is due.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do again and again."""

    name: str
    run: Callable[[], None]
    every_seconds: Callable[[], float]
    """Until it is due again, counted from when it was due; asked each time."""


@dataclass(frozen=True, slots=True)
class JobHealth:
    """How a job went so far, in this process."""

    runs: int = 0
    failures: int = 0
    succeeded_at: datetime | None = None
    seconds: float | None = None
    """What its last run took."""
    error: str = ""
    """Why the last run failed; empty: it did not."""


class Jobs:
    """Runs jobs in a thread of their own.

    Args:
        jobs: in the order in which they first run.
        fatal: errors after which this process must not go on.
        on_fatal: told of such an error.
        after: called with the name of a job that succeeded.
        now: the time in UTC.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        *,
        fatal: tuple[type[Exception], ...] = (),
        on_fatal: Callable[[Exception], None] = lambda _error: None,
        after: Callable[[str], None] = lambda _name: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._fatal = fatal
        self._on_fatal = on_fatal
        self._after = after
        self._now = now
        self._lock = threading.Lock()
        self._health = {name: JobHealth() for name in self._jobs}
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    @property
    def health(self) -> Mapping[str, JobHealth]:
        """How each job went."""
        with self._lock:
            return dict(self._health)

    def start(self) -> None:
        """Run each job once, in order, and from then on when it is due."""
        self._scheduler.start()
        for job in self._jobs.values():
            self._scheduler.add_job(self.run_once, _Every(job.every_seconds), args=(job.name,), id=job.name)

    def hurry(self, name: str) -> None:
        """Let a job run as soon as those before it are done."""
        if self._scheduler.running and name in self._jobs:
            self._scheduler.modify_job(name, next_run_time=self._now())

    def run_once(self, name: str) -> bool:
        """Run a job here and now, and note how it went; whether it succeeded."""
        began = time.perf_counter()
        error = ""
        try:
            self._jobs[name].run()
        except self._fatal as failure:
            self._on_fatal(failure)
            return False
        except Exception as failure:  # noqa: BLE001  (a job that fails must leave the others alone)
            error = " ".join(str(failure).split()) or type(failure).__name__
            self._tell_once(name, error, failure)
        self._note(name, time.perf_counter() - began, error)
        if not error:
            self._after(name)
        return not error

    def end(self) -> None:
        """Start no job any more and wait for the one that runs."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def _note(self, name: str, seconds: float, error: str) -> None:
        with self._lock:
            known = self._health[name]
            self._health[name] = JobHealth(
                runs=known.runs + 1,
                failures=known.failures + bool(error),
                succeeded_at=known.succeeded_at if error else self._now(),
                seconds=seconds,
                error=error,
            )
        if known.error and not error:
            _log.info("job %s works again", name)

    def _tell_once(self, name: str, error: str, failure: Exception) -> None:
        if self._health[name].error != error:
            trace = failure if _log.isEnabledFor(logging.DEBUG) else None
            _log.error("job %s failed and is tried again: %s", name, error, exc_info=trace)


class _Every(BaseTrigger):
    """Due at once, and then at intervals that are asked for each time."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        if previous_fire_time is None:
            return now
        return max(now, previous_fire_time + timedelta(seconds=self._seconds()))
