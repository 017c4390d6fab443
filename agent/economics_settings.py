"""Settings of the economics of serving: window, weights of tokens, objectives of latency."""

from collections.abc import Mapping
from typing import Literal, Self

from collectors.setting import BaseModel, ConfigDict, Field, model_validator

_MILLI = 1000


class Objective(BaseModel):
    """A latency that users are promised; cost is told per token of the requests that met it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: str = Field(min_length=1, max_length=60)
    """Its name in the label `objective`."""
    latency: Literal["time_to_first_token", "time_per_output_token", "end_to_end_latency"]
    """What is promised."""
    seconds: float = Field(gt=0, le=3600)
    """The most it may take. Held against the engine's own buckets: the highest bound that is not above it counts."""


class EconomicsSettings(BaseModel):
    """What a request or a token costs, in money and energy."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    window_seconds: float = Field(default=300.0, ge=30, le=3600)
    """Length of the sliding window of the economic gauges. Shorter follows the load faster and is more ragged."""
    output_token_weight: float = Field(default=4.0, gt=0, le=1000)
    """What an output token costs, in input tokens, where the engine does not tell its time of prefill and decode.
    Output tokens are made one after the other, input tokens many at once; public price lists take three to five
    times as much for them."""
    cached_token_weight: float = Field(default=0.1, ge=0, le=1)
    """What an input token found in the cache costs, in input tokens that were worked out. It takes memory, no work."""
    objectives: tuple[Objective, ...] = ()
    """Latencies that users are promised."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [objective.name for objective in self.objectives]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"objectives {', '.join(twice)} stand twice; give each its own name")
        return self

    @property
    def milli_weights(self) -> Mapping[str, int]:
        """Weight of each kind of token, in thousandths of an input token."""
        return {
            "input_tokens": _MILLI,
            "cached_tokens": round(self.cached_token_weight * _MILLI),
            "output_tokens": round(self.output_token_weight * _MILLI),
        }
