"""Settings of the serving collector: which pages are read, how often, and what stands on them."""

from typing import Self

from collectors.errors import Misconfigured
from collectors.openmetrics import MAX_PAGE_BYTES, MAX_SAMPLES
from collectors.serving_engines import EngineName, WorkKind
from collectors.serving_fetch import split_url
from collectors.setting import BaseModel, ConfigDict, Field, field_validator, model_validator
from collectors.web_address import web_address


class HolderSelector(BaseModel):
    """Whose devices bear the work of a page: exactly one of these."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    container: str = ""
    """Name of a container, or at least 12 characters of its id."""
    systemd: str = ""
    """A systemd unit, such as `vllm.service`."""
    slurm: str = ""
    """A Slurm job, `job` or `job.step`."""
    user: str = ""
    """A user's name, for processes of a login session."""
    pod: str = ""
    """`namespace/pod/container`."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Whoever listens on this TCP port of the node."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"holder names {', '.join(given) or 'nothing'}; "
                "allowed: exactly one of container, systemd, slurm, user, pod, port"
            )
        return self


class StaticTarget(BaseModel):
    """One page that the configuration names; meant for hosts without Kubernetes, and for training jobs."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url: str
    """Address of the page, `http://HOST:PORT/metrics`."""
    name: str = Field(default="", max_length=100)
    """Name of the page in messages and metrics; empty: its address."""
    engine: EngineName | None = None
    """The engine whose names stand on the page; left out: told by the names themselves."""
    mapping: dict[str, WorkKind] = {}  # noqa: RUF012  (pydantic copies a default)
    """Full counter name to the kind of work that it counts, for pages of no known engine. Of several counters of one
    kind the first that is on the page counts."""
    model: str = Field(default="", max_length=200)
    """The model, where the page does not tell it."""
    model_label: str = ""
    """The label that names the model; empty: `model_name`, `model` or `model_id`."""
    tenant_label: str | None = None
    """The label that names the tenant; left out: the one for all pages."""
    holder: HolderSelector | None = None
    """Whose devices bear the work; left out: whoever listens on the port of the address on this node."""

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        instead = "let this node read the page without credentials"
        web_address(url, such_as="http://HOST:PORT/PATH", instead=instead)
        try:
            split_url(url)
        except Misconfigured as error:
            raise ValueError(str(error)) from error
        return url

    @model_validator(mode="after")
    def _one_reading(self) -> Self:
        if self.engine is not None and self.mapping:
            raise ValueError(f"engine {self.engine} and mapping are both given; allowed: one of them, or none")
        return self


class ServingSettings(BaseModel):
    """What pods and processes produce, read from their own metrics pages."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    enabled: bool = True
    """Whether pages of serving engines are read at all."""
    interval_seconds: float = Field(default=15.0, ge=1, le=600)
    """Seconds between two readings of one page; pages are spread over it. Shorter costs CPU here and at the engine."""
    timeout_seconds: float = Field(default=2.0, gt=0, le=60)
    """Limit of one reading, connection included."""
    threads: int = Field(default=4, ge=1, le=32)
    """Pages read at one time, so that a few that hang do not hold up the others."""
    max_targets: int = Field(default=64, ge=1, le=1000)
    """Most pages of a node; what passes it is not read, and said so."""
    max_page_bytes: int = Field(default=MAX_PAGE_BYTES, ge=65_536, le=64 * 1024 * 1024)
    """A longer page is refused. An engine's page is 20 to 300 kB."""
    max_samples: int = Field(default=MAX_SAMPLES, ge=100, le=200_000)
    """A page with more samples of mapped names is refused; bounds memory."""
    discover_annotations: bool = True
    """Read the pages that pods of this node announce by `wattledger.io/*` or `prometheus.io/*` annotations."""
    discover_ports: bool = True
    """Try the usual ports of engines on pods that hold a GPU and announce nothing; only ports that they declare."""
    tenant_label: str = ""
    """The label by which engines or gateways name the tenant, such as `user`; empty: work is not told apart."""
    max_tenants: int = Field(default=50, ge=1, le=10_000)
    """Most tenants that are named; the work of all others stands under `__other__`."""
    targets: tuple[StaticTarget, ...] = ()
    """Pages named by hand."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [target.name or target.url for target in self.targets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"targets {', '.join(twice)} stand twice; give each its own name or address")
        return self
