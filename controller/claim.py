"""Makes this process the one that writes the ledger: tried until it is, and shown as the job ``claim`` meanwhile."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller.jobs import Job, JobHealth, Jobs
from ledger.store import Store

_log = logging.getLogger(__name__)

NAME = "claim"
_FIRST_SECONDS, _MOST_SECONDS = 5.0, 60.0
"""Between two tries."""


@dataclass(frozen=True, slots=True)
class Over:
    """What ends the tries."""

    errors: tuple[type[Exception], ...]
    tell: Callable[[Exception], None]


class Claim:
    """Shuts former leaders out of a ledger. What cannot be read or written now is tried again, however long it lasts.

    Args:
        store: bears the epoch from then on.
        check: raises what speaks against this process as the writer; asked until it raises nothing once.
        over: what no further try can mend.
    """

    def __init__(self, store: Store, check: Callable[[], None], over: Over) -> None:
        self._store = store
        self._check = check
        self._checked = False
        self._over = threading.Event()

        def end(error: Exception) -> None:
            self._over.set()
            over.tell(error)

        self._jobs = Jobs([Job(NAME, self._run, lambda: _MOST_SECONDS)], fatal=over.errors, on_fatal=end)

    @property
    def made(self) -> bool:
        """Whether this process is the writer, as far as it knows."""
        return self._jobs.health[NAME].succeeded_at is not None

    @property
    def health(self) -> Mapping[str, JobHealth]:
        """How the tries went."""
        return self._jobs.health

    def make(self, stop: threading.Event, first_seconds: float = _FIRST_SECONDS) -> bool:
        """Try until it is made; whether it was, before ``stop`` was set or something spoke against it for good.

        Args:
            stop: ends the tries.
            first_seconds: until the second try; each pause is twice the former one, up to a minute.
        """
        pause = first_seconds
        while not stop.is_set() and not self._over.is_set():
            if self._jobs.run_once(NAME):
                return True
            stop.wait(pause)
            pause = min(2 * pause, _MOST_SECONDS)
        return False

    def _run(self) -> None:
        if not self._checked:
            self._check()
            self._checked = True
        epoch = self._store.claim_epoch()
        _log.info("the ledger at %s is kept under epoch %d", self._store.place.root, epoch)
