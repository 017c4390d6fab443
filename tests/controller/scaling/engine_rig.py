"""An engine on a server in memory, with wishes that a test sets by the clock."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from controller.scaling.act import Actor
from controller.scaling.engine import Engine, Policy
from controller.scaling.model import ZERO, Size, Wish
from controller.scaling.registry import KINDS
from tests.controller.scaling.toy_server import ToyServer, ToyView

BEGIN = datetime(2026, 11, 20, 19, tzinfo=UTC)
END = BEGIN + timedelta(hours=12)
BEFORE, INSIDE, AFTER = BEGIN - timedelta(hours=1), BEGIN + timedelta(minutes=1), END + timedelta(minutes=1)
REGISTRY = {kind.name: kind for kind in KINDS}


def nightly(size: Size = ZERO, **more):
    """A wish that is down from BEGIN to END and on the next nights."""

    def wish(_seen, _namespace, _gpus, now):
        nights = (now - BEGIN) // timedelta(days=1)
        begin = BEGIN + nights * timedelta(days=1)
        inside = begin <= now < begin + (END - BEGIN)
        if not inside:
            return Wish("up", "by day", policy="nights", dry_run=False)
        until = begin + (END - BEGIN)
        return Wish("down", "at night", "nights", size, window=begin, until=until, dry_run=False, **more)

    return wish


@dataclass
class Notes:
    """The actor's book."""

    intents: list = field(default_factory=list)
    results: list = field(default_factory=list)
    fails: Exception | None = None

    def intend(self, tasks, _now):
        if self.fails is not None:
            raise self.fails
        self.intents.append([(task.step.action, task.lever.ref) for task in tasks])

    def note(self, task, outcome, _now):
        self.results.append((task.step.action, task.lever.ref, outcome.result))


def make_engine(server: ToyServer, book=None, **policy):
    """A new process's engine."""
    asked = {
        "wish": nightly(),
        "lead": lambda _ref: timedelta(0),
        "refusals": lambda _downs, _now: {},
        "allowance": lambda _now: 100,
        "hold": lambda _now: "",
        **policy,
    }
    return Engine(ToyView(server), REGISTRY, Policy(**asked), Actor(server, book or Notes()))


def settle(engine: Engine, now: datetime, ticks: int = 12):
    """Tick until nothing is written any more; the last tick."""
    for _ in range(ticks):
        tick = engine.tick(now)
        if not any(report.outcome for report in tick.reports):
            return tick
    raise AssertionError(f"still writing after {ticks} ticks: {tick.reports}")
