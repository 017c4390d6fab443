"""Settings of a Prometheus HTTP API: Prometheus, Mimir, Thanos, VictoriaMetrics."""

from pathlib import Path

from collectors.setting import BaseModel, ConfigDict, Field, field_validator, model_validator
from collectors.web_address import web_address


class PrometheusSettings(BaseModel):
    """A Prometheus that keeps what was scraped: for hours whose journal is lost, and for a first look at a fleet."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url: str | None = None
    """Where its API is, without `/api/v1`: `http://prometheus:9090`, `https://mimir/prometheus`; null asks nobody."""
    token_file: Path | None = None
    """File with a bearer token; read again at each query."""
    username: str | None = None
    """For basic authentication; needs `password_file`."""
    password_file: Path | None = None
    """File with the password; read again at each query."""
    tenant: str | None = None
    """Sent as `X-Scope-OrgID`, which Mimir and Thanos tell tenants by."""
    ca_file: Path | None = None
    """PEM file with what its certificate is signed by; null trusts the system's authorities."""
    timeout_seconds: float = Field(default=60.0, gt=0, le=600)
    """For one query."""

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        such_as, instead = "http://prometheus:9090, or null", "set username and password_file, or token_file"
        return web_address(url, such_as=such_as, instead=instead).rstrip("/")

    @model_validator(mode="after")
    def _one_way_in(self) -> "PrometheusSettings":
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file come together, allowed: both or neither")
        if self.token_file is not None and self.username is not None:
            raise ValueError("token_file and username are both given, allowed: one of the two")
        return self
