"""Hours whose journal can come no more, made again from what a Prometheus scraped off their agent.

Owns which hours these are: a journal is always better, so its node must be gone, or its days have passed.
Level-triggered: each run looks at what the books lack. A Prometheus that does not answer whole changes nothing; what
was asked for and is not there is not asked for again by this process. An hour that it refuses stays due and is asked
for again after the others, so that none of them waits for it until it is forgotten.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Protocol

import polars as pl

from collectors.errors import SourceError
from collectors.prometheus_api import QueryRefused
from ledger.agent_hours import AgentHour
from ledger.booking_units import PROVISIONAL
from ledger.hours import NodeNote
from ledger.lifetimes import RANK
from ledger.prometheus_nodes import Query
from ledger.prometheus_own import own_hours
from ledger.store import Store
from ledger.tables import LIFETIMES, NODE_HOURS, PLACE, USAGE

_log = logging.getLogger(__name__)

NODE_HOURS_A_RUN = 300
"""Asked for in one run, which other jobs wait for; the oldest first, since a Prometheus forgets those first."""
REFUSED_A_RUN = 3
"""So many hours that are refused end a run: then it is hardly the hours."""
PATIENCE = timedelta(hours=1)
"""For an hour's last samples, and for a node that the API server did not name: it may be asked at a bad moment."""
_HOUR = timedelta(hours=1)
_INSTANCE = ["cluster", "node", "instance_id"]
_NODE = ["hour_utc", "node"]


class Booker(Protocol):
    """Books agents' hours."""

    def book(self, hours: Sequence[AgentHour], now: datetime) -> object:
        """Book them; the same hours again change nothing.

        Raises:
            StoreError: nothing, or not all, could be booked.
        """
        ...


@dataclass(frozen=True, slots=True)
class Lost:
    """A node-hour whose journal can come no more."""

    hour: datetime
    place: NodeNote


@dataclass(frozen=True, slots=True)
class Recovered:
    """How it stands after a run."""

    lost: int = 0
    """Node-hours whose journal can come no more and of which Prometheus was not asked, or did not answer, yet."""
    booked: int = 0
    """Node-hours booked from Prometheus by this process."""
    silent: int = 0
    """Node-hours of which Prometheus has nothing: they stay ``unobserved``."""
    error: str = ""
    """Why Prometheus could not be asked in the last run, or which hour it refused and why; empty: it could, or need
    not be."""
    asked_at: datetime | None = None
    """When it last answered whole."""


def lost_hours(node_hours: pl.LazyFrame, lifetimes: pl.LazyFrame, journal_days: int, now: datetime) -> list[Lost]:
    """Provisional node-hours of which no journal came and none can come any more, by hour and node.

    That is so when agents have kept it for all their days, or when the node is gone: its best witness saw it end, or
    the Kubernetes API was asked later and did not name it. A node that only its bill tells of goes by its instance's
    id, by which no series is known, so it is not among them; nor is a name that two instances bore within the hour,
    since series do not tell those apart.

    Args:
        node_hours: NODE_HOURS rows.
        lifetimes: LIFETIMES rows.
        journal_days: for how long agents keep their journal.
        now: the time.
    """
    awaited = node_hours.filter(
        pl.col("state") == PROVISIONAL,
        pl.col("revision").is_null(),
        pl.col("evidence") != "bill",
        pl.col("hour_utc") <= now - _HOUR - PATIENCE,
    )
    bearers = node_hours.join(awaited, on=_NODE, how="semi").group_by(_NODE).agg(pl.len())
    passed = pl.col("hour_utc") <= now - _HOUR - timedelta(days=journal_days)
    rows = (
        awaited.join(bearers.filter(pl.col("len") == 1), on=_NODE, how="semi")
        .join(_gone(lifetimes, now).with_columns(gone=True), on=_INSTANCE, how="left")
        .filter(passed | pl.col("gone").fill_null(value=False))
        .sort("hour_utc", *_INSTANCE)
        .select("hour_utc", *PLACE)
        .collect()
    )
    return [Lost(row.pop("hour_utc"), NodeNote(**row)) for row in rows.iter_rows(named=True)]


