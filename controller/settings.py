"""Settings of the controller: where its agents are, how often it asks them, who leads."""

from pathlib import Path
from typing import Annotated, Literal, Self

from collectors.setting import BaseModel, ConfigDict, Field, field_validator, model_validator
from collectors.web_address import web_address
from exporters.server_settings import ServerSettings

AgentUrl = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ControllerServerSettings(ServerSettings):
    """Where and to whom the controller serves API and metrics."""

    listen: str = "127.0.0.1:9478"
    """Address and port. Loopback until chosen otherwise: the API names who spent what. Port 0 takes any free one."""
    token_file: Path | None = None
    """File with the bearer token that everything but `/healthz` and `/readyz` asks for; read again when it changes.
    A browser may give it as the password of any user."""
    request_timeout_seconds: float = Field(default=60.0, gt=0, le=600)
    """A connection that has not asked and read its answer by then is closed. Above `controller.query_seconds`."""


class AgentsSettings(_Section):
    """Whose journals are pulled."""

    urls: tuple[AgentUrl, ...] = ()
    """Agents by address, such as `http://10.0.0.7:9477`. Those that the API server tells come on top."""
    discovery: Literal["auto", "on", "off"] = "auto"
    """Whether the API server is asked where agents are; `auto` asks where this process runs in a pod and `urls` is
    empty."""
    namespace: str = ""
    """Namespace of the agents' pods; empty: the controller's own."""
    selector: str = "app.kubernetes.io/name=wattledger,app.kubernetes.io/component=agent"
    """Labels of the agents' pods, as a label selector."""
    port: int = Field(default=9477, ge=1, le=65535)
    """Port on which the pods found serve."""
    scheme: Literal["http", "https"] = "http"
    """Whether the pods found speak TLS."""
    token_file: Path | None = None
    """File with the bearer token that agents ask for; read again at each pull."""
    ca_file: Path | None = None
    """What the agents' certificates are signed with; null trusts the system's authorities."""
    timeout_seconds: float = Field(default=15.0, ge=1, le=300)
    """For one agent's whole answer."""
    at_once: int = Field(default=64, ge=1, le=1024)
    """Agents asked at the same time."""

    @field_validator("urls")
    @classmethod
    def _are_addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            web_address(
                url,
                such_as=f"http://node-1:9477 instead of {url!r}",
                instead="set controller.agents.token_file to the agents' own",
            )
        if len(set(urls)) < len(urls):
            raise ValueError("an agent stands twice; keep one")
        return urls


class LeaseSettings(_Section):
    """Which of several controllers keeps the books; the others stand by and serve what is read."""

    mode: Literal["auto", "on", "off"] = "auto"
    """`on`: a Lease of the Kubernetes API; `off`: a lock file in the ledger's directory, for controllers of one
    machine; `auto`: the Lease where this process runs in a pod."""
    namespace: str = ""
    """Namespace of the Lease; empty: the controller's own."""
    name: str = Field(default="wattledger-controller", pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
    """Name of the Lease. Controllers of one ledger share it."""
    duration_seconds: float = Field(default=15.0, ge=3, le=600)
    """A leader that was not seen to renew for so long is taken to be gone."""
    renew_deadline_seconds: float = Field(default=10.0, ge=1, le=600)
    """A leader that could not renew for so long ends itself. Below `duration_seconds`."""
    retry_seconds: float = Field(default=2.0, ge=0.2, le=120)
    """Between two tries to renew, or to become leader. Below `renew_deadline_seconds`."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.retry_seconds < self.renew_deadline_seconds < self.duration_seconds:
            raise ValueError(
                f"retry_seconds {self.retry_seconds:g}, renew_deadline_seconds {self.renew_deadline_seconds:g} and "
                f"duration_seconds {self.duration_seconds:g} have to rise in this order"
            )
        return self


class ControllerSettings(_Section):
    """How the controller gathers the agents' hours, books and serves them."""

    server: ControllerServerSettings = ControllerServerSettings()
    """Where API and metrics are served."""
    agents: AgentsSettings = AgentsSettings()
    """The agents, and how they are asked."""
    lease: LeaseSettings = LeaseSettings()
    """Which of several controllers keeps the books."""
    pull_interval_seconds: float = Field(default=300.0, ge=1, le=3600)
    """Seconds between two pulls of the agents' journals, open hours included. `wattledger up` begins faster."""
    push_token_file: Path | None = None
    """File with the bearer token of agents that push their open hour when they end. Null: nobody may push, but over
    loopback."""
    query_seconds: float = Field(default=30.0, ge=1, le=300)
    """A question to the API that is not answered by then gets status 503."""
    queries_at_once: int = Field(default=2, ge=1, le=64)
    """Questions worked on at a time, which bounds memory; a few more wait, the others get status 503."""
    series_cap: int = Field(default=500, ge=10, le=100_000)
    """Most series of ledger cost for one basis and window; the smallest are folded into `__other__`."""
    keep_house_hours: float = Field(default=6.0, ge=1, le=168)
    """Hours between two rounds of compaction, vacuum, and rolling hours into days."""
