"""Kills and cuts off the scaler at random moments of random nights, on a real API server, again and again.

``python -m benchmarks.scaler_kills --runs 1000``: in each run objects of all kinds go through a night. The controller
is a process of its own that is killed for real, at any moment or in the very middle of a write; its requests are cut,
refused, answered late or lost; its watches break off; time goes on whether it is through or not; and owners and
operators write to the objects, though never their levers. When all is over every object must be, to the last label,
what its owner made of it. The exit status tells.
"""

import argparse
import contextlib
import os
import platform
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from controller.scaling.model import Ref
from controller.scaling.record import RECORD
from tests.api_proxy import FAULTS, ApiProxy, Fault, Request
from tests.cluster.api_only import ApiServer
from tests.controller.scaling.night_rig import AFTER, BEFORE, INSIDE, LABELS, Changed, Life, World

DELAYED = Fault(delay_seconds=0.2)
ALL_FAULTS: Mapping[str, Fault] = {**FAULTS, "410": Fault(status=410), "delayed": DELAYED}
FAULT_SHARE = 0.06
"""Of all requests while a run lasts."""
MOST_SECONDS = 10.0
"""Of one part of a night, where the machine is slow."""
MOST_KILLS = 2
"""At any moment, in one part of a night; more of them would leave a slow machine's controller no time to write."""
CALM_SECONDS = 60.0
"""So long after the last fault everything must be as it was."""
TOLD_EACH = 10
TEMPLATED = frozenset({"Deployment", "StatefulSet", "Rollout"})
"""Kinds whose owner may change their pods' template at any time."""


class Broken(Exception):  # noqa: N818  (named for what is found)
    """Something is not as it must be."""


@dataclass(slots=True)
class Tally:
    """What befell the controllers of all runs."""

    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    edits: Counter[str] = field(default_factory=Counter[str])
    watches_broken: int = 0
    requests: int = 0
    writes: int = 0

    def rows(self) -> list[tuple[str, str]]:
        """What to tell."""
        system = f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
        return [
            ("runs", f"{self.runs}, after each every object as its owner made it"),
            ("kills", _counted(self.kills)),
            ("faults", _counted(self.faults)),
            ("watches", f"all broken off {self.watches_broken} times"),
            ("edits", _counted(self.edits)),
            ("requests", f"{self.requests}, {self.writes} of them writes"),
            ("machine", system),
        ]


def _counted(counter: Counter[str]) -> str:
    return f"{counter.total()}: " + ", ".join(f"{count} {name}" for name, count in counter.most_common())


class Controllers:
    """One controller after the other."""

    def __init__(self, server: ApiServer, url: str, namespace: str, folder: Path) -> None:
        self._now = folder / "now"
        self._error = folder / "stderr"
        self.set_time(BEFORE)
        command = [sys.executable, str(Path(__file__).with_name("scaler_child.py")), url]
        command += [str(server.token_file()), str(self._now), namespace]
        with self._error.open("ab") as error:
            self._nursery = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=error, text=True
            )
        self._lock = threading.Lock()
        self._pid = 0
        self._handle = -1

    def set_time(self, now: datetime) -> None:
        """What the controller's clock says from here on."""
        whole = self._now.with_suffix(".new")
        whole.write_text(now.isoformat(), encoding="ascii")
        whole.replace(self._now)

    @property
    def alive(self) -> bool:
        """Whether one lives that nobody has killed.

        Raises:
            Broken: one ended by itself.
        """
        with self._lock:
            if self._pid and self._has_ended():
                raise Broken(f"the controller ended by itself:\n{self._error.read_text(encoding='utf-8')[-3000:]}")
            return bool(self._pid)

    def start(self) -> None:
        """Have another one."""
        source, sink = self._nursery.stdout, self._nursery.stdin
        if source is None or sink is None:
            raise Broken("no controllers can be started")
        sink.write("\n")
        sink.flush()
        said = source.readline()
        if not said:
            raise Broken(f"no controllers can be started:\n{self._error.read_text(encoding='utf-8')[-3000:]}")
        with self._lock:
            self._pid = int(said)
            self._handle = os.pidfd_open(self._pid)

    def kill(self) -> bool:
        """Kill it and see it dead; whether there was one. From any thread."""
        with self._lock:
            if not self._pid:
                return False
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            select.select([self._handle], [], [])
            os.close(self._handle)
            self._pid = 0
            return True

    def close(self) -> None:
        """End all."""
        self.kill()
        if self._nursery.stdin is not None:
            self._nursery.stdin.close()
        self._nursery.wait()
        if self._nursery.stdout is not None:
            self._nursery.stdout.close()

    def _has_ended(self) -> bool:
        return bool(select.select([self._handle], [], [], 0)[0])


