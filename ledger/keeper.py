"""The keeper of the books: takes agents' hours and what witnesses say, and brings the tables in step with them.

Owns the order of commits: profile, work, prices, usage, cost, and the register of node-hours last. Whoever is killed
between any two of them finds on the next round an hour whose register does not match, and books it again with the same
result. All node-hours of a round go into one commit for each table. Must never edit a row: node-hours are replaced
whole.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import polars as pl

from ledger.agent_hours import AgentHour
from ledger.booking import book_units
from ledger.booking_units import FINAL, Scope, Unit, plan, superseded
from ledger.lifetimes import existence, with_shapes
from ledger.list_costing import Costs, new_prices
from ledger.namesakes import told_apart
from ledger.store import Store
from ledger.store_progress import note_progress, progress
from ledger.store_where import Where
from ledger.tables import COST, INSTANCE_TYPES, LIFETIMES, NODE_HOURS, PRICES, PROFILE, TIME, USAGE, WORK, Table

_log = logging.getLogger(__name__)

Key = tuple[datetime, str, str]
"""Hour, node, instance id."""

_NEVER = datetime.max.replace(tzinfo=UTC)
_KEY = ["hour_utc", "node", "instance_id"]
_MOST_NODES = 200
"""Above it a commit replaces whole hours: a longer list of names costs more than the rows that it spares."""
_HOUR = timedelta(hours=1)
RECENT = timedelta(hours=26)
"""What a round may book without a note beforehand: a keeper that was killed is expected to have left traces there."""
_WHAT = "booking"
"""The name of that note."""


class Costing(Protocol):
    """What booked node-hours cost."""

    def cost(self, usage: pl.DataFrame, node_hours: pl.DataFrame, notes: pl.DataFrame) -> Costs:
        """Their cost rows, which replace those that stand."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """What a round changed."""

    booked: tuple[Key, ...] = ()
    """Node-hours that were booked, for the first time or anew."""
    closed: tuple[Key, ...] = ()
    """Those of them that are final now."""
    removed: tuple[Key, ...] = ()
    """Node-hours that stood provisionally and do not exist by what the witnesses say now."""
    unchanged: int = 0
    unpriced: tuple[Key, ...] = ()
    """Booked node-hours of which at least a row has no price."""
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    """Node and hour of an agent that could not be booked, to the reason."""


@dataclass(slots=True)
class Keeper:
    """Keeps the books of one ledger; one keeper at a time, which the store's epoch sees to."""

    store: Store
    costing: Costing
    cluster: str = ""
    """Of nodes that name none."""
    simulated: bool = False
    _mended: datetime | None = field(default=None, init=False)
    """From this hour on no node-hour has rows that its register does not know."""
    _suspect: datetime | None = field(default=None, init=False)
    """Nor has any before this one; told by the first round."""
    _owed: datetime = field(default=_NEVER, init=False)
    """From when on a round has to look, whatever it is asked: a former keeper was cut off there."""
    _told: set[str] = field(default_factory=set[str], init=False)

    def keep(
        self, hours: Sequence[AgentHour], *, since: datetime, now: datetime, until: datetime | None = None
    ) -> Kept:
        """Bring the books in step.

        The first round books what stands in recent hours once more, whatever its digest, and so do hours that a keeper
        noted as being booked: one that was killed may have left rows that its register does not know. Days that were
        rolled up are left alone.

        Args:
            hours: agents' hours, of any age, checked by :func:`ledger.agent_hours.read_hour`.
            since: from this hour on up to now, node-hours that no agent tells of are brought in step with their
                witnesses; before it only those of ``hours``.
            now: nothing exists beyond it.
            until: only hours before it; None: up to now. A long past is kept in parts, the newest first.

        Raises:
            StoreError: a table cannot be read or written. What was committed before stands; the same round again
                ends as if nothing had happened.
        """
        scope = Scope(now, self.cluster, self.simulated)
        if self._suspect is None:
            self._owed = self._noted()
            self._suspect = min(self._owed, now - RECENT)
        end = now if until is None else min(now, until - timedelta(microseconds=1))
        wanted = self._range(hours, min(since, self._owed), end)
        registers = wanted.of_table(self.store.scan(NODE_HOURS)).collect()
        taken = [hour for hour in hours if wanted.has(hour)]
        apart = told_apart(self.store, taken, self._existed(wanted, now), registers, self.cluster)
        self._tell({*apart.unheard.values()})
        units = plan(apart.hours, apart.existed, scope, registers)
        gone = superseded(registers, units)
        told = registers.select(*_KEY, "digest").iter_rows()
        digests: dict[Key, str] = {(hour, node, instance_id): digest for hour, node, instance_id, digest in told}
        changed = [unit for unit in units if digests.get(unit.key) != unit.digest or self._is_doubtful(unit)]
        kept = self._book(changed, gone, scope) if changed or gone else Kept()
        if wanted.since <= wanted.last:
            self._mended = min(wanted.since, self._mended or wanted.since)
        self._owed = _NEVER
        return Kept(kept.booked, kept.closed, tuple(gone), len(units) - len(changed), kept.unpriced, apart.refused)

    def _range(self, hours: Sequence[AgentHour], since: datetime, now: datetime) -> "_Range":
        rolled = self.store.rolled_before(USAGE)
        oldest = None if rolled is None else datetime(rolled.year, rolled.month, rolled.day, tzinfo=UTC)
        return _Range.of(hours, since, now, oldest)

    def _is_doubtful(self, unit: Unit) -> bool:
        """Nobody tells of it now, and what a former keeper made of it was not looked at yet."""
        if unit.agent is not None or self._suspect is None or unit.hour < _hour(self._suspect):
            return False
        return self._mended is None or unit.hour < self._mended

    def _tell(self, unheard: set[str]) -> None:
        for line in sorted(unheard - self._told):
            _log.warning("%s", line)
        self._told |= unheard

    def _noted(self) -> datetime:
        """From when on an older booking may have been cut off; never, where none was."""
        said = progress(self.store, _WHAT).get("since")
        return datetime.fromisoformat(said) if isinstance(said, str) else _NEVER

    def _existed(self, wanted: "_Range", now: datetime) -> pl.DataFrame:
        first, last = wanted.first, wanted.last
        existed = existence(self.store.scan(LIFETIMES), first, last, now)
        filled = with_shapes(existed, self.store.scan(INSTANCE_TYPES))
        return wanted.of_table(filled.lazy()).collect()

    def _book(self, units: Sequence[Unit], gone: Sequence[Key], scope: Scope) -> Kept:
        keys = [unit.key for unit in units]
        standing = self._standing([unit.key for unit in units if not unit.agent and unit.journal_digest])
        booked = book_units(units, scope.now, standing)
        noted = self.store.scan(PRICES).filter(pl.col("price_id").is_in(booked.usage["price_id"].unique().implode()))
        notes = pl.concat([booked.prices, noted.collect()])
        costs = self.costing.cost(booked.usage, booked.node_hours, notes)
        told = [*(unit.key for unit in units if unit.agent), *gone]
        oldest = min(hour for hour, _, _ in [*keys, *gone])
        older = oldest < _hour(scope.now - RECENT)
        if older:
            note_progress(self.store, _WHAT, {"since": min(oldest, self._noted()).isoformat()}, scope.now)
        self._replace(PROFILE, booked.profile, told)
        self._replace(WORK, booked.work, told)
        prices = new_prices(pl.concat([booked.prices, costs.prices]), self.store)
        if prices.height:
            self.store.append(PRICES, prices)
        every = [*keys, *gone]
        self._replace(USAGE, booked.usage, every)
        self._replace(COST, costs.cost, every)
        self._replace(NODE_HOURS, booked.node_hours, every)
        if older:
            note_progress(self.store, _WHAT, {}, scope.now)
        free = costs.cost.filter(pl.col("list_nano_usd").is_null()).select(_KEY).unique().sort(_KEY)
        return Kept(
            booked=tuple(keys),
            closed=tuple(unit.key for unit in units if unit.state == FINAL),
            unpriced=tuple(_key(row) for row in free.iter_rows()),
        )

    def _standing(self, keys: Sequence[Key]) -> pl.DataFrame | None:
        if not keys:
            return None
        return _near(self.store.scan(USAGE), keys).join(_frame(keys), on=_KEY, how="semi").collect()

    def _replace(self, table: Table, rows: pl.DataFrame, keys: Sequence[Key]) -> None:
        """Put rows in place of those of ``keys``; what the condition takes in beside them stays as it is."""
        if not keys:
            return
        new, of = rows.select(list(table.schema)), _frame(keys)

        def change(old: pl.LazyFrame) -> pl.DataFrame:
            beside = old.join(of, on=_KEY, how="anti").collect()
            return new if beside.is_empty() else pl.concat([new, beside]).sort(table.key)

        self.store.rewrite(table, _where(keys), change)


