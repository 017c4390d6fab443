"""The scripted month from its first moment to its last, and the same in lives that are killed at random.

Owns the lives, and the comparison of what they leave, table by table and row by row.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from queue import Empty, Queue

from polars import selectors

from ledger.store import Store
from ledger.tables import ALL, EPOCHS, PROGRESS, Table
from tests.integration.month_books import KEYS, MonthBooks
from tests.integration.month_world import MonthWorld
from tests.integration.scripted_month import END, STEPS, feb

CHECKOUT = Path(__file__).parents[2]
PATIENCE_SECONDS = 180.0
FULL_AT: datetime = feb(18)
"""There is no room on the disk the first time that this moment is worked on."""
_OWN = {"node_hours": ["booked_at"]}
"""Columns that tell when something was done, and not what."""
_TO_THE_SECOND = selectors.by_name("read_at", "read_through", require_all=False).dt.truncate("1s")
"""Tries differ by microseconds, and so do the times at which they read."""


class Broken(Exception):  # noqa: N818  (named for what it is)
    """What must be so is not."""


@dataclass
class Played:
    """A month that was played to its end."""

    store: Store
    seconds: list[float] = field(default_factory=list)
    """Of the work at each moment."""
    landed: Counter[str] = field(default_factory=Counter)
    """Kills, by what they met."""


def play(root: Path) -> Played:
    """The month, undisturbed, in this process."""
    os.environ.update(KEYS)
    with MonthWorld(root) as world:
        books = MonthBooks(root, world.agents, world.aws.url)
        played = Played(books.store)
        for now in STEPS:
            world.turn(now)
            began = time.monotonic()
            books.work(now)
            played.seconds.append(time.monotonic() - began)
    return played


def play_killed(root: Path, kills: int, chance: random.Random, seconds: Sequence[float]) -> Played:
    """The month in lives that are killed so many times, at moments drawn by chance, and once with no room on the disk.

    Args:
        root: a folder of its own.
        kills: how many.
        chance: draws.
        seconds: what the work at each moment takes undisturbed.

    Raises:
        Broken: a life does not do its work, or ends by itself.
    """
    played = Played(Store(str(root / "ledger")))
    drawn = Counter(chance.choices(range(len(STEPS)), k=kills))
    with MonthWorld(root) as world, _lives(root, world) as lives:
        for step, now in enumerate(STEPS):
            world.turn(now)
            if now == FULL_AT:
                lives.without_room(now)
            for _ in range(drawn[step]):
                played.landed[lives.kill_at_work(now, chance.uniform(0, 1.3 * seconds[step] + 0.3))] += 1
            began = time.monotonic()
            lives.work(now)
            played.seconds.append(time.monotonic() - began)
    if left := [path.name for path in (root / "scratch").glob("*")]:
        raise Broken(f"left in the scratch folder: {left}")
    return played


class _Lives:
    """Lives of the controller, one after the other; see :mod:`tests.integration.month_books`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lines: Queue[str] = Queue()
        self._pid: int | None = None
        self._tries = 0
        threading.Thread(target=self._read, daemon=True).start()
        self._expect("ready")

    def work(self, now: datetime) -> None:
        """Have a moment's work done."""
        self._tell("work", now)
        self._expect("done")

    def kill_at_work(self, now: datetime, seconds: float) -> str:
        """Kill the life that does a moment's work, so long after it began; what it met."""
        self._tell("work", now)
        try:
            line = self._lines.get(timeout=seconds)
        except Empty:
            line = ""
        os.kill(self._pid or 0, signal.SIGKILL)
        self._pid = None
        while line != "died -9":
            if line not in {"", "done"}:
                raise Broken(f"a life said {line!r} where it was to be killed")
            met = "at rest" if line == "done" else "at work"
            line = self._line()
        return met

    def without_room(self, now: datetime) -> None:
        """A moment's work in a life that finds no room on the disk."""
        self._tell("full", now)
        said = self._line()
        if not said.startswith("failed") or "no room" not in said:
            raise Broken(f"without room on the disk a life said {said!r}")
        self._expect("died 0")
        self._pid = None

    def end(self) -> None:
        """Let the last one end."""
        if self._pid is not None:
            self._tell("end", END)
            self._expect("died 0")

    def _tell(self, word: str, now: datetime) -> None:
        if self._process.stdin is None:
            raise Broken("there is nobody to tell")
        if self._pid is None:
            self._process.stdin.write("life\n")
            self._process.stdin.flush()
            said, _, pid = self._line().partition(" ")
            if said != "born":
                raise Broken(f"{said!r} instead of a life")
            self._pid = int(pid)
        self._tries += 1
        self._process.stdin.write(f"{word} {(now + timedelta(microseconds=self._tries)).isoformat()}\n")
        self._process.stdin.flush()

    def _expect(self, wanted: str) -> None:
        if (line := self._line()) != wanted:
            raise Broken(f"{line!r} where {wanted!r} was expected")

    def _line(self) -> str:
        try:
            return self._lines.get(timeout=PATIENCE_SECONDS)
        except Empty:
            raise Broken(f"nothing was said for {PATIENCE_SECONDS:g} s") from None

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line.rstrip("\n"))


@contextmanager
def _lives(root: Path, world: MonthWorld) -> Iterator[_Lives]:
    command = [sys.executable, "-m", "tests.integration.month_books", str(root), world.agents, world.aws.url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, start_new_session=True
    ) as process:
        try:
            lives = _Lives(process)
            yield lives
            lives.end()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()


def differences(one: Store, other: Store) -> list[str]:
    """Tables whose rows are not the same, row by row, with the first that is not."""
    return [
        said for table in ALL if table.name not in {EPOCHS.name, PROGRESS.name} and (said := _unlike(table, one, other))
    ]


def _unlike(table: Table, one: Store, other: Store) -> str:
    own = _OWN.get(table.name, [])
    rows = [
        store.scan(table).drop(own).with_columns(_TO_THE_SECOND).sort(table.key).collect() for store in (one, other)
    ]
    if rows[0].equals(rows[1]):
        return ""
    for here, there in zip(*(frame.iter_rows(named=True) for frame in rows), strict=False):
        if here != there:
            columns = [name for name in here if here[name] != there[name]]
            key = {name: here[name] for name in table.key}
            return f"{table.name}, {key}: " + ", ".join(f"{name} {here[name]} and {there[name]}" for name in columns)
    return f"{table.name}: {rows[0].height} and {rows[1].height} rows"


def copy(store: Store, root: Path) -> Store:
    """Another ledger of the same rows."""
    shutil.copytree(store.place.root, root)
    return Store(str(root))
