"""Settings of the price book: what a person knows better than any list.

Money is decimal: ``"2.4987"`` and ``2.4987`` in YAML are the same exact number. A price is above 0, always.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal, Self

from collectors.setting import BaseModel, ConfigDict, Field, model_validator
from ledger.price import HOURS_PER_YEAR, CapacityType, nano_usd
from ledger.price_live_settings import LivePriceSettings

BoughtCapacityType = Literal["on_demand", "spot", "reserved", "capacity_block"]
UsdPerHour = Annotated[Decimal, Field(ge=Decimal("0.0001"), le=100_000, decimal_places=9)]
"""From a hundredth of a cent, so that each of 1,024 GPUs bears something; never 0, which would hide a cost."""
GpuCount = Annotated[int, Field(ge=1, le=1024)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NodePrice(_Section):
    """The price of this very node. Wins over everything."""

    usd_per_hour: UsdPerHour
    """US dollars an hour for the whole node."""
    gpus: GpuCount | None = None
    """GPUs the node was bought with. Empty: as many as are found at the start; set it where one may be missing."""
    as_of: date
    """The date of the contract, quote or list that says so."""
    capacity_type: BoughtCapacityType = "on_demand"
    """How the node was bought; it stands beside the price in metrics and books."""


class InstancePrice(_Section):
    """The price of an instance type, wherever it runs."""

    instance_type: str = Field(min_length=1)
    """The provider's own name, such as `p5.48xlarge`."""
    region: str = "*"
    """The provider's own name of the region, `*` for all that have no line of their own."""
    usd_per_hour: UsdPerHour
    """US dollars an hour for the whole instance."""
    gpus: GpuCount
    """GPUs in the instance."""
    as_of: date
    """The date of the contract, quote or list that says so."""
    capacity_type: BoughtCapacityType = "on_demand"
    """`spot` is for nodes that run on spot, the other kinds for nodes that do not."""


class ModelPrice(_Section):
    """The price of a GPU model, in whatever machine."""

    model: str = Field(min_length=1)
    """The key, such as `H100-80GB`, or the name exactly as the driver gives it."""
    usd_per_gpu_hour: UsdPerHour
    """US dollars an hour for one GPU with its share of the machine."""
    as_of: date
    """The date of the contract, quote or list that says so."""
    capacity_type: CapacityType = "on_demand"
    """`spot` is for nodes that run on spot, the other kinds for nodes that do not."""


class OnPremPrice(_Section):
    """What a GPU of one's own costs an hour: capital over years, power, operations. For machines in no known cloud.

    Per hour, for `gpus` GPUs together::

        (capital_usd / (years x 8760) + mean_watts / 1000 x pue x tariff_usd_per_kwh) x (1 + operations_share)

    One flat price: power is what was configured, not what is measured, and every hour counts, used or not.
    """

    model: str = "*"
    """Key or driver's name of the GPU model, `*` for all that have no line of their own."""
    capital_usd: Decimal = Field(ge=0, le=Decimal(10) ** 9)
    """What was paid for `gpus` GPUs with their servers, network and racks. 0 when written off."""
    gpus: GpuCount = 1
    """GPUs that capital and watts are for: 1, or those of a whole server."""
    years: Decimal = Field(gt=0, le=30)
    """Years over which the capital is written off."""
    mean_watts: Decimal = Field(ge=0, le=1_000_000)
    """Mean power of `gpus` GPUs with their share of the server, at the socket."""
    pue: Decimal = Field(default=Decimal("1.5"), ge=1, le=5)
    """Power usage effectiveness of the room: what cooling and distribution add."""
    tariff_usd_per_kwh: Decimal = Field(ge=0, le=10)
    """Price of a kilowatt-hour."""
    operations_share: Decimal = Field(default=Decimal(0), ge=0, le=10)
    """People, maintenance, space and software, as a ratio of capital and power together."""
    as_of: date
    """The date of these figures."""

    def nano_usd_per_hour(self) -> int:
        """Nano-dollars an hour for `gpus` GPUs, worked out exactly and rounded once, half to even."""
        capital = Fraction(self.capital_usd) / (Fraction(self.years) * HOURS_PER_YEAR)
        power = Fraction(self.mean_watts) / 1000 * Fraction(self.pue) * Fraction(self.tariff_usd_per_kwh)
        return nano_usd((capital + power) * (1 + Fraction(self.operations_share)))

    @model_validator(mode="after")
    def _costs_something(self) -> Self:
        if self.nano_usd_per_hour() < self.gpus:
            raise ValueError("the price comes to 0: capital_usd or mean_watts with tariff_usd_per_kwh must be above 0")
        return self


class PriceSettings(_Section):
    """How the price of GPU time is found: node, then instance, then model, then on-prem, then the bundled list."""

    node: NodePrice | None = None
    """The price of this very node."""
    instances: tuple[InstancePrice, ...] = ()
    """Prices by instance type."""
    models: tuple[ModelPrice, ...] = ()
    """Prices by GPU model."""
    on_prem: tuple[OnPremPrice, ...] = ()
    """Prices of GPUs of one's own, for machines in no known cloud."""
    fallback: Literal["market_median", "none"] = "market_median"
    """Where nothing else prices a GPU: the median of the bundled list's providers, called an estimate; or no price."""
    stale_after_days: int = Field(default=120, ge=1, le=3650)
    """A price older than this is used, and said to be stale. GPU prices moved by a third within such a time."""
    cloud_identity: Literal["auto", "off"] = "auto"
    """`auto` asks the metadata server of the cloud that the firmware names; `off` asks nobody."""
    node_split: Literal["equal", "aws", "opencost"] = "equal"
    """What part of a node's price is its GPUs', in the ledger: `equal` all of it; `aws` and `opencost` leave the rest
    to account `host`, by weights of GPUs, vCPUs and memory that the guide to prices compares."""
    live: LivePriceSettings = LivePriceSettings()
    """What the cloud itself is asked, by the controller."""

    @model_validator(mode="after")
    def _one_price_each(self) -> Self:
        _unique("instances", ((i.instance_type, i.region, i.capacity_type == "spot") for i in self.instances))
        _unique("models", ((m.model, m.capacity_type == "spot") for m in self.models))
        _unique("on_prem", ((o.model,) for o in self.on_prem))
        return self


def _unique(section: str, keys: Iterable[tuple[object, ...]]) -> None:
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise ValueError(f"{section}: two prices for {twice[0][0]!r}; keep one for spot and one for all else")
