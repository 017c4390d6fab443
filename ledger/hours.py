"""One hour of one node as the agent closes it: the contract between the agent's journal and the ledger.

Owns the shape and its JSON. All amounts are integers: nanoseconds, millijoules; money is not in here but follows
exactly from ``gpu_ns`` and the price named by ``price_id``. An hour may be closed again with a higher ``revision``
(late energy of a device that came back, a clock that stepped back); the highest revision replaces the others.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ledger.json_text import compact

FORMAT = 1


class CellKey(NamedTuple):
    """What a meter is kept for."""

    gpu_uuid: str
    mig: str
    """The MIG instance's UUID; empty for the device itself."""
    holder_kind: str
    holder: str
    account: str
    method: str


class WorkKey(NamedTuple):
    """Whose work of which kind."""

    holder_kind: str
    holder: str
    model: str
    tenant: str
    """Empty where work is not told apart by tenant."""
    kind: str
    """``requests``, ``input_tokens``, ``cached_tokens``, ``output_tokens``, ``images``, ``steps``, ``samples``; and
    ``prefill_ns`` and ``decode_ns``, the engine's own time of each phase, summed over requests."""


class LatencyKey(NamedTuple):
    """Whose latency."""

    holder_kind: str
    holder: str
    model: str
    latency: str
    """``time_to_first_token``, ``time_per_output_token``, ``end_to_end_latency`` or ``queue_time``."""


class RowKey(NamedTuple):
    """A usage row's identity within its hour."""

    cell: CellKey
    energy_method: str
    price_id: str


@dataclass(slots=True)
class Amount:
    """Time and energy of one row; whole-GPU nanoseconds and millijoules."""

    gpu_ns: int = 0
    energy_mj: int = 0


@dataclass(slots=True)
class LatencySum:
    """Observations of a latency: how many, what they add up to, and how many fell into each bucket."""

    count: int = 0
    sum_ns: int = 0
    buckets: dict[int, int] = field(default_factory=dict[int, int])
    """By upper bound in nanoseconds, each observation in one bucket only, so that sums of unlike bounds stay true.
    Those above the highest bound are in ``count`` alone."""

    def add(self, other: "LatencySum") -> None:
        """Take in further observations."""
        self.count += other.count
        self.sum_ns += other.sum_ns
        for bound_ns, count in other.buckets.items():
            self.buckets[bound_ns] = self.buckets.get(bound_ns, 0) + count


@dataclass(frozen=True, slots=True)
class ClockStep:
    """The wall clock stepped: the node's time went on from ``from_wall_ns`` at ``to_wall_ns``."""

    from_wall_ns: int
    to_wall_ns: int


@dataclass(slots=True)
class DeviceHour:
    """A device's control figures for the hour, from its own clock and counter, not from its rows."""

    name: str
    accounted_ns: int = 0
    energy_mj: int | None = None
    """``None``: no energy of this device is known in this hour."""


@dataclass(frozen=True, slots=True)
class PriceNote:
    """A price in force during the hour."""

    nano_usd_per_gpu_hour: int
    source: str
    as_of: str
    capacity_type: str
    estimate: bool


class HolderKey(NamedTuple):
    """A holder, as the rows of usage, work and latency name it."""

    holder_kind: str
    holder: str


@dataclass(frozen=True, slots=True)
class HolderNote:
    """Who a holder is beyond its name, as it was last seen in the hour; empty is what is not known."""

    workload_kind: str = ""
    """Such as ``Deployment``."""
    workload: str = ""
    """Its name."""
    namespace: str = ""
    pod: str = ""
    container: str = ""
    pod_uid: str = ""
    team: str = ""
    environment: str = ""
    run: str = ""
    """The job that it ran in: name of the Job, PyTorchJob, RayJob, ..., or id of the Slurm job."""
    requested_devices: int | None = None
    """How many devices, replicas or MIG instances it was given; ``None`` where nobody gives any."""
    dimensions: Mapping[str, str] = field(default_factory=dict[str, str])
    """The installation's own dimensions beside team and environment, where known."""


@dataclass(frozen=True, slots=True)
class NodeNote:
    """What the node was in the hour, as it was last seen; empty and ``None`` are what is not known."""

    node: str = ""
    cluster: str = ""
    """As the installation calls it."""
    provider: str = ""
    """``aws``, ``azure`` or ``gcp``."""
    region: str = ""
    zone: str = ""
    instance_id: str = ""
    instance_type: str = ""
    capacity_type: str = ""
    """``on_demand``, ``spot``, ``reserved`` or ``capacity_block``."""
    gpu_count: int | None = None
    """Devices that the agent knows on the node, whether or not they answer."""
    vcpus: int | None = None
    memory_bytes: int | None = None
    booted_s: int | None = None
    """When the machine was booted, seconds since the Unix epoch."""


@dataclass(slots=True)
class HourBook:
    """The books of one hour of one node."""

    hour_s: int
    """Start of the hour, seconds since the Unix epoch."""
    revision: int = 0
    """How often it was closed before."""
    rows: dict[RowKey, Amount] = field(default_factory=dict[RowKey, Amount])
    devices: dict[str, DeviceHour] = field(default_factory=dict[str, DeviceHour])
    prices: dict[str, PriceNote] = field(default_factory=dict[str, PriceNote])
    steps: list[ClockStep] = field(default_factory=list[ClockStep])
    profile: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Each holder's profile; see :mod:`agent.profile` for its keys."""
    work: dict[WorkKey, int] = field(default_factory=dict[WorkKey, int])
    """What was produced; a token stands once."""
    latency: dict[LatencyKey, LatencySum] = field(default_factory=dict[LatencyKey, LatencySum])
    holders: dict[HolderKey, HolderNote] = field(default_factory=dict[HolderKey, HolderNote])
    """Those of whom more is known than their name."""
    node_facts: NodeNote | None = None


