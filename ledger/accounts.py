"""The chart of accounts and the methods of attribution: every GPU-nanosecond lands under exactly one of each."""

from enum import StrEnum


class Account(StrEnum):
    """Where an interval of a device goes."""

    ACTIVE = "active"
    """Held, times the largest of duty cycle, graphics, encoder, decoder, JPEG and OFA activity."""
    IDLE = "idle"
    """The rest of held time."""
    UNMEASURED = "unmeasured"
    """Held, but no activity can be read, or the reading cannot be true. Never idle, no gap."""
    UNALLOCATED = "unallocated"
    """Nobody holds it."""
    UNATTRIBUTED = "unattributed"
    """Work that no holder explains."""
    UNOBSERVED = "unobserved"
    """The node existed; the agent or the device did not answer."""
    SYSTEM = "system"
    """The driver's and the cluster's own GPU daemons."""


class Method(StrEnum):
    """How a share of time was worked out."""

    EXCLUSIVE = "exclusive"
    MIG_SLICES = "mig_slices"
    MIG_ACTIVITY = "mig_activity"
    SM = "sm"
    MEMORY = "memory"
    EQUAL = "equal"
    REQUESTED = "requested"
    STRANDED = "stranded"
    PROMETHEUS = "prometheus"
    INTERPOLATED = "interpolated"


class EnergyMethod(StrEnum):
    """How a share of energy was worked out."""

    IDLE_SPLIT = "idle_split"
    """Idle power times idle time to ``idle``, the rest to ``active``."""
    IDLE_UNKNOWN = "idle_unknown"
    """Idle power is not learnt yet: all of an active interval's energy is ``active``."""
    WHOLE = "whole"
    """The interval had one kind of time only, so nothing was split."""
    INTERPOLATED = "interpolated"
    """The counter's delta over a gap, spread over the hours of the gap by time."""
