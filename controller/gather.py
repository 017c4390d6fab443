"""Pulls the agents' journals and has their hours booked; what cannot be booked is named.

Owns what is asked of which agent next. Closed hours come once, by the agent's own count of changes; open hours come
each time. How far a journal is booked is noted after its hours are, so that a death between the two asks again for what
is booked already, which changes nothing. An agent of whom an hour was refused is asked for it again each time, so it
stays named until it is mended.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol, cast

from collectors.errors import SourceError, Unavailable
from collectors.journal_pull import AgentAddress, Journal, JournalPull, Silent
from collectors.kube_json import JsonObject, child
from controller.present import Present
from ledger.agent_hours import AgentHour, RefusedHour, read_hour

_log = logging.getLogger(__name__)

HOURS_AT_ONCE = 2000
"""Booked together, which bounds memory: a thousand nodes with their open hours and one that just closed."""
_MOST_LINES = 20
WHOLE_AT_ONCE = 4
"""Agents asked at the same time for all that they keep, two weeks of it."""
KEPT_DAYS = 30
"""A mark of a node that did not answer for so long is dropped: its journal would have lost what it stands for."""


class Mark(NamedTuple):
    """How far an agent's journal is booked."""

    change: int
    """Its last change that is."""
    booted_s: int | None
    """When its machine was booted, as it says."""
    day: int
    """The proleptic ordinal of the day on which it last answered."""
    url: str
    """Where it was."""


class Agents(Protocol):
    """Knows the agents."""

    def addresses(self) -> Sequence[AgentAddress]:
        """Where they serve now.

        Raises:
            SourceError: it cannot be told.
        """
        ...

    @property
    def failure(self) -> SourceError | None:
        """Why some may lack among the addresses that were told last; ``None``: they are all."""
        ...


class Booker(Protocol):
    """Books agents' hours."""

    def book(self, hours: Sequence[AgentHour], now: datetime) -> Mapping[str, str] | None:
        """Book them; the same hours again change nothing.

        Raises:
            StoreError: nothing, or not all, could be booked.
        """
        ...


class Hearer(Protocol):
    """Told of every journal beside the booker."""

    def take(self, node: str, documents: Sequence[JsonObject], now: datetime) -> None:
        """Hours of a node that may be booked, as its agent served them."""
        ...


class Marks(Protocol):
    """Keeps how far agents' journals are booked."""

    def read(self) -> Mapping[str, Mark]:
        """By node."""
        ...

    def write(self, marks: Mapping[str, Mark], at: datetime) -> None:
        """All of them."""
        ...


@dataclass(frozen=True, slots=True)
class Gathered:
    """How the last pull went."""

    answering: int = 0
    silent: Mapping[str, str] = field(default_factory=dict[str, str])
    """Address of an agent to why nothing came of it."""
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    """``NODE HOUR`` to why that hour was not booked."""
    last: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    """Node to when its journal last came, in this process."""
    where: Mapping[str, AgentAddress] = field(default_factory=dict[str, AgentAddress])
    """Node to where its agent last answered, in this process; without those that nobody tells of any more."""


@dataclass(slots=True)
class _Round:
    """One pull, as it goes."""

    silent: dict[str, str] = field(default_factory=dict[str, str])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    came: dict[str, datetime] = field(default_factory=dict[str, datetime])
    where: dict[str, AgentAddress] = field(default_factory=dict[str, AgentAddress])
    marks: dict[str, Mark] = field(default_factory=dict[str, Mark])
    again: list[AgentAddress] = field(default_factory=list[AgentAddress])
    """Agents whose books are others than those that the mark was taken of: asked for all that they keep."""