NOTE_COLUMNS = tuple(each.name for each in fields(HolderNote))
_NODE_COLUMNS = tuple(each.name for each in fields(NodeNote))


def hour_name(hour_s: int) -> str:
    """``2026-11-22T06:00:00Z`` for the hour's start."""
    return datetime.fromtimestamp(hour_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hour_start(name: str) -> int:
    """The inverse of :func:`hour_name`.

    Raises:
        ValueError: not an RFC 3339 time with a zone.
    """
    moment = datetime.fromisoformat(name)
    if moment.tzinfo is None:
        raise ValueError(f"{name!r} has no time zone; write 2026-11-22T06:00:00Z")
    return int(moment.timestamp()) // 3600 * 3600


def to_json(book: HourBook) -> dict[str, Any]:
    """The hour as plain JSON values; rows are lists in the order of ``usage_columns``."""
    return {
        "format": FORMAT,
        "hour_utc": hour_name(book.hour_s),
        "revision": book.revision,
        "devices": {uuid: asdict(device) for uuid, device in sorted(book.devices.items())},
        "usage_columns": [*CellKey._fields, "energy_method", "price_id", "gpu_ns", "energy_mj"],
        "usage": [
            [*key.cell, key.energy_method, key.price_id, amount.gpu_ns, amount.energy_mj]
            for key, amount in sorted(book.rows.items())
        ],
        "prices": {price_id: asdict(price) for price_id, price in sorted(book.prices.items())},
        "clock_steps": [asdict(step) for step in book.steps],
        "profile": book.profile,
        "work_columns": [*WorkKey._fields, "amount"],
        "work": [[*key, amount] for key, amount in sorted(book.work.items())],
        "latency_columns": [*LatencyKey._fields, "count", "sum_ns", "buckets"],
        "latency": [[*key, *plain_latency(latency)] for key, latency in sorted(book.latency.items(), key=_first)],
        "holders_columns": [*HolderKey._fields, *NOTE_COLUMNS],
        "holders": [[*key, *plain_note(note)] for key, note in sorted(book.holders.items(), key=_first)],
        "node_facts": None if book.node_facts is None else asdict(book.node_facts),
    }


def plain_latency(latency: LatencySum) -> tuple[int, int, list[tuple[int, int]]]:
    """As JSON values: count, sum in nanoseconds, [upper bound in nanoseconds, observations] ascending."""
    return latency.count, latency.sum_ns, sorted(latency.buckets.items())


def latency_of(count: int, sum_ns: int, buckets: Iterable[tuple[int, int]]) -> LatencySum:
    """The inverse of :func:`plain_latency`."""
    return LatencySum(count, sum_ns, {int(bound_ns): int(number) for bound_ns, number in buckets})


def plain_note(note: HolderNote) -> list[Any]:
    """As JSON values in the order of :data:`NOTE_COLUMNS`."""
    return [getattr(note, name) for name in NOTE_COLUMNS]


def node_note_of(data: Mapping[str, Any] | None) -> NodeNote | None:
    """A node's facts from JSON; those that this version does not know are left out."""
    return None if data is None else NodeNote(**{name: data[name] for name in _NODE_COLUMNS if name in data})


def _notes_of(data: Mapping[str, Any]) -> Iterator[tuple[HolderKey, HolderNote]]:
    columns = data.get("holders_columns", ())
    for row in data.get("holders", ()):
        told = dict(zip(columns, row, strict=True))
        note = HolderNote(**{name: told[name] for name in NOTE_COLUMNS if name in told})
        yield HolderKey(told["holder_kind"], told["holder"]), note


def _first(item: tuple[tuple[str, ...], object]) -> tuple[str, ...]:
    return item[0]


def from_json(data: Mapping[str, Any]) -> HourBook:
    """The inverse of :func:`to_json`.

    Raises:
        ValueError: another format, or a field is missing or of the wrong type.
    """
    if data.get("format") != FORMAT:
        raise ValueError(f"hour of format {data.get('format')!r}; this version reads format {FORMAT}")
    try:
        return HourBook(
            hour_s=hour_start(data["hour_utc"]),
            revision=int(data["revision"]),
            rows={RowKey(CellKey(*row[:6]), row[6], row[7]): Amount(int(row[8]), int(row[9])) for row in data["usage"]},
            devices={uuid: DeviceHour(**device) for uuid, device in data["devices"].items()},
            prices={price_id: PriceNote(**price) for price_id, price in data["prices"].items()},
            steps=[ClockStep(**step) for step in data["clock_steps"]],
            profile=list(data["profile"]),
            work={WorkKey(*row[:5]): int(row[5]) for row in data.get("work", ())},
            latency={LatencyKey(*row[:4]): latency_of(*row[4:]) for row in data.get("latency", ())},
            holders=dict(_notes_of(data)),
            node_facts=node_note_of(data.get("node_facts")),
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"hour {data.get('hour_utc')!r} is not whole: {error!r}") from error


def encode(book: HourBook, **facts: Any) -> bytes:
    """The hour as one JSON document; ``facts`` (node, source, closed, ...) come first."""
    return compact({**facts, **to_json(book)}).encode()
