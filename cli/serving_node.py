"""The wiring of serving pages: who reads them, whose they are, and what becomes of them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from agent.accountant import Accountant
from agent.books import Books
from agent.installation import Installation
from agent.serving import Serving
from agent.serving_holders import ServingHolders
from agent.work import WorkBooker
from cli.config import Config
from collectors.clock import NS_PER_SECOND, Clock
from collectors.holder import Holder
from collectors.listeners import PortListeners
from collectors.process_holders import ProcessHolders
from collectors.serving_page import TenantCap
from collectors.serving_poller import ServingPoller
from collectors.serving_targets import static_targets

_STALE_INTERVALS = 4


@dataclass(slots=True)
class ServingNode:
    """The pages of one node."""

    poller: ServingPoller
    serving: Serving
    held: Callable[[], set[Holder]]
    """Those that hold a device now."""

    def pages(self) -> int:
        """How many pages are read now."""
        return len(self.serving.booker.views)

    def start(self, stop: threading.Event, clock: Clock) -> None:
        """Read pages until ``stop`` is set."""
        self.poller.start()
        threading.Thread(target=self._end, args=(stop, clock), name="serving-end", daemon=True).start()

    def _end(self, stop: threading.Event, clock: Clock) -> None:
        while not clock.wait(stop, 3600 * NS_PER_SECOND):
            pass
        self.poller.stop()


def serving_node(
    config: Config, clock: Clock, accountant: Accountant, where: Installation, processes: ProcessHolders | None
) -> ServingNode | None:
    """Build it; no page is read yet. ``None`` where there can be no pages."""
    settings = config.serving
    if not settings.enabled or not (settings.targets or where.kubernetes):
        return None
    poller = ServingPoller(clock, settings, tenants=TenantCap(settings.max_tenants, tenants_of(accountant.books)))
    poller.set_targets(static_targets(settings))
    held = partial(_held, accountant)
    holders = ServingHolders(held, _listener(config, clock, processes))
    stale_ns = round(_STALE_INTERVALS * settings.interval_seconds * NS_PER_SECOND)
    booker = WorkBooker(accountant.books, accountant.hour_clock, holders, config.economics, stale_ns)
    return ServingNode(poller, Serving(poller, booker, partial(_group, where)), held)


def tenants_of(books: Books) -> set[str]:
    """The tenants that the books name already: they keep their names over a restart, so the cap holds."""
    return {key.tenant for key in books.work.meters if key.tenant}


def _held(accountant: Accountant) -> set[Holder]:
    views = list(accountant.views.values())  # in one step: the sweep may meet a new device meanwhile
    return {use.holder for view in views for use in view.uses if use.holder is not None}


def _group(where: Installation, holder: Holder) -> str | None:
    facts = where.facts(holder)
    return None if facts is None else facts.work_group or None


def _listener(config: Config, clock: Clock, processes: ProcessHolders | None) -> Callable[[int], Holder | None]:
    listeners = PortListeners(clock, config.host.proc)

    def holder_of(port: int) -> Holder | None:
        pid = None if processes is None else listeners.pid_of(port)
        return None if pid is None or processes is None else processes.holders_of({pid}).get(pid)

    return holder_of
