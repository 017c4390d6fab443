"""What a scripted engine is asked to do, and the exact sums of it: the truth that a page is held against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BOUNDS_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)


@dataclass(frozen=True)
class Load:
    """Requests that are all alike. ``cached_tokens`` are among ``input_tokens``."""

    requests_per_second: float = 1.0
    seconds: float = 60.0
    input_tokens: int = 100
    output_tokens: int = 50
    cached_tokens: int = 0
    queue_seconds: float = 0.02
    prefill_seconds: float = 0.06
    seconds_per_token: float = 0.02
    tenant: str = ""

    def requests_after(self, seconds: float) -> int:
        """Requests finished so long after the load began."""
        return int(self.requests_per_second * min(max(seconds, 0.0), self.seconds) + 1e-9)


@dataclass
class Observed:
    """One histogram."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_SECONDS) + 1))
    count: int = 0
    sum: float = 0.0

    def add(self, seconds: float, times: int) -> None:
        for index, bound in enumerate((*BOUNDS_SECONDS, float("inf"))):
            self.counts[index] += times if seconds <= bound else 0
        self.count += times
        self.sum += seconds * times


@dataclass
class Totals:
    """All that one tenant of a model was served."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    first_token: Observed = field(default_factory=Observed)
    per_token: Observed = field(default_factory=Observed)
    end_to_end: Observed = field(default_factory=Observed)
    queue: Observed = field(default_factory=Observed)

    def serve(self, load: Load, requests: int) -> None:
        decode_seconds = load.seconds_per_token * max(0, load.output_tokens - 1)
        first_seconds = load.queue_seconds + load.prefill_seconds
        self.requests += requests
        self.input_tokens += requests * load.input_tokens
        self.cached_tokens += requests * load.cached_tokens
        self.output_tokens += requests * load.output_tokens
        self.prefill_seconds += requests * load.prefill_seconds
        self.decode_seconds += requests * decode_seconds
        self.first_token.add(first_seconds, requests)
        self.per_token.add(load.seconds_per_token, requests * max(0, load.output_tokens - 1))
        self.end_to_end.add(first_seconds + decode_seconds, requests)
        self.queue.add(load.queue_seconds, requests)


class Script:
    """Loads one after the other, and what was served of them at a time."""

    def __init__(self, loads: Sequence[Load]) -> None:
        self._loads = tuple(loads)

    def totals_after(self, seconds: float) -> dict[str, Totals]:
        """By tenant."""
        totals: dict[str, Totals] = {}
        began = 0.0
        for load in self._loads:
            totals.setdefault(load.tenant, Totals()).serve(load, load.requests_after(seconds - began))
            began += load.seconds
        return totals

    def rate_at(self, seconds: float) -> float:
        """Requests per second at a time; zero after the end."""
        for load in self._loads:
            if seconds < load.seconds:
                return load.requests_per_second
            seconds -= load.seconds
        return 0.0


def load_from(fields: Mapping[str, Any]) -> Load:
    """A load from JSON; unknown fields are refused by name."""
    return Load(**fields)
