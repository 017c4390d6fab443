"""Who keeps the books: the one process that holds the seat; the others stand by.

Owns when a process becomes leader and when it must stop being one. Losing the seat ends the process, since work that is
under way cannot be called back; the books themselves are guarded by the epoch that each leader claims, so a leader that
was frozen past its lease writes nothing when it thaws. Times are of this process's own clock (CLOCK_BOOTTIME, which
runs while a machine sleeps); no other machine's clock is ever compared.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from collectors.errors import Misconfigured, SourceError
from collectors.kube_lease import LeaseState

_log = logging.getLogger(__name__)

LOST: Final = 75
"""Exit status of a process that lost its seat, or whose epoch is past: temporary, start it again (EX_TEMPFAIL)."""

Try = Literal["ours", "others", "unknown"]
"""Of a try to take or to renew: it is ours now; another holds it; it cannot be told, and nothing was renewed."""


class Seat(Protocol):
    """What one process at a time can hold."""

    def try_once(self) -> Try:
        """Take it, or renew it where it is held already."""
        ...

    def give_up(self) -> None:
        """Let another have it at once, where it is held."""
        ...


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds; see ``controller.lease`` in the configuration."""

    renew_deadline: float
    retry: float


def boot_seconds() -> float:
    """Seconds that only grow, suspend included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Leadership:
    """Takes the seat, keeps it, and tells of both.

    Args:
        seat: what is held.
        times: how often it is renewed, and for how long it may fail.
        lead: called once, in the thread of :meth:`run`, when the seat is ours; renewing goes on meanwhile.
        lost: called when it is ours no more. It must end the process.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        seat: Seat,
        times: Times,
        *,
        lead: Callable[[], None],
        lost: Callable[[str], None],
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self._seat = seat
        self._times = times
        self._lead = lead
        self._lost = lost
        self._clock = clock
        self._renewed: float | None = None

    @property
    def leads(self) -> bool:
        """Whether this process holds the seat, as far as it knows."""
        return self._renewed is not None and self._clock() - self._renewed < self._times.renew_deadline

    def run(self, stop: threading.Event) -> None:
        """Try, renew, until ``stop`` is set or the seat is lost; gives it up at the end."""
        while not stop.is_set():
            if not self.step():
                return
            stop.wait(self._times.retry)
        self._seat.give_up()

    def step(self) -> bool:
        """One try; false where the seat was lost."""
        began = self._clock()
        if self._renewed is not None and began - self._renewed >= self._times.renew_deadline:
            return self._end("it could not be renewed in time, or this process stood still")
        found = self._seat.try_once()
        if found == "ours":
            first = self._renewed is None
            # what is counted begins before the question was sent, not when its answer came
            self._renewed = began
            if first:
                _log.info("this controller leads: it keeps the books")
                threading.Thread(target=self._lead, name="lead", daemon=True).start()
            return True
        if self._renewed is not None and found == "others":
            return self._end("another controller holds it")
        return True

    def _end(self, why: str) -> bool:
        self._lost(why)
        return False


class LockFile:
    """A seat for controllers of one machine: a locked file in a directory that they share. It cannot be lost.

    Raises:
        Misconfigured: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured(f"{path}: {error.strerror}; the controller must be able to write there") from error
        self._path = path
        self._told = False

    def try_once(self) -> Try:
        """Lock it, or find it locked already by us."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if not self._told:
                self._told = True
                _log.info("%s is held by another controller: this one stands by", self._path)
            return "others"
        return "ours"

    def give_up(self) -> None:
        """Unlock and close it."""
        os.close(self._file)


class Leases(Protocol):
    """Reads and writes one Lease."""

    def read(self) -> LeaseState | None:
        """As it stands; ``None``: there is none.

        Raises:
            SourceError: it cannot be told.
        """
        ...

    def write(self, holder: str, duration_seconds: float, former: LeaseState | None) -> bool:
        """Write it, if it still stands as in ``former``; whether it did.

        Raises:
            SourceError: it cannot be told whether it was written.
        """
        ...


class LeaseSeat:
    """A seat by a Lease. Another's is taken only after it was seen unchanged for its whole duration, by our clock.

    Args:
        leases: the Lease.
        identity: who we are; no two processes may have one.
        duration_seconds: for how long we hold it after each renewal.
        clock: seconds that only grow.
    """

    def __init__(
        self, leases: Leases, identity: str, duration_seconds: float, clock: Callable[[], float] = boot_seconds
    ) -> None:
        self._leases = leases
        self._identity = identity
        self._duration = duration_seconds
        self._clock = clock
        self._seen: tuple[LeaseState | None, float] = None, clock()
        self._told = ""

    def try_once(self) -> Try:
        """One look, and a write where it may be ours."""
        try:
            found = self._leases.read()
            if self._is_held(found):
                self._tell(f"held by {found.holder if found else 'another'}: this controller stands by")
                return "others"
            written = self._leases.write(self._identity, self._duration, found)
        except SourceError as error:
            self._tell(str(error))
            return "unknown"
        if written:
            self._told = ""
        return "ours" if written else "unknown"

    def give_up(self) -> None:
        """Write that nobody holds it; where that fails, it runs out."""
        try:
            found = self._leases.read()
            if found is not None and found.holder == self._identity:
                self._leases.write("", 1, found)
        except SourceError as error:
            _log.info("the lease runs out by itself: %s", error)

    def _is_held(self, found: LeaseState | None) -> bool:
        """Whether another holds it, and may still think so."""
        if found != self._seen[0]:
            self._seen = found, self._clock()
        if found is None or found.holder in {"", self._identity}:
            return False
        return self._clock() - self._seen[1] < max(found.duration_seconds, self._duration)

    def _tell(self, said: str) -> None:
        if said != self._told:
            self._told = said
            _log.info("lease: %s", said)
