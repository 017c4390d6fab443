"""How scheduled scaling stands, as metrics show it: values that whoever looks at the cluster fills in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controller.scaling.savings import Saved

Labels = tuple[str, ...]
Counts = Mapping[Labels, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingStand:
    """At one instant. Counts are by their labels; what has none stands under the empty tuple, or is a plain number."""

    now: datetime
    looked_at: datetime | None = None
    """When the cluster was last looked at; ``None``: not yet, and nothing else is known."""
    down: Counts = field(default_factory=dict[Labels, int])
    """Workloads by namespace and kind."""
    gpus_down: Counts = field(default_factory=dict[Labels, int])
    """By namespace."""
    coming_back: int = 0
    contested: Counts = field(default_factory=dict[Labels, int])
    """By namespace."""
    skipped: Counts = field(default_factory=dict[Labels, int])
    """By guard; ``unclear`` and ``broken`` for annotations that are not understood."""
    waiting: int = 0
    """Downs that the cap left for later."""
    dry_run: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """By policy."""
    policies_refused: bool = False
    breaker_open: bool = False
    overdue: Counts = field(default_factory=dict[Labels, int])
    """Restores by reason."""
    longest_overdue_seconds: float | None = None
    ready_delay_seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    """By policy, the slowest of its last window."""
    writes: Counts = field(default_factory=dict[Labels, int])
    """By action and result, since the process began."""
    saved: Mapping[str, Saved] = field(default_factory=dict[str, Saved])
    """By window, such as ``7d``; empty: not measured yet."""
    audit_waiting: int = 0
    audit_lost: int = 0
    events_lost: int = 0
