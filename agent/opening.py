"""How the books are opened: new, after a death of the agent in the same boot, or after a reboot."""

import logging

from agent.accountant import Accountant, PriceOf
from agent.books import Books
from agent.hour_clock import HourClock
from agent.settings import AgentSettings
from agent.store import StateStore
from collectors.clock import Clock
from collectors.errors import Misconfigured

_log = logging.getLogger(__name__)


def open_books(store: StateStore, clock: Clock, settings: AgentSettings, price_of: PriceOf) -> Accountant:
    """The accountant that goes on where the saved books stand.

    Raises:
        Misconfigured: the state directory cannot be written.
    """
    monotonic_ns, wall_ns = clock.monotonic_ns(), clock.wall_ns()
    segments = [(monotonic_ns, wall_ns - monotonic_ns)]
    try:
        if store.books is None:
            store.begin(Books(clock.boot_id, segments))
        elif store.books.boot_id != clock.boot_id:
            _begin_boot(store, clock.boot_id, segments, settings, price_of, wall_ns)
    except OSError as error:
        raise Misconfigured(f"{store.folder}: {error.strerror}; the agent must be able to write there") from error
    books = store.books
    if books is None:
        raise RuntimeError("StateStore.begin sets the books")
    return Accountant(settings, books, HourClock(books.segments), price_of)


def _begin_boot(  # noqa: PLR0917
    store: StateStore,
    boot_id: str,
    segments: list[tuple[int, int]],
    settings: AgentSettings,
    price_of: PriceOf,
    wall_ns: int,
) -> None:
    books = store.books
    if books is None:
        return
    former_clock = HourClock(books.segments)
    accountant = Accountant(settings, books, former_clock, price_of)
    entry = accountant.book_former_boot(dict(books.bases), former_clock, wall_ns)
    _log.info("a new boot: counters begin at 0, the time since the last sweep is unobserved")
    store.begin_boot(boot_id, segments, entry)