@dataclass(frozen=True, slots=True)
class _Range:
    """The node-hours of a round: every one from ``since`` on, and before it those that agents told of."""

    since: datetime
    last: datetime
    older: pl.DataFrame
    """Hour and node."""
    oldest: datetime | None
    """Before it there are days only."""

    @classmethod
    def of(cls, hours: Iterable[AgentHour], since: datetime, now: datetime, oldest: datetime | None) -> "_Range":
        begin, last = _hour(since), _hour(now)
        begin = begin if oldest is None else max(begin, oldest)
        told = {(hour.began, hour.node) for hour in hours}
        older = sorted((hour, node) for hour, node in told if hour < begin and (oldest is None or hour >= oldest))
        newest = max((hour for hour, _ in told), default=last)
        frame = pl.DataFrame(older, {"hour_utc": TIME, "node": pl.String}, orient="row")
        return cls(begin, max(last, newest), frame, oldest)

    def has(self, hour: AgentHour) -> bool:
        return self.oldest is None or hour.began >= self.oldest

    @property
    def first(self) -> datetime:
        oldest = self.older["hour_utc"].min()
        return oldest if isinstance(oldest, datetime) else self.since

    def of_table(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        day = pl.col("day").is_between(self.first.date(), self.last.date())
        recent = rows.filter(day, pl.col("hour_utc").is_between(self.since, self.last))
        if self.older.is_empty():
            return recent
        return pl.concat([recent, rows.filter(day).join(self.older.lazy(), on=["hour_utc", "node"], how="semi")])


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _key(row: tuple[datetime, str, str]) -> Key:
    return row


def _frame(keys: Sequence[Key]) -> pl.LazyFrame:
    return pl.LazyFrame(list(keys), {"hour_utc": TIME, "node": pl.String, "instance_id": pl.String}, orient="row")


def _where(keys: Sequence[Key]) -> Where:
    hours = sorted({hour for hour, _, _ in keys})
    nodes = sorted({node for _, node, _ in keys})
    return {"hour_utc": hours} if len(nodes) > _MOST_NODES else {"hour_utc": hours, "node": nodes}


def _near(rows: pl.LazyFrame, keys: Sequence[Key]) -> pl.LazyFrame:
    """Rows that a commit for ``keys`` would replace."""
    where = _where(keys)
    hours = pl.Series(where["hour_utc"], dtype=TIME)
    near = rows.filter(
        pl.col("day").is_in(hours.dt.date().unique().implode()), pl.col("hour_utc").is_in(hours.implode())
    )
    return near.filter(pl.col("node").is_in(list(where["node"]))) if "node" in where else near
