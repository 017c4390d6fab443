"""Takes the README's picture: the default simulation's page after a week, on a Wednesday afternoon.

``python -m tests.integration.picture docs/images/page.png``
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.integration.agent_process import AgentProcess, Scrape
from tests.integration.chromium import take_picture

SIZE = (1280, 1180)
SPEED = 10_000
_DAY_S = 86_400
_WEEK_S = 7 * _DAY_S
_AFTERNOON_S = 6 * _DAY_S + 14 * 3600 + 600
"""Wednesday 14:10 in a week that begins, as the epoch did, on a Thursday."""


def offset_ns(now_s: float) -> int:
    """From now to the last Wednesday afternoon."""
    return round(-((now_s - _AFTERNOON_S) % _WEEK_S) * 1e9)


def caught_up(scrape: Scrape) -> bool:
    """The week is over, and seconds pass as they do."""
    interval = scrape.value("wattledger_sweep_interval_seconds")
    booked = scrape.find("wattledger_gpu_accounted_seconds_total")
    return interval == 1 and any(sample.value > _WEEK_S - 3600 for sample in booked)


def main(picture: Path) -> None:
    """Take it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is missing: apt-get install chromium")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        clock = ("benchmarks.kills_agent", str(8 << 20), str(offset_ns(time.time())))
        settings = {"agent": {"interval_seconds": 1, "node_name": "gpu-node-7", "finished_holder_seconds": _DAY_S}}
        with AgentProcess(
            folder,
            command=("up", "--simulate", "--speed", str(SPEED)),
            config=settings,
            program=(sys.executable, "-m", *clock),
        ) as agent:
            agent.until("the simulation is at the present", caught_up, seconds=400)
            take_picture(chromium, agent.url, folder / "profile", picture, SIZE)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
