"""Settings of the HTTP server that page, metrics and journal are read from."""

from pathlib import Path

from collectors.setting import BaseModel, ConfigDict, Field, field_validator, model_validator

_ALLOWED_ADDRESS = "allowed: HOST:PORT, such as 127.0.0.1:9477, 0.0.0.0:9477 (every interface) or [::1]:9477"
_HIGHEST_PORT = 65535


class ServerSettings(BaseModel):
    """Where and to whom the agent serves page, metrics and journal."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    listen: str = "127.0.0.1:9477"
    """Address and port. Loopback until chosen otherwise: the page names who runs what. Port 0 takes any free one."""
    token_file: Path | None = None
    """File with the bearer token that everything but `/healthz` and `/readyz` asks for; read again when it changes.
    A browser may give it as the password of any user."""
    tls_cert_file: Path | None = None
    """PEM file with the certificate and its chain; read again when it changes. Needs `tls_key_file`."""
    tls_key_file: Path | None = None
    """PEM file with the certificate's private key, without a passphrase."""
    request_timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """A connection that has not asked and read its answer by then is closed, so that a slow client holds nothing."""
    max_connections: int = Field(default=32, ge=1, le=1024)
    """Connections served at a time; more are turned away with status 503."""

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        split_address(listen)
        return listen

    @model_validator(mode="after")
    def _tls_files_come_in_pairs(self) -> "ServerSettings":
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            there, missing = ("tls_cert_file", "tls_key_file")[:: 1 if self.tls_cert_file else -1]
            raise ValueError(f"{there} is given without {missing}, allowed: both or neither")
        return self


def split_address(listen: str) -> tuple[str, int]:
    """Host (brackets of IPv6 taken off) and port.

    Raises:
        ValueError: it is not ``HOST:PORT``; the message says what is allowed.
    """
    host, _, port = listen.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(_ALLOWED_ADDRESS)
    if not host or not (port.isascii() and port.isdigit()) or int(port) > _HIGHEST_PORT:
        raise ValueError(_ALLOWED_ADDRESS)
    return host, int(port)
