"""What one holder's dollars of one hour rest on: facts and figures from which a person can work them out by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class PriceUsed:
    """A price of the table ``prices``."""

    price_id: str
    nano_usd_per_hour: int
    of: str
    """``node``: of all GPUs of the row's model in the node together; ``gpu``: of each."""
    source: str
    as_of: date | None
    capacity_type: str
    estimate: bool | None
    note: str


@dataclass(frozen=True, slots=True)
class NodeHour:
    """The control figure of the row's node, and what it rests on."""

    node: str
    instance_id: str
    instance_type: str
    capacity_type: str
    provider: str
    region: str
    zone: str
    gpu_count: int | None
    existed_ns: int
    evidence: str
    state: str
    revision: int | None
    source: str


@dataclass(frozen=True, slots=True)
class LineGroup:
    """Bill lines that say the same but for their ids, and the part of them that falls on the hour."""

    ids: tuple[str, ...]
    """``BILL/LINE``, at most a few; ``lines`` tells how many there are."""
    lines: int
    period_start: datetime
    period_end: datetime
    service: str
    sku: str
    pricing: str
    effective_nano_usd: int
    """Of all these lines."""
    weight_ns: int
    """Time that the instance existed within the period in this hour; of shared lines the time of the period itself."""
    weights_ns: int
    """The same over all hours. 0: it existed at no moment of the period, and the line stays in its first hour."""
    part_nano_usd: int


@dataclass(frozen=True, slots=True)
class ChargeShare:
    """One charge of the row's node-hour, and the row's part of it."""

    billing_account: str
    charge: str
    stack_layer: str
    node_hour_nano_usd: int
    effective_nano_usd: int
    lines: tuple[LineGroup, ...]


@dataclass(frozen=True, slots=True)
class RowExplained:
    """One row of cost."""

    node_hour: NodeHour | None
    """None: the row is of no node."""
    gpu_uuid: str
    gpu_model: str
    mig: str
    holder_kind: str
    holder: str
    namespace: str
    workload: str
    team: str
    run: str
    account: str
    method: str
    energy_method: str
    gpu_ns: int | None
    energy_mj: int | None
    requested_ns: int | None
    price: PriceUsed | None
    priced_gpu_ns: int
    """GPU time of all rows that share the price's dollars in the node-hour."""
    priced_nano_usd: int | None
    """Their list cost together."""
    host_nano_usd: int | None
    """What of the node-hour's list cost its host bears; None: nothing."""
    list_nano_usd: int | None
    weighed_by: str
    """What the bill's dollars are shared by: ``list_nano_usd`` or ``gpu_ns``."""
    weight: int
    weights: int
    """Of all rows of the node-hour."""
    charges: tuple[ChargeShare, ...]
    carbon_ug: int | None
    embodied_ug: int | None
    intensity: str

    @property
    def effective_nano_usd(self) -> int | None:
        """The row's part of the bill; None: no bill came for it."""
        return sum(each.effective_nano_usd for each in self.charges) if self.charges else None


@dataclass(frozen=True, slots=True)
class Explanation:
    """An hour of one holder, or of whatever was selected."""

    hour: datetime
    selected: Mapping[str, str]
    versions: Mapping[str, int | None]
    """Of each table that was read; with them the same can be read again."""
    rows: tuple[RowExplained, ...]
    left_out: int
    """Rows beyond the limit, which are not told."""
    pending: bool
    """The hour's cost is being made again: figures may change within minutes."""
    list_nano_usd: int | None
    effective_nano_usd: int | None
    """None: no bill came, list cost is the estimate."""
    estimate_nano_usd: int
    """The part of the cost for which there is list price only."""
