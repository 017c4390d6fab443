"""The agent as its own process, and what is read from it: for tests, benchmarks and pictures."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

CHECKOUT = Path(__file__).parents[2]
WATTLEDGER: Sequence[str] = (str(Path(sys.executable).with_name("wattledger")),)
NAMES = {
    "time": ("wattledger_account_gpu_seconds_total", "wattledger_gpu_accounted_seconds_total"),
    "energy": ("wattledger_account_energy_joules_total", "wattledger_gpu_energy_joules_total"),
    "cost": ("wattledger_account_list_cost_usd_total", "wattledger_gpu_list_cost_usd_total"),
}
"""What is booked: (by account, the device's control figure)."""
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_PAGE_LINE = re.compile(r"^Page: (\S+)/ ", re.MULTILINE)


class NotInTime(AssertionError):  # noqa: N818  (named for what it says)
    """What was waited for did not come."""


def eventually(what: str, look: Callable[[], T | None], seconds: float = 60, every: float = 0.02) -> T:
    """The first answer of ``look`` that is neither ``None`` nor false. A connection that is cut is no answer: a server
    that got no processor for as long as a request may take cuts it, rightly.

    Raises:
        NotInTime: there was none in time; ``what`` says what was waited for.
    """
    end = time.monotonic() + seconds
    while True:
        cut = None
        try:
            if found := look():
                return found
        except ConnectionError as error:
            cut = error
        if time.monotonic() > end:
            raise NotInTime(f"not within {seconds:g} s: {what}") from cut
        time.sleep(every)


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a page."""

    name: str
    labels: Mapping[str, str]
    value: Decimal


@dataclass(frozen=True)
class Scrape:
    """A page of metrics, in text format; values keep all their digits."""

    text: str

    @cached_property
    def series(self) -> dict[str, Decimal]:
        """Value by series, named as it stands on the page."""
        lines = (line.rpartition(" ") for line in self.text.splitlines() if line and line[0] != "#")
        return {name: Decimal(value) for name, _, value in lines}

    @cached_property
    def counters(self) -> frozenset[str]:
        """Names of the families that only grow."""
        return frozenset(re.findall(r"^# TYPE (\S+) counter$", self.text, re.MULTILINE))

    @cached_property
    def samples(self) -> list[Sample]:
        """Every line, taken apart."""
        return [
            Sample(name_of(series), dict(_LABEL.findall(series.partition("{")[2])), value)
            for series, value in self.series.items()
        ]

    def find(self, name: str, **labels: str) -> list[Sample]:
        """The samples of that name which bear these labels."""
        return [s for s in self.samples if s.name == name and labels.items() <= s.labels.items()]

    def value(self, name: str, **labels: str) -> Decimal | None:
        """The one sample of that name with these labels, if it is there."""
        found = self.find(name, **labels)
        assert len(found) <= 1, found
        return found[0].value if found else None

    def total(self, name: str, **labels: str) -> Decimal:
        """The sum of what :meth:`find` finds."""
        return sum((sample.value for sample in self.find(name, **labels)), Decimal())

    def imbalance(self) -> str | None:
        """Where accounts do not add up to their device: to the nanosecond and millijoule, to 1e-9 of the dollars."""
        for kind, (account, control) in NAMES.items():
            sums: dict[str, Decimal] = {}
            for sample in self.find(account):
                uuid = sample.labels["gpu_uuid"]
                sums[uuid] = sums.get(uuid, Decimal()) + sample.value
            for sample in self.find(control):
                booked, known = sums.pop(sample.labels["gpu_uuid"], Decimal()), sample.value
                if abs(booked - known) > (known * Decimal("1e-9") if kind == "cost" else 0):
                    return f"{kind} of {sample.labels['gpu_uuid']}: accounts {booked}, device {known}"
            if any(sums.values()):
                return f"{kind}: accounts without a device: {sums}"
        return None


def name_of(series: str) -> str:
    """The metric's name."""
    return series.partition("{")[0].partition(" ")[0]


def fetch(url: str, seconds: float = 30, **headers: str) -> str:
    """The body of an answer 200."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=seconds) as answer:
        body: bytes = answer.read()
    return body.decode()


def status(url: str, seconds: float = 30) -> int:
    """The status of an answer."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@dataclass
class AgentProcess:
    """One run of `wattledger`; ends with the ``with`` block at the latest."""

    folder: Path
    """Where its log, configuration and, unless told otherwise, books are."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    command: Sequence[str] = ("agent",)
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Settings by section; the test's own go before those that every run here has."""
    listen: str = "127.0.0.1:0"
    data_dir: Path | None = None
    program: Sequence[str] = WATTLEDGER
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """For ``subprocess.Popen``."""
    log: Path = field(init=False)
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data_dir = self.data_dir or self.folder / "books"
        self.log = self.folder / f"log-{time.monotonic_ns()}"
        settings: dict[str, dict[str, Any]] = {"agent": {"interval_seconds": 0.1}, "prices": {"cloud_identity": "off"}}
        for section, values in self.config.items():
            settings[section] = {**settings.get(section, {}), **values}
        file = self.folder / f"{self.log.name}.yaml"
        file.write_text(json.dumps(settings))  # JSON is YAML
        arguments = [*self.program, *self.command, "--config", str(file)]
        arguments += ["--listen", self.listen, "--data-dir", str(self.data_dir)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen[bytes](
                arguments,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment},
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self.options,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def said(self) -> str:
        """What it wrote so far, to stdout and stderr."""
        return self.log.read_text(errors="replace")

    @cached_property
    def url(self) -> str:
        """Where it serves; waits until it does."""
        return eventually("the agent serves", self._served)

    def _served(self) -> str | None:
        self._must_live()
        found = _PAGE_LINE.search(self.said)
        return None if found is None else str(found.group(1))

    def _must_live(self) -> None:
        assert self.process.poll() is None, f"it ended with status {self.process.returncode}:\n{self.said}"

    def scrape(self) -> Scrape:
        """Its metrics now."""
        return Scrape(fetch(f"{self.url}/metrics"))

    def until(self, what: str, look: Callable[[Scrape], object], seconds: float = 60) -> Scrape:
        """The first scrape of which ``look`` says yes.

        Raises:
            NotInTime: there was none in time; says what the agent wrote.
        """

        def attempt() -> Scrape | None:
            self._must_live()
            scrape = self.scrape()
            return scrape if look(scrape) else None

        try:
            return eventually(what, attempt, seconds, every=0.05)
        except NotInTime as error:
            raise NotInTime(f"{error}\n{self.said}") from None

    def until_booked(self, uuid: str, seconds: float = 0.0) -> Scrape:
        """The first scrape that covers more than so much time of a device."""
        name = NAMES["time"][1]
        return self.until(f"{uuid} is booked", lambda s: (s.value(name, gpu_uuid=uuid) or 0) > seconds)

    def json(self, path: str) -> Any:
        """What it answers to that path."""
        return json.loads(fetch(self.url + path))

    def wait(self, seconds: float = 60) -> int:
        """Its exit status, when it ends by itself."""
        return self.process.wait(seconds)

    def terminate(self, seconds: float = 60) -> int:
        """End it in order; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
