"""Controllers to be killed: each a process of its own that follows, looks and writes until it is killed.

Started once, it has everything imported; for each line on its input it forks a controller and prints that one's process
id. All of them end when the input does. Time is read from a file.
"""

import logging
import os
import signal
import sys
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from collectors.kube_endpoint import KubeEndpoint
from tests.controller.scaling.night_rig import Life


def live(url: str, token_file: Path, now_file: Path, namespace: str) -> None:
    """Tick until killed, or until the process that forked this one is gone."""
    parent = os.getppid()
    life = Life(KubeEndpoint(url, token_file), namespace)
    while os.getppid() == parent:
        life.tick(datetime.fromisoformat(now_file.read_text(encoding="ascii")))


def main() -> int:
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    url, token_file, now_file, namespace = sys.argv[1:]
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                live(url, Path(token_file), Path(now_file), namespace)
            finally:
                logging.shutdown()
                os._exit(1)
        print(pid, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
