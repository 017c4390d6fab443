"""Settings of the sources beside the driver: the dcgm-exporter's page, the host's own files, who holds what."""

from pathlib import Path

from collectors.setting import BaseModel, ConfigDict, Field, field_validator
from collectors.web_address import web_address


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DcgmSettings(_Section):
    """A dcgm-exporter on this node, for the activity that the driver itself does not give."""

    url: str | None = None
    """Its page, such as `http://127.0.0.1:9400/metrics`; null asks nobody. It fills what NVML lacks, such as the
    activity of MIG instances before Hopper."""
    interval_seconds: float = Field(default=15.0, ge=1, le=600)
    """Seconds between two fetches. The exporter itself reads DCGM every 30 s unless told otherwise."""
    stale_after_seconds: float = Field(default=45.0, ge=1, le=3600)
    """A page older than this is not used: what it told is then absent, never the last value."""

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        instead = "let this node read the page without credentials"
        return web_address(url, such_as="http://127.0.0.1:9400/metrics, or null", instead=instead)


class HostSettings(_Section):
    """Where the host's own files are. In a container they are mounted elsewhere."""

    proc: Path = Path("/proc")
    """The host's procfs, for processes, CPU, memory and network."""
    sys: Path = Path("/sys")
    """The host's sysfs, for cgroups, RAPL energy and the firmware's tables."""


class HoldersSettings(_Section):
    """Who holds what, outside Kubernetes."""

    passwd: Path = Path("/etc/passwd")
    """The host's file of users; a user that is not in it is named `uid N`."""
    system_processes: tuple[str, ...] = ()
    """Programs whose GPU time goes to the account `system`, beside NVIDIA's own daemons, which are known."""
