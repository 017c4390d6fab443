"""Settings of what `/metrics` shows."""

from typing import Literal

from collectors.setting import BaseModel, ConfigDict
from exporters.metric import Group

LatencyName = Literal["time_to_first_token", "time_per_output_token", "end_to_end_latency"]


class MetricsSettings(BaseModel):
    """Which series `/metrics` shows. What is left out is read and booked all the same."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    groups: tuple[Literal["all", Group], ...] = ()
    """Groups of series shown beside the standard ones; [Metrics](metrics.md) says what each adds. The standard ones are
    at most 40 for a device and 25 for a holder of one device that serves one model, histograms apart."""
    histograms: tuple[LatencyName, ...] = ("time_to_first_token", "time_per_output_token", "end_to_end_latency")
    """Latencies shown as histograms; `[]` shows none. Each takes a series per bucket of the engine, by holder and
    model: together they are most of the page where engines serve."""