class Stage:
    """An API server with objects of all kinds, a proxy before it, and whoever plays on it."""

    def __init__(self, server: ApiServer, folder: Path, seed: int) -> None:
        server.install_crds()
        self.chance = random.Random(seed)
        self.tally = Tally()
        self.world = World(server)
        for label in LABELS:
            self.world.add(label, label.lower())
        self.proxy = ApiProxy(server.url, server.ca)
        self.watcher = Life(server.endpoint(), self.world.namespace)
        self.controllers = Controllers(server, self.proxy.url, self.world.namespace, folder)
        self._edits = 0
        self._kills_left = 0

    def close(self) -> None:
        """End all, and take the objects away."""
        self.controllers.close()
        self.watcher.close()
        self.proxy.close()
        self.world.remove()

    def run(self) -> None:
        """One night.

        Raises:
            Broken: an object did not end as it was.
        """
        self.controllers.set_time(BEFORE)
        self.proxy.forget()
        self._fail_at_random()
        self._kill_in_writes()
        for now in self._times():
            self.controllers.set_time(now)
            self._play(self.chance.choice([0.1, 0.3, 0.7, 1.0, 1.0]), now)
        self._note_requests()
        self._calm()
        self.tally.runs += 1

    def _times(self) -> list[datetime]:
        """A night, or two windows whose edges come too soon."""
        return self.chance.choice(([INSIDE, AFTER], [INSIDE, AFTER], [INSIDE, AFTER, INSIDE, AFTER]))

    def _play(self, share: float, now: datetime) -> None:
        """Have things happen until this share of all objects is where the time has it, or it takes too long."""
        end = time.monotonic() + MOST_SECONDS
        self._kills_left = MOST_KILLS
        acts: list[Callable[[], None]] = [self._edit, self._edit, self._report, self._kill, self._break_watches]
        while time.monotonic() < end and self._share(now) < share:
            if not self.controllers.alive:
                self.controllers.start()
            time.sleep(self.chance.uniform(0, 0.15))
            self.chance.choice([*acts, *[_nothing] * 12])()

    def _share(self, now: datetime) -> float:
        marked = sum(RECORD in seen.annotations for seen in map(self.watcher.view.get, self.world.levers) if seen)
        down = marked / len(self.world.levers)
        return down if now == INSIDE else 1 - down if now == AFTER else 0.0

    def _calm(self) -> None:
        """All faults are over, and all pods are Ready: now everything must come to be as it was."""
        self.proxy.heal()
        self.proxy.before = self.proxy.after = _let
        self.controllers.set_time(AFTER)
        for ref in self.world.refs:
            self.world.status(ref, ready=True)
        if not self.controllers.alive:
            self.controllers.start()
        end = time.monotonic() + CALM_SECONDS
        while not self._is_over():
            if time.monotonic() > end:
                raise Broken(f"{CALM_SECONDS:.0f} s after the last fault: {self._differences()}")
            self.watcher.view.wait_for_change(1)
            if not self.controllers.alive:
                self.controllers.start()

    def _is_over(self) -> bool:
        return self.world.are_back(self.watcher.view) and not self._differences()

    def _differences(self) -> str:
        try:
            self.world.check()
        except Changed as error:
            return str(error)
        return ""

    def _fail_at_random(self) -> None:
        for name, fault in ALL_FAULTS.items():
            self.proxy.fail_where(_by_chance(random.Random(f"{name} {self.chance.random()}")), fault, times=-1)

    def _kill_in_writes(self) -> None:
        """In most runs it dies in the middle of a write: before the server has it, or before the answer is there."""
        number, after = self.chance.randint(1, 40), self.chance.random() < 0.5
        count = 0

        def die(request: Request) -> None:
            nonlocal count
            count += request.write
            if request.write and count == number and self.controllers.kill():
                self.tally.kills["after a write" if after else "before a write"] += 1

        self.proxy.before, self.proxy.after = (_let, die) if after else (die, _let)

    def _kill(self) -> None:
        if self._kills_left and self.controllers.kill():
            self._kills_left -= 1
            self.tally.kills["at any moment"] += 1

    def _break_watches(self) -> None:
        self.proxy.cut_watches()
        self.tally.watches_broken += 1

    def _edit(self) -> None:
        """What owners do to their objects."""
        ref, self._edits = self.chance.choice(self.world.refs), self._edits + 1
        what = self.chance.choice(["label", "annotation", "template"])
        said = {"team.example/edit": str(self._edits)}
        patch: dict[str, Any] = {"metadata": {"labels" if what == "label" else "annotations": said}}
        if what == "template":
            if ref.kind not in TEMPLATED:
                return
            patch = {"spec": {"template": {"metadata": {"annotations": said}}}}
        self.world.edit(ref, patch)
        self.tally.edits[what] += 1

    def _report(self) -> None:
        """What an operator says of an object."""
        ref: Ref = self.chance.choice(self.world.refs)
        self.world.status(ref, ready=self.chance.random() < 0.5)
        self.tally.edits["status"] += 1

    def _note_requests(self) -> None:
        asked = [*self.proxy.requests, *self.proxy.watches]
        self.tally.requests += len(asked)
        self.tally.writes += len(self.proxy.writes)
        names = {id(fault): name for name, fault in ALL_FAULTS.items()}
        self.tally.faults.update(names[id(request.fault)] for request in asked if request.fault is not None)


