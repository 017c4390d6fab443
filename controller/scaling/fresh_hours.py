"""Asks agents for their last hours just before a down is decided on them, beside the pulls that book.

Owns which agent is asked for how much. It books nothing; what comes is checked as for booking, then only remembered.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

from collectors.journal_pull import AgentAddress, Journal, Silent
from collectors.kube_json import JsonObject
from ledger.agent_hours import RefusedHour, read_hour
from ledger.hours import hour_name


class Journals(Protocol):
    """Asks agents for hours."""

    def pull(self, asked: Sequence[tuple[AgentAddress, str]], at_once: int | None = None) -> Iterator[Journal | Silent]:
        """Each agent's hours since what is said beside its address."""
        ...


class Hearer(Protocol):
    """Remembers what agents tell."""

    def take(self, node: str, documents: Sequence[JsonObject], now: datetime) -> None:
        """Hours of a node that may be booked."""
        ...


@dataclass(frozen=True, slots=True)
class FreshHours:
    """The asking."""

    journals: Journals
    where: Callable[[], Mapping[str, AgentAddress]]
    """Node to where its agent answers: ``Gather.gathered.where``."""
    hearer: Hearer
    now: Callable[[], datetime]
    """The time of the books."""
    simulated: bool = False

    def ask(self, nodes: Collection[str], minutes: int) -> Mapping[str, str]:
        """Ask these nodes for all of the last ``minutes``; returns node to why nothing came of it.

        Raises:
            Misconfigured: nobody could be asked.
        """
        where = self.where()
        failed = {node: "no agent of it has answered yet" for node in nodes if node not in where}
        now = self.now()
        oldest = hour_name(int((now - timedelta(minutes=minutes)).timestamp()) // 3600 * 3600)
        names = {where[node].url: node for node in nodes if node in where}
        for answer in self.journals.pull([(where[node], oldest) for node in names.values()]):
            node = names[answer.address.url]
            if isinstance(answer, Silent):
                failed[node] = answer.reason
            elif answer.node != node:
                failed[node] = f"its agent serves the hours of {answer.node} now"
            else:
                self.hearer.take(node, list(self._good(node, answer.hours, failed)), self.now())
        return failed

    def _good(self, node: str, documents: Iterable[JsonObject], failed: dict[str, str]) -> Iterator[JsonObject]:
        for document in documents:
            try:
                read_hour(cast("Mapping[str, Any]", document), node=node, now=self.now(), simulated=self.simulated)
            except RefusedHour as error:
                failed[node] = str(error)
            else:
                yield document
