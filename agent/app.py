"""What the agent's HTTP server serves: the last finished sweep and the journal; never a driver call."""

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from agent.daemon import NodeAgent
from agent.node_families import NodeFamilies
from agent.node_state import NodeStates
from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from exporters.exposition import Family
from exporters.state import NodeState
from ledger.hours import HourBook, encode, hour_start

_FRESH_SWEEPS = 5
_FRESH_AT_LEAST_NS = 30 * NS_PER_SECOND
_CHANGE = "change:"


@dataclass(frozen=True, slots=True)
class AgentApp:
    """One agent behind the server."""

    agent: NodeAgent
    node_families: NodeFamilies
    node_states: NodeStates
    node: str
    page: bool = True

    def generation(self) -> Hashable:
        """The number of the last finished sweep."""
        snapshot = self.agent.snapshot
        return None if snapshot is None else snapshot.number

    def metrics(self) -> Sequence[Family]:
        """The families of the last finished sweep."""
        return self.node_families.families()

    def health(self) -> tuple[bool, str]:
        """Alive: always, while it can answer. A restart cures no driver."""
        return True, "alive"

    def ready(self) -> tuple[bool, str]:
        """Fresh: a sweep has finished, not long ago."""
        snapshot = self.agent.snapshot
        if snapshot is None:
            return False, "no sweep has finished yet"
        age_ns = self.agent.parts.clock.monotonic_ns() - snapshot.finished_ns
        if age_ns > max(_FRESH_AT_LEAST_NS, _FRESH_SWEEPS * snapshot.interval_ns):
            return False, f"the last sweep finished {age_ns // NS_PER_SECOND} s ago"
        return True, "fresh"

    def hours(self, since: str | None) -> bytes:
        """The journal as one JSON document: closed hours, then the open ones.

        Args:
            since: an hour (RFC 3339) from which on to answer, or ``change:N`` for what was closed after the change
                of that number; the answer's ``change`` is the number to ask with next time. Open hours always come.

        Raises:
            ValueError: ``since`` is neither.
        """
        store, books = self.agent.parts.store, self.agent.parts.accountant.books
        since_hour, since_change = _since(since)
        with self.agent.lock:
            closed = list(store.journal.documents(since_hour_s=since_hour, since_change=since_change))
            open_hours = [
                self._open(book)
                for hour_s, book in sorted(books.hours.items())
                if since_hour is None or hour_s >= since_hour
            ]
            change = books.change
        head = json.dumps({"node": self.node, "source": self.agent.parts.sampler.source_name, "change": change})
        return head[:-1].encode() + b', "hours": [' + b",".join([*closed, *open_hours]) + b"]}"

    def open_hours(self) -> bytes:
        """The open hours alone, as :meth:`hours` has them: what is sent when the agent ends."""
        return self.hours(f"{_CHANGE}{self.agent.parts.accountant.books.change}")

    def state(self) -> NodeState:
        """What the page shows."""
        return self.node_states.state()

    def _open(self, book: HourBook) -> bytes:
        agent = self.agent
        snapshot = agent.snapshot
        up_to_ns = agent.parts.accountant.hour_clock.wall_at(snapshot.finished_ns) if snapshot else 0
        shown = replace(book, profile=[*book.profile, *agent.profile.show(book.hour_s)])
        booked_ns = max(0, min(up_to_ns - book.hour_s * NS_PER_SECOND, NS_PER_HOUR))
        source = agent.parts.sampler.source_name
        return encode(shown, node=self.node, source=source, closed=False, booked_ns=booked_ns)


def _since(since: str | None) -> tuple[int | None, int | None]:
    if since is None:
        return None, None
    if since.startswith(_CHANGE) and since[len(_CHANGE) :].isdecimal():
        return None, int(since[len(_CHANGE) :])
    try:
        return hour_start(since), None
    except ValueError as error:
        raise ValueError(
            f"since={since!r}: allowed are an hour such as 2026-11-22T06:00:00Z, or change:N from an earlier answer"
        ) from error