class Gather:
    """The job that pulls.

    Args:
        agents: who they are.
        pull: asks them.
        booker: books.
        marks: keeps what is booked.
        present: the time of the books.
        simulated: whether the ledger is a simulated one.
        hearer: who else hears what the agents tell.
    """

    def __init__(
        self,
        agents: Agents,
        pull: JournalPull,
        booker: Booker,
        marks: Marks,
        present: Present,
        *,
        simulated: bool,
        hearer: Hearer | None = None,
    ) -> None:
        self._agents = agents
        self._pull = pull
        self._booker = booker
        self._store = marks
        self._present = present
        self._simulated = simulated
        self._hearer = hearer
        self._marks: dict[str, Mark] | None = None
        self._told: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self.gathered = Gathered()
        """How the last pull went."""

    def run(self) -> None:
        """Pull every agent and book what came.

        Raises:
            SourceError: it is not known who the agents are, or none could be asked. Where those that are known were
                asked and others may be missing, what came is booked all the same.
            StoreError: nothing can be booked.
        """
        addresses = self._agents.addresses()
        with self._lock:
            known = dict(self._store.read()) if self._marks is None else self._marks
            node_of = {mark.url: node for node, mark in known.items()}
            marked = {each: known.get(each.node or node_of.get(each.url, "")) for each in addresses}
            asked = [(each, f"change:{mark.change}") for each, mark in marked.items() if mark]
            this = _Round()
            self._book(self._pull.pull(asked), this, known)
            whole = [*(each for each, mark in marked.items() if mark is None), *this.again]
            self._book(self._pull.pull([(each, "") for each in whole], WHOLE_AT_ONCE), this, {})
            marks = {**known, **this.marks}
            oldest = self._present.now().toordinal() - KEPT_DAYS
            marks = {node: mark for node, mark in marks.items() if mark.day >= oldest}
            if marks != known:
                self._store.write(marks, self._present.now())
            self._marks = marks
        last = {**self.gathered.last, **this.came}
        told = set(addresses)
        where = {node: each for node, each in {**self.gathered.where, **this.where}.items() if each in told}
        self.gathered = Gathered(len(this.came), this.silent, this.refused, last, where)
        self._tell([*(f"agent {url} {why}" for url, why in this.silent.items()), *this.refused.values()])
        if failure := self._agents.failure:
            raise Unavailable(
                f"{len(addresses)} known agents were pulled, new ones are not found: {failure}"
            ) from failure

    def push(self, node: str, documents: Sequence[JsonObject]) -> Mapping[str, str]:
        """Book hours that an agent sent; returns those refused, as :attr:`Gathered.refused` has them.

        Raises:
            StoreError: nothing can be booked; the agent's journal has the hours still.
        """
        this = _Round()
        self._present.observe(documents)
        hours = list(self._read(node, documents, this))
        with self._lock:
            this.refused |= self._booker.book(hours, self._present.now()) or {}
        self._tell([*this.refused.values()])
        return this.refused

    def _book(self, answers: Iterator[Journal | Silent], this: _Round, known: Mapping[str, Mark]) -> None:
        """Book as answers come."""
        waiting: list[AgentHour] = []
        for answer in answers:
            if isinstance(answer, Silent):
                this.silent[answer.address.url] = answer.reason
                continue
            self._present.observe(answer.hours)
            this.came[answer.node] = self._present.now()
            this.where[answer.node] = answer.address
            refused = len(this.refused)
            waiting += self._read(answer.node, answer.hours, this)
            if _is_other(answer, known.get(answer.node)):
                this.again.append(answer.address)
            elif len(this.refused) == refused:
                this.marks[answer.node] = self._mark(answer, known.get(answer.node))
            if len(waiting) >= HOURS_AT_ONCE:
                self._flush(waiting, this)
        self._flush(waiting, this)

    def _mark(self, journal: Journal, former: Mark | None) -> Mark:
        booted = _booted(journal)
        if booted is None and former is not None:
            booted = former.booted_s
        return Mark(journal.change, booted, self._present.now().toordinal(), journal.address.url)

    def _flush(self, waiting: list[AgentHour], this: _Round) -> None:
        if waiting:
            this.refused |= self._booker.book(waiting, self._present.now()) or {}
            waiting.clear()

    def _read(self, node: str, documents: Iterable[JsonObject], this: _Round) -> Iterator[AgentHour]:
        now = self._present.now()
        good: list[JsonObject] = []
        for document in documents:
            try:
                yield read_hour(cast("Mapping[str, Any]", document), node=node, now=now, simulated=self._simulated)
                good.append(document)
            except RefusedHour as error:
                this.refused[f"{node} {document.get('hour_utc')}"] = str(error)
        if self._hearer is not None:
            self._hearer.take(node, good, now)

    def _tell(self, failures: Sequence[str]) -> None:
        """Log what is new among failures."""
        said = frozenset(failures)
        new = sorted(said - self._told)
        for line in new[:_MOST_LINES]:
            _log.warning("%s", line)
        if len(new) > _MOST_LINES:
            _log.warning("and %d more; /api/v1/agents names each", len(new) - _MOST_LINES)
        self._told = said


def _is_other(journal: Journal, mark: Mark | None) -> bool:
    """Whether the books asked are not those that the mark was taken of: another machine's, or emptied ones."""
    if mark is None:
        return False
    booted = _booted(journal)
    return journal.change < mark.change or (
        booted is not None and mark.booted_s is not None and booted != mark.booted_s
    )


def _booted(journal: Journal) -> int | None:
    booted = child(journal.hours[-1], "node_facts").get("booted_s") if journal.hours else None
    return booted if isinstance(booted, int) else None
