"""Which node-hours there are to book: agents' hours and witnessed lifetimes, matched by node and instance.

Owns identity and control figures of a node-hour before its rows are made, and the digest by which a booking that
would change nothing is told. Must never invent a time: what existed rests on a witness, the journal, or, on a bare
host, the hour itself.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from collectors.clock import NS_PER_HOUR, NS_PER_SECOND
from ledger.agent_hours import MEASURED, SIMULATED, AgentHour, correction_ns
from ledger.hours import ClockStep

FINAL, PROVISIONAL = "final", "provisional"
PROMETHEUS = "prometheus"
"""The source of hours that are estimates: any journal replaces them, they replace none."""
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node-hour was; empty is not known."""

    cluster: str = ""
    node: str = ""
    provider: str = ""
    region: str = ""
    zone: str = ""
    instance_id: str = ""
    instance_type: str = ""
    capacity_type: str = ""


_PLACE = tuple(Place.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Unit:
    """One node-hour."""

    hour: datetime
    place: Place
    gpu_count: int | None
    """Physical GPUs; ``None``: nobody says."""
    gpu_model: str
    witnessed_ns: int
    """How long it existed by ``evidence``, before the journal has its say."""
    evidence: str
    vcpus: int | None
    memory_mib: int | None
    source: str
    state: str = PROVISIONAL
    revision: int | None = None
    agent: AgentHour | None = None
    """What its agent booked; ``None``: nothing came now."""
    journal_digest: str = ""
    """Of the agent's hour that is booked, now or before; empty: none ever came."""

    @property
    def key(self) -> tuple[datetime, str, str]:
        """Hour, node, instance id."""
        return self.hour, self.place.node, self.place.instance_id

    @property
    def digest(self) -> str:
        """Of all that is booked: the journal's part, then that of the facts and witnesses."""
        facts = (self.place, self.gpu_count, self.gpu_model, self.witnessed_ns, self.evidence, self.vcpus)
        rest = hashlib.sha256(repr((facts, self.memory_mib, self.source, self.state)).encode()).hexdigest()
        return f"{self.journal_digest[:32]}:{rest[:32]}"


@dataclass(frozen=True, slots=True)
class Scope:
    """What holds for all node-hours of a booking."""

    now: datetime
    cluster: str = ""
    """Of nodes that do not say."""
    simulated: bool = False


def plan(
    hours: Iterable[AgentHour], existed: pl.DataFrame, scope: Scope, registers: pl.DataFrame | None = None
) -> list[Unit]:
    """The node-hours to book, by hour, node and instance.

    An agent's hour belongs to the witnessed instance of its id; where one of the two has no id, to the only one of its
    node in that hour. Several hours of one agent: a journal before an estimate, the closed one before the open, the
    highest revision; what is registered counts among them.

    Args:
        hours: of agents, checked by :func:`ledger.agent_hours.read_hour`.
        existed: rows of :data:`ledger.lifetimes.EXISTED` of the same hours.
        scope: see there.
        registers: NODE_HOURS rows as booked before: an hour whose journal did not come again now keeps it.
    """
    agents = _newest(hours)
    steps = _steps(agents)
    units: dict[tuple[datetime, str, str], Unit] = {}
    for unit in _witnessed(existed, scope):
        units[unit.key] = unit
    for agent in agents:
        unit = _joined(agent, units, scope)
        units[unit.key] = unit
    kept = _keep_journals(units, registers, agents, scope.now)
    return [_corrected(unit, steps) for _, unit in sorted(kept.items())]


def _newest(hours: Iterable[AgentHour]) -> list[AgentHour]:
    best: dict[tuple[int, str, str], AgentHour] = {}
    for hour in hours:
        key = hour.book.hour_s, hour.node, hour.instance_id
        best[key] = max(
            best.get(key, hour), hour, key=lambda each: _standing(each.source, each.book.revision, closed=each.closed)
        )
    return [best[key] for key in sorted(best)]


def _standing(source: str, revision: int, *, closed: bool) -> tuple[bool, bool, int]:
    """What is larger replaces what is smaller."""
    return source != PROMETHEUS, closed, revision


def _steps(agents: Sequence[AgentHour]) -> Mapping[str, list[ClockStep]]:
    steps: dict[str, list[ClockStep]] = {}
    for agent in agents:
        steps.setdefault(agent.node, []).extend(agent.book.steps)
    return steps


def _witnessed(existed: pl.DataFrame, scope: Scope) -> Iterable[Unit]:
    source = SIMULATED if scope.simulated else MEASURED
    for row in existed.iter_rows(named=True):
        place = Place(**{name: row[name] or "" for name in _PLACE})
        yield Unit(
            hour=row["hour_utc"],
            place=place if place.cluster else replace(place, cluster=scope.cluster),
            gpu_count=row["gpu_count"],
            gpu_model=row["gpu_model"] or "",
            witnessed_ns=row["existed_ns"],
            evidence=row["evidence"],
            vcpus=row["vcpus"],
            memory_mib=row["memory_mib"],
            source=source,
        )


def _joined(agent: AgentHour, units: dict[tuple[datetime, str, str], Unit], scope: Scope) -> Unit:
    """The agent's hour with its witnesses, which leave ``units``."""
    hour = datetime.fromtimestamp(agent.book.hour_s, UTC)
    known = units.pop(_match(agent, hour, units), None) or _unwitnessed(agent, hour, scope)
    facts = agent.facts
    told = {name: getattr(facts, name) for name in _PLACE}
    place = Place(**{name: getattr(known.place, name) or told[name] for name in _PLACE})
    seen = len(agent.book.devices)
    return replace(
        known,
        place=place,
        gpu_count=max((count for count in (known.gpu_count, facts.gpu_count, seen or None) if count), default=None),
        vcpus=facts.vcpus or known.vcpus,
        memory_mib=facts.memory_bytes // _MIB if facts.memory_bytes else known.memory_mib,
        source=agent.source,
        state=FINAL if agent.closed else PROVISIONAL,
        revision=agent.book.revision,
        agent=agent,
        journal_digest=agent.digest,
    )


def _match(
    agent: AgentHour, hour: datetime, units: Mapping[tuple[datetime, str, str], Unit]
) -> tuple[datetime, str, str]:
    exact = hour, agent.node, agent.instance_id
    if exact in units:
        return exact
    free = [key for key, unit in units.items() if key[:2] == exact[:2] and unit.agent is None]
    return free[0] if len(free) == 1 and (not agent.instance_id or not free[0][2]) else exact


def _unwitnessed(agent: AgentHour, hour: datetime, scope: Scope) -> Unit:
    """A node that only its agent tells of: in a cloud it existed while that saw it, a bare host exists on or off."""
    facts = agent.facts
    bare = not facts.provider and not facts.instance_id
    return Unit(
        hour=hour,
        place=Place(node=agent.node, cluster=facts.cluster or scope.cluster),
        gpu_count=None,
        gpu_model="",
        witnessed_ns=_passed_ns(hour, scope.now) if bare else 0,
        evidence="host" if bare else "journal",
        vcpus=None,
        memory_mib=None,
        source=agent.source,
    )


def _corrected(unit: Unit, steps: Mapping[str, list[ClockStep]]) -> Unit:
    """A bare host's hour is as long as its own clock made it."""
    told = steps.get(unit.place.node)
    if unit.evidence != "host" or not told:
        return unit
    hour_s = int(unit.hour.timestamp())
    return replace(unit, witnessed_ns=max(0, unit.witnessed_ns + correction_ns(told, hour_s)))


def _keep_journals(
    units: Mapping[tuple[datetime, str, str], Unit],
    registers: pl.DataFrame | None,
    agents: Sequence[AgentHour],
    now: datetime,
) -> dict[tuple[datetime, str, str], Unit]:
    """What was booked of a journal stays booked until that journal's hour comes again."""
    kept = dict(units)
    if registers is None:
        return kept
    came = {(datetime.fromtimestamp(agent.book.hour_s, UTC), agent.node) for agent in agents}
    for row in registers.filter(pl.col("revision").is_not_null()).iter_rows(named=True):
        key = row["hour_utc"], row["node"], row["instance_id"]
        unit = kept.get(key)
        if unit is not None and unit.agent is not None:
            booked = _standing(row["source"], row["revision"], closed=row["state"] == FINAL)
            if booked > _standing(unit.source, unit.revision or 0, closed=unit.state == FINAL):
                kept[key] = _as_registered(row, unit)
            continue
        if unit is None and key[:2] in came and _is_same(key, kept):
            continue
        if unit is not None or (row["evidence"] == "host" and row["state"] != FINAL):
            kept[key] = _as_registered(row, unit or _host_again(row, now))
    return kept


def _is_same(key: tuple[datetime, str, str], units: Mapping[tuple[datetime, str, str], Unit]) -> bool:
    """Whether a register is of the instance whose agent came now, though one of the two does not know the id."""
    return any(other[:2] == key[:2] and (not key[2] or not other[2]) for other in units)


def _host_again(row: Mapping[str, Any], now: datetime) -> Unit:
    """A bare host that nobody else tells of: its hour goes on though its agent is silent."""
    return Unit(
        hour=row["hour_utc"],
        place=Place(**{name: row[name] for name in _PLACE}),
        gpu_count=None,
        gpu_model="",
        witnessed_ns=_passed_ns(row["hour_utc"], now),
        evidence="host",
        vcpus=None,
        memory_mib=None,
        source=row["source"],
    )


def _as_registered(row: Mapping[str, Any], unit: Unit) -> Unit:
    """The witnesses of now with the journal that was booked; a bare host's own clock measured its closed hour."""
    place = Place(**{name: getattr(unit.place, name) or row[name] for name in _PLACE})
    measured = unit.evidence == "host" and row["evidence"] == "host" and row["state"] == FINAL
    return replace(
        unit,
        place=place,
        gpu_count=max((count for count in (unit.gpu_count, row["gpu_count"]) if count), default=None),
        vcpus=row["vcpus"] or unit.vcpus,
        memory_mib=row["memory_mib"] or unit.memory_mib,
        witnessed_ns=row["existed_ns"] if measured else unit.witnessed_ns,
        source=row["source"],
        state=row["state"],
        revision=row["revision"],
        agent=None,
        journal_digest=row["digest"].partition(":")[0],
    )


def _passed_ns(hour: datetime, now: datetime) -> int:
    return max(0, min(NS_PER_HOUR, round((now - hour).total_seconds() * NS_PER_SECOND)))


def superseded(registers: pl.DataFrame, units: Sequence[Unit]) -> list[tuple[datetime, str, str]]:
    """Registered node-hours that are no more: no witness tells of them now and no journal ever did, or they were an
    instance without an id that is known by its id now.
    """
    keys = {unit.key for unit in units}
    told = {unit.key: unit for unit in units if unit.agent}
    gone: list[tuple[datetime, str, str]] = []
    for hour, node, instance_id, revision in registers.select(
        "hour_utc", "node", "instance_id", "revision"
    ).iter_rows():
        key = hour, node, instance_id
        if key not in keys and (revision is None or _is_same(key, told)):
            gone.append(key)
    return sorted(gone)


def place_rows(units: Sequence[Unit]) -> dict[str, list[str]]:
    """The columns of PLACE, a value for each unit."""
    return {name: [getattr(unit.place, name) for unit in units] for name in _PLACE}
