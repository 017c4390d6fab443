"""The last finished sweep, as those who serve it see it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agent.accountant import DeviceView
from collectors.errors import SourceError
from collectors.holder import Holder
from collectors.host import HolderUsage, HostReading
from collectors.readings import DeviceFacts
from ledger.price import Price


class Prices(Protocol):
    """Where prices come from."""

    def of(self, device: DeviceFacts) -> Price | None:
        """The price in force for a device; cheap."""
        ...


@dataclass(slots=True)
class CollectorHealth:
    """One collector's own health."""

    up: bool = False
    duration_seconds: float | None = None
    succeeded_ns: int | None = None
    """Monotonic time of the last success."""
    message: str | None = None
    """Why it is not up; of one that is up, what it could not make sense of."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One finished sweep. Data and health are apart: a device that did not answer has no view."""

    number: int
    finished_ns: int
    wall_ns: int
    duration_seconds: float
    interval_ns: int
    stretched: bool
    views: Mapping[str, DeviceView]
    facts: Mapping[str, DeviceFacts]
    """Every device ever seen by this process."""
    failures: Mapping[str, str]
    read_ns: Mapping[str, int]
    """When each device was last read."""
    driver_error: str | None
    unreadable: tuple[str, ...] = ()
    host: HostReading | None = None
    usage: Mapping[Holder, HolderUsage] = field(default_factory=dict[Holder, HolderUsage])


class CollectorRunner:
    """Runs collectors: times each, logs a failure once, lets the others go on."""

    def __init__(self) -> None:
        self.health: dict[str, CollectorHealth] = {}
        self._remarks: dict[str, str] = {}

    def remark(self, name: str, words: str) -> bool:
        """What stands beside a collector's good runs from now on, empty for nothing; true when that is news."""
        news = words != self._remarks.get(name, "")
        self._remarks[name] = words
        return news

    def note(self, name: str, now_ns: int, duration_seconds: float, error: SourceError | str | None) -> bool:
        """Record one run; true when it is the first of a row of failures."""
        health = self.health.setdefault(name, CollectorHealth())
        first = error is not None and health.message != str(error)
        health.up = error is None
        health.duration_seconds = duration_seconds
        health.message = (self._remarks.get(name) or None) if error is None else str(error)
        if error is None:
            health.succeeded_ns = now_ns
        return first
