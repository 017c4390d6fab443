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
    """The agent or the device was away; its own books say how long."""
    LIFETIME = "lifetime"
    """No journal has it: the node existed, by the evidence of its hour. Only the ledger books it."""


class EnergyMethod(StrEnum):
    """How a share of energy was worked out."""

    WHOLE = "whole"
    """The interval held one kind of time only, so its energy went by time."""
    IDLE_SPLIT = "idle_split"
    """Learnt idle power times idle time to ``idle`` and ``unallocated``, the rest to the active accounts."""
    IDLE_MODEL = "idle_model"
    """As ``idle_split``, by the idle power of another device of the model on the node: this one was not idle yet."""
    IDLE_UNKNOWN = "idle_unknown"
    """Idle power is not learnt yet: all of an interval's energy went to its active accounts."""
    MIG_ACTIVITY = "mig_activity"
    """Over MIG instances: idle power by slices, the rest by slices times activity."""
    MIG_SLICES = "mig_slices"
    """Over MIG instances: no activity known, so by the slices that somebody holds."""
    INTERPOLATED = "interpolated"
    """The counter's delta over a stretch that was not read, spread over its hours by time."""
    INTEGRATED = "integrated"
    """The chip counts no energy: power times time."""
    NONE = "none"
    """No energy is known for this row."""
