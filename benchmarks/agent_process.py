"""Real processes over one fake driver on the real clock: memory side by side, and the agent's CPU over a minute."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from benchmarks.agent_rig import GPUS, PROCESSES_A_GPU, Containers, put_to_work, real_processes, with_h100
from benchmarks.agent_table import Table

ROOT = Path(__file__).parents[1]
MEGABYTE = 10**6
INSTANCES = 7
SWEEPS = 60
FAST_SECONDS = 0.25
MOST_MEGABYTES = 48
CPU_SECONDS = 60
SCRAPE_EVERY_SECONDS = 15
MOST_CPU_PERCENT = 1.0
_START_SECONDS = 60
_AGENT = (sys.executable, "-c", "from cli.main import main; main()", "agent")
_NVITOP = (sys.executable, "-m", "nvitop_exporter", "--bind-address", "127.0.0.1", "--interval", str(FAST_SECONDS))
_PYTHON = (sys.executable, "-c", "import time; time.sleep(3600)")


def measure_memory(table: Table, folders: Iterator[Path]) -> None:
    """RSS of the agent, of nvitop-exporter and of an idle Python, after the same number of sweeps and scrapes."""
    with _machine(folders, mig=True) as (environment, config), _process(_PYTHON, environment, next(folders)) as python:
        ports = _free_port(), _free_port()
        options = _agent_options(config(interval_seconds=FAST_SECONDS), next(folders), ports[0])
        with (
            _process((*_AGENT, *options), environment, next(folders)) as agent,
            _process((*_NVITOP, "--port", str(ports[1])), environment, next(folders)) as peer,
        ):
            for port in ports:
                _scrape_when_up(port)
            while _sweeps(ports[0]) < SWEEPS:
                _scrape(ports[1])
                time.sleep(SCRAPE_EVERY_SECONDS * FAST_SECONDS)
            figures = [_resident_bytes(process.pid) / MEGABYTE for process in (agent, peer, python)]
    table.section(f"RSS after {SWEEPS} sweeps and some scrapes: {GPUS} H100 x {INSTANCES} MIG instances, all held")
    table.row("wattledger agent", figures[0], "MB", most=MOST_MEGABYTES)
    table.row("nvitop-exporter", figures[1], "MB")
    table.row("a Python that sleeps", figures[2], "MB")


def measure_cpu(table: Table, folders: Iterator[Path]) -> None:
    """CPU of the agent's process over a minute of its life."""
    with _machine(folders, mig=False) as (environment, config):
        port = _free_port()
        options = _agent_options(config(interval_seconds=1), next(folders), port)
        with _process((*_AGENT, *options), environment, next(folders)) as agent:
            _scrape_when_up(port)
            time.sleep(5)
            began, before, sweeps = time.monotonic(), _cpu_seconds(agent.pid), _sweeps(port)
            for _ in range(CPU_SECONDS // SCRAPE_EVERY_SECONDS):
                time.sleep(SCRAPE_EVERY_SECONDS)
                _scrape(port)
            spent, elapsed = _cpu_seconds(agent.pid) - before, time.monotonic() - began
            sweeps = _sweeps(port) - sweeps
    if not CPU_SECONDS * 0.9 <= sweeps <= CPU_SECONDS * 1.1:
        sys.exit(f"{sweeps} sweeps in {elapsed:.0f} s: the agent did not sweep every second")
    table.section(
        f"CPU of the running agent: {GPUS} H100, {PROCESSES_A_GPU} processes each, 1 s sweeps, "
        f"a scrape every {SCRAPE_EVERY_SECONDS} s, {CPU_SECONDS} s"
    )
    table.row("wattledger agent, of one core", 100 * spent / elapsed, "%", most=MOST_CPU_PERCENT)


@contextmanager
def _machine(folders: Iterator[Path], *, mig: bool) -> Generator[tuple[dict[str, str], "_Config"]]:
    """A driver with processes on it: the environment to find it by, and how to make a configuration that knows them."""
    driver = with_h100(next(folders), GPUS, injected_clock=False)
    with driver, real_processes(GPUS * (INSTANCES if mig else PROCESSES_A_GPU)) as pids:
        containers = Containers(next(folders))
        for pid in pids:
            containers.start(pid)
        put_to_work(driver, pids, mig=mig)
        environment = {**os.environ, **driver.environment(), "PYTHONPATH": str(ROOT)}
        yield environment, _Config(next(folders), containers)


class _Config:
    """Writes the agent's configuration file."""

    def __init__(self, folder: Path, containers: Containers) -> None:
        self._folder = folder
        self._containers = containers

    def __call__(self, *, interval_seconds: float) -> Path:
        settings = {
            "agent": {"interval_seconds": interval_seconds, "cpu_budget_ratio": 1},
            "prices": {"cloud_identity": "off"},
            "host": {"proc": str(self._containers.proc), "sys": str(self._containers.sys)},
            "holders": {"passwd": str(self._containers.passwd)},
        }
        file = self._folder / "wattledger.yaml"
        file.write_text(json.dumps(settings))
        return file


def _agent_options(config: Path, data: Path, port: int) -> tuple[str, ...]:
    return "--config", str(config), "--data-dir", str(data), "--listen", f"127.0.0.1:{port}"


@contextmanager
def _process(
    command: tuple[str, ...], environment: dict[str, str], folder: Path
) -> Generator["subprocess.Popen[bytes]"]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is not None:
            print(f"{command[:4]} ended by itself:\n{(folder / 'log').read_text()[-2000:]}", file=sys.stderr)
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _scrape(port: int) -> str:
    headers = {"Accept-Encoding": "identity", "Accept": "text/plain"}
    with urlopen(Request(f"http://127.0.0.1:{port}/metrics", headers=headers), timeout=10) as answer:
        return str(answer.read(), "utf-8")


def _scrape_when_up(port: int) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return _scrape(port)
        except URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _sweeps(port: int) -> int:
    lines = (line for line in _scrape(port).splitlines() if line.startswith("wattledger_sweeps_total"))
    return int(float(next(lines, "x 0").rsplit(" ", 1)[1]))


def _resident_bytes(pid: int) -> int:
    """What `ps` shows as RSS, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
