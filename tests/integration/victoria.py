"""Debian's VictoriaMetrics as a process, which may scrape."""

import json
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.agent_process import eventually
from tests.integration.prometheus import SCRAPE_SECONDS


@contextmanager
def victoria(folder: Path, program: str, jobs: Sequence[Mapping[str, Any]] = ()) -> Iterator[str]:
    """The address of a VictoriaMetrics that keeps all that it is given, and scrapes these jobs each second."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    every = f"{SCRAPE_SECONDS:g}s"
    config = {"global": {"scrape_interval": every, "scrape_timeout": every}, "scrape_configs": [*jobs]}
    (folder / "scrape.yml").write_text(json.dumps(config))  # JSON is YAML
    command = [
        program,
        f"-storageDataPath={folder / 'data'}",
        f"-httpListenAddr={address}",
        f"-promscrape.config={folder / 'scrape.yml'}",
        "-search.latencyOffset=0s",
        "-retentionPeriod=100y",
        "-loggerLevel=ERROR",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually("VictoriaMetrics answers", lambda: _alive(address), seconds=60, every=0.2)
            yield f"http://{address}"
        finally:
            process.terminate()


def flush(url: str) -> None:
    """What it was given can be asked for from now on."""
    urllib.request.urlopen(f"{url}/internal/force_flush", timeout=30).close()


def _alive(address: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{address}/health", timeout=2).close()
    except OSError:
        return False
    return True
