"""Settings of the carbon figures."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from collectors.setting import BaseModel, ConfigDict, Field, model_validator

GramsPerKwh = Annotated[Decimal, Field(gt=0, le=2000, decimal_places=3)]
"""Never 0: no grid emits nothing, and certificates do not count (location-based)."""
Pue = Annotated[Decimal, Field(ge=1, le=5, decimal_places=3)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Place(_Section):
    """Which nodes; each is a name, in which `*` stands for any text. All that are given must fit."""

    provider: str = "*"
    """`aws`, `azure`, `gcp`; empty for machines in no known cloud."""
    region: str = "*"
    """The provider's own name of the region."""
    zone: str = "*"
    """The provider's own name of the zone."""
    cluster: str = "*"
    """As `agent.cluster_name` says."""
    node: str = "*"
    """The node's name."""


class IntensityHere(Place):
    """The intensity of some nodes' electricity, location-based."""

    g_per_kwh: GramsPerKwh
    """Grams of CO2 equivalent for a kilowatt-hour."""
    source: str = Field(default="config", min_length=1)
    """Who says so; it stands beside each figure made with it."""


class IntensitySeries(Place):
    """The intensity of some nodes' electricity, hour by hour."""

    file: Path
    """A CSV with the columns `hour_utc` (RFC 3339) and `g_per_kwh`. An hour that it lacks takes the yearly figure."""


class PueHere(Place):
    """The power usage effectiveness of some nodes' room."""

    pue: Pue
    """Power that enters the building over power that reaches the machines."""


class Embodied(_Section):
    """Carbon that was emitted to make the hardware, spread over its life (SCI: M = TE x TiR/EL x RR/ToR)."""

    model: str = "*"
    """Key of the GPU model, such as `H100-80GB`, or its name as the driver gives it; `*` for all without a line."""
    kg: Decimal = Field(gt=0, le=1_000_000, decimal_places=3)
    """Kilograms of CO2 equivalent (TE) of `gpus` GPUs, with or without their server, as the source says."""
    gpus: int = Field(default=1, ge=1, le=1024)
    """GPUs that `kg` is for: 1, or those of a whole server."""
    years: Decimal = Field(gt=0, le=30, decimal_places=2)
    """Expected lifespan (EL) in years of 8,760 hours."""


class CarbonSettings(_Section):
    """How energy becomes grams of CO2 equivalent: intensity by place and hour, PUE, embodied share."""

    country: str = Field(default="", pattern=r"^([A-Z]{3})?$")
    """ISO 3166-1 alpha-3 of the country of machines in no known cloud, such as `DEU`; empty: their carbon is absent."""
    series: tuple[IntensitySeries, ...] = ()
    """Hourly intensities; the first that fits the node stands before all else."""
    intensity_g_per_kwh: tuple[IntensityHere, ...] = ()
    """Intensities that are known better than the bundled table; the first that fits the node counts."""
    pue: Pue = Decimal("1.0")
    """Power usage effectiveness where no line of `pues` fits. 1.0 leaves out cooling and distribution, and says so."""
    pues: tuple[PueHere, ...] = ()
    """Power usage effectiveness by place; the first that fits the node counts."""
    scope: Literal["gpu", "node"] = "gpu"
    """`gpu` counts the GPUs' own energy; `node` adds that of the rest of the machine by `host_ratio`."""
    host_ratio: Decimal | None = Field(default=None, ge=0, le=10, decimal_places=3)
    """Energy of the rest of the machine for each joule of its GPUs, for scope `node`: an estimate, from what such a
    machine draws at the socket. A server that draws 10.2 kW while its 8 GPUs draw 5.6 kW has 0.821."""
    embodied: tuple[Embodied, ...] = ()
    """Embodied carbon by GPU model. Empty: it is absent; makers publish it for few products."""

    @model_validator(mode="after")
    def _node_needs_a_ratio(self) -> Self:
        if (self.scope == "node") != (self.host_ratio is not None):
            raise ValueError("scope node and host_ratio belong together: give both, or neither")
        return self

    @model_validator(mode="after")
    def _one_line_a_model(self) -> Self:
        models = [line.model for line in self.embodied]
        if twice := next((model for model in models if models.count(model) > 1), None):
            raise ValueError(f"embodied: two lines for {twice!r}; keep one")
        return self