def _by_chance(chance: random.Random) -> Callable[[Request], bool]:
    return lambda _request: chance.random() < FAULT_SHARE / len(ALL_FAULTS)


def _nothing() -> None:
    pass


def _let(_request: Request) -> None:
    pass


@contextlib.contextmanager
def staged(server: ApiServer, seed: int) -> Generator[Stage]:
    """A stage on an API server that stands."""
    with tempfile.TemporaryDirectory(prefix="wattledger-scaler-") as folder:
        stage = Stage(server, Path(folder), seed)
        try:
            yield stage
        finally:
            stage.close()


def play(server: ApiServer, runs: int, seed: int, told: Callable[[str], None] | None = None) -> Tally:
    """So many runs; ``told`` hears now and then how far it is.

    Raises:
        Broken: the first thing that is not as it must be.
    """
    with staged(server, seed) as stage:
        for number in range(1, runs + 1):
            try:
                stage.run()
            except Broken as error:
                raise Broken(f"run {number}: {error}") from error
            if told and not number % TOLD_EACH:
                told(f"{number} of {runs} runs: {stage.tally.kills.total()} kills, {stage.tally.faults.total()} faults")
        return stage.tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100, help="how many (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=None, help="of all that is drawn by chance (default: another each time)"
    )
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    began = time.monotonic()
    try:
        with ApiServer.up() as server:
            rows = play(server, options.runs, seed, lambda line: print(line, file=sys.stderr, flush=True)).rows()
    except Broken as error:
        print(f"BROKEN  with seed {seed}: {error}", file=sys.stderr)
        return 1
    for name, value in [*rows, ("run", f"seed {seed}, {time.monotonic() - began:.0f} s")]:
        print(f"{name:<10}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
