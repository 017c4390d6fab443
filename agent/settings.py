"""Settings of the node agent."""

from pathlib import Path

from collectors.setting import BaseModel, ConfigDict, Field, field_validator
from collectors.web_address import web_address


class AgentSettings(BaseModel):
    """How the agent sweeps, books and keeps its state."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    interval_seconds: float = Field(default=1.0, ge=0.1, le=60)
    """Seconds between two sweeps. One second is what drivers average over; shorter costs CPU and shows nothing new."""
    call_timeout_seconds: float = Field(default=2.0, gt=0, le=60)
    """A device whose driver call takes longer is quarantined: its siblings go on, its time is `unobserved`."""
    fsync_seconds: float = Field(default=30.0, ge=1, le=600)
    """How often the state is forced to the disk. Death of the agent loses nothing at any value; loss of power loses
    at most this much, and it is then booked as `unobserved`."""
    journal_days: int = Field(default=14, ge=1, le=400)
    """Days for which closed hours are kept for the controller to fetch."""
    finished_holder_seconds: float = Field(default=600.0, ge=60, le=86400)
    """How long the series of a finished holder stay, so that a last scrape sees them."""
    series_cap: int = Field(default=2000, ge=10, le=1_000_000)
    """Most series of one family by holder; what passes it is folded into one series per device and account."""
    cpu_budget_ratio: float = Field(default=0.01, gt=0, le=1)
    """Share of one core the agent may use, averaged over a minute; above it, and above what serving pages add to it,
    the interval is stretched. Not applied to a simulation."""
    cpu_budget_page_ratio: float = Field(default=0.000625, ge=0, le=0.1)
    """What each serving page that is read adds to that share: a sixteenth of a percent, so that 16 pages of 200 kB
    every 15 s add one percent. Fewer sweeps make them no cheaper, so they must not be what stretches the interval."""
    method_hold_seconds: float = Field(default=60.0, ge=0, le=3600)
    """A shared device changes its method of attribution only after another has held for so long."""
    idle_learning_seconds: float = Field(default=60.0, ge=10, le=3600)
    """How long a device must be seen idle before its idle power is learnt."""
    node_name: str = ""
    """The node's name in every series; empty means the host name."""
    cluster_name: str = Field(default="", max_length=253)
    """The cluster's name in the books, to tell nodes of several clusters apart; empty where there is one."""
    data_dir: Path = Path("wattledger-data")
    """Directory of state and journal. One directory belongs to one node and one source, measured or simulated."""
    push_url: str | None = None
    """Controller that the open hour is sent to when the agent is told to end, such as
    `http://wattledger-controller:9478`, so that a node that goes away takes no minutes with it. Null: to nobody."""
    push_token_file: Path | None = None
    """File with the controller's `controller.push_token_file`, read when it is needed."""
    push_ca_file: Path | None = None
    """What the controller's certificate is signed with; null trusts the system's authorities."""
    push_timeout_seconds: float = Field(default=5.0, ge=0.5, le=25)
    """For the whole of it. A pod that ends has 30 s, unless its grace period says otherwise."""

    @field_validator("push_url")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        such_as = "http://wattledger-controller:9478, or null"
        return url and web_address(url, such_as=such_as, instead="set agent.push_token_file")