def _gone(lifetimes: pl.LazyFrame, now: datetime) -> pl.LazyFrame:
    rank = pl.col("evidence").replace_strict(RANK, default=None, return_dtype=pl.Int32)
    told = lifetimes.filter(pl.col("evidence") != "bill").with_columns(rank=rank)
    asked = told.filter(pl.col("evidence") == "api").group_by("cluster").agg(asked=pl.col("seen").max())
    seen = pl.max_horizontal("seen", "ended").max()
    of_each = (
        told.sort("rank", "began", descending=[False, True], nulls_last=True)
        .group_by(_INSTANCE, maintain_order=True)
        .agg(pl.col("ended").first(), seen=seen, of_api=(pl.col("evidence") == "api").any())
        .join(asked, on="cluster", how="left")
    )
    ended = pl.col("ended").is_not_null() & (pl.col("ended") <= now)
    unnamed = pl.col("of_api") & (pl.col("seen") < pl.col("asked") - PATIENCE)
    return of_each.filter((ended | unnamed).fill_null(value=False)).select(_INSTANCE)


class Fallback:
    """The job that makes lost hours from Prometheus.

    Args:
        store: the ledger.
        booker: books estimates, which replace no journal.
        api: the Prometheus.
        journal_days: for how long agents keep their journal.
        simulated: whether the ledger is a simulated one, which has no estimates: then nothing is asked.
        most: node-hours asked for in one run.
    """

    def __init__(
        self,
        store: Store,
        booker: Booker,
        api: Query,
        *,
        journal_days: int,
        simulated: bool = False,
        most: int = NODE_HOURS_A_RUN,
    ) -> None:
        self._store = store
        self._booker = booker
        self._api = api
        self._journal_days = journal_days
        self._simulated = simulated
        self._most = most
        self._silent: dict[datetime, set[str]] = {}
        self._failed: dict[datetime, datetime] = {}
        """Hours that were not answered, and when that was last."""
        self.state = Recovered()
        """How it stands."""

    def run(self, now: datetime) -> Recovered:
        """Book what can be had; whatever Prometheus does, this does not fail for it.

        Raises:
            StoreError: the ledger cannot be read or written; the next run does what is left.
        """
        lost = [] if self._simulated else self._lost(now)
        self._failed = {each.hour: self._failed[each.hour] for each in lost if each.hour in self._failed}
        made, answered, error = self._answers(sorted(lost, key=self._turn)[: self._most], now)
        if made:
            self._booker.book(made, now)
        self._tell_once(error)
        asked_at = self.state.asked_at if error or not lost else now
        silent = sum(len(nodes) for nodes in self._silent.values())
        self.state = Recovered(len(lost) - answered, self.state.booked + len(made), silent, error, asked_at)
        return self.state

    def _turn(self, lost: Lost) -> tuple[bool, datetime, datetime]:
        """The oldest first, behind them what was not answered, that of which it is longest ago first."""
        failed = self._failed.get(lost.hour)
        return failed is not None, failed or lost.hour, lost.hour

    def _answers(self, wanted: Sequence[Lost], now: datetime) -> tuple[list[AgentHour], int, str]:
        """What could be had, of how many node-hours that is the answer, and why the others have none."""
        made: list[AgentHour] = []
        answered, refused = 0, list[str]()
        for hour, of in groupby(wanted, key=lambda each: each.hour):
            places = {each.place.node: each.place for each in of}
            try:
                made += self._ask(hour, places)
            except QueryRefused as failure:
                self._failed[hour] = now
                refused.append(f"the hour {hour:%Y-%m-%dT%H:%MZ}: {failure}")
                if len(refused) >= REFUSED_A_RUN:
                    break
            except SourceError as failure:
                self._failed[hour] = now
                return made, answered, str(failure)
            else:
                answered += len(places)
        more = f" (and {len(refused) - 1} more hours)" if len(refused) > 1 else ""
        return made, answered, f"{refused[0]}{more}" if refused else ""

    def _lost(self, now: datetime) -> list[Lost]:
        rolled = self._store.rolled_before(USAGE)
        registers = self._store.scan(NODE_HOURS)
        if rolled is not None:
            registers = registers.filter(pl.col("day") >= rolled)
        lost = lost_hours(registers, self._store.scan(LIFETIMES), self._journal_days, now)
        return [each for each in lost if each.place.node not in self._silent.get(each.hour, ())]

    def _ask(self, hour: datetime, places: Mapping[str, NodeNote]) -> list[AgentHour]:
        made = own_hours(self._api, int(hour.timestamp()), places)
        if missing := places.keys() - {each.node for each in made}:
            self._silent.setdefault(hour, set()).update(missing)
        return made

    def _tell_once(self, error: str) -> None:
        if error and error != self.state.error:
            _log.warning("hours whose journal is lost wait for Prometheus: %s", error)
